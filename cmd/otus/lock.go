package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// errHeld says another otus has the data folder.
var errHeld = errors.New("the data folder is in use by a running otus")

// lockDir makes this process the only one that opens the houses' files in dir. The lock goes with the process.
func lockDir(dir string) (release func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open data folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "otus.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%q: %w", dir, errHeld)
		}
		return nil, fmt.Errorf("lock data folder: %w", err)
	}
	return func() { f.Close() }, nil
}

// lockSoon waits a moment for an otus that is just ending.
func lockSoon(ctx context.Context, dir string) (release func(), err error) {
	for range 20 {
		if release, err = lockDir(dir); !errors.Is(err, errHeld) {
			return release, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil, err
}

// socketPath is where a running otus answers the command-line tools of its own machine and user.
func socketPath(dir string) string { return filepath.Join(dir, "otus.sock") }

// writeSecret replaces a file that only its owner may read, in one step.
func writeSecret(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".otus-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

package spool

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// TestMain turns the test binary into the writer that TestKill kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv("OTUS_TEST_SPOOL"); dir != "" {
		if err := writeUntilKilled(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// writeUntilKilled appends for ever, begins like a replay some records back, and prints the last sequence of each
// group once it is durable.
func writeUntilKilled(dir string) error {
	s, err := Open(Options{Dir: dir, SegmentBytes: 20_000, MaxBytes: 1 << 30})
	if err != nil {
		return err
	}
	next := s.LastSequence() + 1
	next -= min(next-1, 30)
	for size := uint64(1); ; size = size%17 + 1 {
		if err := s.Append(records(next, next+size-1)); err != nil {
			return err
		}
		next += size
		fmt.Println(next - 1)
	}
}

func TestKill(t *testing.T) {
	dir := t.TempDir()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	last := uint64(0)
	for round := 0; round < rounds; round++ {
		durable := killOnce(t, dir, time.Duration(random.IntN(60_000))*time.Microsecond)
		s := open(t, Options{Dir: dir, SegmentBytes: 20_000, MaxBytes: 1 << 30})
		if got := s.LastSequence(); got < max(durable, last) {
			t.Fatalf("round %d: spool ends at %d, but %d was durable", round, got, max(durable, last))
		}
		last = s.LastSequence()
		if last > 0 {
			want(t, readAll(t, s, 1), records(1, last))
		}
		s.Close()
	}
	if last == 0 {
		t.Fatal("no round stored anything, the test shows nothing")
	}
}

// killOnce starts a writer, kills it some time after its first group was durable, and gives the last durable sequence.
func killOnce(t *testing.T, dir string, after time.Duration) (durable uint64) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(self)
	child.Env = append(os.Environ(), "OTUS_TEST_SPOOL="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var killed <-chan time.Time
	lines := make(chan uint64)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			if n, err := strconv.ParseUint(scanner.Text(), 10, 64); err == nil {
				lines <- n
			}
		}
	}()
	for open := true; open; {
		select {
		case n, ok := <-lines:
			if open = ok; ok {
				durable = n
				if killed == nil {
					killed = time.After(after)
				}
			}
		case <-killed:
			if err := child.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
			killed = make(chan time.Time)
		}
	}
	child.Wait()
	return durable
}

package capture

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/otus-project/otus/sensor/packet"
)

// Files reads capture files one after another as one source. The zero value has ended.
type Files struct {
	// Shift is added to every time.
	Shift time.Duration

	paths  []string
	index  uint64
	file   *os.File
	unzip  *gzip.Reader
	buffer *bufio.Reader
	format format
	frame  packet.Frame
}

// Open lists the captures that the paths name: a file is itself; a folder is every capture file below it, by name, in
// sorted order. It fails where a path does not exist or a folder holds no capture.
func Open(paths ...string) (*Files, error) {
	f := &Files{buffer: bufio.NewReaderSize(nil, 256<<10)}
	for _, path := range paths {
		found, err := list(path)
		if err != nil {
			return nil, err
		}
		f.paths = append(f.paths, found...)
	}
	return f, nil
}

// extensions of files taken from a folder; behind each ".gz" may follow.
var extensions = []string{".pcap", ".pcapng", ".cap", ".ntar"}

func list(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open capture: %w", err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	var found []string
	err = filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(strings.ToLower(entry.Name()), ".gz")
		if !entry.IsDir() && slices.Contains(extensions, filepath.Ext(name)) {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open capture folder %q: %w", path, err)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("open capture folder %q: it holds no file named *%s", path, strings.Join(extensions, ", *"))
	}
	slices.Sort(found)
	return found, nil
}

// Paths are the files still to be read, the current one not among them.
func (f *Files) Paths() []string { return slices.Clone(f.paths) }

// Next gives the next frame of the current file, or the first of the next one.
func (f *Files) Next() (*packet.Frame, error) {
	for {
		if f.format == nil {
			if len(f.paths) == 0 {
				return nil, io.EOF
			}
			path := f.paths[0]
			f.paths = f.paths[1:]
			if err := f.open(path); err != nil {
				f.closeFile()
				return nil, err
			}
		}
		err := f.format.next(&f.frame)
		if err == nil {
			f.index++
			f.frame.Index = f.index
			if f.Shift != 0 {
				f.frame.Time = shift(f.frame.Time, f.Shift)
			}
			return &f.frame, nil
		}
		f.closeFile()
		if err != io.EOF {
			return nil, err
		}
	}
}

// Skip passes over frames up to and including the given index, so that Next gives the one behind it: how a restart
// finds its place. Damage passed on the way was reported before and is not again. It fails where the source ends first.
func (f *Files) Skip(index uint64) error {
	for f.index < index {
		_, err := f.Next()
		var damage *DamageError
		switch {
		case errors.As(err, &damage):
		case err == io.EOF:
			return fmt.Errorf("find frame %d: the captures hold %d", index, f.index)
		case err != nil:
			return err
		}
	}
	return nil
}

// Close ends the source.
func (f *Files) Close() error {
	f.paths = nil
	return f.closeFile()
}

func (f *Files) closeFile() error {
	f.format = nil
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}

// open finds the format of a file by its first bytes.
func (f *Files) open(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return &DamageError{File: path, Reason: "the file cannot be opened", Err: err}
	}
	f.file = file
	f.buffer.Reset(file)
	if magic, _ := f.buffer.Peek(2); len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		if err := f.decompress(); err != nil {
			return &DamageError{File: path, Reason: "the gzip header is damaged", Err: err}
		}
	}
	f.format, err = detect(&counter{r: f.buffer, file: path})
	return err
}

func (f *Files) decompress() error {
	var err error
	// The gzip reader needs a buffer of its own; the large one then holds what it gives.
	below := bufio.NewReaderSize(f.file, 64<<10)
	if _, err = f.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if f.unzip == nil {
		f.unzip, err = gzip.NewReader(below)
	} else {
		err = f.unzip.Reset(below)
	}
	if err != nil {
		return err
	}
	f.buffer.Reset(f.unzip)
	return nil
}

// detect reads the magic number and the header behind it.
func detect(in *counter) (format, error) {
	var magic [4]byte
	if err := in.full(magic[:]); err != nil {
		if err == io.EOF {
			err = in.damage(0, "the file is empty", nil)
		}
		return nil, err
	}
	if _, _, known := pcapOrder(magic[:]); known {
		return newPcap(in, magic[:])
	}
	if magic == [4]byte{0x0a, 0x0d, 0x0d, 0x0a} {
		return newPcapng(in)
	}
	return nil, in.damage(0, fmt.Sprintf("this is neither pcap nor pcapng: it begins with % x", magic), nil)
}

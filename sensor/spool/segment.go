package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

const (
	suffixWhole = ".seg"
	suffixThin  = ".thin" // only the kept kinds are left
	suffixDraft = ".draft"
)

// markEvery is how many frames lie between two marks of a segment's index: finding a sequence reads at most this
// many frames, and a segment of 4 MiB needs some 100 marks.
const markEvery = 64

// mark says that the frame of sequence begins at offset.
type mark struct {
	sequence uint64
	offset   int64
}

// segment is one file of the log. Its name is the first sequence it was made for.
type segment struct {
	first uint64
	// last is the highest sequence stored; in a sealed segment the sequence before the next segment's first.
	last  uint64
	size  int64 // bytes that are durable; what lies behind is not there
	thin  bool
	marks []mark // sparse, in order; nil until the segment is first read
	since int    // frames behind the newest mark
}

func (g *segment) path(dir string) string {
	suffix := suffixWhole
	if g.thin {
		suffix = suffixThin
	}
	return filepath.Join(dir, fmt.Sprintf("%020d%s", g.first, suffix))
}

// note adds a mark where one is due. Called for every frame of the segment in order.
func (g *segment) note(sequence uint64, offset int64) {
	if g.marks == nil || g.since == markEvery {
		g.marks = append(g.marks, mark{sequence, offset})
		g.since = 0
	}
	g.since++
}

// read calls visit for the frames of from and above, in order, until it returns false. It returns errTorn where
// the segment is damaged; frames before the damage have been visited.
func (g *segment) read(dir string, from uint64, visit func(frame) bool) error {
	file, err := os.Open(g.path(dir))
	if err != nil {
		return fmt.Errorf("read spool: %w", err)
	}
	defer file.Close()
	if g.marks == nil && g.size > int64(len(magic)) {
		if err := g.index(file); err != nil && !errors.Is(err, errTorn) {
			return err
		}
	}
	offset, after := int64(len(magic)), g.first-1
	if n := sort.Search(len(g.marks), func(i int) bool { return g.marks[i].sequence > from }); n > 0 {
		offset, after = g.marks[n-1].offset, g.marks[n-1].sequence-1
	}
	frames := newFrameReader(file, offset, g.size, after)
	for {
		f, err := frames.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if f.sequence >= from && !visit(f) {
			return nil
		}
	}
}

// index reads the whole segment and fills its marks; g.last and g.size are left alone.
func (g *segment) index(file io.ReaderAt) error {
	frames := newFrameReader(file, int64(len(magic)), g.size, g.first-1)
	for {
		offset := frames.offset
		f, err := frames.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		g.note(f.sequence, offset)
	}
}

// recover reads the newest segment after a start, sets last and size to what is sound, and cuts the rest off.
// It returns how many bytes were cut.
func (g *segment) recover(dir string) (cut int64, err error) {
	file, err := os.OpenFile(g.path(dir), os.O_RDWR, 0)
	if err != nil {
		return 0, fmt.Errorf("open spool: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return 0, fmt.Errorf("open spool: %w", err)
	}
	head := make([]byte, len(magic))
	if n, err := file.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("open spool: %w", err)
	} else if n < len(magic) {
		// The kill came between creating the file and writing its magic.
		if _, err := file.WriteAt([]byte(magic), 0); err != nil {
			return 0, fmt.Errorf("open spool: %w", err)
		}
		n = len(magic)
		g.last, g.size = g.first-1, int64(n)
		return 0, file.Sync()
	}
	if string(head) != magic {
		return 0, fmt.Errorf("open spool: %s is not a spool segment", g.path(dir))
	}
	frames := newFrameReader(file, int64(len(magic)), info.Size(), g.first-1)
	for {
		offset := frames.offset
		f, err := frames.next()
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, errTorn) {
				return 0, err
			}
			break
		}
		g.note(f.sequence, offset)
	}
	g.last, g.size = frames.last, frames.offset
	if cut = info.Size() - g.size; cut == 0 {
		return 0, nil
	}
	if err := file.Truncate(g.size); err != nil {
		return 0, fmt.Errorf("cut torn spool: %w", err)
	}
	return cut, file.Sync()
}

// thinOut writes the segment again with only the kept kinds and returns it; nil when nothing is left of it.
func (g *segment) thinOut(dir string) (thin *segment, dropped uint64, err error) {
	thin = &segment{first: g.first, last: g.last, thin: true}
	out := []byte(magic)
	err = g.read(dir, g.first, func(f frame) bool {
		if !f.kind.kept() {
			dropped++
			return true
		}
		thin.note(f.sequence, int64(len(out)))
		out = appendFrame(out, f)
		return true
	})
	if err != nil && !errors.Is(err, errTorn) {
		return nil, 0, err
	}
	if len(out) == len(magic) {
		return nil, dropped, os.Remove(g.path(dir))
	}
	draft := filepath.Join(dir, fmt.Sprintf("%020d%s", g.first, suffixDraft))
	if err := writeSynced(draft, out); err != nil {
		os.Remove(draft)
		return nil, 0, err
	}
	if err := os.Rename(draft, thin.path(dir)); err != nil {
		return nil, 0, err
	}
	thin.size = int64(len(out))
	return thin, dropped, os.Remove(g.path(dir))
}

func writeSynced(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	return err
}

func syncDir(dir string) error {
	handle, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer handle.Close()
	return handle.Sync()
}

// list finds the segments of a folder in order and removes what an interrupted thinning left behind. Only the sizes
// are read, so that opening a large spool takes no time.
func list(dir string) ([]*segment, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	byFirst := map[uint64]*segment{}
	for _, entry := range entries {
		name := entry.Name()
		suffix := filepath.Ext(name)
		if suffix == suffixDraft {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return nil, fmt.Errorf("open spool: %w", err)
			}
			continue
		}
		if suffix != suffixWhole && suffix != suffixThin {
			continue
		}
		first, err := strconv.ParseUint(strings.TrimSuffix(name, suffix), 10, 64)
		if err != nil || first == 0 {
			return nil, fmt.Errorf("open spool: %q is not the name of a segment", name)
		}
		info, err := entry.Info()
		if err != nil {
			return nil, fmt.Errorf("open spool: %w", err)
		}
		g := &segment{first: first, size: info.Size(), thin: suffix == suffixThin}
		if other := byFirst[first]; other != nil {
			// Thinned, and killed before the whole one was removed: the thin one is complete.
			whole := g
			if g.thin {
				whole, byFirst[first] = other, g
			}
			if err := os.Remove(whole.path(dir)); err != nil {
				return nil, fmt.Errorf("open spool: %w", err)
			}
			continue
		}
		byFirst[first] = g
	}
	segments := make([]*segment, 0, len(byFirst))
	for _, g := range byFirst {
		segments = append(segments, g)
	}
	sort.Slice(segments, func(i, j int) bool { return segments[i].first < segments[j].first })
	for i := 0; i+1 < len(segments); i++ {
		segments[i].last = segments[i+1].first - 1
	}
	return segments, nil
}

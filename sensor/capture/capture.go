// Package capture gives frames: from pcap and pcapng files, plain or gzip, and from a live interface. Files and
// folders follow each other as one source with one count of frames. Nothing read from a file is trusted: a damaged one
// gives what it held before the damage and an error that names the file and the offset.
package capture

import (
	"fmt"
	"io"
	"math"
	"time"

	"github.com/otus-project/otus/sensor/packet"
)

// Source gives frames in their order. Next is called by one goroutine; the frame and its bytes belong to the source and
// are valid until the next call. After the last frame the error is io.EOF. A *DamageError ends one file of several:
// the next call goes on behind it. Any other error is final.
type Source interface {
	Next() (*packet.Frame, error)
}

// DamageError says where a capture file stops making sense.
type DamageError struct {
	File   string
	Offset int64 // in bytes, of the decompressed file
	Reason string
	Err    error // the cause below, or nil
}

// Error names the file, the offset and the reason.
func (e *DamageError) Error() string {
	text := fmt.Sprintf("read capture %q: at byte %d: %s", e.File, e.Offset, e.Reason)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap gives the cause.
func (e *DamageError) Unwrap() error { return e.Err }

// Bounds of what a file may claim.
const (
	maxFrame      = 256 << 10 // the largest snapshot length libpcap accepts
	maxInterfaces = 1024      // of one pcapng section
	maxBlock      = 16 << 20  // of pcapng
)

// format reads the frames of one file behind its first bytes.
type format interface {
	// next fills the frame's time, link, data and length.
	next(f *packet.Frame) error
}

// newestTime is the last instant that fits 64 bits of nanoseconds since 1970, in the year 2262. A file that claims a
// later one is clamped to it, so that every time can be stored and printed.
var newestTime = time.Unix(0, math.MaxInt64).UTC()

// clock makes a time of seconds and nanoseconds since 1970.
func clock(seconds uint64, nanoseconds uint64) time.Time {
	const limit = math.MaxInt64 / 1_000_000_000
	seconds += nanoseconds / 1_000_000_000
	if seconds >= limit {
		return newestTime
	}
	return time.Unix(int64(seconds), int64(nanoseconds%1_000_000_000)).UTC()
}

// shift moves t by d within what can be stored.
func shift(t time.Time, d time.Duration) time.Time {
	t = t.Add(d)
	switch {
	case t.After(newestTime):
		return newestTime
	case t.Before(time.Unix(0, 0)):
		return time.Unix(0, 0).UTC()
	}
	return t
}

// counter counts what was read, for the offsets in errors.
type counter struct {
	r      io.Reader
	file   string
	offset int64
}

// full reads len(buffer) bytes. A clean end before the first is io.EOF; any other shortage is damage.
func (c *counter) full(buffer []byte) error {
	start := c.offset
	n, err := io.ReadFull(c.r, buffer)
	c.offset += int64(n)
	switch {
	case err == nil:
		return nil
	case err == io.EOF:
		return io.EOF
	case err == io.ErrUnexpectedEOF:
		return c.damage(start, fmt.Sprintf("the file ends after %d of %d bytes", n, len(buffer)), nil)
	}
	return c.damage(c.offset, "the bytes cannot be read", err)
}

// rest is full for what must follow: an end here is damage as well.
func (c *counter) rest(buffer []byte) error {
	if len(buffer) == 0 {
		return nil
	}
	err := c.full(buffer)
	if err == io.EOF {
		return c.damage(c.offset, fmt.Sprintf("the file ends where %d more bytes should follow", len(buffer)), nil)
	}
	return err
}

// skip passes over n bytes.
func (c *counter) skip(n int64) error {
	done, err := io.CopyN(io.Discard, c.r, n)
	c.offset += done
	if err == io.EOF {
		return c.damage(c.offset, fmt.Sprintf("the file ends where %d more bytes should follow", n-done), nil)
	}
	if err != nil {
		return c.damage(c.offset, "the bytes cannot be read", err)
	}
	return nil
}

func (c *counter) damage(offset int64, reason string, err error) error {
	return &DamageError{File: c.file, Offset: offset, Reason: reason, Err: err}
}

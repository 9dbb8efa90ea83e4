package spool

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/otus-project/otus/event"
)

// A segment file is the magic, then frames to its end. A frame is, little endian:
//
//	crc32c   uint32   over everything behind it in the frame
//	length   uint32   bytes of the body, 1 to MaxRecordBytes
//	sequence uint64   greater than that of the frame before
//	kind     uint8    one of the codes below
//	body              the record as event.Record.Encode gives it
//
// The first frame that breaks one of these rules ends the segment: a kill or a power cut tears only the tail.
const (
	magic       = "OTUSSPL1"
	frameHeader = 4 + 4 + 8 + 1
)

// MaxRecordBytes bounds one encoded record. The largest real one is a capture of event.MaxCaptureBytes, which base64
// turns into 350 KB.
const MaxRecordBytes = 4 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errTorn says that the bytes at the reader's offset are not a whole, sound frame.
var errTorn = errors.New("torn frame")

type kindCode uint8

var kindCodes = map[event.Kind]kindCode{
	event.KindAlert:         1,
	event.KindDevice:        2,
	event.KindConnection:    3,
	event.KindProtocolEvent: 4,
	event.KindHealth:        5,
	event.KindCapture:       6,
}

// kept says which kinds survive when a full spool thins its oldest segments: what a person would have to act on.
func (k kindCode) kept() bool { return k == 1 || k == 2 || k == 6 }

type frame struct {
	sequence uint64
	kind     kindCode
	body     []byte // valid until the next read
}

func (f *frame) size() int64 { return int64(frameHeader + len(f.body)) }

func appendFrame(dst []byte, f frame) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(f.body)))
	dst = binary.LittleEndian.AppendUint64(dst, f.sequence)
	dst = append(dst, byte(f.kind))
	dst = append(dst, f.body...)
	binary.LittleEndian.PutUint32(dst[start:], crc32.Checksum(dst[start+4:], castagnoli))
	return dst
}

// frameReader reads frames in order. After an error offset is the end of the last sound frame.
type frameReader struct {
	in     *bufio.Reader
	offset int64
	last   uint64 // sequence of the frame before; frames must grow beyond it
	body   []byte
}

// newFrameReader reads frames from offset on, where a frame must begin; all have sequences above after.
func newFrameReader(in io.ReaderAt, offset, end int64, after uint64) *frameReader {
	section := io.NewSectionReader(in, offset, end-offset)
	return &frameReader{in: bufio.NewReaderSize(section, 64<<10), offset: offset, last: after}
}

// next gives the next frame, io.EOF at a clean end, or an error that wraps errTorn.
func (r *frameReader) next() (frame, error) {
	var header [frameHeader]byte
	if n, err := io.ReadFull(r.in, header[:]); err != nil {
		switch {
		case n == 0 && errors.Is(err, io.EOF):
			return frame{}, io.EOF
		case errors.Is(err, io.ErrUnexpectedEOF):
			return frame{}, fmt.Errorf("%w: cut in the header at offset %d", errTorn, r.offset)
		}
		return frame{}, fmt.Errorf("read frame at offset %d: %w", r.offset, err)
	}
	length := binary.LittleEndian.Uint32(header[4:])
	f := frame{sequence: binary.LittleEndian.Uint64(header[8:]), kind: kindCode(header[16])}
	if length == 0 || length > MaxRecordBytes {
		return frame{}, fmt.Errorf("%w: length %d at offset %d", errTorn, length, r.offset)
	}
	if cap(r.body) < int(length) {
		r.body = make([]byte, length)
	}
	f.body = r.body[:length]
	if _, err := io.ReadFull(r.in, f.body); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return frame{}, fmt.Errorf("%w: cut in the body at offset %d", errTorn, r.offset)
		}
		return frame{}, fmt.Errorf("read frame at offset %d: %w", r.offset, err)
	}
	sum := crc32.Update(crc32.Checksum(header[4:], castagnoli), castagnoli, f.body)
	if sum != binary.LittleEndian.Uint32(header[:]) {
		return frame{}, fmt.Errorf("%w: checksum at offset %d", errTorn, r.offset)
	}
	if f.sequence <= r.last {
		return frame{}, fmt.Errorf("%w: sequence %d after %d at offset %d", errTorn, f.sequence, r.last, r.offset)
	}
	r.last = f.sequence
	r.offset += f.size()
	return f, nil
}

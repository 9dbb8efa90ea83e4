package capture

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/otus-project/otus/sensor/packet"
)

// Sizes of what Writer writes, for those who must stay below a bound.
const (
	FileHeader   = 24 // bytes in front of the first frame
	RecordHeader = 16 // bytes in front of each frame
)

// Writer writes a pcap file with nanosecond times, in little-endian order whatever machine runs it.
type Writer struct {
	w    io.Writer
	link packet.LinkType
}

// NewWriter writes the file header. All frames must then be of that link type.
func NewWriter(w io.Writer, link packet.LinkType) (*Writer, error) {
	header := make([]byte, 0, FileHeader)
	header = binary.LittleEndian.AppendUint32(header, magicNano)
	header = binary.LittleEndian.AppendUint16(header, 2)
	header = binary.LittleEndian.AppendUint16(header, 4)
	header = binary.LittleEndian.AppendUint64(header, 0) // time zone and accuracy, unused
	header = binary.LittleEndian.AppendUint32(header, maxFrame)
	header = binary.LittleEndian.AppendUint32(header, uint32(link))
	if _, err := w.Write(header); err != nil {
		return nil, fmt.Errorf("write capture header: %w", err)
	}
	return &Writer{w: w, link: link}, nil
}

// Write appends one frame.
func (w *Writer) Write(f *packet.Frame) error {
	if f.Link != w.link {
		return fmt.Errorf("write frame %d: its link type is %d, the file's %d", f.Index, f.Link, w.link)
	}
	if len(f.Data) > maxFrame {
		return fmt.Errorf("write frame %d: %d bytes are more than a frame may have", f.Index, len(f.Data))
	}
	record := make([]byte, 0, RecordHeader+len(f.Data))
	record = binary.LittleEndian.AppendUint32(record, uint32(f.Time.Unix()))
	record = binary.LittleEndian.AppendUint32(record, uint32(f.Time.Nanosecond()))
	record = binary.LittleEndian.AppendUint32(record, uint32(len(f.Data)))
	record = binary.LittleEndian.AppendUint32(record, uint32(max(f.Length, len(f.Data))))
	record = append(record, f.Data...)
	if _, err := w.w.Write(record); err != nil {
		return fmt.Errorf("write frame %d: %w", f.Index, err)
	}
	return nil
}

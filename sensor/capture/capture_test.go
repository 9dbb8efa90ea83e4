package capture_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/otus-project/otus/internal/sharedtest"
	"github.com/otus-project/otus/sensor/capture"
	"github.com/otus-project/otus/sensor/packet"
)

var base = time.Date(2024, 3, 1, 8, 0, 0, 123456789, time.UTC)

// classic makes a pcap file by hand: three frames of 60, 61 and 62 bytes, a second apart.
func classic(order binary.AppendByteOrder, nano bool, link uint32) []byte {
	magic := uint32(0xa1b2c3d4)
	if nano {
		magic = 0xa1b23c4d
	}
	b := order.AppendUint32(nil, magic)
	b = order.AppendUint16(b, 2)
	b = order.AppendUint16(b, 4)
	b = order.AppendUint64(b, 0)
	b = order.AppendUint32(b, 65535)
	b = order.AppendUint32(b, link)
	for i := range 3 {
		t := base.Add(time.Duration(i) * time.Second)
		fraction := uint32(t.Nanosecond())
		if !nano {
			fraction /= 1000
		}
		b = order.AppendUint32(b, uint32(t.Unix()))
		b = order.AppendUint32(b, fraction)
		b = order.AppendUint32(b, uint32(60+i))
		b = order.AppendUint32(b, uint32(100+i))
		b = append(b, bytes.Repeat([]byte{byte('a' + i)}, 60+i)...)
	}
	return b
}

func block(order binary.AppendByteOrder, kind uint32, body []byte) []byte {
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	b := order.AppendUint32(nil, kind)
	b = order.AppendUint32(b, uint32(12+len(body)))
	b = append(b, body...)
	return order.AppendUint32(b, uint32(12+len(body)))
}

func section(order binary.AppendByteOrder) []byte {
	body := order.AppendUint32(nil, 0x1a2b3c4d)
	body = order.AppendUint16(body, 1)
	body = order.AppendUint16(body, 0)
	return block(order, 0x0a0d0d0a, order.AppendUint64(body, ^uint64(0)))
}

// describe makes an interface whose times count units of the resolution byte, moved by offset seconds.
func describe(order binary.AppendByteOrder, link uint16, resolution byte, offset int64) []byte {
	body := order.AppendUint16(nil, link)
	body = order.AppendUint16(body, 0)
	body = order.AppendUint32(body, 65535)
	body = order.AppendUint16(body, 9)
	body = order.AppendUint16(body, 1)
	body = append(body, resolution, 0, 0, 0)
	body = order.AppendUint16(body, 14)
	body = order.AppendUint16(body, 8)
	body = order.AppendUint64(body, uint64(offset))
	return block(order, 1, order.AppendUint32(body, 0))
}

func enhanced(order binary.AppendByteOrder, at uint32, units uint64, data []byte) []byte {
	body := order.AppendUint32(nil, at)
	body = order.AppendUint32(body, uint32(units>>32))
	body = order.AppendUint32(body, uint32(units))
	body = order.AppendUint32(body, uint32(len(data)))
	body = order.AppendUint32(body, uint32(len(data)))
	return block(order, 6, append(body, data...))
}

func file(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// read gives copies of all frames and the damage met.
func read(t testing.TB, paths ...string) ([]packet.Frame, []error) {
	t.Helper()
	files, err := capture.Open(paths...)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	return drain(t, files)
}

func drain(t testing.TB, s capture.Source) (frames []packet.Frame, damage []error) {
	t.Helper()
	for {
		f, err := s.Next()
		if err == io.EOF {
			return frames, damage
		}
		if err != nil {
			var d *capture.DamageError
			if !errors.As(err, &d) {
				t.Fatal(err)
			}
			damage = append(damage, err)
			continue
		}
		frame := *f
		frame.Data = bytes.Clone(f.Data)
		frames = append(frames, frame)
	}
}

func TestClassicVariants(t *testing.T) {
	for name, data := range map[string][]byte{
		"little-micro": classic(binary.LittleEndian, false, 1),
		"little-nano":  classic(binary.LittleEndian, true, 1),
		"big-micro":    classic(binary.BigEndian, false, 1),
		"big-nano":     classic(binary.BigEndian, true, 1),
	} {
		for _, zipped := range []bool{false, true} {
			if zipped {
				data = compress(data)
			}
			frames, damage := read(t, file(t, "x.pcap", data))
			if len(damage) != 0 || len(frames) != 3 {
				t.Errorf("%s gzip %v: %d frames, damage %v", name, zipped, len(frames), damage)
				continue
			}
			f := frames[2]
			want := base.Add(2 * time.Second)
			if strings.HasSuffix(name, "micro") {
				want = want.Truncate(time.Microsecond)
			}
			if !f.Time.Equal(want) || f.Index != 3 || f.Link != packet.LinkEthernet || f.Length != 102 || string(f.Data) != strings.Repeat("c", 62) {
				t.Errorf("%s gzip %v: got %+v, want time %v", name, zipped, f, want)
			}
		}
	}
}

func compress(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(data)
	w.Close()
	return b.Bytes()
}

func TestFrameCheckSequenceIsTaken(t *testing.T) {
	frames, damage := read(t, file(t, "x.pcap", classic(binary.LittleEndian, false, 1|1<<26|2<<28)))
	if len(damage) != 0 || frames[0].Length != 96 || len(frames[0].Data) != 60 {
		t.Errorf("length %d, data %d, damage %v; want 96 of 100 on the wire, all 60 captured", frames[0].Length, len(frames[0].Data), damage)
	}
}

func TestPcapngVariants(t *testing.T) {
	seconds, nanos := uint64(base.Unix()), uint64(base.Nanosecond())
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		var b []byte
		b = append(b, section(order)...)
		b = append(b, describe(order, 1, 9, 0)...)
		b = append(b, describe(order, 101, 6, 0)...)
		b = append(b, describe(order, 276, 0x80|10, 0)...)
		b = append(b, describe(order, 113, 3, int64(seconds))...)
		b = append(b, describe(order, 1, 10, 0)...)
		b = append(b, block(order, 0x0bad, []byte("a block nobody knows"))...)
		b = append(b, enhanced(order, 0, seconds*1e9+nanos, []byte("nano"))...)
		b = append(b, enhanced(order, 1, seconds*1e6+nanos/1000, []byte("micro"))...)
		b = append(b, enhanced(order, 2, seconds<<10+512, []byte("binary"))...)
		b = append(b, enhanced(order, 3, 250, []byte("offset"))...)
		b = append(b, enhanced(order, 4, seconds*1e10+nanos*10+9, []byte("tenths"))...)
		b = append(b, block(order, 3, append(order.AppendUint32(nil, 6), "simple"...))...)
		b = append(b, section(order)...) // its interfaces are new
		b = append(b, describe(order, 228, 9, 0)...)
		b = append(b, enhanced(order, 0, seconds*1e9, []byte("second section"))...)
		frames, damage := read(t, file(t, "x.pcapng", b))
		if len(damage) != 0 {
			t.Fatalf("%v: %v", order, damage)
		}
		whole := time.Unix(int64(seconds), 0).UTC()
		for i, want := range []struct {
			text string
			link packet.LinkType
			time time.Time
		}{
			{"nano", 1, base}, {"micro", 101, base.Truncate(time.Microsecond)}, {"binary", 276, whole.Add(time.Second / 2)},
			{"offset", 113, whole.Add(250 * time.Millisecond)}, {"tenths", 1, base}, {"simple", 1, base},
			{"second section", 228, whole},
		} {
			if i >= len(frames) {
				t.Fatalf("%v: only %d frames", order, len(frames))
			}
			f := frames[i]
			if string(f.Data) != want.text || f.Link != want.link || !f.Time.Equal(want.time) || f.Length != len(want.text) {
				t.Errorf("%v frame %d: got %q link %d at %v, want %+v", order, i, f.Data, f.Link, f.Time, want)
			}
		}
	}
}

// TestDamage: what came before is kept, and the error says where.
func TestDamage(t *testing.T) {
	sound := classic(binary.LittleEndian, false, 1)
	huge := bytes.Clone(sound)
	binary.LittleEndian.PutUint32(huge[24+76+8:], 1<<30)
	little := binary.LittleEndian
	ng := append(section(little), describe(little, 1, 9, 0)...)
	one := append(bytes.Clone(ng), enhanced(little, 0, 1, []byte("data"))...)
	for _, c := range []struct {
		name   string
		data   []byte
		frames int
		want   string
	}{
		{"empty", nil, 0, "at byte 0: the file is empty"},
		{"text", []byte("hello, world"), 0, "at byte 0: this is neither pcap nor pcapng: it begins with 68 65 6c 6c"},
		{"short", []byte{0xd4}, 0, "at byte 0: the file ends after 1 of 4 bytes"},
		{"cut-in-header", sound[:20], 0, "at byte 4: the file ends after 16 of 20 bytes"},
		{"cut-in-record", sound[:24+76+8], 1, "at byte 100: the file ends after 8 of 16 bytes"},
		{"cut-in-frame", sound[:24+76+40], 1, "at byte 116: the file ends after 24 of 61 bytes"},
		{"cut-behind-record", sound[:24+76+16], 1, "at byte 116: the file ends where 61 more bytes should follow"},
		{"version", append(bytes.Clone(sound[:4]), make([]byte, 20)...), 0, "at byte 4: pcap version 0 is not supported, want 2"},
		{"huge-frame", huge, 1, "at byte 100: a frame claims 1073741824 captured bytes, more than 262144"},
		{"ng-magic", append([]byte{0x0a, 0x0d, 0x0d, 0x0a}, make([]byte, 24)...), 0, "at byte 8: the section header has no byte-order magic"},
		{"ng-length", append(bytes.Clone(one), 6, 0, 0, 0, 3, 0, 0, 0), 1, "at byte 112: a block claims a length of 3 bytes"},
		{"ng-no-interface", append(bytes.Clone(one), enhanced(little, 7, 1, nil)...), 1, "at byte 108: a packet names interface 7 of 1"},
		{"ng-lengths-differ", append(bytes.Clone(one[:len(one)-4]), 99, 0, 0, 0), 0, "the block length is 36 in front and 99 behind"},
		{"ng-resolution", append(section(little), describe(little, 1, 77, 0)...), 0, "an interface has a time resolution that no clock has: 0x4d"},
		{"gzip", []byte{0x1f, 0x8b, 0, 0}, 0, "at byte 0: the gzip header is damaged"},
		{"gzip-cut", compress(sound)[:60], 0, "unexpected EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := file(t, "x", c.data)
			frames, damage := read(t, path, file(t, "next.pcap", sound))
			if len(damage) != 1 || !strings.Contains(damage[0].Error(), c.want) && c.name != "gzip-cut" {
				t.Fatalf("damage %v, want %q", damage, c.want)
			}
			if !strings.Contains(damage[0].Error(), path) {
				t.Errorf("%v does not name the file", damage[0])
			}
			if len(frames) < c.frames+3 || c.name != "gzip-cut" && len(frames) != c.frames+3 {
				t.Errorf("%d frames, want %d and 3 of the next file", len(frames), c.frames)
			}
			if last := frames[len(frames)-1]; last.Index != uint64(len(frames)) {
				t.Errorf("the count of frames is not continuous: %d of %d", last.Index, len(frames))
			}
		})
	}
}

func TestFoldersSkipAndShift(t *testing.T) {
	folder := t.TempDir()
	data := classic(binary.LittleEndian, true, 1)
	for _, name := range []string{"b.pcap", "a/z.pcapng", "c.pcap.gz", "notes.txt"} {
		path := filepath.Join(folder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		content := data
		if strings.HasSuffix(name, ".gz") {
			content = compress(data)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	summary, err := capture.Scan(folder)
	if err != nil || summary.Files != 3 || summary.Frames != 9 || !summary.First.Equal(base) || !summary.Last.Equal(base.Add(2*time.Second)) || summary.Bytes != 3*(100+101+102) {
		t.Fatalf("scan: %+v, %v", summary, err)
	}
	files, err := capture.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	if paths := files.Paths(); len(paths) != 3 || !strings.HasSuffix(paths[0], "z.pcapng") {
		t.Errorf("paths %q are not in sorted order", paths)
	}
	at := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	files.Shift = summary.ShiftTo(at)
	if err := files.Skip(4); err != nil {
		t.Fatal(err)
	}
	f, err := files.Next()
	if err != nil || f.Index != 5 || f.Data[0] != 'b' || !f.Time.Equal(at.Add(-time.Second)) {
		t.Errorf("after Skip(4): %+v, %v", f, err)
	}
	if err := files.Skip(10); err == nil || !strings.Contains(err.Error(), "the captures hold 9") {
		t.Errorf("skipped beyond the end: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := capture.Open(filepath.Join(t.TempDir(), "absent.pcap")); err == nil {
		t.Error("an absent file was opened")
	}
	if _, err := capture.Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "holds no file") {
		t.Errorf("an empty folder was opened: %v", err)
	}
}

func TestWriterRoundTrip(t *testing.T) {
	frames, _ := read(t, file(t, "x.pcap", classic(binary.BigEndian, true, 101)))
	var b bytes.Buffer
	w, err := capture.NewWriter(&b, packet.LinkRaw)
	if err != nil {
		t.Fatal(err)
	}
	size := capture.FileHeader
	for i := range frames {
		if err := w.Write(&frames[i]); err != nil {
			t.Fatal(err)
		}
		size += capture.RecordHeader + len(frames[i].Data)
	}
	if b.Len() != size {
		t.Errorf("wrote %d bytes, the sizes say %d", b.Len(), size)
	}
	again, damage := read(t, file(t, "y.pcap", b.Bytes()))
	if len(damage) != 0 || len(again) != len(frames) {
		t.Fatalf("%d frames, damage %v", len(again), damage)
	}
	for i := range frames {
		if a, b := frames[i], again[i]; !a.Time.Equal(b.Time) || a.Length != b.Length || a.Link != b.Link || !bytes.Equal(a.Data, b.Data) {
			t.Errorf("frame %d: wrote %+v, read %+v", i, a, b)
		}
	}
	frames[0].Link = packet.LinkEthernet
	if err := w.Write(&frames[0]); err == nil {
		t.Error("a frame of another link type was written")
	}
}

// TestReadersAgreeWithGopacket reads every capture with an independent reader too.
func TestReadersAgreeWithGopacket(t *testing.T) {
	for _, path := range sharedtest.Captures(t) {
		frames, _ := read(t, path)
		in, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		var other gopacket.PacketDataSource
		if strings.HasSuffix(path, "ng") {
			other, err = pcapgo.NewNgReader(in, pcapgo.NgReaderOptions{WantMixedLinkType: true})
		} else {
			other, err = pcapgo.NewReader(in)
		}
		if err != nil {
			in.Close()
			if strings.Contains(err.Error(), "Unknown magic") && len(frames) > 0 {
				continue // pcapng under the name .pcap
			}
			t.Errorf("%s: %v", path, err)
			continue
		}
		n := 0
		for {
			data, info, err := other.ReadPacketData()
			if err != nil {
				break
			}
			if n >= len(frames) {
				t.Errorf("%s: more than our %d frames", path, n)
				break
			}
			f := frames[n]
			if !bytes.Equal(f.Data, data) || !f.Time.Equal(info.Timestamp) || f.Length != max(info.Length, len(data)) {
				t.Errorf("%s frame %d: got %v %d bytes of %d, want %v %d of %d", path, n+1, f.Time, len(f.Data), f.Length, info.Timestamp, len(data), info.Length)
				break
			}
			n++
		}
		if n < len(frames) {
			t.Errorf("%s: we read %d frames, the other reader %d", path, len(frames), n)
		}
		in.Close()
	}
}

// TestCutAtEveryByte cuts small files everywhere: frames come in order, and at most one damage.
func TestCutAtEveryByte(t *testing.T) {
	little := binary.LittleEndian
	ng := append(section(little), describe(little, 1, 9, 0)...)
	ng = append(ng, enhanced(little, 0, 1, []byte("one"))...)
	ng = append(ng, enhanced(little, 0, 2, []byte("three"))...)
	for name, data := range map[string][]byte{"pcap": classic(little, false, 1), "pcapng": ng, "gzip": compress(classic(little, false, 1))} {
		path := filepath.Join(t.TempDir(), name)
		before := 0
		for n := range data {
			if err := os.WriteFile(path, data[:n], 0o644); err != nil {
				t.Fatal(err)
			}
			frames, damage := read(t, path)
			if len(frames) < before || len(damage) > 1 {
				t.Errorf("%s cut at %d: %d frames, %d damages", name, n, len(frames), len(damage))
			}
			before = len(frames)
		}
	}
}

func FuzzFiles(f *testing.F) {
	little := binary.LittleEndian
	f.Add(classic(little, false, 1))
	f.Add(classic(binary.BigEndian, true, 276))
	f.Add(compress(classic(little, false, 1)))
	ng := append(section(little), describe(little, 1, 9, 0)...)
	f.Add(append(ng, enhanced(little, 0, 1, []byte("data"))...))
	path := filepath.Join(f.TempDir(), "x")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		frames, _ := read(t, path)
		for _, frame := range frames {
			if frame.Length < len(frame.Data) || len(frame.Data) > 256<<10 || frame.Time.Year() > 2262 {
				t.Errorf("frame out of bounds: %d of %d bytes at %v", len(frame.Data), frame.Length, frame.Time)
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	path := sharedtest.Capture(b, "modbus/plant1_modbus.pcap")
	b.ReportAllocs()
	frames := 0
	for b.Loop() {
		files, err := capture.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		for {
			if _, err := files.Next(); err != nil {
				break
			}
			frames++
		}
		files.Close()
	}
	b.ReportMetric(float64(frames)/b.Elapsed().Seconds(), "frames/s")
}

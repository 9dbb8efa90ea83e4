package protocol

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/otus-project/otus/internal/pluglist"
	"github.com/otus-project/otus/internal/sharedtest"
	"github.com/otus-project/otus/sensor/capture/capturetest"
	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/dissect/dissecttest"
	"github.com/otus-project/otus/sensor/packet"
)

func TestListIsComplete(t *testing.T) {
	if err := pluglist.Check(pluglist.Protocols(sharedtest.Root(t))); err != nil {
		t.Error(err)
	}
}

// TestPluginsKeepTheirContract checks what the runner takes for granted.
func TestPluginsKeepTheirContract(t *testing.T) {
	for _, p := range All {
		t.Run(p.ID, func(t *testing.T) {
			if p.ID == "" || p.Name == "" || p.ID != strings.ToLower(p.ID) {
				t.Errorf("id %q, name %q: want both, the id in lower case", p.ID, p.Name)
			}
			if _, err := os.Stat(filepath.Join(p.ID, "testdata")); err != nil {
				t.Errorf("the plug-in has no testdata: %v", err)
			}
			checkReadme(t, filepath.Join(p.ID, "README.md"))
			detects := p.DetectTCP != nil || p.DetectUDP != nil
			if detects == (p.Packet != nil) {
				t.Error("want detectors or Packet, one of the two")
			}
			if detects != (p.NewParser != nil) {
				t.Error("want NewParser with detectors, and only with them")
			}
			empty := dissect.Probe{}
			for _, detect := range []func(dissect.Probe) dissect.Verdict{p.DetectTCP, p.DetectUDP} {
				if detect != nil && detect(empty).Match > dissect.More {
					t.Error("a detector recognises nothing at all")
				}
			}
		})
	}
}

func checkReadme(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
		return
	}
	var headings []string
	for line := range strings.Lines(string(text)) {
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			headings = append(headings, strings.TrimSpace(heading))
		}
	}
	if want := []string{"Name", "What it does", "Fields", "Limits", "References"}; !slices.Equal(headings, want) {
		t.Errorf("%s has the headings %q, want %q", path, headings, want)
	}
}

// TestRestartOnCaptures reads every capture straight and with a restart after every k-th frame.
func TestRestartOnCaptures(t *testing.T) {
	for _, path := range sharedtest.Captures(t) {
		t.Run(name(path), func(t *testing.T) {
			frames := capturetest.Frames(t, path)
			every := 7
			if len(frames) > 600 {
				every = len(frames) / 40
			}
			dissecttest.CheckRestore(t, frames, dissecttest.Options(t, All...), every)
		})
	}
}

// TestCapturesCutAtEveryByte cuts frames of every capture in front of every byte, one after another.
func TestCapturesCutAtEveryByte(t *testing.T) {
	const most = 80 // frames of one capture; a real frame has no header behind 1,600 bytes
	for _, path := range sharedtest.Captures(t) {
		t.Run(name(path), func(t *testing.T) {
			frames := capturetest.Frames(t, path)
			frames = frames[:min(len(frames), most)]
			o := dissecttest.Options(t, All...)
			h := &dissecttest.Recorder{Quiet: true}
			// Each run cuts all frames at the same place, so that every length comes before every other frame.
			for cut := range min(longest(frames), 1600) {
				r := dissect.NewRunner(o)
				for i := range frames {
					f := frames[i]
					if cut < len(f.Data) && (i+cut)%3 == 0 {
						f.Data = f.Data[:cut]
						if cut%2 == 0 {
							f.Length = cut
						}
					}
					r.Frame(&f, h)
				}
				r.Flush(h)
				h.Text.Reset()
			}
		})
	}
}

func longest(frames []packet.Frame) int {
	n := 0
	for i := range frames {
		n = max(n, len(frames[i].Data))
	}
	return n
}

func name(path string) string {
	return filepath.Base(filepath.Dir(path)) + "/" + filepath.Base(path)
}

// BenchmarkFront reads a capture of polling PLCs through decoding and all plug-ins.
func BenchmarkFront(b *testing.B) {
	frames := capturetest.Frames(b, sharedtest.Capture(b, "modbus/plant1_modbus.pcap"))
	o := dissecttest.Options(b, All...)
	var r *dissect.Runner
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if i%len(frames) == 0 {
			r = dissect.NewRunner(o)
		}
		r.Frame(&frames[i%len(frames)], silent{})
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
}

type silent struct{}

func (silent) Packet(*packet.Packet, *dissect.Connection)    {}
func (silent) Opened(*dissect.Connection)                    {}
func (silent) Recognised(*dissect.Connection)                {}
func (silent) Closed(*dissect.Connection, string)            {}
func (silent) Message(*dissect.Message, *dissect.Connection) {}

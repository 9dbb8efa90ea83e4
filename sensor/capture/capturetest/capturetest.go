// Package capturetest reads capture files for tests.
package capturetest

import (
	"testing"

	"github.com/otus-project/otus/sensor/capture"
	"github.com/otus-project/otus/sensor/packet"
)

// Frames gives copies of all frames of a capture. What lies behind damage is left out.
func Frames(t testing.TB, path string) []packet.Frame {
	t.Helper()
	files, err := capture.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	var frames []packet.Frame
	for {
		f, err := files.Next()
		if err != nil {
			return frames
		}
		frame := *f
		frame.Data = append([]byte{}, f.Data...)
		frames = append(frames, frame)
	}
}

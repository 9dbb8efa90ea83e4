package stage_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/internal/sharedtest"
	"github.com/otus-project/otus/sensor/capture"
	"github.com/otus-project/otus/sensor/engine"
	"github.com/otus-project/otus/sensor/protocol"
	"github.com/otus-project/otus/sensor/scenario"
	"github.com/otus-project/otus/sensor/stage"
)

// TestRestartChangesNoRow plays every scenario of every engine once in one go, and again with the stage stored and
// restored after every k-th frame: all rows must be the same bytes.
func TestRestartChangesNoRow(t *testing.T) {
	paths, err := filepath.Glob("../engine/*/testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	plugins := scenario.Plugins{Protocols: protocol.All, Engines: engine.All}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		id := strings.TrimSuffix(filepath.Base(path), ".txt")
		t.Run(id, func(t *testing.T) {
			want := scenario.Rows(t, id, string(text), plugins, 0)
			steps := []int{1, 3}
			if len(want) > 1000 || id == "denial-of-service" {
				steps = []int{601} // the state grows with the flood
			}
			for _, every := range steps {
				same(t, want, scenario.Rows(t, id, string(text), plugins, every), every)
			}
		})
	}
}

func same(t *testing.T, want, got []string, every int) {
	t.Helper()
	for n := range min(len(want), len(got)) {
		if want[n] != got[n] {
			t.Fatalf("row %d differs with a restart every %d frames:\n%s\nwithout:\n%s", n, every, got[n], want[n])
		}
	}
	if len(want) != len(got) {
		t.Fatalf("%d rows with a restart every %d frames, %d without", len(got), every, len(want))
	}
}

// TestRestartChangesNoRowOfACapture does the same on real traffic, with some twenty restarts per capture.
func TestRestartChangesNoRowOfACapture(t *testing.T) {
	for _, path := range sharedtest.Captures(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			frames, want := run(t, path, 0)
			every := max(1, frames/20)
			_, got := run(t, path, every)
			same(t, want, got, every)
		})
	}
}

// run reads a capture in operational mode and returns the number of frames and all rows.
func run(t *testing.T, path string, restart int) (int, []string) {
	t.Helper()
	files, err := capture.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	var rows []string
	row := func(r any) {
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, string(data))
	}
	all := map[string]bool{}
	for _, e := range engine.All {
		for _, typ := range e.Types {
			all[typ.ID] = true
		}
	}
	o := stage.Options{SensorID: "s", Mode: event.ModeOperational, Protocols: protocol.All, Engines: engine.All, Types: all,
		Alert: func(a event.Alert) { row(a) }, Device: func(d event.Device) { row(d) },
		Connection: func(c event.Connection) { row(c) }, ProtocolEvent: func(e event.ProtocolEvent) { row(e) },
		OnPanic: func(plugin string, value any) { t.Errorf("plug-in %s failed: %v", plugin, value) }}
	s := stage.New(o)
	count := 0
	for {
		f, err := files.Next()
		var damage *capture.DamageError
		if errors.Is(err, io.EOF) || errors.As(err, &damage) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		s.Frame(f)
		count++
		if restart > 0 && count%restart == 0 {
			state, err := s.Snapshot()
			if err != nil {
				t.Fatal(err)
			}
			s = stage.New(o)
			if err := s.Restore(state); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.Flush(s.Now())
	return count, rows
}

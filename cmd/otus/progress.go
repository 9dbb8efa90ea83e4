package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/otus-project/otus/sensor"
)

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// progressBar draws one line on a terminal, at most ten times a second, and nothing during the first second.
func progressBar(w io.Writer, label string, now func() time.Time) func(sensor.Progress) {
	start := now()
	var last time.Time
	drawn := false
	return func(p sensor.Progress) {
		at := now()
		if done := p.Total > 0 && p.Frames >= p.Total; done {
			if drawn {
				fmt.Fprint(w, "\r\x1b[K")
				drawn = false
			}
			return
		}
		if at.Sub(start) < time.Second || at.Sub(last) < 100*time.Millisecond {
			return
		}
		last, drawn = at, true
		if p.Total == 0 {
			fmt.Fprintf(w, "\r\x1b[K%s %d frames", label, p.Frames)
			return
		}
		const width = 30
		full := int(p.Frames * width / p.Total)
		rate := float64(p.Frames) / at.Sub(start).Seconds()
		fmt.Fprintf(w, "\r\x1b[K%s [%s%s] %3d %% %.0f frames/s", label,
			strings.Repeat("=", full), strings.Repeat(" ", width-full), p.Frames*100/p.Total, rate)
	}
}

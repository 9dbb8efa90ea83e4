package main

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"
)

// BenchmarkFrameToIncident measures from the instant a frame leaves the capture until the queue, read over HTTP, shows
// the incident of the alert it raised. A thousand clients, 20 ms apart, are refused by one controller; the capture is
// replayed at the pace it was recorded with, so that a frame's time is the instant of its emission.
func BenchmarkFrameToIncident(b *testing.B) {
	const (
		alerts = 1000
		every  = 20 * time.Millisecond
		look   = 25 * time.Millisecond // between two readings of the queue; part of what is measured
	)
	for b.Loop() {
		file := exceptions(b, alerts, every)
		p, c := serving(b, b.TempDir(), "--replay", file, "--speed", "1", "--connect")
		ctx := b.Context()
		began := time.Now()
		var delays []time.Duration
		seen := map[int]bool{}
		for len(seen) < alerts && time.Since(began) < alerts*every+30*time.Second {
			var page struct {
				Items []struct {
					Number            int
					FirstActivityTime time.Time
				}
			}
			asked := time.Now()
			// The newest ones only, but more than can have come since the last reading.
			if err := c.call(ctx, "GET", incidentsPath+"?limit=200&sort=-createdTime", nil, &page); err != nil {
				b.Fatal(err)
			}
			answered := time.Now()
			for _, i := range page.Items {
				if !seen[i.Number] {
					seen[i.Number] = true
					delays = append(delays, answered.Sub(i.FirstActivityTime))
				}
			}
			time.Sleep(look - time.Since(asked))
		}
		p.stop()
		if len(delays) != alerts {
			b.Fatalf("%d incidents came, want %d", len(delays), alerts)
		}
		slices.Sort(delays)
		if delays[0] < 0 {
			b.Errorf("an incident came %v before its frame", -delays[0])
		}
		for name, n := range map[string]int{"p50-ms": alerts / 2, "p99-ms": alerts*99/100 - 1, "max-ms": alerts - 1} {
			b.ReportMetric(float64(delays[n].Microseconds())/1000, name)
		}
	}
}

// BenchmarkAnalyze reads the simulated plant's two quiet weeks.
func BenchmarkAnalyze(b *testing.B) {
	learning, _ := plantCaptures(b, learningDays)
	info, err := os.Stat(learning)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
	frames := 0.0
	for b.Loop() {
		out, errs, code := otus(b, "analyze", "--output", "json", learning)
		if code != 0 {
			b.Fatalf("exit %d: %s", code, errs)
		}
		var report struct{ Capture struct{ Packets float64 } }
		decode(b, out, &report)
		frames += report.Capture.Packets
	}
	if frames == 0 {
		b.Fatal(fmt.Errorf("no frames in %s", learning))
	}
	b.ReportMetric(frames/b.Elapsed().Seconds(), "frames/s")
}

package incident

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/otus-project/otus/siem/state"
)

// BenchmarkOpen opens incidents a hundred per transaction, as a burst of alerts does.
func BenchmarkOpen(b *testing.B) {
	db, err := state.Open(b.TempDir(), state.Options{Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	s := NewService(db, Options{Workspace: db.Default()})
	n := 0
	for b.Loop() {
		err := db.Write(b.Context(), func(ctx context.Context, tx *state.Tx) error {
			for range 100 {
				n++
				if _, err := s.Open(ctx, tx, sensorAlert(fmt.Sprint(n))); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/incident")
}

// BenchmarkList reads a page with its facets out of 20,000 incidents.
func BenchmarkList(b *testing.B) {
	db, err := state.Open(b.TempDir(), state.Options{Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	s := NewService(db, Options{Workspace: db.Default()})
	for k := range 20 {
		if err := db.Write(b.Context(), func(ctx context.Context, tx *state.Tx) error {
			for n := range 1000 {
				if _, err := s.Open(ctx, tx, sensorAlert(fmt.Sprint(k, "-", n))); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	for name, f := range map[string]Filter{"newest": {}, "text": {Text: "plc-1"}, "filtered": {Status: []string{New}, Severity: []string{"Low"}}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.List(b.Context(), f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

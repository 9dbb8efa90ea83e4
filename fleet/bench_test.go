package fleet

import (
	"fmt"
	"testing"

	"github.com/otus-project/otus/event"
)

// BenchmarkIngest sends batches as a busy sensor does: mostly connections and protocol events, some devices and alerts.
func BenchmarkIngest(b *testing.B) {
	for _, size := range []int{1, 100, 500} {
		b.Run(fmt.Sprintf("batch%d", size), func(b *testing.B) {
			r := newRig(b, Options{})
			s := r.local()
			next := uint64(1)
			for b.Loop() {
				batch := event.Batch{SensorID: s.ID}
				for range size {
					rec := connectionRecord(s.ID, next)
					switch {
					case next%50 == 0:
						rec = alertRecord(s.ID, next, fmt.Sprint("alert-", next/500), int(next%500)+1, event.AlertNew)
					case next%25 == 0:
						rec = deviceRecord(s.ID, next, fmt.Sprint("device-", next/25%200), int(next))
					}
					batch.Records = append(batch.Records, rec)
					next++
				}
				r.send(batch)
			}
			b.ReportMetric(float64(next-1)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

func BenchmarkRead(b *testing.B) {
	r := newRig(b, Options{})
	s := r.local()
	for n := uint64(0); n < 100; n++ {
		batch := event.Batch{SensorID: s.ID}
		for i := uint64(1); i <= 500; i++ {
			batch.Records = append(batch.Records, connectionRecord(s.ID, n*500+i))
		}
		r.send(batch)
	}
	read := 0
	for b.Loop() {
		for after := uint64(0); after < 50_000; after += 500 {
			entries, err := r.Read(b.Context(), s.SubscriptionID, after, 500)
			if err != nil || len(entries) != 500 {
				b.Fatalf("read after %d: %d entries, %v", after, len(entries), err)
			}
			read += 500
		}
	}
	b.ReportMetric(float64(read)/b.Elapsed().Seconds(), "entries/s")
}

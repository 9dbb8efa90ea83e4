package fleet

import (
	"fmt"
	"testing"
	"time"

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

// BenchmarkPages asks for the pages of a large fleet: 20,000 alerts and 5,000 devices.
func BenchmarkPages(b *testing.B) {
	r := newRig(b, Options{})
	s := r.local()
	for n := uint64(0); n < 25_000; n += 500 {
		batch := event.Batch{SensorID: s.ID}
		for i := n + 1; i <= n+500; i++ {
			if i%5 == 0 {
				batch.Records = append(batch.Records, deviceRecord(s.ID, i, fmt.Sprint("device-", i), 1))
				continue
			}
			rec := alertRecord(s.ID, i, fmt.Sprint("alert-", i), 1, []event.AlertStatus{event.AlertNew, event.AlertActive, event.AlertClosed}[i%3])
			rec.Alert.Source.DeviceID = fmt.Sprint("device-", i/5*5)
			rec.Alert.Devices = []event.Device{*deviceRecord(s.ID, 1, rec.Alert.Source.DeviceID, 1).Device, *deviceRecord(s.ID, 1, "device-plc", 1).Device}
			rec.Alert.LastActivity = start.Add(time.Duration(i) * time.Second)
			batch.Records = append(batch.Records, rec)
		}
		r.send(batch)
	}
	for name, ask := range map[string]func() error{
		"alerts":     func() error { _, err := r.Alerts(b.Context(), AlertFilter{Status: []string{"New"}}); return err },
		"search":     func() error { _, err := r.Alerts(b.Context(), AlertFilter{Q: "alert-777"}); return err },
		"devices":    func() error { _, err := r.Devices(b.Context(), DeviceFilter{}); return err },
		"mostAlerts": func() error { _, err := r.Devices(b.Context(), DeviceFilter{Sort: "-openAlerts"}); return err },
		"summary":    func() error { _, err := r.Summary(b.Context()); return err },
		"state":      func() error { _, _, err := r.AlertState(b.Context(), "alert-777"); return err },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := ask(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

package iot

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"

	"github.com/otus-project/otus/content"
	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/siem/ingest"
	"github.com/otus-project/otus/siem/store"
	"github.com/otus-project/otus/siem/store/duckdb"
)

// residentMB is the memory of this process; 0 where /proc is absent.
func residentMB() float64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, resident int64
	_, _ = fmt.Sscan(string(b), &size, &resident)
	return float64(resident*int64(os.Getpagesize())) / (1 << 20)
}

// BenchmarkAlertRows stores 100,000 full SecurityAlert rows in batches of 500 and tells rows per second, and what
// the process takes in memory after opening the store and at the end.
func BenchmarkAlertRows(b *testing.B) {
	tables, err := store.LoadTables(content.FS())
	if err != nil {
		b.Fatal(err)
	}
	before := residentMB()
	path := filepath.Join(b.TempDir(), "log.duckdb")
	st, err := duckdb.OpenStore(path, tables, duckdb.StoreOptions{})
	if err != nil {
		b.Fatal(err)
	}
	service := ingest.New(st, ingest.Options{})
	defer func() {
		service.Close()
		if err := st.Close(); err != nil {
			b.Error(err)
		}
	}()
	opened := residentMB()
	const total, size = 100_000, 500
	sequence := uint64(0)
	for b.Loop() {
		for range total / size {
			batch := ingest.Batch{Sender: "bench", Sequence: sequence + 1, Rows: map[string][]ingest.Row{}}
			for i := range size {
				e := event.Entry{Place: event.Place{SubscriptionID: "s", SensorID: "sensor-1", SensorName: "local", Site: "Plant", Zone: "Cell 1"},
					Record: alert(int(sequence)*size+i, 1, event.AlertNew)}
				e.Record.Alert.Devices = []event.Device{{ID: "hmi", Name: "HMI", Type: "HMI"}, {ID: "plc", Name: "PLC-1", Type: "PLC"}}
				table, row, _ := RowOf(workspace, &e)
				batch.Rows[table] = append(batch.Rows[table], row)
			}
			sequence++
			if _, err := service.Append(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(total*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	debug.FreeOSMemory()
	b.ReportMetric(before, "MB-before")
	b.ReportMetric(opened, "MB-opened")
	b.ReportMetric(residentMB(), "MB-after")
	if info, err := os.Stat(path); err == nil {
		b.ReportMetric(float64(info.Size())/(1<<20), "MB-file")
	}
}

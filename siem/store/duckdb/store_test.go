package duckdb

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/otus-project/otus/siem/store"
	"github.com/otus-project/otus/siem/store/storetest"
)

func openStore(t testing.TB, path string, tables []*store.Table) *Store {
	t.Helper()
	s, err := OpenStore(path, tables, StoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStoreInFile(t *testing.T) {
	storetest.Run(t, func(t *testing.T, tables []*store.Table) store.Store {
		return openStore(t, filepath.Join(t.TempDir(), "log.duckdb"), tables)
	})
}

func TestStoreInMemory(t *testing.T) {
	storetest.Run(t, func(t *testing.T, tables []*store.Table) store.Store { return openStore(t, "", tables) })
}

func TestReopenKeepsAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.duckdb")
	tables := storetest.Tables(t, storetest.Thing)
	batch := store.Batch{Sender: "a", Sequence: 7, Rows: map[string][]store.Row{"Thing": {
		{"Small": 1, store.KeyColumn: store.Key{ID: "k", Revision: 1}}, {"Small": 2}}}}
	s := openStore(t, path, tables)
	storetest.Append(t, s, storetest.Noon, batch)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, path, tables)
	if done := storetest.Append(t, s, storetest.Noon, batch); done.Stored[0] {
		t.Error("a repeated batch was stored after reopening")
	}
	batch.Sequence = 8
	if done := storetest.Append(t, s, storetest.Noon, batch); done.Tables["Thing"] != (store.Range{First: 3, Last: 3}) {
		t.Errorf("got %v, want the row with the known key left out and numbers to go on", done.Tables)
	}
}

func TestSendersAreWrittenAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.duckdb")
	tables := storetest.Tables(t, storetest.Thing)
	s := openStore(t, path, tables)
	storetest.Append(t, s, storetest.Noon, store.Batch{Sender: "quiet", Sequence: 5, Rows: map[string][]store.Row{"Thing": {{}}}})
	sequence := uint64(0)
	for range 3 {
		s.senderRows += maxSenderRows - 2
		for range 5 {
			sequence++
			storetest.Append(t, s, storetest.Noon, store.Batch{Sender: "a", Sequence: sequence})
		}
	}
	if n := storetest.Select(t, s, "SELECT count(*) FROM _sender")[0][0].(int64); n > 8 {
		t.Errorf("%d rows in _sender", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, path, tables)
	for name, want := range map[string]store.Sender{"quiet": {Cursor: 5, Rows: 1, LastRows: storetest.Noon}, "a": {Cursor: sequence}} {
		if got, err := s.Sender(t.Context(), name); got != want || err != nil {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, want)
		}
	}
}

func TestColumnsAreAdded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.duckdb")
	s := openStore(t, path, storetest.Tables(t, storetest.Thing))
	storetest.Append(t, s, storetest.Noon, store.Batch{Sender: "a", Sequence: 1, Rows: map[string][]store.Row{"Thing": {{"Small": 1}}}})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	more := storetest.Thing + "  - {name: Extra, type: string, description: d.}\n  - {name: More, type: long, description: d.}\n"
	s = openStore(t, path, storetest.Tables(t, more, strings.Replace(storetest.Thing, "Thing", "Other", 1)))
	storetest.Append(t, s, storetest.Noon, store.Batch{Sender: "a", Sequence: 2, Rows: map[string][]store.Row{
		"Thing": {{"Small": 2, "Extra": "x", "More": 5}}, "Other": {{}}}})
	got := storetest.Select(t, s, `SELECT "Small", "Extra", "More" FROM "Thing" ORDER BY "_IngestSeq"`)
	if fmt.Sprint(got) != "[[1  <nil>] [2 x 5]]" {
		t.Errorf("got %v", got)
	}
}

func TestOtherDifferencesRefuseToStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.duckdb")
	if err := openStore(t, path, storetest.Tables(t, storetest.Thing)).Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, to, want string }{
		{"{name: Big, type: long,", "{name: Big, type: datetime,", `table "Thing": column "Big" is long in the file but declared as datetime`},
		{"{name: Big, type: long,", "{name: Bigger, type: long,", `table "Thing": column "Big" is in the file but not declared`},
		{"name: Thing", "name: Other", `table "Thing" is in the file but not declared`},
	} {
		_, err := OpenStore(path, storetest.Tables(t, strings.Replace(storetest.Thing, c.from, c.to, 1)), StoreOptions{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.to, err, c.want)
		}
	}
	// Nothing was changed by the refusals.
	if err := openStore(t, path, storetest.Tables(t, storetest.Thing)).Close(); err != nil {
		t.Fatal(err)
	}
	db := open(t, path, Options{})
	exec1(t, db, "UPDATE _meta SET value = '2' WHERE name = 'version'")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := OpenStore(path, storetest.Tables(t, storetest.Thing), StoreOptions{})
	if err == nil || !strings.Contains(err.Error(), "written by a newer program") {
		t.Errorf("newer file: got %v", err)
	}
}

// TestKillWhileAppending kills a process that appends, at random moments, and checks after each kill that
// every batch it was told is stored is there, whole and once.
func TestKillWhileAppending(t *testing.T) {
	if path := os.Getenv("OTUS_TEST_APPEND"); path != "" {
		appendForEver(t, path)
	}
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	path := filepath.Join(t.TempDir(), "log.duckdb")
	acknowledged := uint64(0)
	for round := range rounds {
		child := exec.Command(os.Args[0], "-test.run=^TestKillWhileAppending$")
		child.Env = append(os.Environ(), "OTUS_TEST_APPEND="+path)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Duration(150+rand.IntN(400))*time.Millisecond, func() { _ = child.Process.Kill() })
		acknowledged = max(acknowledged, lastNumber(t, out))
		_ = child.Wait()
		s := openStore(t, path, storetest.Tables(t, storetest.Thing))
		sender, err := s.Sender(t.Context(), "a")
		cursor := sender.Cursor
		if err != nil || cursor < acknowledged {
			t.Fatalf("round %d: cursor %d, but %d was acknowledged (%v)", round, cursor, acknowledged, err)
		}
		got := storetest.Select(t, s, `SELECT count(*), count(DISTINCT "Big"), coalesce(max("Big"), -1), count(DISTINCT "_IngestSeq"), coalesce(max("_IngestSeq"), 0) FROM "Thing"`)
		n := int64(cursor) * rowsPerBatch
		if want := fmt.Sprint([][]any{{n, n, n - 1, n, n}}); fmt.Sprint(got) != want {
			t.Fatalf("round %d: got %v, want %v", round, got, want)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if acknowledged < uint64(rounds) {
		t.Errorf("only %d batches in %d rounds: the kills came too early to show anything", acknowledged, rounds)
	}
}

const rowsPerBatch = 50

func appendForEver(t *testing.T, path string) {
	s := openStore(t, path, storetest.Tables(t, storetest.Thing))
	sender, err := s.Sender(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	sequence := sender.Cursor
	for {
		rows := make([]store.Row, rowsPerBatch)
		for i := range rows {
			rows[i] = store.Row{"Big": int64(sequence)*rowsPerBatch + int64(i), "TenantId": strings.Repeat("x", 50)}
		}
		sequence++
		storetest.Append(t, s, storetest.Noon, store.Batch{Sender: "a", Sequence: sequence, Rows: map[string][]store.Row{"Thing": rows}})
		fmt.Println("stored", sequence)
		if sequence%40 == 0 {
			if err := s.Checkpoint(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func lastNumber(t *testing.T, out io.Reader) uint64 {
	t.Helper()
	var last uint64
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var n uint64
		if _, err := fmt.Sscanf(lines.Text(), "stored %d", &n); err == nil {
			last = n
		} else {
			t.Log(lines.Text())
		}
	}
	return last
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1, 100, 5000} {
		b.Run(fmt.Sprintf("rows=%d", size), func(b *testing.B) {
			s := openStore(b, filepath.Join(b.TempDir(), "log.duckdb"), storetest.Tables(b, storetest.Thing))
			rows := make([]store.Row, size)
			for i := range rows {
				rows[i] = store.Row{"TimeGenerated": storetest.Noon, "TenantId": "00000000-0000-0000-0000-000000000001", "Type": "Thing", "Small": i, "Big": int64(i),
					"Number": 0.5, "Flag": true, "Bag": []byte(nil)}
				delete(rows[i], "Bag")
			}
			sequence := uint64(0)
			for b.Loop() {
				sequence++
				storetest.Append(b, s, storetest.Noon, store.Batch{Sender: "a", Sequence: sequence, Rows: map[string][]store.Row{"Thing": rows}})
			}
			b.ReportMetric(float64(size)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

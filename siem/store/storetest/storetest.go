// Package storetest holds the tests every log store must pass.
package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/otus-project/otus/siem/store"
)

// Thing is the declaration of the table the tests use: one column of every type.
const Thing = `name: Thing
description: For tests.
solutions: [Test]
retention: 10d
columns:
  - {name: TimeGenerated, type: datetime, description: d.}
  - {name: TenantId, type: string, description: d.}
  - {name: Type, type: string, description: d.}
  - {name: Flag, type: bool, description: d.}
  - {name: Small, type: int, description: d.}
  - {name: Big, type: long, description: d.}
  - {name: Number, type: real, description: d.}
  - {name: Span, type: timespan, description: d.}
  - {name: ID, type: guid, description: d.}
  - {name: Bag, type: dynamic, description: d.}
  - {name: Price, type: decimal, description: d.}
`

// Tables loads table declarations from YAML texts.
func Tables(t testing.TB, texts ...string) []*store.Table {
	t.Helper()
	files := fstest.MapFS{}
	for i, text := range texts {
		files[fmt.Sprintf("tables/t%d.yaml", i)] = &fstest.MapFile{Data: []byte(text)}
	}
	tables, err := store.LoadTables(files)
	if err != nil {
		t.Fatal(err)
	}
	return tables
}

// Append prepares and appends batches, failing the test on an error.
func Append(t testing.TB, s store.Store, at time.Time, batches ...store.Batch) store.Appended {
	t.Helper()
	var prepared []*store.Prepared
	for _, b := range batches {
		p, err := s.Prepare(b)
		if err != nil {
			t.Fatal(err)
		}
		prepared = append(prepared, p)
	}
	done, err := s.Append(t.Context(), at, prepared)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// Select reads all rows of a query.
func Select(t testing.TB, s store.Store, sql string, args ...any) [][]any {
	t.Helper()
	rows, err := s.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	defer rows.Close()
	var all [][]any
	for rows.Next() {
		all = append(all, rows.Row())
	}
	if rows.Err() != nil {
		t.Fatalf("%s: %v", sql, rows.Err())
	}
	return all
}

// Noon is when the tests' rows are ingested.
var Noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func one(sender string, sequence uint64, rows ...store.Row) store.Batch {
	return store.Batch{Sender: sender, Sequence: sequence, Rows: map[string][]store.Row{"Thing": rows}}
}

func compare(t *testing.T, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +\n%s", diff)
	}
}

// Run runs all tests; open gives a new, empty store with those tables.
func Run(t *testing.T, open func(t *testing.T, tables []*store.Table) store.Store) {
	fresh := func(t *testing.T) store.Store { return open(t, Tables(t, Thing)) }
	t.Run("values", func(t *testing.T) { values(t, fresh(t)) })
	t.Run("refused values", func(t *testing.T) { refused(t, fresh(t)) })
	t.Run("cursor", func(t *testing.T) { cursor(t, fresh(t)) })
	t.Run("all or nothing", func(t *testing.T) { allOrNothing(t, fresh(t)) })
	t.Run("ingest sequence", func(t *testing.T) {
		ingestSequence(t, open(t, Tables(t, Thing, strings.Replace(Thing, "Thing", "Other", 1))))
	})
	t.Run("keys", func(t *testing.T) { keys(t, fresh(t)) })
	t.Run("retention", func(t *testing.T) { retention(t, fresh(t)) })
	t.Run("readers see whole batches", func(t *testing.T) { snapshots(t, fresh(t)) })
	t.Run("cancel", func(t *testing.T) { cancel(t, fresh(t)) })
	t.Run("closed", func(t *testing.T) { closed(t, fresh(t)) })
}

func values(t *testing.T, s store.Store) {
	when := time.Date(2026, 5, 1, 11, 59, 0, 123456789, time.FixedZone("", 3600))
	Append(t, s, Noon, one("a", 1, store.Row{
		"TimeGenerated": when, "TenantId": "tenant", "Type": "Thing", "Flag": true, "Small": 7, "Big": uint64(1) << 60, "Number": 0.5,
		"Span": 90 * time.Minute, "ID": "{6BA7B810-9DAD-11D1-80B4-00C04FD430C8}", "Price": "12.50",
		"Bag": json.RawMessage(` {"b": [1.10, 18446744073709551616], "a":"\u00e9<\/>", "b": null} `),
	}, store.Row{"TimeGenerated": time.Time{}, "TenantId": "bad \xff text", "Bag": []string{"a", "<b>"}}))
	compare(t, Select(t, s, `SELECT "TimeGenerated", "TenantId", "Type", "Flag", "Small", "Big", "Number", "Span", "ID", "Bag", "Price",
		"_IngestSeq", "_IngestionTime" FROM "Thing" ORDER BY "_IngestSeq"`), [][]any{
		{when.Truncate(time.Second).Unix()*store.TicksPerSecond + 1234567, "tenant", "Thing", true, int64(7), int64(1) << 60, 0.5,
			int64(90 * 60 * store.TicksPerSecond), "6ba7b810-9dad-11d1-80b4-00c04fd430c8", `{"b":null,"a":"é</>"}`, "12.50",
			int64(1), Noon.Unix() * store.TicksPerSecond},
		{nil, "bad \uFFFD text", "", nil, nil, nil, nil, nil, nil, `["a","<b>"]`, nil, int64(2), Noon.Unix() * store.TicksPerSecond},
	})
	counts, err := s.Counts(t.Context())
	if err != nil || counts["Thing"] != 2 {
		t.Errorf("counts: got %v, %v", counts, err)
	}
}

func refused(t *testing.T, s store.Store) {
	for _, c := range []struct {
		row  store.Row
		want string
	}{
		{store.Row{"Flag": "true"}, `table "Thing", row 0, column "Flag": want a bool, got string true`},
		{store.Row{"Small": 1 << 31}, `column "Small": want an integer of 32 bits`},
		{store.Row{"Big": uint64(1) << 63}, `column "Big": want an integer of 64 bits`},
		{store.Row{"Big": 1.5}, `column "Big"`},
		{store.Row{"Number": "1"}, `column "Number": want a number`},
		{store.Row{"TimeGenerated": "2026-01-01"}, `column "TimeGenerated": want a time`},
		{store.Row{"TimeGenerated": time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, `years 1 to 9999`},
		{store.Row{"Span": 5}, `column "Span": want a duration`},
		{store.Row{"ID": "not a guid"}, `column "ID": want a GUID`},
		{store.Row{"Type": 5}, `column "Type": want text`},
		{store.Row{"Type": strings.Repeat("x", store.MaxString+1)}, `at most 262144 bytes`},
		{store.Row{"Bag": json.RawMessage(`{"a":`)}, `column "Bag": want JSON`},
		{store.Row{"Bag": json.RawMessage(`[1] [2]`)}, `more text`},
		{store.Row{"Bag": json.RawMessage(`NaN`)}, `want JSON`},
		{store.Row{"Bag": json.RawMessage(strings.Repeat("[", 300) + strings.Repeat("]", 300))}, `nested deeper`},
		{store.Row{"Bag": json.RawMessage(`"` + strings.Repeat("x", store.MaxDynamic) + `"`)}, `at most 1048576 bytes`},
		{store.Row{"Bag": func() {}}, `want a value that encodes to JSON`},
		{store.Row{"Price": "1e5"}, `column "Price"`},
		{store.Row{"Nope": 1}, `column "Nope": the table has no such column`},
		{store.Row{"Type": store.IfFirst{First: "a", Again: "b"}}, `want a Key`},
	} {
		_, err := s.Prepare(one("a", 1, store.Row{}, c.row))
		var bad *store.ValueError
		want := strings.Replace(c.want, "row 0", "row 1", 1)
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %q", c.row, err, want)
		}
	}
	if _, err := s.Prepare(store.Batch{Sender: "a", Sequence: 1, Rows: map[string][]store.Row{"Nope": {{}}}}); err == nil {
		t.Error("unknown table: no error")
	}
	if _, err := s.Prepare(store.Batch{Sequence: 1}); err == nil {
		t.Error("no sender: no error")
	}
}

func cursor(t *testing.T, s store.Store) {
	done := Append(t, s, Noon, one("a", 5, store.Row{"Small": 1}), one("b", 2, store.Row{"Small": 2}), one("a", 5, store.Row{"Small": 3}),
		one("a", 9, store.Row{"Small": 4}), one("a", 7, store.Row{"Small": 5}))
	compare(t, done, store.Appended{Stored: []bool{true, true, false, true, false}, Tables: map[string]store.Range{"Thing": {First: 1, Last: 3}}})
	done = Append(t, s, Noon, one("a", 9, store.Row{"Small": 6}))
	compare(t, done, store.Appended{Stored: []bool{false}, Tables: map[string]store.Range{}})
	done = Append(t, s, Noon, one("c", 3)) // no rows, yet the cursor moves
	compare(t, done, store.Appended{Stored: []bool{true}, Tables: map[string]store.Range{}})
	compare(t, Select(t, s, `SELECT "Small" FROM "Thing" ORDER BY "_IngestSeq"`), [][]any{{int64(1)}, {int64(2)}, {int64(4)}})
	for name, want := range map[string]store.Sender{"a": {Cursor: 9, Rows: 2, LastRows: Noon}, "b": {Cursor: 2, Rows: 1, LastRows: Noon}, "c": {Cursor: 3}, "d": {}} {
		got, err := s.Sender(t.Context(), name)
		if err != nil {
			t.Error(err)
		}
		compare(t, got, want)
	}
}

func allOrNothing(t *testing.T, s store.Store) {
	p, err := s.Prepare(one("a", 1, store.Row{"Small": 1}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := s.Append(ctx, Noon, []*store.Prepared{p}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled append: got %v", err)
	}
	if got, _ := s.Sender(t.Context(), "a"); got != (store.Sender{}) {
		t.Errorf("cursor moved by a failed append: %v", got)
	}
	done, err := s.Append(t.Context(), Noon, []*store.Prepared{p})
	if err != nil || !done.Stored[0] {
		t.Errorf("second try: got %v, %v", done, err)
	}
	compare(t, Select(t, s, `SELECT count(*) FROM "Thing"`), [][]any{{int64(1)}})
}

func ingestSequence(t *testing.T, s store.Store) {
	both := store.Batch{Sender: "a", Sequence: 1, Rows: map[string][]store.Row{"Thing": {{}, {}}, "Other": {{}}}}
	done := Append(t, s, Noon, both)
	compare(t, done.Tables, map[string]store.Range{"Other": {First: 1, Last: 1}, "Thing": {First: 2, Last: 3}})
	both.Sequence = 2
	done = Append(t, s, Noon, both)
	compare(t, done.Tables, map[string]store.Range{"Other": {First: 4, Last: 4}, "Thing": {First: 5, Last: 6}})
}

func keys(t *testing.T, s store.Store) {
	row := func(id string, revision int64) store.Row {
		return store.Row{store.KeyColumn: store.Key{ID: id, Revision: revision}, "Small": int(revision), "TenantId": id,
			"Type": store.IfFirst{First: "first", Again: "again"}}
	}
	done := Append(t, s, Noon, one("a", 1, row("x", 2), row("y", 1), row("x", 2), row("x", 3)))
	compare(t, done.Tables, map[string]store.Range{"Thing": {First: 1, Last: 3}})
	done = Append(t, s, Noon, one("b", 1, row("x", 3), row("z", 9), row("y", 2), row("x", 1)))
	compare(t, done.Tables, map[string]store.Range{"Thing": {First: 4, Last: 6}})
	compare(t, Append(t, s, Noon, one("b", 2, row("x", 1))).Tables, map[string]store.Range{})
	compare(t, Select(t, s, `SELECT "TenantId", "Small", "Type" FROM "Thing" ORDER BY "_IngestSeq"`), [][]any{
		{"x", int64(2), "first"}, {"y", int64(1), "first"}, {"x", int64(3), "again"}, {"z", int64(9), "first"}, {"y", int64(2), "again"}, {"x", int64(1), "again"}})
	later := Noon.Add(20 * 24 * time.Hour)
	if _, err := s.Prune(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	// The rows are gone. Each ID is still known, by its newest revision.
	Append(t, s, later, one("b", 3, row("z", 9), row("z", 10), row("x", 3)))
	compare(t, Select(t, s, `SELECT "TenantId", "Small", "Type" FROM "Thing"`), [][]any{{"z", int64(10), "again"}})
}

func retention(t *testing.T, s store.Store) {
	day := 24 * time.Hour
	for i := range 20 {
		Append(t, s, Noon.Add(time.Duration(i)*day), one("a", uint64(i+1), store.Row{"Small": i, "TimeGenerated": Noon.Add(-1000 * day)}))
	}
	pruned, err := s.Prune(t.Context(), Noon.Add(19*day))
	if err != nil {
		t.Fatal(err)
	}
	compare(t, pruned, map[string]int64{"Thing": 9})
	compare(t, Select(t, s, `SELECT min("Small"), max("Small"), count(*) FROM "Thing"`), [][]any{{int64(9), int64(19), int64(11)}})
	if done := Append(t, s, Noon, one("a", 21, store.Row{})); done.Tables["Thing"].First != 21 {
		t.Errorf("ingest sequence after pruning: got %v", done.Tables)
	}
}

func snapshots(t *testing.T, s store.Store) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got := Select(t, s, `SELECT count(*) % 10 FROM "Thing"`)[0][0]; got != int64(0) {
					t.Errorf("saw part of a batch: %v", got)
					return
				}
			}
		})
	}
	for i := range 40 {
		Append(t, s, Noon, one("a", uint64(i+1), make([]store.Row, 10)...))
		if i == 20 {
			if _, err := s.Prune(t.Context(), Noon); err != nil {
				t.Error(err)
			}
		}
	}
	close(stop)
	wg.Wait()
}

func cancel(t *testing.T, s store.Store) {
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer stop()
	start := time.Now()
	rows, err := s.Query(ctx, "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE (a.range * b.range) % 7 = 3")
	if err == nil {
		for rows.Next() {
		}
		err = rows.Err()
		rows.Close()
	}
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 300*time.Millisecond {
		t.Errorf("got %v after %v", err, time.Since(start))
	}
}

func closed(t *testing.T, s store.Store) {
	p, err := s.Prepare(one("a", 1, store.Row{}))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(t.Context(), Noon, []*store.Prepared{p}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("append: %v", err)
	}
	if _, err := s.Query(t.Context(), "SELECT 1"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("query: %v", err)
	}
}

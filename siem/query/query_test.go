package query

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/otus-project/otus/content"
	"github.com/otus-project/otus/kql"
	"github.com/otus-project/otus/kql/native"
	"github.com/otus-project/otus/siem/store"
	"github.com/otus-project/otus/siem/store/duckdb"
	"github.com/otus-project/otus/siem/store/storetest"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return now }

// open gives a service over a store with the shipped tables and those of the store's tests.
func open(t testing.TB, o Options) (*Service, store.Store) {
	t.Helper()
	tables, err := store.LoadTables(content.FS())
	if err != nil {
		t.Fatal(err)
	}
	tables = append(tables, storetest.Tables(t, storetest.Thing)...)
	st, err := duckdb.OpenStore(filepath.Join(t.TempDir(), "log.duckdb"), tables, duckdb.StoreOptions{Functions: kql.Natives()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return New(st, o), st
}

func run(t testing.TB, s *Service, text string) *Result {
	t.Helper()
	r, err := s.Run(t.Context(), Request{Text: text, Now: now})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return r
}

// things appends rows to the table Thing.
func things(t testing.TB, st store.Store, sequence uint64, rows ...store.Row) {
	t.Helper()
	storetest.Append(t, st, now, store.Batch{Sender: "test", Sequence: sequence, Rows: map[string][]store.Row{"Thing": rows}})
}

func TestValuesByType(t *testing.T) {
	s, st := open(t, Options{})
	at := now.Add(1234567 * 100)
	things(t, st, 1, store.Row{"TimeGenerated": at, "TenantId": "tenant", "Type": "Thing", "Flag": true, "Small": 7, "Big": int64(1) << 60, "Number": 0.5,
		"Span": 26*time.Hour + 30*time.Minute, "ID": "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "Bag": json.RawMessage(`{"b":[1,2],"a":"x"}`)}, store.Row{})
	r := run(t, s, "Thing | project TimeGenerated, TenantId, Flag, Small, Big, Number, Span, ID, Bag")
	want := [][]any{
		{at, "tenant", true, int64(7), int64(1) << 60, 0.5, 26*time.Hour + 30*time.Minute, "6ba7b810-9dad-11d1-80b4-00c04fd430c8", json.RawMessage(`{"b":[1,2],"a":"x"}`)},
		{nil, "", nil, nil, nil, nil, nil, nil, nil},
	}
	if diff := cmp.Diff(want, r.Rows); diff != "" {
		t.Errorf("want -, got +\n%s", diff)
	}
	var types []string
	for _, c := range r.Columns {
		types = append(types, c.Name+":"+c.Type.String())
	}
	if got, want := strings.Join(types, " "), "TimeGenerated:datetime TenantId:string Flag:bool Small:int Big:long Number:real Span:timespan ID:guid Bag:dynamic"; got != want {
		t.Errorf("columns: got %s, want %s", got, want)
	}
	if r.Truncated || r.Stats.Rows != 2 || fmt.Sprint(r.Stats.Tables) != "[Thing]" || r.Render != nil {
		t.Errorf("got %+v", r)
	}
}

func TestValueForms(t *testing.T) {
	for _, c := range []struct{ in, text, json string }{
		{"print x = real(nan)", "NaN", `"NaN"`},
		{"print x = real(+inf)", "Infinity", `"Infinity"`},
		{"print x = 1.0", "1.0", `1`},
		{"print x = 9007199254740993", "9007199254740993", `9007199254740993`},
		{"print x = datetime(2026-01-02 03:04:05.1234567)", "2026-01-02T03:04:05.1234567Z", `"2026-01-02T03:04:05.1234567Z"`},
		{"print x = -1d", "-1.00:00:00", `"-1.00:00:00"`},
		{"print x = 200000d", "200000.00:00:00", `"200000.00:00:00"`},
		{"print x = dynamic({\"a\":[1]})", `{"a":[1]}`, `{"a":[1]}`},
		{"print x = true", "true", `true`},
		{"print x = int(null)", "", `null`},
		{"print x = dynamic(null)", "", `null`},
		{`print x = "a\"<b>"`, `a"<b>`, `"a\"<b>"`},
	} {
		s, _ := open(t, Options{})
		r := run(t, s, c.in)
		if got := Text(r.Rows[0][0]); got != c.text {
			t.Errorf("%s: text %q, want %q", c.in, got, c.text)
		}
		var b bytes.Buffer
		if err := WriteJSON(&b, r); err != nil || b.String() != "[\n{\"x\":"+c.json+"}\n]\n" {
			t.Errorf("%s: JSON %s, %v, want %s", c.in, b.String(), err, c.json)
		}
	}
}

func TestOutputForms(t *testing.T) {
	s, st := open(t, Options{})
	things(t, st, 1, store.Row{"Small": 5, "Type": "first\nline, \"quoted\""}, store.Row{"Small": 12345, "Type": strings.Repeat("ä", 100)})
	r := run(t, s, "Thing | project Small, Type | order by Small asc")
	for _, c := range []struct {
		write func(b *bytes.Buffer) error
		want  string
	}{
		{func(b *bytes.Buffer) error { return WriteTable(b, r) },
			"Small  Type\n-----  " + strings.Repeat("-", 80) + "\n    5  first line, \"quoted\"\n12345  " + strings.Repeat("ä", 79) + "…\n"},
		{func(b *bytes.Buffer) error { return WriteCSV(b, r) },
			"Small,Type\n5,\"first\nline, \"\"quoted\"\"\"\n12345," + strings.Repeat("ä", 100) + "\n"},
	} {
		var b bytes.Buffer
		if err := c.write(&b); err != nil || b.String() != c.want {
			t.Errorf("got %q, %v, want %q", b.String(), err, c.want)
		}
	}
}

func TestRestrictions(t *testing.T) {
	s, st := open(t, Options{})
	for i := range 10 {
		things(t, st, uint64(i+1), store.Row{"Small": i, "TimeGenerated": now.Add(time.Duration(i-10) * time.Hour)})
	}
	at := func(hours int) *time.Time { v := now.Add(time.Duration(hours) * time.Hour); return &v }
	number := func(n uint64) *uint64 { return &n }
	for _, c := range []struct {
		request Request
		want    string
	}{
		{Request{}, "0 1 2 3 4 5 6 7 8 9"},
		{Request{From: at(-3)}, "7 8 9"},
		{Request{From: at(-5), To: at(-3)}, "5 6"},
		{Request{IngestAfter: number(8)}, "8 9"},
		{Request{IngestAfter: number(2), IngestUpTo: number(4)}, "2 3"},
		{Request{MaxRows: 2}, "0 1 cut"},
		{Request{MaxRows: 10}, "0 1 2 3 4 5 6 7 8 9"},
	} {
		c.request.Text, c.request.Now = "Thing | sort by Small asc | project Small", now
		r, err := s.Run(t.Context(), c.request)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, row := range r.Rows {
			got = append(got, Text(row[0]))
		}
		if r.Truncated {
			got = append(got, "cut")
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%+v: got %s, want %s", c.request, text, c.want)
		}
	}
	r := run(t, s, "print now()")
	if r.Rows[0][0] != now {
		t.Errorf("now() is %v", r.Rows[0][0])
	}
}

const slowQuery = "range a from 1 to 100000000 step 1 | extend k = a % 7 | summarize count(), dcount(tostring(a)) by k"

func TestLimits(t *testing.T) {
	s, _ := open(t, Options{MaxBytes: 5000, Timeout: 100 * time.Millisecond, MaxRows: 100, DefaultRows: 50})
	if r := run(t, s, "range a from 1 to 1000 step 1"); len(r.Rows) != 50 || !r.Truncated {
		t.Errorf("default rows: %d, %v", len(r.Rows), r.Truncated)
	}
	if r, err := s.Run(t.Context(), Request{Text: "range a from 1 to 1000 step 1", MaxRows: 5000}); err != nil || len(r.Rows) != 100 || !r.Truncated {
		t.Errorf("most rows: %v, %v", r, err)
	}
	if r := run(t, s, `range a from 1 to 40 step 1 | extend t = strcat(a, "`+strings.Repeat("x", 1000)+`")`); len(r.Rows) < 4 || len(r.Rows) > 6 || !r.Truncated {
		t.Errorf("bytes: %d rows, %v", len(r.Rows), r.Truncated)
	}
	if _, err := s.Run(t.Context(), Request{Text: slowQuery}); !errors.Is(err, ErrTimeout) {
		t.Errorf("timeout: got %v", err)
	}
}

func TestCancelEndsTheQuery(t *testing.T) {
	s, _ := open(t, Options{})
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		if _, err := s.Run(ctx, Request{Text: slowQuery}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v after the cancel", err)
		}
	}
}

// BenchmarkCancel tells how long a query goes on after its cancel.
func BenchmarkCancel(b *testing.B) {
	s, _ := open(b, Options{})
	var worst, sum time.Duration
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		var cancelled time.Time
		time.AfterFunc(100*time.Millisecond, func() { cancelled = time.Now(); cancel() })
		if _, err := s.Run(ctx, Request{Text: slowQuery}); !errors.Is(err, context.Canceled) {
			b.Fatal(err)
		}
		took := time.Since(cancelled)
		worst, sum = max(worst, took), sum+took
	}
	b.ReportMetric(float64(sum.Milliseconds())/float64(b.N), "ms/cancel")
	b.ReportMetric(float64(worst.Milliseconds()), "ms-worst")
}

func TestPlacesAreBoundedAndKeptForRules(t *testing.T) {
	s, _ := open(t, Options{Concurrent: 2, Reserved: 1})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { _, _ = s.Run(ctx, Request{Text: slowQuery}) })
	}
	for len(s.people) < 2 {
		time.Sleep(time.Millisecond)
	}
	short, end := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer end()
	if _, err := s.Run(short, Request{Text: "print 1"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("third query: got %v, want it to wait", err)
	}
	if _, err := s.Run(t.Context(), Request{Text: "print 1", ForRule: true}); err != nil {
		t.Errorf("a rule: %v", err)
	}
	cancel()
	wg.Wait()
	run(t, s, "print 1")
}

func TestBadQuery(t *testing.T) {
	s, _ := open(t, Options{})
	_, err := s.Run(t.Context(), Request{Text: "Thing\n| where Nope == 1"})
	var bad *kql.Error
	if !errors.As(err, &bad) || bad.Diagnostics[0].Line != 2 || !strings.Contains(bad.Diagnostics[0].Message, "Nope") {
		t.Errorf("got %v", err)
	}
	if got := s.Check("Thing | wher Small > 1"); len(got) == 0 {
		t.Error("check found nothing")
	}
	if got := s.Check("Thing | where Small > 1"); len(got) != 0 {
		t.Errorf("check of a good query found %v", got)
	}
}

// brokenStore answers with something else than was asked.
type brokenStore struct {
	store.Store
	err error
}

func (b *brokenStore) Query(context.Context, string, ...any) (store.Rows, error) { return nil, b.err }

func TestFailuresOfTheStore(t *testing.T) {
	_, st := open(t, Options{})
	b := &brokenStore{Store: st, err: fmt.Errorf("x: %w", store.ErrOutOfMemory)}
	if _, err := New(b, Options{}).Run(t.Context(), Request{Text: "print 1"}); !errors.Is(err, ErrMemory) {
		t.Errorf("got %v", err)
	}
	b.err = errors.New("disk on fire")
	_, err := New(b, Options{}).Run(t.Context(), Request{Text: "print 1"})
	if !errors.Is(err, ErrInternal) {
		t.Errorf("got %v", err)
	}
	if p, inner := problemOf(err); !inner || strings.Contains(p.Detail, "fire") {
		t.Errorf("told to strangers: %+v", p)
	}
}

func TestJSONOfOddReals(t *testing.T) {
	for in, want := range map[float64]any{math.Inf(-1): "-Infinity", 1.5: 1.5} {
		if got := JSON(in); got != want {
			t.Errorf("%v: got %v", in, got)
		}
	}
	if got := Text(native.FormatTimespan(math.MinInt64)); got == "" {
		t.Error("no text")
	}
}

func TestParseTimespan(t *testing.T) {
	for in, want := range map[string]string{
		"":                                " ",
		"P1D":                             "2026-04-30T12:00:00Z 2026-05-01T12:00:00Z",
		"PT1H":                            "2026-05-01T11:00:00Z 2026-05-01T12:00:00Z",
		"PT86400.0S":                      "2026-04-30T12:00:00Z 2026-05-01T12:00:00Z",
		"pt1h30m":                         "2026-05-01T10:30:00Z 2026-05-01T12:00:00Z",
		"P1Y2M1W3DT4H5M6.5S":              "2025-02-19T07:54:53.5Z 2026-05-01T12:00:00Z",
		"P1M":                             "2026-04-01T12:00:00Z 2026-05-01T12:00:00Z",
		"2026-01-01/2026-01-02T03:04:05Z": "2026-01-01T00:00:00Z 2026-01-02T03:04:05Z",
		"2026-01-01T00:00:00+02:00/P1D":   "2025-12-31T22:00:00Z 2026-01-01T22:00:00Z",
		"PT30M/2026-01-01T00:00:00.1Z":    "2025-12-31T23:30:00.1Z 2026-01-01T00:00:00.1Z",
		"1970-01-01T00:00:00.000Z/2001-09-09T01:46:40.000Z": "1970-01-01T00:00:00Z 2001-09-09T01:46:40Z",
	} {
		from, to, err := ParseTimespan(in, now)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		text := func(t *time.Time) string {
			if t == nil {
				return ""
			}
			return t.Format(time.RFC3339Nano)
		}
		if got := text(from) + " " + text(to); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
	for _, in := range []string{"P", "PT", "P1", "1D", "P1H", "PT1D", "P1D1D", "P1DT", "PT1S1M", "P-1D", "/", "P1D/P1D", "x/2026-01-01", "2026-01-02/2026-01-01", "P99999999999D", "PT1e9S", "P1DTT1H"} {
		if from, to, err := ParseTimespan(in, now); err == nil {
			t.Errorf("%s: got %v to %v, want an error", in, from, to)
		}
	}
}

func FuzzParseTimespan(f *testing.F) {
	for _, seed := range []string{"P1D", "PT86400.0S", "2026-01-01/P1M", "P1Y2M3W4DT5H6M7.8S", "/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		from, to, err := ParseTimespan(in, now)
		if err == nil && from != nil && to.Before(*from) {
			t.Errorf("%q ends before it begins", in)
		}
	})
}

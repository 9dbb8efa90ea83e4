package kql_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/otus-project/otus/internal/golden"
	"github.com/otus-project/otus/kql"
	"github.com/otus-project/otus/kql/native"
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/siem/store/duckdb"
)

// The case files under testdata are texts that a person can read. A case begins with "== title". Then come tables,
// the query, maybe its SQL, and its rows or its error:
//
//	-- table T --          columns as name:type, then a JSON array a row
//	-- query --
//	-- sql --              recorded anew by -update; the rest is written by hand and never changed by a run
//	-- rows --             the names of the columns, then a JSON array a row, in order
//	-- error --            the rendered diagnostics
//
// now() is 2024-05-17T12:00:00Z.
var caseNow = time.Date(2024, 5, 17, 12, 0, 0, 0, time.UTC)

type testCase struct {
	title    string
	sections []section
}

type section struct{ name, text string }

func (c *testCase) get(name string) (string, bool) {
	for _, s := range c.sections {
		if s.name == name {
			return s.text, true
		}
	}
	return "", false
}

func readCases(t testing.TB, path string) []*testCase {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var cases []*testCase
	for line := range strings.Lines(string(text)) {
		switch {
		case strings.HasPrefix(line, "== "):
			cases = append(cases, &testCase{title: strings.TrimSpace(line[3:])})
		case len(cases) == 0:
		case strings.HasPrefix(line, "-- ") && strings.HasSuffix(strings.TrimSpace(line), " --"):
			c := cases[len(cases)-1]
			c.sections = append(c.sections, section{name: strings.TrimSuffix(strings.TrimSpace(line[3:]), " --")})
		default:
			c := cases[len(cases)-1]
			if len(c.sections) > 0 {
				c.sections[len(c.sections)-1].text += line
			}
		}
	}
	return cases
}

func writeCases(t testing.TB, path string, cases []*testCase) {
	var b strings.Builder
	for i, c := range cases {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "== %s\n", c.title)
		for _, s := range c.sections {
			fmt.Fprintf(&b, "-- %s --\n%s\n", s.name, strings.TrimRight(s.text, "\n"))
		}
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func openStore(t testing.TB) *duckdb.DB {
	t.Helper()
	db, err := duckdb.Open("", duckdb.Options{MemoryLimit: 512 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := db.RegisterNative(kql.Natives()...); err != nil {
		t.Fatal(err)
	}
	return db
}

func TestCases(t *testing.T) {
	db := openStore(t)
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no case files: %v", err)
	}
	for _, path := range paths {
		cases := readCases(t, path)
		for _, c := range cases {
			t.Run(strings.TrimSuffix(filepath.Base(path), ".txt")+"/"+c.title, func(t *testing.T) { runCase(t, db, c) })
		}
		if golden.Updating() {
			writeCases(t, path, cases)
		}
	}
}

func runCase(t *testing.T, db *duckdb.DB, c *testCase) {
	catalog := &schema.Catalog{}
	for _, s := range c.sections {
		if name, ok := strings.CutPrefix(s.name, "table "); ok {
			catalog.Tables = append(catalog.Tables, makeTable(t, db, name, s.text))
		}
	}
	text, ok := c.get("query")
	if !ok {
		t.Fatal("the case has no query")
	}
	text = strings.TrimRight(text, "\n")
	q, err := kql.Compile(text, kql.Options{Catalog: catalog, Now: caseNow})
	if want, ok := c.get("error"); ok {
		var e *kql.Error
		if !errors.As(err, &e) {
			t.Fatalf("%s\n  got  %v, want an error", text, err)
		}
		if got := strings.TrimSpace(e.Render()); got != strings.TrimSpace(want) {
			t.Errorf("%s\n--- got\n%s\n--- want\n%s", text, got, want)
		}
		return
	}
	if err != nil {
		t.Fatalf("%s\n  %v", text, err)
	}
	for i := range c.sections {
		if c.sections[i].name != "sql" {
			continue
		}
		got := readableSQL(q)
		if golden.Updating() {
			c.sections[i].text = got
		} else if strings.TrimSpace(c.sections[i].text) != strings.TrimSpace(got) {
			t.Errorf("%s\n--- sql now\n%s\n--- sql recorded\n%s", text, got, c.sections[i].text)
		}
	}
	want, ok := c.get("rows")
	if !ok {
		t.Fatal("the case has neither rows nor error")
	}
	if got := rowsText(t, db, q); got != normalRows(t, want) {
		t.Errorf("%s\n--- got\n%s\n--- want\n%s\n--- sql\n%s", text, got, normalRows(t, want), readableSQL(q))
	}
}

// readableSQL breaks the statement before its clauses, and lists the parameters.
func readableSQL(q *kql.Query) string {
	sql := q.SQL
	for _, word := range []string{" FROM ", " WHERE ", " GROUP BY ", " QUALIFY ", " ORDER BY "} {
		sql = strings.ReplaceAll(sql, word, "\n"+word[1:])
	}
	args, err := json.Marshal(append([]any{}, q.Args...))
	if err != nil {
		return err.Error()
	}
	return sql + "\n" + string(args) + "\n"
}

// normalRows writes rows in the one form that they are compared in.
func normalRows(t *testing.T, text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, line := range lines[1:] {
		var row []any
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatalf("row %q: %v", line, err)
		}
		lines[i+1] = compact(t, row)
	}
	return strings.Join(lines, "\n")
}

func compact(t *testing.T, row []any) string {
	b, err := json.Marshal(row)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func rowsText(t *testing.T, db *duckdb.DB, q *kql.Query) string {
	t.Helper()
	rows, err := db.Query(context.Background(), q.SQL, q.Args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, readableSQL(q))
	}
	defer rows.Close()
	var names []string
	for _, c := range q.Columns {
		names = append(names, c.Name)
	}
	lines := []string{strings.Join(names, " ")}
	for rows.Next() {
		row := make([]any, len(q.Columns))
		for i, v := range rows.Row() {
			row[i] = jsonCell(t, q.Columns[i].Type, v)
		}
		// Through JSON and back, so that 1 and 1.0 read alike.
		var again []any
		if err := json.Unmarshal([]byte(compact(t, row)), &again); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, compact(t, again))
	}
	if rows.Err() != nil {
		t.Fatalf("%v\n%s", rows.Err(), readableSQL(q))
	}
	return strings.Join(lines, "\n")
}

func jsonCell(t *testing.T, typ schema.Type, v any) any {
	switch v := v.(type) {
	case int64:
		switch typ {
		case schema.DateTime:
			return native.FormatDatetime(v)
		case schema.Timespan:
			return native.FormatTimespan(v)
		}
	case float64:
		return json.RawMessage(native.RealJSON(v))
	case string:
		if typ == schema.Dynamic {
			return json.RawMessage(v)
		}
	}
	return v
}

var physical = map[schema.Type]string{schema.Bool: "BOOLEAN", schema.Int: "INTEGER", schema.Long: "BIGINT", schema.DateTime: "BIGINT", schema.Timespan: "BIGINT", schema.Real: "DOUBLE"}

// makeTable stores a table of a case. A row's ingestion sequence is its number, its ingestion time that second of 1970.
func makeTable(t *testing.T, db *duckdb.DB, name, text string) *schema.Table {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(text), "\n")
	table := &schema.Table{Name: name}
	var columns []string
	for _, decl := range strings.Split(lines[0], ",") {
		n, typ, _ := strings.Cut(strings.TrimSpace(decl), ":")
		st, ok := schema.ParseType(strings.TrimSpace(typ))
		if !ok {
			t.Fatalf("table %s: column %q", name, decl)
		}
		table.Columns = append(table.Columns, schema.Column{Name: n, Type: st})
		p := physical[st]
		if p == "" {
			p = "VARCHAR"
		}
		columns = append(columns, fmt.Sprintf("%q %s", n, p))
	}
	columns = append(columns, `"_IngestSeq" BIGINT`, `"_IngestionTime" BIGINT`)
	ctx := context.Background()
	err := db.Write(ctx, func(c *duckdb.Conn) error {
		if _, err := c.Exec(ctx, fmt.Sprintf("CREATE OR REPLACE TABLE %q (%s)", name, strings.Join(columns, ", "))); err != nil {
			return err
		}
		for i, line := range lines[1:] {
			var row []any
			if err := json.Unmarshal([]byte(line), &row); err != nil || len(row) != len(table.Columns) {
				return fmt.Errorf("row %q: %v", line, err)
			}
			marks := make([]string, 0, len(row)+2)
			args := make([]any, 0, len(row)+2)
			for j, v := range row {
				args = append(args, storedValue(table.Columns[j].Type, v))
				marks = append(marks, "?")
			}
			args = append(args, int64(i+1), int64(i+1)*1e7)
			marks = append(marks, "?", "?")
			if _, err := c.Exec(ctx, fmt.Sprintf("INSERT INTO %q VALUES (%s)", name, strings.Join(marks, ",")), args...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("table %s: %v", name, err)
	}
	return table
}

func storedValue(typ schema.Type, v any) any {
	switch typ {
	case schema.DateTime:
		if s, ok := v.(string); ok {
			ticks, _ := native.ParseDatetime(s)
			return ticks
		}
	case schema.Timespan:
		if s, ok := v.(string); ok {
			ticks, _ := native.ParseTimespan(s)
			return ticks
		}
	case schema.Dynamic:
		if v != nil {
			b, _ := json.Marshal(v)
			return string(b)
		}
	case schema.Int, schema.Long:
		if f, ok := v.(float64); ok {
			return int64(f)
		}
	}
	return v
}

// TestExamples runs the example of every function and operator that is said to be supported.
func TestExamples(t *testing.T) {
	db := openStore(t)
	run := func(name, text string) {
		t.Helper()
		q, err := kql.Compile(text, kql.Options{Now: caseNow})
		if err != nil {
			t.Errorf("example of %s: %s\n  %v", name, text, err)
			return
		}
		rows, err := db.Query(context.Background(), q.SQL, q.Args...)
		if err == nil {
			for rows.Next() {
			}
			err = rows.Err()
			rows.Close()
		}
		if err != nil {
			t.Errorf("example of %s: %s\n  %v\n%s", name, text, err, readableSQL(q))
		}
	}
	for _, f := range kql.Functions() {
		if f.Description == "" || f.Example == "" || f.Signature == "" {
			t.Errorf("%s lacks its description, signature or example", f.Name)
		}
		switch {
		case !f.Supported || f.Name == "ingestion_time":
		case f.Kind == "aggregate" && strings.HasPrefix(f.Name, "make_bag"):
			run(f.Name, "range n from 1 to 4 step 1 | extend x = bag_pack(tostring(n), n) | summarize "+f.Example)
		case f.Kind == "aggregate":
			run(f.Name, "range x from 1 to 4 step 1 | summarize "+f.Example)
		case strings.Contains(f.Example, "|"):
			run(f.Name, f.Example)
		default:
			run(f.Name, "print r = "+f.Example)
		}
	}
	for _, o := range kql.Operators() {
		if o.Description == "" || o.Example == "" {
			t.Errorf("operator %s lacks its description or example", o.Name)
		}
		if o.Supported {
			run(o.Name, o.Example)
		} else if _, err := kql.Compile(o.Example, kql.Options{}); err == nil || !strings.Contains(err.Error(), o.Name) && !strings.Contains(err.Error(), "plug-in") {
			t.Errorf("operator %s is not supported, but its example gives %v", o.Name, err)
		}
	}
}

// TestBounds: the implied bounds on time and on what was ingested restrict every scan, and hidden columns stay hidden.
func TestBounds(t *testing.T) {
	db := openStore(t)
	table := makeTable(t, db, "T", "TimeGenerated:datetime, a:long\n[\"2024-05-17T10:00:00Z\", 1]\n[\"2024-05-17T11:00:00Z\", 2]\n[\"2024-05-17T12:00:00Z\", 3]")
	catalog := &schema.Catalog{Tables: []*schema.Table{table}}
	from, to := caseNow.Add(-time.Hour), caseNow
	one, two := uint64(1), uint64(2)
	for _, c := range []struct {
		query string
		o     kql.Options
		want  string
	}{
		{"T | project a", kql.Options{From: &from}, "a\n[2]\n[3]"},
		{"T | project a", kql.Options{From: &from, To: &to}, "a\n[2]"},
		{"T | project a", kql.Options{IngestAfter: &one, IngestUpTo: &two}, "a\n[2]"},
		{"T | join kind=inner T on a | project a", kql.Options{IngestAfter: &one}, "a\n[2]\n[3]"},
		{"T | take 1 | project a, seen = ingestion_time() | project seen", kql.Options{}, "seen\n[\"1970-01-01T00:00:01.0000000Z\"]"},
		{"T", kql.Options{MaxRows: 1}, "TimeGenerated a\n[\"2024-05-17T10:00:00.0000000Z\",1]\n[\"2024-05-17T11:00:00.0000000Z\",2]"},
	} {
		c.o.Catalog, c.o.Now = catalog, caseNow
		q, err := kql.Compile(c.query, c.o)
		if err != nil {
			t.Errorf("%s: %v", c.query, err)
			continue
		}
		if got := rowsText(t, db, q); got != c.want {
			t.Errorf("%s\n  got  %q\n  want %q", c.query, got, c.want)
		}
	}
}

// TestRowLocal: only what filters and computes on single rows of one table counts as local to rows.
func TestRowLocal(t *testing.T) {
	table := func(name string) *schema.Table {
		return &schema.Table{Name: name, Columns: []schema.Column{{Name: "TimeGenerated", Type: schema.DateTime}, {Name: "a", Type: schema.Long}, {Name: "s", Type: schema.String}}}
	}
	catalog := &schema.Catalog{Tables: []*schema.Table{table("T"), table("U")}}
	for query, want := range map[string]bool{
		`T`: true,
		`T | where a > 1 | extend b = a + 1 | project b, s | project-away s`: true,
		`let limit = 5; T | where a > limit and s has_any (dynamic(["x"]))`:  true,
		`T | summarize count()`:                        false,
		`T | sort by a`:                                false,
		`T | take 5`:                                   false,
		`T | where a in ((U | project a))`:             false,
		`T | where a > toscalar(U | summarize max(a))`: false,
		`T | join kind=inner U on a`:                   false,
		`T | union U`:                                  false,
		`T | mv-expand x = parse_json(s)`:              false,
		`T | distinct a`:                               false,
		`print a = 1`:                                  false,
		`let V = T | where a > 1; V | project s`:       true,
		`T | serialize n = row_number()`:               false,
	} {
		q, err := kql.Compile(query, kql.Options{Catalog: catalog, Now: caseNow})
		if err != nil {
			t.Errorf("%s: %v", query, err)
			continue
		}
		if q.RowLocal != want {
			t.Errorf("%s: row-local %v, want %v", query, q.RowLocal, want)
		}
	}
}

package store

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/otus-project/otus/content"
)

func TestShippedTables(t *testing.T) {
	tables, err := LoadTables(content.FS())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, table := range tables {
		names = append(names, table.Name)
	}
	want := "OTConnection OTDevice OTProtocolEvent OTSensorHealth SecurityAlert SecurityIncident"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	alert := Catalog(tables).Table("SecurityAlert")
	if got := strings.Join(alert.Solutions, " "); got != "AzureSecurityOfThings SecurityInsights" {
		t.Errorf("SecurityAlert is listed under %s", got)
	}
	if len(alert.Columns) != 34 {
		t.Errorf("SecurityAlert has %d columns, want the 34 of Sentinel", len(alert.Columns))
	}
}

func TestTableFilesRefused(t *testing.T) {
	const good = "name: T\ndescription: d\nsolutions: [S]\nretention: 5d\ncolumns:\n" +
		"  - {name: TimeGenerated, type: datetime, description: d}\n  - {name: TenantId, type: string, description: d}\n  - {name: Type, type: string, description: d}\n"
	for _, c := range []struct{ from, to, want string }{
		{"name: T\n", "name: 'T x'\n", "not a table name"},
		{"retention: 5d", "retention: 5 days", "retention"},
		{"retention: 5d", "retention: 0d", "retention"},
		{"type: datetime", "type: timestamp", `column "TimeGenerated": unknown type "timestamp"`},
		{"type: datetime", "type: string", `column "TimeGenerated": every table has it, of type datetime`},
		{"name: TenantId", "name: type", `column "Type": declared twice`},
		{"name: TenantId", "name: _IngestSeq", "not a column name"},
		{"solutions: [S]", "solutions: []", "at least one solution"},
		{"description: d\n", "description: d\nextra: 1\n", "extra"},
		{"columns:\n", "columns:\n  - {name: A, type: int}\n", `column "A": needs a description`},
	} {
		text := strings.Replace(good, c.from, c.to, 1)
		_, err := LoadTables(fstest.MapFS{"tables/t.yaml": {Data: []byte(text)}})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "tables/t.yaml: ") {
			t.Errorf("%q for %q: got %v, want %q", c.to, c.from, err, c.want)
		}
	}
	_, err := LoadTables(fstest.MapFS{"tables/a.yaml": {Data: []byte(good)}, "tables/b.yaml": {Data: []byte(good)}})
	if err == nil || !strings.Contains(err.Error(), "declared in a.yaml already") {
		t.Errorf("twice: got %v", err)
	}
}

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		time string
		want int64
		ok   bool
	}{
		{"1970-01-01T00:00:00Z", 0, true},
		{"0001-01-01T00:00:00Z", minDateTime, true},
		{"9999-12-31T23:59:59.9999999Z", maxDateTime, true},
		{"1969-12-31T23:59:59.9999999Z", -1, true},
		{"2026-05-01T00:00:00.1234567Z", 17775936001234567, true},
	} {
		at, err := time.Parse(time.RFC3339Nano, c.time)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := Ticks(at)
		if got != c.want || ok != c.ok {
			t.Errorf("%s: got %d, %v, want %d, %v", c.time, got, ok, c.want, c.ok)
		}
		if back := Time(got); !back.Equal(at) {
			t.Errorf("%s: back as %v", c.time, back)
		}
	}
	if _, ok := Ticks(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)); ok {
		t.Error("year 10000 accepted")
	}
}

func TestCanonical(t *testing.T) {
	for in, want := range map[string]string{
		` { "b" : 1 , "a" : [ ] } `:     `{"b":1,"a":[]}`,
		`{"a":1,"b":2,"a":{"c":3}}`:     `{"a":{"c":3},"b":2}`,
		`9007199254740993`:              `9007199254740993`,
		`123456789012345678901234567.8`: `123456789012345678901234567.8`,
		`1e5`:                           `1e5`,
		`"\u0041\u00e9\/\ud83d\ude00"`:  `"Aé/😀"`,
		`"\ud800"`:                      "\"\uFFFD\"",
		`"a\tb\u0001\"\\"`:              `"a\tb\u0001\"\\"`,
		`null`:                          `null`,
		`[true,false,null]`:             `[true,false,null]`,
	} {
		got, err := Canonical([]byte(in))
		if err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", in, got, err, want)
		}
	}
	for _, in := range []string{``, ` `, `{`, `{"a"}`, `{"a":1,}`, `[1,]`, `[1 2]`, `NaN`, `Infinity`, `01`, `'a'`, `{a:1}`, `1 2`, `"a`, "\"a\nb\"", `]`} {
		if got, err := Canonical([]byte(in)); err == nil {
			t.Errorf("%q: got %s, want an error", in, got)
		}
	}
}

func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.50,{"b":null}],"a":"x"}`, `"\u00e9"`, `[[[[]]]]`, `{"a":{"a":{"a":1}}}`, `-0.0e-10`, `{"":""}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := Canonical(in)
		if err != nil {
			return
		}
		if !json.Valid([]byte(got)) {
			t.Fatalf("%q became %q, which is not JSON", in, got)
		}
		again, err := Canonical([]byte(got))
		if err != nil || again != got {
			t.Fatalf("%q is not canonical: %q, %v", got, again, err)
		}
	})
}

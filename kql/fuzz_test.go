package kql

import (
	"strings"
	"testing"
	"time"

	"github.com/otus-project/otus/kql/schema"
)

var seeds = []string{
	`SecurityAlert | where ProductName == "Azure Security Center for IoT" | summarize arg_max(TimeGenerated, *) by SystemAlertId`,
	`let x = dynamic(["a", {"b": 1}]); T | where s has_any (x) and t > ago(1.5h) | extend y = iff(a > 1, tostring(d.k[0]), strcat("x", a)) | project y, z = a % 3`,
	`T | join kind=leftouter (T | summarize n = count() by s) on s | mv-expand e = d | sort by n desc | take 5`,
	`let f = (a:long) { a + 1 }; print f(1), f(f(2))`,
	`range x from 1 to 3 step 1 | serialize n = row_number(), p = prev(x) | make-series c = count() on x from 1 to 4 step 1`,
	`T | parse s with "a=" b:long " " * "c=" c | where s matches regex @"\d+" | union (T | project s) | search "x*"`,
	"print '“', @\"a\"\"b\", ```c```, h'd', \"\\u0041\", datetime(2024-01-01 10:00), time(1.02:03:04), 0x1F, 1e5, guid(70fc66f7-8279-44fc-9092-d364d70fce44)",
	`T | where ((((a`, `T | summarize by`, `let`, `|||`, `datatable(a:long)[1,2`, "“T”", `T | where a == "unclosed`, `print x = dynamic({"a":[1,`, `T | evaluate bag_unpack(d) | where q > 1`,
}

func fuzzCatalog() *schema.Catalog {
	return &schema.Catalog{Tables: []*schema.Table{{Name: "T", Columns: []schema.Column{{Name: "TimeGenerated", Type: schema.DateTime}, {Name: "t", Type: schema.DateTime}, {Name: "s", Type: schema.String},
		{Name: "a", Type: schema.Long}, {Name: "r", Type: schema.Real}, {Name: "b", Type: schema.Bool}, {Name: "d", Type: schema.Dynamic}, {Name: "g", Type: schema.GUID}, {Name: "c", Type: schema.Decimal}, {Name: "n", Type: schema.Timespan}}}}}
}

// within fails the test if work takes longer than a query of any kind may.
func within(t *testing.T, source string, work func()) {
	t.Helper()
	start := time.Now()
	work()
	if d := time.Since(start); d > 5*time.Second {
		t.Fatalf("took %v: %q", d, source)
	}
}

// FuzzParse: no text makes the parser panic or hang, and what parses prints to the same tree.
func FuzzParse(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, source string) {
		within(t, source, func() {
			if err := roundTrip(source); err != nil {
				t.Fatal(err)
			}
		})
	})
}

// FuzzCompile: no text makes the compiler panic or hang, and its findings lie in the text.
func FuzzCompile(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	catalog := fuzzCatalog()
	f.Fuzz(func(t *testing.T, source string) {
		within(t, source, func() {
			_, err := Compile(source, Options{Catalog: catalog, Now: time.Unix(1715947200, 0)})
			if err == nil {
				return
			}
			e := err.(*Error)
			for _, d := range e.Diagnostics {
				if d.Start < 0 || d.End < d.Start || d.End > len(source) || d.Line < 1 || d.Column < 1 {
					t.Fatalf("finding outside of the text: %+v", d)
				}
			}
			if e.Render() == "" {
				t.Fatal("an error without a text")
			}
		})
	})
}

// TestHostile: texts made to nest, to double or to be long are refused, not followed.
func TestHostile(t *testing.T) {
	doubled := "let a0 = print x = 1;"
	for i := 1; i < 60; i++ {
		doubled += strings.ReplaceAll(strings.ReplaceAll("let aN = aM | join aM on x;", "N", itoa(i)), "M", itoa(i-1))
	}
	for name, source := range map[string]string{
		"parentheses": "print " + strings.Repeat("(", 100000),
		"brackets":    "print d" + strings.Repeat("[", 100000),
		"unary":       "print " + strings.Repeat("-", 100000) + "1",
		"dynamic":     "print dynamic(" + strings.Repeat("[", 100000),
		"pipes":       "T" + strings.Repeat(" | where a > 1", 15000),
		"ands":        "T | where a > 1" + strings.Repeat(" and a > 1", 20000),
		"sums":        "print 1" + strings.Repeat("+1", 100000),
		"paths":       "print d" + strings.Repeat(".a", 60000),
		"quotes":      strings.Repeat("\"", 100001),
		"lets":        doubled + "a59",
		"unicode":     strings.Repeat("“", 50000),
		"recursion":   strings.Repeat("let f = () { ", 5000) + "1" + strings.Repeat(" };", 5000),
		"calls":       "print " + strings.Repeat("tostring(", 20000) + "1",
		"long":        strings.Repeat("T | ", 200000),
	} {
		t.Log(name)
		within(t, name, func() {
			if q, err := Compile(source, Options{Catalog: fuzzCatalog()}); err == nil && len(q.SQL) > 2<<20 {
				t.Errorf("%s: %d bytes of SQL", name, len(q.SQL))
			}
		})
	}
}

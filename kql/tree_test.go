package kql

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/otus-project/otus/internal/sharedtest"
)

// dump writes a tree without the places of its parts and without the spelling of literals.
func dump(v any) string {
	var b strings.Builder
	dumpValue(&b, reflect.ValueOf(v))
	return b.String()
}

func dumpValue(b *strings.Builder, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			b.WriteString("-")
			return
		}
		dumpValue(b, v.Elem())
	case reflect.Struct:
		fmt.Fprintf(b, "%s(", v.Type().Name())
		for i := range v.NumField() {
			f := v.Type().Field(i)
			switch {
			case f.Type == reflect.TypeFor[Span](), f.Name == "Text" && v.Type() == reflect.TypeFor[literalExpr](), f.Name == "Text" && v.Type() == reflect.TypeFor[blockOp]():
				continue
			}
			b.WriteString(f.Name + ":")
			dumpValue(b, v.Field(i))
			b.WriteByte(' ')
		}
		b.WriteByte(')')
	case reflect.Slice:
		b.WriteByte('[')
		for i := range v.Len() {
			dumpValue(b, v.Index(i))
			b.WriteByte(' ')
		}
		b.WriteByte(']')
	default:
		fmt.Fprintf(b, "%v", v)
	}
}

// roundTrip parses, prints and parses again; it reports a difference.
func roundTrip(source string) error {
	r := &report{source: source}
	tree := parse(source, r)
	if r.errors > 0 {
		return nil // not of the language: nothing to print
	}
	text := printStatements(tree)
	again := &report{source: text}
	tree2 := parse(text, again)
	if err := again.err(); err != nil {
		return fmt.Errorf("printed text does not parse: %w\n%s\n---\n%s", err, source, text)
	}
	if a, b := dump(tree), dump(tree2); a != b {
		return fmt.Errorf("printed text has another tree\n%s\n---\n%s\n---\n%s\n%s", source, text, a, b)
	}
	return nil
}

// TestRoundTripForms prints what is easily printed wrong.
func TestRoundTripForms(t *testing.T) {
	for _, q := range []string{
		`T | where a - (b - c) > 1 and (x or y) and not(z)`,
		`T | where -(-1) == 1 and a.b["c d"][0].['e f'] == "x\"y\\z"`,
		"T | where s == 'it''s' or s == @'C:\\x' or s == ```a\nb```",
		`let f = (T:(a:long, b:string), n:long = 5) { T | where a > n }; f((print a = 1, b = "x"), 3)`,
		`print d = dynamic({"a": [1, 2.5, "x", null, datetime(2024-01-01)]}), t = 1.5h, r = real(nan)`,
		`T | join kind=inner hint.strategy=shuffle (U | project x) on $left.a == $right.x, b`,
		`T | mv-expand with_itemindex=i x = a.b to typeof(long), y limit 5`,
		`T | mv-apply e = d to typeof(string) on (where e has "a" | top 1 by e asc nulls last)`,
		`T | parse kind=regex flags=i s with * "a=" b:long " " * "c" d`,
		`T | summarize ['a b'] = count(), (x, y) = arg_max(t, *) by bin(t, 1h), k = tostring(z)`,
		`union withsource=src isfuzzy=true T*, (U | where a in~ ("x", "y")), database("d").V`,
		`T | where a !in ((U | project b)) and t between (ago(1d) .. now()) and s matches regex @"^\d+$"`,
		`T | make-series n = count() default = 0, avg(x) on t from ago(1d) to now() step 1h by k`,
		`T | render timechart with (title = "a", ymin = 0)`,
		`datatable(a:long, b:dynamic)[1, dynamic([1]), -2, dynamic(null)] | sort by a desc nulls last`,
		`set x = 5; declare query_parameters(a:long = 1); print a`,
		`T | where a == 1 // a comment`,
		`T | project-reorder a* asc, ['b c'], * | project-away x*, y`,
		`search kind=case_sensitive in (T, U*) "a" and b:"c" or not("d")`,
		`range x from 1 to 10 step 2 | top 3 by x | sample 2 | getschema | count`,
	} {
		r := &report{source: q}
		parse(q, r)
		if err := r.err(); err != nil {
			t.Errorf("%s\n%v", q, err)
			continue
		}
		if err := roundTrip(q); err != nil {
			t.Error(err)
		}
	}
}

// TestRoundTripCorpus prints every query of the corpus.
func TestRoundTripCorpus(t *testing.T) {
	n := 0
	for _, name := range []string{"corpus.dev.jsonl", "emulator-fuzz.dev.jsonl", "emulator-docs.dev.jsonl"} {
		for _, q := range sharedQueries(t, name) {
			n++
			if err := roundTrip(q); err != nil {
				t.Error(err)
			}
		}
	}
	t.Logf("%d queries print and parse to the same tree", n)
}

func sharedQueries(t testing.TB, name string) []string {
	t.Helper()
	file, err := os.Open(filepath.Join(sharedtest.Dir(t), "kql", name))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var list []string
	s := bufio.NewScanner(file)
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		var line struct{ Query string }
		if err := json.Unmarshal(s.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		list = append(list, line.Query)
	}
	return list
}

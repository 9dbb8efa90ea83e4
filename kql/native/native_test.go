package native

import (
	"strings"
	"testing"
)

// FuzzEval: no arguments make a function panic, and dynamic results are canonical JSON.
func FuzzEval(f *testing.F) {
	for _, s := range []string{"", "null", `{"a":[1,2.5,null,"x"]}`, "[1,[2,{}],true]", "192.168.1.1/24", "fe80::1", "2024-05-17T10:00:00Z", "1.02:03:04", "a,b\"c", "https://u:p@h:1/p?q=1#f", `C:\a\b.txt`, "(a|b", `[\d-]`, "yyyy", "day", "é", "\xff", `"\ud800"`} {
		f.Add(s, s, int64(-1), int64(3), 1.5, true)
	}
	all := All()
	f.Fuzz(func(t *testing.T, s, u string, i, j int64, r float64, b bool) {
		for _, function := range all {
			args := make([]Value, len(function.Params))
			texts, longs := []string{s, u, s, u, s, u}, []int64{i, j, i, j, i, j}
			for k, kind := range function.Params {
				args[k] = Value{S: texts[k%6], I: longs[k%6], F: r, B: b}
				if kind == Int {
					args[k].I = int64(int32(args[k].I))
				}
			}
			v := function.Eval(args)
			if len(v.S) > 64<<20 {
				t.Fatalf("%s gives %d bytes", function.Name, len(v.S))
			}
			for k := range args {
				again := append([]Value(nil), args...)
				again[k] = Value{Null: true}
				function.Eval(again)
			}
		}
	})
}

// TestNames: the store registers functions by name, so every name is there once and begins as agreed.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range All() {
		if !strings.HasPrefix(f.Name, "kql_") || seen[f.Name] {
			t.Errorf("function %q: a name that is taken or does not begin with kql_", f.Name)
		}
		seen[f.Name] = true
	}
}

// TestDatetimes: the forms that are read, and the one that is written.
func TestDatetimes(t *testing.T) {
	for text, want := range map[string]string{
		"2024-05-17":                       "2024-05-17T00:00:00.0000000Z",
		"2024-05-17 13:04":                 "2024-05-17T13:04:00.0000000Z",
		"2024-05-17T13:04:05.1234567Z":     "2024-05-17T13:04:05.1234567Z",
		"2024-05-17T13:04:05+02:00":        "2024-05-17T11:04:05.0000000Z",
		"05/17/2024 1:04:05 PM":            "2024-05-17T13:04:05.0000000Z",
		"12-02-2022":                       "2022-12-02T00:00:00.0000000Z",
		"Fri, 17 May 2024 13:04:05 GMT":    "2024-05-17T13:04:05.0000000Z",
		"17 May 24 13:04":                  "2024-05-17T13:04:00.0000000Z",
		"2024, 5, 17":                      "2024-05-17T00:00:00.0000000Z",
		"0001-01-01":                       "0001-01-01T00:00:00.0000000Z",
		"9999-12-31T23:59:59.9999999":      "9999-12-31T23:59:59.9999999Z",
		"1600-02-29":                       "1600-02-29T00:00:00.0000000Z",
		"2023-02-29":                       "",
		"2024-05-17T25:00":                 "",
		"not a date":                       "",
		"0001-01-01T00:00:00+01:00":        "",
		"99999999999999999999999999999999": "",
	} {
		ticks, ok := ParseDatetime(text)
		got := ""
		if ok {
			got = FormatDatetime(ticks)
		}
		if got != want {
			t.Errorf("ParseDatetime(%q) = %q, want %q", text, got, want)
		}
	}
}

// TestTimespans: what is read is what is written.
func TestTimespans(t *testing.T) {
	for text, want := range map[string]string{"1.02:03:04.5": "1.02:03:04.5000000", "-00:00:01": "-00:00:01", "90m": "01:30:00", "2": "2.00:00:00", "1d": "1.00:00:00", "24:00": "", "x": "", "": ""} {
		ticks, ok := ParseTimespan(text)
		got := ""
		if ok {
			got = FormatTimespan(ticks)
		}
		if got != want {
			t.Errorf("ParseTimespan(%q) = %q, want %q", text, got, want)
		}
	}
}

// TestCanonicalJSON: one text for equal values, and text that is no JSON as a string.
func TestCanonicalJSON(t *testing.T) {
	for text, want := range map[string]string{
		` { "a" : 1.50 , "b" : [ true , null ] } `: `{"a":1.5,"b":[true,null]}`,
		`"\u0041\/\n"`:           `"A/\n"`,
		`1e2`:                    `100.0`,
		`12345678901234567890`:   `1.2345678901234567E+19`,
		`{"a":1,"a":2}`:          `{"a":2}`,
		`[1,]`:                   `"[1,]"`,
		`plain "text"`:           `"plain \"text\""`,
		strings.Repeat("[", 600): `"` + strings.Repeat("[", 600) + `"`,
	} {
		if got, _ := CanonicalJSON(text); got != want {
			t.Errorf("CanonicalJSON(%q) = %q, want %q", text, got, want)
		}
	}
}

// TestHasTerm: a term has a boundary where letters or digits meet something else.
func TestHasTerm(t *testing.T) {
	for _, c := range []struct {
		text, term string
		want       bool
	}{{"hello world", "hello", true}, {"helloworld", "hello", false}, {"hello_1", "hello", true}, {"x-Hello", "HELLO", true}, {"a.b.c", ".b.", true}, {"", "", true}, {"helloworld hello", "hello", true}} {
		if got := hasTerm(c.text, c.term, false, true, true); got != c.want {
			t.Errorf("%q has %q = %v, want %v", c.text, c.term, got, c.want)
		}
	}
}

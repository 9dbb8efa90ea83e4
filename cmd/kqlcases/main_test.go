package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRunAndBind: one line out for each line in, in order, failures too.
func TestRunAndBind(t *testing.T) {
	now := time.Date(2024, 5, 17, 12, 0, 0, 0, time.UTC)
	cases := write(t, "cases.jsonl", `{"query":"print a = 1, t = now(), d = dynamic({\"x\":[1.5,null]}), r = real(nan)"}
{"query":"print a = nope"}
`)
	var out strings.Builder
	if err := run([]string{"run", cases}, &out, now); err != nil {
		t.Fatal(err)
	}
	want := `{"ok":true,"columns":["a","t","d","r"],"rows":[[1,"2024-05-17T12:00:00.0000000Z",{"x":[1.5,null]},"NaN"]]}
{"ok":false,"columns":[],"rows":[],"err":"line 1, column 11: there is no column or variable \"nope\""}
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}

	tables := write(t, "schema.json", `{"tables":{"T":[["TimeGenerated","datetime"],["s","string"]]}}`)
	queries := write(t, "queries.jsonl", `{"id":"1","query":"T | summarize count() by bin(TimeGenerated, 1h)"}
{"id":"2","query":"T | where nope"}
`)
	out.Reset()
	if err := run([]string{"bind", "--schema", tables, queries}, &out, now); err != nil {
		t.Fatal(err)
	}
	want = `{"id":"1","ok":true,"columns":[["TimeGenerated","datetime"],["count_","long"]]}
{"id":"2","ok":false,"columns":[],"err":"line 1, column 11: there is no column or variable \"nope\""}
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	if err := run([]string{"walk"}, &out, now); err == nil {
		t.Error("an unknown command was accepted")
	}
}

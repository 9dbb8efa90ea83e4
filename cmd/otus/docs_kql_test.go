package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/otus-project/otus/content"
	"github.com/otus-project/otus/kql"
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/sensor/protocol"
	"github.com/otus-project/otus/siem/store"
)

// TestKQLReference keeps the tables of docs/kql.md equal to what the language and the log tables declare.
func TestKQLReference(t *testing.T) {
	tables := logTables(t)
	generatedPart(t, "kql.md", "tables", tableReference(tables))
	generatedPart(t, "kql.md", "operators", operatorReference())
	generatedPart(t, "kql.md", "functions", functionReference())
}

func logTables(t *testing.T) []*store.Table {
	t.Helper()
	tables, err := store.LoadTables(content.FS())
	if err != nil {
		t.Fatal(err)
	}
	return tables
}

// cells escapes what would end a cell of a table.
func cells(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

func tableReference(tables []*store.Table) string {
	var b strings.Builder
	for _, table := range tables {
		keeps := "for ever"
		if table.Retention > 0 {
			keeps = fmt.Sprintf("%d days", table.Retention/(24*time.Hour))
		}
		byType := map[schema.Type][]string{}
		for _, c := range table.Columns {
			byType[c.Type] = append(byType[c.Type], "`"+c.Name+"`")
		}
		fmt.Fprintf(&b, "\n### %s\n\n%s Rows are kept %s.\n\n", table.Name, table.Description, keeps)
		for kind := schema.Bool; kind <= schema.Dynamic; kind++ {
			if names := byType[kind]; len(names) > 0 {
				fmt.Fprintf(&b, "- %s: %s\n", kind, strings.Join(names, ", "))
			}
		}
	}
	return b.String()
}

func operatorReference() string {
	var b strings.Builder
	var refused []string
	b.WriteString("| operator | what |\n|---|---|\n")
	for _, o := range kql.Operators() {
		if !o.Supported {
			refused = append(refused, "`"+o.Name+"`")
			continue
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", cells(o.Signature), cells(o.Description))
	}
	fmt.Fprintf(&b, "\nKnown, but refused: %s.\n", strings.Join(refused, ", "))
	return b.String()
}

func functionReference() string {
	var b strings.Builder
	for _, kind := range []struct{ id, title string }{{"aggregate", "Aggregates"}, {"scalar", "Scalar functions"}, {"window", "Functions over neighbouring rows"}} {
		var refused []string
		fmt.Fprintf(&b, "\n### %s\n\n| function | what |\n|---|---|\n", kind.title)
		for _, f := range kql.Functions() {
			switch {
			case f.Kind != kind.id:
			case !f.Supported:
				refused = append(refused, "`"+f.Name+"`")
			default:
				fmt.Fprintf(&b, "| `%s` | %s |\n", cells(f.Signature), cells(f.Description))
			}
		}
		if len(refused) > 0 {
			fmt.Fprintf(&b, "\nKnown, but refused: %s.\n", strings.Join(refused, ", "))
		}
	}
	return b.String()
}

// TestDocumentQueries compiles every query in a ```kusto block of the manual against the real tables. A blank line
// separates queries, as on the Logs page.
func TestDocumentQueries(t *testing.T) {
	catalog := store.Catalog(logTables(t))
	files, err := filepath.Glob(filepath.Join(docs, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	compiled := 0
	for _, f := range append(files, "../../README.md") {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range regexp.MustCompile("(?s)```kusto\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
			for _, query := range strings.Split(strings.TrimSpace(block[1]), "\n\n") {
				if _, err := kql.Compile(query, kql.Options{Catalog: catalog, Now: time.Unix(0, 0)}); err != nil {
					t.Errorf("%s: %v\n%s", filepath.Base(f), err, query)
				}
				compiled++
			}
		}
	}
	if compiled < 12 {
		t.Errorf("the manual has only %d queries", compiled)
	}
}

// TestProtocolsAreDescribed asks that docs/protocols.md has a section for every protocol that the program reads, and for no other.
func TestProtocolsAreDescribed(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(docs, "protocols.md"))
	if err != nil {
		t.Fatal(err)
	}
	described := map[string]bool{}
	for _, heading := range regexp.MustCompile("(?m)^## .*`([a-z0-9]+)`$").FindAllStringSubmatch(string(text), -1) {
		described[heading[1]] = true
	}
	folders, err := filepath.Glob("../../sensor/protocol/*/README.md")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for _, f := range folders {
		want[filepath.Base(filepath.Dir(f))] = true
	}
	for _, p := range protocol.All {
		want[p.ID] = true
	}
	for id := range want {
		if !described[id] {
			t.Errorf("docs/protocols.md has no section for %s", id)
		}
	}
	for id := range described {
		if !want[id] {
			t.Errorf("docs/protocols.md describes %s, which the program does not read", id)
		}
	}
}

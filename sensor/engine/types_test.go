package engine_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/otus-project/otus/internal/sharedtest"
	"github.com/otus-project/otus/sensor/engine"
)

// TestTypesAgreeWithTheReference compares what the engines declare with the table of alert types, field by field.
func TestTypesAgreeWithTheReference(t *testing.T) {
	reference := map[string]map[string]string{}
	for _, row := range sharedtest.Table(t, filepath.Join("reference", "alert-types.csv")) {
		reference[row["title"]] = row
	}
	compact := func(text string) []string {
		var out []string
		for _, tactic := range strings.Split(text, ";") {
			words := strings.Fields(tactic)
			for n, word := range words {
				words[n] = strings.ToUpper(word[:1]) + word[1:]
			}
			out = append(out, strings.Join(words, ""))
		}
		return out
	}
	for _, e := range engine.All {
		for _, typ := range e.Types {
			row, ok := reference[typ.Title]
			if !ok {
				t.Errorf("%s: %q is no title of the reference", typ.ID, typ.Title)
				continue
			}
			if row["engine"] != string(e.ID) || row["severity_portal"] != string(typ.Severity) || row["category"] != typ.Category {
				t.Errorf("%s: %s, %s, %s; the reference says %s, %s, %s", typ.ID, e.ID, typ.Severity, typ.Category,
					row["engine"], row["severity_portal"], row["category"])
			}
			if want := compact(row["mitre_ics_tactics"]); !slices.Equal(want, typ.Tactics) {
				t.Errorf("%s: tactics %q, the reference says %q", typ.ID, typ.Tactics, want)
			}
			if want := strings.Split(row["mitre_ics_techniques"], ";"); !slices.Equal(want, typ.Techniques) {
				t.Errorf("%s: techniques %q, the reference says %q", typ.ID, typ.Techniques, want)
			}
			if typ.Learnable != (row["learnable"] == "yes") || typ.Off != (row["on_by_default"] == "no") {
				t.Errorf("%s: learnable %t, off %t; the reference says %q, on %q", typ.ID, typ.Learnable, typ.Off, row["learnable"], row["on_by_default"])
			}
		}
	}
}

func TestTypesAreUniqueOverAllEngines(t *testing.T) {
	ids, titles, total := map[string]bool{}, map[string]bool{}, 0
	for _, e := range engine.All {
		for _, typ := range e.Types {
			if ids[typ.ID] || titles[typ.Title] {
				t.Errorf("alert type %q (%s) is declared twice", typ.ID, typ.Title)
			}
			ids[typ.ID], titles[typ.Title] = true, true
			total++
		}
		if len(e.Types) == 0 {
			t.Errorf("engine %s declares no alert type", e.ID)
		}
	}
	if total < 30 || len(engine.All) != 5 {
		t.Errorf("%d engines with %d alert types, want 5 with at least 30", len(engine.All), total)
	}
}

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor/engine"
)

const docs = "../../docs"

// TestAlertReference keeps docs/alerts.md equal to what the engines declare. OTUS_UPDATE_DOCS=1 rewrites it.
func TestAlertReference(t *testing.T) {
	path := filepath.Join(docs, "alerts.md")
	want := alertReference()
	if os.Getenv("OTUS_UPDATE_DOCS") != "" {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/alerts.md differs from what the engines declare; run: OTUS_UPDATE_DOCS=1 go test ./cmd/otus -run TestAlertReference")
	}
}

func alertReference() string {
	names := map[event.Engine]string{
		event.EngineProtocolViolation: "Protocol violation", event.EnginePolicyViolation: "Policy violation",
		event.EngineMalware: "Malware", event.EngineAnomaly: "Anomaly", event.EngineOperational: "Operational",
	}
	var b strings.Builder
	count := 0
	for _, e := range engine.All {
		count += len(e.Types)
	}
	fmt.Fprintf(&b, "# Alerts\n\nEvery alert type Otus can raise: %d. The list is made from the engines' own declarations.\n\n", count)
	b.WriteString("*Learnable*: Learn closes the alert and takes the traffic into the baseline. *Off*: silent unless switched on by its id.\n")
	for _, e := range engine.All {
		fmt.Fprintf(&b, "\n## %s\n", names[e.ID])
		for _, a := range e.Types {
			fmt.Fprintf(&b, "\n### %s\n\n`%s` · %s · %s", a.Title, a.ID, a.Severity, a.Category)
			if len(a.Techniques) > 0 {
				fmt.Fprintf(&b, " · %s", strings.Join(a.Techniques, ", "))
			}
			if a.Learnable {
				b.WriteString(" · learnable")
			}
			if a.Off {
				b.WriteString(" · off")
			}
			fmt.Fprintf(&b, "\n\n%s %s\n\n", a.Meaning, a.Impact)
			for _, s := range a.Safe {
				fmt.Fprintf(&b, "- Safe: %s\n", s)
			}
			for _, s := range a.Avoid {
				fmt.Fprintf(&b, "- Avoid: %s\n", s)
			}
			fmt.Fprintf(&b, "- Ask first: %s\n", a.Ask)
		}
	}
	return b.String()
}

// TestDocumentExamples runs every ```console block of the manual: lines that begin with "$ " are commands, the lines
// behind them must come out in that order; "..." stands for anything.
func TestDocumentExamples(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(docs, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, f := range append(files, "../../README.md") {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
			for _, example := range strings.Split("\n"+block[1], "\n$ ")[1:] {
				command, output, _ := strings.Cut(example, "\n")
				runExample(t, filepath.Base(f), dir, command, output)
				ran++
			}
		}
	}
	if ran == 0 {
		t.Error("the manual has no example")
	}
}

func runExample(t *testing.T, file, dir, command, want string) {
	t.Helper()
	args := splitCommand(command)
	if args[0] != "otus" {
		t.Errorf("%s: %q is not an otus command", file, command)
		return
	}
	for i, a := range args { // file names of the example live in its own folder
		if strings.HasSuffix(a, ".pcap") {
			args[i] = filepath.Join(dir, a)
		}
	}
	stdout, stderr, code := otus(t, args[1:]...)
	got := strings.ReplaceAll(stdout+stderr, dir+string(filepath.Separator), "")
	if code != 0 {
		t.Errorf("%s: %s: exit %d\n%s", file, command, code, got)
		return
	}
	var pattern strings.Builder
	for _, part := range strings.Split(strings.TrimSpace(want), "...") {
		if pattern.Len() > 0 {
			pattern.WriteString(".*")
		}
		pattern.WriteString(regexp.QuoteMeta(strings.TrimSpace(part)))
	}
	if !regexp.MustCompile("(?s)" + pattern.String()).MatchString(got) {
		t.Errorf("%s: %s\ngot\n%s\nwant\n%s", file, command, got, want)
	}
}

// splitCommand splits at spaces outside single quotes.
func splitCommand(s string) []string {
	var out []string
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			out = append(out, part)
		} else {
			out = append(out, strings.Fields(part)...)
		}
	}
	return out
}

package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/otus-project/otus/siem/access"
)

// generatedPart keeps the lines between "<!-- name: ... -->" and "<!-- end of name -->" of a document equal to what the
// program says of itself. OTUS_UPDATE_DOCS=1 rewrites them.
func generatedPart(t *testing.T, file, name, want string) {
	t.Helper()
	path := filepath.Join(docs, file)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, begins := strings.Cut(string(text), "<!-- "+name+":")
	opening, rest, opened := strings.Cut(rest, "-->\n")
	got, _, ends := strings.Cut(rest, "<!-- end of "+name+" -->")
	if !begins || !opened || !ends {
		t.Fatalf("%s has no part %q", file, name)
	}
	want = "\n" + strings.TrimSpace(want) + "\n\n"
	if got == want {
		return
	}
	if os.Getenv("OTUS_UPDATE_DOCS") == "" {
		t.Errorf("%s: part %q differs from the program; run: OTUS_UPDATE_DOCS=1 go test ./cmd/otus -run %s", file, name, t.Name())
		return
	}
	head := "<!-- " + name + ":" + opening + "-->\n"
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), head+got, head+want, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// description is the part of an OpenAPI document that the reference shows.
type description struct {
	Paths      map[string]map[string]operation
	Components struct {
		Schemas map[string]struct {
			Properties map[string]any
		}
	}
}

type operation struct {
	Summary    string
	Tags       []string
	Parameters []struct{ Name, In string }
	Body       struct {
		Content map[string]struct {
			Schema struct {
				Ref string `json:"$ref"`
			}
		}
	} `json:"requestBody"`
}

// joined are the houses as the program joins them, with a token for each role.
type joined struct {
	*houses
	tokens map[string]string
}

func join(t *testing.T) *joined {
	t.Helper()
	c, err := upOptions{dir: t.TempDir(), speed: "max", seed: "1"}.check(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	h, err := openHouses(t.Context(), environment{out: io.Discard, err: io.Discard, now: time.Now}, c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.close(); err != nil {
			t.Error(err)
		}
	})
	j := &joined{h, map[string]string{}}
	for _, role := range access.RoleNames() {
		if _, j.tokens[role], err = h.access.CreateToken(t.Context(), role, []string{role}, 0, "test"); err != nil {
			t.Fatal(err)
		}
	}
	return j
}

// ask sends a request through the access check to next.
func (j *joined) ask(next http.Handler, role, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if role != "" {
		r.Header.Set("Authorization", "Bearer "+j.tokens[role])
	}
	w := httptest.NewRecorder()
	j.access.Wrap(next).ServeHTTP(w, r)
	return w
}

// leastRole is the least role that may make a request, or what else is needed.
func (j *joined) leastRole(t *testing.T, method, path string) string {
	t.Helper()
	passed := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	for _, role := range append([]string{""}, access.RoleNames()...) {
		switch code := j.ask(passed, role, method, path, "").Code; code {
		case http.StatusNoContent:
			if role == "" {
				return "none"
			}
			return role
		case http.StatusUnauthorized, http.StatusForbidden:
		default:
			t.Fatalf("%s %s: status %d of the access check", method, path, code)
		}
	}
	t.Fatalf("%s %s: no role may", method, path)
	return ""
}

// pathParameter is a name in braces.
var pathParameter = regexp.MustCompile(`\{[^}]*\}`)

// TestAPIReference keeps the tables of docs/api.md equal to what the program serves, with the roles that it really asks for.
func TestAPIReference(t *testing.T) {
	j := join(t)
	answer := j.ask(j.mux, "Reader", "GET", "/otus/v1/openapi/openapi.json", "")
	var api description
	if err := json.Unmarshal(answer.Body.Bytes(), &api); err != nil {
		t.Fatalf("status %d: %v", answer.Code, err)
	}
	generatedPart(t, "api.md", "operations", j.operations(t, api))
	j.checkOthers(t)
}

func (j *joined) operations(t *testing.T, api description) string {
	t.Helper()
	headings := map[string]string{"Access": "Access", "Incidents": "Incidents", "Rules": "Rules", "logs": "Logs", "connectors": "Connectors", "fleet": "Fleet"}
	order := []string{"Incidents", "Rules", "logs", "connectors", "fleet", "Access"}
	type line struct{ path, method, text string }
	lines := map[string][]line{}
	for path, methods := range api.Paths {
		for method, o := range methods {
			if len(o.Tags) != 1 || headings[o.Tags[0]] == "" {
				t.Fatalf("%s %s: tags %v", method, path, o.Tags)
			}
			method = strings.ToUpper(method)
			role := j.leastRole(t, method, pathParameter.ReplaceAllString(path, "1"))
			short := strings.NewReplacer("/otus/v1/workspaces/{workspace}", "W", "/otus/v1/fleet", "F").Replace(path)
			lines[o.Tags[0]] = append(lines[o.Tags[0]], line{path, method, fmt.Sprintf("| %s | `%s` | %s%s | %s |\n", method, short, o.Summary, inputs(o, api), role)})
		}
	}
	var b strings.Builder
	for _, tag := range order {
		slices.SortFunc(lines[tag], func(a, b line) int { return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.method, b.method)) })
		fmt.Fprintf(&b, "\n### %s\n\n| method | path | what | role |\n|---|---|---|---|\n", headings[tag])
		for _, l := range lines[tag] {
			b.WriteString(l.text)
		}
	}
	return b.String()
}

// inputs names what an operation takes beside its path.
func inputs(o operation, api description) string {
	var query, header, body []string
	for _, p := range o.Parameters {
		switch p.In {
		case "query":
			query = append(query, "`"+p.Name+"`")
		case "header":
			header = append(header, "`"+p.Name+"`")
		}
	}
	for kind, content := range o.Body.Content {
		if content.Schema.Ref == "" {
			body = append(body, kind)
			continue
		}
		for name := range api.Components.Schemas[strings.TrimPrefix(content.Schema.Ref, "#/components/schemas/")].Properties {
			if name != "$schema" {
				body = append(body, name)
			}
		}
		slices.Sort(body)
		for i, name := range body {
			body[i] = "`" + name + "`"
		}
	}
	var b strings.Builder
	for _, part := range []struct {
		title string
		names []string
	}{{"query", query}, {"header", header}, {"body", body}} {
		if len(part.names) > 0 {
			fmt.Fprintf(&b, "<br>%s: %s", part.title, strings.Join(part.names, ", "))
		}
	}
	return b.String()
}

// checkOthers holds the table of streams, cookies and files against what is served and who may.
func (j *joined) checkOthers(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(docs, "api.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "## Beside the OpenAPI document")
	section, _, _ = strings.Cut(section, "\n## ")
	rows := regexp.MustCompile("(?m)^\\| ([A-Z]+) \\| `([^`]+)` \\| .* \\| ([^|]+) \\|$").FindAllStringSubmatch(section, -1)
	if len(rows) < 8 {
		t.Fatalf("the table has %d rows", len(rows))
	}
	for _, row := range rows {
		path := pathParameter.ReplaceAllString(strings.Replace(row[2], "F/", "/otus/v1/fleet/", 1), "default")
		request := httptest.NewRequest(row[1], path, nil)
		if _, pattern := j.mux.Handler(request); pattern == "/" || pattern == "" {
			t.Errorf("%s %s is not served", row[1], row[2])
		}
		role := row[3]
		if row[3] == "key of the sensor" || row[3] == "the code" {
			role = "none"
		}
		if want := j.leastRole(t, row[1], path); role != want && !(want == "Reader" && role == "any") {
			t.Errorf("%s %s: the document says %q, the program asks for %q", row[1], row[2], row[3], want)
		}
	}
}

// TestLogAnalyticsExample asks the example question of docs/api.md and compares the columns of the answer.
func TestLogAnalyticsExample(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(docs, "api.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)-d '([^']+)' \\\\\n  [^\n]*(/v1/workspaces/default/query)\n```\n\n```json\n(.*?)```").FindSubmatch(text)
	if found == nil {
		t.Fatal("docs/api.md has no example of a query")
	}
	j := join(t)
	w := j.ask(j.mux, "Reader", "POST", string(found[2]), string(found[1]))
	type answer struct {
		Tables []struct {
			Name    string
			Columns []struct{ Name, Type string }
		}
	}
	var got, want answer
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(bytes.NewReader(found[3])).Decode(&want); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || len(got.Tables) != 1 {
		t.Errorf("got %v, the document says %v", got, want)
	}
}

package query

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2/humatest"
	"github.com/google/go-cmp/cmp"

	"github.com/otus-project/otus/siem/store"
)

func TestAPI(t *testing.T) {
	s, st := open(t, Options{Now: clock})
	things(t, st, 1, store.Row{"TimeGenerated": now.Add(-time.Hour), "Small": 1, "Bag": json.RawMessage(`{"a":1}`)}, store.Row{"TimeGenerated": now.Add(-48 * time.Hour), "Small": 2})
	var denied error
	_, api := humatest.New(t)
	s.Register(api, APIOptions{Authorize: func(context.Context, string) error { return denied }})
	const base = "/otus/v1/workspaces/default"
	for _, c := range []struct {
		path, body string
		status     int
		want       string
	}{
		{"/query", `{"query":"Thing | project TimeGenerated, Small, Bag | order by Small asc"}`, 200,
			`"columns":[{"name":"TimeGenerated","type":"datetime"},{"name":"Small","type":"int"},{"name":"Bag","type":"dynamic"}],` +
				`"rows":[["2026-05-01T11:00:00.0000000Z",1,{"a":1}],["2026-04-29T12:00:00.0000000Z",2,null]],"truncated":false,"statistics":{"elapsedMs":0,"rows":2},"visualization":null`},
		{"/query", `{"query":"Thing | project Small","timespan":"P1D"}`, 200, `"rows":[[1]]`},
		{"/query", `{"query":"Thing | project Small","maxRows":1}`, 200, `"truncated":true`},
		{"/query", `{"query":"Thing | summarize count() by Type | render barchart with (title=\"T\")"}`, 200, `"visualization":{"kind":"barchart","title":"T","xColumn":"","yColumns":[],"series":[],"stacked":false}`},
		{"/query", `{"query":"Thing","timespan":"yesterday"}`, 400, `neither a duration`},
		{"/query", `{"query":"Thing\n| where Smal == 1"}`, 400, `"line":2,"column":9,"start":14,"end":18,`},
		{"/query", `{"query":"Thing | where Small == 1\nInstead"}`, 400, `Instead`},
		{"/query/check", `{"query":"Thing | where Smal == 1"}`, 200, `{"diagnostics":[{"code":"KQL004"`},
		{"/query/check", `{"query":"Thing"}`, 200, `{"diagnostics":[]}`},
	} {
		got := api.Post(base+c.path, strings.NewReader(c.body))
		if got.Code != c.status || !strings.Contains(got.Body.String(), c.want) {
			t.Errorf("%s %s: got %d %s, want %d with %s", c.path, c.body, got.Code, got.Body, c.status, c.want)
		}
		if kind := got.Header().Get("Content-Type"); c.status == 400 && kind != "application/problem+json" {
			t.Errorf("%s: content type %q", c.body, kind)
		}
	}
	denied = errors.New("workspace.read is needed")
	if got := api.Post(base+"/query", strings.NewReader(`{"query":"Thing"}`)); got.Code != http.StatusForbidden || !strings.Contains(got.Body.String(), "workspace.read") {
		t.Errorf("denied: got %d %s", got.Code, got.Body)
	}
	denied = nil
	got := api.Get(base + "/schema")
	var schema Schema
	if err := json.Unmarshal(got.Body.Bytes(), &schema); err != nil {
		t.Fatal(err)
	}
	if len(schema.Tables) != 7 || len(schema.Functions) < 50 || len(schema.Operators) < 10 {
		t.Errorf("schema: %d tables, %d functions, %d operators", len(schema.Tables), len(schema.Functions), len(schema.Operators))
	}
	for _, table := range schema.Tables {
		if table.Name == "SecurityAlert" {
			if diff := cmp.Diff([]string{"AzureSecurityOfThings", "SecurityInsights"}, table.Solutions); diff != "" {
				t.Error(diff)
			}
		}
	}
}

const workspaceID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"

// ask sends a request to the Log Analytics handler.
func ask(t *testing.T, h http.Handler, r *http.Request) (status int, body map[string]any, head http.Header) {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/v1/workspaces/{id}/query", h)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	return w.Code, body, w.Header()
}

func post(id, body string) *http.Request {
	return httptest.NewRequest(http.MethodPost, "/v1/workspaces/"+id+"/query", strings.NewReader(body))
}

func TestLogAnalytics(t *testing.T) {
	s, st := open(t, Options{Now: clock, MaxRows: 5})
	things(t, st, 1, store.Row{"TimeGenerated": now.Add(-time.Hour + 100), "Type": "", "Flag": true, "Small": 1, "Big": int64(1) << 60, "Number": 0.5,
		"Span": 26*time.Hour + 500*time.Millisecond, "ID": workspaceID, "Bag": json.RawMessage(`{"a":"é"}`)}, store.Row{"TimeGenerated": now.Add(-48 * time.Hour)})
	h := s.LogAnalytics(LogAnalyticsOptions{Workspaces: []string{workspaceID, "default"}})

	status, body, head := ask(t, h, post("default", `{"query":"Thing | where Small == 1 | project TimeGenerated, Type, Flag, Small, Number, Span, ID, Bag","timespan":null,"workspaces":null}`))
	want := map[string]any{"tables": []any{map[string]any{"name": "PrimaryResult", "columns": []any{
		map[string]any{"name": "TimeGenerated", "type": "datetime"}, map[string]any{"name": "Type", "type": "string"}, map[string]any{"name": "Flag", "type": "bool"},
		map[string]any{"name": "Small", "type": "int"}, map[string]any{"name": "Number", "type": "real"}, map[string]any{"name": "Span", "type": "timespan"},
		map[string]any{"name": "ID", "type": "guid"}, map[string]any{"name": "Bag", "type": "dynamic"}},
		"rows": []any{[]any{"2026-05-01T11:00:00.0000001Z", "", true, 1.0, 0.5, "1.02:00:00.5000000", workspaceID, `{"a":"é"}`}}}}}
	if diff := cmp.Diff(want, body); status != 200 || diff != "" {
		t.Errorf("status %d; want -, got +\n%s", status, diff)
	}
	if head.Get("X-Ms-Request-Id") == "" {
		t.Error("no request id")
	}

	rows := func(r *http.Request) int {
		status, body, _ := ask(t, h, r)
		if status != 200 {
			t.Fatalf("%s: %d %v", r.URL, status, body)
		}
		return len(body["tables"].([]any)[0].(map[string]any)["rows"].([]any))
	}
	get := func(values url.Values) *http.Request {
		return httptest.NewRequest(http.MethodGet, "/v1/workspaces/"+strings.ToUpper(workspaceID)+"/query?"+values.Encode(), nil)
	}
	if n := rows(get(url.Values{"query": {"Thing"}, "timespan": {"P1D"}})); n != 1 {
		t.Errorf("GET with a timespan: %d rows", n)
	}
	both := post("default", `{"query":"Thing","timespan":"P3D"}`)
	both.URL.RawQuery = "timespan=PT2H"
	if n := rows(both); n != 1 {
		t.Errorf("both timespans: %d rows, want those in both", n)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte(`{"query":"Thing"}`))
	_ = z.Close()
	r := httptest.NewRequest(http.MethodPost, "/v1/workspaces/default/query", &zipped)
	r.Header.Set("Content-Encoding", "gzip")
	if n := rows(r); n != 2 {
		t.Errorf("gzip: %d rows", n)
	}

	r = post("default", `{"query":"Thing | summarize count() by Type | render piechart"}`)
	r.Header.Set("Prefer", "wait=60,include-statistics=true, include-render=true")
	r.Header.Set("x-ms-client-request-id", "mine")
	_, body, head = ask(t, h, r)
	if body["statistics"] == nil || body["render"].(map[string]any)["visualization"] != "piechart" || head.Get("x-ms-client-request-id") != "mine" {
		t.Errorf("preferred: %v, %v", body, head)
	}

	_, body, _ = ask(t, h, post("default", `{"query":"range x from 1 to 10 step 1"}`))
	if e, _ := body["error"].(map[string]any); e["code"] != "PartialError" || body["tables"] == nil {
		t.Errorf("too many rows: %v", body)
	}
}

func TestLogAnalyticsErrors(t *testing.T) {
	s, _ := open(t, Options{Now: clock, Timeout: 50 * time.Millisecond})
	var denied error
	var told error
	h := s.LogAnalytics(LogAnalyticsOptions{Workspaces: []string{workspaceID, "default"}, APIOptions: APIOptions{
		Authorize: func(context.Context, string) error { return denied }, OnError: func(_ context.Context, err error) { told = err }}})
	path := func(body map[string]any, keys ...string) any {
		var v any = body
		for _, key := range keys {
			v, _ = v.(map[string]any)[key]
		}
		return v
	}
	for _, c := range []struct {
		r      *http.Request
		status int
		code   string
		inner  string
		leaf   string
	}{
		{post("nope", `{"query":"Thing"}`), 404, "PathNotFoundError", "", ""},
		{post("default", `{"query":"Thing"`), 400, "BadArgumentError", "MalformedRequest", ""},
		{post("default", `{}`), 400, "BadArgumentError", "MissingQuery", ""},
		{post("default", `{"query":"Thing","timespan":"x"}`), 400, "BadArgumentError", "InvalidTimespan", ""},
		{post("default", `{"query":"Thing","workspaces":["other"]}`), 400, "BadArgumentError", "WorkspaceNotFound", ""},
		{post("default", `{"query":"Thing | where"}`), 400, "BadArgumentError", "SyntaxError", "SYN0002"},
		{post("default", `{"query":"Thing | where Nope == 1"}`), 400, "BadArgumentError", "SemanticError", "SEM0100"},
		{post("default", `{"query":"`+slowQuery+`"}`), 504, "GatewayTimeout", "", ""},
		{httptest.NewRequest(http.MethodPut, "/v1/workspaces/default/query", nil), 405, "MethodNotAllowedError", "", ""},
	} {
		status, body, _ := ask(t, h, c.r)
		inner, _ := path(body, "error", "innererror").(map[string]any)
		if status != c.status || path(body, "error", "code") != c.code || c.inner != "" && inner["code"] != c.inner || path(body, "error", "correlationId") == nil {
			t.Errorf("%+v: got %d %v", c, status, body)
		}
		if c.leaf != "" {
			leaf := inner["innererror"].(map[string]any)
			if leaf["code"] != c.leaf || leaf["line"] != 1.0 || leaf["pos"] == nil || leaf["token"] == nil {
				t.Errorf("%+v: leaf %v", c, leaf)
			}
		}
	}
	denied = errors.New("no")
	if status, body, _ := ask(t, h, post("default", `{"query":"Thing"}`)); status != 403 || path(body, "error", "code") != "InsufficientAccessError" {
		t.Errorf("denied: got %d %v", status, body)
	}
	denied = nil
	broken := New(&brokenStore{Store: s.store, err: errors.New("disk on fire")}, Options{}).LogAnalytics(LogAnalyticsOptions{Workspaces: []string{"default"},
		APIOptions: APIOptions{OnError: func(_ context.Context, err error) { told = err }}})
	status, body, _ := ask(t, broken, post("default", `{"query":"print 1"}`))
	if text, _ := json.Marshal(body); status != 500 || strings.Contains(string(text), "fire") || told == nil {
		t.Errorf("inner error: got %d %s, told %v", status, text, told)
	}
	big := post("default", `{"query":"`+strings.Repeat("x", maxRequestBytes)+`"}`)
	if status, _, _ := ask(t, h, big); status != http.StatusRequestEntityTooLarge {
		t.Errorf("huge body: %d", status)
	}
}

func FuzzLogAnalyticsRequest(f *testing.F) {
	f.Add(`{"query":"print 1","timespan":"P1D","workspaces":[]}`, "wait=5")
	f.Add(`{"query":1}`, "wait=x, include-render")
	f.Fuzz(func(t *testing.T, body, prefer string) {
		h := &logAnalytics{New(nil, Options{Now: clock}), LogAnalyticsOptions{}}
		_, _ = h.read(post("default", body))
		_, _ = parsePrefer([]string{prefer})
	})
}

package web

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

var built = fstest.MapFS{
	".keep":                 {Data: nil},
	"index.html":            {Data: []byte("<!doctype html><title>Otus</title>")},
	"theme.js":              {Data: []byte("plain")},
	"assets/app-1a2b.js":    {Data: []byte("let long = 1")},
	"assets/app-1a2b.js.br": {Data: []byte("BR")},
	"assets/app-1a2b.js.gz": {Data: []byte("GZ")},
}

func get(t *testing.T, files fstest.MapFS, method, target string, header map[string]string) *http.Response {
	t.Helper()
	h, err := newHandler(files)
	if err != nil {
		t.Fatalf("newHandler: %v", err)
	}
	r := httptest.NewRequest(method, target, nil)
	for k, v := range header {
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	res := w.Result()
	if got := res.Header.Get("Content-Security-Policy"); got != Policy {
		t.Errorf("%s %s: content security policy %q, want %q", method, target, got, Policy)
	}
	return res
}

func body(t *testing.T, res *http.Response) string {
	t.Helper()
	var b strings.Builder
	buf := make([]byte, 512)
	for {
		n, err := res.Body.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return b.String()
		}
	}
}

func TestRoutes(t *testing.T) {
	cases := []struct {
		target string
		want   int
	}{
		{"/", 200}, {"/incidents", 200}, {"/incidents/17", 200}, {"/logs?q=x", 200}, {"/theme.js", 200},
		{"/devices/../incidents", 200},
		{"/otus/v1/session", 404}, {"/v1/workspaces/default/query", 404}, {"/api/v1/devices", 404}, {"/external/x", 404},
		{"/subscriptions/x", 404}, {"/providers", 404}, {"/adfs/oauth2/token", 404}, {"/v2/rest/query", 404},
		{"/assets/gone-0000.js", 404}, {"/.keep", 404}, {"/assets/app-1a2b.js.br", 404}, {"/favicon.ico", 404},
	}
	for _, c := range cases {
		if got := get(t, built, "GET", c.target, nil).StatusCode; got != c.want {
			t.Errorf("GET %s: status %d, want %d", c.target, got, c.want)
		}
	}
	if got := get(t, built, "POST", "/incidents", nil).StatusCode; got != http.StatusMethodNotAllowed {
		t.Errorf("POST /incidents: status %d, want 405", got)
	}
}

func TestEncodingAndCache(t *testing.T) {
	cases := []struct{ accept, encoding, body string }{
		{"gzip, deflate, br", "br", "BR"}, {"gzip", "gzip", "GZ"}, {"", "", "let long = 1"},
		{"br;q=0, gzip;q=0.5", "gzip", "GZ"}, {"identity", "", "let long = 1"}, {"br;q=x", "", "let long = 1"},
	}
	for _, c := range cases {
		res := get(t, built, "GET", "/assets/app-1a2b.js", map[string]string{"Accept-Encoding": c.accept})
		if got := res.Header.Get("Content-Encoding"); got != c.encoding {
			t.Errorf("accept %q: encoding %q, want %q", c.accept, got, c.encoding)
		}
		if got := body(t, res); got != c.body {
			t.Errorf("accept %q: body %q, want %q", c.accept, got, c.body)
		}
		if got := res.Header.Get("Cache-Control"); !strings.Contains(got, "immutable") {
			t.Errorf("accept %q: cache control %q, want immutable", c.accept, got)
		}
		again := get(t, built, "GET", "/assets/app-1a2b.js", map[string]string{"Accept-Encoding": c.accept, "If-None-Match": res.Header.Get("ETag")})
		if again.StatusCode != http.StatusNotModified {
			t.Errorf("accept %q: second answer %d, want 304", c.accept, again.StatusCode)
		}
	}
	if got := get(t, built, "GET", "/incidents", nil).Header.Get("Cache-Control"); got != "no-cache" {
		t.Errorf("page: cache control %q, want no-cache", got)
	}
	if got := body(t, get(t, built, "HEAD", "/", nil)); got != "" {
		t.Errorf("HEAD: body %q, want none", got)
	}
}

func TestNotBuilt(t *testing.T) {
	res := get(t, fstest.MapFS{".keep": {}}, "GET", "/incidents", nil)
	if res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body(t, res), "make web") {
		t.Errorf("without a build: status %d, want 503 and the way to build", res.StatusCode)
	}
	if _, err := NewHandler(); err != nil {
		t.Errorf("NewHandler over the embedded folder: %v", err)
	}
}

package access

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/otus-project/otus/siem/state"
)

type clock struct{ at time.Time }

func setup(t *testing.T) (*Service, *clock, *state.DB) {
	t.Helper()
	c := &clock{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	db, err := state.Open(t.TempDir(), state.Options{Now: func() time.Time { return c.at }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s, err := New(db)
	if err != nil {
		t.Fatal(err)
	}
	return s, c, db
}

// handler answers "hello NAME" behind Wrap, and serves the sign-in link.
func handler(s *Service) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /otus/v1/signin", s.SignInHandler())
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		p, _ := From(r.Context())
		io.WriteString(w, "hello "+p.Name)
	})
	return s.Wrap(mux)
}

func do(h http.Handler, method, target string, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	r.RemoteAddr = "127.0.0.1:4711"
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

func TestRightsByRole(t *testing.T) {
	s, _, _ := setup(t)
	h := handler(s)
	tokens := map[string]string{"": ""}
	for _, role := range RoleNames() {
		_, text, err := s.CreateToken(t.Context(), role, []string{role}, 0, "test")
		if err != nil {
			t.Fatal(err)
		}
		tokens[role] = text
	}
	const w = "/otus/v1/workspaces/default"
	for _, c := range []struct {
		method, path string
		least        string // role from which on it is allowed; "open" for everybody, "never" for nobody
	}{
		{"GET", "/", "open"}, {"GET", "/assets/app.js", "open"}, {"GET", "/incidents/7", "open"}, {"GET", "/healthz", "open"},
		{"POST", "/otus/v1/uplink/batches", "open"},
		{"GET", w + "/incidents", "Reader"}, {"GET", w + "/summary", "Reader"}, {"GET", w + "/rules", "Reader"},
		{"POST", w + "/query", "Reader"}, {"POST", w + "/query/check", "Reader"}, {"GET", "/otus/v1/events", "Reader"},
		{"POST", "/v1/workspaces/default/query", "Reader"}, {"GET", "/otus/v1/session", "Reader"},
		{"PATCH", w + "/incidents/3", "Responder"}, {"POST", w + "/incidents/3/comments", "Responder"},
		{"PUT", w + "/rules/x", "Contributor"}, {"DELETE", w + "/rules/x", "Contributor"}, {"PATCH", w + "/rules/x", "Contributor"},
		{"PUT", w + "/connectors/iot/subscriptions/s", "Contributor"}, {"PUT", w + "/connectors/iot/create-incidents", "Contributor"},
		{"GET", "/otus/v1/fleet/devices", "Reader"}, {"POST", "/otus/v1/fleet/sensors", "Contributor"},
		{"PATCH", "/otus/v1/fleet/subscriptions/s", "Contributor"}, {"POST", "/otus/v1/fleet/alerts/a/commands", "Contributor"},
		{"GET", "/otus/v1/tokens", "Owner"}, {"POST", "/otus/v1/tokens", "Owner"}, {"DELETE", "/otus/v1/tokens/x", "Owner"},
		{"GET", "/otus/v1/other", "never"}, {"POST", "/otus/v2/workspaces/default/query", "never"}, {"GET", "/api/v1/devices", "never"},
		{"POST", "/", "never"}, {"GET", "/OTUS/v1/workspaces/default/incidents", "never"}, {"GET", "/x/../otus/v1/tokens", "Owner"},
		{"GET", "//otus/v1/tokens", "Owner"}, {"GET", "/otus/v1/workspaces/default/../../fleet/devices", "Reader"},
	} {
		allowed := c.least == "open"
		for _, role := range append([]string{""}, RoleNames()...) {
			allowed = allowed || role == c.least
			got := do(h, c.method, c.path, func(r *http.Request) {
				if role != "" {
					bearer(tokens[role])(r)
				}
			})
			// net/http sends an unclean path on to the clean one; that answer shows nothing.
			passed := got.Code == http.StatusOK && strings.HasPrefix(got.Body.String(), "hello")
			redirected := got.Code == http.StatusMovedPermanently || got.Code == http.StatusTemporaryRedirect
			if passed != allowed && !(allowed && redirected) {
				t.Errorf("%s %s as %q: %d, allowed %v", c.method, c.path, role, got.Code, allowed)
			}
			if !passed && !redirected && got.Code != 401 && got.Code != 403 && got.Code != 404 {
				t.Errorf("%s %s as %q: refused with %d", c.method, c.path, role, got.Code)
			}
		}
	}
}

func TestTokens(t *testing.T) {
	s, c, _ := setup(t)
	h := handler(s)
	token, text, err := s.CreateToken(t.Context(), "script", []string{"Reader"}, time.Hour, "anna")
	if err != nil {
		t.Fatal(err)
	}
	get := func(text string) int { return do(h, "GET", "/otus/v1/session", bearer(text)).Code }
	if got := get(text); got != 200 {
		t.Errorf("good token: %d", got)
	}
	for _, bad := range []string{"", "otus_", text + "x", text[:len(text)-1], strings.ToUpper(text)} {
		if got := get(bad); got != 401 {
			t.Errorf("token %q: %d", bad, got)
		}
	}
	if got := do(h, "GET", "/otus/v1/session", func(r *http.Request) { r.SetBasicAuth("a", text) }).Code; got != 401 {
		t.Errorf("basic: %d", got)
	}
	c.at = c.at.Add(time.Hour)
	if got := get(text); got != 401 {
		t.Errorf("expired: %d", got)
	}
	if _, _, err := s.CreateToken(t.Context(), "x", []string{"King"}, 0, "anna"); !errors.Is(err, ErrRole) {
		t.Errorf("unknown role: %v", err)
	}
	_, first, _ := s.ReplaceToken(t.Context(), "admin", []string{"Owner"}, "start")
	_, second, _ := s.ReplaceToken(t.Context(), "admin", []string{"Owner"}, "start")
	if get(first) != 401 || get(second) != 200 {
		t.Errorf("replaced: %d, new: %d", get(first), get(second))
	}
	if err := s.DeleteToken(t.Context(), token.ID, "anna"); err != nil {
		t.Error(err)
	}
	if err := s.DeleteToken(t.Context(), token.ID, "anna"); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	all, err := s.Tokens(t.Context())
	if err != nil || len(all) != 1 || all[0].Name != "admin" || all[0].Expires != nil {
		t.Errorf("%+v %v", all, err)
	}
}

func TestSecretsAreNotStored(t *testing.T) {
	s, _, db := setup(t)
	_, text, err := s.CreateToken(t.Context(), "x", []string{"Reader"}, 0, "anna")
	if err != nil {
		t.Fatal(err)
	}
	var stored []byte
	if err := db.Reader().QueryRowContext(t.Context(), `SELECT hash FROM api_token`).Scan(&stored); err != nil || len(stored) != 32 || strings.Contains(text, string(stored)) {
		t.Errorf("stored %x (%v)", stored, err)
	}
}

func signIn(t *testing.T, s *Service, h http.Handler) *http.Cookie {
	t.Helper()
	code, err := s.SignInCode(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := do(h, "GET", "/otus/v1/signin?code="+code, nil)
	cookies := w.Result().Cookies()
	if w.Code != http.StatusFound || w.Header().Get("Location") != "/" || len(cookies) != 1 {
		t.Fatalf("sign-in: %d %v", w.Code, w.Header())
	}
	c := cookies[0]
	if c.Name != CookieName || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" {
		t.Errorf("cookie %+v", c)
	}
	return c
}

func TestSignInCode(t *testing.T) {
	s, c, _ := setup(t)
	h := handler(s)
	code, _ := s.SignInCode(t.Context())
	for name, change := range map[string]func(*http.Request){
		"other machine": func(r *http.Request) { r.RemoteAddr = "192.0.2.7:99" },
		"behind proxy":  func(r *http.Request) { r.Header.Set("X-Forwarded-For", "192.0.2.7") },
	} {
		if got := do(h, "GET", "/otus/v1/signin?code="+code, change).Code; got != 403 {
			t.Errorf("%s: %d", name, got)
		}
	}
	if got := do(h, "GET", "/otus/v1/signin?code="+code, func(r *http.Request) { r.RemoteAddr = "[::1]:9" }).Code; got != 302 {
		t.Errorf("first use: %d", got)
	}
	if got := do(h, "GET", "/otus/v1/signin?code="+code, nil).Code; got != 403 {
		t.Errorf("second use: %d", got)
	}
	late, _ := s.SignInCode(t.Context())
	c.at = c.at.Add(codeLife)
	if got := do(h, "GET", "/otus/v1/signin?code="+late, nil).Code; got != 403 {
		t.Errorf("too late: %d", got)
	}
	if got := do(h, "GET", "/otus/v1/signin", nil).Code; got != 403 {
		t.Errorf("no code: %d", got)
	}
}

func TestSession(t *testing.T) {
	s, c, _ := setup(t)
	h := handler(s)
	cookie := signIn(t, s, h)
	get := func() int {
		return do(h, "GET", "/otus/v1/session", func(r *http.Request) { r.AddCookie(cookie) }).Code
	}
	for range 20 {
		if got := get(); got != 200 {
			if age := c.at.Sub(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)); age < sessionLife {
				t.Fatalf("used session ended after %v: %d", age, got)
			}
			break
		}
		c.at = c.at.Add(sessionIdle - time.Minute)
	}
	if got := get(); got != 401 {
		t.Errorf("a session lives for ever: %d", got)
	}
	cookie = signIn(t, s, h)
	c.at = c.at.Add(sessionIdle)
	if got := get(); got != 401 {
		t.Errorf("idle session: %d", got)
	}
	cookie = signIn(t, s, h)
	r := httptest.NewRequest("DELETE", "/otus/v1/session", nil)
	r.AddCookie(cookie)
	w := httptest.NewRecorder()
	if err := s.SignOut(w, r); err != nil || w.Result().Cookies()[0].MaxAge >= 0 {
		t.Errorf("sign out: %v %v", err, w.Result().Cookies())
	}
	if got := get(); got != 401 {
		t.Errorf("after sign-out: %d", got)
	}
}

func TestForgedRequests(t *testing.T) {
	s, _, _ := setup(t)
	h := handler(s)
	cookie := signIn(t, s, h)
	const target = "http://127.0.0.1:8080/otus/v1/workspaces/default/incidents/1"
	for name, c := range map[string]struct {
		headers map[string]string
		want    int
	}{
		"our page":              {map[string]string{"X-Otus-CSRF": "1", "Origin": "http://127.0.0.1:8080"}, 200},
		"our page, fetch site":  {map[string]string{"X-Otus-CSRF": "1", "Sec-Fetch-Site": "same-origin"}, 200},
		"no header":             {map[string]string{"Origin": "http://127.0.0.1:8080"}, 403},
		"other origin":          {map[string]string{"X-Otus-CSRF": "1", "Origin": "http://evil.example"}, 403},
		"other port":            {map[string]string{"X-Otus-CSRF": "1", "Origin": "http://127.0.0.1:9090", "Sec-Fetch-Site": "same-origin"}, 403},
		"null origin":           {map[string]string{"X-Otus-CSRF": "1", "Origin": "null"}, 403},
		"cross site":            {map[string]string{"X-Otus-CSRF": "1", "Sec-Fetch-Site": "cross-site"}, 403},
		"no word where it from": {map[string]string{"X-Otus-CSRF": "1"}, 403},
	} {
		got := do(h, "PATCH", target, func(r *http.Request) {
			r.AddCookie(cookie)
			for k, v := range c.headers {
				r.Header.Set(k, v)
			}
		}).Code
		if got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	if got := do(h, "GET", target, func(r *http.Request) { r.AddCookie(cookie) }).Code; got != 200 {
		t.Errorf("reading: %d", got)
	}
}

func TestAudit(t *testing.T) {
	s, _, db := setup(t)
	h := handler(s)
	_, text, _ := s.CreateToken(t.Context(), "reader", []string{"Reader"}, 0, "anna")
	_, owner, _ := s.CreateToken(t.Context(), "owner", []string{"Owner"}, 0, "anna")
	do(h, "GET", "/otus/v1/workspaces/default/incidents", bearer(owner))
	do(h, "POST", "/otus/v1/workspaces/default/query", bearer(owner))
	do(h, "PATCH", "/otus/v1/workspaces/default/incidents/1", bearer(owner))
	do(h, "PATCH", "/otus/v1/workspaces/default/incidents/1", bearer(text))
	log, err := db.AuditLog(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range log {
		got = append(got, a.Actor+" "+a.Action+" "+a.Target+" "+a.Result)
	}
	want := []string{
		"reader PATCH /otus/v1/workspaces/default/incidents/1 403", "owner PATCH /otus/v1/workspaces/default/incidents/1 ok",
		"anna token.create owner ok", "anna token.create reader ok",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestAuthorize(t *testing.T) {
	if err := Authorize(t.Context(), WorkspaceRead); !errors.Is(err, ErrUnauthenticated) {
		t.Error(err)
	}
	ctx := With(t.Context(), Principal{Roles: []string{"Responder"}})
	if err := Authorize(ctx, IncidentWrite); err != nil {
		t.Error(err)
	}
	if err := Authorize(ctx, WorkspaceWrite); !errors.Is(err, ErrForbidden) {
		t.Error(err)
	}
}

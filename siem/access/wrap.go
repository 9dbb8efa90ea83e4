package access

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/otus-project/otus/siem/state"
)

// need is what a route asks for: nothing at all, somebody signed in, or rights.
type need struct {
	open   bool
	rights []Right
	quiet  bool // a POST that only reads is not audited
}

// routes is the right of every path, written as patterns of net/http; the most specific one holds. What is not
// written here is refused, except for files of the user interface, which hold no data.
type routes struct {
	mux   *http.ServeMux
	needs map[string]need
}

func newRoutes() *routes {
	const w, f = "/otus/v1/workspaces/{w}/", "/otus/v1/fleet/"
	r := &routes{mux: http.NewServeMux(), needs: map[string]need{}}
	add := func(n need, patterns ...string) {
		for _, p := range patterns {
			r.mux.Handle(p, http.NotFoundHandler())
			r.needs[p] = n
		}
	}
	add(need{open: true}, "GET /healthz", "GET /otus/v1/signin", "/otus/v1/uplink/")
	add(need{}, "GET /otus/v1/session", "DELETE /otus/v1/session",
		"GET /otus/v1/openapi/", "GET /otus/v1/docs", "GET /otus/v1/schemas/", "GET /openapi.json", "GET /openapi.yaml", "GET /docs", "GET /schemas/")
	add(need{rights: []Right{WorkspaceRead}}, "GET /otus/v1/events", "GET "+w)
	add(need{rights: []Right{WorkspaceRead}, quiet: true}, "POST "+w+"query", "POST "+w+"query/check",
		"GET /v1/workspaces/{w}/query", "POST /v1/workspaces/{w}/query", "GET /v1/workspaces/{w}/metadata", "POST /v1/workspaces/{w}/metadata")
	add(need{rights: []Right{IncidentWrite}}, "PATCH "+w+"incidents/{n}", "POST "+w+"incidents/{n}/comments")
	add(need{rights: []Right{WorkspaceWrite}}, w)
	add(need{rights: []Right{WorkspaceWrite, SubscriptionWrite}}, "PUT "+w+"connectors/{c}/subscriptions/{s}")
	add(need{rights: []Right{FleetRead}}, "GET "+f)
	add(need{rights: []Right{FleetWrite}}, f)
	add(need{rights: []Right{SubscriptionWrite}}, "PATCH "+f+"subscriptions/{s}")
	add(need{rights: []Right{Admin}}, "/otus/v1/tokens", "/otus/v1/tokens/", "/otus/v1/audit")
	return r
}

// of gives what the request needs; found is false where nothing is written down.
func (r *routes) of(q *http.Request) (n need, found bool) {
	_, pattern := r.mux.Handler(q)
	n, found = r.needs[pattern]
	return n, found
}

// reserved are the first path elements of all interfaces, ours and the compatible ones; no file of the user
// interface lies beneath them.
var reserved = []string{"otus", "v1", "v2", "api", "external", "subscriptions", "providers", "adfs", "healthz", "docs", "schemas", "openapi.json", "openapi.yaml"}

func isReserved(p string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(path.Clean("/"+p), "/"), "/")
	for _, r := range reserved {
		if strings.EqualFold(first, r) {
			return true
		}
	}
	return false
}

// Wrap lets a request through only with the rights its route needs, puts the principal into its context, refuses
// forged requests, and writes every change and every refused change to the audit log.
func (s *Service) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		safe := r.Method == http.MethodGet || r.Method == http.MethodHead
		need, found := s.routes.of(r)
		if !found && !isReserved(r.URL.Path) && safe || found && need.open {
			next.ServeHTTP(w, r)
			return
		}
		p, err := s.authenticate(r)
		switch {
		case errors.Is(err, ErrUnauthenticated):
			w.Header().Set("WWW-Authenticate", "Bearer")
			refuse(w, r, http.StatusUnauthorized, ErrUnauthenticated)
			return
		case err != nil:
			refuse(w, r, http.StatusInternalServerError, errors.New("internal error"))
			return
		case !found:
			refuse(w, r, http.StatusNotFound, errors.New("no such resource"))
			return
		}
		for _, right := range need.rights {
			if !p.May(right) {
				s.audit(r, p, http.StatusForbidden, safe || need.quiet)
				refuse(w, r, http.StatusForbidden, ErrForbidden)
				return
			}
		}
		if p.cookie && !safe && !sameOrigin(r) {
			s.audit(r, p, http.StatusForbidden, need.quiet)
			refuse(w, r, http.StatusForbidden, errors.New("the request does not come from our own page"))
			return
		}
		r = r.WithContext(With(r.Context(), p))
		if safe || need.quiet {
			next.ServeHTTP(w, r)
			return
		}
		seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(seen, r)
		s.audit(r, p, seen.status, false)
	})
}

func (s *Service) authenticate(r *http.Request) (Principal, error) {
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, token, _ := strings.Cut(h, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return Principal{}, ErrUnauthenticated
		}
		return s.byToken(r.Context(), strings.TrimSpace(token))
	}
	c, err := r.Cookie(CookieName)
	if err != nil {
		return Principal{}, ErrUnauthenticated
	}
	return s.bySession(r.Context(), c.Value)
}

// sameOrigin holds for a request of our own page: it carries the header no foreign form can send, and the browser
// says where it comes from.
func sameOrigin(r *http.Request) bool {
	if r.Header.Get("X-Otus-CSRF") != "1" {
		return false
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		return err == nil && u.Host == r.Host
	}
	return r.Header.Get("Sec-Fetch-Site") == "same-origin"
}

// audit notes a change over HTTP. A log that cannot be written does not undo what was done; it is noted by the
// services' own errors, which come from the same database.
func (s *Service) audit(r *http.Request, p Principal, status int, quiet bool) {
	if quiet {
		return
	}
	result := "ok"
	if status >= 400 {
		result = strconv.Itoa(status)
	}

	_ = s.db.Write(context.WithoutCancel(r.Context()), func(ctx context.Context, tx *state.Tx) error {
		return tx.Audit(ctx, state.Audit{Actor: p.Name, Action: r.Method, Target: r.URL.Path, Result: result, Detail: r.RemoteAddr})
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
	wrote  bool
}

func (w *statusWriter) WriteHeader(status int) {
	if !w.wrote {
		w.status, w.wrote = status, true
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	w.wrote = true
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach what is beneath.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// refuse answers with a problem (RFC 9457), or on the Log Analytics paths with the error shape its clients read.
func refuse(w http.ResponseWriter, r *http.Request, status int, err error) {
	var body any = map[string]any{"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": err.Error()}
	kind := "application/problem+json"
	if strings.HasPrefix(r.URL.Path, "/v1/") {
		code := map[int]string{http.StatusUnauthorized: "AuthenticationFailed", http.StatusForbidden: "InsufficientAccessError", http.StatusNotFound: "PathNotFoundError"}[status]
		if code == "" {
			code = "InternalServerError"
		}
		body, kind = map[string]any{"error": map[string]string{"code": code, "message": err.Error()}}, "application/json"
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may be gone
}

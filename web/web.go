// Package web serves the browser's part of Otus. What goes in is the folder dist as `npm run build` left
// it, embedded at compile time; what comes out is one http.Handler for the UI's own paths. It answers
// nothing under the API's prefixes, reads no cookie and keeps no state.
package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed all:dist
var dist embed.FS

// pagesFile is the one list of pages; the browser's rail is drawn from the same file.
//
//go:embed pages.json
var pagesFile []byte

// Policy is the content security policy of every answer: nothing is loaded from, or sent to, another
// place. Styles are files, the editor's go into a shadow root, so no inline style is needed.
const Policy = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// Page is one entry of the UI's navigation.
type Page struct {
	ID    string `json:"id"`
	Path  string `json:"path"` // first path segment; "" is the root
	Title string `json:"title"`
}

// Pages lists the UI's pages in the order of the rail.
func Pages() ([]Page, error) {
	var pages []Page
	if err := json.Unmarshal(pagesFile, &pages); err != nil {
		return nil, fmt.Errorf("read pages.json: %w", err)
	}
	return pages, nil
}

// asset is one file of the build with its compressed forms.
type asset struct {
	contentType string
	tag         string // entity tag of the plain form, without quotes
	immutable   bool   // the name carries a hash of the content
	plain       []byte
	brotli      []byte // nil where not built
	gzip        []byte // nil where not built
}

// Handler serves the UI. It is safe for any number of goroutines.
type Handler struct {
	assets map[string]*asset // by path without the leading slash
	routes map[string]bool   // first segments that belong to the UI
}

// NewHandler reads the embedded build. Without a build the handler still works and says what is missing.
func NewHandler() (*Handler, error) {
	root, err := fs.Sub(dist, "dist")
	if err != nil {
		return nil, fmt.Errorf("open embedded UI: %w", err)
	}
	return newHandler(root)
}

func newHandler(root fs.FS) (*Handler, error) {
	pages, err := Pages()
	if err != nil {
		return nil, err
	}
	h := &Handler{assets: map[string]*asset{}, routes: map[string]bool{}}
	for _, p := range pages {
		h.routes[p.Path] = true
	}
	err = fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasPrefix(path.Base(name), ".") {
			return err
		}
		if ext := path.Ext(name); ext == ".br" || ext == ".gz" {
			return nil
		}
		return h.add(root, name)
	})
	if err != nil {
		return nil, fmt.Errorf("read embedded UI: %w", err)
	}
	return h, nil
}

func (h *Handler) add(root fs.FS, name string) error {
	plain, err := fs.ReadFile(root, name)
	if err != nil {
		return err
	}
	a := &asset{plain: plain, contentType: contentType(name), immutable: strings.HasPrefix(name, "assets/")}
	sum := sha256.Sum256(plain)
	a.tag = hex.EncodeToString(sum[:8])
	// A missing compressed form is the normal case for small files.
	if b, err := fs.ReadFile(root, name+".br"); err == nil {
		a.brotli = b
	}
	if b, err := fs.ReadFile(root, name+".gz"); err == nil {
		a.gzip = b
	}
	h.assets[name] = a
	return nil
}

// contentType does not ask the machine's own tables first: they differ, and nosniff makes that fatal.
func contentType(name string) string {
	switch ext := path.Ext(name); ext {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".json":
		return "application/json"
	default:
		if t := mime.TypeByExtension(ext); t != "" {
			return t
		}
		return "application/octet-stream"
	}
}

// Built reports whether the UI was built before this program was compiled.
func (h *Handler) Built() bool { return h.assets["index.html"] != nil }

// ServeHTTP answers files of the build, and index.html for the pages' addresses; all else is not found.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Content-Security-Policy", Policy)
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Referrer-Policy", "same-origin")
	head.Set("Cross-Origin-Opener-Policy", "same-origin")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		head.Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	name := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/")
	if a := h.assets[name]; a != nil {
		a.serve(w, r)
		return
	}
	first, _, _ := strings.Cut(name, "/")
	switch {
	case !h.routes[first]:
		http.NotFound(w, r)
	case h.Built():
		h.assets["index.html"].serve(w, r)
	default:
		head.Set("Content-Type", "text/plain; charset=utf-8")
		head.Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, "This otus was compiled without its web pages. Run \"make web\" (npm ci and npm run build in web/), then build otus again. The API under /otus/v1 works.")
	}
}

func (a *asset) serve(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Content-Type", a.contentType)
	head.Add("Vary", "Accept-Encoding")
	if a.immutable {
		head.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		head.Set("Cache-Control", "no-cache")
	}
	body, tag := a.plain, a.tag
	accepted := r.Header.Get("Accept-Encoding")
	switch {
	case a.brotli != nil && accepts(accepted, "br"):
		body, tag = a.brotli, a.tag+"-br"
		head.Set("Content-Encoding", "br")
	case a.gzip != nil && accepts(accepted, "gzip"):
		body, tag = a.gzip, a.tag+"-gz"
		head.Set("Content-Encoding", "gzip")
	}
	tag = `"` + tag + `"`
	head.Set("ETag", tag)
	if matches(r.Header.Get("If-None-Match"), tag) {
		head.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	head.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodGet {
		_, _ = w.Write(body) // the reader may have gone; there is nobody left to tell
	}
}

// accepts reads an Accept-Encoding header (RFC 9110 §12.5.3): named, and not with quality zero.
func accepts(header, coding string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, parameters, _ := strings.Cut(part, ";")
		if !strings.EqualFold(strings.TrimSpace(name), coding) {
			continue
		}
		_, quality, found := strings.Cut(parameters, "=")
		if !found {
			return true
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(quality), 64)
		return err == nil && q > 0
	}
	return false
}

// matches reads an If-None-Match header (RFC 9110 §13.1.2), which compares weakly.
func matches(header, tag string) bool {
	for part := range strings.SplitSeq(header, ",") {
		candidate := strings.TrimPrefix(strings.TrimSpace(part), "W/")
		if candidate == tag || candidate == "*" {
			return true
		}
	}
	return false
}

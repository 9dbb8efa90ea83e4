package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/otus-project/otus/internal/localca"
	"github.com/otus-project/otus/siem/access"
)

// servers are the listeners of pages and API.
type servers struct {
	plainURL, tlsURL string
	running          []*http.Server
	requests         context.Context // ends streams when the servers stop
	cancel           context.CancelFunc
	wait             sync.WaitGroup
}

// Bounds of a connection; bodies are bounded by the handlers.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	headerBytes   = 64 << 10
	stopTimeout   = 3 * time.Second
)

// serve listens on plain HTTP, HTTPS and the socket in the data folder.
func serve(h *houses, c *checked) (*servers, error) {
	s := &servers{}
	s.requests, s.cancel = context.WithCancel(context.Background())
	guarded := h.access.Wrap(h.mux)
	if c.listen != "" {
		l, err := net.Listen("tcp", c.listen)
		if err != nil {
			return nil, fmt.Errorf("listen for pages: %w", err)
		}
		s.plainURL = "http://" + l.Addr().String()
		s.run(l, guarded)
	}
	if c.tlsListen != "" {
		l, err := listenTLS(c)
		if err != nil {
			s.stop()
			return nil, err
		}
		s.tlsURL = "https://" + l.Addr().String()
		s.run(l, guarded)
	}
	// The socket belongs to the user who runs Otus; who can open it could read the files themselves.
	path := socketPath(c.dir)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.stop()
		return nil, fmt.Errorf("listen for tools: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("listen for tools: %w", err)
	}
	local := access.Principal{ID: "local", Name: "command line", Roles: []string{"Owner"}}
	s.run(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mux.ServeHTTP(w, r.WithContext(access.With(r.Context(), local)))
	}))
	return s, nil
}

func listenTLS(c *checked) (net.Listener, error) {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if host, _, err := net.SplitHostPort(c.tlsListen); err == nil && host != "" && host != "0.0.0.0" && host != "::" {
		hosts = append(hosts, host)
	}
	if name, err := os.Hostname(); err == nil {
		hosts = append(hosts, name)
	}
	ca, err := localca.Open(filepath.Join(c.dir, "tls"), hosts, time.Now())
	if err != nil {
		return nil, err
	}
	l, err := tls.Listen("tcp", c.tlsListen, &tls.Config{
		Certificates: []tls.Certificate{ca.Server}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		return nil, fmt.Errorf("listen for pages: %w", err)
	}
	return l, nil
}

func (s *servers) run(l net.Listener, handler http.Handler) {
	srv := &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: headerBytes,
		BaseContext: func(net.Listener) context.Context { return s.requests }}
	s.running = append(s.running, srv)
	s.wait.Add(1)
	go func() {
		defer s.wait.Done()
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintln(os.Stderr, "otus: serve:", err)
		}
	}()
}

// stop ends streams, lets other requests finish for a moment, then cuts them.
func (s *servers) stop() {
	s.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var each sync.WaitGroup
	for _, srv := range s.running {
		each.Add(1)
		go func() {
			defer each.Done()
			if srv.Shutdown(ctx) != nil {
				srv.Close()
			}
		}()
	}
	each.Wait()
	s.wait.Wait()
}

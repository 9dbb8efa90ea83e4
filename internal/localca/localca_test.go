package localca

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestServesWhatClientsTrust(t *testing.T) {
	now := time.Now()
	dir := filepath.Join(t.TempDir(), "tls")
	a, err := Open(dir, []string{"localhost", "127.0.0.1"}, now)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{a.Server}}
	srv.StartTLS()
	defer srv.Close()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.Pool}}}
	if _, err := client.Get(srv.URL); err != nil {
		t.Errorf("a client that trusts the authority: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "ca.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("ca.key: mode %v, error %v; want 0600", info.Mode(), err)
	}
}

func TestRenewsOnlyWhenNeeded(t *testing.T) {
	now := time.Now()
	dir := t.TempDir()
	open := func(at time.Time, hosts ...string) string {
		t.Helper()
		a, err := Open(dir, hosts, at)
		if err != nil {
			t.Fatal(err)
		}
		return a.Server.Leaf.SerialNumber.String()
	}
	first := open(now, "localhost")
	if again := open(now.Add(24*time.Hour), "localhost"); again != first {
		t.Error("a young certificate was renewed")
	}
	more := open(now, "localhost", "soc.example")
	if more == first {
		t.Error("a new host name did not renew the certificate")
	}
	if old := open(now.Add(serverLife-renewBefore/2), "localhost"); old == more {
		t.Error("an old certificate was not renewed")
	}
}

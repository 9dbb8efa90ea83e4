package api_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/fleet"
	"github.com/otus-project/otus/sensor/spool"
	"github.com/otus-project/otus/sensor/uplink"
)

// remote is a sensor on the other side of HTTPS, with a real spool.
type remote struct {
	*rig
	id, key string
	config  *tls.Config
	spool   *spool.Spool
}

func newRemote(t testing.TB) *remote {
	t.Helper()
	r := newRig(t)
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.server.Certificate().Raw})
	config, err := uplink.PinnedCA(certificate)
	if err != nil {
		t.Fatal(err)
	}
	_, token, err := r.fleet.AddSensor(t.Context(), "remote", r.local().ZoneID)
	if err != nil {
		t.Fatal(err)
	}
	id, key, err := uplink.Activate(t.Context(), r.server.URL, token, config)
	if err != nil {
		t.Fatalf("activate: %v", err)
	}
	log, err := spool.Open(spool.Options{Dir: t.TempDir(), SegmentBytes: 20_000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	return &remote{r, id, key, config, log}
}

// append adds n records: an alert that changes, and connections.
func (r *remote) append(n int) {
	r.t.Helper()
	var records []event.Record
	for next := r.spool.LastSequence() + 1; len(records) < n; next++ {
		rec := event.Record{Sequence: next, Kind: event.KindConnection, Connection: &event.Connection{SensorID: r.id, Messages: next, Minute: start}}
		if next%10 == 0 {
			rec = event.Record{Sequence: next, Kind: event.KindAlert, Alert: &event.Alert{ID: "alert", Revision: int(next / 10), SensorID: r.id, Status: event.AlertNew, Title: strings.Repeat("x", int(next%97))}}
		}
		records = append(records, rec)
	}
	if err := r.spool.Append(records); err != nil {
		r.t.Fatal(err)
	}
}

func (r *remote) loop(base string, change func(*uplink.Options)) *uplink.Loop {
	r.t.Helper()
	sender, err := uplink.NewHTTPSender(base, r.key, r.config)
	if err != nil {
		r.t.Fatal(err)
	}
	o := uplink.Options{
		SensorID: r.id, Spool: r.spool, Sender: sender,
		Command:    func(context.Context, event.Command) error { return nil },
		MaxRecords: 37, MinBackoff: time.Millisecond, MaxBackoff: 20 * time.Millisecond, Pause: 10 * time.Millisecond,
	}
	if change != nil {
		change(&o)
	}
	loop := uplink.NewLoop(o)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := loop.Run(ctx); !errors.Is(err, context.Canceled) {
			r.t.Errorf("loop ended: %v", err)
		}
	}()
	r.t.Cleanup(func() { stop(); <-done; sender.Close() })
	return loop
}

func (r *remote) drain(loop *uplink.Loop) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 60*time.Second)
	defer cancel()
	if err := loop.Drain(ctx); err != nil {
		r.t.Fatal(err)
	}
}

// delivered checks that the stream has every record of the spool once, in order.
func (r *remote) delivered() {
	r.t.Helper()
	subscription := r.local().SubscriptionID
	after, last := uint64(0), r.spool.LastSequence()
	for {
		entries, err := r.fleet.Read(r.t.Context(), subscription, after, 1000)
		if err != nil {
			r.t.Fatal(err)
		}
		if len(entries) == 0 {
			break
		}
		for _, e := range entries {
			after++
			if e.Position != after || e.Record.Sequence != after || e.Place.SensorID != r.id {
				r.t.Fatalf("entry %d holds record %d of sensor %q, want position %d", e.Position, e.Record.Sequence, e.Place.SensorID, after)
			}
		}
	}
	if after != last {
		r.t.Errorf("%d records delivered, want %d", after, last)
	}
	if a, known, err := r.fleet.AlertState(r.t.Context(), "alert"); err != nil || known != (last >= 10) || uint64(a.Revision) != last/10 {
		r.t.Errorf("alert after %d records: revision %d, %v", last, a.Revision, err)
	}
	if stats := r.spool.Stats(); stats.Waiting != 0 || stats.Segments > 1 {
		r.t.Errorf("spool after everything was delivered: %+v", stats)
	}
}

func TestUplinkOverHTTPS(t *testing.T) {
	r := newRemote(t)
	loop := r.loop(r.server.URL, nil)
	for range 20 {
		r.append(50)
	}
	r.drain(loop)
	r.delivered()
	r.append(1)
	r.drain(loop)
	r.delivered()
}

// faults spoils a share of the requests, in every way a network and a server can.
type faults struct {
	next http.Handler
	mu   sync.Mutex
	rand *rand.Rand
	seen map[string]int
	off  bool
}

func (f *faults) pick() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	kinds := []string{"", "", "", "refused", "unavailable", "answer lost", "answer cut", "torn", "torn gzip", "slow", "doubled", "garbage answer"}
	kind := kinds[f.rand.IntN(len(kinds))]
	if f.off {
		kind = ""
	}
	f.seen[kind]++
	return kind
}

func (f *faults) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return
	}
	again := func() *http.Request {
		c := q.Clone(q.Context())
		c.Body = io.NopCloser(bytes.NewReader(body))
		return c
	}
	switch f.pick() {
	case "refused":
		panic(http.ErrAbortHandler)
	case "unavailable":
		http.Error(w, "try later", http.StatusServiceUnavailable)
	case "answer lost":
		f.next.ServeHTTP(httptest.NewRecorder(), again())
		panic(http.ErrAbortHandler)
	case "answer cut":
		answer := httptest.NewRecorder()
		f.next.ServeHTTP(answer, again())
		w.Header().Set("Content-Length", fmt.Sprint(answer.Body.Len()))
		w.Write(answer.Body.Bytes()[:answer.Body.Len()/2])
		panic(http.ErrAbortHandler)
	case "torn":
		// The JSON breaks off in the middle, in a sound gzip stream.
		zip, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return
		}
		content, _ := io.ReadAll(zip)
		var torn bytes.Buffer
		out := gzip.NewWriter(&torn)
		out.Write(content[:len(content)*2/3])
		out.Close()
		body = torn.Bytes()
		f.next.ServeHTTP(w, again())
	case "torn gzip":
		body = body[:len(body)*2/3]
		f.next.ServeHTTP(w, again())
	case "slow":
		time.Sleep(30 * time.Millisecond)
		f.next.ServeHTTP(w, again())
	case "doubled":
		f.next.ServeHTTP(httptest.NewRecorder(), again())
		f.next.ServeHTTP(w, again())
	case "garbage answer":
		f.next.ServeHTTP(httptest.NewRecorder(), again())
		w.Write([]byte("<html>proxy</html>"))
	default:
		f.next.ServeHTTP(w, again())
	}
}

func TestUplinkThroughFaults(t *testing.T) {
	r := newRemote(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	f := &faults{next: r.handler(), rand: rand.New(rand.NewPCG(seed, 0)), seen: map[string]int{}}
	handler := http.Handler(f)
	r.serve.Store(&handler)
	loop := r.loop(r.server.URL, func(o *uplink.Options) { o.Wait = time.Second })
	for range 60 {
		r.append(40)
		time.Sleep(2 * time.Millisecond)
	}
	r.drain(loop)
	f.mu.Lock()
	f.off = true
	if len(f.seen) < 8 {
		t.Errorf("too few kinds of faults were tried: %v", f.seen)
	}
	f.mu.Unlock()
	r.delivered()
}

func TestUplinkWaitsForAServerThatIsDown(t *testing.T) {
	r := newRemote(t)
	address := r.server.Listener.Addr().String()
	certificates := r.server.TLS.Certificates
	states := make(chan error, 100)
	loop := r.loop("https://"+address, func(o *uplink.Options) {
		o.OnState = func(err error) { states <- err }
		o.Wait = time.Second
	})
	r.append(100)
	r.drain(loop)
	r.server.CloseClientConnections()
	r.server.Close()
	r.append(100)
	if err := <-states; err == nil {
		t.Fatal("the first state told is not a failure")
	}
	if loop.Status().Err == nil {
		t.Error("status has no error while the server is down")
	}
	r.append(100)
	r.server = listenAgain(t, address, certificates, r.handler())
	r.drain(loop)
	r.delivered()
	if loop.Status().Err != nil {
		t.Errorf("status after recovery: %v", loop.Status().Err)
	}
}

func listenAgain(t *testing.T, address string, certificates []tls.Certificate, handler http.Handler) *httptest.Server {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler}, TLS: &tls.Config{Certificates: certificates}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func TestCommandsReachARemoteSensor(t *testing.T) {
	r := newRemote(t)
	got := make(chan event.Command, 10)
	fail := true
	loop := r.loop(r.server.URL, func(o *uplink.Options) {
		o.Command = func(_ context.Context, c event.Command) error {
			if fail {
				fail = false
				return errors.New("journal is full")
			}
			got <- c
			return nil
		}
	})
	r.append(10)
	r.drain(loop)
	if err := r.fleet.Command(t.Context(), "1", "alert", event.ActionClose, "ann", start); err != nil {
		t.Fatal(err)
	}
	if err := r.fleet.Command(t.Context(), "2", "alert", event.ActionSetNew, "ann", start); err != nil {
		t.Fatal(err)
	}
	for id := uint64(1); id <= 2; id++ {
		select {
		case c := <-got:
			if c.ID != id {
				t.Errorf("command %d came, want %d", c.ID, id)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("command %d did not come", id)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s, err := r.fleet.Sensor(t.Context(), r.id)
		if err != nil {
			t.Fatal(err)
		}
		if s.PendingCommands == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the fleet was not told that the commands are journaled")
		}
	}
	if len(got) != 0 {
		t.Errorf("%d commands came twice", len(got))
	}
}

func TestUplinkRefusesStrangers(t *testing.T) {
	r := newRemote(t)
	send := func(key, body string, status int, headers ...string) {
		t.Helper()
		r.raw("POST", "/otus/v1/uplink/batches", body, status, append([]string{"Authorization", "Bearer " + key}, headers...)...)
	}
	own := `{"sensorId":"` + r.id + `","records":[]}`
	send(r.key, own, 200)
	send("wrong", own, 401)
	send("", own, 401)
	send(r.key, `{"sensorId":"`+r.local().ID+`","records":[]}`, 400)
	send(r.key, `{"sensorId":`, 400)
	send(r.key, own, 400, "Content-Encoding", "br")
	send(r.key, own, 400, "Content-Encoding", "gzip")
	send(r.key, strings.Repeat(" ", 6<<20)+own, 413)
	var bomb bytes.Buffer
	zip := gzip.NewWriter(&bomb)
	for range 64 {
		zip.Write(bytes.Repeat([]byte(" "), 1<<20))
	}
	zip.Close()
	send(r.key, bomb.String(), 413, "Content-Encoding", "gzip")
	send(r.key, `{"sensorId":"`+r.id+`","records":[{"sequence":7,"kind":"connection","connection":{"sensorId":"`+r.id+`","clientAddress":"","serverAddress":""}}]}`, 409)
	r.raw("POST", "/otus/v1/uplink/activate", `{"token":"wrong"}`, 401)
	r.raw("POST", "/otus/v1/uplink/activate", strings.Repeat(" ", 5000), 413)

	if _, err := uplink.NewHTTPSender("http://fleet.example:8080", r.key, nil); err == nil {
		t.Error("plain HTTP to another machine was taken")
	}
	stranger, err := uplink.NewHTTPSender(r.server.URL, r.key, &tls.Config{MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.Send(t.Context(), event.Batch{SensorID: r.id}); err == nil {
		t.Error("a server whose certificate is not pinned was trusted")
	}
	wrong, err := uplink.NewHTTPSender(r.server.URL, "wrong", r.config)
	if err != nil {
		t.Fatal(err)
	}
	var refused *uplink.StatusError
	if _, err := wrong.Send(t.Context(), event.Batch{SensorID: r.id}); !errors.As(err, &refused) || refused.Status != 401 {
		t.Errorf("send with a wrong key: %v", err)
	}
}

// A fleet in the same process is a Sender as it is.
var _ uplink.Sender = (*fleet.Fleet)(nil)

package iot

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2/humatest"

	"github.com/otus-project/otus/content"
	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/siem/ingest"
	"github.com/otus-project/otus/siem/state"
	"github.com/otus-project/otus/siem/store"
	"github.com/otus-project/otus/siem/store/duckdb"
	"github.com/otus-project/otus/siem/store/storetest"
)

// The parts that stand behind the interfaces in the program.
var (
	_ State          = (*state.Documents)(nil)
	_ Ingest         = (*ingest.Service)(nil)
	_ state.LogStore = (*ingest.Service)(nil)
)

// plant is a whole setting: a fleet, a log store, and a connector over both that can be stopped and started.
type plant struct {
	t      *testing.T
	fleet  *memoryFleet
	store  *duckdb.Store
	ingest *ingest.Service
	o      Options
	*Connector
	stop func()
}

func newPlant(t *testing.T, subscriptions ...string) *plant {
	t.Helper()
	tables, err := store.LoadTables(content.FS())
	if err != nil {
		t.Fatal(err)
	}
	st, err := duckdb.OpenStore(filepath.Join(t.TempDir(), "log.duckdb"), tables, duckdb.StoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	now := func() time.Time { return start.Add(time.Hour) }
	p := &plant{t: t, fleet: newFleet(subscriptions...), store: st, ingest: ingest.New(st, ingest.Options{Now: now})}
	p.o = Options{Workspace: workspace, Fleet: p.fleet, Ingest: p.ingest, State: fileState(t.TempDir()), Now: now}
	p.restart()
	t.Cleanup(func() {
		p.stop()
		p.ingest.Close()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// restart ends the connector as a crash would leave its state, and starts a new one.
func (p *plant) restart() {
	if p.stop != nil {
		p.stop()
	}
	p.Connector = New(p.o)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- p.Run(ctx) }()
	p.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			p.t.Error(err)
		}
	}
	for p.runningNow() == nil {
		time.Sleep(time.Millisecond)
	}
}

func (p *plant) runningNow() context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Connector.running
}

func (p *plant) connect(subscription string) {
	p.t.Helper()
	if err := p.Connect(p.t.Context(), subscription); err != nil {
		p.t.Fatal(err)
	}
	p.drain()
}

func (p *plant) disconnect(subscription string) {
	p.t.Helper()
	if err := p.Disconnect(p.t.Context(), subscription); err != nil {
		p.t.Fatal(err)
	}
}

func (p *plant) drain() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 5*time.Second)
	defer cancel()
	if err := p.Drain(ctx); err != nil {
		p.t.Fatal(err)
	}
}

// alerts gives the stored alert rows as "alert/revision/isNew".
func (p *plant) alerts() string {
	p.t.Helper()
	var all []string
	for _, row := range storetest.Select(p.t, p.store, `SELECT "VendorOriginalId" || '/' || ("ExtendedProperties"->>'Revision') || '/' || ("ExtendedProperties"->>'isNew') FROM "SecurityAlert" ORDER BY "_IngestSeq"`) {
		all = append(all, strings.TrimPrefix(row[0].(string), "alert-"))
	}
	return strings.Join(all, " ")
}

func (p *plant) want(what, want string) {
	p.t.Helper()
	p.drain()
	if got := p.alerts(); got != want {
		p.t.Errorf("%s: got %s, want %s", what, got, want)
	}
}

func TestConnectDisconnectReconnect(t *testing.T) {
	p := newPlant(t, "s")
	p.fleet.emit("s", alert(1, 1, event.AlertNew))
	p.fleet.emit("s", alert(2, 1, event.AlertNew))
	p.fleet.emit("s", alert(2, 2, event.AlertClosed))
	p.fleet.emit("s", alert(3, 1, event.AlertNew))
	p.fleet.emit("s", alert(3, 2, event.AlertActive))
	p.want("before connecting", "")
	p.connect("s")
	p.want("connected: current revision of each open alert", "1/1/True 3/2/True")
	p.fleet.emit("s", alert(1, 2, event.AlertNew))
	p.fleet.emit("s", alert(4, 1, event.AlertNew))
	p.want("what arrives", "1/1/True 3/2/True 1/2/False 4/1/True")
	p.disconnect("s")
	p.fleet.emit("s", alert(1, 3, event.AlertNew))
	p.fleet.emit("s", alert(4, 2, event.AlertClosed))
	p.fleet.emit("s", alert(5, 1, event.AlertNew))
	time.Sleep(100 * time.Millisecond)
	p.want("disconnected", "1/1/True 3/2/True 1/2/False 4/1/True")
	p.connect("s")
	p.want("again: open alerts that changed or are new", "1/1/True 3/2/True 1/2/False 4/1/True 1/3/False 5/1/True")
	p.connect("s")
	p.restart()
	p.fleet.emit("s", alert(6, 1, event.AlertNew))
	p.want("connected stays connected over a restart", "1/1/True 3/2/True 1/2/False 4/1/True 1/3/False 5/1/True 6/1/True")
	p.disconnect("s")
	p.restart()
	p.fleet.emit("s", alert(7, 1, event.AlertNew))
	time.Sleep(50 * time.Millisecond)
	p.want("and disconnected disconnected", "1/1/True 3/2/True 1/2/False 4/1/True 1/3/False 5/1/True 6/1/True")
}

func TestBackfillReachesBackFourteenDays(t *testing.T) {
	p := newPlant(t, "s")
	old := alert(1, 1, event.AlertNew)
	old.Alert.LastActivity = start.Add(-15 * 24 * time.Hour)
	p.fleet.emit("s", old)
	p.fleet.emit("s", alert(2, 1, event.AlertNew))
	p.connect("s")
	p.want("backfill", "2/1/True")
}

// TestNothingLostNothingDoubled restarts the connector again and again while records arrive.
func TestNothingLostNothingDoubled(t *testing.T) {
	p := newPlant(t, "s")
	p.connect("s")
	const n = 2000
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range n {
			p.fleet.emit("s", alert(i, 1, event.AlertNew))
			if i%100 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	for range 10 {
		time.Sleep(5 * time.Millisecond)
		p.restart()
	}
	<-done
	p.drain()
	got := storetest.Select(t, p.store, `SELECT count(*), count(DISTINCT "VendorOriginalId"), count(*) FILTER ("ExtendedProperties"->>'isNew' = 'True') FROM "SecurityAlert"`)
	if want := fmt.Sprint([][]any{{n, n, n}}); fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestDrainWaitsForRun(t *testing.T) {
	p := newPlant(t, "s")
	p.stop()
	p.Connector = New(p.o)
	if err := p.Connect(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	p.fleet.emit("s", alert(1, 1, event.AlertNew))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := p.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody runs: drained with %v", err)
	}
	p.stop = nil
	p.restart()
	p.want("once it runs", "1/1/True")
}

func TestFailuresAreRepeatedAndShown(t *testing.T) {
	p := newPlant(t, "s")
	var told atomic.Int64
	p.o.OnError = func(error) { told.Add(1) }
	p.restart()
	p.connect("s")
	p.fleet.mu.Lock()
	p.fleet.fail = errors.New("fleet is away")
	p.fleet.mu.Unlock()
	p.fleet.emit("s", alert(1, 1, event.AlertNew))
	for told.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	status, err := p.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s := status.Subscriptions[0]; s.State != StateWarning || !strings.Contains(s.Warning, "fleet is away") {
		t.Errorf("got %+v", s)
	}
	p.fleet.mu.Lock()
	p.fleet.fail = nil
	p.fleet.mu.Unlock()
	p.want("after the failure", "1/1/True")
	if status, _ = p.Status(t.Context()); status.State != StateConnected {
		t.Errorf("afterwards: %+v", status.Subscriptions)
	}
}

func TestBadRowIsLeftOutAndCounted(t *testing.T) {
	p := newPlant(t, "s")
	p.connect("s")
	bad := alert(2, 1, event.AlertNew)
	bad.Alert.Description = strings.Repeat("x", store.MaxString+1)
	p.fleet.emit("s", alert(1, 1, event.AlertNew))
	p.fleet.emit("s", bad)
	p.fleet.emit("s", alert(3, 1, event.AlertNew))
	p.want("around the bad row", "1/1/True 3/1/True")
	status, _ := p.Status(t.Context())
	if s := status.Subscriptions[0]; s.Refused != 1 || s.State != StateWarning {
		t.Errorf("got %+v", s)
	}
}

func TestStatus(t *testing.T) {
	p := newPlant(t, "a", "b")
	on := false
	p.o.CreateIncidents = func(context.Context) (bool, error) { return on, nil }
	p.o.SetCreateIncidents = func(_ context.Context, enabled bool) error { on = enabled; return nil }
	denied := ""
	p.o.Authorize = func(_ context.Context, right string) error {
		if right == denied {
			return errors.New("not allowed")
		}
		return nil
	}
	p.restart()
	prerequisites := func() string {
		status, err := p.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		for _, q := range status.Prerequisites {
			text += fmt.Sprintf("%s=%v ", q.ID, q.Met)
			if q.Title == "" || q.Detail == "" {
				t.Errorf("prerequisite %q says nothing", q.ID)
			}
		}
		return text + status.State
	}
	check := func(want string) {
		t.Helper()
		if got := prerequisites(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	check("workspace=true subscription=true plan=true data=false disconnected")
	denied = RightSubscriptionWrite
	check("workspace=true subscription=false plan=true data=false disconnected")
	denied = RightWorkspaceWrite
	check("workspace=false subscription=true plan=true data=false disconnected")
	denied = ""
	p.connect("a")
	check("workspace=true subscription=true plan=true data=false connected")
	p.fleet.emit("a", alert(1, 1, event.AlertNew))
	p.fleet.emit("a", event.Record{Kind: event.KindDevice, Device: &event.Device{ID: "plc", LastSeen: start}})
	p.drain()
	check("workspace=true subscription=true plan=true data=true connected")
	if err := p.SetPlan(t.Context(), "a", false); err != nil {
		t.Fatal(err)
	}
	check("workspace=true subscription=true plan=false data=true warning")
	status, err := p.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a, b := status.Subscriptions[0], status.Subscriptions[1]
	if a.Rows != 2 || a.LastReceived == nil || !a.LastReceived.Equal(start.Add(time.Hour)) || !strings.Contains(a.Warning, "Enable the plan") {
		t.Errorf("subscription a: %+v", a)
	}
	if b.Rows != 0 || b.LastReceived != nil || b.Connected || b.Warning != "" {
		t.Errorf("subscription b: %+v", b)
	}
}

func TestAPI(t *testing.T) {
	p := newPlant(t, "a")
	on := false
	p.o.CreateIncidents = func(context.Context) (bool, error) { return on, nil }
	p.o.SetCreateIncidents = func(_ context.Context, enabled bool) error { on = enabled; return nil }
	denied := map[string]bool{}
	p.o.Authorize = func(_ context.Context, right string) error {
		if denied[right] {
			return fmt.Errorf("%s is needed", right)
		}
		return nil
	}
	p.restart()
	_, api := humatest.New(t)
	p.Register(api)
	const base = "/otus/v1/workspaces/default/connectors"
	for _, c := range []struct {
		method, path string
		body         string
		denied       string
		status       int
		want         string
	}{
		{http.MethodGet, "", "", "", 200, `"items":[{"id":"iot"`},
		{http.MethodGet, "/iot", "", "", 200, `"connected":false`},
		{http.MethodGet, "/iot", "", RightWorkspaceRead, 403, RightWorkspaceRead},
		{http.MethodPut, "/iot/subscriptions/a", `{"connected":true}`, RightSubscriptionWrite, 403, RightSubscriptionWrite},
		{http.MethodPut, "/iot/subscriptions/a", `{"connected":true}`, RightWorkspaceWrite, 403, RightWorkspaceWrite},
		{http.MethodPut, "/iot/subscriptions/a", `{"connected":true}`, "", 200, `"connected":true`},
		{http.MethodPut, "/iot/subscriptions/a", `{"planOn":false}`, "", 200, `"planOn":false`},
		{http.MethodPut, "/iot/subscriptions/a", `{}`, "", 400, `connected or planOn`},
		{http.MethodPut, "/iot/subscriptions/nope", `{"connected":true}`, "", 404, `no such subscription`},
		{http.MethodPut, "/iot/subscriptions/a", `{"connected":false}`, "", 200, `"connected":false`},
		{http.MethodPut, "/iot/create-incidents", `{"enabled":true}`, RightWorkspaceWrite, 403, RightWorkspaceWrite},
		{http.MethodPut, "/iot/create-incidents", `{"enabled":true}`, "", 200, `"createIncidents":true`},
	} {
		clear(denied)
		denied[c.denied] = true
		var args []any
		if c.body != "" {
			args = []any{"Content-Type: application/json", strings.NewReader(c.body)}
		}
		got := api.Do(c.method, base+c.path, args...)
		if got.Code != c.status || !strings.Contains(got.Body.String(), c.want) {
			t.Errorf("%s %s %s: got %d %s, want %d with %s", c.method, c.path, c.body, got.Code, got.Body, c.status, c.want)
		}
	}
	if !on {
		t.Error("the switch was not thrown")
	}
}

func TestUnknownSubscription(t *testing.T) {
	p := newPlant(t, "a")
	for _, err := range []error{p.Connect(t.Context(), "b"), p.Disconnect(t.Context(), "b"), p.SetPlan(t.Context(), "b", true)} {
		if !errors.Is(err, ErrUnknownSubscription) {
			t.Errorf("got %v", err)
		}
	}
}

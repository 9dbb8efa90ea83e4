package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/otus-project/otus/content"
	"github.com/otus-project/otus/fleet"
	fleetapi "github.com/otus-project/otus/fleet/api"
	"github.com/otus-project/otus/kql/native"
	"github.com/otus-project/otus/sensor"
	"github.com/otus-project/otus/sensor/engine"
	"github.com/otus-project/otus/sensor/protocol"
	"github.com/otus-project/otus/sensor/station"
	"github.com/otus-project/otus/siem/access"
	"github.com/otus-project/otus/siem/analytics"
	siemapi "github.com/otus-project/otus/siem/api"
	"github.com/otus-project/otus/siem/connector/iot"
	"github.com/otus-project/otus/siem/incident"
	"github.com/otus-project/otus/siem/ingest"
	"github.com/otus-project/otus/siem/query"
	"github.com/otus-project/otus/siem/state"
	"github.com/otus-project/otus/siem/store"
	"github.com/otus-project/otus/siem/store/duckdb"
	"github.com/otus-project/otus/web"
)

// houses are sensor, fleet and siem in one process, joined as the wire would join them.
type houses struct {
	log     *slog.Logger
	fleet   *fleet.Fleet
	station *station.Station

	state     *state.DB
	store     *duckdb.Store
	ingest    *ingest.Service
	query     *query.Service
	access    *access.Service
	incidents *incident.Service
	syncer    *incident.Syncer
	rules     *analytics.Service
	relay     *state.Relay
	connector *iot.Connector
	hub       *siemapi.Hub

	mux      *http.ServeMux
	running  sync.WaitGroup
	stopping atomic.Bool
	cancel   context.CancelFunc
	closers  []func() error // in order of opening
}

// openHouses opens all files and joins the services; nothing runs yet.
func openHouses(ctx context.Context, env environment, c *checked, log *slog.Logger) (h *houses, err error) {
	h = &houses{log: log, hub: &siemapi.Hub{}, mux: http.NewServeMux()}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
			h = nil
		}
	}()
	if err := h.openFleet(ctx, env, c); err != nil {
		return h, err
	}
	if err := h.openSIEM(ctx, env, c); err != nil {
		return h, err
	}
	if err := h.openSensor(ctx, env, c); err != nil {
		return h, err
	}
	return h, h.register()
}

func (h *houses) openFleet(ctx context.Context, env environment, c *checked) (err error) {
	h.fleet, err = fleet.Open(ctx, fleet.Options{
		Dir: filepath.Join(c.dir, "fleet"), Now: env.now, IDs: c.ids,
		First: firstNames(c.demo),
		OnChange: func(kind, id, change string) {
			switch kind {
			case "alert":
				h.syncer.Nudge(id)
				h.hub.Publish(siemapi.Event{Kind: kind, ID: id, Change: change})
			case "device", "sensor":
				h.hub.Publish(siemapi.Event{Kind: kind, ID: id, Change: change})
			case "subscription":
				h.hub.Publish(siemapi.Event{Kind: "connector", ID: "iot", Change: change})
			}
		},
		Audit: func(ctx context.Context, a fleet.Audit) { h.audit(ctx, a) },
	})
	if err != nil {
		return err
	}
	h.closers = append(h.closers, h.fleet.Close)
	return nil
}

// firstNames names what a first start makes.
func firstNames(demo bool) fleet.First {
	if demo {
		return fleet.First{Subscription: "Harrow Vale Water", Site: "Harrow Vale", Zone: "Works", Sensor: "local",
			Owners: []string{"shift.lead@harrowvale.example"}}
	}
	return fleet.First{}
}

// audit notes a change of the fleet in the one audit log. The change stands even if the note cannot be written; the
// log of the program then says so.
func (h *houses) audit(ctx context.Context, a fleet.Audit) {
	actor := "otus"
	if p, ok := access.From(ctx); ok {
		actor = p.Name
	}
	err := h.state.Write(context.WithoutCancel(ctx), func(ctx context.Context, tx *state.Tx) error {
		return tx.Audit(ctx, state.Audit{Actor: actor, Action: a.Action, Target: a.Kind + "/" + a.ID, Result: "ok", Detail: a.Detail})
	})
	if err != nil {
		h.report("write audit log")(err)
	}
}

func (h *houses) openSIEM(ctx context.Context, env environment, c *checked) (err error) {
	dir := filepath.Join(c.dir, "siem")
	n := 0
	ids := func() string { n++; return c.ids(fmt.Sprintf("state %d", n)) }
	if h.state, err = state.Open(dir, state.Options{Now: env.now, IDs: ids}); err != nil {
		return err
	}
	h.closers = append(h.closers, h.state.Close)
	if h.store, err = openStore(dir); err != nil {
		return err
	}
	h.closers = append(h.closers, h.store.Close)
	h.ingest = ingest.New(h.store, ingest.Options{Now: env.now})
	h.closers = append(h.closers, func() error { h.ingest.Close(); return nil })
	h.query = query.New(h.store, query.Options{Now: env.now})
	if h.access, err = access.New(h.state); err != nil {
		return err
	}
	ws := h.state.Default()
	h.incidents = incident.NewService(h.state, incident.Options{Workspace: ws, Notify: func(number int64, change string) {
		h.hub.Publish(siemapi.Event{Kind: "incident", ID: fmt.Sprint(number), Change: change})
		h.hub.Publish(siemapi.Event{Kind: "summary", ID: ws.Name, Change: "updated"})
	}})
	h.syncer = incident.NewSyncer(h.incidents, h.fleet)
	h.syncer.OnError = h.report("sync alerts")
	rules, err := fs.Sub(content.FS(), "rules")
	if err != nil {
		return err
	}
	h.rules, err = analytics.NewService(ctx, h.state, analytics.Options{
		Workspace: ws, Incidents: h.incidents, Log: analytics.LogOf(h.query), Catalog: h.store.Catalog(), Content: rules,
		OnError: h.report("run rules"),
	})
	if err != nil {
		return err
	}
	h.ingest.OnCommit(func(tables map[string]store.Range) { h.rules.Ingested(tables) })
	h.relay = state.NewRelay(h.state, h.ingest)
	h.relay.OnError = h.report("relay rows")
	h.connector = iot.New(iot.Options{
		Workspace: iot.Workspace{ID: ws.ID, TenantID: ws.TenantID},
		Fleet:     subscriptions{h.fleet}, Ingest: h.ingest, State: h.state.Documents("connector/iot"), Now: env.now,
		CreateIncidents: h.rules.CreateIncidents,
		SetCreateIncidents: func(ctx context.Context, on bool) error {
			return h.rules.SetCreateIncidents(ctx, on, who(ctx))
		},
		Authorize: authorize,
		OnChange:  func() { h.hub.Publish(siemapi.Event{Kind: "connector", ID: "iot", Change: "updated"}) },
		OnError:   h.report("connector"),
	})
	return nil
}

// openStore opens the log tables in dir.
func openStore(dir string) (*duckdb.Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open log store: %w", err)
	}
	tables, err := store.LoadTables(content.FS())
	if err != nil {
		return nil, err
	}
	return duckdb.OpenStore(filepath.Join(dir, "log.duckdb"), tables, duckdb.StoreOptions{Functions: native.All()})
}

func (h *houses) openSensor(ctx context.Context, env environment, c *checked) error {
	local, err := h.fleet.Local(ctx)
	if err != nil {
		return err
	}
	o := sensor.Options{ID: local.ID, Name: local.Name, Version: version, Mode: c.mode,
		Protocols: protocol.All, Engines: engine.All, Now: env.now}
	if env.terminal {
		o.Progress = progressBar(env.err, "replay", env.now)
	}
	h.station, err = station.Open(station.Options{
		Dir: filepath.Join(c.dir, "sensor"), Sensor: o, Sender: h.fleet, Wait: 20 * time.Second,
		Report: h.report("sensor"),
	})
	if err != nil {
		return err
	}
	h.closers = append(h.closers, h.station.Close)
	return nil
}

// register puts all interfaces onto the mux. Who may call what is decided before, by access.Wrap.
func (h *houses) register() error {
	ws := h.state.Default()
	config := huma.DefaultConfig("Otus", version)
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "/otus/v1/openapi/openapi", "", "/otus/v1/schemas"
	config.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", fleetapi.SchemaName)
	api := humago.New(h.mux, config)
	internal := h.report("answer a request")
	siemapi.Register(api, h.mux, siemapi.Deps{
		State: h.state, Workspace: ws, Version: version, Incidents: h.incidents, Rules: h.rules, Access: h.access,
		Hub: h.hub, Fleet: h.fleet, Rows: h.store.Counts,
		Connector: func(ctx context.Context) (any, error) { return h.connector.Status(ctx) },
		OnError:   internal,
	})
	fleetapi.Register(api, h.mux, h.fleet, fleetapi.Options{Authorize: authorize, User: who,
		OnError: func(_ context.Context, err error) { internal(err) }})
	h.connector.Register(api)
	asking := query.APIOptions{Authorize: authorize, OnError: func(_ context.Context, err error) { internal(err) }}
	h.query.Register(api, asking)
	logs := h.query.LogAnalytics(query.LogAnalyticsOptions{Workspaces: []string{ws.ID, ws.Name}, APIOptions: asking})
	h.mux.Handle("GET /v1/workspaces/{id}/query", logs)
	h.mux.Handle("POST /v1/workspaces/{id}/query", logs)
	h.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	pages, err := web.NewHandler()
	if err != nil {
		return err
	}
	h.mux.Handle("/", pages)
	return nil
}

// start runs what works by itself until stop, and connects where that was asked for.
func (h *houses) start(ctx context.Context, fail context.CancelCauseFunc) {
	ctx, h.cancel = context.WithCancel(ctx)
	run := func(what string, loop func(context.Context) error) {
		h.running.Add(1)
		go func() {
			defer h.running.Done()
			if err := loop(ctx); err != nil && ctx.Err() == nil {
				fail(fmt.Errorf("%s: %w", what, err))
			}
		}()
	}
	run("fleet", h.fleet.Run)
	run("connector", h.connector.Run)
	run("rules", h.rules.Run)
	run("relay", h.relay.Run)
	run("status sync", h.syncer.Run)
	run("retention", h.prune)
	h.station.Start(ctx)
}

// pruneEvery is how often rows whose retention is over go.
const pruneEvery = time.Hour

func (h *houses) prune(ctx context.Context) error {
	ticker := time.NewTicker(pruneEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if _, err := h.store.Prune(ctx, h.state.Now()); err != nil && ctx.Err() == nil {
				h.report("prune log tables")(err)
			}
		}
	}
}

// connect connects every subscription and switches incident creation on.
func (h *houses) connect(ctx context.Context, createIncidents bool) error {
	all, err := h.fleet.Subscriptions(ctx)
	if err != nil {
		return err
	}
	status, err := h.connector.Status(ctx)
	if err != nil {
		return err
	}
	connected := map[string]bool{}
	for _, s := range status.Subscriptions {
		connected[s.ID] = s.Connected
	}
	if on, err := h.rules.CreateIncidents(ctx); err != nil {
		return err
	} else if createIncidents && !on {
		if err := h.rules.SetCreateIncidents(ctx, true, "otus"); err != nil {
			return err
		}
	}
	for _, s := range all {
		if !connected[s.ID] {
			if err := h.connector.Connect(ctx, s.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// runSensor replays what was asked for and then watches, or stops once everything has gone through.
func (h *houses) runSensor(ctx context.Context, env environment, c *checked, planned func(*checked, time.Time) ([]sensor.Replay, error)) error {
	if c.connect {
		if err := h.connect(ctx, c.createIncidents); err != nil {
			return err
		}
	}
	todo, err := plan(c, c.learn, c.replay)
	if planned != nil {
		todo, err = planned(c, env.now())
	}
	if err != nil {
		return err
	}
	if err := h.station.Replay(ctx, todo); err != nil {
		return stopped(ctx, err)
	}
	if c.exitWhenDone {
		return stopped(ctx, h.station.Drain(ctx, h.settle))
	}
	return stopped(ctx, h.station.Watch(ctx, c.networkPort))
}

// stopped turns the end of ctx into its cause: nothing for a signal, an error for a service that failed.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// settle waits until the stream is stored, the rules have read it, their rows are stored, and the alerts are in step.
func (h *houses) settle(ctx context.Context) error {
	for {
		if err := h.connector.Drain(ctx); err != nil {
			return err
		}
		if err := h.rules.Pass(ctx); err != nil {
			return err
		}
		if err := h.relay.Drain(ctx); err != nil {
			return err
		}
		waiting, _, err := h.syncer.Waiting(ctx)
		if err != nil || waiting == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// close stops what runs and closes the files, the last opened first.
func (h *houses) close() error {
	h.stopping.Store(true)
	if h.cancel != nil {
		h.cancel()
	}
	h.running.Wait()
	var err error
	for i := len(h.closers) - 1; i >= 0; i-- {
		err = errors.Join(err, h.closers[i]())
	}
	h.closers = nil
	return err
}

// report logs an error of a service that goes on. Work that the end of the program cut off is no error: it is done at
// the next start.
func (h *houses) report(what string) func(error) {
	return func(err error) {
		if !errors.Is(err, context.Canceled) && !h.stopping.Load() {
			h.log.Warn(what, "error", err)
		}
	}
}

// authorize asks access for a right of the request's principal.
func authorize(ctx context.Context, right string) error {
	err := access.Authorize(ctx, access.Right(right))
	if errors.Is(err, access.ErrUnauthenticated) {
		return huma.Error401Unauthorized(err.Error())
	}
	return err
}

// who names the request's principal.
func who(ctx context.Context) string {
	if p, ok := access.From(ctx); ok {
		return p.Name
	}
	return "otus"
}

// subscriptions is the fleet as the connector sees it.
type subscriptions struct{ *fleet.Fleet }

func (s subscriptions) Subscriptions(ctx context.Context) ([]iot.Subscription, error) {
	all, err := s.Fleet.Subscriptions(ctx)
	out := make([]iot.Subscription, 0, len(all))
	for _, one := range all {
		out = append(out, iot.Subscription{ID: one.ID, Name: one.Name, PlanOn: one.PlanOn})
	}
	return out, err
}

var _ iot.Fleet = subscriptions{}
var _ incident.Fleet = (*fleet.Fleet)(nil)

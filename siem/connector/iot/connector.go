// Package iot is the connector that brings a fleet's records into the workspace: alerts to SecurityAlert, and the OT
// telemetry to the OT tables. It is connected per subscription. Each subscription's stream is followed from a position
// that the log store commits together with the rows, so that no record is lost and none is stored twice; an alert's
// row says isNew "True" once, however often the connector is disconnected and connected again.
package iot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/siem/ingest"
	"github.com/otus-project/otus/siem/store"
)

// Subscription is a subscription of the fleet.
type Subscription struct {
	ID     string
	Name   string
	PlanOn bool
}

// Fleet is where the records come from. All methods may be called from several goroutines.
type Fleet interface {
	// Subscriptions lists all subscriptions, sorted by name.
	Subscriptions(ctx context.Context) ([]Subscription, error)
	// SetPlan turns a subscription's plan on or off.
	SetPlan(ctx context.Context, subscription string, on bool) error
	// Read gives entries of a subscription's stream behind position after, in order, at most max; none at its end.
	// By asking, the reader says that it has everything up to after safe.
	Read(ctx context.Context, subscription string, after uint64, max int) ([]event.Entry, error)
	// Head is the position of the newest entry; 0 if there never was one.
	Head(ctx context.Context, subscription string) (uint64, error)
	// OpenAlerts gives the current revision of each alert that is not closed and changed since then, as entries
	// without position.
	OpenAlerts(ctx context.Context, subscription string, since time.Time) ([]event.Entry, error)
	// Subscribe has wake called, with a subscription's id, after its stream grew or its plan changed. wake does not
	// block. end stops it.
	Subscribe(wake func(subscription string)) (end func())
}

// Ingest is where the rows go: the ingest service.
type Ingest interface {
	Append(ctx context.Context, b ingest.Batch) (committed bool, err error)
	Sender(ctx context.Context, sender string) (store.Sender, error)
}

// State keeps small JSON documents, each durable when Put returns. One goroutine at a time writes a key.
type State interface {
	Get(ctx context.Context, key string) (body json.RawMessage, found bool, err error)
	Put(ctx context.Context, key string, body json.RawMessage) error
}

// Options configure a connector. Workspace, Fleet, Ingest and State are required.
type Options struct {
	Workspace Workspace
	Fleet     Fleet
	Ingest    Ingest
	State     State
	// Now is the clock. Default time.Now; the program passes its own.
	Now func() time.Time
	// Backfill is how far back open alerts are sent when a subscription is connected. Default 14 days.
	Backfill time.Duration
	// CreateIncidents reports, and SetCreateIncidents changes, whether the default rule that turns this connector's
	// alerts into incidents is on. Where nil, the switch is off and cannot be changed.
	CreateIncidents    func(ctx context.Context) (bool, error)
	SetCreateIncidents func(ctx context.Context, on bool) error
	// Authorize refuses a caller without the right; nil allows everything. Only prerequisites and the API ask it.
	Authorize func(ctx context.Context, right string) error
	// OnChange is told when what Status says has changed, at most once a second while rows flow. It must not block.
	OnChange func()
	// OnError is told of each failed attempt; the connector tries again by itself.
	OnError func(error)
}

// readMax is how many entries one batch carries at most.
const readMax = 500

// ErrUnknownSubscription is returned for a subscription the fleet does not have.
var ErrUnknownSubscription = errors.New("no such subscription")

// Connector follows the streams of the connected subscriptions. Its methods may be called from several goroutines.
type Connector struct {
	o Options

	changing sync.Mutex // held while a subscription is connected or disconnected

	mu      sync.Mutex
	running context.Context // nil unless Run runs; the life of the feeds
	feeds   map[string]*feed
	told    time.Time
}

// New makes a connector. It does nothing until Run.
func New(o Options) *Connector {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Backfill <= 0 {
		o.Backfill = 14 * 24 * time.Hour
	}
	if o.OnChange == nil {
		o.OnChange = func() {}
	}
	if o.OnError == nil {
		o.OnError = func(error) {}
	}
	return &Connector{o: o, feeds: make(map[string]*feed)}
}

// connection is what is remembered of a subscription.
type connection struct {
	Connected bool `json:"connected"`
	// From is the stream's head when it was connected; what lies before is not read.
	From uint64 `json:"from"`
	// Times counts how often it was connected: the sequence of the backfill's batch.
	Times uint64 `json:"times"`
	// Backfill says that the open alerts are still to be sent.
	Backfill bool `json:"backfill"`
}

func stateKey(subscription string) string { return "subscription/" + subscription }

func (c *Connector) load(ctx context.Context, subscription string) (connection, error) {
	var saved connection
	body, found, err := c.o.State.Get(ctx, stateKey(subscription))
	if err == nil && found {
		err = json.Unmarshal(body, &saved)
	}
	if err != nil {
		return saved, fmt.Errorf("read state of subscription %q: %w", subscription, err)
	}
	return saved, nil
}

func (c *Connector) save(ctx context.Context, subscription string, state connection) error {
	body, err := json.Marshal(state)
	if err == nil {
		err = c.o.State.Put(ctx, stateKey(subscription), body)
	}
	if err != nil {
		return fmt.Errorf("write state of subscription %q: %w", subscription, err)
	}
	return nil
}

// Run follows the connected subscriptions until ctx ends, and returns when all feeds have stopped. Rows that were
// read but not committed by then are read again at the next start.
func (c *Connector) Run(ctx context.Context) error {
	subscriptions, err := c.o.Fleet.Subscriptions(ctx)
	if err != nil {
		return fmt.Errorf("list subscriptions: %w", err)
	}
	end := c.o.Fleet.Subscribe(c.wake)
	defer end()
	c.changing.Lock()
	c.mu.Lock()
	c.running = ctx
	c.mu.Unlock()
	for _, s := range subscriptions {
		var saved connection
		if saved, err = c.load(ctx, s.ID); err != nil {
			break
		}
		if saved.Connected {
			c.start(s.ID, saved)
		}
	}
	c.changing.Unlock()
	if err == nil {
		<-ctx.Done()
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	c.mu.Lock()
	c.running = nil
	c.mu.Unlock()
	for _, s := range c.feedIDs() {
		c.stop(s)
	}
	return err
}

func (c *Connector) feedIDs() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids := make([]string, 0, len(c.feeds))
	for id := range c.feeds {
		ids = append(ids, id)
	}
	return ids
}

// wake is called by the fleet.
func (c *Connector) wake(subscription string) {
	c.mu.Lock()
	f := c.feeds[subscription]
	c.mu.Unlock()
	if f == nil {
		c.o.OnChange() // its plan may have changed
		return
	}
	select {
	case f.woken <- struct{}{}:
	default:
	}
}

// start starts the feed of a subscription; the caller holds changing.
func (c *Connector) start(subscription string, saved connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running == nil || c.feeds[subscription] != nil {
		return
	}
	f := newFeed(c, subscription, saved)
	c.feeds[subscription] = f
	ctx, cancel := context.WithCancel(c.running)
	f.cancel = cancel
	go f.run(ctx)
}

// stop ends the feed of a subscription and waits for it; the caller holds changing.
func (c *Connector) stop(subscription string) {
	c.mu.Lock()
	f := c.feeds[subscription]
	delete(c.feeds, subscription)
	c.mu.Unlock()
	if f != nil {
		f.cancel()
		<-f.ended
	}
}

// Connect connects a subscription: its open alerts are sent once, at their current revision, then everything that
// arrives from now on. A subscription that is connected stays as it is.
func (c *Connector) Connect(ctx context.Context, subscription string) error {
	if err := c.known(ctx, subscription); err != nil {
		return err
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	saved, err := c.load(ctx, subscription)
	if err != nil || saved.Connected {
		return err
	}
	head, err := c.o.Fleet.Head(ctx, subscription)
	if err != nil {
		return fmt.Errorf("connect subscription %q: %w", subscription, err)
	}
	saved = connection{Connected: true, From: head, Times: saved.Times + 1, Backfill: true}
	if err := c.save(ctx, subscription, saved); err != nil {
		return err
	}
	c.start(subscription, saved)
	c.o.OnChange()
	return nil
}

// Disconnect disconnects a subscription. A batch that is being committed just then may still be stored; no later one is.
func (c *Connector) Disconnect(ctx context.Context, subscription string) error {
	if err := c.known(ctx, subscription); err != nil {
		return err
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	c.stop(subscription)
	saved, err := c.load(ctx, subscription)
	if err != nil || !saved.Connected {
		return err
	}
	saved.Connected = false
	if err := c.save(ctx, subscription, saved); err != nil {
		c.start(subscription, saved) // it is still connected
		return err
	}
	c.o.OnChange()
	return nil
}

// SetPlan turns the plan of a subscription on or off.
func (c *Connector) SetPlan(ctx context.Context, subscription string, on bool) error {
	if err := c.known(ctx, subscription); err != nil {
		return err
	}
	if err := c.o.Fleet.SetPlan(ctx, subscription, on); err != nil {
		return fmt.Errorf("set plan of subscription %q: %w", subscription, err)
	}
	c.o.OnChange()
	return nil
}

func (c *Connector) known(ctx context.Context, subscription string) error {
	all, err := c.o.Fleet.Subscriptions(ctx)
	if err != nil {
		return fmt.Errorf("list subscriptions: %w", err)
	}
	for _, s := range all {
		if s.ID == subscription {
			return nil
		}
	}
	return fmt.Errorf("subscription %q: %w", subscription, ErrUnknownSubscription)
}

// Drain waits until everything the fleet has for the connected subscriptions is stored. It needs Run to run.
func (c *Connector) Drain(ctx context.Context) error {
	const look = 5 * time.Millisecond
	for {
		behind, err := c.behind(ctx)
		if err != nil || !behind {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(look):
		}
	}
}

// behind reports whether some connected subscription has entries that are not stored yet.
func (c *Connector) behind(ctx context.Context) (bool, error) {
	subscriptions, err := c.o.Fleet.Subscriptions(ctx)
	if err != nil {
		return false, fmt.Errorf("list subscriptions: %w", err)
	}
	for _, s := range subscriptions {
		saved, err := c.load(ctx, s.ID)
		if err != nil {
			return false, err
		}
		if !saved.Connected {
			continue
		}
		head, err := c.o.Fleet.Head(ctx, s.ID)
		if err != nil {
			return false, fmt.Errorf("head of subscription %q: %w", s.ID, err)
		}
		c.mu.Lock()
		f := c.feeds[s.ID]
		c.mu.Unlock()
		if f == nil || !f.has(head) {
			return true, nil
		}
	}
	return false, nil
}

// tell passes on that rows have come, not more than once a second.
func (c *Connector) tell() {
	now := c.o.Now()
	c.mu.Lock()
	again := now.Sub(c.told) >= time.Second || now.Before(c.told)
	if again {
		c.told = now
	}
	c.mu.Unlock()
	if again {
		c.o.OnChange()
	}
}

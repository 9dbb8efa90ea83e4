// Package fleet keeps all sensors of its subscriptions. Batches of records come in from the sensors' uplinks; current
// devices and alerts, and one gapless stream of entries per subscription, come out for pages and for the connector.
// A batch's records, the sensor's cursor, the current tables and the stream change in one transaction: after an Ack
// everything of the batch is durable, and nothing of it can come twice.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/otus-project/otus/event"
)

// Kinds of errors a caller can branch on with errors.Is.
var (
	ErrNotFound     = errors.New("not found")
	ErrInvalid      = errors.New("invalid")
	ErrConflict     = errors.New("conflict")
	ErrUnauthorised = errors.New("unauthorised")
)

// Options of a fleet. Dir is required.
type Options struct {
	// Dir is the folder of the database, made when it is missing. One process at a time may have it open.
	Dir string
	// Now is the wall clock. It dates what the fleet itself does: contacts, tokens, retention.
	Now func() time.Time
	// IDs gives the ids made at the first start: "subscription", "site", "zone", "sensor". Random when nil.
	IDs func(name string) string
	// First names what the first start makes.
	First First
	// OnChange is told after a commit that something changed: kind is "alert", "device", "sensor", "site", "zone",
	// "line" or "subscription", change is "created", "updated" or "deleted". It must not block.
	OnChange func(kind, id, change string)
	// Audit is told of every change a person or program asked for, after it was made. It must not block.
	Audit func(ctx context.Context, a Audit)
	// KeepEntries is how long a stream's entries stay at least, counted from their arrival.
	KeepEntries time.Duration
	// MaxStreamBytes bounds one subscription's stream. When it is reached the oldest entries go, read or not;
	// those not read are counted in Subscription.Lost.
	MaxStreamBytes int64
	// KeepRows is how long devices, closed alerts and captures stay after their last row arrived.
	KeepRows time.Duration
	// MaxCaptureBytes bounds all captures together; the oldest go first.
	MaxCaptureBytes int64
	// TokenLife is how long an onboarding token can be used.
	TokenLife time.Duration
}

// First names what the first start makes.
type First struct {
	Subscription, Site, Zone, Sensor string
	Owners                           []string // of the site
}

// Audit is one change that was asked for.
type Audit struct {
	Action string // such as "site.create"
	Kind   string // as in Options.OnChange, or "command"
	ID     string
	Detail string
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.IDs == nil {
		o.IDs = func(string) string { return uuid.NewString() }
	}
	if o.First.Subscription == "" {
		o.First.Subscription = "default"
	}
	if o.First.Site == "" {
		o.First.Site = "default"
	}
	if o.First.Zone == "" {
		o.First.Zone = "default"
	}
	if o.First.Sensor == "" {
		o.First.Sensor = "local"
	}
	if o.OnChange == nil {
		o.OnChange = func(string, string, string) {}
	}
	if o.Audit == nil {
		o.Audit = func(context.Context, Audit) {}
	}
	if o.KeepEntries <= 0 {
		o.KeepEntries = 14 * 24 * time.Hour // the connector's default backfill
	}
	if o.MaxStreamBytes <= 0 {
		o.MaxStreamBytes = 2 << 30
	}
	if o.KeepRows <= 0 {
		o.KeepRows = 90 * 24 * time.Hour // as the products we follow keep alerts and devices
	}
	if o.MaxCaptureBytes <= 0 {
		o.MaxCaptureBytes = 1 << 30 // 4,000 captures of full size
	}
	if o.TokenLife <= 0 {
		o.TokenLife = 7 * 24 * time.Hour // a technician's trip to the plant
	}
	return o
}

// Fleet is safe for use by many goroutines.
type Fleet struct {
	o  Options
	db *database

	loading sync.Mutex // held while lines are read anew; taken before mu

	mu          sync.Mutex // never held while calling out or querying
	contacts    map[string]time.Time
	states      map[string]string // state of a sensor when OnChange last spoke of it
	waiting     map[string]chan struct{}
	subscribers map[int]func(subscription string)
	nextID      int
	lines       map[string]event.Line // by device id
	taken       map[int64]uint64      // how far each stream was read, by number of the subscription
	closed      chan struct{}
}

// Open opens or makes the fleet in o.Dir.
func Open(ctx context.Context, o Options) (*Fleet, error) {
	o = o.withDefaults()
	db, err := openDatabase(ctx, filepath.Join(o.Dir, "fleet.sqlite"), hot...)
	if err != nil {
		return nil, err
	}
	f := &Fleet{
		o: o, db: db,
		contacts:    map[string]time.Time{},
		states:      map[string]string{},
		waiting:     map[string]chan struct{}{},
		subscribers: map[int]func(string){},
		taken:       map[int64]uint64{},
		closed:      make(chan struct{}),
	}
	if err := f.firstStart(ctx); err != nil {
		return nil, errors.Join(err, db.close())
	}
	if err := f.loadLines(ctx); err != nil {
		return nil, errors.Join(err, db.close())
	}
	return f, nil
}

// Close ends waiting sensors and closes the database. Run must have returned.
func (f *Fleet) Close() error {
	f.mu.Lock()
	select {
	case <-f.closed:
		f.mu.Unlock()
		return nil
	default:
		close(f.closed)
	}
	f.mu.Unlock()
	return f.db.close()
}

// Now is the fleet's clock.
func (f *Fleet) Now() time.Time { return f.o.Now() }

// firstStart makes the things every fleet has, unless they are there.
func (f *Fleet) firstStart(ctx context.Context) error {
	err := f.db.write(ctx, func(ctx context.Context, tx *transaction) error {
		var subscriptions int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM subscription`).Scan(&subscriptions); err != nil || subscriptions > 0 {
			return err
		}
		owners, err := checkOwners(f.o.First.Owners)
		if err != nil {
			return err
		}
		site, zone := f.o.IDs("site"), f.o.IDs("zone")
		for _, insert := range []struct {
			text string
			args []any
		}{
			{`INSERT INTO subscription(number, id, name, plan_on) VALUES (1, ?, ?, 1)`, []any{f.o.IDs("subscription"), f.o.First.Subscription}},
			{`INSERT INTO site(id, subscription, name, owners) VALUES (?, 1, ?, ?)`, []any{site, f.o.First.Site, owners}},
			{`INSERT INTO zone(id, site_id, name) VALUES (?, ?, ?)`, []any{zone, site, f.o.First.Zone}},
			{`INSERT INTO sensor(id, zone_id, name, created) VALUES (?, ?, ?, ?)`, []any{f.o.IDs("sensor"), zone, f.o.First.Sensor, nanos(f.o.Now())}},
		} {
			if _, err := tx.exec(ctx, insert.text, insert.args...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("first start of the fleet: %w", err)
	}
	return nil
}

// Run does the fleet's housekeeping once a minute until ctx ends.
func (f *Fleet) Run(ctx context.Context) error {
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		if err := f.Maintain(ctx); err != nil {
			return err
		}
	}
}

// Maintain stores when sensors were last heard of, tells of sensors that went silent, and removes what is too old or
// too much.
func (f *Fleet) Maintain(ctx context.Context) error {
	if err := f.storeContacts(ctx); err != nil {
		return fmt.Errorf("store contacts: %w", err)
	}
	if err := f.tellStates(ctx); err != nil {
		return fmt.Errorf("check sensors: %w", err)
	}
	if err := f.pruneStreams(ctx); err != nil {
		return fmt.Errorf("prune streams: %w", err)
	}
	if err := f.pruneRows(ctx); err != nil {
		return fmt.Errorf("prune rows: %w", err)
	}
	return nil
}

// Subscribe calls wake with the subscription's id after each commit that added to its stream or changed its plan.
// wake must not block. The function returned ends it.
func (f *Fleet) Subscribe(wake func(subscription string)) (end func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := f.nextID
	f.nextID++
	f.subscribers[id] = wake
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.subscribers, id)
	}
}

func (f *Fleet) wake(subscription string) {
	f.mu.Lock()
	wakes := make([]func(string), 0, len(f.subscribers))
	for _, wake := range f.subscribers {
		wakes = append(wakes, wake)
	}
	f.mu.Unlock()
	for _, wake := range wakes {
		wake(subscription)
	}
}

// done speaks of a change that was asked for, after its commit.
func (f *Fleet) done(ctx context.Context, kind, id, verb, detail string) {
	f.o.Audit(ctx, Audit{Action: kind + "." + verb, Kind: kind, ID: id, Detail: detail})
	change := map[string]string{"create": "created", "delete": "deleted"}[verb]
	if change == "" {
		change = "updated"
	}
	f.o.OnChange(kind, id, change)
}

package analytics

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/siem/incident"
	"github.com/otus-project/otus/siem/state"
)

// Request is one run of a query for a rule.
type Request struct {
	Text string
	// From and To restrict every table to rows with From <= TimeGenerated < To; nil does not restrict.
	From, To *time.Time
	// Now is the value of now() in the query.
	Now time.Time
	// IngestAfter and IngestUpTo restrict every table to rows after the one and up to the other ingest sequence.
	IngestAfter, IngestUpTo *uint64
	MaxRows                 int
}

// Result is the answer: columns by name, and rows of nil, bool, int64, float64, string, time.Time, time.Duration or
// json.RawMessage.
type Result struct {
	Columns   []string
	Rows      [][]any
	Truncated bool // there were more rows than MaxRows
}

// Log is the log store as rules read it. It is called by two goroutines at most.
type Log interface {
	Run(ctx context.Context, r Request) (*Result, error)
	// Head is the ingest sequence of the newest committed row; 0 while there is none.
	Head(ctx context.Context) (uint64, error)
}

// Options for a Service.
type Options struct {
	Workspace state.Workspace
	Incidents *incident.Service
	Log       Log
	Catalog   *schema.Catalog
	// Content holds the shipped rules, as content/rules does.
	Content fs.FS
	// Notify is told, after the commit, of each alert a rule made, by SystemAlertId. It must not block. May be nil.
	Notify func(systemAlertID string)
	// OnError is told of errors that no single rule can be blamed for. May be nil.
	OnError func(error)
}

// Service keeps the rules of one workspace and runs them. Its methods may be called from any goroutine.
type Service struct {
	db *state.DB
	o  Options

	mu    sync.Mutex
	rules map[string]*running
	// heads is the newest ingest sequence per table that commits told of, seen the newest of all. Up to blind, rows may
	// be of any table: they were committed before the start, or without our being told.
	heads map[string]uint64
	seen  uint64
	blind uint64
	// passing is held over a pass at ingestion; followedTo, how far the follower has read, belongs to it.
	passing    sync.Mutex
	followedTo uint64

	wakeIngest, wakeSchedule chan struct{}
}

// running is a rule with what is known of its progress. Fields beside the rule are guarded by Service.mu.
type running struct {
	*loaded
	p progress
	// read is how far the rule has read; it may be ahead of p.watermark by rows that gave nothing, which are
	// written down later, with the next result or when the service rests.
	read uint64
}

// progress is the durable part: one row of rule_state.
type progress struct {
	enabled         bool
	watermark       uint64
	windowEnd       time.Time
	produced        int64
	suppressedUntil time.Time
	suppressed      int64
	lastRun         time.Time
	lastResult      string
	lastError       string
	failures        int
	retryAt         time.Time
}

// Errors callers may branch on.
var (
	ErrNotFound = errors.New("no such rule")
	ErrShipped  = errors.New("a shipped rule can be switched on and off, not changed")
)

// NewService loads the shipped and the user's rules. A shipped rule that is wrong is an error; a user's rule that no
// longer compiles stays, off, with its error shown.
func NewService(ctx context.Context, db *state.DB, o Options) (*Service, error) {
	content, err := loadContent(o.Content, o.Catalog)
	if err != nil {
		return nil, err
	}
	return newService(ctx, db, o, content)
}

func newService(ctx context.Context, db *state.DB, o Options, content []*loaded) (*Service, error) {
	s := &Service{
		db: db, o: o, rules: map[string]*running{}, heads: map[string]uint64{},
		wakeIngest: make(chan struct{}, 1), wakeSchedule: make(chan struct{}, 1),
	}
	for _, l := range content {
		s.rules[l.ID] = &running{loaded: l}
	}
	head, err := o.Log.Head(ctx)
	if err != nil {
		return nil, fmt.Errorf("open analytics: %w", err)
	}
	s.blind = head
	if err := s.loadUserRules(ctx); err != nil {
		return nil, fmt.Errorf("open analytics: %w", err)
	}
	for id, r := range s.rules {
		p, found, err := s.progress(ctx, db.Reader(), id)
		if err != nil {
			return nil, fmt.Errorf("open analytics: %w", err)
		}
		if !found {
			p.watermark = head
		}
		if r.p.lastError == "" {
			r.p = p
		}
		r.read = r.p.watermark
	}
	return s, nil
}

func (s *Service) loadUserRules(ctx context.Context) error {
	rows, err := s.db.Reader().QueryContext(ctx, `SELECT rule, source FROM rule_source WHERE workspace = ? ORDER BY rule`, s.o.Workspace.ID)
	if err != nil {
		return err
	}
	type stored struct{ id, source string }
	all, err := state.Scan(rows, func(v *stored) []any { return []any{&v.id, &v.source} })
	if err != nil {
		return err
	}
	for _, v := range all {
		l, err := load(v.id, v.id, []byte(v.source), s.o.Catalog, "user")
		if err != nil {
			broken := &Rule{ID: v.id, Name: v.id, Kind: KindScheduled, Severity: "Medium"}
			s.rules[v.id] = &running{loaded: &loaded{Rule: broken, source: "user"}, p: progress{lastResult: "failed", lastError: err.Error()}}
			continue
		}
		s.rules[l.ID] = &running{loaded: l}
	}
	return nil
}

const progressColumns = `enabled, watermark, window_end, produced, suppressed_until, suppressed, last_run, last_result, last_error, failures, retry_at`

func (s *Service) progress(ctx context.Context, q state.Querier, id string) (p progress, found bool, err error) {
	var watermark int64
	err = q.QueryRowContext(ctx, `SELECT `+progressColumns+` FROM rule_state WHERE workspace = ? AND rule = ?`, s.o.Workspace.ID, id).
		Scan(&p.enabled, &watermark, state.TicksOf(&p.windowEnd), &p.produced, state.TicksOf(&p.suppressedUntil), &p.suppressed,
			state.TicksOf(&p.lastRun), &p.lastResult, &p.lastError, &p.failures, state.TicksOf(&p.retryAt))
	if errors.Is(err, sql.ErrNoRows) {
		return progress{}, false, nil
	}
	if err != nil {
		return progress{}, false, fmt.Errorf("progress of rule %q: %w", id, err)
	}
	p.watermark = uint64(watermark)
	return p, true, nil
}

func (s *Service) writeProgress(ctx context.Context, tx *state.Tx, id string, p progress) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO rule_state (workspace, rule, `+progressColumns+`)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (workspace, rule) DO UPDATE SET enabled = excluded.enabled, watermark = excluded.watermark,
		window_end = excluded.window_end, produced = excluded.produced, suppressed_until = excluded.suppressed_until,
		suppressed = excluded.suppressed, last_run = excluded.last_run, last_result = excluded.last_result,
		last_error = excluded.last_error, failures = excluded.failures, retry_at = excluded.retry_at`,
		s.o.Workspace.ID, id, p.enabled, int64(p.watermark), ticksOrZero(p.windowEnd), p.produced, ticksOrZero(p.suppressedUntil), p.suppressed,
		ticksOrZero(p.lastRun), p.lastResult, p.lastError, p.failures, ticksOrZero(p.retryAt))
	if err != nil {
		return fmt.Errorf("progress of rule %q: %w", id, err)
	}
	return nil
}

func ticksOrZero(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return state.Ticks(t)
}

// View is a rule as lists show it.
type View struct {
	Rule
	Enabled    bool       `json:"enabled"`
	Source     string     `json:"source" enum:"content,user"`
	LastRun    *time.Time `json:"lastRun"`
	LastResult string     `json:"lastResult"`
	LastError  string     `json:"lastError"`
	Suppressed int64      `json:"suppressed" doc:"Results dropped by suppression since the rule was made"`
	// AtIngestion says that the rule runs when rows arrive, not on its schedule.
	AtIngestion bool `json:"atIngestion"`
}

// List gives all rules: incident creation first, then by name.
func (s *Service) List() []View {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]View, 0, len(s.rules))
	for _, r := range s.ordered() {
		all = append(all, r.view())
	}
	return all
}

// Get gives one rule; ErrNotFound if there is none of that id.
func (s *Service) Get(id string) (View, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rules[id]
	if r == nil {
		return View{}, fmt.Errorf("rule %q: %w", id, ErrNotFound)
	}
	return r.view(), nil
}

func (r *running) view() View {
	v := View{
		Rule: *r.Rule, Enabled: r.p.enabled, Source: r.source, LastResult: r.p.lastResult, LastError: r.p.lastError,
		Suppressed: r.p.suppressed, AtIngestion: r.atIngest,
	}
	if !r.p.lastRun.IsZero() {
		at := r.p.lastRun
		v.LastRun = &at
	}
	return v
}

// ordered gives the rules in the order they run in and are listed. mu is held.
func (s *Service) ordered() []*running {
	all := make([]*running, 0, len(s.rules))
	for _, r := range s.rules {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *running) int {
		if (a.Kind == KindIncidentCreation) != (b.Kind == KindIncidentCreation) {
			if a.Kind == KindIncidentCreation {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name+"\x00"+a.ID, b.Name+"\x00"+b.ID)
	})
	return all
}

// SetEnabled switches a rule. The incident-creation rule starts with the next row that arrives; a Scheduled one with a
// window that ends now.
func (s *Service) SetEnabled(ctx context.Context, id string, on bool, by string) error {
	s.mu.Lock()
	r := s.rules[id]
	s.mu.Unlock()
	if r == nil {
		return fmt.Errorf("rule %q: %w", id, ErrNotFound)
	}
	if r.file == "" && on {
		return &InvalidRule{FileErrors{{id, 1, 1, r.p.lastError}}}
	}
	head, err := s.o.Log.Head(ctx)
	if err != nil {
		return fmt.Errorf("switch rule %q: %w", id, err)
	}
	var p progress
	err = s.db.Write(ctx, func(ctx context.Context, tx *state.Tx) error {
		var found bool
		if p, found, err = s.progress(ctx, tx, id); err != nil {
			return err
		}
		if found && p.enabled == on {
			return nil
		}
		p.enabled = on
		if on {
			p.start(r.loaded, head, tx.Now())
		}
		if err := tx.Audit(ctx, state.Audit{Actor: by, Action: "rule.enable", Target: r.Name, Result: "ok", Detail: fmt.Sprint(on)}); err != nil {
			return err
		}
		return s.writeProgress(ctx, tx, id, p)
	})
	if err != nil {
		return fmt.Errorf("switch rule %q: %w", id, err)
	}
	s.mu.Lock()
	r.p, r.read = p, p.watermark
	s.mu.Unlock()
	s.wake()
	return nil
}

// start forgets what a rule read before: it begins behind the newest row. A Scheduled rule that runs at ingestion also
// looks back once, over its period; until it has, its window's end is the time of the start.
func (p *progress) start(l *loaded, head uint64, now time.Time) {
	p.watermark, p.windowEnd, p.suppressedUntil, p.retryAt = head, time.Time{}, time.Time{}, time.Time{}
	p.failures, p.lastError = 0, ""
	if l.atIngest && l.Kind == KindScheduled {
		p.windowEnd = state.Time(state.Ticks(now))
	}
}

// InvalidRule wraps what is wrong with a rule a user sent.
type InvalidRule struct{ Faults FileErrors }

func (e *InvalidRule) Error() string { return e.Faults.Error() }

// Put creates or replaces a user's rule from YAML or JSON. Shipped rules cannot be
// replaced. A rule that is wrong is an *InvalidRule, and nothing is changed.
func (s *Service) Put(ctx context.Context, id string, source []byte, by string) (View, error) {
	l, err := load("rule", id, source, s.o.Catalog, "user")
	if err != nil {
		var faults FileErrors
		if errors.As(err, &faults) {
			return View{}, &InvalidRule{faults}
		}
		return View{}, err
	}
	if l.ID != id {
		return View{}, &InvalidRule{FileErrors{{"rule", 1, 1, fmt.Sprintf("the rule's id is %q, the address says %q", l.ID, id)}}}
	}
	s.mu.Lock()
	old := s.rules[id]
	s.mu.Unlock()
	if old != nil && old.source != "user" {
		return View{}, fmt.Errorf("rule %q: %w", id, ErrShipped)
	}
	head, err := s.o.Log.Head(ctx)
	if err != nil {
		return View{}, fmt.Errorf("save rule %q: %w", id, err)
	}
	r := &running{loaded: l}
	err = s.db.Write(ctx, func(ctx context.Context, tx *state.Tx) error {
		now := state.Ticks(tx.Now())
		if _, err := tx.ExecContext(ctx, `INSERT INTO rule_source (workspace, rule, source, created, modified, modified_by)
			VALUES (?1, ?2, ?3, ?4, ?4, ?5) ON CONFLICT (workspace, rule) DO UPDATE SET source = ?3, modified = ?4, modified_by = ?5`,
			s.o.Workspace.ID, id, string(source), now, by); err != nil {
			return err
		}
		p, _, err := s.progress(ctx, tx, id)
		if err != nil {
			return err
		}
		p.enabled = l.Enabled == nil || *l.Enabled
		p.start(r.loaded, head, tx.Now())
		r.p, r.read = p, p.watermark
		if err := tx.Audit(ctx, state.Audit{Actor: by, Action: "rule.put", Target: l.Name, Result: "ok", Detail: id}); err != nil {
			return err
		}
		return s.writeProgress(ctx, tx, id, p)
	})
	if err != nil {
		return View{}, fmt.Errorf("save rule %q: %w", id, err)
	}
	s.mu.Lock()
	s.rules[id] = r
	v := r.view()
	s.mu.Unlock()
	s.wake()
	return v, nil
}

// Delete removes a user's rule. What it made stays.
func (s *Service) Delete(ctx context.Context, id, by string) error {
	s.mu.Lock()
	r := s.rules[id]
	s.mu.Unlock()
	if r == nil {
		return fmt.Errorf("rule %q: %w", id, ErrNotFound)
	}
	if r.source != "user" {
		return fmt.Errorf("rule %q: %w", id, ErrShipped)
	}
	err := s.db.Write(ctx, func(ctx context.Context, tx *state.Tx) error {
		for _, text := range []string{
			`DELETE FROM rule_source WHERE workspace = ? AND rule = ?`, `UPDATE rule_state SET enabled = 0 WHERE workspace = ? AND rule = ?`,
		} {
			if _, err := tx.ExecContext(ctx, text, s.o.Workspace.ID, id); err != nil {
				return err
			}
		}
		return tx.Audit(ctx, state.Audit{Actor: by, Action: "rule.delete", Target: r.Name, Result: "ok", Detail: id})
	})
	if err != nil {
		return fmt.Errorf("delete rule %q: %w", id, err)
	}
	s.mu.Lock()
	delete(s.rules, id)
	s.mu.Unlock()
	return nil
}

// CreateIncidents reports whether the default incident-creation rule is on.
func (s *Service) CreateIncidents(context.Context) (bool, error) {
	v, err := s.Get(DefaultIncidentRule)
	return v.Enabled, err
}

// SetCreateIncidents switches the default incident-creation rule, as the connector's page does.
func (s *Service) SetCreateIncidents(ctx context.Context, on bool, by string) error {
	return s.SetEnabled(ctx, DefaultIncidentRule, on, by)
}

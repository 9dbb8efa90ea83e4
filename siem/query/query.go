// Package query answers KQL questions over the log store: text comes in, typed rows go out. A query is compiled, run
// under limits of time, rows and bytes, and ended at once when its caller goes away. How many run at once is
// bounded, with places kept for rules so that people's heavy queries never delay an incident.
package query

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/otus-project/otus/kql"
	"github.com/otus-project/otus/kql/native"
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/siem/store"
)

// Options tune the service. The zero value works.
type Options struct {
	// MaxRows is how many rows an answer has at most, also where a request asks for more. Default 500,000.
	MaxRows int
	// DefaultRows holds where a request does not say. Default 30,000.
	DefaultRows int
	// MaxBytes is how large an answer may become. Default 64 MiB: with 30,000 rows, two KiB each.
	MaxBytes int
	// Timeout ends a query. Default 3 minutes.
	Timeout time.Duration
	// Concurrent is how many queries run at once, Reserved how many more for rules; further ones wait. Defaults 4 and 2.
	// The store must allow as many readers.
	Concurrent, Reserved int
	// Now is the clock, for now() and for time taken. Default time.Now; the program passes its own.
	Now func() time.Time
}

// Service runs queries. Its methods may be called from several goroutines.
type Service struct {
	store    store.Store
	o        Options
	people   chan struct{}
	reserved chan struct{}
}

// Request is one question.
type Request struct {
	Text string
	// From and To, where set, restrict every table to From <= TimeGenerated < To.
	From, To *time.Time
	// Now is the value of now() in the query; zero is the service's clock.
	Now time.Time
	// IngestAfter and IngestUpTo, where set, restrict every table to rows behind the one and up to the other ingest
	// sequence.
	IngestAfter, IngestUpTo *uint64
	// MaxRows, if positive, cuts the answer.
	MaxRows int
	// Timeout, if positive, replaces the service's, unless that is shorter.
	Timeout time.Duration
	// ForRule takes one of the places kept for rules.
	ForRule bool
}

// Result is an answer.
type Result struct {
	Columns []schema.Column
	// Rows has, per column, nil for null or: bool, int64 (int and long), float64 (real), string (string, guid and
	// decimal), time.Time in UTC (datetime), time.Duration (timespan; beyond some 292 years its text), and
	// json.RawMessage (dynamic).
	Rows [][]any
	// Truncated says that there is more than Rows.
	Truncated bool
	Stats     Stats
	// Render is the visualisation the query asks for; nil without one.
	Render *kql.Render
}

// Stats tell what the query took.
type Stats struct {
	Elapsed time.Duration
	Rows    int
	Bytes   int
	Tables  []string
}

// Errors callers branch on, by errors.Is. A bad query is a *kql.Error.
var (
	ErrTimeout  = errors.New("the query took too long")
	ErrMemory   = errors.New("the query needs more memory than it may use; summarize or filter earlier")
	ErrInternal = errors.New("the query could not be run")
)

// New makes a service over a store.
func New(s store.Store, o Options) *Service {
	fill := func(n *int, value int) {
		if *n <= 0 {
			*n = value
		}
	}
	fill(&o.MaxRows, 500_000)
	fill(&o.DefaultRows, 30_000)
	fill(&o.MaxBytes, 64<<20)
	fill(&o.Concurrent, 4)
	fill(&o.Reserved, 2)
	if o.Timeout <= 0 {
		o.Timeout = 3 * time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Service{store: s, o: o, people: make(chan struct{}, o.Concurrent), reserved: make(chan struct{}, o.Reserved)}
}

// Catalog lists the tables queries may name.
func (s *Service) Catalog() *schema.Catalog { return s.store.Catalog() }

// Head is the ingest sequence of the newest committed row; 0 while there is none.
func (s *Service) Head(ctx context.Context) (uint64, error) { return s.store.Head(ctx) }

// Check gives everything there is to say about a query's text; nothing means that it would run.
func (s *Service) Check(text string) (found []kql.Diagnostic) {
	_, err := s.compile(Request{Text: text}, 0)
	var bad *kql.Error
	if errors.As(err, &bad) {
		return bad.Diagnostics
	}
	return nil
}

// Run answers a request. A query that cannot be run is a *kql.Error, which lists what is wrong with it; where ctx ends
// first, the error is the context's.
func (s *Service) Run(ctx context.Context, r Request) (*Result, error) {
	started := s.o.Now()
	limit := s.o.DefaultRows
	if r.MaxRows > 0 {
		limit = min(r.MaxRows, s.o.MaxRows)
	}
	q, err := s.compile(r, limit)
	if err != nil {
		return nil, err
	}
	places := s.people
	if r.ForRule {
		places = s.reserved
	}
	select {
	case places <- struct{}{}:
		defer func() { <-places }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	timeout := s.o.Timeout
	if r.Timeout > 0 {
		timeout = min(timeout, r.Timeout)
	}
	limited, cancel := context.WithTimeoutCause(ctx, timeout, ErrTimeout)
	defer cancel()
	result, err := s.read(limited, q, limit)
	if err != nil {
		return nil, s.failure(ctx, limited, err)
	}
	result.Stats.Elapsed = s.o.Now().Sub(started)
	return result, nil
}

// compile never panics: a fault in the compiler must not take the program with it.
func (s *Service) compile(r Request, limit int) (q *kql.Query, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: the compiler panicked: %v\n%s", ErrInternal, p, debug.Stack())
		}
	}()
	now := r.Now
	if now.IsZero() {
		now = s.o.Now()
	}
	return kql.Compile(r.Text, kql.Options{Catalog: s.store.Catalog(), Now: now.UTC(), From: r.From, To: r.To,
		IngestAfter: r.IngestAfter, IngestUpTo: r.IngestUpTo, MaxRows: limit})
}

// failure turns an error of the store into one of this package.
func (s *Service) failure(caller, limited context.Context, err error) error {
	switch {
	case caller.Err() != nil:
		return caller.Err()
	case errors.Is(context.Cause(limited), ErrTimeout):
		return ErrTimeout
	case errors.Is(err, store.ErrOutOfMemory):
		return ErrMemory
	}
	return fmt.Errorf("%w: %w", ErrInternal, err)
}

func (s *Service) read(ctx context.Context, q *kql.Query, limit int) (*Result, error) {
	rows, err := s.store.Query(ctx, q.SQL, q.Args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	if got := len(rows.Columns()); got != len(q.Columns) {
		return nil, fmt.Errorf("the statement gives %d columns, the query has %d", got, len(q.Columns))
	}
	result := &Result{Columns: q.Columns, Rows: [][]any{}, Render: q.Render, Stats: Stats{Tables: q.Tables}}
	for rows.Next() {
		if len(result.Rows) == limit || result.Stats.Bytes > s.o.MaxBytes {
			result.Truncated = true
			break
		}
		row := rows.Row()
		for i, c := range q.Columns {
			result.Stats.Bytes += size(row[i])
			if row[i], err = value(c.Type, row[i]); err != nil {
				return nil, fmt.Errorf("column %q: %w", c.Name, err)
			}
		}
		result.Rows = append(result.Rows, row)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	result.Stats.Rows = len(result.Rows)
	return result, nil
}

// cellBytes is what a cell costs beside its text.
const cellBytes = 16

func size(v any) int {
	if s, ok := v.(string); ok {
		return cellBytes + len(s)
	}
	return cellBytes
}

// value turns a stored value into the Go value of its KQL type.
func value(t schema.Type, v any) (any, error) {
	if v == nil {
		if t == schema.String {
			return "", nil
		}
		return nil, nil
	}
	switch t {
	case schema.DateTime:
		if ticks, ok := v.(int64); ok {
			return store.Time(ticks), nil
		}
	case schema.Timespan:
		if ticks, ok := v.(int64); ok {
			d := time.Duration(ticks) * 100
			if int64(d)/100 != ticks {
				return native.FormatTimespan(ticks), nil
			}
			return d, nil
		}
	case schema.Dynamic:
		if text, ok := v.(string); ok {
			return dynamic(text), nil
		}
	case schema.Bool:
		if b, ok := v.(bool); ok {
			return b, nil
		}
	case schema.Int, schema.Long:
		if n, ok := v.(int64); ok {
			return n, nil
		}
	case schema.Real:
		switch n := v.(type) {
		case float64:
			return n, nil
		case int64:
			return float64(n), nil
		}
	default:
		if s, ok := v.(string); ok {
			return s, nil
		}
	}
	return nil, fmt.Errorf("a %s came as %T", t, v)
}

// dynamic is a dynamic value; JSON null is null. What is no JSON, against all rules, is shown as text.
func dynamic(text string) any {
	if text == "null" {
		return nil
	}
	if !json.Valid([]byte(text)) {
		return json.RawMessage(native.JSONString(text))
	}
	return json.RawMessage(text)
}

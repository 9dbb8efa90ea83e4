package iot

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/siem/ingest"
	"github.com/otus-project/otus/siem/store"
)

// How long a feed waits: after a failure, twice as long each time; and for a wake-up that never came.
const (
	retryFirst = 50 * time.Millisecond
	retryLast  = 5 * time.Second
	lookAgain  = 5 * time.Second
)

// feed follows the stream of one subscription.
type feed struct {
	c            *Connector
	subscription string
	state        connection
	cancel       context.CancelFunc
	woken        chan struct{}
	ended        chan struct{}

	mu      sync.Mutex
	after   uint64 // everything up to here is stored
	ready   bool   // the backfill is done
	refused uint64 // rows left out because a value does not fit its column, since the start
	failure string // of the last attempt; empty when it went well
}

func newFeed(c *Connector, subscription string, state connection) *feed {
	return &feed{c: c, subscription: subscription, state: state, woken: make(chan struct{}, 1), ended: make(chan struct{})}
}

// streamSender and backfillSender name the two sequences of a subscription in the log store.
func streamSender(subscription string) string   { return "iot:" + subscription }
func backfillSender(subscription string) string { return "iot:" + subscription + "/connect" }

// has reports whether everything up to the position is stored.
func (f *feed) has(position uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ready && f.after >= position
}

func (f *feed) run(ctx context.Context) {
	defer close(f.ended)
	pause := retryFirst
	for ctx.Err() == nil {
		more, err := f.step(ctx)
		if ctx.Err() != nil {
			return
		}
		f.note(err)
		wait := lookAgain
		var woken <-chan struct{} = f.woken
		switch {
		case err != nil:
			f.c.o.OnError(fmt.Errorf("connector iot, subscription %q: %w", f.subscription, err))
			wait, woken = pause, nil
			pause = min(2*pause, retryLast)
		case more:
			pause = retryFirst
			continue
		default:
			pause = retryFirst
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-woken:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// note keeps what Status says of the last attempt.
func (f *feed) note(err error) {
	failure := ""
	if err != nil {
		failure = err.Error()
	}
	f.mu.Lock()
	changed := failure != f.failure
	f.failure = failure
	f.mu.Unlock()
	if changed {
		f.c.o.OnChange()
	}
}

// step does the next piece of work; more says that there may be more at once.
func (f *feed) step(ctx context.Context) (more bool, err error) {
	if f.state.Backfill {
		return true, f.backfill(ctx)
	}
	if !f.ready {
		sender, err := f.c.o.Ingest.Sender(ctx, streamSender(f.subscription))
		if err != nil {
			return false, err
		}
		f.mu.Lock()
		f.after, f.ready = max(sender.Cursor, f.state.From), true
		f.mu.Unlock()
	}
	entries, err := f.c.o.Fleet.Read(ctx, f.subscription, f.after, readMax)
	if err != nil || len(entries) == 0 {
		return false, err
	}
	last := entries[len(entries)-1].Position
	if err := f.send(ctx, streamSender(f.subscription), last, entries); err != nil {
		return false, err
	}
	f.mu.Lock()
	f.after = last
	f.mu.Unlock()
	f.c.tell()
	return len(entries) == readMax || len(f.woken) > 0, nil
}

// backfill sends the open alerts, once per connect. A crash between the commit and the note of it sends them again,
// which changes nothing: the batch has the same sequence. Alerts that change meanwhile come by the stream too; their
// rows have keys.
func (f *feed) backfill(ctx context.Context) error {
	entries, err := f.c.o.Fleet.OpenAlerts(ctx, f.subscription, f.c.o.Now().Add(-f.c.o.Backfill))
	if err != nil {
		return err
	}
	if len(entries) > ingest.MaxBatchRows { // the newest ones are kept
		entries = entries[len(entries)-ingest.MaxBatchRows:]
	}
	if err := f.send(ctx, backfillSender(f.subscription), f.state.Times, entries); err != nil {
		return err
	}
	done := f.state
	done.Backfill = false
	if err := f.c.save(ctx, f.subscription, done); err != nil {
		return err
	}
	f.state = done
	f.c.tell()
	return nil
}

// send commits the entries' rows. A row with a value that its column cannot hold would stop the stream for ever: it is
// left out, counted and shown.
func (f *feed) send(ctx context.Context, sender string, sequence uint64, entries []event.Entry) error {
	b := ingest.Batch{Sender: sender, Sequence: sequence, Rows: make(map[string][]ingest.Row)}
	for i := range entries {
		if table, row, ok := RowOf(f.c.o.Workspace, &entries[i]); ok {
			b.Rows[table] = append(b.Rows[table], row)
		}
	}
	for {
		_, err := f.c.o.Ingest.Append(ctx, b)
		var bad *store.ValueError
		if !errors.As(err, &bad) || bad.Row >= len(b.Rows[bad.Table]) {
			return err
		}
		f.c.o.OnError(fmt.Errorf("connector iot, subscription %q: row left out: %w", f.subscription, err))
		rows := b.Rows[bad.Table]
		b.Rows[bad.Table] = append(rows[:bad.Row:bad.Row], rows[bad.Row+1:]...)
		f.mu.Lock()
		f.refused++
		f.mu.Unlock()
	}
}

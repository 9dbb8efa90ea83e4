package state

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// LogStore is where the relay appends; the ingest service behind it is one.
type LogStore interface {
	// AppendRows commits the rows together with the sender's new cursor, or neither. A sequence at or below the
	// cursor is dropped: committed is false and err nil. Called by one goroutine.
	AppendRows(ctx context.Context, sender string, sequence uint64, rows map[string][]Row) (committed bool, err error)
	// Cursor is the highest sequence committed for the sender; 0 if none.
	Cursor(ctx context.Context, sender string) (uint64, error)
}

// Relay moves outbox rows to the log store, in order, each exactly once: the log store commits the rows
// together with the outbox sequence, and the outbox row is deleted only after that.
type Relay struct {
	db *DB
	to LogStore
	// OnError is told of each failed attempt; the relay tries again by itself. May be nil.
	OnError func(error)

	mu sync.Mutex // held over a step: Drain may be called beside Run
	// inStep says that no outbox row at or below the log store's cursor is left, so it need not be asked.
	inStep bool
}

// One append carries at most this much, so that a long outbox does not become one huge transaction.
const (
	relayRows  = 2000
	relayBytes = 4 << 20
)

// NewRelay makes a relay; at most one may run per database.
func NewRelay(db *DB, to LogStore) *Relay { return &Relay{db: db, to: to} }

// Run relays until the context ends: at once when a transaction has committed, and again after a failure.
func (r *Relay) Run(ctx context.Context) error {
	const shortest, longest = 50 * time.Millisecond, 10 * time.Second
	pause := shortest
	for {
		wake := r.db.woken()
		err := r.Drain(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		wait := longest // only a safety net: every commit wakes us
		if err != nil {
			if r.OnError != nil {
				r.OnError(err)
			}
			wait, pause = pause, min(2*pause, longest)
			wake = nil
		} else {
			pause = shortest
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// Drain relays everything that is committed now and returns when the outbox is empty, or at the first failure.
func (r *Relay) Drain(ctx context.Context) error {
	for {
		more, err := r.step(ctx)
		if err != nil {
			return fmt.Errorf("relay outbox: %w", err)
		}
		if !more {
			return nil
		}
	}
}

// step asks for the log store's cursor first, so that rows appended before a crash, or by an append whose answer was
// an error, are never mixed into a new batch.
func (r *Relay) step(ctx context.Context) (more bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var pending int
	if err := r.db.reader.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM outbox)`).Scan(&pending); err != nil || pending == 0 {
		return false, err
	}
	if !r.inStep {
		cursor, err := r.to.Cursor(ctx, r.Sender())
		if err != nil {
			return false, err
		}
		if err := r.forget(ctx, cursor); err != nil {
			return false, err
		}
	}
	r.inStep = false
	last, tables, err := r.next(ctx)
	if err != nil || last == 0 {
		return false, err
	}
	if _, err := r.to.AppendRows(ctx, r.Sender(), last, tables); err != nil {
		return false, err
	}
	if err := r.forget(ctx, last); err != nil {
		return false, err
	}
	r.inStep = true
	return true, nil
}

// Sender is the name under which the log store keeps this outbox's cursor.
func (r *Relay) Sender() string { return "state/" + r.db.id }

func (r *Relay) forget(ctx context.Context, upTo uint64) error {
	var found int
	if err := r.db.reader.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM outbox WHERE sequence <= ?)`, int64(upTo)).Scan(&found); err != nil || found == 0 {
		return err
	}
	return r.db.Write(ctx, func(ctx context.Context, tx *Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM outbox WHERE sequence <= ?`, int64(upTo))
		return err
	})
}

func (r *Relay) next(ctx context.Context) (last uint64, tables map[string][]Row, err error) {
	rows, err := r.db.reader.QueryContext(ctx, `SELECT sequence, rows, body FROM outbox ORDER BY sequence`)
	if err != nil {
		return 0, nil, err
	}
	defer rows.Close()
	tables = map[string][]Row{}
	count, size := 0, 0
	for rows.Next() {
		var sequence int64
		var n int
		var body []byte
		if err := rows.Scan(&sequence, &n, &body); err != nil {
			return 0, nil, err
		}
		if last != 0 && (count+n > relayRows || size+len(body) > relayBytes) {
			break
		}
		decoded, err := decodeRows(body)
		if err != nil {
			return 0, nil, fmt.Errorf("outbox row %d: %w", sequence, err)
		}
		for table, add := range decoded {
			tables[table] = append(tables[table], add...)
		}
		last, count, size = uint64(sequence), count+n, size+len(body)
	}
	return last, tables, errors.Join(rows.Err(), rows.Close())
}

// Pending is how many log rows wait in the outbox.
func (db *DB) Pending(ctx context.Context) (rows int, err error) {
	err = db.reader.QueryRowContext(ctx, `SELECT coalesce(sum(rows), 0) FROM outbox`).Scan(&rows)
	return rows, err
}

func (db *DB) signal() {
	db.mu.Lock()
	defer db.mu.Unlock()
	close(db.wake)
	db.wake = make(chan struct{})
}

func (db *DB) woken() <-chan struct{} {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.wake
}

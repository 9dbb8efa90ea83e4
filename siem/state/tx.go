package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Querier is what a read needs; *sql.DB and *Tx both are one.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// ErrNested reports a Write inside a Write: the inner one would wait for the outer one for ever.
var ErrNested = errors.New("a state transaction was begun inside another")

type writing struct{}

// Tx is a running write transaction. It is used by one goroutine and only until the function it was given to
// returns.
type Tx struct {
	*sql.Tx
	now    time.Time
	after  []func()
	outbox map[string][]Row
	rows   int
}

// Write runs one transaction: all of it becomes durable, or nothing. Writers wait for each other in turn. The
// function gets a context that remembers the transaction, so that a Write nested by mistake fails with ErrNested
// instead of waiting for ever; it must not keep tx. Rows it appended become one outbox row.
func (db *DB) Write(ctx context.Context, f func(ctx context.Context, tx *Tx) error) error {
	if ctx.Value(writing{}) != nil {
		return ErrNested
	}
	began, err := db.writer.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer began.Rollback() //nolint:errcheck // after a commit it does nothing; before one its error adds nothing
	tx := &Tx{Tx: began, now: db.Now()}
	inside := context.WithValue(ctx, writing{}, true)
	if err := f(inside, tx); err != nil {
		return err
	}
	if err := tx.flush(inside); err != nil {
		return err
	}
	if err := began.Commit(); err != nil {
		if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil {
			err = ctx.Err() // the end of the context rolled it back
		}
		return fmt.Errorf("commit: %w", err)
	}
	if tx.rows > 0 {
		db.signal()
	}
	for _, f := range tx.after {
		f()
	}
	return nil
}

// Reader answers queries from the last committed state, beside a running writer.
func (db *DB) Reader() Querier { return db.reader }

// Read runs several queries on one unchanging snapshot, beside a running writer.
func (db *DB) Read(ctx context.Context, f func(ctx context.Context, q Querier) error) error {
	tx, err := db.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("begin reading: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	return f(ctx, tx)
}

// Now is the time of the transaction, one value for all its changes.
func (tx *Tx) Now() time.Time { return tx.now }

// AfterCommit runs f once the transaction is durable, on the goroutine that wrote it, in the order of calls. It is not
// run after a rollback or a crash: use it to wake somebody, never to do what must be done.
func (tx *Tx) AfterCommit(f func()) { tx.after = append(tx.after, f) }

// Audit notes who changed what, in the same transaction as the change.
func (tx *Tx) Audit(ctx context.Context, a Audit) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO audit (time, actor, action, target, result, detail) VALUES (?, ?, ?, ?, ?, ?)`,
		Ticks(tx.now), a.Actor, a.Action, a.Target, a.Result, a.Detail)
	if err != nil {
		return fmt.Errorf("audit %s: %w", a.Action, err)
	}
	return nil
}

// Audit is one line of the audit log.
type Audit struct {
	Sequence int64
	Time     time.Time
	Actor    string
	Action   string // such as "token.create" or "PATCH"
	Target   string
	Result   string // "ok", "denied" or an HTTP status
	Detail   string
}

// AuditLog gives the newest lines first, at most limit.
func (db *DB) AuditLog(ctx context.Context, limit int) ([]Audit, error) {
	rows, err := db.reader.QueryContext(ctx,
		`SELECT sequence, time, actor, action, target, result, detail FROM audit ORDER BY sequence DESC LIMIT ?`, limit)
	if err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	return Scan(rows, func(a *Audit) []any {
		return []any{&a.Sequence, TicksOf(&a.Time), &a.Actor, &a.Action, &a.Target, &a.Result, &a.Detail}
	})
}

// Scan reads all rows into values; fields names where each column of a value goes.
func Scan[T any](rows *sql.Rows, fields func(*T) []any) ([]T, error) {
	defer rows.Close()
	var all []T
	for rows.Next() {
		var v T
		if err := rows.Scan(fields(&v)...); err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// tickTime scans ticks into a time; NULL and 0 leave it zero.
type tickTime struct{ t *time.Time }

// TicksOf scans a column of ticks into a time; NULL and 0 leave the zero time.
func TicksOf(t *time.Time) sql.Scanner { return tickTime{t} }

func (s tickTime) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*s.t = time.Time{}
	case int64:
		if v != 0 {
			*s.t = Time(v)
		}
	default:
		return fmt.Errorf("want ticks, got %T", v)
	}
	return nil
}

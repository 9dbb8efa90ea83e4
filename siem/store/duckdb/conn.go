package duckdb

import (
	"context"
	"fmt"
	"time"

	bindings "github.com/duckdb/duckdb-go-bindings"
)

// Conn is one connection. It serves one goroutine at a time and one open Rows at a time.
type Conn struct {
	raw bindings.Connection
}

// Exec runs one statement to its end and returns how many rows it changed.
func (c *Conn) Exec(ctx context.Context, sql string, args ...any) (changed int64, err error) {
	rows, err := c.Query(ctx, sql, args...)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		// INSERT, UPDATE and DELETE answer with one row: the count.
		if v, ok := rows.Row()[0].(int64); ok {
			changed = v
		}
	}
	return changed, rows.Err()
}

// Query runs one statement. Its rows are computed while they are read and must be closed. Arguments fill the
// parameters ? or $1, $2 ... in order: bool, int, int32, int64, float64, string and nil. A cancelled
// ctx interrupts the query at once; the error is then the context's.
func (c *Conn) Query(ctx context.Context, sql string, args ...any) (*Rows, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := &Rows{ctx: ctx, conn: c, stop: c.watch(ctx)}
	if err := r.start(sql, args); err != nil {
		r.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	return r, nil
}

// interruptEvery: an interrupt that comes before the query has really begun is forgotten by DuckDB, so it is
// repeated until the query is over.
const interruptEvery = 2 * time.Millisecond

// watch interrupts the connection while ctx is cancelled. The returned function ends the watch; after it no
// interrupt can reach the connection's next query.
func (c *Conn) watch(ctx context.Context) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	over, finished := make(chan struct{}), make(chan struct{})
	disarm := context.AfterFunc(ctx, func() {
		defer close(finished)
		tick := time.NewTicker(interruptEvery)
		defer tick.Stop()
		for {
			bindings.Interrupt(c.raw)
			select {
			case <-over:
				return
			case <-tick.C:
			}
		}
	})
	return func() {
		if !disarm() {
			close(over)
			<-finished
		}
	}
}

func (r *Rows) start(sql string, args []any) error {
	var statement bindings.PreparedStatement
	defer bindings.DestroyPrepare(&statement)
	if bindings.Prepare(r.conn.raw, sql, &statement) == bindings.StateError {
		return newError(bindings.ErrorTypeInvalid, bindings.PrepareError(statement))
	}
	if want := int(bindings.NParams(statement)); want != len(args) {
		return fmt.Errorf("duckdb: statement takes %d arguments, got %d", want, len(args))
	}
	for i, arg := range args {
		if err := bind(statement, bindings.IdxT(i+1), arg); err != nil {
			return err
		}
	}
	var pending bindings.PendingResult
	defer bindings.DestroyPending(&pending)
	if bindings.PendingPreparedStreaming(statement, &pending) == bindings.StateError {
		return newError(bindings.ErrorTypeInvalid, bindings.PendingError(pending))
	}
	r.hasResult = true
	if bindings.ExecutePending(pending, &r.result) == bindings.StateError {
		return r.resultError()
	}
	return r.describe()
}

func bind(statement bindings.PreparedStatement, index bindings.IdxT, arg any) error {
	var state bindings.State
	switch v := arg.(type) {
	case nil:
		state = bindings.BindNull(statement, index)
	case bool:
		state = bindings.BindBoolean(statement, index, v)
	case int:
		state = bindings.BindInt64(statement, index, int64(v))
	case int32:
		state = bindings.BindInt32(statement, index, v)
	case int64:
		state = bindings.BindInt64(statement, index, v)
	case float64:
		state = bindings.BindDouble(statement, index, v)
	case string:
		state = bindings.BindVarcharLength(statement, index, v, bindings.IdxT(len(v)))
	default:
		return fmt.Errorf("duckdb: argument %d has type %T, which cannot be bound", index, arg)
	}
	if state == bindings.StateError {
		return fmt.Errorf("duckdb: bind argument %d of type %T: %s", index, arg, bindings.PrepareError(statement))
	}
	return nil
}

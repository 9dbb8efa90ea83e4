// Package store is the contract of the log store: append-only tables with typed columns, declared in
// content/tables. Rows of Go values come in through Append, with the sender's cursor in the same transaction, so
// that a batch is stored once or not at all; SQL goes in and typed rows come out through Query. The
// folders below implement it.
package store

import (
	"context"
	"errors"
	"time"

	"github.com/otus-project/otus/kql/schema"
)

// Names of the columns every table has beside its declared ones. Queries see them only where the compiler
// puts them.
const (
	// IngestSeqColumn grows by one per row over the whole store, in the order of commit. BIGINT.
	IngestSeqColumn = "_IngestSeq"
	// IngestionTimeColumn is when the row was committed, in ticks; retention counts from it. BIGINT.
	IngestionTimeColumn = "_IngestionTime"
)

// Row is a row on its way in: column name to Go value (string, bool, integers, float64, time.Time, time.Duration;
// for dynamic columns json.RawMessage or any value that encodes to JSON; nil and absent columns are null). A
// zero time.Time is null. Two further things may stand in a row: a Key under KeyColumn, and an IfFirst as the
// value of a column.
type Row = map[string]any

// KeyColumn is the pseudo column that carries a row's Key.
const KeyColumn = "_Key"

// Key makes a row's append idempotent beyond its batch: a row is left out if its table has one of the same ID and
// revision already. An ID stays known for ever; of its revisions, all but the newest are forgotten once the table's
// retention is over.
type Key struct {
	ID       string
	Revision int64
}

// IfFirst is a column's value that depends on whether the row is the first ever stored under its Key's ID.
type IfFirst struct {
	First, Again any
}

// Batch is what one sender wants stored together.
type Batch struct {
	// Sender names who sends; each sender has its own cursor.
	Sender string
	// Sequence becomes the sender's cursor. A batch at or below the cursor was stored before and is dropped.
	Sequence uint64
	// Rows holds the rows by table.
	Rows map[string][]Row
}

// Range is a run of ingest sequence numbers, both ends included. Rows left out by their Key take no number.
type Range struct {
	First, Last uint64
}

// Appended tells what one call of Append did.
type Appended struct {
	// Stored says per batch whether it was stored by this call; false: it was a repetition.
	Stored []bool
	// Tables has the new rows' numbers, for tables that got any.
	Tables map[string]Range
}

// Sender is what a store remembers of a sender, committed together with its rows.
type Sender struct {
	// Cursor is the highest sequence stored.
	Cursor uint64
	// Rows counts the rows ever stored.
	Rows uint64
	// LastRows is when the newest of them were stored; zero if none ever were.
	LastRows time.Time
}

// Rows is a running result. It serves one goroutine and must be closed.
type Rows interface {
	// Columns gives the names of the result's columns.
	Columns() []string
	// Next moves to the next row; false at the end or on an error.
	Next() bool
	// Row gives the current row in a slice the caller may keep: nil, bool, int64, float64 or string per column.
	Row() []any
	// Err tells why Next returned false; nil at a regular end.
	Err() error
	// Close ends the query, wherever it stands. It may be called twice.
	Close()
}

// Store is a log store. All methods may be called from several goroutines.
type Store interface {
	// Catalog lists the tables. It never changes while the store is open.
	Catalog() *schema.Catalog
	// Prepare checks every value of a batch against its column and puts it in stored form. Its error is a
	// *ValueError, or names a table that does not exist. The batch may be changed afterwards.
	Prepare(b Batch) (*Prepared, error)
	// Append stores the batches in one transaction, in their order, as ingested at the given time; an error means
	// that nothing of any of them was stored. When it returns nil, all is durable.
	Append(ctx context.Context, at time.Time, batches []*Prepared) (Appended, error)
	// Sender tells what was stored from a sender; zero if nothing ever was.
	Sender(ctx context.Context, sender string) (Sender, error)
	// Head is the ingest sequence of the newest committed row; 0 while there is none.
	Head(ctx context.Context) (uint64, error)
	// Query runs one SELECT with arguments bool, int64, float64 or string. A cancelled ctx ends it at once.
	Query(ctx context.Context, sql string, args ...any) (Rows, error)
	// Counts gives the number of rows per table.
	Counts(ctx context.Context) (map[string]int64, error)
	// Prune removes the rows whose retention is over at the given time, and gives their space back. It
	// returns how many rows went per table, for tables that lost any.
	Prune(ctx context.Context, now time.Time) (map[string]int64, error)
	// Close waits for what is running, interrupting queries.
	Close() error
}

// Errors callers branch on, by errors.Is.
var (
	ErrClosed      = errors.New("log store is closed")
	ErrLocked      = errors.New("log store is in use by another process")
	ErrOutOfMemory = errors.New("out of query memory")
)

// Package duckdb is a thin driver over DuckDB's C API: what the log store needs and nothing else. SQL and Go
// values go in, rows of Go values come out, streamed chunk by chunk. One connection writes, a bounded pool of
// connections reads; a cancelled context interrupts the running query at once; scalar functions written in
// Go are called a chunk at a time. Everything taken from DuckDB is given back, so memory does not grow with
// the number of queries.
package duckdb

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	bindings "github.com/duckdb/duckdb-go-bindings"
)

// Options tunes a database. The zero value works.
type Options struct {
	// MemoryLimit bounds DuckDB's own memory, in bytes. Default 128 MiB: enough for the blocks of a plant's
	// recent rows, small enough that the whole program stays within its budget; larger sorts spill.
	MemoryLimit int64
	// Threads run one query. Default 2.
	Threads int
	// TempDir takes spilled data. Default: the database's path with ".tmp" appended; for a database in memory,
	// nothing spills.
	TempDir string
	// MaxTemp bounds the spilled data, in bytes. Default 4 GiB.
	MaxTemp int64
	// Readers is how many queries may run at once; more wait. A connection is made when it is first needed. Default 8.
	Readers int
}

func (o Options) filled(path string) Options {
	if o.MemoryLimit <= 0 {
		o.MemoryLimit = 128 << 20
	}
	if o.Threads <= 0 {
		o.Threads = 2
	}
	if o.TempDir == "" && path != "" {
		o.TempDir = path + ".tmp"
	}
	if o.MaxTemp <= 0 {
		o.MaxTemp = 4 << 30
	}
	if o.Readers <= 0 {
		o.Readers = 8
	}
	return o
}

// settings are DuckDB's own names. Extensions are off.
func (o Options) settings() [][2]string {
	return [][2]string{
		{"autoinstall_known_extensions", "false"},
		{"autoload_known_extensions", "false"},
		{"allow_community_extensions", "false"},
		{"memory_limit", strconv.FormatInt(o.MemoryLimit, 10) + "B"},
		{"threads", strconv.Itoa(o.Threads)},
		// DuckDB 1.5.0 fails on QUALIFY row_number() = 1 over a computed column: "Failed to bind column reference".
		{"disabled_optimizers", "top_n_window_elimination"},
		{"temp_directory", o.TempDir},
		{"max_temp_directory_size", strconv.FormatInt(o.MaxTemp, 10) + "B"},
	}
}

// lock forbids queries every file but the database's own, and to change any setting. A checkpoint beside running
// readers writes two more files, which DuckDB 1.5.0 forgets to allow itself; without them that checkpoint
// invalidates the open database.
func (d *DB) lock() error {
	var statements []string
	if d.path != "" {
		quoted := strings.ReplaceAll(d.path, "'", "''")
		statements = append(statements, "SET GLOBAL allowed_paths = ['"+quoted+".wal.checkpoint', '"+quoted+".wal.recovery']")
	}
	statements = append(statements, "SET GLOBAL enable_external_access = false", "SET GLOBAL lock_configuration = true")
	for _, sql := range statements {
		if _, err := d.writer.Exec(context.Background(), sql); err != nil {
			return fmt.Errorf("open log database %q: %w", d.path, err)
		}
	}
	return nil
}

// DB is an open database. Its methods may be called from several goroutines.
type DB struct {
	path  string
	raw   bindings.Database
	slots chan struct{} // one token per reader in use
	write chan struct{} // one token: the writer in use
	shut  chan struct{} // closed when Close begins

	mu     sync.Mutex
	idle   []*Conn
	all    map[*Conn]struct{}
	writer *Conn
	closed bool
}

// Open opens the database file at path, creating it if absent; the empty path is a database in memory. A
// file is held by one process at a time; a second process gets an error that matches ErrLocked.
func Open(path string, o Options) (*DB, error) {
	o = o.filled(path)
	var config bindings.Config
	if bindings.CreateConfig(&config) == bindings.StateError {
		return nil, errors.New("duckdb: create configuration")
	}
	defer bindings.DestroyConfig(&config)
	for _, s := range o.settings() {
		if bindings.SetConfig(config, s[0], s[1]) == bindings.StateError {
			return nil, fmt.Errorf("duckdb: set %s to %q", s[0], s[1])
		}
	}
	d := &DB{
		path:  path,
		slots: make(chan struct{}, o.Readers),
		write: make(chan struct{}, 1),
		shut:  make(chan struct{}),
		all:   make(map[*Conn]struct{}),
	}
	name := path
	if name == "" {
		name = ":memory:"
	}
	var message string
	if bindings.OpenExt(name, &d.raw, config, &message) == bindings.StateError {
		bindings.Close(&d.raw)
		return nil, fmt.Errorf("open log database %q: %w", path, newError(bindings.ErrorTypeInvalid, message))
	}
	writer, err := d.connect()
	if err != nil {
		bindings.Close(&d.raw)
		return nil, err
	}
	d.writer = writer
	if err := d.lock(); err != nil {
		bindings.Disconnect(&writer.raw)
		bindings.Close(&d.raw)
		return nil, err
	}
	return d, nil
}

// connect makes a new connection. The caller owns it.
func (d *DB) connect() (*Conn, error) {
	c := &Conn{}
	if bindings.Connect(d.raw, &c.raw) == bindings.StateError {
		return nil, fmt.Errorf("connect to log database %q", d.path)
	}
	d.mu.Lock()
	d.all[c] = struct{}{}
	d.mu.Unlock()
	return c, nil
}

// Acquire hands out a reading connection, waiting for a free one until ctx ends. It must be given back by
// Release. Temporary tables live in their connection: drop them before giving it back.
func (d *DB) Acquire(ctx context.Context) (*Conn, error) {
	if err := d.take(ctx, d.slots); err != nil {
		return nil, err
	}
	d.mu.Lock()
	if n := len(d.idle); n > 0 {
		c := d.idle[n-1]
		d.idle = d.idle[:n-1]
		d.mu.Unlock()
		return c, nil
	}
	d.mu.Unlock()
	c, err := d.connect()
	if err != nil {
		<-d.slots
		return nil, err
	}
	return c, nil
}

// Release gives back a connection taken by Acquire.
func (d *DB) Release(c *Conn) {
	d.mu.Lock()
	d.idle = append(d.idle, c)
	d.mu.Unlock()
	<-d.slots
}

// Query runs one statement on a reading connection. The connection returns to the pool when the rows are
// closed. Arguments are those of Conn.Query.
func (d *DB) Query(ctx context.Context, sql string, args ...any) (*Rows, error) {
	c, err := d.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := c.Query(ctx, sql, args...)
	if err != nil {
		d.Release(c)
		return nil, err
	}
	rows.release = func() { d.Release(c) }
	return rows, nil
}

// Write runs fn on the writing connection inside one transaction: committed when fn returns nil, rolled back
// when it returns an error or panics. Writers take turns. The commit itself is not interrupted by ctx.
func (d *DB) Write(ctx context.Context, fn func(*Conn) error) error {
	return d.WriteConn(ctx, func(c *Conn) error {
		if _, err := c.Exec(ctx, "BEGIN TRANSACTION"); err != nil {
			return err
		}
		done := false
		defer func() {
			if !done {
				// The transaction may be gone already, by an error inside it; nothing is left to do then.
				_, _ = c.Exec(context.Background(), "ROLLBACK")
			}
		}()
		if err := fn(c); err != nil {
			return err
		}
		if _, err := c.Exec(context.Background(), "COMMIT"); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
		done = true
		return nil
	})
}

// WriteConn runs fn on the writing connection without a transaction of its own, for statements that cannot
// run in one (CHECKPOINT).
func (d *DB) WriteConn(ctx context.Context, fn func(*Conn) error) error {
	if err := d.take(ctx, d.write); err != nil {
		return err
	}
	defer func() { <-d.write }()
	return fn(d.writer)
}

// take waits for a token until ctx ends or the database is closed.
func (d *DB) take(ctx context.Context, tokens chan struct{}) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-d.shut:
		return ErrClosed
	default:
	}
	select {
	case tokens <- struct{}{}:
		return nil
	case <-d.shut:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// closeWait is how long Close waits for queries it interrupted; DuckDB answers an interrupt within some 60 ms.
const closeWait = 10 * time.Second

// Close interrupts what is running, waits for it and closes the database. Rows still open by then are a
// bug of the caller; Close reports it and leaves the database open rather than pull memory from under it.
func (d *DB) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	close(d.shut)
	d.mu.Unlock()
	deadline := time.Now().Add(closeWait)
	for i := 0; i < cap(d.slots); i++ {
		if !d.takeOrInterrupt(d.slots, deadline) {
			return fmt.Errorf("close log database %q: a query is still open", d.path)
		}
	}
	if !d.takeOrInterrupt(d.write, deadline) {
		return fmt.Errorf("close log database %q: a transaction is still open", d.path)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.all {
		bindings.Disconnect(&c.raw)
	}
	d.all, d.idle = nil, nil
	bindings.Close(&d.raw)
	return nil
}

func (d *DB) takeOrInterrupt(tokens chan struct{}, deadline time.Time) bool {
	for {
		select {
		case tokens <- struct{}{}:
			return true
		default:
		}
		if time.Now().After(deadline) {
			return false
		}
		d.mu.Lock()
		for c := range d.all {
			bindings.Interrupt(c.raw)
		}
		d.mu.Unlock()
		time.Sleep(2 * time.Millisecond)
	}
}

// Package state is the siem's memory besides the log tables: incidents, rules' watermarks, tokens, documents
// of the connectors. It is one SQLite file with one writer. What comes in are transactions; what goes out, besides
// answers, are log rows by the outbox: a row appended inside a transaction reaches the log store exactly once if the
// transaction commits, and never if it does not.
package state

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver; pure Go
)

//go:embed migrations/*.sql
var migrations embed.FS

// Options for Open.
type Options struct {
	// Now gives the time of a change. Required: nothing in here reads the clock by itself.
	Now func() time.Time
	// IDs makes the GUIDs of the first start (tenant, workspace). Default: random. A test or a demo that must
	// come out the same each time passes a seeded one.
	IDs func() string
}

// DB is an open state database. Its methods may be called from any goroutine.
type DB struct {
	writer *sql.DB // one connection: SQLite has one writer, and waiting in Go is fairer than SQLITE_BUSY
	reader *sql.DB
	now    func() time.Time
	id     string // random for the life of the file; names the outbox as a sender

	mu      sync.Mutex
	latest  time.Time
	wake    chan struct{} // closed and replaced whenever an outbox row was committed
	subject Workspace
}

// Workspace is where log rows and incidents live. GUID and name are both accepted from outside.
type Workspace struct {
	ID       string
	Name     string
	TenantID string
}

// Open opens or creates the database in a folder, brings its schema up to date and, at the first start, makes the
// tenant and the workspace, both named "default". It refuses a file written by a newer program.
func Open(dir string, o Options) (*DB, error) {
	if o.Now == nil {
		return nil, errors.New("open state: no clock given")
	}
	if o.IDs == nil {
		o.IDs = uuid.NewString
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	path := filepath.Join(dir, "state.db")
	db := &DB{now: o.Now, wake: make(chan struct{})}
	var err error
	if db.writer, err = connect(path, "_txlock=immediate"); err != nil {
		return nil, err
	}
	db.writer.SetMaxOpenConns(1)
	if db.reader, err = connect(path, "_pragma=query_only(1)"); err != nil {
		return nil, errors.Join(err, db.writer.Close())
	}
	db.reader.SetMaxOpenConns(4) // more readers than cores only add page caches
	db.reader.SetMaxIdleConns(2)
	if err := db.prepare(o); err != nil {
		return nil, errors.Join(fmt.Errorf("open state %q: %w", path, err), db.Close())
	}
	return db, nil
}

func connect(path, extra string) (*sql.DB, error) {
	pragmas := []string{
		"_pragma=busy_timeout(10000)",
		"_pragma=journal_mode(WAL)",
		"_pragma=synchronous(FULL)", // a committed change survives a power cut
		"_pragma=foreign_keys(1)",
		"_pragma=cache_size(-1024)", // KiB per connection; the working set is small
		"_pragma=temp_store(MEMORY)",
		extra,
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+strings.Join(pragmas, "&"))
	if err != nil {
		return nil, fmt.Errorf("open state %q: %w", path, err)
	}
	return db, nil
}

func (db *DB) prepare(o Options) error {
	ctx := context.Background()
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db.writer, files)
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	sources := provider.ListSources()
	newest := sources[len(sources)-1].Version
	if at, err := provider.GetDBVersion(ctx); err != nil {
		return fmt.Errorf("read schema version: %w", err)
	} else if at > newest {
		return fmt.Errorf("the file has schema version %d, this program knows up to %d: start the newer program", at, newest)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return db.firstStart(ctx, o)
}

func (db *DB) firstStart(ctx context.Context, o Options) error {
	err := db.Write(ctx, func(ctx context.Context, tx *Tx) error {
		err := tx.QueryRowContext(ctx, `SELECT value FROM meta WHERE key = 'id'`).Scan(&db.id)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		// The outbox's sender id is random even when o.IDs is seeded: a state file made anew must not continue
		// the cursor of the one before it.
		db.id = uuid.NewString()
		tenant, workspace := o.IDs(), o.IDs()
		for _, step := range []struct {
			text string
			args []any
		}{
			{`INSERT INTO meta (key, value) VALUES ('id', ?)`, []any{db.id}},
			{`INSERT INTO tenant (id, name) VALUES (?, 'default')`, []any{tenant}},
			{`INSERT INTO workspace (id, tenant, name) VALUES (?, ?, 'default')`, []any{workspace, tenant}},
			{`INSERT INTO incident_sequence (workspace, last) VALUES (?, 0)`, []any{workspace}},
		} {
			if _, err := tx.ExecContext(ctx, step.text, step.args...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("first start: %w", err)
	}
	db.subject, err = db.Workspace(ctx, "default")
	return err
}

// Default is the workspace made at the first start.
func (db *DB) Default() Workspace { return db.subject }

// Workspace finds a workspace by GUID or name; sql.ErrNoRows if there is none.
func (db *DB) Workspace(ctx context.Context, nameOrID string) (Workspace, error) {
	var w Workspace
	err := db.reader.QueryRowContext(ctx, `SELECT id, name, tenant FROM workspace WHERE id = lower(?1) OR name = ?1`, nameOrID).
		Scan(&w.ID, &w.Name, &w.TenantID)
	if err != nil {
		return Workspace{}, fmt.Errorf("workspace %q: %w", nameOrID, err)
	}
	return w, nil
}

// Now is the current time in UTC, cut to ticks, and never earlier than one it gave before.
func (db *DB) Now() time.Time {
	t := Time(Ticks(db.now()))
	db.mu.Lock()
	defer db.mu.Unlock()
	if t.Before(db.latest) {
		return db.latest
	}
	db.latest = t
	return t
}

// Close closes the file. Transactions still running fail.
func (db *DB) Close() error {
	err := db.writer.Close()
	if db.reader != nil {
		err = errors.Join(err, db.reader.Close())
	}
	return err
}

// Ticks turns a time into 100-ns ticks since 1970, the form in which the database keeps it.
func Ticks(t time.Time) int64 { return t.Unix()*1e7 + int64(t.Nanosecond())/100 }

// Time is the reverse of Ticks, in UTC.
func Time(ticks int64) time.Time {
	seconds, rest := ticks/1e7, ticks%1e7
	if rest < 0 {
		seconds, rest = seconds-1, rest+1e7
	}
	return time.Unix(seconds, rest*100).UTC()
}

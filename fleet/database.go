package fleet

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
	"time"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite" // registers the driver "sqlite"
)

//go:embed migration/*.sql
var migrations embed.FS

// readers is how many queries for pages may run at once. Each holds a connection with its own cache.
const readers = 3

// database is one SQLite file with a single writing connection and a few reading ones.
type database struct {
	writer, reader *sql.DB
	hot            map[string]*sql.Stmt // prepared on the writer once: what runs for every record
}

func openDatabase(ctx context.Context, path string, hot ...string) (*database, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open fleet database: %w", err)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open fleet database: %w", err)
	}
	d := &database{hot: map[string]*sql.Stmt{}}
	// The sensor deletes from its spool what the fleet has acknowledged, so a commit must reach the disk.
	if d.writer, err = openSQLite(path, 1, "page_size(8192)", "journal_mode(WAL)", "synchronous(FULL)", "journal_size_limit(16777216)", "cache_size(-8192)"); err != nil {
		return nil, err
	}
	if err := migrate(ctx, d.writer); err != nil {
		return nil, errors.Join(err, d.writer.Close())
	}
	if d.reader, err = openSQLite(path, readers, "query_only(1)", "cache_size(-2048)"); err != nil {
		return nil, errors.Join(err, d.writer.Close())
	}
	for _, text := range hot {
		if d.hot[text], err = d.writer.PrepareContext(ctx, text); err != nil {
			return nil, errors.Join(fmt.Errorf("open fleet database: %w", err), d.close())
		}
	}
	return d, nil
}

func openSQLite(path string, connections int, pragmas ...string) (*sql.DB, error) {
	query := url.Values{"_txlock": {"immediate"}, "_pragma": append([]string{"busy_timeout(10000)", "foreign_keys(1)", "temp_store(2)"}, pragmas...)}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}).String())
	if err != nil {
		return nil, fmt.Errorf("open fleet database: %w", err)
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// migrate brings the file to this program's schema and refuses one that a newer program wrote.
func migrate(ctx context.Context, db *sql.DB) error {
	files, err := fs.Sub(migrations, "migration")
	if err != nil {
		return fmt.Errorf("migrate fleet database: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("migrate fleet database: %w", err)
	}
	current, target, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("migrate fleet database: %w", err)
	}
	if current > target {
		return fmt.Errorf("fleet database has schema %d, this program knows up to %d: start the newer program", current, target)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate fleet database: %w", err)
	}
	return nil
}

func (d *database) close() error {
	var errs []error
	for _, s := range d.hot {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, d.reader.Close(), d.writer.Close())...)
}

// querier is a transaction, or the reading side without one.
type querier interface {
	QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, text string, args ...any) *sql.Row
}

// transaction is the one writing transaction that can be open.
type transaction struct {
	*sql.Tx
	d *database
}

// write runs do in a transaction that is durable when write returns nil. A transaction is short, so it is not broken
// off when ctx ends; only its start is.
func (d *database) write(ctx context.Context, do func(ctx context.Context, tx *transaction) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	tx, err := d.writer.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if err := do(ctx, &transaction{tx, d}); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// exec runs one statement and gives the number of rows it changed.
func (tx *transaction) exec(ctx context.Context, text string, args ...any) (int64, error) {
	var result sql.Result
	var err error
	if stmt := tx.d.hot[text]; stmt != nil {
		result, err = tx.StmtContext(ctx, stmt).ExecContext(ctx, args...)
	} else {
		result, err = tx.ExecContext(ctx, text, args...)
	}
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// constraint reports whether err says that a unique key or a reference forbids the change.
func constraint(err error) (unique, reference bool) {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false, false
	}
	switch e.Code() {
	case 1555, 2067: // SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE
		return true, false
	case 787: // SQLITE_CONSTRAINT_FOREIGNKEY
		return false, true
	}
	return false, false
}

// nanos gives the stored form of a time; times outside the years 1678 to 2261 are cut to these.
func nanos(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.Year() < 1678:
		return -1 << 63
	case t.Year() > 2261:
		return 1<<63 - 1
	}
	return t.UnixNano()
}

// moment is the reverse of nanos.
func moment(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

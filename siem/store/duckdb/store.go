package duckdb

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/otus-project/otus/kql/native"
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/siem/store"
)

// StoreOptions tunes a log store. The zero value works.
type StoreOptions struct {
	Options
	// Functions are the native functions that compiled queries call.
	Functions []native.Function
	// Retention replaces the declared retention of a table, by table name; 0 keeps its rows for ever.
	Retention map[string]time.Duration
}

// Store is the log store in a DuckDB file.
type Store struct {
	db        *DB
	tables    []*store.Table
	byName    map[string]*store.Table
	catalog   *schema.Catalog
	retention map[string]time.Duration

	// appending is held while a transaction is made and committed; the state below it guards belongs to the last commit.
	appending sync.Mutex
	last      uint64 // highest ingest sequence given out
	// senderRows is at least the length of the table of senders; a failed commit may leave it too high.
	senderRows int

	mu      sync.Mutex
	senders map[string]store.Sender
	head    uint64 // last, as of the last commit
}

var _ store.Store = (*Store)(nil)

// OpenStore opens the log store at path (empty: in memory), brings its tables to their declared form and reads
// the senders' cursors. Tables and columns are added; any other difference between the file and the
// declaration is an error that names table and column, and nothing is changed.
func OpenStore(path string, tables []*store.Table, o StoreOptions) (*Store, error) {
	db, err := Open(path, o.Options)
	if err != nil {
		return nil, err
	}
	s := &Store{
		db:        db,
		tables:    tables,
		byName:    make(map[string]*store.Table),
		catalog:   store.Catalog(tables),
		retention: make(map[string]time.Duration),
		senders:   make(map[string]store.Sender),
	}
	for _, t := range tables {
		s.byName[t.Name] = t
		s.retention[t.Name] = t.Retention
	}
	for name, d := range o.Retention {
		s.retention[name] = d
	}
	if err := s.start(o.Functions); err != nil {
		_ = db.Close() // nothing runs on it yet
		return nil, fmt.Errorf("open log store %q: %w", path, err)
	}
	return s, nil
}

func (s *Store) start(functions []native.Function) error {
	ctx := context.Background()
	if err := s.migrate(ctx); err != nil {
		return err
	}
	if err := s.db.RegisterNative(functions...); err != nil {
		return err
	}
	return s.loadSenders(ctx)
}

func (s *Store) loadSenders(ctx context.Context) error {
	rows, err := s.db.Query(ctx, "SELECT sender, sequence, rows, last_rows, ingest_seq FROM _sender ORDER BY sequence")
	if err != nil {
		return fmt.Errorf("read senders: %w", err)
	}
	all, err := rows.All()
	if err != nil {
		return fmt.Errorf("read senders: %w", err)
	}
	s.senderRows = len(all)
	for _, row := range all { // of each sender, the last row holds
		sender := store.Sender{Cursor: uint64(row[1].(int64)), Rows: uint64(row[2].(int64))}
		if ticks, ok := row[3].(int64); ok {
			sender.LastRows = store.Time(ticks)
		}
		s.senders[row[0].(string)] = sender
		s.last = max(s.last, uint64(row[4].(int64)))
	}
	s.head = s.last
	return nil
}

// Catalog lists the tables.
func (s *Store) Catalog() *schema.Catalog { return s.catalog }

// Prepare checks a batch and puts it in stored form.
func (s *Store) Prepare(b store.Batch) (*store.Prepared, error) { return store.Prepare(s.byName, b) }

// Sender tells what was stored from a sender.
func (s *Store) Sender(_ context.Context, sender string) (store.Sender, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.senders[sender], nil
}

// Head is the ingest sequence of the newest committed row.
func (s *Store) Head(context.Context) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.head, nil
}

// rows adapts the driver's rows to the contract.
type rows struct{ *Rows }

func (r rows) Columns() []string {
	names := make([]string, len(r.columns))
	for i, c := range r.columns {
		names[i] = c.Name
	}
	return names
}

// Query runs one SELECT on a reading connection.
func (s *Store) Query(ctx context.Context, sql string, args ...any) (store.Rows, error) {
	r, err := s.db.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return rows{r}, nil
}

// Counts gives the number of rows per table.
func (s *Store) Counts(ctx context.Context) (map[string]int64, error) {
	sql := ""
	for i, t := range s.tables {
		if i > 0 {
			sql += " UNION ALL "
		}
		sql += "SELECT " + literal(t.Name) + ", count(*) FROM " + quote(t.Name)
	}
	counts := make(map[string]int64)
	if sql == "" {
		return counts, nil
	}
	rows, err := s.db.Query(ctx, sql)
	if err != nil {
		return nil, fmt.Errorf("count rows: %w", err)
	}
	all, err := rows.All()
	if err != nil {
		return nil, fmt.Errorf("count rows: %w", err)
	}
	for _, row := range all {
		counts[row[0].(string)] = row[1].(int64)
	}
	return counts, nil
}

// Close interrupts what is running and closes the file.
func (s *Store) Close() error { return s.db.Close() }

// group is what one transaction adds.
type group struct {
	stored  []bool
	rows    map[string][]groupRow
	tables  []*store.Table // those with rows, in order of name
	senders map[string]*store.Sender
}

type groupRow struct {
	*store.PreparedRow
	sender *store.Sender // counts the row
}

// Append stores the batches in one transaction.
func (s *Store) Append(ctx context.Context, at time.Time, batches []*store.Prepared) (store.Appended, error) {
	s.appending.Lock()
	defer s.appending.Unlock()
	g := s.gather(batches)
	done := store.Appended{Stored: g.stored, Tables: make(map[string]store.Range)}
	if len(g.senders) == 0 {
		return done, nil
	}
	ticks, ok := store.Ticks(at)
	if !ok {
		return store.Appended{}, fmt.Errorf("append: ingestion time %v is out of range", at)
	}
	next := s.last + 1
	err := s.db.Write(ctx, func(c *Conn) error {
		for _, t := range g.tables {
			first := next
			if err := appendTable(ctx, c, t, g.rows[t.Name], ticks, &next); err != nil {
				return err
			}
			if next > first {
				done.Tables[t.Name] = store.Range{First: first, Last: next - 1}
			}
		}
		return s.writeSenders(ctx, c, g.senders, next-1)
	})
	if err != nil {
		return store.Appended{}, err
	}
	s.last = next - 1
	s.mu.Lock()
	for name, sender := range g.senders {
		s.senders[name] = *sender
	}
	s.head = s.last
	s.mu.Unlock()
	return done, nil
}

// gather picks the batches that are above their sender's cursor and sorts their rows by table.
func (s *Store) gather(batches []*store.Prepared) group {
	g := group{stored: make([]bool, len(batches)), rows: make(map[string][]groupRow), senders: make(map[string]*store.Sender)}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, b := range batches {
		sender := g.senders[b.Sender]
		if sender == nil {
			known := s.senders[b.Sender]
			sender = &known
		}
		if b.Sequence <= sender.Cursor {
			continue
		}
		g.stored[i] = true
		sender.Cursor = b.Sequence
		g.senders[b.Sender] = sender
		for _, t := range b.Tables {
			name := t.Table.Name
			if len(g.rows[name]) == 0 {
				g.tables = append(g.tables, t.Table)
			}
			for j := range t.Rows {
				g.rows[name] = append(g.rows[name], groupRow{&t.Rows[j], sender})
			}
		}
	}
	sort.Slice(g.tables, func(i, j int) bool { return g.tables[i].Name < g.tables[j].Name })
	return g
}

func appendTable(ctx context.Context, c *Conn, t *store.Table, rows []groupRow, ticks int64, next *uint64) error {
	known, err := readKeys(ctx, c, t.Name, rows)
	if err != nil {
		return err
	}
	columns := make([]string, 0, len(t.Columns)+2)
	for _, column := range t.Columns {
		columns = append(columns, column.Name)
	}
	a, err := c.NewAppender(t.Name, append(columns, store.IngestSeqColumn, store.IngestionTimeColumn))
	if err != nil {
		return err
	}
	defer a.Close()
	var keys []store.Key
	for _, row := range rows {
		first := true
		if row.Key != nil {
			revisions := known[row.Key.ID]
			if slices.Contains(revisions, row.Key.Revision) {
				continue
			}
			first = len(revisions) == 0
			known[row.Key.ID] = append(revisions, row.Key.Revision)
			keys = append(keys, *row.Key)
		}
		values := append(make([]any, 0, len(columns)+2), row.Resolve(first)...)
		if err := a.Append(append(values, int64(*next), ticks)); err != nil {
			return err
		}
		*next++
		row.sender.Rows++
		row.sender.LastRows = store.Time(ticks)
	}
	if err := a.Flush(); err != nil {
		return err
	}
	return writeKeys(c, t.Name, keys, ticks)
}

// readKeys gives the stored revisions of each key among the rows.
func readKeys(ctx context.Context, c *Conn, table string, rows []groupRow) (map[string][]int64, error) {
	var ids []string
	for _, row := range rows {
		if row.Key != nil {
			ids = append(ids, row.Key.ID)
		}
	}
	known := make(map[string][]int64, len(ids))
	if len(ids) == 0 {
		return known, nil
	}
	list, err := json.Marshal(ids)
	if err != nil {
		return nil, fmt.Errorf("encode keys: %w", err)
	}
	// Append-only and small (a row per alert revision): a scan takes about a millisecond, an index would cost memory.
	found, err := c.Query(ctx, `SELECT id, revision FROM _key WHERE table_name = ? AND
		id IN (SELECT unnest(from_json(?, '["VARCHAR"]')))`, table, string(list))
	if err != nil {
		return nil, fmt.Errorf("read keys of table %q: %w", table, err)
	}
	defer found.Close()
	for found.Next() {
		row := found.Row()
		id, _ := row[0].(string)
		revision, _ := row[1].(int64)
		known[id] = append(known[id], revision)
	}
	return known, found.Err()
}

func writeKeys(c *Conn, table string, keys []store.Key, ticks int64) error {
	if len(keys) == 0 {
		return nil
	}
	a, err := c.NewAppender("_key", []string{"table_name", "id", "revision", "time"})
	if err != nil {
		return err
	}
	defer a.Close()
	for _, key := range keys {
		if err := a.Append([]any{table, key.ID, key.Revision, ticks}); err != nil {
			return err
		}
	}
	return a.Flush()
}

// maxSenderRows is when the table of senders, to which every commit adds, is written anew.
const maxSenderRows = 20_000

// writeSenders adds the senders' new state. An update in place would cost ten times as much.
func (s *Store) writeSenders(ctx context.Context, c *Conn, senders map[string]*store.Sender, last uint64) error {
	all := make(map[string]store.Sender, len(senders))
	if s.senderRows+len(senders) > maxSenderRows {
		if _, err := c.Exec(ctx, "DELETE FROM _sender"); err != nil {
			return fmt.Errorf("write senders anew: %w", err)
		}
		s.senderRows = 0
		s.mu.Lock()
		for name, sender := range s.senders {
			all[name] = sender
		}
		s.mu.Unlock()
	}
	for name, sender := range senders {
		all[name] = *sender
	}
	a, err := c.NewAppender("_sender", []string{"sender", "sequence", "rows", "last_rows", "ingest_seq"})
	if err != nil {
		return err
	}
	defer a.Close()
	for _, name := range sortedKeys(all) {
		sender := all[name]
		var lastRows any
		if !sender.LastRows.IsZero() {
			lastRows, _ = store.Ticks(sender.LastRows)
		}
		if err := a.Append([]any{name, int64(sender.Cursor), int64(sender.Rows), lastRows, int64(last)}); err != nil {
			return err
		}
	}
	s.senderRows += len(all)
	return a.Flush()
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// Prune removes rows whose retention is over. Rows lie in order of ingestion, so whole blocks become free.
func (s *Store) Prune(ctx context.Context, now time.Time) (map[string]int64, error) {
	s.appending.Lock()
	defer s.appending.Unlock()
	pruned := make(map[string]int64)
	for _, t := range s.tables {
		keep := s.retention[t.Name]
		if keep <= 0 {
			continue
		}
		cutoff, ok := store.Ticks(now.Add(-keep))
		if !ok {
			continue
		}
		err := s.db.Write(ctx, func(c *Conn) error {
			n, err := c.Exec(ctx, "DELETE FROM "+quote(t.Name)+" WHERE "+quote(store.IngestionTimeColumn)+" < ?", cutoff)
			if n > 0 {
				pruned[t.Name] = n
			}
			if err != nil {
				return err
			}
			_, err = c.Exec(ctx, `DELETE FROM _key USING (SELECT id AS i, max(revision) AS newest FROM _key WHERE table_name = $1 GROUP BY id) k
				WHERE table_name = $1 AND id = k.i AND revision < k.newest AND time < $2`, t.Name, cutoff)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("prune table %q: %w", t.Name, err)
		}
	}
	return pruned, s.Checkpoint(ctx)
}

// checkpointTries: DuckDB may refuse a checkpoint while readers are active.
const checkpointTries = 5

// Checkpoint moves committed rows from the write-ahead log into the file and frees what was deleted. Where
// readers stand in the way it is left to a later one; nothing is lost by that.
func (s *Store) Checkpoint(ctx context.Context) error {
	return s.db.WriteConn(ctx, func(c *Conn) error {
		for range checkpointTries {
			_, err := c.Exec(ctx, "CHECKPOINT")
			if err == nil {
				return nil
			}
			if !strings.Contains(err.Error(), "Cannot CHECKPOINT") {
				return fmt.Errorf("checkpoint log store: %w", err)
			}
			time.Sleep(20 * time.Millisecond)
		}
		return nil
	})
}

package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"
)

func open(t *testing.T, dir string) *DB {
	t.Helper()
	n := 0
	db, err := Open(dir, Options{Now: time.Now, IDs: func() string { n++; return fmt.Sprintf("id-%d", n) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// logFile is a log store in a file: a line per append, fsynced, the cursor in it. It is what the relay's promise
// rests on, small.
type logFile struct {
	mu   sync.Mutex
	path string
	// fail, if set, is asked before and after each append; its error is returned.
	fail func(after bool) error
}

type logLine struct {
	Sender   string           `json:"sender"`
	Sequence uint64           `json:"sequence"`
	Numbers  map[string][]int `json:"numbers"`
}

func (l *logFile) lines() []logLine {
	data, err := os.ReadFile(l.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		panic(err)
	}
	var all []logLine
	for start, i := 0, 0; i < len(data); i++ {
		if data[i] == '\n' {
			var line logLine
			if err := json.Unmarshal(data[start:i], &line); err != nil {
				panic(err)
			}
			all = append(all, line)
			start = i + 1
		}
	}
	return all
}

func (l *logFile) Cursor(_ context.Context, sender string) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var cursor uint64
	for _, line := range l.lines() {
		if line.Sender == sender {
			cursor = line.Sequence
		}
	}
	return cursor, nil
}

func (l *logFile) AppendRows(ctx context.Context, sender string, sequence uint64, rows map[string][]Row) (bool, error) {
	if l.fail != nil {
		if err := l.fail(false); err != nil {
			return false, err
		}
	}
	if cursor, err := l.Cursor(ctx, sender); err != nil || sequence <= cursor {
		return false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	line := logLine{sender, sequence, map[string][]int{}}
	for table, rows := range rows {
		for _, row := range rows {
			line.Numbers[table] = append(line.Numbers[table], int(row["N"].(int64)))
		}
	}
	data, err := json.Marshal(line)
	if err != nil {
		return false, err
	}
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if _, err := f.Write(append(data, '\n')); err != nil {
		return false, err
	}
	if err := f.Sync(); err != nil {
		return false, err
	}
	if l.fail != nil {
		return true, l.fail(true)
	}
	return true, nil
}

func (l *logFile) numbers(table string) []int {
	var all []int
	for _, line := range l.lines() {
		all = append(all, line.Numbers[table]...)
	}
	return all
}

func counting(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

func TestFirstStartAndReopen(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	w := db.Default()
	if w.ID != "id-2" || w.TenantID != "id-1" || w.Name != "default" {
		t.Errorf("first start made %+v", w)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir)
	if again.Default() != w || again.id != db.id {
		t.Errorf("after reopening %+v (%s), want %+v (%s)", again.Default(), again.id, w, db.id)
	}
	byID, err := again.Workspace(t.Context(), "ID-2")
	if err != nil || byID != w {
		t.Errorf("by GUID: %+v, %v", byID, err)
	}
	if _, err := again.Workspace(t.Context(), "other"); !errors.Is(err, sql.ErrNoRows) {
		t.Errorf("unknown workspace: got %v", err)
	}
}

func TestNewerFileRefused(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	if err := db.Write(t.Context(), func(ctx context.Context, tx *Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, err := Open(dir, Options{Now: time.Now}); err == nil {
		t.Error("a file of a newer program was opened")
	}
}

func TestNestedWriteFails(t *testing.T) {
	db := open(t, t.TempDir())
	err := db.Write(t.Context(), func(ctx context.Context, _ *Tx) error {
		return db.Write(ctx, func(context.Context, *Tx) error { return nil })
	})
	if !errors.Is(err, ErrNested) {
		t.Errorf("got %v, want ErrNested", err)
	}
}

func TestRollbackLeavesNothing(t *testing.T) {
	db := open(t, t.TempDir())
	bang, ran := errors.New("bang"), false
	err := db.Write(t.Context(), func(ctx context.Context, tx *Tx) error {
		tx.Append("T", Row{"N": int64(1)})
		tx.AfterCommit(func() { ran = true })
		if err := db.Documents("d").PutIn(ctx, tx, "k", json.RawMessage(`1`)); err != nil {
			return err
		}
		return bang
	})
	if !errors.Is(err, bang) || ran {
		t.Errorf("err %v, hook ran %v", err, ran)
	}
	if n, err := db.Pending(t.Context()); n != 0 || err != nil {
		t.Errorf("%d rows pending, %v", n, err)
	}
	if _, found, _ := db.Documents("d").Get(t.Context(), "k"); found {
		t.Error("document written by a rolled back transaction")
	}
}

func TestDocuments(t *testing.T) {
	db := open(t, t.TempDir())
	a, b := db.Documents("a"), db.Documents("b")
	if err := a.Put(t.Context(), "k", json.RawMessage(`{"x":1}`)); err != nil {
		t.Fatal(err)
	}
	if err := a.Put(t.Context(), "k", json.RawMessage(`{"x":2}`)); err != nil {
		t.Fatal(err)
	}
	if err := a.Put(t.Context(), "bad", json.RawMessage(`{`)); err == nil {
		t.Error("a body that is not JSON was taken")
	}
	if body, found, err := a.Get(t.Context(), "k"); string(body) != `{"x":2}` || !found || err != nil {
		t.Errorf("got %s %v %v", body, found, err)
	}
	if _, found, _ := b.Get(t.Context(), "k"); found {
		t.Error("spaces see each other")
	}
	if keys, _ := a.Keys(t.Context()); !reflect.DeepEqual(keys, []string{"k"}) {
		t.Errorf("keys %v", keys)
	}
	if err := a.Delete(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	if _, found, _ := a.Get(t.Context(), "k"); found {
		t.Error("deleted document is still there")
	}
}

func TestOutboxKeepsTypes(t *testing.T) {
	row := Row{
		"s": "a\u0000ü", "b": true, "i": int32(-7), "l": int64(math.MinInt64), "f": math.Inf(1),
		"t": time.Date(9999, 12, 31, 23, 59, 59, 999999900, time.UTC), "d": -3 * time.Nanosecond,
		"j": json.RawMessage(`{"a":[1,2]}`), "n": nil,
	}
	body, err := encodeRows(map[string][]Row{"T": {row}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeRows(body)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got["T"][0], row) {
		t.Errorf("got %#v\nwant %#v", got["T"][0], row)
	}
	if _, err := encodeRows(map[string][]Row{"T": {{"x": []int{1}}}}); err == nil {
		t.Error("a value without a column type was taken")
	}
}

func TestTicks(t *testing.T) {
	for _, at := range []time.Time{
		time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(1969, 12, 31, 23, 59, 59, 999999900, time.UTC),
		time.Unix(0, 0).UTC(), time.Date(2026, 5, 4, 3, 2, 1, 1234500, time.UTC),
	} {
		if got := Time(Ticks(at)); !got.Equal(at) {
			t.Errorf("%v became %v", at, got)
		}
	}
}

// TestRelayExactlyOnce fails the log store before and after its commit, at random places in time, and expects each
// number once and in order.
func TestRelayExactlyOnce(t *testing.T) {
	db := open(t, t.TempDir())
	calls := 0
	store := &logFile{path: filepath.Join(t.TempDir(), "log")}
	store.fail = func(after bool) error {
		calls++
		if calls%3 == 1 || after && calls%4 == 0 {
			return errors.New("connection lost")
		}
		return nil
	}
	ctx, stop := context.WithCancel(t.Context())
	relay := NewRelay(db, store)
	done := make(chan error)
	go func() { done <- relay.Run(ctx) }()
	const n = 60
	for i := range n {
		if err := db.Write(ctx, func(_ context.Context, tx *Tx) error {
			tx.Append("T", Row{"N": int64(i)})
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		if left, err := db.Pending(ctx); err != nil {
			t.Fatal(err)
		} else if left == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("outbox does not empty")
		}
		time.Sleep(5 * time.Millisecond)
	}
	stop()
	<-done
	if got := store.numbers("T"); !reflect.DeepEqual(got, counting(n)) {
		t.Errorf("log store holds %v", got)
	}
}

// TestRelaySurvivesKill runs this test binary as a process that writes and relays numbers, kills it again and
// again without warning, and expects each number once and in order.
func TestRelaySurvivesKill(t *testing.T) {
	dir := t.TempDir()
	const n, kills = 600, 12
	if os.Getenv("OTUS_STATE_CHILD") != "" {
		relayChild(os.Getenv("OTUS_STATE_CHILD"), n)
		return
	}
	killed := 0
	for run := 0; ; run++ {
		if run > 200 {
			t.Fatal("the child never finished")
		}
		child := exec.Command(os.Args[0], "-test.run", "^TestRelaySurvivesKill$")
		child.Env = append(os.Environ(), "OTUS_STATE_CHILD="+dir)
		child.Stderr = os.Stderr
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- child.Wait() }()
		if killed < kills {
			select {
			case <-time.After(time.Duration(60+run*17%90) * time.Millisecond):
				child.Process.Kill()
				<-ended
				killed++
				continue
			case <-ended:
			}
		} else {
			<-ended
		}
		if !child.ProcessState.Success() {
			t.Fatal("child failed")
		}
		break
	}
	store := &logFile{path: filepath.Join(dir, "log")}
	if got := store.numbers("T"); !reflect.DeepEqual(got, counting(n)) {
		t.Errorf("after %d kills the log store holds %d numbers: %v", killed, len(got), got)
	}
	t.Logf("%d kills", killed)
}

// relayChild writes the numbers not yet written, each with its own progress in one transaction.
func relayChild(dir string, n int) {
	must := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	db, err := Open(dir, Options{Now: time.Now})
	must(err)
	ctx := context.Background()
	relay := NewRelay(db, &logFile{path: filepath.Join(dir, "log")})
	go relay.Run(ctx)
	next := 0
	if body, found, err := db.Documents("t").Get(ctx, "next"); found {
		must(json.Unmarshal(body, &next))
	} else {
		must(err)
	}
	for ; next < n; next++ {
		must(db.Write(ctx, func(ctx context.Context, tx *Tx) error {
			tx.Append("T", Row{"N": int64(next)})
			return db.Documents("t").PutIn(ctx, tx, "next", fmt.Appendf(nil, "%d", next+1))
		}))
		time.Sleep(time.Millisecond)
	}
	must(relay.Drain(ctx))
	os.Exit(0)
}

func TestConcurrentWriters(t *testing.T) {
	db := open(t, t.TempDir())
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 25 {
				if err := db.Write(t.Context(), func(ctx context.Context, tx *Tx) error {
					var last int
					if err := tx.QueryRowContext(ctx, `SELECT last FROM incident_sequence`).Scan(&last); err != nil {
						return err
					}
					_, err := tx.ExecContext(ctx, `UPDATE incident_sequence SET last = ?`, last+1)
					return err
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	var last int
	if err := db.Reader().QueryRowContext(t.Context(), `SELECT last FROM incident_sequence`).Scan(&last); err != nil || last != 200 {
		t.Errorf("got %d (%v), want 200", last, err)
	}
}

package duckdb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/otus-project/otus/kql/native"
)

func open(t testing.TB, path string, o Options) *DB {
	t.Helper()
	db, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func query(t testing.TB, db *DB, sql string, args ...any) [][]any {
	t.Helper()
	rows, err := db.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	all, err := rows.All()
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return all
}

func exec1(t testing.TB, db *DB, sql string, args ...any) {
	t.Helper()
	if err := db.Write(t.Context(), func(c *Conn) error {
		_, err := c.Exec(t.Context(), sql, args...)
		return err
	}); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func TestValues(t *testing.T) {
	db := open(t, "", Options{})
	long := strings.Repeat("é", 500)
	got := query(t, db, `select true, 1::tinyint, -2::smallint, 3::integer, 4::bigint, 5::utinyint, 6::usmallint, 7::uinteger,
		8::ubigint, 9::hugeint, -9::hugeint, 0.5::float, 0.25::double, 'short', ?::varchar, null::varchar, null::integer, ''`, long)
	want := [][]any{{true, int64(1), int64(-2), int64(3), int64(4), int64(5), int64(6), int64(7),
		int64(8), int64(9), int64(-9), 0.5, 0.25, "short", long, nil, nil, ""}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParameters(t *testing.T) {
	db := open(t, "", Options{})
	got := query(t, db, `select $1, $2, $3, $4, $5, $6, $1`, true, int32(-1), int64(1)<<60, 1.5, "a\x00b", nil)
	want := [][]any{{true, int64(-1), int64(1) << 60, 1.5, "a\x00b", nil, true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRefused(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "t.duckdb"), Options{})
	for _, c := range []struct {
		sql  string
		args []any
		want string
	}{
		{"select", nil, "Parser Error"},
		{"select x from nowhere", nil, "nowhere"},
		{"select ?", nil, "takes 1 arguments, got 0"},
		{"select ?", []any{struct{}{}}, "cannot be bound"},
		{"select 1.5", nil, `column "1.5" has a type that must be cast before it can be read (DECIMAL)`},
		{"select [1]", nil, "LIST"},
		{"select 'x'::integer", nil, "Conversion Error"},
		{"select 170141183460469231731687303715884105727::hugeint as big", nil, `column "big" holds an integer beyond 64 bits`},
		{"select * from read_csv('/etc/passwd')", nil, "disabled"},
		{"copy (select 1) to '/tmp/otus-duckdb-test.csv'", nil, "disabled"},
		{"attach '/tmp/otus-duckdb-test.db'", nil, "disabled"},
		{"install httpfs", nil, "disabled"},
		{"set enable_external_access=true", nil, "locked"},
		{"set memory_limit='10GB'", nil, "locked"},
	} {
		rows, err := db.Query(t.Context(), c.sql, c.args...)
		if err == nil {
			_, err = rows.All()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want one with %q", c.sql, err, c.want)
		}
	}
}

func TestStreamsManyChunks(t *testing.T) {
	db := open(t, "", Options{})
	rows, err := db.Query(t.Context(), "select range, 'row ' || range::varchar || ' with some text' from range(100000)")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := int64(0)
	for rows.Next() {
		row := rows.Row()
		if row[0] != n || row[1] != fmt.Sprintf("row %d with some text", n) {
			t.Fatalf("row %d: got %v", n, row)
		}
		n++
	}
	if rows.Err() != nil || n != 100000 {
		t.Errorf("got %d rows, error %v", n, rows.Err())
	}
}

func TestErrorInTheMiddle(t *testing.T) {
	// One thread: of several, DuckDB stops the others when one fails, and may tell of the stop and not of the cause.
	db := open(t, "", Options{Threads: 1})
	rows, err := db.Query(t.Context(), "select case when range = 90000 then error('boom') else range::varchar end from range(100000)")
	if err == nil {
		_, err = rows.All()
	}
	if err == nil || !strings.Contains(err.Error(), "boom") {
		t.Errorf("got %v", err)
	}
	if got := query(t, db, "select 1"); got[0][0] != int64(1) {
		t.Error(got)
	}
}

const slowSQL = "select count(*) from range(1000000) a, range(1000000) b where (a.range * b.range) % 7 = 3"

func TestCancelInterruptsAtOnce(t *testing.T) {
	db := open(t, "", Options{Readers: 1})
	for i := range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		rows, err := db.Query(ctx, slowSQL)
		if err == nil {
			_, err = rows.All()
		}
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("run %d: got %v", i, err)
		}
		// The next query on the same connection is not hit by a late interrupt.
		for range 20 {
			if got := query(t, db, "select count(*) from range(5000)"); got[0][0] != int64(5000) {
				t.Fatal(got)
			}
		}
	}
}

func TestCancelledBeforeStart(t *testing.T) {
	db := open(t, "", Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := db.Query(ctx, "select 1"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestReadersAreBounded(t *testing.T) {
	db := open(t, "", Options{Readers: 2})
	a, err := db.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := db.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := db.Acquire(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("third reader: got %v, want to wait", err)
	}
	db.Release(a)
	if c, err := db.Acquire(t.Context()); err != nil || c != a {
		t.Errorf("after release: got %p, %v, want %p", c, err, a)
	}
	db.Release(a)
	db.Release(b)
}

func TestAppendAndTransactions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.duckdb")
	db := open(t, path, Options{})
	exec1(t, db, "create table t (b boolean, i integer, l bigint, d double, s varchar, unused varchar default 'x')")
	columns := []string{"s", "b", "i", "l", "d"}
	const n = 5000
	fill := func(c *Conn) error {
		a, err := c.NewAppender("t", columns)
		if err != nil {
			return err
		}
		defer a.Close()
		for i := range n {
			row := []any{fmt.Sprintf("text of row number %d", i), i%2 == 0, int32(i), int64(i), float64(i) / 2}
			if i%5 == 0 {
				row[i/5%5] = nil
			}
			if err := a.Append(row); err != nil {
				return err
			}
		}
		return a.Flush()
	}
	boom := errors.New("boom")
	if err := db.Write(t.Context(), func(c *Conn) error { return errors.Join(fill(c), boom) }); !errors.Is(err, boom) {
		t.Fatal(err)
	}
	if got := query(t, db, "select count(*) from t"); got[0][0] != int64(0) {
		t.Fatalf("after rollback: %v rows", got[0][0])
	}
	if err := db.Write(t.Context(), fill); err != nil {
		t.Fatal(err)
	}
	got := query(t, db, `select count(*), count(s), count(b), count(i), count(l), count(d), sum(l)::bigint, min(unused),
		count(*) filter (s = 'text of row number ' || l) from t`)
	nulls := int64(n / 25)
	want := [][]any{{int64(n), n - nulls, n - nulls, n - nulls, n - nulls, n - nulls, got[0][6], "x", n - 2*nulls}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	err := db.Write(t.Context(), func(c *Conn) error {
		a, err := c.NewAppender("t", []string{"i"})
		if err != nil {
			return err
		}
		defer a.Close()
		if err := a.Append([]any{"not a number"}); err != nil {
			return err
		}
		return a.Flush()
	})
	if err == nil || !strings.Contains(err.Error(), `column "i": cannot store a string`) {
		t.Errorf("wrong type: got %v", err)
	}
	err = db.Write(t.Context(), func(c *Conn) error { _, err := c.NewAppender("t", []string{"nope"}); return err })
	if err == nil || !strings.Contains(err.Error(), "nope") {
		t.Errorf("unknown column: got %v", err)
	}
}

func TestInvalidTextIsReplaced(t *testing.T) {
	db := open(t, "", Options{})
	exec1(t, db, "create table t (s varchar)")
	if err := db.Write(t.Context(), func(c *Conn) error {
		a, err := c.NewAppender("t", []string{"s"})
		if err != nil {
			return err
		}
		defer a.Close()
		if err := a.Append([]any{"a\xff\xfeb"}); err != nil {
			return err
		}
		return a.Flush()
	}); err != nil {
		t.Fatal(err)
	}
	if got := query(t, db, "select s from t"); got[0][0] != "a\uFFFDb" {
		t.Errorf("got %q", got[0][0])
	}
}

func testFunctions() []native.Function {
	return []native.Function{
		{Name: "kql_test_describe", Params: []native.Kind{native.Bool, native.Int, native.Long, native.Real, native.Text}, Result: native.Text,
			Eval: func(a []native.Value) native.Value {
				s := ""
				for i, v := range a {
					if v.Null {
						s += "null "
						continue
					}
					s += []string{fmt.Sprint(v.B), fmt.Sprint(v.I), fmt.Sprint(v.I), fmt.Sprint(v.F), v.S}[i] + " "
				}
				return native.Value{S: s}
			}},
		{Name: "kql_test_upper", Params: []native.Kind{native.Text}, Result: native.Text, Eval: func(a []native.Value) native.Value {
			if a[0].Null {
				return native.Value{Null: true}
			}
			return native.Value{S: strings.ToUpper(a[0].S)}
		}},
		{Name: "kql_test_size", Params: []native.Kind{native.Text}, Result: native.Long, Eval: func(a []native.Value) native.Value {
			return native.Value{I: int64(len(a[0].S)), Null: a[0].Null}
		}},
		{Name: "kql_test_size", Params: []native.Kind{native.Long}, Result: native.Long, Eval: func(a []native.Value) native.Value {
			return native.Value{I: 8}
		}},
		{Name: "kql_test_null", Params: []native.Kind{native.Text}, Result: native.Bool, Eval: func(a []native.Value) native.Value {
			return native.Value{B: a[0].Null}
		}},
		{Name: "kql_test_panic", Params: []native.Kind{native.Long}, Result: native.Int, Eval: func(a []native.Value) native.Value {
			if a[0].I == 3 {
				panic("three")
			}
			return native.Value{I: a[0].I}
		}},
	}
}

func TestNativeFunctions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.duckdb")
	db := open(t, path, Options{})
	if err := db.RegisterNative(testFunctions()...); err != nil {
		t.Fatal(err)
	}
	got := query(t, db, "select kql_test_describe(true, 1::integer, 2::bigint, 0.5::double, 'x'), kql_test_describe(null, null, null, null, null)")
	if diff := cmp.Diff([][]any{{"true 1 2 0.5 x ", "null null null null null "}}, got); diff != "" {
		t.Error(diff)
	}
	got = query(t, db, "select kql_test_size('four'), kql_test_size(1::bigint), kql_test_null(null), kql_test_null('')")
	if diff := cmp.Diff([][]any{{int64(4), int64(8), true, false}}, got); diff != "" {
		t.Error(diff)
	}
	// A dictionary column with nulls, from the file and in many chunks.
	exec1(t, db, "create table t as select case when range % 3 = 0 then null else 'value number ' || (range % 50) end as s from range(200000)")
	exec1(t, db, "create table marker (i integer)")
	if err := db.WriteConn(t.Context(), func(c *Conn) error { _, err := c.Exec(t.Context(), "checkpoint"); return err }); err != nil {
		t.Fatal(err)
	}
	got = query(t, db, "select count(*) filter (kql_test_upper(s) is not distinct from upper(s)), count(distinct kql_test_upper(s)), count(*) filter (kql_test_null(s)) from t")
	if diff := cmp.Diff([][]any{{int64(200000), int64(50), int64(66667)}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestNativePanicIsAnError(t *testing.T) {
	db := open(t, "", Options{})
	if err := db.RegisterNative(testFunctions()...); err != nil {
		t.Fatal(err)
	}
	rows, err := db.Query(t.Context(), "select kql_test_panic(range) from range(10)")
	if err == nil {
		_, err = rows.All()
	}
	if err == nil || !strings.Contains(err.Error(), "panicked: three") {
		t.Errorf("got %v", err)
	}
	if got := query(t, db, "select sum(try(kql_test_panic(range)))::bigint from range(5)"); got[0][0] != int64(0+1+2+4) {
		t.Errorf("try: got %v", got)
	}
}

func TestOneWriterManyReaders(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "t.duckdb"), Options{})
	exec1(t, db, "create table t (i bigint)")
	exec1(t, db, "create table cursor as select 0::bigint as i")
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				rows, err := db.Query(t.Context(), "select count(*), (select i from cursor) from t")
				if err != nil {
					t.Error(err)
					return
				}
				all, err := rows.All()
				if err != nil || all[0][0] != all[0][1] {
					t.Errorf("snapshot not consistent: %v %v", all, err)
					return
				}
			}
		})
	}
	for range 50 {
		if err := db.Write(t.Context(), func(c *Conn) error {
			a, err := c.NewAppender("t", []string{"i"})
			if err != nil {
				return err
			}
			defer a.Close()
			for i := range 100 {
				if err := a.Append([]any{int64(i)}); err != nil {
					return err
				}
			}
			if err := a.Flush(); err != nil {
				return err
			}
			_, err = c.Exec(t.Context(), "update cursor set i = i + 100")
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	wg.Wait()
	if got := query(t, db, "select count(*) from t"); got[0][0] != int64(5000) {
		t.Error(got)
	}
}

func TestPanicInWriteRollsBack(t *testing.T) {
	db := open(t, "", Options{})
	exec1(t, db, "create table t (i integer)")
	func() {
		defer func() { _ = recover() }()
		_ = db.Write(t.Context(), func(c *Conn) error {
			_, _ = c.Exec(t.Context(), "insert into t values (1)")
			panic("boom")
		})
	}()
	exec1(t, db, "insert into t values (2)")
	if got := query(t, db, "select i from t"); len(got) != 1 || got[0][0] != int64(2) {
		t.Error(got)
	}
}

func TestOutOfMemoryIsAnErrorAndTheEngineLives(t *testing.T) {
	db := open(t, "", Options{MemoryLimit: 64 << 20})
	rows, err := db.Query(t.Context(), "select string_agg(range::varchar || 'some text that takes room', ',') from range(20000000)")
	if err == nil {
		_, err = rows.All()
	}
	if !errors.Is(err, ErrOutOfMemory) {
		t.Errorf("got %v", err)
	}
	if got := query(t, db, "select 1"); got[0][0] != int64(1) {
		t.Error(got)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	if path := os.Getenv("OTUS_TEST_OPEN"); path != "" {
		_, err := Open(path, Options{})
		fmt.Println("locked:", errors.Is(err, ErrLocked))
		os.Exit(0)
	}
	path := filepath.Join(t.TempDir(), "t.duckdb")
	open(t, path, Options{})
	child := exec.Command(os.Args[0], "-test.run=^TestSecondProcessIsRefused$")
	child.Env = append(os.Environ(), "OTUS_TEST_OPEN="+path)
	out, err := child.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "locked: true") {
		t.Errorf("got %v: %s", err, out)
	}
}

func TestCloseInterrupts(t *testing.T) {
	db, err := Open("", Options{})
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	go func() {
		rows, err := db.Query(context.Background(), slowSQL)
		if err == nil {
			_, err = rows.All()
		}
		failed <- err
	}()
	time.Sleep(50 * time.Millisecond)
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if err := <-failed; !errors.Is(err, ErrInterrupted) {
		t.Errorf("got %v", err)
	}
	if _, err := db.Query(t.Context(), "select 1"); !errors.Is(err, ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}

// rss is the resident memory of this process in bytes; 0 where /proc is absent.
func rss() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, resident int64
	_, _ = fmt.Sscan(string(b), &size, &resident)
	return resident * int64(os.Getpagesize())
}

func TestMemoryDoesNotGrowWithQueries(t *testing.T) {
	if rss() == 0 {
		t.Skip("no /proc")
	}
	db := open(t, "", Options{})
	if err := db.RegisterNative(testFunctions()...); err != nil {
		t.Fatal(err)
	}
	exec1(t, db, "create table t as select range as i, 'text of some length ' || range as s from range(3000)")
	round := func(n int) {
		for i := range n {
			query(t, db, "select i, kql_test_upper(s), ? from t where i < ?", strings.Repeat("p", 1000), i%100)
			if rows, err := db.Query(t.Context(), "select error(s) from t"); err == nil {
				rows.Close()
			}
			rows, err := db.Query(t.Context(), "select * from t") // closed half read
			if err != nil {
				t.Fatal(err)
			}
			rows.Next()
			rows.Close()
			if i%10 == 0 {
				exec1(t, db, "update t set s = s where i = ?", i%3000)
			}
		}
	}
	round(500)
	before := rss()
	round(1500)
	if grown := rss() - before; grown > 24<<20 {
		t.Errorf("1500 rounds grew the process by %d MiB", grown>>20)
	}
}

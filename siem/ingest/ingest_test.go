package ingest

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/otus-project/otus/siem/store"
	"github.com/otus-project/otus/siem/store/duckdb"
	"github.com/otus-project/otus/siem/store/storetest"
)

func open(t testing.TB, o Options) (*Service, store.Store) {
	t.Helper()
	s, err := duckdb.OpenStore(filepath.Join(t.TempDir(), "log.duckdb"), storetest.Tables(t, storetest.Thing), duckdb.StoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	service := New(s, o)
	t.Cleanup(func() {
		service.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return service, s
}

func batch(sender string, sequence uint64, values ...int) Batch {
	b := Batch{Sender: sender, Sequence: sequence, Rows: map[string][]Row{}}
	for _, v := range values {
		b.Rows["Thing"] = append(b.Rows["Thing"], Row{"Small": v})
	}
	return b
}

func TestAppendAndCursor(t *testing.T) {
	var seen []Range
	s, _ := open(t, Options{Now: func() time.Time { return storetest.Noon }})
	s.OnCommit(func(tables map[string]Range) { seen = append(seen, tables["Thing"]) })
	for i, c := range []struct {
		sequence  uint64
		committed bool
	}{{1, true}, {1, false}, {3, true}, {2, false}} {
		got, err := s.Append(t.Context(), batch("a", c.sequence, 1, 2))
		if got != c.committed || err != nil {
			t.Errorf("append %d: got %v, %v, want %v", i, got, err, c.committed)
		}
	}
	if got, err := s.AppendRows(t.Context(), "b", 1, map[string][]Row{"Thing": {{}}}); !got || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := s.Cursor(t.Context(), "a"); got != 3 || err != nil {
		t.Errorf("cursor: %d, %v", got, err)
	}
	if got, err := s.Sender(t.Context(), "a"); got != (store.Sender{Cursor: 3, Rows: 4, LastRows: storetest.Noon}) || err != nil {
		t.Errorf("sender: %+v, %v", got, err)
	}
	want := []Range{{First: 1, Last: 2}, {First: 3, Last: 4}, {First: 5, Last: 5}}
	if len(seen) != 3 || seen[0] != want[0] || seen[1] != want[1] || seen[2] != want[2] {
		t.Errorf("told of %v, want %v", seen, want)
	}
}

func TestBadBatchHarmsNobodyElse(t *testing.T) {
	s, _ := open(t, Options{})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			b := batch("good", uint64(i+1), i)
			var bad *store.ValueError
			if i%2 == 1 {
				b = Batch{Sender: "bad", Sequence: uint64(i), Rows: map[string][]Row{"Thing": {{"Small": "x"}}}}
			}
			_, err := s.Append(t.Context(), b)
			if (i%2 == 1) != errors.As(err, &bad) {
				t.Errorf("batch %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if _, err := s.Append(t.Context(), Batch{Sender: "a", Sequence: 1, Rows: map[string][]Row{"Thing": make([]Row, MaxBatchRows+1)}}); err == nil {
		t.Error("huge batch: no error")
	}
}

// slow is a store whose commits wait to be let through, so that batches gather.
type slow struct {
	store.Store
	enter chan struct{} // closed to let commits through
	fail  atomic.Bool
	calls atomic.Int64
	began atomic.Int64 // commits begun
}

func (s *slow) Append(ctx context.Context, at time.Time, batches []*store.Prepared) (store.Appended, error) {
	s.began.Add(1)
	<-s.enter
	s.calls.Add(1)
	if s.fail.Load() && len(batches) > 1 {
		return store.Appended{}, errors.New("disk on fire")
	}
	return s.Store.Append(ctx, at, batches)
}

// hold sends one batch and waits until it is stuck in its commit, so that what follows gathers behind it.
func (s *slow) hold(t *testing.T, service *Service) {
	go func() {
		if ok, err := service.Append(context.Background(), batch("first", 1)); !ok || err != nil {
			t.Errorf("first: %v, %v", ok, err)
		}
	}()
	for s.began.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
}

func TestBatchesThatWaitAreCommittedTogether(t *testing.T) {
	_, real := open(t, Options{})
	st := &slow{Store: real, enter: make(chan struct{})}
	s := New(st, Options{})
	st.hold(t, s)
	const n = 30
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if ok, err := s.Append(t.Context(), batch(string(rune('A'+i)), 1, i)); !ok || err != nil {
				t.Errorf("sender %d: %v, %v", i, ok, err)
			}
		})
	}
	for len(s.queue) < n {
		time.Sleep(time.Millisecond)
	}
	close(st.enter)
	wg.Wait()
	if calls := st.calls.Load(); calls != 2 {
		t.Errorf("%d senders and a first one took %d commits, want 2", n, calls)
	}
	if got := storetest.Select(t, real, `SELECT count(DISTINCT "Small") FROM "Thing"`)[0][0]; got != int64(n) {
		t.Errorf("%v rows, want %d", got, n)
	}
	s.Close()
}

func TestFailedGroupIsTriedOneByOne(t *testing.T) {
	_, real := open(t, Options{})
	st := &slow{Store: real, enter: make(chan struct{})}
	st.fail.Store(true)
	s := New(st, Options{})
	defer s.Close()
	st.hold(t, s)
	var wg sync.WaitGroup
	for i := range 5 {
		wg.Go(func() {
			if ok, err := s.Append(t.Context(), batch(string(rune('A'+i)), 1, i)); !ok || err != nil {
				t.Errorf("sender %d: %v, %v", i, ok, err)
			}
		})
	}
	for len(s.queue) < 5 {
		time.Sleep(time.Millisecond)
	}
	close(st.enter)
	wg.Wait()
}

func TestFullQueueHoldsSendersBack(t *testing.T) {
	_, real := open(t, Options{})
	st := &slow{Store: real, enter: make(chan struct{})}
	s := New(st, Options{Queue: 2})
	st.hold(t, s)
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() { _, _ = s.Append(t.Context(), batch("a", uint64(i+1), i)) })
	}
	for len(s.queue) < 2 {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Append(ctx, batch("b", 1, 1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("full queue: got %v", err)
	}
	close(st.enter)
	wg.Wait()
	s.Close()
	if _, err := s.Append(t.Context(), batch("c", 1, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("after close: %v", err)
	}
	s.Close()
}

func TestCloseCommitsWhatIsQueued(t *testing.T) {
	_, real := open(t, Options{})
	st := &slow{Store: real, enter: make(chan struct{})}
	s := New(st, Options{MaxRows: 1})
	st.hold(t, s)
	results := make(chan bool, 10)
	for i := range 10 {
		go func() {
			ok, _ := s.Append(t.Context(), batch(string(rune('A'+i)), 1, i))
			results <- ok
		}()
	}
	for len(s.queue) < 10 {
		time.Sleep(time.Millisecond)
	}
	closed := make(chan struct{})
	go func() { s.Close(); close(closed) }()
	close(st.enter)
	<-closed
	for range 10 {
		if !<-results {
			t.Error("a queued batch was not committed")
		}
	}
}

func BenchmarkSmallBatches(b *testing.B) {
	s, _ := open(b, Options{})
	b.SetParallelism(16)
	var sender atomic.Uint64
	b.RunParallel(func(pb *testing.PB) {
		name := "sender" + string(rune('A'+sender.Add(1)))
		for sequence := uint64(1); pb.Next(); sequence++ {
			if _, err := s.Append(b.Context(), batch(name, sequence, 1, 2, 3)); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)*3/b.Elapsed().Seconds(), "rows/s")
}

// Package ingest takes batches of rows from connectors and relays into the log store. Each sender numbers its
// batches; a batch is committed with its number or not at all, and one that comes again is dropped. Batches that
// arrive together are committed together, so that many small ones do not each pay for a commit. After a
// commit everybody who asked is told which rows are new.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/otus-project/otus/siem/store"
)

// The forms of rows and batches are the log store's.
type (
	Row     = store.Row
	Batch   = store.Batch
	Range   = store.Range
	Key     = store.Key
	IfFirst = store.IfFirst
)

// KeyColumn is the pseudo column that carries a row's Key.
const KeyColumn = store.KeyColumn

// MaxBatchRows bounds one batch; a larger one is refused.
const MaxBatchRows = 50_000

// ErrClosed is returned by Append once the service is closed.
var ErrClosed = errors.New("ingest is closed")

// Options tunes the service. The zero value works.
type Options struct {
	// Queue is how many batches may wait for the next commit; a sender with one more waits itself. Default 64.
	Queue int
	// MaxRows is how many rows one commit carries at most, unless a single batch has more. Default 10,000:
	// about 30 ms of work, so that a small urgent batch never waits long.
	MaxRows int
	// Now is the clock of ingestion times. Default time.Now; the program passes its own.
	Now func() time.Time
}

// Service is the one writer of the log store. Its methods may be called from several goroutines.
type Service struct {
	store   store.Store
	options Options
	queue   chan *waiting
	stop    chan struct{}
	stopped chan struct{}

	mu        sync.Mutex
	listeners []func(tables map[string]Range)
	closed    bool
}

type waiting struct {
	ctx   context.Context // of the sender, which may have gone
	batch *store.Prepared
	rows  int
	done  chan outcome
}

type outcome struct {
	committed bool
	err       error
}

// New starts a service over the store. Close ends it.
func New(s store.Store, o Options) *Service {
	if o.Queue <= 0 {
		o.Queue = 64
	}
	if o.MaxRows <= 0 {
		o.MaxRows = 10_000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	service := &Service{store: s, options: o, queue: make(chan *waiting, o.Queue), stop: make(chan struct{}), stopped: make(chan struct{})}
	go service.run()
	return service
}

// OnCommit has fn called after each commit that added rows, with the numbers of the new rows by table, before
// Append returns to the senders. It is called by one goroutine, which commits nothing meanwhile: fn must not
// wait, nor call Append.
func (s *Service) OnCommit(fn func(tables map[string]Range)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners = append(s.listeners, fn)
}

// Append commits a batch. It returns when the rows are durable, or with committed false and no error when the
// sender's cursor was at or above the batch's sequence already. After an error nothing of the batch was
// committed, save where ctx ended: then it may have been, and asking Cursor or sending it again tells. While
// the queue is full, Append waits. The batch may be changed after it returned.
func (s *Service) Append(ctx context.Context, b Batch) (committed bool, err error) {
	rows := 0
	for _, r := range b.Rows {
		rows += len(r)
	}
	if rows > MaxBatchRows {
		return false, fmt.Errorf("batch %d of %q: %d rows, more than %d", b.Sequence, b.Sender, rows, MaxBatchRows)
	}
	prepared, err := s.store.Prepare(b)
	if err != nil {
		return false, err
	}
	w := &waiting{ctx: ctx, batch: prepared, rows: rows, done: make(chan outcome, 1)}
	select {
	case <-s.stop:
		return false, ErrClosed
	default:
	}
	select {
	case s.queue <- w:
	case <-ctx.Done():
		return false, ctx.Err()
	case <-s.stop:
		return false, ErrClosed
	}
	select {
	case o := <-w.done:
		return o.committed, o.err
	case <-ctx.Done():
		return false, ctx.Err()
	case <-s.stopped:
		// The run has ended: either it answered before, or it never saw the batch.
		select {
		case o := <-w.done:
			return o.committed, o.err
		default:
			return false, ErrClosed
		}
	}
}

// AppendRows is Append with the batch's fields one by one, for senders that do not know this package.
func (s *Service) AppendRows(ctx context.Context, sender string, sequence uint64, rows map[string][]Row) (committed bool, err error) {
	return s.Append(ctx, Batch{Sender: sender, Sequence: sequence, Rows: rows})
}

// Cursor is the highest sequence committed for the sender; 0 if none.
func (s *Service) Cursor(ctx context.Context, sender string) (uint64, error) {
	state, err := s.store.Sender(ctx, sender)
	return state.Cursor, err
}

// Sender tells what was committed from a sender.
func (s *Service) Sender(ctx context.Context, sender string) (store.Sender, error) {
	return s.store.Sender(ctx, sender)
}

// Close commits what is queued, then ends the service. The store stays open.
func (s *Service) Close() {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.stop)
	}
	s.mu.Unlock()
	<-s.stopped
}

func (s *Service) run() {
	defer close(s.stopped)
	for {
		select {
		case w := <-s.queue:
			s.commit(s.gather(w))
		case <-s.stop:
			for {
				select {
				case w := <-s.queue:
					s.commit(s.gather(w))
				default:
					return
				}
			}
		}
	}
}

// gather takes what waits already beside the first batch; it never waits for more.
func (s *Service) gather(first *waiting) []*waiting {
	group, rows := []*waiting{first}, first.rows
	for rows < s.options.MaxRows {
		select {
		case w := <-s.queue:
			group = append(group, w)
			rows += w.rows
		default:
			return group
		}
	}
	return group
}

func (s *Service) commit(group []*waiting) {
	present := group[:0]
	for _, w := range group {
		if err := w.ctx.Err(); err != nil {
			w.done <- outcome{err: err}
			continue
		}
		present = append(present, w)
	}
	if len(present) == 0 {
		return
	}
	err := s.commitTogether(present)
	if err == nil {
		return
	}
	// One batch may have spoilt it for all, so each gets its own try.
	for _, w := range present {
		if len(present) > 1 {
			err = s.commitTogether([]*waiting{w})
		}
		if err != nil {
			w.done <- outcome{err: err}
		}
	}
}

// commitTogether answers all of the group, or none where it returns an error.
func (s *Service) commitTogether(group []*waiting) error {
	batches := make([]*store.Prepared, len(group))
	for i, w := range group {
		batches[i] = w.batch
	}
	// No sender's context: its end must not undo the rows of the others.
	done, err := s.store.Append(context.Background(), s.options.Now(), batches)
	if err != nil {
		return err
	}
	if len(done.Tables) > 0 {
		s.mu.Lock()
		listeners := s.listeners
		s.mu.Unlock()
		for _, fn := range listeners {
			fn(done.Tables)
		}
	}
	for i, w := range group {
		w.done <- outcome{committed: done.Stored[i]}
	}
	return nil
}

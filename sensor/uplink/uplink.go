// Package uplink carries a sensor's records from its spool to the fleet, and the fleet's commands back. It only ever
// calls out. Records are delivered at least once, in order; the fleet's cursor makes that exactly once. A command is
// handed over until the sensor has journaled it.
package uplink

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor/spool"
)

// Sender is the fleet as a sensor sees it. The loop calls Send from two goroutines at once. The batch belongs to the
// caller again when Send has returned. An Ack means that everything up to its sequence is durable in the fleet; after
// an error nothing is known and the batch is sent again. A *event.SequenceError, however wrapped, says from where.
type Sender interface {
	Send(ctx context.Context, b event.Batch) (event.Ack, error)
}

// Options of a Loop. SensorID, Spool, Sender and Command are required.
type Options struct {
	SensorID string
	Spool    *spool.Spool
	Sender   Sender
	// Command takes one command, in order of id, and returns when it is journaled. It is called by one goroutine,
	// never the one that sends records, so it may wait for the sensor's stages. After an error it is called again.
	Command func(ctx context.Context, c event.Command) error
	// Applied is the id of the last command journaled before the start.
	Applied uint64
	// OnState is told when sending begins to fail, with the error, and when it works again, with nil.
	OnState func(error)
	// MaxRecords and MaxBytes (of encoded records) bound a batch.
	MaxRecords, MaxBytes int
	// MinBackoff and MaxBackoff bound the pause before a retry; it doubles, and half of it is random.
	MinBackoff, MaxBackoff time.Duration
	// Wait is how long the fleet may hold back its answer to a question for commands; whole seconds.
	Wait time.Duration
	// Pause is the least time between two such questions when the fleet answers at once with nothing.
	Pause time.Duration
	// Random gives the jitter, from 0 up to 1.
	Random func() float64
}

func (o Options) withDefaults() Options {
	if o.MaxRecords <= 0 {
		o.MaxRecords = 500
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 1 << 20
	}
	if o.MinBackoff <= 0 {
		o.MinBackoff = 100 * time.Millisecond // a fleet that restarts is back in about a second
	}
	if o.MaxBackoff <= 0 {
		o.MaxBackoff = 30 * time.Second
	}
	if o.Wait <= 0 {
		o.Wait = 25 * time.Second // below the 30 s at which proxies like to cut
	}
	if o.Pause <= 0 {
		o.Pause = time.Second
	}
	if o.Random == nil {
		o.Random = rand.Float64
	}
	if o.OnState == nil {
		o.OnState = func(error) {}
	}
	return o
}

// Loop drains a spool into a Sender for as long as Run runs.
type Loop struct {
	o Options

	mu      sync.Mutex
	acked   uint64
	known   bool // acked is what the fleet said, not a guess
	applied uint64
	failing error
	changed chan struct{} // closed and replaced when acked or known changes
}

// NewLoop makes a loop; nothing is sent before Run.
func NewLoop(o Options) *Loop {
	return &Loop{o: o.withDefaults(), applied: o.Applied, changed: make(chan struct{})}
}

// Status of the uplink.
type Status struct {
	// Acknowledged is the highest sequence that is durable in the fleet.
	Acknowledged uint64
	// Applied is the id of the last command journaled.
	Applied uint64
	// Err is why sending fails at present; nil when it works.
	Err error
}

// Status gives the present state.
func (l *Loop) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Status{Acknowledged: l.acked, Applied: l.applied, Err: l.failing}
}

// Run sends until ctx ends. It returns ctx's error, or an error of the spool that makes going on pointless.
func (l *Loop) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	asking := make(chan struct{})
	go func() {
		defer close(asking)
		l.ask(ctx)
	}()
	err := l.push(ctx)
	stop()
	<-asking
	return err
}

// Drain waits until the fleet has everything that was appended to the spool, also what is appended meanwhile.
func (l *Loop) Drain(ctx context.Context) error {
	for {
		l.mu.Lock()
		done := l.known && l.acked >= l.o.Spool.LastSequence()
		changed, failing := l.changed, l.failing
		l.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("drain uplink: %w", ctx.Err()), failing)
		case <-changed:
		}
	}
}

// push sends records as they are appended.
func (l *Loop) push(ctx context.Context) error {
	retry := backoff{o: &l.o}
	for ctx.Err() == nil {
		batch, err := l.nextBatch()
		if err != nil {
			return err
		}
		if l.acquainted() && len(batch.Records) == 0 && len(batch.Dropped) == 0 {
			select {
			case <-ctx.Done():
			case <-l.o.Spool.Appended():
			}
			continue
		}
		if err := l.exchange(ctx, batch); err != nil {
			l.report(ctx, err)
			retry.wait(ctx)
			continue
		}
		l.report(ctx, nil)
		retry.reset()
	}
	return ctx.Err()
}

func (l *Loop) acquainted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.known
}

// nextBatch reads what follows the fleet's cursor. The first batch is empty: its answer says where the cursor is.
func (l *Loop) nextBatch() (event.Batch, error) {
	l.mu.Lock()
	batch := event.Batch{SensorID: l.o.SensorID, AppliedCommand: l.applied}
	acked, known := l.acked, l.known
	l.mu.Unlock()
	if !known {
		return batch, nil
	}
	last := l.o.Spool.LastSequence() // before reading, so that nothing appended meanwhile looks dropped
	records, err := l.o.Spool.ReadFrom(acked+1, l.o.MaxRecords, l.o.MaxBytes)
	if err != nil {
		return batch, err
	}
	batch.Records = records
	next := acked + 1
	for i := range records {
		if records[i].Sequence > next {
			batch.Dropped = append(batch.Dropped, event.Range{From: next, To: records[i].Sequence - 1})
		}
		next = records[i].Sequence + 1
	}
	if len(records) == 0 && last > acked {
		batch.Dropped = []event.Range{{From: acked + 1, To: last}}
	}
	return batch, nil
}

// exchange sends a batch and takes its answer. Commands in it are left to the goroutine that asks for them.
func (l *Loop) exchange(ctx context.Context, batch event.Batch) error {
	ack, err := l.o.Sender.Send(ctx, batch)
	var gap *event.SequenceError
	switch {
	case errors.As(err, &gap) && gap.Expected > 0:
		// The fleet was restored from a backup, or is further than the spool remembers.
		l.settle(gap.Expected - 1)
		return err
	case err != nil:
		return err
	}
	if last := l.o.Spool.LastSequence(); ack.Sequence > last {
		return fmt.Errorf("the fleet has records up to %d of sensor %q, but its spool ends at %d: the spool was lost; onboard the sensor anew", ack.Sequence, l.o.SensorID, last)
	}
	before := l.Status().Acknowledged
	l.settle(ack.Sequence)
	if len(batch.Records)+len(batch.Dropped) > 0 && ack.Sequence <= before {
		return fmt.Errorf("the fleet took nothing of the batch after %d", before)
	}
	return l.o.Spool.Acknowledge(ack.Sequence)
}

func (l *Loop) settle(acked uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked, l.known = acked, true
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *Loop) report(ctx context.Context, err error) {
	if err != nil && ctx.Err() != nil {
		return // stopping is not failing
	}
	l.mu.Lock()
	turned := (err == nil) != (l.failing == nil)
	l.failing = err
	l.mu.Unlock()
	if turned {
		l.o.OnState(err)
	}
}

// ask waits for commands at the fleet and hands them over.
func (l *Loop) ask(ctx context.Context) {
	retry := backoff{o: &l.o}
	for ctx.Err() == nil {
		pause := time.NewTimer(l.o.Pause)
		batch := event.Batch{SensorID: l.o.SensorID, AppliedCommand: l.Status().Applied, WaitSeconds: int(l.o.Wait / time.Second)}
		ack, err := l.o.Sender.Send(ctx, batch)
		if err != nil {
			retry.wait(ctx)
			continue
		}
		applied, err := l.hand(ctx, ack.Commands)
		switch {
		case err != nil:
			l.report(ctx, err)
			retry.wait(ctx)
		case applied:
			retry.reset()
		default:
			retry.reset()
			select {
			case <-ctx.Done():
			case <-pause.C:
			}
		}
		pause.Stop()
	}
}

// hand gives commands to the sensor, each once, and says whether there were any.
func (l *Loop) hand(ctx context.Context, commands []event.Command) (applied bool, err error) {
	for _, c := range commands {
		if c.ID <= l.Status().Applied {
			continue
		}
		if err := l.o.Command(ctx, c); err != nil {
			return applied, fmt.Errorf("take command %d: %w", c.ID, err)
		}
		l.mu.Lock()
		l.applied = c.ID
		l.mu.Unlock()
		applied = true
	}
	return applied, nil
}

// backoff is the growing pause between retries.
type backoff struct {
	o     *Options
	pause time.Duration
}

func (b *backoff) reset() { b.pause = 0 }

func (b *backoff) wait(ctx context.Context) {
	b.pause = min(max(2*b.pause, b.o.MinBackoff), b.o.MaxBackoff)
	timer := time.NewTimer(b.pause/2 + time.Duration(b.o.Random()*float64(b.pause/2)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

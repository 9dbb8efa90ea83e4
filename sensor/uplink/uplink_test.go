package uplink_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/fleet"
	"github.com/otus-project/otus/sensor/spool"
	"github.com/otus-project/otus/sensor/uplink"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// rig is a spool and a fleet in one process.
type rig struct {
	t      testing.TB
	fleet  *fleet.Fleet
	dir    string
	spool  *spool.Spool
	sensor fleet.Sensor
}

func newRig(t testing.TB, o spool.Options) *rig {
	t.Helper()
	f, err := fleet.Open(t.Context(), fleet.Options{Dir: t.TempDir(), Now: func() time.Time { return start }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	r := &rig{t: t, fleet: f, dir: t.TempDir()}
	if r.sensor, err = f.Local(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.Dir = r.dir
	r.openSpool(o)
	return r
}

func (r *rig) openSpool(o spool.Options) {
	r.t.Helper()
	s, err := spool.Open(o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.spool = s
	r.t.Cleanup(func() { s.Close() })
}

// record is an alert every tenth time, a connection otherwise.
func (r *rig) record(sequence uint64) event.Record {
	if sequence%10 == 0 {
		return event.Record{Sequence: sequence, Kind: event.KindAlert, Alert: &event.Alert{ID: fmt.Sprint("alert-", sequence), Revision: 1, SensorID: r.sensor.ID, Status: event.AlertNew}}
	}
	return event.Record{Sequence: sequence, Kind: event.KindConnection, Connection: &event.Connection{SensorID: r.sensor.ID, Messages: sequence, Minute: start}}
}

func (r *rig) append(from, to uint64) {
	r.t.Helper()
	var records []event.Record
	for n := from; n <= to; n++ {
		records = append(records, r.record(n))
	}
	if err := r.spool.Append(records); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) run(o uplink.Options) (loop *uplink.Loop, stop func()) {
	r.t.Helper()
	o.SensorID, o.Spool = r.sensor.ID, r.spool
	if o.Sender == nil {
		o.Sender = r.fleet
	}
	if o.Command == nil {
		o.Command = func(context.Context, event.Command) error { return nil }
	}
	o.MinBackoff, o.MaxBackoff = time.Millisecond, 10*time.Millisecond
	loop = uplink.NewLoop(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); loop.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	r.t.Cleanup(stop)
	return loop, stop
}

func (r *rig) drain(loop *uplink.Loop) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	if err := loop.Drain(ctx); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) stream() (sequences []uint64) {
	r.t.Helper()
	entries, err := r.fleet.Read(r.t.Context(), r.sensor.SubscriptionID, 0, 1_000_000)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range entries {
		sequences = append(sequences, e.Record.Sequence)
	}
	return sequences
}

// senderFunc lets a test stand between the loop and the fleet.
type senderFunc func(context.Context, event.Batch) (event.Ack, error)

func (f senderFunc) Send(ctx context.Context, b event.Batch) (event.Ack, error) { return f(ctx, b) }

func TestInProcessDelivery(t *testing.T) {
	r := newRig(t, spool.Options{SegmentBytes: 10_000})
	r.append(1, 700) // before the loop runs
	loop, stop := r.run(uplink.Options{})
	r.drain(loop)
	for n := uint64(701); n <= 1000; n++ {
		r.append(n, n)
	}
	r.drain(loop)
	stop()
	loop, _ = r.run(uplink.Options{}) // a loop that knows nothing asks the fleet first
	r.drain(loop)
	got := r.stream()
	for i, sequence := range got {
		if sequence != uint64(i+1) {
			t.Fatalf("entry %d is record %d", i+1, sequence)
		}
	}
	if len(got) != 1000 {
		t.Errorf("%d records delivered, want 1000", len(got))
	}
	if stats := r.spool.Stats(); stats.Waiting != 0 || stats.Segments != 1 {
		t.Errorf("spool: %+v", stats)
	}
}

func TestRecordsArriveAtOnce(t *testing.T) {
	r := newRig(t, spool.Options{})
	woken := make(chan struct{}, 1)
	defer r.fleet.Subscribe(func(string) { woken <- struct{}{} })()
	loop, _ := r.run(uplink.Options{})
	r.drain(loop)
	var worst time.Duration
	for n := uint64(1); n <= 50; n++ {
		began := time.Now()
		r.append(n, n)
		select {
		case <-woken:
		case <-time.After(10 * time.Second):
			t.Fatal("a record did not arrive")
		}
		worst = max(worst, time.Since(began))
	}
	t.Logf("from spool to stream in %s at worst", worst)
}

func TestWhatAFullSpoolDroppedIsTold(t *testing.T) {
	r := newRig(t, spool.Options{SegmentBytes: 4000, MaxBytes: 60_000})
	const last = 600
	for n := uint64(1); n <= last; n += 10 {
		r.append(n, n+9)
	}
	dropped := r.spool.Stats().Dropped
	if dropped == 0 {
		t.Fatal("the spool dropped nothing, the test shows nothing")
	}
	loop, _ := r.run(uplink.Options{MaxRecords: 7})
	r.drain(loop)
	got := r.stream()
	alerts := 0
	for _, sequence := range got {
		if sequence%10 == 0 {
			alerts++
		}
	}
	s, err := r.fleet.Sensor(t.Context(), r.sensor.ID)
	if err != nil {
		t.Fatal(err)
	}
	if s.LostRecords != dropped || uint64(len(got))+dropped != last || alerts != last/10 {
		t.Errorf("delivered %d (alerts %d), fleet counts %d lost, spool dropped %d of %d", len(got), alerts, s.LostRecords, dropped, last)
	}
}

func TestDamageAtTheEndIsTold(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.append(1, 20)
	// The sensor's checkpoint is further than a damaged spool: it goes on at 31.
	if err := r.spool.Close(); err != nil {
		t.Fatal(err)
	}
	r.openSpool(spool.Options{Dir: r.dir})
	r.append(31, 40)
	loop, _ := r.run(uplink.Options{})
	r.drain(loop)
	if got := r.stream(); len(got) != 30 || got[20] != 31 {
		t.Errorf("delivered: %v", got)
	}
}

func TestFleetFromABackup(t *testing.T) {
	r := newRig(t, spool.Options{SegmentBytes: 4000})
	for n := uint64(1); n <= 300; n += 10 {
		r.append(n, n+9)
	}
	if err := r.spool.Acknowledge(300); err != nil { // by the fleet as it was before
		t.Fatal(err)
	}
	kept := r.spool.Stats()
	loop, _ := r.run(uplink.Options{})
	r.drain(loop)
	s, err := r.fleet.Sensor(t.Context(), r.sensor.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.stream(); uint64(len(got)) != 300-kept.First+1 || s.LostRecords != kept.First-1 {
		t.Errorf("delivered %d and lost %d, but the spool held %d to %d", len(got), s.LostRecords, kept.First, kept.Last)
	}
}

func TestLostSpoolIsNoticed(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.append(1, 50)
	loop, stop := r.run(uplink.Options{})
	r.drain(loop)
	stop()
	r.dir = t.TempDir()
	r.openSpool(spool.Options{Dir: r.dir})
	r.append(1, 10) // a sensor that began anew under its old id
	states := make(chan error, 10)
	loop, _ = r.run(uplink.Options{OnState: func(err error) { states <- err }})
	select {
	case err := <-states:
		if err == nil || !strings.Contains(err.Error(), "spool was lost") {
			t.Errorf("state: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was told")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := loop.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "spool was lost") {
		t.Errorf("drain: %v", err)
	}
}

func TestRecordsFlowWhileACommandWaits(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.append(1, 10)
	release := make(chan struct{})
	var applied []uint64
	done := make(chan struct{})
	loop, _ := r.run(uplink.Options{Command: func(ctx context.Context, c event.Command) error {
		<-release // the sensor's stages are busy
		applied = append(applied, c.ID)
		if c.ID == 2 {
			close(done)
		}
		return nil
	}})
	r.drain(loop)
	for _, id := range []string{"1", "2"} {
		if err := r.fleet.Command(t.Context(), id, "alert-10", event.ActionClose, "ann", start); err != nil {
			t.Fatal(err)
		}
	}
	r.append(11, 500)
	r.drain(loop)
	close(release)
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the commands did not come")
	}
	if fmt.Sprint(applied) != "[1 2]" {
		t.Errorf("applied: %v", applied)
	}
}

// A restart may forget that a command was reported, but not that it was journaled.
func TestJournaledCommandsAreNotTakenAgain(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.append(1, 10)
	loop, stop := r.run(uplink.Options{})
	r.drain(loop)
	stop()
	for _, id := range []string{"1", "2"} {
		if err := r.fleet.Command(t.Context(), id, "alert-10", event.ActionClose, "ann", start); err != nil {
			t.Fatal(err)
		}
	}
	got := make(chan event.Command, 10)
	r.run(uplink.Options{Applied: 1, Command: func(_ context.Context, c event.Command) error { got <- c; return nil }})
	select {
	case c := <-got:
		if c.ID != 2 {
			t.Errorf("command %d was taken, want 2", c.ID)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no command came")
	}
}

func TestAFleetThatTakesNothingIsNotPressed(t *testing.T) {
	r := newRig(t, spool.Options{})
	var mu sync.Mutex
	asked := 0
	loop, stop := r.run(uplink.Options{Sender: senderFunc(func(ctx context.Context, b event.Batch) (event.Ack, error) {
		if b.WaitSeconds > 0 {
			<-ctx.Done()
			return event.Ack{}, ctx.Err()
		}
		mu.Lock()
		defer mu.Unlock()
		asked++
		return event.Ack{}, nil
	})})
	r.append(1, 10)
	time.Sleep(200 * time.Millisecond)
	stop()
	mu.Lock()
	defer mu.Unlock()
	if asked < 3 || asked > 100 {
		t.Errorf("%d batches in 200 ms with pauses of 5 to 10 ms", asked)
	}
	if err := loop.Status().Err; err == nil || loop.Status().Acknowledged != 0 {
		t.Errorf("status: %+v", loop.Status())
	}
}

package sensor_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor"
	"github.com/otus-project/otus/sensor/capture"
	"github.com/otus-project/otus/sensor/engine"
	"github.com/otus-project/otus/sensor/packet"
	"github.com/otus-project/otus/sensor/protocol"
	"github.com/otus-project/otus/sensor/spool"
	"github.com/otus-project/otus/simulate"
	"github.com/otus-project/otus/simulate/wire"
)

var (
	noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	id   = uuid.NewSHA1(uuid.NameSpaceOID, []byte("sensor test")).String()
)

// plant writes two days of learning and the attack.
func plant(t *testing.T) (learning, attack string) {
	t.Helper()
	write := func(name string, record func(*simulate.Plant, *wire.Recorder)) string {
		r := wire.NewRecorder(noon)
		record(simulate.New(1), r)
		path := filepath.Join(t.TempDir(), name)
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := r.WriteTo(f); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("learning.pcap", func(p *simulate.Plant, r *wire.Recorder) { p.Learn(r, noon, 2) }),
		write("attack.pcap", func(p *simulate.Plant, r *wire.Recorder) { p.Attack(r, noon) })
}

// rig is a sensor's folder; open gives the sensor as a program start would.
type rig struct {
	t     *testing.T
	dir   string
	clock time.Time
	spool *spool.Spool
}

func newRig(t *testing.T) *rig { return &rig{t: t, dir: t.TempDir(), clock: noon} }

func (r *rig) open(progress func(sensor.Progress)) *sensor.Sensor {
	r.t.Helper()
	var err error
	r.spool, err = spool.Open(spool.Options{Dir: filepath.Join(r.dir, "spool")})
	if err != nil {
		r.t.Fatal(err)
	}
	s, err := sensor.Open(sensor.Options{Dir: r.dir, ID: id, Name: "test", Mode: event.ModeLearning,
		Protocols: protocol.All, Engines: engine.All, Spool: r.spool, Progress: progress,
		Now: func() time.Time { r.clock = r.clock.Add(700 * time.Microsecond); return r.clock }})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *rig) records() [][]byte {
	r.t.Helper()
	var all [][]byte
	for next := uint64(1); ; {
		records, err := r.spool.ReadFrom(next, 1000, 1<<30)
		if err != nil {
			r.t.Fatal(err)
		}
		if len(records) == 0 {
			return all
		}
		for i := range records {
			data, err := records[i].Encode()
			if err != nil {
				r.t.Fatal(err)
			}
			all = append(all, data)
			if records[i].Sequence != uint64(len(all)) {
				r.t.Fatalf("record %d has sequence %d", len(all), records[i].Sequence)
			}
		}
		next = uint64(len(all)) + 1
	}
}

func replays(t *testing.T, learning, attack string) []sensor.Replay {
	t.Helper()
	a, err := sensor.NewReplay([]string{learning}, 0, sensor.ReplayTime{At: noon})
	if err != nil {
		t.Fatal(err)
	}
	b, err := sensor.NewReplay([]string{attack}, 0, sensor.ReplayTime{At: noon.Add(2 * time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	b.Mode = event.ModeOperational
	return []sensor.Replay{a, b}
}

func run(ctx context.Context, s *sensor.Sensor, todo []sensor.Replay) error {
	for _, r := range todo {
		if err := s.Replay(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// TestCutShortReplayGoesOnTheSame stops a replay again and again without any farewell; the records of all starts
// together must be those of a run that was left alone.
func TestCutShortReplayGoesOnTheSame(t *testing.T) {
	learning, attack := plant(t)
	todo := replays(t, learning, attack)

	whole := newRig(t)
	s := whole.open(nil)
	if err := run(context.Background(), s, todo); err != nil {
		t.Fatal(err)
	}
	want := whole.records()
	if len(want) < 500 {
		t.Fatalf("only %d records", len(want))
	}

	cut := newRig(t)
	starts := 0
	for {
		ctx, cancel := context.WithCancel(context.Background())
		frames := 0
		s := cut.open(func(sensor.Progress) {
			if frames++; frames > 1 {
				cancel()
			}
		})
		err := run(ctx, s, todo)
		cancel()
		starts++
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		cut.spool.Close()
		if starts > 200 {
			t.Fatal("the replay does not get on")
		}
	}
	if starts < 3 {
		t.Fatalf("only %d starts: nothing was cut short", starts)
	}
	got := cut.records()
	compare(t, got, want)
	t.Logf("%d starts, %d records", starts, len(got))
}

func compare(t *testing.T, got, want [][]byte) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("record %d:\n got %s\nwant %s", i+1, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
}

// alerts gives the newest revision of each alert.
func alerts(t *testing.T, r *rig) map[string]event.Alert {
	t.Helper()
	found := map[string]event.Alert{}
	records, err := r.spool.ReadFrom(1, 1<<20, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	for i := range records {
		if a := records[i].Alert; a != nil {
			found[a.ID] = *a
		}
	}
	return found
}

func TestSameCaptureAgainRaisesNothingNew(t *testing.T) {
	learning, attack := plant(t)
	todo := replays(t, learning, attack)
	r := newRig(t)
	s := r.open(nil)
	if err := run(context.Background(), s, todo); err != nil {
		t.Fatal(err)
	}
	before := len(alerts(t, r))
	if before < 10 {
		t.Fatalf("only %d alerts", before)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r.spool.Close()
	s = r.open(nil)
	if err := run(context.Background(), s, todo[1:]); err != nil {
		t.Fatal(err)
	}
	if after := len(alerts(t, r)); after != before {
		t.Errorf("%d alerts after the first replay, %d after the second", before, after)
	}
}

func TestEveryAlertOfTrafficKeepsItsPackets(t *testing.T) {
	learning, attack := plant(t)
	r := newRig(t)
	s := r.open(nil)
	if err := run(context.Background(), s, replays(t, learning, attack)); err != nil {
		t.Fatal(err)
	}
	records, err := r.spool.ReadFrom(1, 1<<20, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	kept := map[string]int{}
	for i := range records {
		c := records[i].Capture
		if c == nil {
			continue
		}
		path := filepath.Join(t.TempDir(), "alert.pcap")
		if err := os.WriteFile(path, c.PCAP, 0o600); err != nil {
			t.Fatal(err)
		}
		summary, err := capture.Scan(path)
		if err != nil || len(summary.Damage) > 0 || int(summary.Frames) != c.Packets || c.Packets == 0 {
			t.Errorf("capture of alert %s: %+v, error %v, want %d whole frames", c.AlertID, summary, err, c.Packets)
		}
		kept[c.AlertID]++
	}
	for id, a := range alerts(t, r) {
		if a.HasCapture && kept[id] != 1 {
			t.Errorf("%s: %d captures, want 1", a.Title, kept[id])
		}
	}
}

// TestLiveStateIsKnownBeforeRecordsLeave feeds frames as an interface would, drops the sensor without farewell and
// demands that the next start knows every alert that had left.
func TestLiveStateIsKnownBeforeRecordsLeave(t *testing.T) {
	_, attack := plant(t)
	r := newRig(t)
	s := r.open(nil)
	src := &liveFile{t: t, path: attack}
	ctx, cancel := context.WithCancel(context.Background())
	src.end = cancel
	if err := s.Live(ctx, src); err != nil {
		t.Fatal(err)
	}
	first := alerts(t, r)
	if len(first) == 0 {
		t.Fatal("no alerts")
	}
	r.spool.Close()

	s = r.open(nil) // the same frames again: every alert must be recognised
	src = &liveFile{t: t, path: attack}
	ctx, cancel = context.WithCancel(context.Background())
	src.end = cancel
	if err := s.Live(ctx, src); err != nil {
		t.Fatal(err)
	}
	second := alerts(t, r)
	for id, a := range second {
		if _, known := first[id]; !known {
			t.Errorf("after the restart the same traffic raised a new alert: %s", a.Title)
		}
	}
	r.records() // no gap in the sequences
}

// liveFile is an interface whose frames come from a capture.
type liveFile struct {
	t     *testing.T
	path  string
	files *capture.Files
	end   func()
}

func (l *liveFile) Dropped() uint64 { return 0 }

func (l *liveFile) Next() (*packet.Frame, error) {
	if l.files == nil {
		var err error
		if l.files, err = capture.Open(l.path); err != nil {
			l.t.Fatal(err)
		}
	}
	f, err := l.files.Next()
	if err != nil {
		l.end()
		return nil, nil
	}
	return f, nil
}

func TestCommandClosesAndIsNotAppliedTwice(t *testing.T) {
	learning, attack := plant(t)
	todo := replays(t, learning, attack)
	r := newRig(t)
	s := r.open(nil)
	if err := run(context.Background(), s, todo); err != nil {
		t.Fatal(err)
	}
	var target event.Alert
	for _, a := range alerts(t, r) {
		if strings.Contains(a.Title, "S7 Stop") {
			target = a
		}
	}
	if target.ID == "" {
		t.Fatal("the stop raised no alert")
	}
	ctx, cancel := context.WithCancel(context.Background())
	idle := make(chan error)
	go func() { idle <- s.Idle(ctx) }()
	command := event.Command{ID: 1, Action: event.ActionClose, AlertID: target.ID, Time: noon.Add(time.Hour)}
	for range 2 {
		if err := s.Deliver(ctx, []event.Command{command}); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-idle; err != nil {
		t.Fatal(err)
	}
	closed := alerts(t, r)[target.ID]
	if closed.Status != event.AlertClosed || closed.Revision != target.Revision+1 {
		t.Errorf("status %s revision %d, want Closed and %d", closed.Status, closed.Revision, target.Revision+1)
	}
	if s.Applied() != 1 {
		t.Errorf("applied command %d, want 1", s.Applied())
	}
}

func TestDamagedStateIsRefused(t *testing.T) {
	r := newRig(t)
	s := r.open(nil)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(r.dir, "checkpoint")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = sensor.Open(sensor.Options{Dir: r.dir, ID: id, Name: "test", Spool: r.spool, Now: func() time.Time { return noon }})
	if err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("open: %v, want an error that names the checksum", err)
	}
}

// TestJournaledCommandComesBeforeNewerOnes cuts a replay short right after a command was journaled, and gives the
// restarted sensor a newer one at once: both must take effect, the older first.
func TestJournaledCommandComesBeforeNewerOnes(t *testing.T) {
	_, attack := plant(t)
	todo, err := sensor.NewReplay([]string{attack}, 0, sensor.ReplayTime{At: noon})
	if err != nil {
		t.Fatal(err)
	}
	// A run that is left alone tells the alerts there will be.
	whole := newRig(t)
	s := whole.open(nil)
	if err := s.Replay(context.Background(), todo); err != nil {
		t.Fatal(err)
	}
	var ids []string
	records, err := whole.spool.ReadFrom(1, 1<<20, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	for i := range records {
		if a := records[i].Alert; a != nil && a.Revision == 1 {
			ids = append(ids, a.ID)
		}
	}
	if len(ids) < 4 {
		t.Fatalf("only %d alerts", len(ids))
	}

	r := newRig(t)
	s = r.open(nil)
	// Paced, so that the command finds the replay half way through; the rig's clock makes it quick.
	todo.Speed = 20
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- s.Replay(ctx, todo) }()
	waitFor(t, r.spool, ids[0])
	if err := s.Deliver(ctx, []event.Command{{ID: 1, Action: event.ActionClose, AlertID: ids[0], Time: noon}}); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-ran
	r.spool.Close()

	s = r.open(nil)
	todo.Speed = 0
	ctx, cancel = context.WithCancel(context.Background())
	defer cancel()
	delivered := make(chan error, 1)
	go func() {
		delivered <- s.Deliver(ctx, []event.Command{{ID: 2, Action: event.ActionSetActive, AlertID: ids[len(ids)-1], Time: noon}})
	}()
	if err := s.Replay(ctx, todo); err != nil {
		t.Fatal(err)
	}
	idle := make(chan error, 1)
	go func() { idle <- s.Idle(ctx) }()
	if err := <-delivered; err != nil {
		t.Fatal(err)
	}
	cancel()
	<-idle
	found := alerts(t, r)
	if a := found[ids[0]]; a.Status != event.AlertClosed {
		t.Errorf("the command from before the restart: alert is %s, want Closed", a.Status)
	}
}

// waitFor waits until an alert is in the spool.
func waitFor(t *testing.T, s *spool.Spool, id string) {
	t.Helper()
	for range 10_000 {
		records, err := s.ReadFrom(1, 1<<20, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		for i := range records {
			if a := records[i].Alert; a != nil && a.ID == id {
				return
			}
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("alert %s never came", id)
}

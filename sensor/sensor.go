// Package sensor runs one sensor: frames come in from a capture or an interface, records go out to the spool.
// All stages run on one goroutine. A checkpoint holds their whole state; with the journal of commands and the
// spool it makes a crash invisible: frames of a replay are read again and give the same records under the same
// sequences, and what a live interface showed is in the checkpoint before it leaves the sensor.
package sensor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor/detect"
	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/packet"
	"github.com/otus-project/otus/sensor/spool"
	"github.com/otus-project/otus/sensor/stage"
)

// Options of a sensor. Dir, ID, Name, Spool and Now are required.
type Options struct {
	Dir     string // holds checkpoint and journal
	ID      string // stable; alert and device ids are derived from it
	Name    string
	Version string
	// Mode at the very first start; afterwards the checkpoint's, changed by commands.
	Mode      event.SensorMode
	Protocols []*dissect.Protocol
	Engines   []*detect.Engine
	// Types switches single alert types on or off by id, against their default.
	Types map[string]bool
	Spool *spool.Spool
	// Now is the wall clock; it paces replays and ticks while there are no frames.
	Now func() time.Time
	// Busy, where set, holds a replay up while it is true: the spool fills faster than it drains.
	Busy func() bool
	// Progress, where set, is called now and then during a replay.
	Progress func(Progress)
	// Damage, where set, is told of capture files that are not whole; what is readable was taken in.
	Damage func(error)
}

// Progress of a replay.
type Progress struct {
	Frames, Total uint64 // Total is 0 where the end is not known
	Bytes         uint64
}

// Sensor is one running sensor. Run its Replay, Live and Idle from one goroutine, one after the other; Deliver
// and Counters may be called from others.
type Sensor struct {
	o       Options
	stage   *stage.Stage
	journal *journal
	*evidence
	health healthState

	position uint64
	sequence uint64 // of the next record
	pending  []event.Record
	command  uint64
	now      time.Time // stage time
	lastTick time.Time
	known    uint64      // last sequence spooled before this start: up to it records are derived again
	source   sourceState // of the replay that runs, or was cut short
	done     []string    // keys of the replays finished since the last orderly Close

	deliveries  chan delivery
	waiting     *atomic.Uint64 // records spooled and not acknowledged, told by the uplink
	live        bool           // frames come from an interface
	checkpoint  time.Time      // wall time of the last one
	cost        time.Duration  // how long it took
	pendingFrom time.Time      // wall time of the oldest pending record
	failed      error
}

type delivery struct {
	commands []event.Command
	done     chan error
}

// Bounds of how long records wait before they are in the spool, and of the work a crash repeats.
const (
	spoolAfter      = 20 * time.Millisecond
	spoolRecords    = 512
	checkpointEvery = time.Second
	liveCommitEvery = 200 * time.Millisecond
)

// Open loads the sensor's state from Dir, or begins a new one.
func Open(o Options) (*Sensor, error) {
	if o.Damage == nil {
		o.Damage = func(error) {}
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open sensor: %w", err)
	}
	cp, err := readCheckpoint(filepath.Join(o.Dir, "checkpoint"))
	if err != nil {
		return nil, err
	}
	if cp != nil && cp.SensorID != o.ID {
		return nil, fmt.Errorf("open sensor: %q holds the state of sensor %s, not of %s", o.Dir, cp.SensorID, o.ID)
	}
	j, err := openJournal(filepath.Join(o.Dir, "journal"))
	if err != nil {
		return nil, err
	}
	s := &Sensor{o: o, journal: j, sequence: 1, deliveries: make(chan delivery), waiting: new(atomic.Uint64)}
	s.stage = stage.New(stage.Options{
		SensorID: o.ID, SensorName: o.Name, Mode: o.Mode,
		Protocols: o.Protocols, Engines: o.Engines, Types: o.Types,
		Packet:        func(p *packet.Packet) { s.evidence.packet(p) },
		Alert:         s.alertRaised,
		Device:        func(d event.Device) { s.emit(event.Record{Kind: event.KindDevice, Device: &d}) },
		Connection:    func(c event.Connection) { s.emit(event.Record{Kind: event.KindConnection, Connection: &c}) },
		ProtocolEvent: func(e event.ProtocolEvent) { s.emit(event.Record{Kind: event.KindProtocolEvent, ProtocolEvent: &e}) },
	})
	var kept evidenceState
	if cp != nil {
		if err := s.stage.Restore(cp.Stage); err != nil {
			j.close()
			return nil, fmt.Errorf("open sensor: restore checkpoint: %w", err)
		}
		s.position, s.sequence, s.pending = cp.Position, cp.NextSequence, cp.Pending
		s.command, s.now, s.lastTick = cp.Command, cp.StageTime, cp.LastTick
		s.source, s.done, s.health, kept = cp.Source, cp.Done, cp.Health, cp.Evidence
	}
	s.known = o.Spool.LastSequence()
	s.evidence = newEvidence(kept, func(c event.Capture) { s.emit(event.Record{Kind: event.KindCapture, Capture: &c}) })
	if err := s.flush(); err != nil { // what the checkpoint held back; a no-op where the spool has it
		j.close()
		return nil, err
	}
	return s, nil
}

// Close writes a last checkpoint and releases the files.
func (s *Sensor) Close() error {
	var err error
	if s.failed == nil && !s.resumable() {
		s.done = nil
		err = s.commit()
	}
	return errors.Join(err, s.journal.close())
}

// catchingUp reports that the sensor has not yet done again all that it had done before a crash: the fleet may know
// alerts that the stages do not know yet, and commands in the journal must take effect before newer ones.
func (s *Sensor) catchingUp() bool {
	return s.resumable() && (s.sequence <= s.known || s.journal.pendingAfter(s.command))
}

// resumable reports a replay that was cut short: its next run derives again what came after the checkpoint.
func (s *Sensor) resumable() bool { return s.source.Key != "" }

// Deliver hands down commands from the fleet; it returns once they are durable. Commands already known are skipped.
func (s *Sensor) Deliver(ctx context.Context, commands []event.Command) error {
	d := delivery{commands: commands, done: make(chan error, 1)}
	select {
	case s.deliveries <- d:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-d.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Applied is the highest command id that is durable on this sensor; call it before the sensor runs.
func (s *Sensor) Applied() uint64 { return max(s.command, s.journal.last()) }

// SetWaiting tells how many spooled records the fleet has not acknowledged, for the health of live sensors.
func (s *Sensor) SetWaiting(n uint64) { s.waiting.Store(n) }

// frame takes one frame through all stages. Commands journaled at this position come first, as they did before a
// crash.
func (s *Sensor) frame(f *packet.Frame) {
	s.replayCommands()
	s.advance(f.Time)
	s.stage.Frame(f)
	s.position++
}

// advance moves time, never backwards, and does what is due when a second has begun.
func (s *Sensor) advance(to time.Time) {
	if to.After(s.now) {
		s.now = to
	}
	second := s.now.Truncate(time.Second)
	if !second.After(s.lastTick) {
		return
	}
	first := s.lastTick.IsZero()
	s.lastTick = second
	if first {
		return
	}
	s.evidence.tick(second)
	s.reportHealth(second)
}

func (s *Sensor) replayCommands() {
	if !s.journal.pendingAfter(s.command) {
		return
	}
	for _, c := range s.journal.due(s.position, s.command) {
		s.apply(c)
	}
}

// take journals and applies what Deliver brought.
func (s *Sensor) take(d delivery) error {
	for _, c := range d.commands {
		if c.ID <= s.journal.last() || c.ID <= s.command {
			continue
		}
		if err := s.journal.add(journalEntry{Position: s.position, Command: c}); err != nil {
			d.done <- err
			return err
		}
		s.apply(c)
	}
	d.done <- nil
	return nil
}

func (s *Sensor) apply(c event.Command) {
	s.command = c.ID
	s.stage.Command(c)
	s.reportHealth(s.now)
}

func (s *Sensor) alertRaised(a event.Alert) {
	s.emit(event.Record{Kind: event.KindAlert, Alert: &a})
	if a.HasCapture && a.Revision == 1 {
		s.evidence.alert(&a)
	}
}

func (s *Sensor) emit(r event.Record) {
	if len(s.pending) == 0 {
		s.pendingFrom = s.o.Now()
	}
	r.Sequence = s.sequence
	s.sequence++
	s.pending = append(s.pending, r)
}

// flush puts pending records into the spool, where the uplink finds them.
func (s *Sensor) flush() error {
	if len(s.pending) == 0 {
		return nil
	}
	err := s.o.Spool.Append(s.pending)
	var conflict *spool.ConflictError
	if err != nil && !errors.As(err, &conflict) {
		s.failed = fmt.Errorf("spool records: %w", err)
		return s.failed
	}
	if conflict != nil {
		s.health.Conflicts += uint64(conflict.Count)
	}
	s.pending = nil // handed over: the spool has encoded them
	return nil
}

// flushDue flushes once records have waited long enough, or are many.
func (s *Sensor) flushDue() error {
	if len(s.pending) >= spoolRecords || len(s.pending) > 0 && s.o.Now().Sub(s.pendingFrom) >= spoolAfter {
		return s.flush()
	}
	return nil
}

// commit writes a checkpoint that holds the pending records, and only then spools them: nothing leaves the sensor
// that a restart would not know of.
func (s *Sensor) commit() error {
	start := s.o.Now()
	state, err := s.stage.Snapshot()
	if err != nil {
		s.failed = fmt.Errorf("checkpoint: %w", err)
		return s.failed
	}
	cp := &checkpoint{SensorID: s.o.ID, Position: s.position, NextSequence: s.sequence, Pending: s.pending,
		Command: s.command, StageTime: s.now, LastTick: s.lastTick, Source: s.source, Done: s.done,
		Stage: state, Evidence: s.evidence.state(), Health: s.health}
	if err := writeCheckpoint(filepath.Join(s.o.Dir, "checkpoint"), cp); err != nil {
		s.failed = err
		return err
	}
	s.checkpoint = s.o.Now()
	s.cost = s.checkpoint.Sub(start)
	if err := s.journal.trim(s.command); err != nil {
		return err
	}
	return s.flush()
}

// commitDue writes a checkpoint when every has passed, or longer where checkpoints are costly: they may take a tenth
// of the time.
func (s *Sensor) commitDue(every time.Duration) error {
	if s.o.Now().Sub(s.checkpoint) < max(every, 10*s.cost) {
		return nil
	}
	return s.commit()
}

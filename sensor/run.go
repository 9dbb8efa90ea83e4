package sensor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor/capture"
	"github.com/otus-project/otus/sensor/packet"
)

// Replay is capture files that are read as if their frames came now.
type Replay struct {
	// Key names the files and their sizes: a restart goes on only in the same replay. Set by NewReplay.
	Key string
	// Paths are files and folders.
	Paths []string
	// Total is the number of frames, for progress.
	Total uint64
	// First and Last are the capture's own earliest and latest times.
	First, Last time.Time
	// When says where in time the frames are put; where a restart goes on, the first start counts.
	When ReplayTime
	// Mode, where set, is the mode the sensor changes to before the first frame.
	Mode event.SensorMode
	// Speed paces the replay against the capture's times: 1 is as recorded; 0 is as fast as possible.
	Speed float64
}

// ReplayTime says where in time a replay is put.
type ReplayTime struct {
	// Original leaves the capture's own times. Otherwise the last frame gets the time At; where At is zero, the time
	// at which the replay will reach it.
	Original bool
	At       time.Time
}

// NewReplay looks through the files for their first and last times.
func NewReplay(paths []string, speed float64, when ReplayTime) (Replay, error) {
	summary, err := capture.Scan(paths...)
	if err != nil {
		return Replay{}, err
	}
	return Replay{Key: fmt.Sprintf("%q %d frames %d bytes %d", paths, summary.Frames, summary.Bytes, summary.Last.UnixNano()),
		Paths: paths, Total: summary.Frames, First: summary.First, Last: summary.Last, When: when, Speed: speed}, nil
}

// shift is what is added to every frame's time when the replay begins now.
func (r *Replay) shift(now time.Time) time.Duration {
	switch {
	case r.When.Original || r.Total == 0:
		return 0
	case !r.When.At.IsZero():
		return r.When.At.Sub(r.Last)
	case r.Speed > 0:
		return now.Add(time.Duration(float64(r.Last.Sub(r.First)) / r.Speed)).Sub(r.Last)
	}
	return now.Sub(r.Last)
}

// Replay takes the source in from where an earlier run was cut short, or from its beginning, and returns at its
// end, when everything found is in the spool. A source that was finished before a crash is not read again; one that
// was finished before an orderly Close is.
func (s *Sensor) Replay(ctx context.Context, r Replay) error {
	switch {
	case slices.Contains(s.done, r.Key):
		return nil // the run that a restart goes on with had finished it
	case s.resumable() && s.source.Key == r.Key:
	default:
		if err := s.leaveReplay(); err != nil {
			return err
		}
		s.source = sourceState{Key: r.Key, Shift: r.shift(s.o.Now())}
		if r.Mode != "" {
			s.stage.SetMode(r.Mode)
		}
		if err := s.commit(); err != nil {
			return err
		}
	}
	src, err := capture.Open(r.Paths...)
	if err != nil {
		return err
	}
	defer src.Close()
	if err := src.Skip(s.source.Frames); err != nil {
		return fmt.Errorf("go on with the replay: %w", err)
	}
	src.Shift = s.source.Shift
	pace := pacer{speed: r.Speed, now: s.o.Now}
	var bytes uint64
	for {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f, err := src.Next()
		var damage *capture.DamageError
		switch {
		case errors.Is(err, io.EOF):
			return s.finish(r, bytes)
		case errors.As(err, &damage):
			s.o.Damage(damage)
			continue
		case err != nil:
			return err
		}
		bytes += uint64(f.Length)
		if s.o.Progress != nil && s.source.Frames%4096 == 0 {
			s.o.Progress(Progress{Frames: s.source.Frames, Total: r.Total, Bytes: bytes})
		}
		var due time.Time // what is only derived again need not wait
		if !s.catchingUp() {
			due = pace.until(f.Time)
		}
		if err := s.between(ctx, due); err != nil {
			return err
		}
		s.frame(f)
		s.source.Frames++
	}
}

// finish lets out what the stages still hold, and remembers that the replay is done.
func (s *Sensor) finish(r Replay, bytes uint64) error {
	s.replayCommands()
	s.advance(s.now)
	s.stage.Flush(s.now)
	s.evidence.flush()
	s.done = append(s.done, r.Key)
	s.source = sourceState{}
	if s.o.Progress != nil {
		s.o.Progress(Progress{Frames: r.Total, Total: r.Total, Bytes: bytes})
	}
	return s.commit()
}

// leaveReplay takes over what a cut-short replay has already spooled beyond the checkpoint, when that replay is not
// going on: the next records must not come under the same sequences.
func (s *Sensor) leaveReplay() error {
	last := s.o.Spool.Stats().Last
	for s.sequence <= last {
		records, err := s.o.Spool.ReadFrom(s.sequence, 1024, 8<<20)
		if err != nil {
			return fmt.Errorf("roll forward: %w", err)
		}
		if len(records) == 0 {
			s.sequence = last + 1
			break
		}
		for i := range records {
			if a := records[i].Alert; a != nil {
				s.stage.Apply(*a)
				if a.LastActivity.After(s.now) {
					s.now = a.LastActivity
				}
			}
			s.sequence = records[i].Sequence + 1
		}
	}
	for _, c := range s.journal.due(math.MaxUint64, s.command) { // their frames will not come again
		s.apply(c)
	}
	return nil
}

// between does what is due between two frames of a replay: commands, spooling, checkpoints, and waiting for the
// frame's time.
func (s *Sensor) between(ctx context.Context, until time.Time) error {
	for {
		var wait time.Duration
		if !until.IsZero() {
			wait = until.Sub(s.o.Now())
		}
		if s.o.Busy != nil && s.source.Frames%busyEvery == 0 && s.o.Busy() {
			wait = max(wait, spoolAfter)
		}
		if wait > spoolAfter {
			if err := s.flush(); err != nil {
				return err
			}
		}
		if err := s.flushDue(); err != nil {
			return err
		}
		if err := s.commitDue(checkpointEvery); err != nil {
			return err
		}
		if s.catchingUp() {
			return nil // a new command could be about an alert that is yet to be raised again
		}
		if wait <= 0 {
			select {
			case d := <-s.deliveries:
				if err := s.take(d); err != nil {
					return err
				}
				continue
			default:
				return nil
			}
		}
		if len(s.pending) > 0 {
			wait = min(wait, spoolAfter)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case d := <-s.deliveries:
			if err := s.take(d); err != nil {
				timer.Stop()
				return err
			}
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		timer.Stop()
	}
}

// busyEvery is how many frames pass between two looks at whether the spool has room.
const busyEvery = 256

// pacer tells when a frame is due.
type pacer struct {
	speed float64
	now   func() time.Time
	start time.Time // wall time of the first frame
	first time.Time // its stage time
}

// until is the zero time where frames come as fast as they can.
func (p *pacer) until(frame time.Time) time.Time {
	if p.speed <= 0 {
		return time.Time{}
	}
	if p.start.IsZero() {
		p.start, p.first = p.now(), frame
	}
	return p.start.Add(time.Duration(float64(frame.Sub(p.first)) / p.speed))
}

// LiveSource is a network interface.
type LiveSource interface {
	// Next returns a nil frame when none came for a while, so that time can pass. The frame is valid until the
	// next call.
	Next() (*packet.Frame, error)
	// Dropped counts the frames the kernel dropped since the interface was opened.
	Dropped() uint64
}

// Live takes frames from an interface until ctx ends.
func (s *Sensor) Live(ctx context.Context, src LiveSource) error {
	if err := s.beginLive(); err != nil {
		return err
	}
	s.live = true
	dropped := s.health.Dropped
	for ctx.Err() == nil {
		f, err := src.Next()
		if err != nil {
			return errors.Join(err, s.commit())
		}
		if f != nil {
			s.frame(f)
		} else {
			s.tick()
		}
		s.health.Dropped = dropped + src.Dropped()
		select {
		case d := <-s.deliveries:
			if err := s.take(d); err != nil {
				return err
			}
		default:
		}
		if len(s.pending) > 0 {
			err = s.commitDue(liveCommitEvery)
		} else {
			err = s.commitDue(30 * time.Second)
		}
		if err != nil {
			return err
		}
	}
	return s.commit()
}

// Idle takes commands until ctx ends. Stage time stands still: without an interface silence means nothing.
func (s *Sensor) Idle(ctx context.Context) error {
	if err := s.beginLive(); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case d := <-s.deliveries:
			if err := s.take(d); err != nil {
				return err
			}
			if err := s.commit(); err != nil {
				return err
			}
		}
	}
}

func (s *Sensor) beginLive() error {
	if s.resumable() {
		if err := s.leaveReplay(); err != nil {
			return err
		}
	}
	s.source = sourceState{}
	s.replayCommands()
	return s.commit()
}

// tick lets stage time follow the wall clock while no frames come.
func (s *Sensor) tick() {
	now := s.o.Now()
	if now.Sub(s.lastTick) < time.Second {
		return
	}
	s.replayCommands()
	s.advance(now)
	s.stage.Tick(s.now)
}

// Package station is a sensor as a program runs it: the sensor itself, its spool, and the uplink that drains it. Frames
// come from replays and then from an interface, or nowhere; what was found leaves by the sender.
package station

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor"
	"github.com/otus-project/otus/sensor/capture"
	"github.com/otus-project/otus/sensor/packet"
	"github.com/otus-project/otus/sensor/spool"
	"github.com/otus-project/otus/sensor/uplink"
)

// busyBytes is the size of the spool from which on a replay waits for the uplink: an eighth of what it may hold.
const busyBytes = 128 << 20

// Options of a station. Sensor.Spool is made by Open.
type Options struct {
	Dir    string
	Sensor sensor.Options
	// Sender takes the batches; nil keeps everything in the spool.
	Sender uplink.Sender
	// Wait is how long a question for commands may wait at the fleet.
	Wait time.Duration
	// Report is told of what goes wrong without ending the run: the uplink, a damaged capture, the interface. It
	// may be called from two goroutines.
	Report func(error)
}

// Station is an open station.
type Station struct {
	o      Options
	spool  *spool.Spool
	sensor *sensor.Sensor
	loop   *uplink.Loop
	wait   sync.WaitGroup
}

// Open opens spool and sensor in o.Dir.
func Open(o Options) (*Station, error) {
	if o.Report == nil {
		o.Report = func(error) {}
	}
	s := &Station{o: o}
	var err error
	if s.spool, err = spool.Open(spool.Options{Dir: filepath.Join(o.Dir, "spool")}); err != nil {
		return nil, err
	}
	o.Sensor.Dir, o.Sensor.Spool, o.Sensor.Damage = o.Dir, s.spool, o.Report
	if o.Sender != nil {
		o.Sensor.Busy = func() bool { return s.spool.Stats().Bytes > busyBytes }
	}
	if s.sensor, err = sensor.Open(o.Sensor); err != nil {
		return nil, errors.Join(err, s.spool.Close())
	}
	if o.Sender != nil {
		s.loop = uplink.NewLoop(uplink.Options{
			SensorID: o.Sensor.ID, Spool: s.spool, Sender: o.Sender, Applied: s.sensor.Applied(), Wait: o.Wait,
			Command: func(ctx context.Context, c event.Command) error {
				return s.sensor.Deliver(ctx, []event.Command{c})
			},
			OnState: func(err error) {
				if err != nil {
					o.Report(fmt.Errorf("uplink: %w", err))
				}
			},
		})
	}
	return s, nil
}

// Start begins sending. It ends with ctx.
func (s *Station) Start(ctx context.Context) {
	if s.loop == nil {
		return
	}
	s.wait.Add(2)
	go func() {
		defer s.wait.Done()
		if err := s.loop.Run(ctx); err != nil && ctx.Err() == nil {
			s.o.Report(fmt.Errorf("uplink: %w", err))
		}
	}()
	go func() {
		defer s.wait.Done()
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				s.sensor.SetWaiting(s.spool.Stats().Waiting)
			}
		}
	}()
}

// Replay takes the replays in, one after the other.
func (s *Station) Replay(ctx context.Context, todo []sensor.Replay) error {
	for _, r := range todo {
		if err := s.sensor.Replay(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// Drain keeps the sensor answering commands until idle says everything has settled, then sends what is left.
func (s *Station) Drain(ctx context.Context, settled func(context.Context) error) error {
	idle, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.sensor.Idle(idle) }()
	var err error
	if s.loop != nil {
		err = s.loop.Drain(ctx)
	}
	if err == nil && settled != nil {
		err = settled(ctx)
	}
	stop()
	err = errors.Join(err, <-done)
	if err == nil && s.loop != nil {
		err = s.loop.Drain(ctx)
	}
	return err
}

// Watch takes frames from the interface until ctx ends; without a name it only keeps time and takes commands.
func (s *Station) Watch(ctx context.Context, name string) error {
	if name == "" {
		return s.sensor.Idle(ctx)
	}
	live, err := capture.OpenLive(name, capture.LiveOptions{})
	if err != nil {
		return err
	}
	defer live.Close()
	return s.sensor.Live(ctx, &port{live: live, report: s.o.Report})
}

// Close stops sending, which ctx must have been told already, and closes sensor and spool.
func (s *Station) Close() error {
	s.wait.Wait()
	return errors.Join(s.sensor.Close(), s.spool.Close())
}

// port is an interface whose errors do not end the watch: a cable that is pulled comes back.
type port struct {
	live   *capture.Live
	report func(error)
	failed bool
}

const (
	readTimeout = 100 * time.Millisecond
	retryAfter  = time.Second
)

func (p *port) Next() (*packet.Frame, error) {
	f, err := p.live.Read(readTimeout)
	switch {
	case err == nil:
		p.failed = false
		return f, nil
	case errors.Is(err, capture.ErrTimeout):
		return nil, nil
	}
	if !p.failed {
		p.failed = true
		p.report(err)
	}
	time.Sleep(retryAfter)
	return nil, nil
}

func (p *port) Dropped() uint64 { return p.live.Dropped() }

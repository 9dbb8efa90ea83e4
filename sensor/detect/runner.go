package detect

import (
	"encoding/json"
	"fmt"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor/baseline"
	"github.com/otus-project/otus/sensor/dissect"
)

// Options configure a Set of engines.
type Options struct {
	Engines []*Engine
	// Enabled switches alert types on or off by id, against their default.
	Enabled map[string]bool
	// Config is handed to the engines that ask for it.
	Config Config
	// OnPanic is told of each panic caught in an engine. nil: only counted.
	OnPanic func(engine event.Engine, value any)
}

// Config is what engines may need to know of the installation.
type Config struct {
	Protocols []*dissect.Protocol
	// Indicators replace the engine's own list where not nil.
	Indicators *Indicators
}

// Configured is implemented by engines that need Config. Configure is called once, before anything is observed.
type Configured interface{ Configure(Config) }

// Categories whose alerts are about the sensor itself: the focus on OT does not hold for them.
const categorySensor = "Sensor Traffic"

// Set runs the engines. It is owned by one goroutine.
type Set struct {
	o        Options
	types    map[string]typeState
	runners  []Runner
	failures uint64
	raise    func(Finding)
	// Of the Observe that runs: what is looked at, by which engine, and what it found.
	current *Observation
	engine  *Engine
	found   []Finding
}

type typeState struct {
	Type
	engine  event.Engine
	enabled bool
}

// NewSet starts the engines.
func NewSet(o Options) *Set {
	s := &Set{o: o, types: map[string]typeState{}}
	for _, e := range o.Engines {
		for _, t := range e.Types {
			enabled, switched := o.Enabled[t.ID]
			s.types[t.ID] = typeState{t, e.ID, !switched && !t.Off || enabled}
		}
	}
	s.raise = s.take
	s.start()
	return s
}

func (s *Set) start() {
	s.runners = nil
	for _, e := range s.o.Engines {
		r := e.New()
		if c, ok := r.(Configured); ok {
			c.Configure(s.o.Config)
		}
		s.runners = append(s.runners, r)
	}
}

// Reset forgets all engines' state: the next source's times have nothing to do with this one's.
func (s *Set) Reset() { s.start() }

// Types lists the alert types by id, with their engine.
func (s *Set) Types() map[string]TypeOf {
	types := make(map[string]TypeOf, len(s.types))
	for id, t := range s.types {
		types[id] = TypeOf{t.Type, t.engine}
	}
	return types
}

// TypeOf is an alert type with the engine that raises it.
type TypeOf struct {
	Type
	Engine event.Engine
}

// Watcher is implemented by an engine that watches the sensor's own interface.
type Watcher interface {
	// Quiet reports that the interface has fallen silent.
	Quiet() bool
}

// Quiet reports that the sensor's interface has fallen silent.
func (s *Set) Quiet() bool {
	for _, r := range s.runners {
		if w, ok := r.(Watcher); ok && w.Quiet() {
			return true
		}
	}
	return false
}

// Failures counts the panics caught in engines.
func (s *Set) Failures() uint64 { return s.failures }

// Observe shows o to every engine, in order, and hands on the findings that pass: of a type that is switched on,
// and about OT unless the engine is malware or the alert is about the sensor itself. raise may lead to a further
// Observe: what is learnt from one finding is an observation itself.
func (s *Set) Observe(o *Observation, raise func(Finding)) {
	s.current, s.found = o, s.found[:0]
	for n, r := range s.runners {
		s.engine = s.o.Engines[n]
		s.observe(r, o)
	}
	found := s.found
	s.current, s.found = nil, nil // a further Observe starts its own list
	for n := range found {
		raise(found[n])
	}
	s.found = found[:0]
}

func (s *Set) observe(r Runner, o *Observation) {
	defer func() {
		if value := recover(); value != nil {
			s.failures++
			if s.o.OnPanic != nil {
				s.o.OnPanic(s.engine.ID, value)
			}
		}
	}()
	r.Observe(o, s.raise)
}

func (s *Set) take(f Finding) {
	t, ok := s.types[f.Type]
	if !ok || t.engine != s.engine.ID {
		panic(fmt.Sprintf("engine %s raised alert type %q, which it does not declare", s.engine.ID, f.Type))
	}
	if !t.enabled || t.engine == event.EnginePolicyViolation && s.current.Mode != event.ModeOperational {
		return
	}
	if t.engine != event.EngineMalware && t.Category != categorySensor && !s.involvesOT(&f) {
		return
	}
	s.found = append(s.found, f)
}

func (s *Set) involvesOT(f *Finding) bool {
	if f.OT || f.Protocol != nil && f.Protocol.OT {
		return true
	}
	inv := s.current.Inventory
	return inv != nil && (inv.IsOT(f.Source) || inv.IsOT(f.Destination))
}

// Snapshot returns the state of all engines.
func (s *Set) Snapshot() ([]byte, error) {
	state := map[event.Engine]json.RawMessage{}
	for n, r := range s.runners {
		data, err := json.Marshal(r)
		if err != nil {
			return nil, fmt.Errorf("store engine %s: %w", s.o.Engines[n].ID, err)
		}
		state[s.o.Engines[n].ID] = data
	}
	return json.Marshal(struct {
		Engines  map[event.Engine]json.RawMessage `json:"engines"`
		Failures uint64                           `json:"failures,omitempty"`
	}{state, s.failures})
}

// Restore continues from a snapshot. An engine that was not there before starts anew.
func (s *Set) Restore(data []byte) error {
	var state struct {
		Engines  map[event.Engine]json.RawMessage `json:"engines"`
		Failures uint64                           `json:"failures"`
	}
	if err := json.Unmarshal(data, &state); err != nil {
		return fmt.Errorf("read engines: %w", err)
	}
	s.start()
	for n, r := range s.runners {
		id := s.o.Engines[n].ID
		if data, ok := state.Engines[id]; ok {
			if err := json.Unmarshal(data, r); err != nil {
				return fmt.Errorf("read engine %s: %w", id, err)
			}
		}
	}
	s.failures = state.Failures
	return nil
}

// ScannerEntry is what learning a scan alert adds to the baseline: the device may scan.
func ScannerEntry(o *Observation, source dissect.Endpoint) []baseline.Entry {
	if d := o.Inventory.Lookup(source); d != nil {
		return []baseline.Entry{{Kind: baseline.KindScanner, Subject: d.ID}}
	}
	return nil
}

// Scanner reports whether the endpoint is a device known to scan.
func (o *Observation) Scanner(e dissect.Endpoint) bool {
	d := o.Inventory.Lookup(e)
	return d != nil && d.Scanner
}

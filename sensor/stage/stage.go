// Package stage wires the stages of one sensor: frames go through decoder and dissector, inventory and baseline, the
// engines and the alert book; rows come out by callback. It runs on one goroutine and reads no clock: stage time is the
// newest time of a frame or tick, and never runs backwards. The whole state can be stored and restored; what
// follows is the same, to the byte.
package stage

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor/alert"
	"github.com/otus-project/otus/sensor/baseline"
	"github.com/otus-project/otus/sensor/detect"
	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/inventory"
	"github.com/otus-project/otus/sensor/packet"
)

// Options of a Stage. Protocols and Engines are needed for it to see anything; all else may be zero. Callbacks
// run on the caller's goroutine, in the order of the frames; rows may be kept.
type Options struct {
	SensorID, SensorName string
	// Mode at the start; learning where empty.
	Mode      event.SensorMode
	Protocols []*dissect.Protocol
	Engines   []*detect.Engine
	// Types switches alert types on or off by id, against their default.
	Types map[string]bool
	// OTSubnets count as OT before any OT protocol was seen in them.
	OTSubnets []netip.Prefix
	// Indicators replace the shipped list of malicious addresses and names.
	Indicators *detect.Indicators
	Limits     dissect.Limits

	// Packet sees every decoded frame before anything it brings about; p is valid during the call. Where it is set,
	// alerts say that packets around them are kept.
	Packet func(p *packet.Packet)
	// Message sees every message; m may be kept. c is nil for protocols below TCP and UDP.
	Message       func(m *dissect.Message, c *dissect.Connection)
	Alert         func(event.Alert)
	Device        func(event.Device)
	Connection    func(event.Connection)
	ProtocolEvent func(event.ProtocolEvent)
	// OnPanic is told of each panic caught in a plug-in.
	OnPanic func(plugin string, value any)
}

func (o *Options) defaults() {
	if o.Mode == "" {
		o.Mode = event.ModeLearning
	}
	if o.Alert == nil {
		o.Alert = func(event.Alert) {}
	}
	if o.Device == nil {
		o.Device = func(event.Device) {}
	}
	if o.Connection == nil {
		o.Connection = func(event.Connection) {}
	}
	if o.ProtocolEvent == nil {
		o.ProtocolEvent = func(event.ProtocolEvent) {}
	}
	if o.OnPanic == nil {
		o.OnPanic = func(string, any) {}
	}
}

// Stage is one sensor's chain of stages.
type Stage struct {
	o         Options
	runner    *dissect.Runner
	inventory *inventory.Inventory
	baseline  *baseline.Baseline
	engines   *detect.Set
	book      *alert.Book
	state     state

	// Of the frame that is taken in.
	frame      uint64
	connection *dissect.Connection
	opening    bool // it is a TCP SYN, or no TCP
}

// state is what belongs to no single stage.
type state struct {
	Mode event.SensorMode `json:"mode"`
	Now  time.Time        `json:"now"`
	Tick time.Time        `json:"tick"` // the last whole second told
}

// New makes a stage that has seen nothing.
func New(o Options) *Stage {
	o.defaults()
	s := &Stage{o: o, state: state{Mode: o.Mode}}
	s.runner = s.newRunner()
	s.inventory = inventory.New(inventory.Options{SensorID: o.SensorID, Mode: o.Mode, OTSubnets: o.OTSubnets,
		Changed: s.changed, Device: o.Device, Connection: o.Connection})
	s.baseline = baseline.New(baseline.Options{Mode: o.Mode})
	s.engines = detect.NewSet(detect.Options{Engines: o.Engines, Enabled: o.Types,
		Config:  detect.Config{Protocols: o.Protocols, Indicators: o.Indicators},
		OnPanic: func(engine event.Engine, value any) { o.OnPanic(string(engine), value) }})
	s.book = alert.NewBook(alert.Options{SensorID: o.SensorID, SensorName: o.SensorName, Types: s.engines.Types(),
		Devices: s.inventory, Captures: o.Packet != nil, Emit: o.Alert})
	return s
}

func (s *Stage) newRunner() *dissect.Runner {
	return dissect.NewRunner(dissect.Options{Protocols: s.o.Protocols, Limits: s.o.Limits,
		OnPanic: func(protocol string, value any, _ []byte) { s.o.OnPanic(protocol, value) }})
}

// Frame takes the next frame.
func (s *Stage) Frame(f *packet.Frame) {
	s.advance(f.Time)
	s.frame, s.connection = f.Index, nil
	s.runner.Frame(f, (*handler)(s))
	if s.connection != nil {
		s.established(s.connection)
	}
	s.frame, s.connection = 0, nil
}

// Tick moves stage time while no frames come, or ahead of the next.
func (s *Stage) Tick(now time.Time) {
	s.frame = 0
	s.advance(now)
	s.runner.Tick(s.state.Now, (*handler)(s))
}

// advance moves stage time and tells the stages of the whole second that has begun; seconds in which nothing
// happened are not told one by one.
func (s *Stage) advance(to time.Time) {
	if to.After(s.state.Now) {
		s.state.Now = to
	}
	second := s.state.Now.Truncate(time.Second)
	if !second.After(s.state.Tick) {
		return
	}
	first := s.state.Tick.IsZero()
	s.state.Tick = second
	if first {
		return
	}
	s.inventory.Tick(second)
	s.observe(detect.Observation{Tick: true})
	s.book.Tick(second)
}

// Flush sends all that waits: the source has no more frames for now.
func (s *Stage) Flush(now time.Time) {
	s.advance(now)
	s.runner.Flush((*handler)(s))
	s.observe(detect.Observation{Ended: true})
	s.inventory.Flush(s.state.Now)
	s.book.Flush(s.state.Now)
}

// Rewind starts on a source whose clock has nothing to do with the last one's: connections and counts are
// forgotten; devices, baseline and alerts stay. Call it after Flush.
func (s *Stage) Rewind() {
	s.state.Now, s.state.Tick = time.Time{}, time.Time{}
	s.runner = s.newRunner()
	s.inventory.Rewind()
	s.engines.Reset()
	s.book.Rewind()
}

// Mode is the running mode.
func (s *Stage) Mode() event.SensorMode { return s.state.Mode }

// SetMode changes it; any other value than the two modes changes nothing.
func (s *Stage) SetMode(mode event.SensorMode) {
	if mode != event.ModeLearning && mode != event.ModeOperational {
		return
	}
	s.state.Mode = mode
	s.inventory.SetMode(mode)
	s.baseline.SetMode(mode)
}

// Command applies a command from the fleet, once. Its time dates the alert's change but does not move stage time: a
// person closing an alert of an old capture must not make the engines believe that years of silence have passed.
func (s *Stage) Command(c event.Command) {
	result := s.book.Command(c, s.state.Now)
	if !result.Applied {
		return
	}
	s.learn(result.Learn)
	if c.Action == event.ActionSetMode {
		s.SetMode(c.Mode)
	}
}

// flags are the properties of devices that entries of the baseline stand for.
var flags = map[string]inventory.Flag{
	baseline.KindDevice:      inventory.FlagAuthorized,
	baseline.KindProgramming: inventory.FlagProgramming,
	baseline.KindScanner:     inventory.FlagScanner,
}

func (s *Stage) learn(entries []baseline.Entry) {
	s.baseline.Learn(entries)
	for _, e := range entries {
		if flag, ok := flags[e.Kind]; ok {
			s.inventory.SetFlag(e.Subject, flag, s.state.Now)
		}
	}
}

// Apply rolls the alerts forward to a row emitted after the state this stage was restored from.
func (s *Stage) Apply(row event.Alert) {
	s.book.Apply(row)
	if row.LastActivity.After(s.state.Now) {
		s.state.Now = row.LastActivity
	}
}

// observe shows one observation to the engines and takes their findings.
func (s *Stage) observe(o detect.Observation) {
	o.Time, o.Mode, o.Inventory, o.Frame = s.state.Now, s.state.Mode, s.inventory, s.frame
	s.engines.Observe(&o, s.found)
}

func (s *Stage) found(f detect.Finding) {
	s.book.Raise(f, s.state.Now)
	if s.state.Mode != event.ModeLearning {
		return
	}
	// Whoever scans while the sensor learns is told once and then known as a scanner.
	for _, e := range f.Learn {
		if e.Kind == baseline.KindScanner {
			s.learn([]baseline.Entry{e})
		}
	}
}

func (s *Stage) deviated(d *baseline.Deviation) { s.observe(detect.Observation{Deviation: d}) }

func (s *Stage) changed(c inventory.Change) {
	if c.Frame == 0 {
		c.Frame = s.frame
	}
	s.observe(detect.Observation{Device: &c})
	s.baseline.Device(&c, s.state.Now, s.deviated)
}

// established tells, once per connection, that both sides take part.
func (s *Stage) established(c *dissect.Connection) {
	if !s.inventory.Established(c) {
		return
	}
	s.observe(detect.Observation{Established: c, Connection: c})
	s.baseline.Established(c, s.inventory, s.state.Now, s.frame, s.deviated)
}

// handler is the stage as the dissector sees it.
type handler Stage

var _ dissect.Handler = (*handler)(nil)

// Packet implements dissect.Handler.
func (h *handler) Packet(p *packet.Packet, c *dissect.Connection) {
	s := (*Stage)(h)
	s.connection = c
	s.opening = p.IPProto != packet.ProtoTCP || p.Flags&(packet.SYN|packet.ACK) == packet.SYN
	if s.o.Packet != nil {
		s.o.Packet(p)
	}
	s.inventory.Packet(p, c, s.state.Now)
	s.baseline.Packet(p, s.state.Now, s.deviated)
	s.observe(detect.Observation{Packet: p, Connection: c})
}

// Opened implements dissect.Handler.
func (h *handler) Opened(c *dissect.Connection) {
	s := (*Stage)(h)
	s.observe(detect.Observation{Opened: c, Connection: c})
	s.baseline.Opened(c, s.opening, s.inventory, s.state.Now, s.frame, s.deviated)
}

// Recognised implements dissect.Handler.
func (h *handler) Recognised(c *dissect.Connection) {
	(*Stage)(h).observe(detect.Observation{Recognised: c, Connection: c})
}

// Closed implements dissect.Handler.
func (h *handler) Closed(c *dissect.Connection, _ string) {
	s := (*Stage)(h)
	s.established(c)
	s.observe(detect.Observation{Closed: c, Connection: c})
	s.inventory.Closed(c)
	if s.connection == c {
		s.connection = nil
	}
}

// Message implements dissect.Handler.
func (h *handler) Message(m *dissect.Message, c *dissect.Connection) {
	s := (*Stage)(h)
	if s.o.Message != nil {
		s.o.Message(m, c)
	}
	s.inventory.Message(m, c, s.state.Now)
	s.baseline.Message(m, s.inventory, s.state.Now, s.deviated)
	s.observe(detect.Observation{Message: m, Connection: c})
	if m.Operation.ControlRelevant() {
		s.o.ProtocolEvent(s.protocolEvent(m))
	}
}

// protocolEvent is the row of one control-relevant message.
func (s *Stage) protocolEvent(m *dissect.Message) event.ProtocolEvent {
	row := event.ProtocolEvent{Time: m.Time, SensorID: s.o.SensorID,
		ClientAddress: m.Client.Addr, ServerAddress: m.Server.Addr, ServerPort: m.Server.Port,
		Protocol: m.Protocol.Name, Operation: string(m.Operation), FunctionCode: m.Code, FunctionName: m.CodeName,
		Unit: m.Unit, Result: "request", Frame: m.Frame}
	if d := s.inventory.Lookup(m.Client); d != nil {
		row.ClientID = d.ID
	}
	if d := s.inventory.Lookup(m.Server); d != nil {
		row.ServerID = d.ID
	}
	var targets, values []string
	for n := range m.Targets {
		const few = 8
		if n == few {
			targets = append(targets, fmt.Sprintf("and %d more", len(m.Targets)-few))
			break
		}
		targets = append(targets, detect.Target(&m.Targets[n]))
		if m.Targets[n].Value != "" {
			values = append(values, m.Targets[n].Value)
		}
	}
	row.Target, row.Value = strings.Join(targets, ", "), strings.Join(values, ", ")
	if m.Kind != dissect.Request {
		row.Result = "ok"
		if m.Exception != 0 {
			row.Result, row.ResultCode = "error", m.Exception
		}
	}
	return row
}

// Counters are the stage's own numbers, since the sensor's first start.
type Counters struct {
	dissect.Stats
	Devices    int
	OpenAlerts int
	// Connections are open now; Evicted are entries of all tables that left for lack of room.
	Connections     int
	Evicted         uint64
	OneSidedStreams uint64
	PluginFailures  uint64 // panics caught in protocols and engines
	SilencedAlerts  uint64 // findings kept back by mute and learn
	BaselineFull    uint64 // facts not learned for lack of room
	NoTraffic       bool   // the interface has fallen silent
}

// Counters returns the numbers so far.
func (s *Stage) Counters() Counters {
	d := s.runner.Stats()
	return Counters{Stats: d, Devices: s.inventory.Len(), OpenAlerts: s.book.Open(), Connections: d.Connections,
		Evicted: d.Evicted + s.inventory.Evicted() + s.book.Evicted(), OneSidedStreams: d.OneSided,
		PluginFailures: d.PluginFailures + s.engines.Failures(), SilencedAlerts: s.book.Silenced(),
		BaselineFull: s.baseline.Full(), NoTraffic: s.engines.Quiet()}
}

// Devices returns all devices, Alerts all alerts as they stand.
func (s *Stage) Devices() []event.Device { return s.inventory.Devices() }
func (s *Stage) Alerts() []event.Alert   { return s.book.All() }

// Now is stage time.
func (s *Stage) Now() time.Time { return s.state.Now }

type snapshot struct {
	State     state           `json:"state"`
	Dissect   json.RawMessage `json:"dissect"`
	Inventory json.RawMessage `json:"inventory"`
	Baseline  json.RawMessage `json:"baseline"`
	Engines   json.RawMessage `json:"engines"`
	Alerts    json.RawMessage `json:"alerts"`
}

type storable interface {
	Snapshot() ([]byte, error)
	Restore([]byte) error
}

func (s *Stage) parts(into *snapshot) []struct {
	name string
	part storable
	data *json.RawMessage
} {
	return []struct {
		name string
		part storable
		data *json.RawMessage
	}{
		{"dissector", s.runner, &into.Dissect},
		{"inventory", s.inventory, &into.Inventory},
		{"baseline", s.baseline, &into.Baseline},
		{"engines", s.engines, &into.Engines},
		{"alerts", s.book, &into.Alerts},
	}
}

// Snapshot returns the whole state. Call it between frames.
func (s *Stage) Snapshot() ([]byte, error) {
	out := snapshot{State: s.state}
	for _, p := range s.parts(&out) {
		data, err := p.part.Snapshot()
		if err != nil {
			return nil, fmt.Errorf("store %s: %w", p.name, err)
		}
		*p.data = data
	}
	return json.Marshal(&out)
}

// Restore continues from a snapshot as if there had been no restart. The options must be those of the stage that was
// stored, but for callbacks.
func (s *Stage) Restore(data []byte) error {
	var in snapshot
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("read stage: %w", err)
	}
	for _, p := range s.parts(&in) {
		if err := p.part.Restore(*p.data); err != nil {
			return fmt.Errorf("restore %s: %w", p.name, err)
		}
	}
	s.state = in.State
	return nil
}

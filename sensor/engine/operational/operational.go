// Package operational raises alerts about the plant's operation: stops, restarts and mode changes, devices that report
// trouble or fall silent, addresses that cannot be, and the sensor's own interface. Plain cases are rules of
// alerts.yaml; the code watches what is a matter of time.
package operational

import (
	_ "embed"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/internal/lru"
	"github.com/otus-project/otus/sensor/detect"
	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/packet"
)

//go:embed alerts.yaml
var alerts []byte

// Engine describes this plug-in.
var Engine = &detect.Engine{ID: event.EngineOperational, Types: types, New: func() detect.Runner { return newRunner() }}

var (
	types = detect.MustTypes(alerts)
	rules = detect.NewRules(types)
)

// Thresholds: those of the alert reference, and our own where it gives none.
const (
	restartLimit    = 2
	overflowLimit   = 3
	repeatWindow    = 10 * time.Minute
	unansweredPolls = 3 // Modbus requests
	attemptLimit    = 8 // of any kind, to a device that answered before
	silenceWindow   = 5 * time.Minute
	answerTime      = 3 * time.Second // no sooner is a request taken for unanswered; slow serial gateways need one or two
	quietInterface  = time.Minute     // OT networks poll all the time
	leaseAttempts   = 3               // DHCP requests without a lease
	leaseTime       = time.Minute
	refusalTime     = 5 * time.Second // a refused client asks for another address at once
	maxPairs        = 4096
)

// Runner is the running engine; its exported fields are its state.
type Runner struct {
	Restarts    *detect.Rate               `json:"restarts"`
	Overflows   *detect.Rate               `json:"overflows"`
	Restarting  *detect.Edges              `json:"restarting"`
	Overflowing *detect.Edges              `json:"overflowing"`
	Polls       *lru.Table[pair, *polls]   `json:"polls"`    // Modbus requests by client and server
	Attempts    *lru.Table[pair, *polls]   `json:"attempts"` // of any kind
	Leases      *lru.Table[string, *lease] `json:"leases"`   // by client's hardware address
	// Asker is the newest client in Leases; Refused says that some refusal is to be judged.
	Asker     string    `json:"asker,omitempty"`
	Refused   bool      `json:"refused,omitempty"`
	LastFrame time.Time `json:"lastFrame"`
	// SilentTicks counts ticks since the last frame: one falls between any two frames of a capture that are apart, more
	// only while a live interface is silent.
	SilentTicks int  `json:"silentTicks,omitempty"`
	Silent      bool `json:"silent,omitempty"` // and said so

	otPorts   map[uint16]bool
	protocols map[string]*dissect.Protocol
	sender    packet.MAC // of the frame that is looked at
}

var (
	_ detect.Runner     = (*Runner)(nil)
	_ detect.Configured = (*Runner)(nil)
)

// pair is a client and a server.
type pair struct {
	Client, Server netip.Addr
}

// polls are the requests of one pair that nothing has answered, oldest first.
type polls struct {
	At       []time.Time      `json:"at,omitempty"`
	Answered time.Time        `json:"answered"`
	Told     bool             `json:"told,omitempty"`
	Client   dissect.Endpoint `json:"client"`
	Server   dissect.Endpoint `json:"server"`
	Frame    uint64           `json:"frame"`
	Protocol string           `json:"protocol,omitempty"`
}

// lease is what a DHCP client asked since it last got an address.
type lease struct {
	MAC     packet.MAC  `json:"mac"`
	At      []time.Time `json:"at,omitempty"`
	Refused time.Time   `json:"refused"`
	Frame   uint64      `json:"frame"`
}

func newRunner() *Runner {
	return &Runner{
		Restarts:    detect.NewRate(restartLimit, repeatWindow, maxPairs),
		Overflows:   detect.NewRate(overflowLimit, repeatWindow, maxPairs),
		Restarting:  detect.NewEdges(maxPairs),
		Overflowing: detect.NewEdges(maxPairs),
		Polls:       lru.New[pair, *polls](maxPairs),
		Attempts:    lru.New[pair, *polls](maxPairs),
		Leases:      lru.New[string, *lease](maxPairs),
	}
}

// Configure implements detect.Configured.
func (r *Runner) Configure(c detect.Config) {
	r.otPorts, r.protocols = map[uint16]bool{}, map[string]*dissect.Protocol{}
	for _, p := range c.Protocols {
		r.protocols[p.ID] = p
		for _, port := range p.Ports {
			r.otPorts[port] = r.otPorts[port] || p.OT
		}
	}
}

// Observe implements detect.Runner.
func (r *Runner) Observe(o *detect.Observation, raise func(detect.Finding)) {
	rules.Observe(o, raise)
	switch {
	case o.Packet != nil:
		r.sender = o.Packet.SrcMAC
		r.traffic(o, raise)
		r.reachable(o)
		illegalAddress(o, raise)
	case o.Message != nil:
		r.station(o, raise)
		r.poll(o)
		r.lease(o, raise)
	case o.Tick:
		r.unanswered(o, raise)
		r.refused(o, raise)
		r.silence(o, raise)
	case o.Ended:
		r.LastFrame, r.SilentTicks = time.Time{}, 0
	}
}

// station counts restarts and overflows of an outstation. Their indications are repeated in every answer until the
// master clears them; one run of them is one event.
func (r *Runner) station(o *detect.Observation, raise func(detect.Finding)) {
	m := o.Message
	if !m.Protocol.OT || m.Kind == dissect.Request {
		return
	}
	key := detect.StationKey(m)
	if r.Restarting.Rises(key, m.Has(dissect.CondRestarted)) && r.Restarts.Add(key, o.Time) {
		raise(detect.MessageFinding("outstation-restarts-frequently", []string{"source"}, o))
	}
	if r.Overflowing.Rises(key, m.Has(dissect.CondEventOverflow)) && r.Overflows.Add(key, o.Time) {
		raise(detect.MessageFinding("continuous-event-buffer-overflow", []string{"source"}, o))
	}
}

// poll notes requests and answers of OT protocols.
func (r *Runner) poll(o *detect.Observation) {
	m := o.Message
	if !m.Protocol.OT || m.Transport != "tcp" && m.Transport != "udp" || !m.Client.Addr.IsValid() || m.Server.Addr.IsMulticast() {
		return
	}
	key := pair{m.Client.Addr, m.Server.Addr}
	if m.Direction == dissect.FromServer {
		answered(r.Polls, key, o.Time)
		answered(r.Attempts, key, o.Time)
		return
	}
	if m.Kind != dissect.Request {
		return
	}
	if m.Protocol.ID == "modbus" {
		asked(r.Polls, key, unansweredPolls, o, m.Client, m.Server, m.Protocol.ID)
	}
	asked(r.Attempts, key, attemptLimit, o, m.Client, m.Server, m.Protocol.ID)
}

// reachable notes connection attempts to OT ports, and that a device which sends anything is there.
func (r *Runner) reachable(o *detect.Observation) {
	p := o.Packet
	if !p.Src.IsValid() || p.Malformed != nil {
		return
	}
	answered(r.Attempts, pair{p.Dst, p.Src}, o.Time)
	if p.IPProto == packet.ProtoTCP && p.Flags&(packet.SYN|packet.ACK) == packet.SYN && r.otPorts[p.DstPort] {
		asked(r.Attempts, pair{p.Src, p.Dst}, attemptLimit, o, dissect.Endpoint{MAC: p.SrcMAC, Addr: p.Src},
			dissect.Endpoint{MAC: p.DstMAC, Addr: p.Dst, Port: p.DstPort}, "")
	}
}

func asked(table *lru.Table[pair, *polls], key pair, limit int, o *detect.Observation, client, server dissect.Endpoint, protocol string) {
	p, ok := table.Get(key)
	if !ok {
		p = &polls{}
		table.Put(key, p)
	}
	if len(p.At) >= limit {
		p.At = slices.Delete(p.At, 0, len(p.At)-limit+1)
	}
	p.At = append(p.At, o.Time)
	p.Client, p.Server, p.Frame = client, server, o.Frame
	if protocol != "" {
		p.Protocol = protocol
	}
}

func answered(table *lru.Table[pair, *polls], key pair, now time.Time) {
	if p, ok := table.Peek(key); ok {
		p.At, p.Answered, p.Told = p.At[:0], now, false
	}
}

// unanswered judges the open requests once their answers had time to come.
func (r *Runner) unanswered(o *detect.Observation, raise func(detect.Finding)) {
	for _, p := range r.Polls.All() {
		if p.silent(o.Time, unansweredPolls) && p.At[0].Sub(p.Answered) <= silenceWindow {
			r.gone(p, "unresponsive-modbus-device", o, raise, unansweredPolls)
		}
	}
	for _, p := range r.Attempts.All() {
		if p.silent(o.Time, attemptLimit) {
			r.gone(p, "device-suspected-disconnected", o, raise, attemptLimit)
		}
	}
}

// silent says that the device answered once, and that its last limit requests, all within the window and old enough,
// have no answer.
func (p *polls) silent(now time.Time, limit int) bool {
	return !p.Told && !p.Answered.IsZero() && len(p.At) == limit &&
		p.At[limit-1].Sub(p.At[0]) <= silenceWindow && now.Sub(p.At[limit-1]) >= answerTime
}

// gone reports a device that left requests unanswered.
func (r *Runner) gone(p *polls, id string, o *detect.Observation, raise func(detect.Finding), limit int) {
	p.Told = true
	f := detect.Finding{Type: id, Time: o.Time, Frame: p.Frame, Source: p.Server, Destination: p.Client,
		Protocol: r.protocols[p.Protocol], OT: true,
		Details: []event.Detail{{Name: "unanswered requests", Value: strconv.Itoa(limit)},
			{Name: "last answer", Value: p.Answered.UTC().Format(time.RFC3339)}}}
	f.Destination.Port = 0
	f.Key = detect.Key(nil, &f, "", nil)
	raise(f)
}

// illegalAddress finds addresses that no device may use as it does (RFC 1122, 3.2.1.3; RFC 6890).
func illegalAddress(o *detect.Observation, raise func(detect.Finding)) {
	p := o.Packet
	if !p.Src.IsValid() || p.Malformed != nil || p.Fragment {
		return
	}
	rule := ""
	switch {
	case p.Src.IsMulticast():
		rule = "a multicast address sends"
	case p.Src.Is4() && p.Src.As4() == [4]byte{255, 255, 255, 255}:
		rule = "the broadcast address sends"
	case reserved(p.Src) || reserved(p.Dst):
		rule = "the address lies in a reserved range"
	case p.Src.Is4() && p.Src.IsUnspecified() && !configuring(p):
		rule = "a device without address sends"
	case p.Src.Is4() && p.Src.As4()[0] == 0 && !p.Src.IsUnspecified() || p.Dst.Is4() && p.Dst.As4()[0] == 0:
		rule = "network 0 is not an address"
	default:
		return
	}
	f := detect.Finding{Type: "illegal-ip-address", Time: o.Time, Frame: o.Frame,
		Source:      dissect.Endpoint{MAC: p.SrcMAC, Addr: p.Src, Port: p.SrcPort},
		Destination: dissect.Endpoint{MAC: p.DstMAC, Addr: p.Dst, Port: p.DstPort},
		Details:     []event.Detail{{Name: "rule", Value: rule}, {Name: "hardware address", Value: p.SrcMAC.String()}}}
	f.OT = o.Inventory.IsOT(dissect.Endpoint{MAC: p.SrcMAC})
	f.Key = detect.Key(nil, &f, "", nil)
	raise(f)
}

// reserved is 240.0.0.0/4 without the broadcast address.
func reserved(a netip.Addr) bool {
	return a.Is4() && a.As4()[0] >= 240 && a.As4() != [4]byte{255, 255, 255, 255}
}

// configuring says that a sender may have no address yet: DHCP, and IGMP of a host that starts.
func configuring(p *packet.Packet) bool {
	const igmp, dhcpClient = 2, 68
	return p.IPProto == igmp || p.IPProto == packet.ProtoUDP && p.SrcPort == dhcpClient
}

// traffic notes that the interface is alive.
func (r *Runner) traffic(o *detect.Observation, raise func(detect.Finding)) {
	if r.Silent {
		r.Silent = false
		raise(detect.Finding{Type: "traffic-detected", Key: "interface", Time: o.Time, Frame: o.Frame})
	}
	r.LastFrame, r.SilentTicks = o.Time, 0
}

// silence raises an alert when the interface has been silent for too long. A gap between two frames of a capture
// is not silence: it brings one tick.
func (r *Runner) silence(o *detect.Observation, raise func(detect.Finding)) {
	if r.LastFrame.IsZero() || r.Silent {
		return
	}
	r.SilentTicks++
	if r.SilentTicks < 2 || o.Time.Sub(r.LastFrame) < quietInterface {
		return
	}
	r.Silent = true
	raise(detect.Finding{Type: "no-traffic-detected", Key: "interface", Time: o.Time,
		Details: []event.Detail{{Name: "last frame", Value: r.LastFrame.UTC().Format(time.RFC3339)}}})
}

// Quiet reports that the sensor's interface has fallen silent.
func (r *Runner) Quiet() bool { return r.Silent }

// DHCP message types (RFC 2132, 9.6).
const (
	dhcpDiscover = 1
	dhcpRequest  = 3
	dhcpACK      = 5
)

// lease finds DHCP clients that get no address: refused, or asking again and again.
func (r *Runner) lease(o *detect.Observation, raise func(detect.Finding)) {
	m := o.Message
	if m.Protocol.ID != "dhcp" {
		return
	}
	switch {
	case m.Kind == dissect.Request && (m.Code == dhcpDiscover || m.Code == dhcpRequest):
		// Clients without address share one conversation; their frames tell them apart.
		key := r.sender.String()
		l, ok := r.Leases.Get(key)
		if !ok {
			l = &lease{MAC: r.sender}
			r.Leases.Put(key, l)
		}
		r.Asker = key
		if len(l.At) >= leaseAttempts {
			l.At = slices.Delete(l.At, 0, len(l.At)-leaseAttempts+1)
		}
		l.At, l.Frame = append(l.At, o.Time), o.Frame
		if len(l.At) == leaseAttempts && o.Time.Sub(l.At[0]) <= leaseTime {
			l.raise(o, raise, m.Protocol, "asked again and again")
		}
	case m.Has(dissect.CondNoLease):
		if l, ok := r.Leases.Peek(r.Asker); ok {
			l.Refused = o.Time
			r.Refused = true
		}
	case m.Code == dhcpACK:
		for _, f := range m.Identity {
			if f.Kind == dissect.FactAddress {
				r.Leases.Delete(f.MAC.String())
			}
		}
	}
}

// refused judges refusals once the client had time to ask for another address.
func (r *Runner) refused(o *detect.Observation, raise func(detect.Finding)) {
	if !r.Refused {
		return
	}
	r.Refused = false
	for _, l := range r.Leases.All() {
		switch {
		case l.Refused.IsZero():
		case o.Time.Sub(l.Refused) < refusalTime:
			r.Refused = true
		default:
			l.Refused = time.Time{}
			l.raise(o, raise, r.protocols["dhcp"], "the server refused")
		}
	}
}

func (l *lease) raise(o *detect.Observation, raise func(detect.Finding), protocol *dissect.Protocol, reason string) {
	f := detect.Finding{Type: "dhcp-no-address", Time: o.Time, Frame: l.Frame, Source: dissect.Endpoint{MAC: l.MAC}, Protocol: protocol,
		Details: []event.Detail{{Name: "hardware address", Value: l.MAC.String()}, {Name: "reason", Value: reason}}}
	f.Key = detect.Key([]string{"source"}, &f, "", nil)
	raise(f)
}

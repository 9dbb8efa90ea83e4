// Package anomaly raises alerts about behaviour that is unusual in its amount: scans, floods, bursts of sessions and
// sign-ins, and devices that refuse, stop or restart too often. Counts and windows are those of the alert reference,
// in stage time; every table is bounded.
package anomaly

import (
	_ "embed"
	"net/netip"
	"strconv"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor/detect"
	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/packet"
)

//go:embed alerts.yaml
var alerts []byte

// Engine describes this plug-in.
var Engine = &detect.Engine{ID: event.EngineAnomaly, Types: types, New: func() detect.Runner { return newRunner() }}

var types = detect.MustTypes(alerts)

// Thresholds of the alert reference.
const (
	scanAddresses    = 50 // of one class B network
	scanWindow       = 2 * time.Minute
	longScanWindow   = 10 * time.Minute
	scanPorts        = 25
	scanControllers  = 10
	keptControllers  = 4 * scanControllers // those probed a moment ago do not count yet
	arpAddresses     = 40
	arpScanWindow    = 6 * time.Minute
	floodPackets     = 60
	floodWindow      = time.Minute
	sessionLimit     = 50
	loginLimit       = 20
	guessLimit       = 100
	burstWindow      = time.Minute
	exceptionLimit   = 20
	exceptionWindow  = time.Hour
	stopLimit        = 20
	stopWindow       = 3 * time.Hour
	restartLimit     = 10
	restartWindow    = time.Hour
	longMessage      = 32768 // bytes
	maxKeys          = 4096  // per table; the longest silent leaves
	unansweredSettle = time.Second
)

// Runner is the running engine; its exported fields are its state.
type Runner struct {
	Addresses     *detect.Spread `json:"addresses"`
	AddressesLong *detect.Spread `json:"addressesLong"`
	Ports         *detect.Spread `json:"ports"`
	Controllers   *detect.Spread `json:"controllers"`
	ARPAddresses  *detect.Spread `json:"arpAddresses"`
	ARPPackets    *detect.Rate   `json:"arpPackets"`
	ICMPPackets   *detect.Rate   `json:"icmpPackets"`
	Sessions      *detect.Rate   `json:"sessions"`
	Logins        *detect.Rate   `json:"logins"`
	Guesses       *detect.Rate   `json:"guesses"`
	Exceptions    *detect.Rate   `json:"exceptions"`
	Stops         *detect.Rate   `json:"stops"`
	Restarts      *detect.Rate   `json:"restarts"`
	Restarting    *detect.Edges  `json:"restarting"`
	// Probed is set when the controllers one source probed changed since the last Tick.
	Probed bool `json:"probed,omitempty"`

	otPorts map[uint16]bool
	owners  map[uint16]*dissect.Protocol // of registered TCP ports; nil where several
}

var (
	_ detect.Runner     = (*Runner)(nil)
	_ detect.Configured = (*Runner)(nil)
)

func newRunner() *Runner {
	return &Runner{
		Addresses:     detect.NewSpread(scanAddresses, scanWindow, maxKeys),
		AddressesLong: detect.NewSpread(scanAddresses, longScanWindow, maxKeys),
		Ports:         detect.NewSpread(scanPorts, scanWindow, maxKeys),
		Controllers:   detect.NewSpread(keptControllers, scanWindow, maxKeys),
		ARPAddresses:  detect.NewSpread(arpAddresses, arpScanWindow, maxKeys),
		ARPPackets:    detect.NewRate(floodPackets, floodWindow, maxKeys),
		ICMPPackets:   detect.NewRate(floodPackets, floodWindow, maxKeys),
		Sessions:      detect.NewRate(sessionLimit, burstWindow, maxKeys),
		Logins:        detect.NewRate(loginLimit, burstWindow, maxKeys),
		Guesses:       detect.NewRate(guessLimit, burstWindow, maxKeys),
		Exceptions:    detect.NewRate(exceptionLimit, exceptionWindow, maxKeys),
		Stops:         detect.NewRate(stopLimit, stopWindow, maxKeys),
		Restarts:      detect.NewRate(restartLimit, restartWindow, maxKeys),
		Restarting:    detect.NewEdges(maxKeys),
	}
}

// Configure implements detect.Configured.
func (r *Runner) Configure(c detect.Config) {
	r.otPorts, r.owners = map[uint16]bool{}, map[uint16]*dissect.Protocol{}
	for _, p := range c.Protocols {
		for _, port := range p.Ports {
			r.otPorts[port] = r.otPorts[port] || p.OT
			if p.DetectTCP == nil {
				continue
			}
			if _, shared := r.owners[port]; shared {
				r.owners[port] = nil
			} else {
				r.owners[port] = p
			}
		}
	}
}

// Observe implements detect.Runner.
func (r *Runner) Observe(o *detect.Observation, raise func(detect.Finding)) {
	switch {
	case o.Packet != nil:
		r.packet(o, raise)
	case o.Opened != nil:
		if o.Opened.Transport == "udp" {
			r.address(o, raise, o.Opened.Client, o.Opened.Server)
		}
	case o.Established != nil:
		r.established(o, raise)
	case o.Recognised != nil:
		r.recognised(o, raise)
	case o.Message != nil:
		r.message(o, raise)
	case o.Tick:
		r.tick(o, raise)
	}
}

func (r *Runner) packet(o *detect.Observation, raise func(detect.Finding)) {
	p := o.Packet
	if p.Malformed != nil {
		return
	}
	source := dissect.Endpoint{MAC: p.SrcMAC, Addr: p.Src, Port: p.SrcPort}
	target := dissect.Endpoint{MAC: p.DstMAC, Addr: p.Dst, Port: p.DstPort}
	switch {
	case p.EtherType == packet.EtherARP:
		r.arp(o, raise)
	case p.IPProto == packet.ProtoTCP && p.Flags&(packet.SYN|packet.ACK) == packet.SYN:
		r.address(o, raise, source, target)
		r.port(o, raise, source, target)
		if r.otPorts[p.DstPort] {
			r.Controllers.Add(detect.Address(source), detect.Address(target), o.Time)
			r.Probed = true
		}
	case p.IPProto == packet.ProtoTCP && p.Flags&(packet.SYN|packet.ACK) == packet.SYN|packet.ACK:
		// An answered opening is no blind probe of a controller.
		r.Controllers.Remove(detect.Address(target), detect.Address(source))
	case p.IPProto == packet.ProtoICMP || p.IPProto == packet.ProtoICMPv6:
		if echoRequest(p) {
			r.address(o, raise, source, target)
		}
		if p.IPProto == packet.ProtoICMP && r.ICMPPackets.Add(detect.Address(source)+">"+detect.Address(target), o.Time) {
			r.raise(o, raise, "icmp-flooding", source, target, nil, event.Detail{Name: "packets", Value: strconv.Itoa(floodPackets)})
		}
	}
}

func echoRequest(p *packet.Packet) bool {
	const v4, v6 = 8, 128
	return p.IPProto == packet.ProtoICMP && p.ICMPType == v4 || p.IPProto == packet.ProtoICMPv6 && p.ICMPType == v6
}

// raise reports a finding between two endpoints. Ports of the source do not matter.
func (r *Runner) raise(o *detect.Observation, raise func(detect.Finding), id string, source, target dissect.Endpoint, key []string, details ...event.Detail) {
	f := detect.Finding{Type: id, Time: o.Time, Frame: o.Frame, Source: source, Destination: target, Details: details}
	if o.Message != nil {
		f.Protocol = o.Message.Protocol
	}
	f.Key = detect.Key(key, &f, "", nil)
	raise(f)
}

// scan reports a finding that a known scanner does not raise, and that learning makes its source one.
func (r *Runner) scan(o *detect.Observation, raise func(detect.Finding), id string, source, target dissect.Endpoint, key []string, details ...event.Detail) {
	if o.Scanner(source) {
		return
	}
	source.Port = 0
	f := detect.Finding{Type: id, Time: o.Time, Frame: o.Frame, Source: source, Destination: target, Details: details,
		Learn: detect.ScannerEntry(o, source)}
	if o.Message != nil {
		f.Protocol = o.Message.Protocol
	}
	f.Key = detect.Key(key, &f, "", nil)
	raise(f)
}

// classB is the /16 of an IPv4 address, or the /64 of an IPv6 address.
func classB(addr netip.Addr) string {
	bits := 16
	if addr.Is6() {
		bits = 64
	}
	prefix, _ := addr.WithZone("").Prefix(bits)
	return prefix.String()
}

func (r *Runner) address(o *detect.Observation, raise func(detect.Finding), source, target dissect.Endpoint) {
	if !target.Addr.IsValid() || target.Addr.IsMulticast() || target.MAC.IsMulticast() {
		return
	}
	net := classB(target.Addr)
	key, thing := detect.Address(source)+">"+net, target.Addr.String()
	details := []event.Detail{{Name: "network", Value: net}}
	if r.Addresses.Add(key, thing, o.Time) {
		r.scan(o, raise, "address-scan", source, dissect.Endpoint{}, []string{"source"}, append(details, event.Detail{Name: "addresses", Value: strconv.Itoa(scanAddresses)})...)
	}
	if r.AddressesLong.Add(key, thing, o.Time) {
		r.scan(o, raise, "long-address-scan", source, dissect.Endpoint{}, []string{"source"}, append(details, event.Detail{Name: "addresses", Value: strconv.Itoa(scanAddresses)})...)
	}
}

func (r *Runner) port(o *detect.Observation, raise func(detect.Finding), source, target dissect.Endpoint) {
	if r.Ports.Add(detect.Address(source)+">"+detect.Address(target), strconv.Itoa(int(target.Port)), o.Time) {
		target.Port = 0
		r.scan(o, raise, "port-scan", source, target, nil, event.Detail{Name: "ports", Value: strconv.Itoa(scanPorts)})
	}
}

func (r *Runner) arp(o *detect.Observation, raise func(detect.Finding)) {
	a := &o.Packet.ARP
	source := dissect.Endpoint{MAC: a.SenderMAC, Addr: a.SenderIP}
	if source.MAC.IsZero() {
		source.MAC = o.Packet.SrcMAC
	}
	if a.SenderIP.IsUnspecified() {
		source.Addr = netip.Addr{}
	}
	if r.ARPPackets.Add(source.MAC.String(), o.Time) {
		r.raise(o, raise, "arp-spoofing", source, dissect.Endpoint{}, []string{"source"}, event.Detail{Name: "packets", Value: strconv.Itoa(floodPackets)})
	}
	const request = 1
	if a.Op == request && a.TargetIP.IsValid() && a.TargetIP != a.SenderIP && r.ARPAddresses.Add(source.MAC.String(), a.TargetIP.String(), o.Time) {
		r.scan(o, raise, "arp-address-scan", source, dissect.Endpoint{}, []string{"source"}, event.Detail{Name: "addresses", Value: strconv.Itoa(arpAddresses)})
	}
}

func (r *Runner) established(o *detect.Observation, raise func(detect.Finding)) {
	c := o.Established
	if c.Transport != "tcp" || !c.HandshakeSeen {
		return
	}
	if r.Sessions.Add(detect.Address(c.Client)+">"+detect.Address(c.Server), o.Time) {
		source, target := c.Client, c.Server
		source.Port = 0
		f := detect.Finding{Type: "excessive-sessions", Time: o.Time, Frame: o.Frame, Source: source, Destination: target, Protocol: c.Protocol,
			Details: []event.Detail{{Name: "sessions", Value: strconv.Itoa(sessionLimit)}, {Name: "port", Value: strconv.Itoa(int(target.Port))}}}
		f.Key = detect.Key(nil, &f, "", nil)
		raise(f)
	}
}

// recognised takes back what turned out to be use, not search: an OT protocol spoken, a port that serves. It also finds
// protocols on ports registered for another.
func (r *Runner) recognised(o *detect.Observation, raise func(detect.Finding)) {
	c := o.Recognised
	client := detect.Address(c.Client)
	if c.Established {
		r.Ports.Remove(client+">"+detect.Address(c.Server), strconv.Itoa(int(c.Server.Port)))
		if c.Protocol.OT {
			key := client + ">" + classB(c.Server.Addr)
			r.Addresses.Remove(key, c.Server.Addr.String())
			r.AddressesLong.Remove(key, c.Server.Addr.String())
		}
	}
	if owner := r.owners[c.Server.Port]; c.Transport == "tcp" && owner != nil && owner.ID != c.Protocol.ID {
		f := detect.Finding{Type: "unexpected-traffic-for-port", Time: o.Time, Frame: o.Frame, Source: c.Client, Destination: c.Server, Protocol: c.Protocol,
			Details: []event.Detail{{Name: "port", Value: strconv.Itoa(int(c.Server.Port))}, {Name: "registered for", Value: owner.Name}}}
		f.Key = detect.Key(nil, &f, "", nil) + " " + strconv.Itoa(int(c.Server.Port))
		raise(f)
	}
}

func (r *Runner) message(o *detect.Observation, raise func(detect.Finding)) {
	m := o.Message
	if m.Size >= longMessage {
		f := detect.MessageFinding("unexpected-message-length", nil, o)
		f.Details = append(f.Details, event.Detail{Name: "length", Value: strconv.Itoa(m.Size)})
		raise(f)
	}
	if m.Kind == dissect.Request {
		r.request(o, raise)
	}
	if !m.Protocol.OT || m.Kind == dissect.Request {
		return
	}
	server := detect.Address(m.Server)
	if m.Exception != 0 && r.Exceptions.Add(server, o.Time) {
		r.raise(o, raise, "abnormal-exception-pattern", m.Server, m.Client, []string{"source"}, event.Detail{Name: "exceptions", Value: strconv.Itoa(exceptionLimit)})
	}
	if m.Kind == dissect.Response || m.Kind == dissect.Unsolicited {
		if r.Restarting.Rises(detect.StationKey(m), m.Has(dissect.CondRestarted)) {
			r.restart(o, raise)
		}
	}
}

func (r *Runner) request(o *detect.Observation, raise func(detect.Finding)) {
	m := o.Message
	pair := detect.Address(m.Client) + ">" + detect.Address(m.Server)
	switch m.Operation {
	case dissect.OpLogin:
		if r.Logins.Add(pair, o.Time) {
			r.raise(o, raise, "excessive-login-attempts", m.Client, m.Server, nil, event.Detail{Name: "attempts", Value: strconv.Itoa(loginLimit)})
		}
		if r.Guesses.Add(pair, o.Time) {
			r.raise(o, raise, "password-guessing", m.Client, m.Server, nil, event.Detail{Name: "attempts", Value: strconv.Itoa(guessLimit)})
		}
	case dissect.OpStop:
		if m.Protocol.OT && r.Stops.Add(detect.Address(m.Server), o.Time) {
			r.raise(o, raise, "abnormal-termination", m.Client, m.Server, []string{"destination"}, event.Detail{Name: "stop commands", Value: strconv.Itoa(stopLimit)})
		}
	case dissect.OpReset:
		if m.Protocol.OT {
			r.restart(o, raise)
		}
	case dissect.OpDiscovery:
		if m.Protocol.OT && m.Direction == dissect.FromClient && !m.Server.Addr.IsMulticast() && !m.Server.MAC.IsMulticast() {
			thing := detect.Address(m.Server)
			if m.Unit != "" {
				thing += " unit " + m.Unit
			}
			r.Controllers.Add(detect.Address(m.Client), thing, o.Time)
			r.Probed = true
		}
	}
}

// restart counts restarts of an outstation, whether ordered or told by itself.
func (r *Runner) restart(o *detect.Observation, raise func(detect.Finding)) {
	m := o.Message
	if r.Restarts.Add(detect.Address(m.Server), o.Time) {
		r.raise(o, raise, "excessive-restart-rate", m.Server, m.Client, []string{"source"}, event.Detail{Name: "restarts", Value: strconv.Itoa(restartLimit)})
	}
}

// tick judges probes of controllers once their answers had time to come.
func (r *Runner) tick(o *detect.Observation, raise func(detect.Finding)) {
	if !r.Probed {
		return
	}
	r.Probed = false
	var found []string
	for key, things := range r.Controllers.Keys.All() {
		settled := 0
		for _, at := range things.At {
			switch age := o.Time.Sub(time.Unix(0, at)); {
			case age < unansweredSettle:
				r.Probed = true // judge again
			case age <= scanWindow+unansweredSettle:
				settled++
			}
		}
		if settled >= scanControllers {
			found = append(found, key)
		}
	}
	for _, key := range found {
		source := dissect.Endpoint{}
		source.Addr, _ = netip.ParseAddr(key)
		r.scan(o, raise, "plc-scan", source, dissect.Endpoint{}, []string{"source"}, event.Detail{Name: "controllers", Value: strconv.Itoa(scanControllers)})
		r.Controllers.Forget(key)
	}
}

// Package facts counts a capture the way tshark 4.0 does, so that what `analyze` prints can be laid beside an
// independent tool's numbers. In goes every frame, second copies of mirror ports among them; out comes a flat list of counts.
//
// tshark's view and the truth differ: it takes TCP segment by segment, leaves out retransmitted and late ones, knows
// protocols by port, and tells requests from responses by port. This package keeps that view apart from the dissect
// stage: it follows each TCP direction by tshark's own rules (see segments.go), cuts the segments into
// protocol data units and has a protocol's parser read each. Counting rules: a frame counts once per protocol however
// many units it holds; codes count once per unit; only unicast addresses count.
//
// Bounds: maxFlows flows, the oldest is forgotten first; maxAddresses addresses of each kind; maxWaiting bytes of an
// unfinished unit per direction.
package facts

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/packet"
)

const (
	maxFlows     = 1 << 16
	maxAddresses = 1 << 18
	maxKeys      = 1 << 16 // different keys of one histogram
	maxWaiting   = 1 << 16
	listed       = 14 // so many addresses are listed whole
	listedMACs   = 10 // without any address, so many hardware addresses are listed
)

// Collector counts. The zero value is not ready; use New. It is used by one goroutine.
type Collector struct {
	views   []*view
	decoder *packet.Decoder

	sources, addresses set[netip.Addr]
	macs               set[packet.MAC]
	tcp, udp           map[flowKey]*flow
	order              []flowKey // of tcp and udp flows, oldest first
	fragments          fragments
	tcpCount, udpCount int

	frames     map[string]int            // protocol -> frames
	lastFrame  map[string]uint64         // protocol -> the frame counted last
	histograms map[string]map[string]int // fact -> code -> count
	notable    map[string]int
}

// New makes a collector that reads with the parsers of these protocols; a protocol it has counts for and that is
// missing is not counted.
func New(protocols []*dissect.Protocol) *Collector {
	c := &Collector{
		decoder: packet.NewDecoder(),
		tcp:     map[flowKey]*flow{}, udp: map[flowKey]*flow{},
		frames: map[string]int{}, lastFrame: map[string]uint64{},
		histograms: map[string]map[string]int{}, notable: map[string]int{},
	}
	for _, v := range views() {
		for _, p := range protocols {
			if p.ID == v.id && p.NewParser != nil {
				v.protocol = p
				c.views = append(c.views, v)
			}
		}
	}
	return c
}

// Frame counts one frame. It is called for every frame of the source, in order.
func (c *Collector) Frame(f *packet.Frame) {
	p := c.decoder.Decode(f)
	c.endpoints(p)
	if p.EtherType == packet.EtherARP {
		c.arp(p)
	}
	if p.IPProto == packet.ProtoICMP && !p.Fragment {
		c.quoted(p)
		return
	}
	if p.Fragment || !p.Src.IsValid() || p.SrcPort == 0 && p.DstPort == 0 {
		return
	}
	switch p.IPProto {
	case packet.ProtoTCP:
		c.segment(p)
	case packet.ProtoUDP:
		c.datagram(p)
	}
}

// Message tells the collector which protocol a connection turned out to speak, which matters where no registered port
// tells: tshark goes by the port alone, and so do the counts where there is one. It is called for every message, after
// the frame that completed it.
func (c *Collector) Message(m *dissect.Message, conn *dissect.Connection) {
	if m.Protocol == nil || conn == nil || conn.Transport != "tcp" {
		return
	}
	c.recognised(m.Protocol, conn)
}

// quoted counts the UDP datagram inside an ICMP error (RFC 792), which tshark reads like any other.
func (c *Collector) quoted(p *packet.Packet) {
	if p.ICMPType != 3 && p.ICMPType != 5 && p.ICMPType != 11 && p.ICMPType != 12 || len(p.Payload) < 4+28 {
		return
	}
	b := p.Payload[4:] // behind the unused word
	if b[0]>>4 != 4 || b[9] != packet.ProtoUDP {
		return
	}
	n := 4 * int(b[0]&0x0f)
	if n < 20 || len(b) < n+8 {
		return
	}
	inner := &packet.Packet{
		Frame: p.Frame, IPProto: packet.ProtoUDP,
		Src: netip.AddrFrom4([4]byte(b[12:16])), Dst: netip.AddrFrom4([4]byte(b[16:20])),
		SrcPort: binary.BigEndian.Uint16(b[n:]), DstPort: binary.BigEndian.Uint16(b[n+2:]), Payload: b[n+8:],
	}
	c.datagram(inner)
}

// arp counts every ARP packet, those of hardware other than Ethernet among them.
func (c *Collector) arp(p *packet.Packet) {
	op := p.ARP.Op
	if op == 0 && len(p.Payload) >= 8 {
		op = binary.BigEndian.Uint16(p.Payload[6:])
	}
	if op == 0 {
		return
	}
	c.frame("arp", p.Frame.Index)
	c.count("arp_opcode", strconv.Itoa(int(op)))
}

// endpoints notes the addresses of a frame.
func (c *Collector) endpoints(p *packet.Packet) {
	if p.Frame.Link == packet.LinkEthernet && len(p.Frame.Data) >= 14 && !p.SrcMAC.IsMulticast() {
		c.macs.add(p.SrcMAC)
	}
	if unicast(p.Src) {
		c.sources.add(p.Src)
		c.addresses.add(p.Src)
	}
	if unicast(p.Dst) {
		c.addresses.add(p.Dst)
	}
}

// unicast leaves out group, broadcast and unspecified addresses; an IPv4 address that ends in 255 is taken for the
// broadcast address of its network.
func unicast(a netip.Addr) bool {
	if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() {
		return false
	}
	return !a.Is4() || a.As4()[3] != 255
}

// frame counts a frame once for a protocol.
func (c *Collector) frame(protocol string, index uint64) {
	if c.lastFrame[protocol] != index {
		c.lastFrame[protocol] = index
		c.frames[protocol]++
	}
}

func (c *Collector) count(fact, key string) {
	h := c.histograms[fact]
	if h == nil {
		h = map[string]int{}
		c.histograms[fact] = h
	}
	if _, ok := h[key]; ok || len(h) < maxKeys {
		h[key]++
	}
}

// Facts gives what was counted, by key. Values are int, map[string]int, []int or []string; printed as JSON
// they come in a fixed order.
func (c *Collector) Facts() map[string]any {
	out := map[string]any{
		"ips_src": c.sources.size(), "ips_all": c.addresses.size(), "macs_src": c.macs.size(),
		"tcp_conns": c.tcpCount, "udp_flows": c.udpCount,
	}
	addresses := c.addresses.sorted()
	switch {
	case len(addresses) > listed:
		out["ip_list_first14"] = addresses[:listed]
	default:
		out["ip_list"] = addresses
		if macs := c.macs.sorted(); len(addresses) == 0 && len(macs) > 0 && len(macs) <= listedMACs {
			out["mac_list"] = macs
		}
	}
	for name, n := range c.frames {
		if name == "malformed" {
			out["tshark_malformed"] = n
			continue
		}
		out[name+"_frames"] = n
	}
	for name, h := range c.histograms {
		switch name {
		case "modbus_units": // sorted as text
			out[name] = numbers(h, false)
		case "dnp3_addrs":
			out[name] = numbers(h, true)
		default:
			copied := make(map[string]int, len(h))
			for k, n := range h {
				copied[k] = n
			}
			out[name] = copied
		}
	}
	if len(c.notable) > 0 {
		notable := make(map[string]int, len(c.notable))
		for k, n := range c.notable {
			notable[k] = n
		}
		out["notable"] = notable
	}
	return out
}

// numbers lists the keys of a histogram, by value or by text.
func numbers(h map[string]int, byValue bool) []int {
	keys := make([]string, 0, len(h))
	for k := range h {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	list := make([]int, 0, len(keys))
	for _, k := range keys {
		if n, err := strconv.Atoi(k); err == nil {
			list = append(list, n)
		}
	}
	if byValue {
		slices.Sort(list)
	}
	return list
}

// set is a bounded set.
type set[T comparable] struct{ m map[T]struct{} }

func (s *set[T]) add(x T) {
	if s.m == nil {
		s.m = map[T]struct{}{}
	}
	if len(s.m) < maxAddresses {
		s.m[x] = struct{}{}
	}
}

func (s *set[T]) size() int { return len(s.m) }

// sorted gives the members printed, in the order of their text.
func (s *set[T]) sorted() []string {
	list := make([]string, 0, len(s.m))
	for x := range s.m {
		list = append(list, fmt.Sprint(x))
	}
	slices.Sort(list)
	return list
}

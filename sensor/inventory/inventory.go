// Package inventory keeps the devices the traffic shows, and what passed between them minute by minute.
// Packets, connections and messages come in, in the order of the frames; changes of devices, device rows and
// connection rows go out by callback. A device is a hardware address together with an IP address; an address behind
// a router is a device without hardware address, so that the router's does not tie strangers together. Every table
// is bounded, and all state is plain data.
package inventory

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/internal/lru"
	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/packet"
)

// Options configure an Inventory. The zero value works.
type Options struct {
	SensorID string
	// Mode at the start; learning where empty.
	Mode event.SensorMode
	// OTSubnets count as OT before any OT protocol was seen in them, and as internal whatever their range.
	OTSubnets []netip.Prefix
	// MaxDevices, default 20,000: the largest plant sensors are sized for 12,000.
	MaxDevices int
	// MaxFlows bounds the flows counted for connection rows, default 65,536, as many as the dissector keeps.
	MaxFlows int
	// Changed is called at once when a device appears or changes. It may ask the inventory, not feed it.
	Changed func(Change)
	// Device and Connection receive the rows to be sent: devices at the next Tick after a change, connections
	// when their minute is over.
	Device     func(event.Device)
	Connection func(event.Connection)
}

func (o *Options) defaults() {
	if o.Mode == "" {
		o.Mode = event.ModeLearning
	}
	if o.MaxDevices == 0 {
		o.MaxDevices = 20_000
	}
	if o.MaxFlows == 0 {
		o.MaxFlows = 65_536
	}
	if o.Changed == nil {
		o.Changed = func(Change) {}
	}
	if o.Device == nil {
		o.Device = func(event.Device) {}
	}
	if o.Connection == nil {
		o.Connection = func(event.Connection) {}
	}
}

// lastSeenEvery bounds rows that tell nothing but that a device was seen again.
const lastSeenEvery = 15 * time.Minute

// Bounds of one device's lists.
const (
	maxProtocols = 64
	maxVLANs     = 16
	maxText      = 128
)

// Inventory is the bounded table of devices. It is owned by one goroutine.
type Inventory struct {
	o         Options
	namespace uuid.UUID
	state     state
	// Indexes over state.Devices, rebuilt by Restore.
	byAddr map[netip.Addr][]Key
	byMAC  map[packet.MAC][]Key
	subnet map[netip.Prefix]bool
}

// Change is a device that appeared or changed.
type Change struct {
	Device *event.Device
	New    bool
	// Fields names what changed, sorted: "firmwareVersion", "ipAddresses", ...
	Fields []string
	// Before is the device as it was; nil when New.
	Before *event.Device
	// Protocol and Frame are of the message or frame that told; nil and 0 where the change came of itself.
	Protocol *dissect.Protocol
	Frame    uint64
}

// Key is what makes a device one: its hardware address and its IP address, either of which may be absent.
type Key struct {
	MAC  packet.MAC `json:"mac"`
	Addr netip.Addr `json:"addr"`
}

func compareKeys(a, b Key) int {
	if c := a.Addr.Compare(b.Addr); c != 0 {
		return c
	}
	return slices.Compare(a.MAC[:], b.MAC[:])
}

// device is one device with what is needed to judge it.
type device struct {
	Row event.Device `json:"row"`
	// Sent is LastSeen of the newest row that went out.
	Sent time.Time `json:"sent"`
	// Waiting says that a row is to go out at the next Tick.
	Waiting   bool   `json:"waiting,omitempty"`
	VendorOUI bool   `json:"vendorOui,omitempty"` // vendor comes from the hardware address only
	TypeFact  string `json:"typeFact,omitempty"`  // the device or its protocol told its type
	NameFact  bool   `json:"nameFact,omitempty"`  // the device told its name itself
	Roles     role   `json:"roles,omitempty"`     // what it was seen doing
	Servers   []Key  `json:"otServers,omitempty"` // OT servers it reads from, at most fewServers
	SpeaksOT  bool   `json:"speaksOt,omitempty"`  // an OT protocol was seen on it
	Router    bool   `json:"router,omitempty"`    // its hardware address forwards for others
}

// New makes an empty inventory.
func New(o Options) *Inventory {
	o.defaults()
	i := &Inventory{o: o, namespace: Namespace(o.SensorID)}
	i.state = state{
		Mode:    o.Mode,
		Devices: lru.New[Key, *device](o.MaxDevices),
		MACs:    lru.New[packet.MAC, *hardware](4 * o.MaxDevices),
		Flows:   lru.New[flowKey, *flow](o.MaxFlows),
	}
	i.index()
	return i
}

// Namespace is the UUID below which a sensor's ids are made: the sensor's own id where that is a UUID.
func Namespace(sensorID string) uuid.UUID {
	if id, err := uuid.Parse(sensorID); err == nil {
		return id
	}
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("otus:sensor:"+sensorID))
}

// SetMode switches between learning, where every device seen becomes authorized, and operational.
func (i *Inventory) SetMode(mode event.SensorMode) { i.state.Mode = mode }

// Packet takes one decoded frame; c is its flow, nil where it has none. Frames that break their headers
// make no device.
func (i *Inventory) Packet(p *packet.Packet, c *dissect.Connection, now time.Time) {
	i.rollOver(now)
	if p.Malformed == nil {
		cause := cause{now: now, frame: p.Frame.Index}
		if d := i.sender(p, cause); d != nil {
			i.addVLAN(d, p.VLANs[0], cause)
		}
	}
	if c != nil {
		i.count(p, c, now)
	}
}

// cause says when and by what a device is touched.
type cause struct {
	now      time.Time
	frame    uint64
	protocol *dissect.Protocol
}

// sender finds or makes the device that sent p. A device is made of an address that speaks, never of one that
// is only spoken to: a scan would fill the table with ghosts.
func (i *Inventory) sender(p *packet.Packet, cause cause) *device {
	switch {
	case p.EtherType == packet.EtherARP:
		mac := p.ARP.SenderMAC
		if mac.IsZero() {
			mac = p.SrcMAC
		}
		if mac.IsMulticast() || mac.IsZero() {
			return nil
		}
		if !unicast(p.ARP.SenderIP) {
			return i.touchMAC(mac, cause)
		}
		i.noteMAC(mac, p.ARP.SenderIP, true, cause)
		return i.touch(mac, p.ARP.SenderIP, cause)
	case p.Src.IsValid():
		if unicast(p.Dst) && !p.DstMAC.IsMulticast() {
			i.noteMAC(p.DstMAC, p.Dst, false, cause)
		}
		if !unicast(p.Src) {
			return nil
		}
		i.noteMAC(p.SrcMAC, p.Src, false, cause)
		return i.touch(p.SrcMAC, p.Src, cause)
	case !p.SrcMAC.IsZero() && !p.SrcMAC.IsMulticast():
		return i.touchMAC(p.SrcMAC, cause)
	}
	return nil
}

// Message takes one message, with c its flow or nil.
func (i *Inventory) Message(m *dissect.Message, c *dissect.Connection, now time.Time) {
	cause := cause{now: now, frame: m.Frame, protocol: m.Protocol}
	i.countMessage(m)
	from := i.find(m.From())
	client, server := i.find(m.Client), i.find(m.Server)
	if m.Transport == "tcp" {
		// Payload on TCP proves both ends, even where the mirror shows one direction only.
		client, server = i.ensure(m.Client, client, cause), i.ensure(m.Server, server, cause)
		i.speaks(client, m.Client, false, cause)
		i.speaks(server, m.Server, true, cause)
	} else if from != nil {
		i.speaks(from, m.From(), m.Direction == dissect.FromServer, cause)
	}
	i.act(client, server, m, cause)
	for n := range m.Identity {
		i.fact(m, &m.Identity[n], cause)
	}
}

func (i *Inventory) ensure(e dissect.Endpoint, d *device, cause cause) *device {
	if d != nil || !unicast(e.Addr) {
		return d
	}
	return i.touch(e.MAC, e.Addr, cause)
}

// speaks records that d, at e, uses the cause's protocol, as its server or client.
func (i *Inventory) speaks(d *device, e dissect.Endpoint, server bool, cause cause) {
	if d == nil {
		return
	}
	if cause.protocol.OT {
		// A stranger on the Internet does not make his own network a plant; a server there does.
		if server || !public(e.Addr) {
			i.markSubnet(e.Addr, cause)
		}
		if !d.SpeaksOT {
			i.change(d, cause, func(d *device) { d.SpeaksOT = true })
		}
	}
	if at, found := slices.BinarySearch(d.Row.Protocols, cause.protocol.Name); !found && len(d.Row.Protocols) < maxProtocols {
		i.change(d, cause, func(d *device) {
			d.Row.Protocols = slices.Insert(slices.Clone(d.Row.Protocols), at, cause.protocol.Name)
		})
	}
}

func (i *Inventory) addVLAN(d *device, vlan uint16, cause cause) {
	if vlan == 0 || len(d.Row.VLANs) >= maxVLANs {
		return
	}
	if at, found := slices.BinarySearch(d.Row.VLANs, vlan); !found {
		i.change(d, cause, func(d *device) { d.Row.VLANs = slices.Insert(slices.Clone(d.Row.VLANs), at, vlan) })
	}
}

// fact fills a field of a device.
func (i *Inventory) fact(m *dissect.Message, f *dissect.Fact, cause cause) {
	if f.Kind == dissect.FactAddress {
		if unicast(f.Addr) && !f.MAC.IsZero() && !f.MAC.IsMulticast() {
			i.noteMAC(f.MAC, f.Addr, true, cause)
		}
		return
	}
	about := m.Client
	if f.Server {
		about = m.Server
	}
	other := f.Addr.IsValid() || !f.MAC.IsZero()
	if other {
		about = dissect.Endpoint{MAC: f.MAC, Addr: f.Addr}
	}
	d := i.find(about)
	value := clean(f.Value)
	if d == nil || value == "" {
		return
	}
	i.change(d, cause, func(d *device) {
		switch f.Kind {
		case dissect.FactName:
			// What a device says of itself outweighs what others call it; among others the first stays.
			if !other || !d.NameFact && (d.Row.Name == "" || d.Row.Name == defaultName(&d.Row)) {
				d.Row.Name, d.NameFact = value, d.NameFact || !other
			}
		case dissect.FactVendor:
			d.Row.Vendor, d.VendorOUI = value, false
		case dissect.FactModel:
			d.Row.Model = value
		case dissect.FactFirmware:
			d.Row.FirmwareVersion = value
		case dissect.FactSerial:
			d.Row.SerialNumber = value
		case dissect.FactOS:
			d.Row.OperatingSystem = value
		case dissect.FactType:
			d.TypeFact = value
		}
	})
}

// clean bounds a text of the wire and takes out what cannot be printed.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	text = strings.TrimSpace(text)
	if runes := []rune(text); len(runes) > maxText {
		text = string(runes[:maxText])
	}
	return text
}

// Tick sends the rows that wait, in the order of the devices' ids.
func (i *Inventory) Tick(now time.Time) {
	i.rollOver(now)
	if !i.state.Pending {
		return
	}
	i.state.Pending = false
	var waiting []*device
	for _, d := range i.state.Devices.All() {
		if d.Waiting {
			waiting = append(waiting, d)
		}
	}
	slices.SortFunc(waiting, func(a, b *device) int { return cmp.Compare(a.Row.ID, b.Row.ID) })
	for _, d := range waiting {
		i.send(d)
	}
}

// Flush sends what waits and the connections of the minute that has not ended: the source has.
func (i *Inventory) Flush(now time.Time) {
	i.Tick(now)
	i.emitMinute()
}

// Rewind forgets the flows and the clock: the next source's times have nothing to do with this one's. Call it
// after Flush.
func (i *Inventory) Rewind() {
	i.state.Flows = lru.New[flowKey, *flow](i.o.MaxFlows)
	i.state.Minute = time.Time{}
}

func (i *Inventory) send(d *device) {
	d.Waiting = false
	d.Sent = d.Row.LastSeen
	d.Row.Revision++
	i.o.Device(d.Row)
}

// Lookup returns the device at an endpoint as it is now, or nil. The copy may be kept.
func (i *Inventory) Lookup(e dissect.Endpoint) *event.Device {
	d := i.find(e)
	if d == nil {
		return nil
	}
	row := d.Row
	return &row
}

// Devices returns all devices, sorted by first IP address, then id.
func (i *Inventory) Devices() []event.Device {
	rows := make([]event.Device, 0, i.state.Devices.Len())
	for _, d := range i.state.Devices.All() {
		rows = append(rows, d.Row)
	}
	first := func(d event.Device) netip.Addr {
		if len(d.IPAddresses) == 0 {
			return netip.Addr{}
		}
		return d.IPAddresses[0]
	}
	slices.SortFunc(rows, func(a, b event.Device) int {
		return cmp.Or(first(a).Compare(first(b)), cmp.Compare(a.ID, b.ID))
	})
	return rows
}

// Len is the number of devices.
func (i *Inventory) Len() int { return i.state.Devices.Len() }

// Flows is the number of flows in the table of the running minute, Evicted how many devices and flows had to leave
// for lack of room.
func (i *Inventory) Flows() int      { return i.state.Flows.Len() }
func (i *Inventory) Evicted() uint64 { return i.state.Devices.Evicted() + i.state.Flows.Evicted() }

// Flag is a property of a device that learning gives.
type Flag string

// The flags.
const (
	FlagAuthorized  Flag = "authorized"
	FlagProgramming Flag = "programming"
	FlagScanner     Flag = "scanner"
)

// SetFlag gives the device with that id a flag; an unknown id changes nothing.
func (i *Inventory) SetFlag(id string, flag Flag, now time.Time) {
	for _, d := range i.state.Devices.All() {
		if d.Row.ID != id {
			continue
		}
		i.change(d, cause{now: now}, func(d *device) {
			switch flag {
			case FlagAuthorized:
				d.Row.Authorized = true
			case FlagProgramming:
				d.Row.Programming = true
			case FlagScanner:
				d.Row.Scanner = true
			}
		})
		return
	}
}

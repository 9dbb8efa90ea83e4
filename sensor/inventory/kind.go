package inventory

import (
	"net/netip"
	"slices"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor/dissect"
)

// role is a set of things a device was seen doing.
type role uint16

const (
	servesOT role = 1 << iota
	readsOT
	writesOT
	programs
	servesIT
	usesIT
)

// fewServers is the number of OT servers from which a device that only reads is taken for a historian, not an HMI.
const fewServers = 3

// act learns roles from what a message does.
func (i *Inventory) act(client, server *device, m *dissect.Message, cause cause) {
	answered := m.Direction == dissect.FromServer || m.Transport == "tcp"
	if !m.Protocol.OT {
		if m.Transport == "link" || m.Transport == "icmp" {
			return // every station asks and answers there
		}
		if server != nil && answered && m.Kind == dissect.Response {
			i.addRole(server, servesIT, cause)
		}
		if client != nil && m.Kind == dissect.Request && m.Operation != dissect.OpSession && m.Operation != dissect.OpDiscovery {
			i.addRole(client, usesIT, cause)
		}
		return
	}
	if server != nil && answered && m.Transport != "link" {
		i.addRole(server, servesOT, cause)
	}
	if client == nil || client == server || m.Direction != dissect.FromClient || m.Kind != dissect.Request {
		return
	}
	if i.state.Mode == event.ModeLearning && !client.Row.Programming &&
		(m.Operation == dissect.OpProgramDownload || m.Operation == dissect.OpProgramDelete) {
		i.change(client, cause, func(d *device) { d.Row.Programming = true })
	}
	switch m.Operation {
	case dissect.OpProgramDownload, dissect.OpProgramUpload, dissect.OpProgramDelete, dissect.OpFirmware, dissect.OpConfigWrite:
		i.addRole(client, programs, cause)
	case dissect.OpWrite, dissect.OpControl:
		i.addRole(client, writesOT, cause)
	case dissect.OpRead:
		i.addRole(client, readsOT, cause)
		if key := (Key{MAC: m.Server.MAC, Addr: m.Server.Addr}); len(client.Servers) < fewServers && !slices.Contains(client.Servers, key) {
			i.change(client, cause, func(d *device) { d.Servers = append(slices.Clone(d.Servers), key) })
		}
	}
}

func (i *Inventory) addRole(d *device, r role, cause cause) {
	if d.Roles&r == 0 {
		i.change(d, cause, func(d *device) { d.Roles |= r })
	}
}

// judge derives type, OT flag and Purdue level from everything known.
func (i *Inventory) judge(d *device) {
	d.Row.OT = d.SpeaksOT
	internet := len(d.Row.IPAddresses) > 0
	for _, addr := range d.Row.IPAddresses {
		d.Row.OT = d.Row.OT || i.otSubnet(addr)
		internet = internet && !i.Internal(addr)
	}
	d.Row.Type = d.kind(internet)
	d.Row.PurdueLevel = purdue(&d.Row)
}

func (d *device) kind(internet bool) string {
	switch {
	case d.TypeFact != "":
		return d.TypeFact
	case d.Roles&servesOT != 0:
		return "PLC"
	case d.Roles&programs != 0:
		return "Engineering Station"
	case d.Roles&writesOT != 0:
		return "HMI"
	case d.Roles&readsOT != 0 && len(d.Servers) >= fewServers:
		return "Historian"
	case d.Roles&readsOT != 0:
		return "HMI"
	case d.Router:
		return "Router"
	case internet:
		return "Internet"
	case d.Roles&servesIT != 0:
		return "Server"
	case d.Roles&usesIT != 0:
		return "Workstation"
	}
	return "Unknown"
}

func purdue(row *event.Device) string {
	switch row.Type {
	case "PLC", "RTU", "IED", "DCS Controller", "I/O Adapter", "Variable Frequency Drive", "Servo Drive", "Robot Controller",
		"Industrial Robot", "Meter", "Protocol Converter", "Slot":
		return "Process Control"
	case "HMI", "Engineering Station", "Historian":
		return "Supervisory"
	case "Internet", "Unknown":
		return ""
	case "Router", "Switch", "Firewall":
		return ""
	}
	if row.OT {
		return "Supervisory"
	}
	return "Enterprise"
}

// network is the subnet an address is taken to be in: its /24, or its /64 in IPv6. Masks are not on the wire.
func network(addr netip.Addr) netip.Prefix {
	bits := 24
	if addr.Is6() {
		bits = 64
	}
	prefix, _ := addr.WithZone("").Prefix(bits)
	return prefix
}

// carrierGrade is shared address space (RFC 6598): not the Internet.
var carrierGrade = netip.MustParsePrefix("100.64.0.0/10")

// public says that addr is outside the ranges reserved for private use (RFC 1918, 4193, 3927, 6598).
func public(addr netip.Addr) bool {
	return addr.IsValid() && addr.IsGlobalUnicast() && !addr.IsPrivate() && !carrierGrade.Contains(addr)
}

// maxSubnets bounds the list of OT subnets.
const maxSubnets = 4096

// markSubnet makes the address's network an OT subnet, and its devices OT devices.
func (i *Inventory) markSubnet(addr netip.Addr, cause cause) {
	if !unicast(addr) || i.otSubnet(addr) || len(i.state.Subnets) >= maxSubnets {
		return
	}
	prefix := network(addr)
	i.state.Subnets = append(i.state.Subnets, prefix)
	i.subnet[prefix] = true
	var inside []*device
	for key, d := range i.state.Devices.All() {
		if key.Addr.IsValid() && prefix.Contains(key.Addr) {
			inside = append(inside, d)
		}
	}
	for _, d := range inside {
		i.change(d, cause, func(*device) {})
	}
}

func (i *Inventory) otSubnet(addr netip.Addr) bool {
	if !addr.IsValid() {
		return false
	}
	for _, prefix := range i.o.OTSubnets {
		if prefix.Contains(addr) {
			return true
		}
	}
	return i.subnet[network(addr)]
}

// OTSubnets returns the networks in which an OT protocol was seen, in the order of discovery.
func (i *Inventory) OTSubnets() []netip.Prefix { return slices.Clone(i.state.Subnets) }

// Internal says that addr belongs to this plant or company: a private range, or a network known as OT.
func (i *Inventory) Internal(addr netip.Addr) bool { return !public(addr) || i.otSubnet(addr) }

// IsOT says that the endpoint is an OT device, or lies in an OT subnet.
func (i *Inventory) IsOT(e dissect.Endpoint) bool {
	if d := i.find(e); d != nil {
		return d.Row.OT
	}
	return unicast(e.Addr) && i.otSubnet(e.Addr)
}

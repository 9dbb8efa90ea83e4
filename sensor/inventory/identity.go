package inventory

import (
	"net/netip"
	"slices"

	"github.com/google/uuid"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/packet"
)

// hardware is what is known of one hardware address: which IP addresses came with it.
type hardware struct {
	// Own are addresses it claimed itself by ARP or DHCP; Others came in IP packets only. Each at most maxPerMAC.
	Own    []netip.Addr `json:"own,omitempty"`
	Others []netip.Addr `json:"others,omitempty"`
	Router bool         `json:"router,omitempty"`
}

const maxPerMAC = 16

// routerNets is the number of IP networks behind one hardware address from which it is taken for a router's.
const routerNets = 3

// virtualRouters are the address blocks of VRRP (RFC 5798) and HSRP: routers by definition.
var virtualRouters = [][]byte{{0x00, 0x00, 0x5e, 0x00, 0x01}, {0x00, 0x00, 0x5e, 0x00, 0x02}, {0x00, 0x00, 0x0c, 0x07, 0xac}, {0x00, 0x00, 0x0c, 0x9f}}

// noteMAC records that addr was seen with mac; own says that mac claims addr, which a router never does for the
// hosts behind it.
func (i *Inventory) noteMAC(mac packet.MAC, addr netip.Addr, own bool, cause cause) {
	if mac.IsZero() || mac.IsMulticast() || addr.IsLinkLocalUnicast() {
		return
	}
	h, ok := i.state.MACs.Get(mac)
	if !ok {
		h = &hardware{}
		i.state.MACs.Put(mac, h)
		for _, block := range virtualRouters {
			h.Router = h.Router || slices.Equal(mac[:len(block)], block)
		}
	}
	switch {
	case slices.Contains(h.Own, addr):
		return
	case own:
		if len(h.Own) >= maxPerMAC {
			return
		}
		h.Own = append(h.Own, addr)
		if at := slices.Index(h.Others, addr); at >= 0 {
			h.Others = slices.Delete(h.Others, at, at+1)
		}
		return
	case h.Router || slices.Contains(h.Others, addr) || len(h.Others) >= maxPerMAC:
		return
	}
	h.Others = append(h.Others, addr)
	if h.forwards() {
		h.Router = true
		i.demote(mac, h, cause)
	}
}

// forwards judges by how many networks, and whether private and public ones, stand behind the address.
func (h *hardware) forwards() bool {
	var nets []netip.Prefix
	var anyPublic, anyPrivate bool
	for _, addr := range slices.Concat(h.Own, h.Others) {
		net := network(addr)
		if !slices.Contains(nets, net) {
			nets = append(nets, net)
		}
		if public(addr) {
			anyPublic = true
		} else {
			anyPrivate = true
		}
	}
	return len(nets) >= routerNets || len(nets) == 2 && anyPublic && anyPrivate
}

// demote takes a router's hardware address away from the devices behind it.
func (i *Inventory) demote(mac packet.MAC, h *hardware, cause cause) {
	hasOwn := false
	for _, key := range slices.SortedFunc(slices.Values(i.byMAC[mac]), compareKeys) {
		d, _ := i.state.Devices.Peek(key)
		if !key.Addr.IsValid() || slices.Contains(h.Own, key.Addr) {
			hasOwn = true
			i.change(d, cause, func(d *device) { d.Router = true })
			continue
		}
		i.remove(key)
		if _, taken := i.state.Devices.Peek(Key{Addr: key.Addr}); taken {
			continue // seen behind another router already: that one stays
		}
		i.insert(Key{Addr: key.Addr}, d)
		i.change(d, cause, func(d *device) {
			d.Row.MACAddresses = []string{}
			if d.VendorOUI {
				d.Row.Vendor, d.VendorOUI = "", false
			}
		})
	}
	if !hasOwn {
		d := i.touch(mac, netip.Addr{}, cause)
		i.change(d, cause, func(d *device) { d.Router = true })
	}
}

// key is the identity under which a device with those addresses is kept.
func (i *Inventory) key(mac packet.MAC, addr netip.Addr) Key {
	if mac.IsMulticast() {
		mac = packet.MAC{}
	}
	if addr.IsValid() {
		if h, ok := i.state.MACs.Peek(mac); ok && h.Router && !slices.Contains(h.Own, addr) {
			return Key{Addr: addr}
		}
	}
	return Key{MAC: mac, Addr: addr}
}

// touch finds or makes the device and marks it as seen.
func (i *Inventory) touch(mac packet.MAC, addr netip.Addr, cause cause) *device {
	key := i.key(mac, addr)
	if d, ok := i.state.Devices.Get(key); ok {
		i.seen(d, cause)
		return d
	}
	if d, ok := i.state.Devices.Peek(Key{MAC: mac}); ok && addr.IsValid() && key.MAC == mac && !mac.IsZero() && !d.Router {
		// Known by its hardware address alone until now.
		i.remove(Key{MAC: mac})
		i.insert(key, d)
		i.change(d, cause, func(d *device) {
			if d.Row.Name == defaultName(&d.Row) {
				d.Row.Name = addr.String()
			}
			d.Row.IPAddresses = []netip.Addr{addr}
		})
		i.seen(d, cause)
		return d
	}
	return i.create(key, cause)
}

// touchMAC is touch for frames without an IP address: where the hardware address has devices, the newest is meant.
func (i *Inventory) touchMAC(mac packet.MAC, cause cause) *device {
	if d := i.newest(i.byMAC[mac]); d != nil {
		i.seen(d, cause)
		return d
	}
	return i.touch(mac, netip.Addr{}, cause)
}

func (i *Inventory) create(key Key, cause cause) *device {
	d := &device{Row: event.Device{
		ID:           uuid.NewSHA1(i.namespace, []byte("device "+key.MAC.String()+" "+key.Addr.String())).String(),
		IPAddresses:  []netip.Addr{},
		MACAddresses: []string{},
		Protocols:    []string{},
		FirstSeen:    cause.now,
		LastSeen:     cause.now,
		SensorID:     i.o.SensorID,
		Authorized:   i.state.Mode == event.ModeLearning,
	}}
	if key.Addr.IsValid() {
		d.Row.IPAddresses = append(d.Row.IPAddresses, key.Addr)
	}
	if !key.MAC.IsZero() {
		d.Row.MACAddresses = append(d.Row.MACAddresses, key.MAC.String())
		d.Row.Vendor = Vendor(key.MAC)
		d.VendorOUI = d.Row.Vendor != ""
	}
	d.Row.Name = defaultName(&d.Row)
	i.judge(d)
	i.insert(key, d)
	i.wait(d)
	row := d.Row
	i.o.Changed(Change{Device: &row, New: true, Protocol: cause.protocol, Frame: cause.frame})
	return d
}

func defaultName(row *event.Device) string {
	switch {
	case len(row.IPAddresses) > 0:
		return row.IPAddresses[0].String()
	case len(row.MACAddresses) > 0:
		return row.MACAddresses[0]
	}
	return ""
}

// seen moves the device's last activity; time never runs backwards.
func (i *Inventory) seen(d *device, cause cause) {
	if cause.now.After(d.Row.LastSeen) {
		d.Row.LastSeen = cause.now
		if cause.now.Sub(d.Sent) >= lastSeenEvery {
			i.wait(d)
		}
	}
	if i.state.Mode == event.ModeLearning && !d.Row.Authorized {
		i.change(d, cause, func(d *device) { d.Row.Authorized = true })
	}
}

func (i *Inventory) wait(d *device) {
	d.Waiting = true
	i.state.Pending = true
}

// change applies edit, judges the device anew, and tells what differs. edit replaces slices, never their elements.
func (i *Inventory) change(d *device, cause cause, edit func(*device)) {
	before := d.Row
	edit(d)
	i.judge(d)
	fields := differences(&before, &d.Row)
	if len(fields) == 0 {
		return
	}
	i.wait(d)
	row := d.Row
	i.o.Changed(Change{Device: &row, Fields: fields, Before: &before, Protocol: cause.protocol, Frame: cause.frame})
}

// differences names the changed fields by their JSON names, sorted.
func differences(a, b *event.Device) []string {
	var fields []string
	note := func(name string, changed bool) {
		if changed {
			fields = append(fields, name)
		}
	}
	note("authorized", a.Authorized != b.Authorized)
	note("firmwareVersion", a.FirmwareVersion != b.FirmwareVersion)
	note("ipAddresses", !slices.Equal(a.IPAddresses, b.IPAddresses))
	note("macAddresses", !slices.Equal(a.MACAddresses, b.MACAddresses))
	note("model", a.Model != b.Model)
	note("name", a.Name != b.Name)
	note("operatingSystem", a.OperatingSystem != b.OperatingSystem)
	note("ot", a.OT != b.OT)
	note("programming", a.Programming != b.Programming)
	note("protocols", !slices.Equal(a.Protocols, b.Protocols))
	note("purdueLevel", a.PurdueLevel != b.PurdueLevel)
	note("scanner", a.Scanner != b.Scanner)
	note("serialNumber", a.SerialNumber != b.SerialNumber)
	note("type", a.Type != b.Type)
	note("vendor", a.Vendor != b.Vendor)
	note("vlans", !slices.Equal(a.VLANs, b.VLANs))
	return fields
}

// find returns the device at an endpoint, or nil; where addresses do not fit one exactly, the newest with that IP
// address, or with that hardware address where there is no IP address.
func (i *Inventory) find(e dissect.Endpoint) *device {
	addr := e.Addr.Unmap()
	if unicast(addr) {
		if d, ok := i.state.Devices.Peek(i.key(e.MAC, addr)); ok {
			return d
		}
		return i.newest(i.byAddr[addr])
	}
	if e.MAC.IsZero() || e.MAC.IsMulticast() || addr.IsValid() && !addr.IsUnspecified() {
		return nil
	}
	return i.newest(i.byMAC[e.MAC])
}

func (i *Inventory) newest(keys []Key) *device {
	var best *device
	var bestKey Key
	for _, key := range keys {
		d, ok := i.state.Devices.Peek(key)
		if !ok {
			continue
		}
		if best == nil || d.Row.LastSeen.After(best.Row.LastSeen) ||
			d.Row.LastSeen.Equal(best.Row.LastSeen) && compareKeys(key, bestKey) < 0 {
			best, bestKey = d, key
		}
	}
	return best
}

func (i *Inventory) insert(key Key, d *device) {
	if dropped, old, ok := i.state.Devices.Put(key, d); ok {
		if old.Waiting {
			i.send(old)
		}
		i.unindex(dropped)
	}
	if key.Addr.IsValid() {
		i.byAddr[key.Addr] = append(i.byAddr[key.Addr], key)
	}
	if !key.MAC.IsZero() {
		i.byMAC[key.MAC] = append(i.byMAC[key.MAC], key)
	}
}

func (i *Inventory) remove(key Key) {
	i.state.Devices.Delete(key)
	i.unindex(key)
}

func (i *Inventory) unindex(key Key) {
	same := func(k Key) bool { return k == key }
	if keys := slices.DeleteFunc(i.byAddr[key.Addr], same); len(keys) > 0 {
		i.byAddr[key.Addr] = keys
	} else {
		delete(i.byAddr, key.Addr)
	}
	if keys := slices.DeleteFunc(i.byMAC[key.MAC], same); len(keys) > 0 {
		i.byMAC[key.MAC] = keys
	} else {
		delete(i.byMAC, key.MAC)
	}
}

// unicast says that addr can be one device's: not absent, unspecified, multicast, broadcast or reserved.
func unicast(addr netip.Addr) bool {
	if !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast() {
		return false
	}
	if addr.Is4() {
		b := addr.As4()
		return b[0] != 0 && b[0] < 240
	}
	return true
}

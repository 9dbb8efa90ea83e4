package inventory

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/packet"
)

var (
	start  = time.Date(2025, 3, 1, 8, 0, 0, 0, time.UTC)
	modbus = &dissect.Protocol{ID: "modbus", Name: "MODBUS", OT: true}
	dns    = &dissect.Protocol{ID: "dns", Name: "DNS"}
)

func mac(last byte) packet.MAC { return packet.MAC{0x00, 0x0e, 0x8c, 0, 0, last} }

func frame(src packet.MAC, from string, dst packet.MAC, to string) *packet.Packet {
	p := &packet.Packet{Frame: &packet.Frame{Index: 1, Data: make([]byte, 60)}, SrcMAC: src, DstMAC: dst, EtherType: packet.EtherIPv4}
	p.Src, p.Dst = netip.MustParseAddr(from), netip.MustParseAddr(to)
	return p
}

func end(m packet.MAC, addr string, port uint16) dissect.Endpoint {
	return dissect.Endpoint{MAC: m, Addr: netip.MustParseAddr(addr), Port: port}
}

func request(client, server dissect.Endpoint, op dissect.Operation) *dissect.Message {
	return &dissect.Message{Protocol: modbus, Client: client, Server: server, Transport: "tcp", Operation: op}
}

func byAddress(t *testing.T, i *Inventory, addr string) event.Device {
	t.Helper()
	for _, d := range i.Devices() {
		if slices.Contains(d.IPAddresses, netip.MustParseAddr(addr)) {
			return d
		}
	}
	t.Fatalf("no device with address %s", addr)
	return event.Device{}
}

func TestOnlySpeakersBecomeDevices(t *testing.T) {
	i := New(Options{SensorID: "s"})
	i.Packet(frame(mac(1), "10.0.0.1", mac(2), "10.0.0.2"), nil, start)
	i.Packet(frame(mac(3), "0.0.0.0", packet.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, "255.255.255.255"), nil, start)
	i.Packet(frame(mac(4), "224.0.0.5", mac(2), "10.0.0.2"), nil, start)
	if rows := i.Devices(); len(rows) != 1 || rows[0].Vendor != "Siemens" || !rows[0].Authorized {
		t.Errorf("devices %+v, want 10.0.0.1 alone, of Siemens, authorized", rows)
	}
}

func TestSameHardwareAddressWithTwoAddressesStaysTwo(t *testing.T) {
	i := New(Options{})
	for _, addr := range []string{"10.0.0.1", "10.0.0.9", "10.0.0.1"} {
		i.Packet(frame(mac(1), addr, mac(2), "10.0.0.2"), nil, start)
	}
	if i.Len() != 2 || byAddress(t, i, "10.0.0.1").ID == byAddress(t, i, "10.0.0.9").ID {
		t.Errorf("%d devices, want 2 with ids of their own", i.Len())
	}
}

func TestRouterDoesNotLendItsHardwareAddress(t *testing.T) {
	i := New(Options{})
	i.Packet(&packet.Packet{Frame: &packet.Frame{}, SrcMAC: mac(9), EtherType: packet.EtherARP,
		ARP: packet.ARP{Op: 2, SenderMAC: mac(9), SenderIP: netip.MustParseAddr("10.0.0.254")}}, nil, start)
	for _, addr := range []string{"10.1.0.1", "10.2.0.1", "10.3.0.1"} {
		i.Packet(frame(mac(9), addr, mac(2), "10.0.0.2"), nil, start)
	}
	for _, addr := range []string{"10.1.0.1", "10.2.0.1", "10.3.0.1"} {
		if d := byAddress(t, i, addr); len(d.MACAddresses) != 0 || d.Vendor != "" {
			t.Errorf("%s behind the router has hardware address %v and vendor %q, want none", addr, d.MACAddresses, d.Vendor)
		}
	}
	if d := byAddress(t, i, "10.0.0.254"); d.Type != "Router" || len(d.MACAddresses) != 1 {
		t.Errorf("the router is %q with %v, want Router with its address", d.Type, d.MACAddresses)
	}
	if i.Len() != 4 {
		t.Errorf("%d devices, want 4", i.Len())
	}
}

func TestTypesFollowWhatDevicesDo(t *testing.T) {
	plc := end(mac(1), "10.0.0.1", 502)
	cases := []struct {
		name string
		op   dissect.Operation
		to   []string
		want string
	}{
		{"reads one controller", dissect.OpRead, []string{"10.0.0.1"}, "HMI"},
		{"reads three controllers", dissect.OpRead, []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}, "Historian"},
		{"writes", dissect.OpWrite, []string{"10.0.0.1"}, "HMI"},
		{"programs", dissect.OpProgramDownload, []string{"10.0.0.1"}, "Engineering Station"},
	}
	for _, c := range cases {
		i := New(Options{})
		for n, to := range c.to {
			i.Message(request(end(mac(9), "10.0.0.9", 4000), end(mac(byte(n+1)), to, 502), c.op), nil, start)
		}
		if d := i.Lookup(end(mac(9), "10.0.0.9", 0)); d.Type != c.want || d.PurdueLevel != "Supervisory" || !d.OT {
			t.Errorf("%s: type %q, level %q, OT %t; want %q, Supervisory, true", c.name, d.Type, d.PurdueLevel, d.OT, c.want)
		}
		if d := i.Lookup(plc); d.Type != "PLC" || d.PurdueLevel != "Process Control" || !slices.Equal(d.Protocols, []string{"MODBUS"}) {
			t.Errorf("%s: server is %q, %q, %v; want PLC, Process Control, MODBUS", c.name, d.Type, d.PurdueLevel, d.Protocols)
		}
	}
}

func TestSubnetOfAnOTProtocolIsOT(t *testing.T) {
	var changed []string
	i := New(Options{Changed: func(c Change) {
		if slices.Contains(c.Fields, "ot") {
			changed = append(changed, c.Device.Name)
		}
	}})
	i.Packet(frame(mac(5), "10.0.0.50", mac(2), "10.0.0.2"), nil, start)
	i.Packet(frame(mac(6), "10.0.1.50", mac(2), "10.0.0.2"), nil, start)
	i.Message(request(end(mac(9), "203.0.113.9", 4000), end(mac(1), "10.0.0.1", 502), dissect.OpRead), nil, start)
	if !slices.Contains(changed, "10.0.0.50") || slices.Contains(changed, "10.0.1.50") {
		t.Errorf("became OT: %v, want the neighbour 10.0.0.50 and not 10.0.1.50", changed)
	}
	if i.Internal(netip.MustParseAddr("203.0.113.9")) {
		t.Error("a client on the Internet made its own network internal")
	}
}

func TestFactsFillFieldsAndChangesTellThem(t *testing.T) {
	var got []string
	i := New(Options{Changed: func(c Change) { got = append(got, strings.Join(c.Fields, "+")) }})
	m := request(end(mac(9), "10.0.0.9", 4000), end(mac(1), "10.0.0.1", 502), dissect.OpRead)
	i.Message(m, nil, start)
	got = nil
	m.Identity = []dissect.Fact{{Server: true, Kind: dissect.FactFirmware, Value: "V2.1\x00"}, {Server: true, Kind: dissect.FactModel, Value: "M340"}}
	i.Message(m, nil, start.Add(time.Second))
	i.Message(m, nil, start.Add(2*time.Second))
	if want := []string{"firmwareVersion", "model"}; !slices.Equal(got, want) {
		t.Errorf("changes %q, want %q once", got, want)
	}
	if d := i.Lookup(m.Server); d.FirmwareVersion != "V2.1" || d.Model != "M340" {
		t.Errorf("firmware %q model %q", d.FirmwareVersion, d.Model)
	}
}

func TestRowsGoOutOnChangeAndSeldomOtherwise(t *testing.T) {
	var rows []event.Device
	i := New(Options{Device: func(d event.Device) { rows = append(rows, d) }})
	at := start
	for range 40 {
		i.Packet(frame(mac(1), "10.0.0.1", mac(2), "10.0.0.2"), nil, at)
		i.Tick(at)
		at = at.Add(time.Minute)
	}
	if len(rows) != 3 || rows[2].Revision != 3 {
		t.Errorf("%d rows in 40 minutes, want the first and one every 15 minutes", len(rows))
	}
}

func TestConnectionRowsAreWholeMinutes(t *testing.T) {
	var rows []event.Connection
	i := New(Options{Connection: func(c event.Connection) { rows = append(rows, c) }})
	c := &dissect.Connection{Client: end(mac(1), "10.0.0.1", 4000), Server: end(mac(2), "10.0.0.2", 502), Transport: "tcp", Protocol: modbus}
	forth := frame(mac(1), "10.0.0.1", mac(2), "10.0.0.2")
	forth.SrcPort, forth.DstPort = 4000, 502
	back := frame(mac(2), "10.0.0.2", mac(1), "10.0.0.1")
	back.SrcPort, back.DstPort = 502, 4000
	i.Packet(forth, c, start)
	i.Packet(back, c, start.Add(time.Second))
	i.Packet(forth, c, start.Add(2*time.Second))
	c.LostBytes = 7
	i.Packet(forth, c, start.Add(61*time.Second))
	i.Flush(start.Add(62 * time.Second))
	if len(rows) != 2 {
		t.Fatalf("%d rows, want 2", len(rows))
	}
	first, second := rows[0], rows[1]
	if first.ClientPackets != 2 || first.ServerPackets != 1 || first.ClientBytes != 120 || first.OneSided || first.Protocol != "MODBUS" || first.ServerPort != 502 {
		t.Errorf("first minute: %+v", first)
	}
	if second.ClientPackets != 1 || !second.OneSided || second.LostBytes != 7 || !second.Minute.Equal(start.Add(time.Minute)) {
		t.Errorf("second minute: %+v", second)
	}
	if first.ClientID == "" || first.ServerID == "" {
		t.Errorf("devices %q and %q, want both", first.ClientID, first.ServerID)
	}
}

func TestTableIsBounded(t *testing.T) {
	i := New(Options{MaxDevices: 10})
	for n := range 1000 {
		i.Packet(frame(packet.MAC{0, 1, 2, 3, byte(n >> 8), byte(n)}, netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}).String(), mac(2), "10.0.0.2"), nil, start)
	}
	if i.Len() != 10 || i.Evicted() != 990 || len(i.byAddr) != 10 {
		t.Errorf("%d devices, %d dropped, %d indexed; want 10, 990, 10", i.Len(), i.Evicted(), len(i.byAddr))
	}
}

func TestRestoredInventoryGoesOnAlike(t *testing.T) {
	run := func(restart bool) string {
		var out strings.Builder
		var i *Inventory
		o := Options{SensorID: "s", Device: func(d event.Device) { out.WriteString(d.ID + d.Type + d.Name + "\n") },
			Connection: func(c event.Connection) { out.WriteString(c.ClientID + c.Minute.String() + "\n") }}
		i = New(o)
		at := start
		for n := range 300 {
			if restart {
				data, err := i.Snapshot()
				if err != nil {
					t.Fatal(err)
				}
				i = New(o)
				if err := i.Restore(data); err != nil {
					t.Fatal(err)
				}
			}
			at = at.Add(time.Duration(n%7) * time.Second)
			p := frame(mac(byte(n%5)), netip.AddrFrom4([4]byte{10, byte(n % 3), 0, byte(n % 11)}).String(), mac(byte(n%4)), "10.0.0.2")
			p.SrcPort, p.DstPort = 1000, 502
			c := &dissect.Connection{Client: end(p.SrcMAC, p.Src.String(), 1000), Server: end(p.DstMAC, "10.0.0.2", 502), Transport: "tcp", Protocol: dns}
			i.Packet(p, c, at)
			if n%3 == 0 {
				i.Message(request(c.Client, c.Server, dissect.OpWrite), c, at)
			}
			i.Tick(at)
		}
		i.Flush(at)
		return out.String()
	}
	if plain, restarted := run(false), run(true); plain != restarted || len(plain) < 1000 {
		t.Errorf("rows differ with a restart after every frame:\n%s\nand\n%s", plain, restarted)
	}
}

func TestVendorTableIsWellFormed(t *testing.T) {
	line := regexp.MustCompile(`^[0-9A-F]{2}:[0-9A-F]{2}:[0-9A-F]{2},\S.*\S$`)
	rows := strings.Split(strings.TrimSpace(ouiTable), "\n")
	last := ""
	for _, row := range rows {
		if strings.HasPrefix(row, "#") {
			continue
		}
		if !line.MatchString(row) || row <= last {
			t.Errorf("row %q is malformed, doubled or out of order", row)
		}
		last = row
	}
	if got := Vendor(packet.MAC{0x00, 0x80, 0xf4, 1, 2, 3}); got != "Schneider Electric" {
		t.Errorf("vendor of 00:80:f4 is %q", got)
	}
	if got := Vendor(packet.MAC{0x02, 0, 0, 1, 2, 3}); got != "" {
		t.Errorf("vendor of a made-up address is %q", got)
	}
}

package stage_test

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor/engine"
	"github.com/otus-project/otus/sensor/packet"
	"github.com/otus-project/otus/sensor/protocol"
	"github.com/otus-project/otus/sensor/stage"
	"github.com/otus-project/otus/simulate/wire"
)

var start = time.Date(2025, 3, 3, 8, 0, 0, 0, time.UTC)

// plant is a stage that is fed from a recorder, with its rows.
type plant struct {
	*stage.Stage
	*wire.Recorder
	frame   uint64
	alerts  []event.Alert
	devices []event.Device
	events  []event.ProtocolEvent
}

func newPlant(t testing.TB, o stage.Options) *plant {
	p := &plant{Recorder: wire.NewRecorder(start)}
	o.SensorID, o.SensorName, o.Protocols, o.Engines = "s", "s", protocol.All, engine.All
	o.Alert = func(a event.Alert) { p.alerts = append(p.alerts, a) }
	o.Device = func(d event.Device) { p.devices = append(p.devices, d) }
	o.ProtocolEvent = func(e event.ProtocolEvent) { p.events = append(p.events, e) }
	o.OnPanic = func(plugin string, value any) { t.Errorf("plug-in %s failed: %v", plugin, value) }
	p.Stage = stage.New(o)
	return p
}

func (p *plant) feed() {
	for _, f := range p.Frames {
		p.frame++
		p.Stage.Frame(&packet.Frame{Index: p.frame, Time: f.Time, Link: packet.LinkEthernet, Data: f.Data, Length: len(f.Data)})
	}
	p.Frames = p.Frames[:0]
}

// modbus is one request or response.
func modbus(transaction uint16, pdu ...byte) []byte {
	out := binary.BigEndian.AppendUint16(nil, transaction)
	return append(append(out, 0, 0, 0, byte(len(pdu)+1), 1), pdu...)
}

var hmi, plc, laptop = wire.NewHost("10.0.0.1", "00:0c:29:00:00:01"), wire.NewHost("10.0.0.2", "00:80:f4:00:00:02"), wire.NewHost("10.0.0.3", "")

// TestLearnedAlertStaysSilentAndTheDeviceIsAuthorized follows one alert from the wire to a person's command and back.
func TestLearnedAlertStaysSilentAndTheDeviceIsAuthorized(t *testing.T) {
	p := newPlant(t, stage.Options{})
	read := modbus(1, 3, 0, 0, 0, 1)
	p.Dial(hmi, plc, 502).Exchange(read, modbus(1, 3, 2, 0, 0))
	p.feed()
	p.Command(event.Command{ID: 1, Action: event.ActionSetMode, Mode: event.ModeOperational, Time: p.Recorder.Now})
	visitor := p.Dial(laptop, plc, 502)
	visitor.Exchange(read, modbus(1, 3, 2, 0, 0))
	p.feed()
	titles := map[string]string{}
	for _, a := range p.alerts {
		titles[a.Title] = a.ID
	}
	for n, title := range []string{"New Asset Detected", "Unpermitted Usage of Modbus Function Code"} {
		if titles[title] == "" {
			t.Fatalf("raised %v, want %q", titles, title)
		}
		p.Command(event.Command{ID: uint64(n + 2), Action: event.ActionLearn, AlertID: titles[title], Time: p.Recorder.Now})
	}
	rows := len(p.alerts)
	p.Wait(time.Minute)
	visitor.Exchange(read, modbus(1, 3, 2, 0, 0))
	p.feed()
	if len(p.alerts) != rows {
		t.Errorf("after learning: %q", p.alerts[rows].Title)
	}
	for _, d := range p.Devices() {
		if !d.Authorized {
			t.Errorf("device %s is not authorized", d.Name)
		}
	}
	visitor.Exchange(modbus(2, 6, 0, 0, 0, 1), modbus(2, 6, 0, 0, 0, 1))
	p.feed()
	p.Flush(p.Recorder.Now)
	if last := p.alerts[len(p.alerts)-1]; last.Title != "Unpermitted Usage of Modbus Function Code" || last.Occurrence != 2 {
		t.Errorf("another function of the learned pair raised %q, occurrence %d", last.Title, last.Occurrence)
	}
}

func TestRowsOfOneExchange(t *testing.T) {
	p := newPlant(t, stage.Options{})
	c := p.Dial(hmi, plc, 502)
	c.Exchange(modbus(1, 3, 0, 0, 0, 1), modbus(1, 3, 2, 0, 0))
	c.Exchange(modbus(2, 6, 0, 4, 0, 7), modbus(2, 6, 0, 4, 0, 7))
	c.Exchange(modbus(3, 6, 0, 5, 0, 7), modbus(3, 0x86, 2))
	p.feed()
	p.Flush(p.Recorder.Now)
	if len(p.events) != 4 {
		t.Fatalf("%d protocol events, want the two writes and their answers: %+v", len(p.events), p.events)
	}
	write, refused := p.events[0], p.events[3]
	if write.Operation != "write" || write.Target != "holding-register 4" || write.Value != "7" || write.Result != "request" || write.ClientID == "" || write.ServerID == "" {
		t.Errorf("write: %+v", write)
	}
	if refused.Result != "error" || refused.ResultCode != 2 {
		t.Errorf("refused write: %+v", refused)
	}
	types := map[string]string{}
	for _, d := range p.Devices() {
		types[d.Name] = d.Vendor + " " + d.Type
	}
	if types["10.0.0.1"] != "VMware HMI" || types["10.0.0.2"] != "Schneider Electric PLC" {
		t.Errorf("devices %v, want an HMI and a PLC with their vendors", types)
	}
	if c := p.Counters(); c.Devices != 2 || c.OpenAlerts != 1 || c.Frames != uint64(p.frame) || c.PluginFailures != 0 {
		t.Errorf("counters %+v", c)
	}
}

func TestTimeNeverRunsBackwards(t *testing.T) {
	p := newPlant(t, stage.Options{OTSubnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}})
	p.Ping(hmi, plc, true)
	p.feed()
	before := p.Stage.Now()
	p.Wait(-time.Hour)
	p.Ping(hmi, plc, true)
	p.feed()
	p.Tick(start.Add(-24 * time.Hour))
	if p.Stage.Now().Before(before) {
		t.Errorf("stage time went from %s to %s", before, p.Stage.Now())
	}
}

// FuzzFrame feeds frames cut from the input to all stages: no panic, whether in a stage or a plug-in.
func FuzzFrame(f *testing.F) {
	seeds := newPlant(f, stage.Options{})
	c := seeds.Dial(hmi, plc, 502)
	c.Exchange(modbus(1, 6, 0, 0, 0, 1), modbus(1, 0x86, 2))
	seeds.Ping(hmi, plc, true)
	seeds.ARP(hmi, plc, true)
	seeds.UDP(hmi, 40000, plc, 53, []byte("\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01"))
	var all []byte
	for _, frame := range seeds.Frames {
		all = append(append(all, byte(len(frame.Data))), frame.Data...)
	}
	f.Add(all)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		p := newPlant(t, stage.Options{Mode: event.ModeOperational, OTSubnets: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}})
		for n := uint64(1); len(data) > 0 && n < 200; n++ {
			size := min(int(data[0]), len(data)-1)
			p.Stage.Frame(&packet.Frame{Index: n, Time: start.Add(time.Duration(n) * time.Second), Link: packet.LinkEthernet, Data: data[1 : 1+size], Length: size})
			data = data[1+size:]
		}
		p.Flush(p.Stage.Now())
		if _, err := p.Snapshot(); err != nil {
			t.Errorf("snapshot: %v", err)
		}
	})
}

package facts

import (
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/otus-project/otus/internal/sharedtest"
	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/dissect/dissecttest"
	"github.com/otus-project/otus/sensor/packet"
	"github.com/otus-project/otus/sensor/protocol/modbus"
)

var (
	client  = dissecttest.NewHost("10.0.0.9", 40000)
	server  = dissecttest.NewHost("10.0.0.1", 502)
	request = []byte{0, 1, 0, 0, 0, 6, 7, 3, 0, 0, 0, 1}
	reply   = []byte{0, 1, 0, 0, 0, 5, 7, 3, 2, 0, 9}
)

// facts counts the frames of a wire, with a dissect runner in front where connections are to be recognised.
func facts(t testing.TB, w *dissecttest.Wire, recognise bool) map[string]any {
	t.Helper()
	c := New(protocols)
	r := dissecttest.NewRunner(t, protocols...)
	h := &handler{c: c}
	for i := range w.Frames {
		c.Frame(&w.Frames[i])
		if recognise {
			r.Frame(&w.Frames[i], h)
		}
	}
	r.Flush(h)
	return c.Facts()
}

// handler passes messages on.
type handler struct {
	dissecttest.Recorder
	c *Collector
}

func (h *handler) Message(m *dissect.Message, conn *dissect.Connection) { h.c.Message(m, conn) }

func want(t *testing.T, got map[string]any, key string, value any) {
	t.Helper()
	if !reflect.DeepEqual(got[key], value) {
		t.Errorf("%s = %v, want %v", key, got[key], value)
	}
}

func TestCounts(t *testing.T) {
	w := dissecttest.NewWire()
	c := w.Dial(client, server)
	c.Send(append(append([]byte{}, request...), request...)) // two units, one frame
	c.Reply(reply)
	c.Reply([]byte{0, 2, 0, 0, 0, 3, 7, 0x83, 2})
	got := facts(t, w, false)
	want(t, got, "modbus_frames", 3)
	want(t, got, "modbus_req_fc", map[string]int{"3": 2})
	want(t, got, "modbus_rsp_fc", map[string]int{"3": 2})
	want(t, got, "modbus_exceptions", map[string]int{"2": 1})
	want(t, got, "modbus_units", []int{7})
	want(t, got, "tcp_conns", 1)
	want(t, got, "ip_list", []string{"10.0.0.1", "10.0.0.9"})
	if _, err := json.Marshal(got); err != nil {
		t.Error(err)
	}
}

func TestUnitsAreListedByText(t *testing.T) {
	w := dissecttest.NewWire()
	c := w.Dial(client, server)
	for _, unit := range []byte{10, 2, 1} {
		b := append([]byte{}, request...)
		b[6] = unit
		c.Send(b)
	}
	want(t, facts(t, w, false), "modbus_units", []int{1, 10, 2})
}

// TestSegmentsThatAreNotNew: what comes again, late or as a keep-alive does not count.
func TestSegmentsThatAreNotNew(t *testing.T) {
	w := dissecttest.NewWire()
	c := w.Dial(client, server)
	c.Send(request)
	c.SendAt(-len(request), request)
	c.SendAt(-1, []byte{0})
	c.SendAt(len(request), request) // a hole before it
	c.SendAt(0, request)            // the hole, late
	got := facts(t, w, false)
	want(t, got, "modbus_frames", 2)
}

// TestFastRetransmission: after two repeated acknowledgements a segment is read again.
func TestFastRetransmission(t *testing.T) {
	w := dissecttest.NewWire()
	c := w.Dial(client, server)
	c.Send(request)
	for range 3 {
		w.Segment(server, client, c.Seq[1], c.Seq[0]-uint32(len(request)), packet.ACK, nil)
	}
	c.SendAt(-len(request), request)
	want(t, facts(t, w, false), "modbus_frames", 2)
	w.Now = w.Now.Add(time.Second)
	c.SendAt(-len(request), request) // the acknowledgements are too long ago
	want(t, facts(t, w, false), "modbus_frames", 2)
}

func TestPortsUsedAgain(t *testing.T) {
	w := dissecttest.NewWire()
	w.Segment(client, server, 100, 0, packet.SYN, nil)
	w.Segment(client, server, 100, 0, packet.SYN, nil) // the same again
	w.Segment(client, server, 9000, 0, packet.SYN, nil)
	want(t, facts(t, w, false), "tcp_conns", 2)
}

// TestOtherPort: without a registered port the connection counts once the dissect stage has recognised it, and
// from its beginning.
func TestOtherPort(t *testing.T) {
	w := dissecttest.NewWire()
	c := w.Dial(client, dissecttest.NewHost("10.0.0.1", 10502))
	for range 3 {
		c.Send(request)
		c.Reply(reply)
	}
	if got := facts(t, w, false); got["modbus_frames"] != nil {
		t.Errorf("modbus_frames = %v without a message", got["modbus_frames"])
	}
	got := facts(t, w, true)
	want(t, got, "modbus_req_fc", map[string]int{"3": 3})
	want(t, got, "modbus_rsp_fc", map[string]int{"3": 3})
}

func TestUnicast(t *testing.T) {
	w := dissecttest.NewWire()
	for _, to := range []string{"10.0.0.255", "224.0.0.251", "255.255.255.255", "10.0.0.1"} {
		w.UDP(dissecttest.NewHost("0.0.0.0", 68), dissecttest.NewHost(to, 9), []byte{1})
	}
	got := facts(t, w, false)
	want(t, got, "ips_src", 0)
	want(t, got, "ip_list", []string{"10.0.0.1"})
	want(t, got, "udp_flows", 4)
}

// TestSequenceWraps: a DNP3 message of two segments is lost at the wrap of the transport sequence, and its end
// is taken for a whole message's beginning later.
func TestSequenceWraps(t *testing.T) {
	var f fragments
	at := func(id int) place { return place{id: id} }
	if _, ok := f.add(at(62), true, false, []byte("ab"), 1); ok {
		t.Error("complete without its end")
	}
	if whole, ok := f.add(at(63), false, true, []byte("cd"), 2); !ok || string(whole) != "abcd" {
		t.Errorf("62, 63 = %q", whole)
	}
	f.add(at(63), true, false, []byte("ef"), 3)
	if _, ok := f.add(at(0), false, true, []byte("gh"), 4); ok {
		t.Error("63, 0 became whole")
	}
	if whole, ok := f.add(at(0), true, true, []byte("ij"), 5); !ok || string(whole) != "gh" {
		t.Errorf("whole message with sequence 0 = %q", whole)
	}
	if whole, ok := f.add(at(0), true, true, []byte("kl"), 6); !ok || string(whole) != "kl" {
		t.Errorf("the next one = %q", whole)
	}
}

// TestMessagesAgree counts the messages of the dissect stage, which knows nothing of tshark, and compares them with the
// facts over the captures where nothing was sent twice.
func TestMessagesAgree(t *testing.T) {
	sum := func(h map[string]int) (n int) {
		for _, x := range h {
			n += x
		}
		return n
	}
	for _, path := range sharedtest.Captures(t, "modbus", "umas") {
		r, h := dissecttest.NewRunner(t, modbus.Protocol), &dissecttest.Recorder{KeepMessages: true, Quiet: true}
		frames := read(t, path)
		c := New(protocols)
		for i := range frames {
			r.Frame(&frames[i], h)
			c.Frame(&frames[i])
		}
		r.Flush(h)
		requests, responses := 0, 0
		for _, m := range h.Messages {
			switch {
			case m.Code < 0:
			case m.Direction == dissect.FromClient:
				requests++
			default:
				responses++
			}
		}
		if a, b := sum(c.histograms["modbus_req_fc"]), sum(c.histograms["modbus_rsp_fc"]); a != requests || b != responses {
			t.Errorf("%s: facts count %d and %d, messages are %d and %d", path, a, b, requests, responses)
		}
	}
}

func TestBounds(t *testing.T) {
	c := New(protocols)
	w := dissecttest.NewWire()
	for i := range 3 * maxChains {
		b := []byte{0x05, 0x64, 8, 0xc4, 10, 0, 1, 0, 0, 0, 0x40, 0xc0, 1, 0, 0}
		host := dissecttest.NewHost("10.9.0.1", 20000)
		binary.BigEndian.PutUint16(host.MAC[4:], uint16(i))
		a := host.Addr.As4()
		a[2], a[3] = byte(i>>8), byte(i)
		w.Frames = w.Frames[:0]
		w.UDP(client, dissecttest.Host{MAC: host.MAC, Addr: netip.AddrFrom4(a), Port: 20000}, b)
		c.Frame(&w.Frames[0])
	}
	if n := len(c.fragments.chains); n > maxChains {
		t.Errorf("%d messages under reassembly", n)
	}
}

func FuzzFrame(f *testing.F) {
	w := dissecttest.NewWire()
	c := w.Dial(client, server)
	c.Send(append(append([]byte{}, request...), request[:5]...))
	c.Send(request[5:])
	c.Reply(reply)
	for i := range w.Frames {
		f.Add(w.Frames[i].Data, w.Frames[min(i+1, len(w.Frames)-1)].Data)
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		c := New(protocols)
		for i, data := range [][]byte{a, b, a} {
			c.Frame(&packet.Frame{Index: uint64(i + 1), Time: dissecttest.Start, Link: packet.LinkEthernet, Data: data, Length: len(data)})
		}
		if _, err := json.Marshal(c.Facts()); err != nil {
			t.Error(err)
		}
	})
}

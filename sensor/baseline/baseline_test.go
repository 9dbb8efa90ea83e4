package baseline

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/inventory"
)

var (
	start  = time.Date(2025, 3, 1, 8, 0, 0, 0, time.UTC)
	modbus = &dissect.Protocol{ID: "modbus", Name: "MODBUS", OT: true}
)

func message(code int, op dissect.Operation, targets ...dissect.Target) *dissect.Message {
	return &dissect.Message{Protocol: modbus, Transport: "tcp", Code: code, Subcode: -1, Operation: op, Targets: targets,
		Client: dissect.Endpoint{Addr: netip.MustParseAddr("10.0.0.1")}, Server: dissect.Endpoint{Addr: netip.MustParseAddr("10.0.0.2")}, Unit: "1"}
}

func registers(start, count uint32) dissect.Target {
	return dissect.Target{Space: "holding-register", Start: start, Count: count}
}

// see shows a message and returns what was outside, as "kind value".
func see(b *Baseline, m *dissect.Message) []string {
	var out []string
	b.Message(m, inventory.New(inventory.Options{}), start, func(d *Deviation) { out = append(out, d.Kind+" "+d.Value) })
	return out
}

func TestWhatWasLearnedIsSilent(t *testing.T) {
	b := New(Options{})
	see(b, message(3, dissect.OpRead, registers(0, 10)))
	see(b, message(3, dissect.OpRead, registers(10, 10)))
	b.SetMode(event.ModeOperational)
	cases := []struct {
		name string
		m    *dissect.Message
		want []string
	}{
		{"as learned", message(3, dissect.OpRead, registers(0, 10)), nil},
		{"across two learned ranges", message(3, dissect.OpRead, registers(5, 10)), nil},
		{"beyond the range", message(3, dissect.OpRead, registers(15, 10)), []string{"register 15-24"}},
		{"one register far away", message(3, dissect.OpRead, registers(900, 1)), []string{"register 900"}},
		{"another function", message(6, dissect.OpWrite, registers(0, 1)), []string{"function modbus 6"}},
		{"last address there is", message(3, dissect.OpRead, registers(^uint32(0), 9)), []string{"register 4294967295"}},
	}
	for _, c := range cases {
		if got := see(b, c.m); !slices.Equal(got, c.want) {
			t.Errorf("%s: outside %q, want %q", c.name, got, c.want)
		}
	}
}

func TestLearnEndsTheDeviation(t *testing.T) {
	b := New(Options{Mode: event.ModeOperational})
	var entries []Entry
	look := func(d *Deviation) { entries = append(entries, d.Entry) }
	inv := inventory.New(inventory.Options{})
	b.Message(message(6, dissect.OpWrite, registers(4, 1)), inv, start, look)
	b.Learn(entries)
	for _, e := range entries {
		if !b.Knows(e) {
			t.Errorf("entry %+v is not known after learning", e)
		}
	}
	if got := see(b, message(6, dissect.OpWrite, registers(4, 1))); len(got) != 0 || len(entries) == 0 {
		t.Errorf("after learning %v still outside: %q", entries, got)
	}
}

func TestConnectionsWithTheInternet(t *testing.T) {
	at := func(addr string) dissect.Endpoint {
		return dissect.Endpoint{Addr: netip.MustParseAddr(addr), Port: 443}
	}
	cases := []struct {
		name           string
		client, server string
		opened, used   string
	}{
		{"out", "10.0.0.1", "93.184.215.14", KindInternet, KindInternetUsed},
		{"in", "93.184.215.14", "10.0.0.1", "", KindInternetUsed},
		{"inside", "10.0.0.1", "192.168.7.7", "", ""},
		{"to all", "10.0.0.1", "239.1.1.1", "", ""},
		{"own public address", "141.81.0.1", "93.184.215.14", KindInternet, KindExternalUsed},
		{"between own public addresses", "141.81.0.1", "141.81.0.2", "", ""},
		{"foreign to foreign", "93.184.215.14", "93.184.215.15", "", ""},
	}
	inv := inventory.New(inventory.Options{OTSubnets: []netip.Prefix{netip.MustParsePrefix("141.81.0.0/24")}})
	for _, c := range cases {
		b := New(Options{Mode: event.ModeOperational})
		flow := &dissect.Connection{Client: at(c.client), Server: at(c.server), Transport: "tcp", HandshakeSeen: true, Established: true}
		opened, used := "", ""
		b.Opened(flow, true, inv, start, 1, func(d *Deviation) { opened += d.Kind })
		b.Established(flow, inv, start, 1, func(d *Deviation) {
			if d.Kind != KindPort {
				used += d.Kind
			}
		})
		if opened != c.opened || used != c.used {
			t.Errorf("%s: opened %q, used %q; want %q, %q", c.name, opened, used, c.opened, c.used)
		}
	}
}

func TestFullTableKeepsWhatItHas(t *testing.T) {
	b := New(Options{MaxPerKind: 3})
	for code := range 10 {
		see(b, message(code+1, dissect.OpDiagnostics))
	}
	b.SetMode(event.ModeOperational)
	if got := see(b, message(1, dissect.OpDiagnostics)); len(got) != 0 {
		t.Errorf("the first entry was forgotten: %q", got)
	}
	if b.Full() != 7 || len(b.state.Keys) != 3 {
		t.Errorf("%d lost, %d kept; want 7 and 3", b.Full(), len(b.state.Keys))
	}
}

// TestJoinKeepsASortedCover compares joined intervals with a plain set.
func TestJoinKeepsASortedCover(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var spans []span
		set := map[uint32]bool{}
		for range 40 {
			first := random.Uint32N(300)
			s := span{first, first + random.Uint32N(12)}
			spans = join(spans, s)
			for n := s.First; n <= s.Last; n++ {
				set[n] = true
			}
		}
		for n := uint32(0); n < 330; n++ {
			if covers(spans, span{n, n}) != set[n] {
				t.Fatalf("address %d: covered %t, set %t, spans %v", n, !set[n], set[n], spans)
			}
		}
		for n := 1; n < len(spans); n++ {
			if spans[n].First <= spans[n-1].Last+1 {
				t.Fatalf("spans %v touch or are out of order", spans)
			}
		}
	}
}

func TestIntervalsOfOneSubjectAreBounded(t *testing.T) {
	var spans []span
	for n := range uint32(1000) {
		spans = join(spans, span{n * 10, n * 10})
	}
	if len(spans) != maxSpans || !covers(spans, span{0, 0}) || !covers(spans, span{9990, 9990}) {
		t.Errorf("%d spans, want %d that cover both ends", len(spans), maxSpans)
	}
}

func TestRestoredBaselineKnowsTheSame(t *testing.T) {
	b := New(Options{})
	for code := range 20 {
		see(b, message(code, dissect.OpRead, registers(uint32(code)*20, 5)))
	}
	data, err := b.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	again := New(Options{})
	if err := again.Restore(data); err != nil {
		t.Fatal(err)
	}
	if second, _ := again.Snapshot(); string(second) != string(data) {
		t.Error("the state of a restored baseline differs")
	}
	again.SetMode(event.ModeOperational)
	for code := range 25 {
		got := see(again, message(code, dissect.OpRead, registers(uint32(code)*20, 5)))
		if known := len(got) == 0; known != (code < 20) {
			t.Errorf("code %d: outside %q", code, got)
		}
	}
}

func FuzzText(f *testing.F) {
	for _, seed := range []string{"plant.example", "", "a\x00b", "\xff\xfe", "UPPER.Example"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		b := New(Options{Mode: event.ModeOperational})
		m := message(0, dissect.OpNameQuery)
		m.Names = []string{name}
		var e Entry
		b.Message(m, inventory.New(inventory.Options{}), start, func(d *Deviation) { e = d.Entry })
		b.Learn([]Entry{e})
		if got := see(b, m); len(got) != 0 {
			t.Errorf("name %q learned as %+v is still outside: %q", name, e, got)
		}
		if len(e.Value) > 4*maxName {
			t.Errorf("a name of %d bytes is kept in %d", len(name), len(e.Value))
		}
	})
}

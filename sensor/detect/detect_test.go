package detect

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/inventory"
)

var start = time.Date(2025, 3, 1, 8, 0, 0, 0, time.UTC)

const goodType = `
- id: a-stop
  title: "A Stop"
  severity: High
  category: "Programming"
  tactics: [Execution]
  techniques: [T0858]
  description: "d"
  meaning: "m"
  impact: "i"
  safe: ["s"]
  avoid: ["a"]
  ask: "q"
  raise:
    - operations: [stop]
      kind: request
`

func TestFaultsOfTypesAreTold(t *testing.T) {
	cases := []struct{ name, from, to, want string }{
		{"good", "", "", ""},
		{"id", "id: a-stop", "id: A Stop", "kebab-case"},
		{"severity", "severity: High", "severity: Critical", `severity "Critical"`},
		{"tactic", "[Execution]", `["Lateral Movement"]`, "has a space"},
		{"no ask", `ask: "q"`, `ask: ""`, "ask are needed"},
		{"four points", `safe: ["s"]`, `safe: [a, b, c, d]`, "one to 3 points"},
		{"unknown key", "kind: request", "kinds: request", "kinds"},
		{"unknown kind", "kind: request", "kind: question", `kind "question"`},
		{"no trigger", "operations: [stop]", "operations: []", "exactly one"},
		{"two triggers", "operations: [stop]", "operations: [stop]\n      conditions: [restarted]", "exactly one"},
		{"result", "kind: request", "result: maybe", `result "maybe"`},
		{"key", "kind: request", "key: [port]", `key "port"`},
	}
	for _, c := range cases {
		_, err := ParseTypes([]byte(strings.Replace(goodType, c.from, c.to, 1)))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
	if _, err := ParseTypes([]byte(goodType + goodType)); err == nil || !strings.Contains(err.Error(), "declared twice") {
		t.Errorf("two types of one id: %v", err)
	}
}

// fake raises what it is told for every tick.
type fake struct {
	Seen  int `json:"seen"`
	raise []Finding
	panic bool
}

func (f *fake) Observe(o *Observation, raise func(Finding)) {
	f.Seen++
	for _, x := range f.raise {
		raise(x)
	}
	if f.panic {
		panic("broken")
	}
}

func set(engine event.Engine, category string, off bool, enabled map[string]bool, f *fake) *Set {
	typ := Type{ID: "t", Category: category, Off: off}
	return NewSet(Options{Enabled: enabled, Engines: []*Engine{{ID: engine, Types: []Type{typ}, New: func() Runner { return f }}}})
}

func TestFocusModeAndSwitches(t *testing.T) {
	ot, it := &dissect.Protocol{ID: "modbus", OT: true}, &dissect.Protocol{ID: "dns"}
	inside := dissect.Endpoint{Addr: netip.MustParseAddr("10.0.0.1")}
	outside := dissect.Endpoint{Addr: netip.MustParseAddr("10.9.0.1")}
	inv := inventory.New(inventory.Options{OTSubnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}})
	cases := []struct {
		name     string
		engine   event.Engine
		category string
		off      bool
		enabled  map[string]bool
		mode     event.SensorMode
		finding  Finding
		want     bool
	}{
		{"office traffic", event.EngineAnomaly, "Scan", false, nil, event.ModeLearning, Finding{Protocol: it, Source: outside}, false},
		{"office malware", event.EngineMalware, "Scan", false, nil, event.ModeLearning, Finding{Protocol: it, Source: outside}, true},
		{"OT protocol", event.EngineAnomaly, "Scan", false, nil, event.ModeLearning, Finding{Protocol: ot, Source: outside}, true},
		{"source in OT subnet", event.EngineAnomaly, "Scan", false, nil, event.ModeLearning, Finding{Source: inside}, true},
		{"destination in OT subnet", event.EngineAnomaly, "Scan", false, nil, event.ModeLearning, Finding{Source: outside, Destination: inside}, true},
		{"said to be OT", event.EngineAnomaly, "Scan", false, nil, event.ModeLearning, Finding{OT: true}, true},
		{"about the sensor", event.EngineOperational, "Sensor Traffic", false, nil, event.ModeLearning, Finding{}, true},
		{"off by default", event.EngineMalware, "Scan", true, nil, event.ModeLearning, Finding{}, false},
		{"switched on", event.EngineMalware, "Scan", true, map[string]bool{"t": true}, event.ModeLearning, Finding{}, true},
		{"switched off", event.EngineMalware, "Scan", false, map[string]bool{"t": false}, event.ModeLearning, Finding{}, false},
		{"policy while learning", event.EnginePolicyViolation, "Scan", false, nil, event.ModeLearning, Finding{OT: true}, false},
		{"policy in operation", event.EnginePolicyViolation, "Scan", false, nil, event.ModeOperational, Finding{OT: true}, true},
	}
	for _, c := range cases {
		c.finding.Type = "t"
		s := set(c.engine, c.category, c.off, c.enabled, &fake{raise: []Finding{c.finding}})
		got := false
		s.Observe(&Observation{Time: start, Mode: c.mode, Inventory: inv, Tick: true}, func(Finding) { got = true })
		if got != c.want {
			t.Errorf("%s: passed %t, want %t", c.name, got, c.want)
		}
	}
}

func TestPanicOfAnEngineIsCountedAndFindingsBeforeItStay(t *testing.T) {
	s := set(event.EngineMalware, "Scan", false, nil, &fake{raise: []Finding{{Type: "t"}}, panic: true})
	n := 0
	for range 3 {
		s.Observe(&Observation{Time: start, Tick: true}, func(Finding) { n++ })
	}
	if s.Failures() != 3 || n != 3 {
		t.Errorf("%d failures and %d findings, want 3 and 3", s.Failures(), n)
	}
}

func TestUndeclaredTypeIsAFailure(t *testing.T) {
	s := set(event.EngineMalware, "Scan", false, nil, &fake{raise: []Finding{{Type: "other"}}})
	s.Observe(&Observation{Time: start, Tick: true}, func(f Finding) { t.Errorf("passed %q", f.Type) })
	if s.Failures() != 1 {
		t.Errorf("%d failures, want 1", s.Failures())
	}
}

func TestRateCountsExactly(t *testing.T) {
	r := NewRate(3, time.Minute, 2)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	for _, c := range []struct {
		seconds int
		want    bool
	}{{0, false}, {30, false}, {60, true}, {61, true}, {200, false}, {230, false}, {261, false}, {262, true}} {
		if got := r.Add("k", at(c.seconds)); got != c.want {
			t.Errorf("at %d s: reached %t, want %t", c.seconds, got, c.want)
		}
	}
	for _, key := range []string{"a", "b", "c"} {
		r.Add(key, start)
	}
	if r.Keys.Len() != 2 {
		t.Errorf("%d keys kept, want 2", r.Keys.Len())
	}
}

func TestSpreadCountsDistinctThings(t *testing.T) {
	s := NewSpread(3, time.Minute, 2)
	for _, c := range []struct {
		thing   string
		seconds int
		want    bool
	}{{"a", 0, false}, {"b", 1, false}, {"a", 2, false}, {"c", 50, true}, {"c", 55, true}, {"d", 130, false}} {
		if got := s.Add("k", c.thing, start.Add(time.Duration(c.seconds)*time.Second)); got != c.want {
			t.Errorf("%s at %d s: reached %t, want %t", c.thing, c.seconds, got, c.want)
		}
	}
	s.Remove("k", "d")
	if things, _ := s.Keys.Peek("k"); len(things.Names) != 2 || len(things.At) != 2 {
		t.Errorf("after removing one: %v", things.Names)
	}
}

func TestEdgesTellTheBeginningOnly(t *testing.T) {
	e := NewEdges(4)
	var got []bool
	for _, holds := range []bool{false, true, true, false, true} {
		got = append(got, e.Rises("k", holds))
	}
	if want := []bool{false, true, false, false, true}; len(got) != len(want) {
		t.Fatal("lengths differ")
	} else {
		for n := range want {
			if got[n] != want[n] {
				t.Errorf("step %d: rises %t, want %t", n, got[n], want[n])
			}
		}
	}
}

func TestRuleFields(t *testing.T) {
	m := &dissect.Message{Protocol: &dissect.Protocol{ID: "s7comm", OT: true}, Kind: dissect.Response, Layer: "job", Code: 41, Exception: 0}
	cases := []struct {
		name string
		rule Rule
		want bool
	}{
		{"nothing asked", Rule{}, true},
		{"protocol", Rule{Protocols: []string{"s7comm"}}, true},
		{"other protocol", Rule{Protocols: []string{"modbus"}}, false},
		{"not this protocol", Rule{Protocols: []string{"!s7comm"}}, false},
		{"not another", Rule{Protocols: []string{"!modbus"}}, true},
		{"OT", Rule{OT: true}, true},
		{"layer", Rule{Layers: []string{"userdata"}}, false},
		{"code", Rule{Codes: []int{40, 41}}, true},
		{"not code", Rule{NotCodes: []int{41}}, false},
		{"request", Rule{Kind: "request"}, false},
		{"answer", Rule{Kind: "answer"}, true},
		{"unsolicited", Rule{Kind: "unsolicited"}, false},
		{"ok", Rule{Result: "ok"}, true},
		{"exception", Rule{Result: "exception"}, false},
	}
	for _, c := range cases {
		if got := (&typedRule{Rule: &c.rule}).holds(m); got != c.want {
			t.Errorf("%s: holds %t, want %t", c.name, got, c.want)
		}
	}
}

func TestIndicators(t *testing.T) {
	list, err := ParseIndicators([]byte("domains: [{value: Evil.Example.}]\naddresses: [{value: 198.51.100.7, note: n}, {value: 203.0.113.0/28}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"evil.example": true, "a.b.EVIL.example.": true, "notevil.example": false, "example": false, "": false} {
		if _, _, got := list.Domain(name); got != want {
			t.Errorf("domain %q: found %t, want %t", name, got, want)
		}
	}
	for addr, want := range map[string]bool{"198.51.100.7": true, "198.51.100.8": false, "203.0.113.15": true, "203.0.113.16": false} {
		if _, got := list.Address(netip.MustParseAddr(addr)); got != want {
			t.Errorf("address %s: found %t, want %t", addr, got, want)
		}
	}
	for _, bad := range []string{"domains: [{value: 'a b'}]", "addresses: [{value: 1.2.3}]", "names: []", "["} {
		if _, err := ParseIndicators([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func FuzzParseIndicators(f *testing.F) {
	f.Add([]byte("domains: [{value: a.example}]\naddresses: [{value: 198.51.100.0/24}]"))
	f.Add([]byte("domains: [{value: ..}]"))
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := ParseIndicators(data)
		if err != nil {
			return
		}
		list.Domain(string(data))
		list.Address(netip.MustParseAddr("198.51.100.1"))
	})
}

func FuzzParseTypes(f *testing.F) {
	f.Add([]byte(goodType))
	f.Add([]byte("- raise: [{}]"))
	f.Add([]byte("- id: [a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		types, err := ParseTypes(data)
		if err == nil {
			NewRules(types)
		}
	})
}

// Package baseline learns what is normal on this network and says what is not. Packets, connections, messages and
// changes of devices come in; in learning mode every fact they show is taken in, in operational mode a fact that is
// not known becomes a Deviation, which the policy engine may turn into a finding. Which facts are looked at is decided
// here, in the vocabulary all protocols share; no protocol is known by name.
//
// The table is bounded per kind. When a kind is full nothing more is learned and the loss is counted: dropping old
// facts instead would let an attacker wash the baseline out.
package baseline

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor/dissect"
)

// Kinds of entries: what Subject and Value hold.
const (
	KindFunction      = "function"       // "client>server unit 1": "modbus 16", "s7comm userdata 4/1"
	KindRegister      = "register"       // "client>server unit 1 modbus write holding-register": "100-119"
	KindDataBlock     = "data-block"     // "client>server": "s7comm DB 5"
	KindException     = "exception"      // "server>client unit 1": "modbus 3 exception 2"
	KindCondition     = "condition"      // "sender>receiver": "dnp3 restarted"
	KindProgramming   = "programming"    // device: ""
	KindProgramUpload = "program-upload" // device: ""
	KindConfigWrite   = "config-write"   // device: ""
	KindConfigRead    = "config-read"    // device: ""
	KindName          = "name"           // client: name asked for
	KindPort          = "server-port"    // server: "tcp 502"
	KindInternet      = "internet"       // internal address: remote address it tried to reach
	KindInternetUsed  = "internet-used"  // internal address: remote address it exchanged traffic with
	KindExternalUsed  = "external-used"  // public address of our own: remote address it exchanged traffic with
	KindMulticast     = "multicast"      // sender: "239.255.255.250 udp 1900"
	KindDevice        = "device"         // device: address
	KindFieldDevice   = "field-device"   // device: address
	KindFirmware      = "firmware"       // device: version; a device has one at a time
	KindScanner       = "scanner"        // device: ""; learned from an alert, never observed
)

// Entry is one learnt fact: on Subject (usually "client>server" with unit), of Kind (such as
// "function", "register", "server-port", "name"), with Value (such as "modbus 16").
type Entry struct {
	Kind    string `json:"kind"`
	Subject string `json:"subject"`
	Value   string `json:"value"`
}

// Deviation is an entry outside the baseline, with what showed it.
type Deviation struct {
	Entry
	Time                time.Time
	Frame               uint64
	Source, Destination dissect.Endpoint
	Protocol            *dissect.Protocol // nil where no protocol is involved
	Message             *dissect.Message  // nil where no message showed it
	// Before is what the baseline knows in its place, where it knows one thing at a time.
	Before string
	// OT says that an OT device is involved although an endpoint may not tell.
	OT      bool
	Details []event.Detail
}

// Options configure a Baseline. The zero value works.
type Options struct {
	Mode event.SensorMode // learning where empty
	// MaxPerKind bounds each kind's entries, default 100,000: a large plant's pairs times their functions.
	MaxPerKind int
}

// maxSpans bounds the learned intervals of one subject; more are joined over the smallest gap.
const maxSpans = 256

// maxName bounds what is kept of a name.
const maxName = 253

// Baseline is the table of what is normal. It is owned by one goroutine.
type Baseline struct {
	o     Options
	state state
	// known holds the keys of state.Keys.
	known map[string]struct{}
	buf   []byte
}

// state is everything a restart needs.
type state struct {
	Mode event.SensorMode `json:"mode"`
	// Keys are entries as kind, subject and value with a zero byte between, in the order they were learned.
	Keys   []string          `json:"keys,omitempty"`
	Spans  map[string][]span `json:"spans,omitempty"`  // intervals by kind and subject
	Single map[string]string `json:"single,omitempty"` // value by kind and subject, for kinds with one at a time
	Counts map[string]int    `json:"counts,omitempty"` // entries by kind
	Full   uint64            `json:"full,omitempty"`
}

// New makes an empty baseline.
func New(o Options) *Baseline {
	if o.Mode == "" {
		o.Mode = event.ModeLearning
	}
	if o.MaxPerKind == 0 {
		o.MaxPerKind = 100_000
	}
	return &Baseline{o: o, known: map[string]struct{}{},
		state: state{Mode: o.Mode, Spans: map[string][]span{}, Single: map[string]string{}, Counts: map[string]int{}}}
}

// Mode is the running mode, SetMode changes it.
func (b *Baseline) Mode() event.SensorMode        { return b.state.Mode }
func (b *Baseline) SetMode(mode event.SensorMode) { b.state.Mode = mode }

// Full counts the entries that were not learned because their kind's table was full.
func (b *Baseline) Full() uint64 { return b.state.Full }

// Learn takes entries in, whatever the mode. Entries it knows change nothing.
func (b *Baseline) Learn(entries []Entry) {
	for _, e := range entries {
		switch e.Kind {
		case KindRegister:
			if s, ok := parseSpan(e.Value); ok {
				b.learnSpan(e.Kind+"\x00"+e.Subject, s)
			}
		case KindFirmware:
			b.learnSingle(e.Kind+"\x00"+e.Subject, e.Value)
		default:
			b.learnKey(e.Kind, e.Kind+"\x00"+e.Subject+"\x00"+e.Value)
		}
	}
}

// Knows reports whether the entry is in the baseline.
func (b *Baseline) Knows(e Entry) bool {
	switch e.Kind {
	case KindRegister:
		s, ok := parseSpan(e.Value)
		return ok && covers(b.state.Spans[e.Kind+"\x00"+e.Subject], s)
	case KindFirmware:
		return b.state.Single[e.Kind+"\x00"+e.Subject] == e.Value
	}
	_, ok := b.known[e.Kind+"\x00"+e.Subject+"\x00"+e.Value]
	return ok
}

// room counts one more entry of the kind, or its loss.
func (b *Baseline) room(kind string) bool {
	if b.state.Counts[kind] >= b.o.MaxPerKind {
		b.state.Full++
		return false
	}
	b.state.Counts[kind]++
	return true
}

func (b *Baseline) learnKey(kind, key string) {
	if _, ok := b.known[key]; ok || !b.room(kind) {
		return
	}
	b.known[key] = struct{}{}
	b.state.Keys = append(b.state.Keys, key)
}

func (b *Baseline) learnSingle(key, value string) {
	if _, ok := b.state.Single[key]; !ok && !b.room(KindFirmware) {
		return
	}
	b.state.Single[key] = value
}

func (b *Baseline) learnSpan(key string, s span) {
	spans, ok := b.state.Spans[key]
	if covers(spans, s) || !ok && !b.room(KindRegister) {
		return
	}
	b.state.Spans[key] = join(spans, s)
}

// observe judges the entry whose key stands in b.buf: kind, subject and value with a zero byte between. In learning mode
// it is learned, in operational mode an unknown one is returned.
func (b *Baseline) observe(kind string) (Entry, bool) {
	if _, ok := b.known[string(b.buf)]; ok {
		return Entry{}, false
	}
	key := string(b.buf)
	if b.state.Mode == event.ModeLearning {
		b.learnKey(kind, key)
		return Entry{}, false
	}
	subject, value, _ := strings.Cut(key[len(kind)+1:], "\x00")
	return Entry{Kind: kind, Subject: subject, Value: value}, true
}

// begin starts a key in b.buf.
func (b *Baseline) begin(kind string) {
	b.buf = append(append(b.buf[:0], kind...), 0)
}

func (b *Baseline) endpoint(e dissect.Endpoint) {
	if e.Addr.IsValid() {
		b.buf = e.Addr.AppendTo(b.buf)
		return
	}
	b.buf = append(b.buf, e.MAC.String()...)
}

func (b *Baseline) pair(from, to dissect.Endpoint, unit string) {
	b.endpoint(from)
	b.buf = append(b.buf, '>')
	b.endpoint(to)
	if unit != "" {
		b.buf = append(append(b.buf, " unit "...), unit...)
	}
}

// text appends outside text, bounded and without the zero byte that separates the parts of a key.
func (b *Baseline) text(s string) {
	s = s[:min(len(s), maxName)]
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "")
	}
	b.buf = append(b.buf, s...)
}

func (b *Baseline) number(n int) { b.buf = strconv.AppendInt(b.buf, int64(n), 10) }

// span is an interval of addresses, both ends included.
type span struct {
	First uint32 `json:"f"`
	Last  uint32 `json:"l"`
}

func (s span) String() string {
	if s.First == s.Last {
		return strconv.FormatUint(uint64(s.First), 10)
	}
	return fmt.Sprintf("%d-%d", s.First, s.Last)
}

func parseSpan(text string) (span, bool) {
	first, last, ranged := strings.Cut(text, "-")
	if !ranged {
		last = first
	}
	f, err1 := strconv.ParseUint(first, 10, 32)
	l, err2 := strconv.ParseUint(last, 10, 32)
	return span{uint32(f), uint32(l)}, err1 == nil && err2 == nil && f <= l
}

// covers reports whether one of the sorted spans holds all of s.
func covers(spans []span, s span) bool {
	at, _ := slices.BinarySearchFunc(spans, s.First, func(x span, first uint32) int {
		if x.Last < first {
			return -1
		}
		return 1
	})
	return at < len(spans) && spans[at].First <= s.First && s.Last <= spans[at].Last
}

// join adds s to sorted spans; those that touch become one.
func join(spans []span, s span) []span {
	out := make([]span, 0, len(spans)+1)
	placed := false
	for _, x := range spans {
		switch {
		case uint64(x.Last)+1 < uint64(s.First):
			out = append(out, x)
		case uint64(s.Last)+1 < uint64(x.First):
			if !placed {
				out, placed = append(out, s), true
			}
			out = append(out, x)
		default:
			s = span{min(s.First, x.First), max(s.Last, x.Last)}
		}
	}
	if !placed {
		out = append(out, s)
	}
	if len(out) > maxSpans {
		at := 1
		for n := 1; n < len(out); n++ {
			if out[n].First-out[n-1].Last < out[at].First-out[at-1].Last {
				at = n
			}
		}
		out[at-1].Last = out[at].Last
		out = slices.Delete(out, at, at+1)
	}
	return out
}

// Snapshot returns the whole state.
func (b *Baseline) Snapshot() ([]byte, error) { return json.Marshal(&b.state) }

// Restore continues from a snapshot as if there had been no restart.
func (b *Baseline) Restore(data []byte) error {
	fresh := New(b.o)
	if err := json.Unmarshal(data, &fresh.state); err != nil {
		return fmt.Errorf("read baseline: %w", err)
	}
	for _, key := range fresh.state.Keys {
		fresh.known[key] = struct{}{}
	}
	*b = *fresh
	return nil
}

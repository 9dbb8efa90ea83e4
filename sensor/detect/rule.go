package detect

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor/baseline"
	"github.com/otus-project/otus/sensor/dissect"
)

// Rule says in data when an alert type is raised: by a message that signals a condition or does an operation, or by
// a kind of deviation from the baseline. All fields given must hold; a list holds when one of it does.
type Rule struct {
	// One of these three is needed.
	Conditions []dissect.Condition `yaml:"conditions"`
	Operations []dissect.Operation `yaml:"operations"`
	Deviations []string            `yaml:"deviations"` // kinds of baseline entries

	// Protocols are ids; a leading "!" excludes one.
	Protocols []string `yaml:"protocols"`
	// OT asks for an industrial protocol, whichever.
	OT       bool     `yaml:"ot"`
	Layers   []string `yaml:"layers"`
	Codes    []int    `yaml:"codes"`
	NotCodes []int    `yaml:"notCodes"`
	// Kind is "request", "response" or "unsolicited"; Answer is one of the latter two.
	Kind string `yaml:"kind"`
	// Result is "ok" or "exception", for responses.
	Result string `yaml:"result"`
	// Word is what a deviation's value must hold, such as the condition meant.
	Word string `yaml:"word"`
	// Key says what tells alerts of this type apart: "source", "destination", "value" (of the deviation), "code",
	// "unit". Empty means source and destination.
	Key []string `yaml:"key"`
}

var (
	ruleKinds = []string{"", "request", "response", "unsolicited", "answer"}
	ruleKeys  = []string{"source", "destination", "value", "code", "unit"}
)

func (r *Rule) validate() error {
	var faults []error
	triggers := 0
	for _, n := range []int{len(r.Conditions), len(r.Operations), len(r.Deviations)} {
		if n > 0 {
			triggers++
		}
	}
	if triggers != 1 {
		faults = append(faults, errors.New("exactly one of conditions, operations and deviations is needed"))
	}
	if !slices.Contains(ruleKinds, r.Kind) {
		faults = append(faults, fmt.Errorf("kind %q is unknown", r.Kind))
	}
	if !slices.Contains([]string{"", "ok", "exception"}, r.Result) {
		faults = append(faults, fmt.Errorf("result %q is neither ok nor exception", r.Result))
	}
	for _, word := range r.Key {
		if !slices.Contains(ruleKeys, word) {
			faults = append(faults, fmt.Errorf("key %q is unknown", word))
		}
	}
	return errors.Join(faults...)
}

// Rules evaluates the raise rules of an engine's types. It keeps no state.
type Rules struct {
	conditions map[dissect.Condition][]typedRule
	operations map[dissect.Operation][]typedRule
	deviations map[string][]typedRule
}

type typedRule struct {
	*Rule
	id        string
	learnable bool
}

// NewRules indexes the rules of types.
func NewRules(types []Type) *Rules {
	r := &Rules{map[dissect.Condition][]typedRule{}, map[dissect.Operation][]typedRule{}, map[string][]typedRule{}}
	for n := range types {
		for k := range types[n].Raise {
			rule := typedRule{&types[n].Raise[k], types[n].ID, types[n].Learnable}
			for _, c := range rule.Conditions {
				r.conditions[c] = append(r.conditions[c], rule)
			}
			for _, o := range rule.Operations {
				r.operations[o] = append(r.operations[o], rule)
			}
			for _, d := range rule.Deviations {
				r.deviations[d] = append(r.deviations[d], rule)
			}
		}
	}
	return r
}

// Observe raises what the rules say about o.
func (r *Rules) Observe(o *Observation, raise func(Finding)) {
	switch {
	case o.Message != nil:
		r.message(o, raise)
	case o.Deviation != nil:
		r.deviation(o, raise)
	}
}

func (r *Rules) message(o *Observation, raise func(Finding)) {
	m := o.Message
	for _, c := range m.Conditions {
		r.condition(c, o, raise)
	}
	if m.Exception != 0 {
		r.condition(condException, o, raise)
	}
	if m.Malformed != nil {
		r.condition(condMalformed, o, raise)
	}
	for _, rule := range r.operations[m.Operation] {
		if rule.holds(m) {
			raise(MessageFinding(rule.id, rule.Key, o))
		}
	}
}

// What a message is, in words that rules use like conditions.
const (
	condException dissect.Condition = "exception" // it refuses
	condMalformed dissect.Condition = "malformed" // it breaks its specification
)

func (r *Rules) condition(c dissect.Condition, o *Observation, raise func(Finding)) {
	for _, rule := range r.conditions[c] {
		if rule.holds(o.Message) {
			raise(MessageFinding(rule.id, rule.Key, o))
		}
	}
}

func (r *Rules) deviation(o *Observation, raise func(Finding)) {
	d := o.Deviation
	for _, rule := range r.deviations[d.Kind] {
		if !rule.protocol(d.Protocol) || !strings.Contains(d.Value, rule.Word) || d.Message != nil && !rule.holds(d.Message) {
			continue
		}
		f := Finding{Type: rule.id, Time: d.Time, Frame: d.Frame, Source: d.Source, Destination: d.Destination,
			Protocol: d.Protocol, Details: slices.Clone(d.Details), OT: d.OT}
		f.Key = rule.key(&f, d.Value, d.Message)
		if rule.learnable {
			f.Learn = []baseline.Entry{d.Entry}
		}
		raise(f)
	}
}

func (r *typedRule) protocol(p *dissect.Protocol) bool {
	if len(r.Protocols) == 0 {
		return true
	}
	id := ""
	if p != nil {
		id = p.ID
	}
	wanted := false
	for _, word := range r.Protocols {
		if strings.HasPrefix(word, "!") {
			if word[1:] == id {
				return false
			}
			wanted = true
		} else if word == id {
			return true
		}
	}
	return wanted
}

func (r *typedRule) holds(m *dissect.Message) bool {
	switch r.Kind {
	case "request":
		if m.Kind != dissect.Request {
			return false
		}
	case "response":
		if m.Kind != dissect.Response {
			return false
		}
	case "unsolicited":
		if m.Kind != dissect.Unsolicited {
			return false
		}
	case "answer":
		if m.Kind == dissect.Request {
			return false
		}
	}
	switch {
	case !r.protocol(m.Protocol),
		r.OT && !m.Protocol.OT,
		len(r.Layers) > 0 && !slices.Contains(r.Layers, m.Layer),
		len(r.Codes) > 0 && !slices.Contains(r.Codes, m.Code),
		slices.Contains(r.NotCodes, m.Code),
		r.Result == "ok" && m.Exception != 0,
		r.Result == "exception" && m.Exception == 0:
		return false
	}
	return true
}

func (r *Rule) key(f *Finding, value string, m *dissect.Message) string {
	return Key(r.Key, f, value, m)
}

// Key builds the merge key of a finding from the named parts; no parts means source and destination. Ports are not
// part of it: the client's changes with every connection.
func Key(parts []string, f *Finding, value string, m *dissect.Message) string {
	if len(parts) == 0 {
		return Address(f.Source) + ">" + Address(f.Destination)
	}
	words := make([]string, 0, len(parts))
	for _, part := range parts {
		switch part {
		case "source":
			words = append(words, Address(f.Source))
		case "destination":
			words = append(words, Address(f.Destination))
		case "value":
			words = append(words, value)
		case "code":
			if m != nil {
				words = append(words, strconv.Itoa(m.Code))
			}
		case "unit":
			if m != nil {
				words = append(words, "unit "+m.Unit)
			}
		}
	}
	return strings.Join(words, ">")
}

// Address prints an endpoint without its port: its IP address, else its hardware address, "" for none.
func Address(e dissect.Endpoint) string {
	switch {
	case e.Addr.IsValid():
		return e.Addr.String()
	case !e.MAC.IsZero():
		return e.MAC.String()
	}
	return ""
}

// To returns the receiver of m.
func To(m *dissect.Message) dissect.Endpoint {
	if m.Direction == dissect.FromClient {
		return m.Server
	}
	return m.Client
}

// MessageFinding is a finding about o.Message: the source is its sender.
func MessageFinding(id string, key []string, o *Observation) Finding {
	m := o.Message
	f := Finding{Type: id, Time: o.Time, Frame: m.Frame, Source: m.From(), Destination: To(m), Protocol: m.Protocol, Details: Evidence(m)}
	f.Key = Key(key, &f, "", m)
	return f
}

// Evidence lists what a message tells, for an alert's details.
func Evidence(m *dissect.Message) []event.Detail {
	var details []event.Detail
	add := func(name, value string) {
		if value != "" {
			details = append(details, event.Detail{Name: name, Value: value})
		}
	}
	if m.Code >= 0 {
		code := strconv.Itoa(m.Code)
		if m.Subcode >= 0 {
			code += "/" + strconv.Itoa(m.Subcode)
		}
		add("function code", code)
	}
	add("function", m.CodeName)
	add("operation", string(m.Operation))
	add("unit", m.Unit)
	if m.Exception != 0 {
		add("exception", strings.TrimSpace(strconv.Itoa(m.Exception)+" "+m.ExceptionName))
	}
	for _, c := range m.Conditions {
		add("condition", string(c))
	}
	if len(m.Targets) > 0 {
		add("target", Target(&m.Targets[0]))
		add("value", m.Targets[0].Value)
	}
	if len(m.Names) > 0 {
		add("name", m.Names[0])
	}
	if m.Malformed != nil {
		add("broken rule", m.Malformed.Rule)
	}
	return details
}

// Target prints what a message touches, such as "holding-register 40-49" or "DB5 2".
func Target(t *dissect.Target) string {
	text := t.Space
	if t.Instance != 0 {
		text += strconv.FormatUint(uint64(t.Instance), 10)
	}
	switch {
	case t.Count == 1:
		text += " " + strconv.FormatUint(uint64(t.Start), 10)
	case t.Count > 1:
		text += " " + strconv.FormatUint(uint64(t.Start), 10) + "-" + strconv.FormatUint(uint64(t.Start)+uint64(t.Count)-1, 10)
	}
	return text
}

package analytics

import (
	"errors"
	"strings"
	"testing"
	"time"
)

const goodRule = `id: r1
name: A rule
kind: Scheduled
severity: High
query: |
  SecurityAlert
  | where AlertName == "x"
queryFrequency: 5m
queryPeriod: PT1H
triggerOperator: GreaterThan
triggerThreshold: 0
`

func TestParse(t *testing.T) {
	r, err := Parse("a.yaml", []byte(goodRule))
	if err != nil {
		t.Fatal(err)
	}
	if time.Duration(r.QueryFrequency) != 5*time.Minute || time.Duration(r.QueryPeriod) != time.Hour || r.TriggerOperator != "gt" || r.perResult() || !r.createsIncidents() {
		t.Errorf("got %+v", r)
	}
}

// TestParseFaults: every fault names its line and column, and faults come together.
func TestParseFaults(t *testing.T) {
	for name, c := range map[string]struct {
		from, to string
		want     []string // "line:column: part of the message"
	}{
		"unknown key":       {"severity:", "severty:", []string{"4:1: unknown field"}},
		"unknown severity":  {"High", "Huge", []string{`4:11: severity must be one of`}},
		"no kind":           {"kind: Scheduled\n", "", []string{"1:1: kind is missing"}},
		"other kind":        {"kind: Scheduled", "kind: Fusion", []string{`3:7: rules of kind "Fusion" are not supported`}},
		"not yaml":          {"name: A rule", "name: [A rule", []string{":"}},
		"bad span":          {"5m", "5 minutes", []string{`8:17:`}},
		"too often":         {"5m", "1m", []string{"8:17: queryFrequency must lie between PT5M and P14D"}},
		"window with gaps":  {"queryFrequency: 5m", "queryFrequency: 2h", []string{"9:14: queryPeriod must not be shorter"}},
		"operator":          {"GreaterThan", "over", []string{`10:18: triggerOperator must be one of`}},
		"no query":          {"query: |\n  SecurityAlert\n  | where AlertName == \"x\"\n", "", []string{"1:1: query is missing"}},
		"wrong tactic":      {"query:", "tactics:\n  - Fun\nquery:", []string{`6:5: "Fun" is no tactic`}},
		"wrong technique":   {"query:", "relevantTechniques: [T1, T0814]\nquery:", []string{`5:22: "T1" is no technique`}},
		"grouping":          {"query:", "incidentConfiguration:\n  createIncident: true\n  groupingConfiguration:\n    enabled: true\nquery:", []string{"8:14: grouping of alerts"}},
		"provider override": {"query:", "alertDetailsOverride:\n  alertDynamicProperties:\n    - alertProperty: ProviderName\n      value: AlertName\nquery:", []string{`7:22: "ProviderName" cannot be taken`}},
		"test says nothing": {"query:", "tests:\n  - name: t\n    rows: []\nquery:", []string{"6:11: the test does not say which alerts"}},
		"two faults":        {"severity: High\nquery", "severity: Huge\ntactics: [Fun]\nquery", []string{"4:11: severity", "5:11: \"Fun\""}},
		"number for a word": {"triggerThreshold: 0", "triggerThreshold: many", []string{"11:19:"}},
	} {
		text := strings.Replace(goodRule, c.from, c.to, 1)
		if text == goodRule {
			t.Fatalf("%s: nothing replaced", name)
		}
		_, err := Parse("a.yaml", []byte(text))
		var faults FileErrors
		if !errors.As(err, &faults) {
			t.Errorf("%s: got %v", name, err)
			continue
		}
		if len(faults) != len(c.want) {
			t.Errorf("%s: got\n%v\nwant %q", name, err, c.want)
			continue
		}
		for n, want := range c.want {
			if got := strings.TrimPrefix(faults[n].Error(), "a.yaml:"); !strings.Contains(got, want) {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
	}
}

func TestSpan(t *testing.T) {
	for text, want := range map[string]string{
		"5m": "PT5M", "1h": "PT1H", "14d": "P14D", "90s": "PT1M30S", "PT5M": "PT5M", "P1DT2H": "P1DT2H", "PT24H": "P1D", "0s": "PT0S",
	} {
		s, err := ParseSpan(text)
		if err != nil || s.String() != want {
			t.Errorf("%s: got %s (%v), want %s", text, s, err, want)
		}
	}
	for _, text := range []string{"", "5", "m", "P", "PT", "5 m", "-5m", "P1Y", "5m ", "99999999999d"} {
		if s, err := ParseSpan(text); err == nil {
			t.Errorf("%q became %s", text, s)
		}
	}
}

// FuzzParse: whatever a user sends, it is a rule or faults with places, never a panic.
func FuzzParse(f *testing.F) {
	f.Add(goodRule)
	f.Add(`{"id":"x","name":"y","kind":"MicrosoftSecurityIncidentCreation","productFilter":"Azure Security Center for IoT"}`)
	f.Add("id: &a [*a]\n")
	f.Add("tests:\n- name: x\n  rows: [{a: {b: [1, null]}}]\n  alerts: []\n")
	f.Add("a: b: c\n\t- x\n---\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Parse("f", []byte(text))
		if err == nil {
			if r.ID == "" || r.Kind == "" {
				t.Errorf("accepted %+v", r)
			}
			return
		}
		var faults FileErrors
		if !errors.As(err, &faults) || len(faults) == 0 {
			t.Fatalf("%T %v", err, err)
		}
		for _, f := range faults {
			if f.Line < 1 || f.Column < 1 {
				t.Errorf("fault without a place: %v", f)
			}
		}
	})
}

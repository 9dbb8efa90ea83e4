package detect

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/otus-project/otus/event"
)

// ParseTypes reads an engine's alerts.yaml, a list of alert types. Every fault is told, with the type's id.
func ParseTypes(data []byte) ([]Type, error) {
	var types []Type
	if err := decode(data, &types); err != nil {
		return nil, fmt.Errorf("read alert types: %w", err)
	}
	var faults []error
	seen := map[string]bool{}
	for n := range types {
		t := &types[n]
		if err := t.validate(); err != nil {
			faults = append(faults, fmt.Errorf("alert type %q: %w", t.ID, err))
		}
		if seen[t.ID] {
			faults = append(faults, fmt.Errorf("alert type %q: declared twice", t.ID))
		}
		seen[t.ID] = true
	}
	return types, errors.Join(faults...)
}

// MustTypes is ParseTypes for a file that is part of the program.
func MustTypes(data []byte) []Type {
	types, err := ParseTypes(data)
	if err != nil {
		panic(err)
	}
	return types
}

var typeID = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// maxPoints bounds the lists of an explanation: more is not read in an alarm.
const maxPoints = 3

func (t *Type) validate() error {
	var faults []error
	need := func(ok bool, text string) {
		if !ok {
			faults = append(faults, errors.New(text))
		}
	}
	need(typeID.MatchString(t.ID), "id is not kebab-case")
	need(t.Title != "", "title is missing")
	need(slices.Contains([]event.Severity{event.SeverityHigh, event.SeverityMedium, event.SeverityLow, event.SeverityInformational}, t.Severity),
		fmt.Sprintf("severity %q is none of High, Medium, Low, Informational", t.Severity))
	need(t.Category != "" && len(t.Tactics) > 0 && len(t.Techniques) > 0, "category, tactics and techniques are needed")
	for _, tactic := range t.Tactics {
		need(!strings.Contains(tactic, " "), fmt.Sprintf("tactic %q has a space", tactic))
	}
	need(t.Description != "" && t.Meaning != "" && t.Impact != "" && t.Ask != "", "description, meaning, impact and ask are needed")
	for _, list := range [][]string{t.Safe, t.Avoid} {
		need(len(list) > 0 && len(list) <= maxPoints, fmt.Sprintf("safe and avoid need one to %d points", maxPoints))
	}
	for n := range t.Raise {
		if err := t.Raise[n].validate(); err != nil {
			faults = append(faults, fmt.Errorf("raise rule %d: %w", n+1, err))
		}
	}
	return errors.Join(faults...)
}

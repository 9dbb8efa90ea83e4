// Package policyviolation raises alerts about what departs from the learned baseline. Every type is a rule of
// alerts.yaml over kinds of deviations; which facts are learned at all is decided by the baseline.
package policyviolation

import (
	_ "embed"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor/detect"
)

//go:embed alerts.yaml
var alerts []byte

// Engine describes this plug-in.
var Engine = &detect.Engine{ID: event.EnginePolicyViolation, Types: types, New: func() detect.Runner { return &Runner{} }}

var (
	types = detect.MustTypes(alerts)
	rules = detect.NewRules(types)
)

// Runner is the running engine. It has no state of its own.
type Runner struct{}

var _ detect.Runner = (*Runner)(nil)

// Observe implements detect.Runner.
func (r *Runner) Observe(o *detect.Observation, raise func(detect.Finding)) { rules.Observe(o, raise) }

// Package detect runs the engines over what the stages before it saw and turns their findings into one
// stream, in order. It applies the rules all engines share: which alert types are switched on, that all engines but
// malware speak only where OT is involved, and that a plug-in's panic becomes a status row and not an outage.
package detect

import (
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor/baseline"
	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/inventory"
	"github.com/otus-project/otus/sensor/packet"
)

// Engine describes one engine plug-in. A plug-in folder exports exactly one, named Engine.
type Engine struct {
	ID event.Engine
	// Types are the alert types it can raise, read from the folder's alerts.yaml.
	Types []Type
	New   func() Runner
}

// Runner is a running engine. It is called by one goroutine. Its exported fields are its whole state, stored
// as JSON at a checkpoint. Every table in it is bounded.
type Runner interface {
	// Observe is called for every observation in frame order. raise may be called any number of times.
	Observe(o *Observation, raise func(Finding))
}

// Observation is one thing an engine may look at. Time is always set; exactly one of the other fields is.
type Observation struct {
	Time time.Time
	Mode event.SensorMode
	// Inventory answers questions about devices.
	Inventory *inventory.Inventory

	Packet      *packet.Packet      // every decoded frame
	Opened      *dissect.Connection // a flow appeared
	Recognised  *dissect.Connection // its protocol became known
	Established *dissect.Connection // both sides take part, told once
	Closed      *dissect.Connection
	Message     *dissect.Message
	Device      *inventory.Change   // a device appeared or changed
	Deviation   *baseline.Deviation // something outside the learned baseline (operational mode only)
	Tick        bool                // a whole second of stage time has passed
	Ended       bool                // the source has ended: silence is no sign from now on
	// Frame is the index of the frame that brought this about; 0 for a Tick.
	Frame uint64
	// Connection is the flow of Packet or Message, nil where there is none.
	Connection *dissect.Connection
}

// Finding is what an engine raises; the alert stage merges findings of one key into one alert.
type Finding struct {
	// Type is the id of an alert type of this engine.
	Type string
	// Key tells findings of one type apart; findings with equal (Type, Key) belong to one alert. Built by the
	// engine from what makes the situation one: usually source, destination and the code.
	Key   string
	Time  time.Time
	Frame uint64
	// Source and Destination are the two sides; Destination may be zero.
	Source, Destination dissect.Endpoint
	Protocol            *dissect.Protocol // nil means GENERIC
	// Details are the evidence; the description template of the type is filled from them.
	Details []event.Detail
	// Learn is what Learn adds to the baseline; nil where the type is not learnable.
	Learn []baseline.Entry
	// OT says that an OT protocol or subnet is involved although neither endpoint is known as OT yet.
	OT bool
}

// Type is one alert type as its engine's alerts.yaml declares it.
type Type struct {
	ID         string         `yaml:"id"` // kebab-case, never reused
	Title      string         `yaml:"title"`
	Severity   event.Severity `yaml:"severity"`
	Category   string         `yaml:"category"`
	Tactics    []string       `yaml:"tactics"`
	Techniques []string       `yaml:"techniques"`
	Learnable  bool           `yaml:"learnable"`
	Off        bool           `yaml:"off"` // off by default
	// Description is a sentence with {name} placeholders: {source}, {destination}, {protocol} and any detail.
	Description string   `yaml:"description"`
	Meaning     string   `yaml:"meaning"`
	Impact      string   `yaml:"impact"`
	Safe        []string `yaml:"safe"`
	Avoid       []string `yaml:"avoid"`
	Ask         string   `yaml:"ask"`
	// Raise are the plain cases, for which the engine needs no code.
	Raise []Rule `yaml:"raise"`
}

// Package protocolviolation raises alerts about messages that break their protocol's specification, or that a
// device refused because they did. Most types are plain rules of alerts.yaml; the code counts what is only
// suspicious in numbers.
package protocolviolation

import (
	_ "embed"
	"fmt"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor/detect"
	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/packet"
)

//go:embed alerts.yaml
var alerts []byte

// Engine describes this plug-in.
var Engine = &detect.Engine{ID: event.EngineProtocolViolation, Types: types, New: func() detect.Runner { return newRunner() }}

var (
	types = detect.MustTypes(alerts)
	rules = detect.NewRules(types)
)

// Thresholds of the alert reference.
const (
	malformedLimit  = 2
	malformedWindow = 10 * time.Minute
	maxSessions     = 4096
)

// Runner is the running engine; its fields are its state.
type Runner struct {
	Malformed *detect.Rate `json:"malformed"` // per session
}

var _ detect.Runner = (*Runner)(nil)

func newRunner() *Runner {
	return &Runner{Malformed: detect.NewRate(malformedLimit, malformedWindow, maxSessions)}
}

// Observe implements detect.Runner.
func (r *Runner) Observe(o *detect.Observation, raise func(detect.Finding)) {
	rules.Observe(o, raise)
	switch {
	case o.Packet != nil:
		portZero(o, raise)
	case o.Message != nil && o.Message.Malformed != nil:
		m := o.Message
		session := fmt.Sprintf("%s:%d>%s:%d %s", detect.Address(m.Client), m.Client.Port, detect.Address(m.Server), m.Server.Port, m.Transport)
		if r.Malformed.Add(session, o.Time) {
			raise(detect.MessageFinding("excessive-malformed-packets", nil, o))
		}
	}
}

// portZero finds attempts to reach port 0, which no service has (RFC 6335, 6).
func portZero(o *detect.Observation, raise func(detect.Finding)) {
	p := o.Packet
	attempt := p.IPProto == packet.ProtoTCP && p.Flags&packet.SYN != 0 && p.Flags&packet.ACK == 0 || p.IPProto == packet.ProtoUDP
	if !attempt || p.DstPort != 0 || p.Malformed != nil || p.Fragment || !p.Dst.IsValid() {
		return
	}
	f := detect.Finding{Type: "connection-attempt-port-0", Time: o.Time, Frame: o.Frame,
		Source:      dissect.Endpoint{MAC: p.SrcMAC, Addr: p.Src, Port: p.SrcPort},
		Destination: dissect.Endpoint{MAC: p.DstMAC, Addr: p.Dst}}
	transport := "tcp"
	if p.IPProto == packet.ProtoUDP {
		transport = "udp"
	}
	f.Details = []event.Detail{{Name: "port", Value: transport + " 0"}}
	f.Key = detect.Key(nil, &f, "", nil)
	raise(f)
}

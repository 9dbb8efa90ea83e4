package dissecttest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/packet"
)

// Recorder is a Handler that prints what it is told, a line each.
type Recorder struct {
	Text strings.Builder
	// Messages are all messages so far, where KeepMessages is set.
	Messages     []*dissect.Message
	KeepMessages bool
	// Quiet leaves out everything but messages.
	Quiet bool
}

var _ dissect.Handler = (*Recorder)(nil)

// Packet prints malformed frames only.
func (r *Recorder) Packet(p *packet.Packet, c *dissect.Connection) {
	if m := p.Malformed; m != nil {
		fmt.Fprintf(&r.Text, "%d malformed %s at %d: %s\n", p.Frame.Index, m.Layer, m.Offset, m.Rule)
	}
}

// Opened prints the connection's two sides.
func (r *Recorder) Opened(c *dissect.Connection) {
	if !r.Quiet {
		fmt.Fprintf(&r.Text, "opened %d %s %s -> %s\n", c.ID, c.Transport, endpoint(c.Client), endpoint(c.Server))
	}
}

// Recognised prints the protocol.
func (r *Recorder) Recognised(c *dissect.Connection) {
	if !r.Quiet {
		fmt.Fprintf(&r.Text, "recognised %d %s %s -> %s\n", c.ID, c.Protocol.ID, endpoint(c.Client), endpoint(c.Server))
	}
}

// Closed prints the reason and what was counted.
func (r *Recorder) Closed(c *dissect.Connection, reason string) {
	if r.Quiet {
		return
	}
	fmt.Fprintf(&r.Text, "closed %d %s packets %d/%d", c.ID, reason, c.ClientPackets, c.ServerPackets)
	for _, mark := range []struct {
		set  bool
		text string
	}{{c.HandshakeSeen, "handshake"}, {c.Established, "established"}, {c.Refused, "refused"}} {
		if mark.set {
			fmt.Fprintf(&r.Text, " %s", mark.text)
		}
	}
	for _, count := range []struct {
		name string
		n    uint64
	}{{"lost", c.LostBytes}, {"undecoded", c.UndecodedBytes}, {"messages", c.Messages}, {"exceptions", c.Exceptions}} {
		if count.n > 0 {
			fmt.Fprintf(&r.Text, " %s %d", count.name, count.n)
		}
	}
	r.Text.WriteByte('\n')
}

// Message prints all that the message says.
func (r *Recorder) Message(m *dissect.Message, c *dissect.Connection) {
	if r.KeepMessages {
		r.Messages = append(r.Messages, m)
	}
	r.Text.WriteString(Message(m))
}

// Message prints a message: a line, and an indented one for each thing in it.
func Message(m *dissect.Message) string {
	var b strings.Builder
	arrow := "->"
	if m.Direction == dissect.FromServer {
		arrow = "<-"
	}
	fmt.Fprintf(&b, "%d %s %s %s %s %s %s", m.Frame, m.Protocol.ID, m.Transport, endpoint(m.Client), arrow, endpoint(m.Server), kinds[m.Kind])
	if m.VLAN != 0 {
		fmt.Fprintf(&b, " vlan %d", m.VLAN)
	}
	if m.Layer != "" {
		fmt.Fprintf(&b, " %s", m.Layer)
	}
	fmt.Fprintf(&b, " code %d", m.Code)
	if m.Subcode >= 0 {
		fmt.Fprintf(&b, ".%d", m.Subcode)
	}
	if m.CodeName != "" {
		fmt.Fprintf(&b, " %q", m.CodeName)
	}
	fmt.Fprintf(&b, " size %d\n", m.Size)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "    %s %s\n", name, value)
		}
	}
	line("operation", string(m.Operation))
	line("unit", m.Unit)
	if m.Exception != 0 {
		fmt.Fprintf(&b, "    exception %d %q\n", m.Exception, m.ExceptionName)
	}
	for _, condition := range m.Conditions {
		line("condition", string(condition))
	}
	for _, t := range m.Targets {
		fmt.Fprintf(&b, "    target %s instance %d start %d count %d value %q\n", t.Space, t.Instance, t.Start, t.Count, t.Value)
	}
	for _, name := range m.Names {
		fmt.Fprintf(&b, "    name %q\n", name)
	}
	for _, f := range m.Identity {
		about := "client"
		switch {
		case f.Addr.IsValid() && !f.MAC.IsZero():
			about = f.MAC.String() + " " + f.Addr.String()
		case f.Addr.IsValid():
			about = f.Addr.String()
		case !f.MAC.IsZero():
			about = f.MAC.String()
		case f.Server:
			about = "server"
		}
		fmt.Fprintf(&b, "    fact %s of %s %q\n", f.Kind, about, f.Value)
	}
	for _, c := range m.Counters {
		fmt.Fprintf(&b, "    counter %s %s\n", c.Name, c.Key)
	}
	if m.Malformed != nil {
		fmt.Fprintf(&b, "    malformed %s at %d: %s\n", m.Malformed.Layer, m.Malformed.Offset, m.Malformed.Rule)
	}
	return b.String()
}

var kinds = map[dissect.Kind]string{dissect.Request: "request", dissect.Response: "response", dissect.Unsolicited: "unsolicited"}

func endpoint(e dissect.Endpoint) string {
	switch {
	case !e.Addr.IsValid():
		return e.MAC.String()
	case e.Port == 0:
		return e.Addr.String()
	case e.Addr.Is6():
		return fmt.Sprintf("[%s]:%d", e.Addr, e.Port)
	}
	return fmt.Sprintf("%s:%d", e.Addr, e.Port)
}

// NewRunner makes a runner of the protocols that fails the test where a plug-in panics.
func NewRunner(t testing.TB, protocols ...*dissect.Protocol) *dissect.Runner {
	return dissect.NewRunner(Options(t, protocols...))
}

// Options are NewRunner's.
func Options(t testing.TB, protocols ...*dissect.Protocol) dissect.Options {
	return dissect.Options{
		Protocols: protocols,
		OnPanic: func(protocol string, value any, stack []byte) {
			t.Errorf("plug-in %s: panic: %v\n%s", protocol, value, stack)
		},
	}
}

// Print runs the frames through a fresh runner to the end of the source and gives the messages as text.
func Print(t testing.TB, frames []packet.Frame, protocols ...*dissect.Protocol) string {
	t.Helper()
	r := NewRunner(t, protocols...)
	h := &Recorder{Quiet: true}
	for i := range frames {
		r.Frame(&frames[i], h)
	}
	r.Flush(h)
	return h.Text.String()
}

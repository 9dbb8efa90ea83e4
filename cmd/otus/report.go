package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor/dissect"
)

// report is what analyze finds; its JSON form is the interface of `otus analyze --output json`.
type report struct {
	Capture     captureReport      `json:"capture"`
	Devices     []event.Device     `json:"devices"`
	Connections []connectionReport `json:"connections"`
	Protocols   []*protocolReport  `json:"protocols"`
	Facts       map[string]any     `json:"facts"`
	Alerts      []map[string]any   `json:"alerts"`

	raised []event.Alert // the same alerts, for the table and the page
	damage []string      // files that are not whole
}

type captureReport struct {
	Files     int        `json:"files"`
	Packets   uint64     `json:"packets"`
	Bytes     uint64     `json:"bytes"`
	FirstTime *time.Time `json:"firstTime"`
	LastTime  *time.Time `json:"lastTime"`
	Malformed uint64     `json:"malformed"`
	Dropped   uint64     `json:"dropped"`
	// Not part of every tool's summary, but of an honest one.
	Duplicates      uint64   `json:"duplicates"`
	LostBytes       uint64   `json:"lostBytes"`
	UndecodedBytes  uint64   `json:"undecodedBytes"`
	OneSidedStreams uint64   `json:"oneSidedStreams"`
	Damage          []string `json:"damage,omitempty"`
}

// connectionReport sums the minutes of one connection.
type connectionReport struct {
	ClientAddress string    `json:"clientAddress"`
	ServerAddress string    `json:"serverAddress"`
	ServerPort    uint16    `json:"serverPort"`
	Transport     string    `json:"transport"`
	Protocol      string    `json:"protocol"`
	ClientPackets uint64    `json:"clientPackets"`
	ServerPackets uint64    `json:"serverPackets"`
	ClientBytes   uint64    `json:"clientBytes"`
	ServerBytes   uint64    `json:"serverBytes"`
	Messages      uint64    `json:"messages"`
	Exceptions    uint64    `json:"exceptions"`
	FirstSeen     time.Time `json:"firstSeen"`
	LastSeen      time.Time `json:"lastSeen"`
	OneSided      bool      `json:"oneSided,omitempty"`
}

// protocolReport counts the messages of one protocol. Codes are decimal, as the protocol numbers them; where it has
// several code spaces, those beside the first stand as "space/code".
type protocolReport struct {
	Protocol   string            `json:"protocol"`
	Name       string            `json:"name"`
	Messages   uint64            `json:"messages"`
	Requests   map[string]uint64 `json:"requests"`
	Responses  map[string]uint64 `json:"responses"`
	Exceptions map[string]uint64 `json:"exceptions"`
	Operations map[string]uint64 `json:"operations"`
	Malformed  uint64            `json:"malformed"`
}

// tally gathers reports per protocol and connection.
type tally struct {
	protocols   map[string]*protocolReport
	connections map[string]*connectionReport
}

func newTally() *tally {
	return &tally{protocols: map[string]*protocolReport{}, connections: map[string]*connectionReport{}}
}

// mainLayers are the code spaces whose codes stand without a prefix: those the protocol's own function codes are of.
var mainLayers = map[string]bool{"": true, "app": true, "job": true}

func (t *tally) message(m *dissect.Message) {
	p := t.protocols[m.Protocol.ID]
	if p == nil {
		p = &protocolReport{Protocol: m.Protocol.ID, Name: m.Protocol.Name, Requests: map[string]uint64{}, Responses: map[string]uint64{},
			Exceptions: map[string]uint64{}, Operations: map[string]uint64{}}
		t.protocols[m.Protocol.ID] = p
	}
	if m.Malformed != nil {
		p.Malformed++
	}
	if m.Code < 0 { // not even the header could be read
		p.Messages++
		return
	}
	code := strconv.Itoa(m.Code)
	if !mainLayers[m.Layer] {
		code = m.Layer + "/" + code
	}
	p.Messages++
	if m.Kind == dissect.Request {
		p.Requests[code]++
		if m.Operation != dissect.OpNone {
			p.Operations[string(m.Operation)]++
		}
	} else {
		p.Responses[code]++
	}
	if m.Exception != 0 {
		p.Exceptions[strconv.Itoa(m.Exception)]++
	}
}

func (t *tally) connection(c event.Connection) {
	key := fmt.Sprintf("%s %s %d %s %s", c.ClientAddress, c.ServerAddress, c.ServerPort, c.Transport, c.Protocol)
	r := t.connections[key]
	if r == nil {
		r = &connectionReport{ClientAddress: c.ClientAddress.String(), ServerAddress: c.ServerAddress.String(), ServerPort: c.ServerPort,
			Transport: c.Transport, Protocol: c.Protocol, FirstSeen: c.FirstSeen, LastSeen: c.LastSeen}
		t.connections[key] = r
	}
	r.ClientPackets += c.ClientPackets
	r.ServerPackets += c.ServerPackets
	r.ClientBytes += c.ClientBytes
	r.ServerBytes += c.ServerBytes
	r.Messages += c.Messages
	r.Exceptions += c.Exceptions
	if c.FirstSeen.Before(r.FirstSeen) {
		r.FirstSeen = c.FirstSeen
	}
	if c.LastSeen.After(r.LastSeen) {
		r.LastSeen = c.LastSeen
	}
	r.OneSided = r.ClientPackets == 0 || r.ServerPackets == 0
}

func (t *tally) sorted() ([]*protocolReport, []connectionReport) {
	protocols := slices.SortedFunc(maps.Values(t.protocols), func(a, b *protocolReport) int { return cmp.Compare(a.Protocol, b.Protocol) })
	connections := make([]connectionReport, 0, len(t.connections))
	for _, key := range slices.Sorted(maps.Keys(t.connections)) {
		connections = append(connections, *t.connections[key])
	}
	if protocols == nil {
		protocols = []*protocolReport{}
	}
	return protocols, connections
}

// table prints the report for people at a terminal: what needs looking at comes first.
func (r *report) table(w io.Writer) error {
	c := r.Capture
	fmt.Fprintf(w, "%d packets, %s", c.Packets, bytesText(c.Bytes))
	if c.FirstTime != nil {
		fmt.Fprintf(w, ", %s to %s (%s)", c.FirstTime.Format("2006-01-02 15:04:05"), c.LastTime.Format("2006-01-02 15:04:05 UTC"),
			c.LastTime.Sub(*c.FirstTime).Round(time.Second))
	}
	fmt.Fprintln(w)
	for _, d := range r.damage {
		fmt.Fprintln(w, "not whole:", d)
	}
	if c.Malformed+c.LostBytes+c.UndecodedBytes+c.OneSidedStreams+c.Duplicates > 0 {
		fmt.Fprintf(w, "not seen: %d malformed frames, %s lost in streams, %s undecoded, %d one-sided streams, %d duplicate frames\n",
			c.Malformed, bytesText(c.LostBytes), bytesText(c.UndecodedBytes), c.OneSidedStreams, c.Duplicates)
	}

	fmt.Fprintf(w, "\nAlerts: %d\n", len(r.raised))
	t := tabwriter.NewWriter(w, 2, 8, 2, ' ', 0)
	if len(r.raised) > 0 {
		fmt.Fprintln(t, "  SEVERITY\tALERT\tENGINE\tFROM\tTO\tSEEN\tFIRST")
		for _, a := range bySeverity(r.raised) {
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\t%d×\t%s\n", a.Severity, a.Title, strings.ToLower(strings.ReplaceAll(string(a.Engine), "_", " ")),
				endpointText(a.Source), endpointText(a.Destination), a.Count, a.FirstDetection.Format("15:04:05"))
		}
		t.Flush()
	}

	fmt.Fprintf(w, "\nDevices: %d\n", len(r.Devices))
	if len(r.Devices) > 0 {
		fmt.Fprintln(t, "  NAME\tTYPE\tADDRESSES\tVENDOR\tMODEL\tFIRMWARE\tPROTOCOLS")
		for _, d := range r.Devices {
			var addresses []string
			for _, a := range d.IPAddresses {
				addresses = append(addresses, a.String())
			}
			if len(addresses) == 0 {
				addresses = d.MACAddresses
			}
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\n", d.Name, d.Type, strings.Join(addresses, " "), d.Vendor, d.Model, d.FirmwareVersion,
				strings.Join(d.Protocols, ", "))
		}
		t.Flush()
	}

	fmt.Fprintf(w, "\nProtocols: %d\n", len(r.Protocols))
	if len(r.Protocols) > 0 {
		fmt.Fprintln(t, "  PROTOCOL\tMESSAGES\tOPERATIONS\tEXCEPTIONS")
		for _, p := range r.Protocols {
			var exceptions uint64
			for _, n := range p.Exceptions {
				exceptions += n
			}
			fmt.Fprintf(t, "  %s\t%d\t%s\t%d\n", p.Name, p.Messages, countsText(p.Operations), exceptions)
		}
		t.Flush()
	}
	return nil
}

func bySeverity(alerts []event.Alert) []event.Alert {
	rank := map[event.Severity]int{event.SeverityHigh: 0, event.SeverityMedium: 1, event.SeverityLow: 2, event.SeverityInformational: 3}
	sorted := slices.Clone(alerts)
	slices.SortStableFunc(sorted, func(a, b event.Alert) int {
		return cmp.Or(cmp.Compare(rank[a.Severity], rank[b.Severity]), a.FirstDetection.Compare(b.FirstDetection))
	})
	return sorted
}

func endpointText(e *event.Endpoint) string {
	switch {
	case e == nil:
		return ""
	case e.Name != "" && e.Name != e.Address:
		return e.Name + " (" + e.Address + ")"
	}
	return e.Address
}

// countsText prints counts, the largest first.
func countsText(counts map[string]uint64) string {
	keys := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	var out []string
	for _, k := range keys {
		out = append(out, fmt.Sprintf("%s %d", k, counts[k]))
	}
	return strings.Join(out, ", ")
}

func bytesText(n uint64) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%d bytes", n)
	case n < 10_000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

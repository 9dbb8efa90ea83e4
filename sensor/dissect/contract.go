// Package dissect turns packets into protocol messages. It keeps a bounded table of flows, puts TCP
// streams back in order, recognises each stream's protocol by its content, and hands the bytes to that
// protocol's parser. Out come connections and messages that speak one vocabulary, so that engines ask
// about stops and writes and never about a protocol's function codes.
//
// All state is plain data: a checkpoint stores it and a restart continues from it, mid-stream included.
package dissect

import (
	"net/netip"
	"time"

	"github.com/otus-project/otus/sensor/packet"
)

// Protocol describes one protocol plug-in. A plug-in folder exports exactly one, named Protocol.
type Protocol struct {
	// ID is the folder's name and the protocol's id everywhere: "modbus".
	ID string
	// Name is the display name used in rows and pages: "MODBUS".
	Name string
	// OT marks industrial protocols: a device that speaks one is an OT device.
	OT bool
	// Ports are the registered ports. They are a hint: they order detection, never decide it.
	Ports []uint16
	// DetectTCP and DetectUDP judge by content alone; nil where the protocol does not use that transport.
	DetectTCP func(Probe) Verdict
	DetectUDP func(Probe) Verdict
	// NewParser makes the parser of one stream (TCP) or conversation (UDP).
	NewParser func() Parser
	// Packet reads protocols below TCP and UDP (ARP, ICMP): called for every packet, it returns at once where
	// the packet is not its own. nil for all others.
	Packet func(p *packet.Packet, emit func(*Message))
}

// Probe is the beginning of what was seen of a flow, in both directions, for detection.
type Probe struct {
	// Forward is what the client sent where the opening of the connection was seen, otherwise what the side that
	// spoke first in the capture sent; Backward the other side's bytes. One may be empty. Over TCP each is a
	// contiguous run, at most MaxProbe bytes, that may begin mid-stream; over UDP each is that side's newest
	// datagram, cut at MaxProbe bytes.
	Forward, Backward []byte
	ForwardPort       uint16 // destination port of Forward
	BackwardPort      uint16 // destination port of Backward
	// HandshakeSeen says that Forward begins at the start of the stream.
	HandshakeSeen bool
}

// MaxProbe bounds the bytes per direction kept for detection; a flow not recognised by then is undecoded.
const MaxProbe = 2048

// Verdict is a detector's answer.
type Verdict struct {
	Match Match
	// Swap says the content shows that Backward is the client's side (the capture began with a response).
	Swap bool
}

// Match says how sure a detector is.
type Match uint8

// No is final for this flow; More asks for further bytes; Weak wins only where no other protocol
// says Strong, and needs the port hint to agree; Strong decides.
const (
	No Match = iota
	More
	Weak
	Strong
)

// Direction of a segment or message.
type Direction uint8

// Directions. The client opened the connection, or sends the requests where the opening was not seen.
const (
	FromClient Direction = iota
	FromServer
)

// Segment is a run of contiguous stream bytes, or one datagram.
type Segment struct {
	Direction Direction
	// Data starts with what the parser left unread last time. It belongs to the runner; keep nothing of it.
	Data []byte
	Time time.Time
	// Frame is the index of the frame that brought the newest byte.
	Frame uint64
	// Gap counts the bytes lost right before Data; the parser must find a message boundary again. The unread
	// rest from before the gap has been dropped.
	Gap uint64
	// Datagram says that Data is one whole UDP datagram.
	Datagram bool
}

// Parser reads the messages of one flow. It is called by one goroutine. Its exported fields are its whole
// state: the runner stores them as JSON at a checkpoint and restores them into a new parser. It bounds what it keeps.
type Parser interface {
	// Parse reads whole messages from the front of s.Data, calls emit for each, and returns how many bytes it
	// consumed. Zero means "not enough yet"; the rest comes again with more behind it. When the unread rest
	// would exceed Limits.MaxMessage the runner drops it and reports the flow as undecoded. Parse never fails:
	// bytes that break the specification become a Message with Malformed set, and are consumed.
	// The message is the runner's after emit returns.
	Parse(s Segment, emit func(*Message)) int
}

// Endpoint is one side of a flow.
type Endpoint struct {
	MAC  packet.MAC
	Addr netip.Addr
	Port uint16
}

// Kind of a message.
type Kind uint8

// Kinds of message.
const (
	Request Kind = iota
	Response
	// Unsolicited is sent by a server on its own account, or by a broadcaster.
	Unsolicited
)

// Message is one protocol data unit in the shared vocabulary. The runner fills Protocol, Time, Frame, Client,
// Server, VLAN and Transport; the parser the rest.
type Message struct {
	Protocol  *Protocol
	Time      time.Time
	Frame     uint64
	Client    Endpoint
	Server    Endpoint
	VLAN      uint16
	Transport string // "tcp", "udp", "icmp", "link"

	Direction Direction
	Kind      Kind
	// Code is the function code as the protocol numbers it, Subcode a second level (-1 where none); CodeName
	// is the specification's name for the two.
	Code     int
	Subcode  int
	CodeName string
	// Layer tells apart code spaces of one protocol that overlap, such as "link" and "app" of DNP3 or "job"
	// and "userdata" of S7; "" where there is one space only.
	Layer string
	// Operation is what the message does, in the shared vocabulary. A response carries its request's.
	Operation Operation
	// Exception is the protocol's error code of a refused request; 0 is none. ExceptionName names it.
	Exception     int
	ExceptionName string
	// Conditions are what the message signals beyond its operation, in the shared vocabulary.
	Conditions []Condition
	// Unit is the station, unit or slot addressed within the server, printed; "" where there is none.
	Unit string
	// Targets are what is read or written; at most MaxTargets.
	Targets []Target
	// Identity are facts the message tells about devices.
	Identity []Fact
	// Names are hosts asked for (DNS), user names, file or block names: text worth matching; at most MaxTargets.
	Names []string
	// Malformed is set where the message breaks its specification; the fields above hold what could be read.
	Malformed *packet.Malformed
	// Counters are extra counts for the facts of analyze, "name" -> code: such as "diag_req" -> 4. Each
	// protocol's README lists its own.
	Counters []Counter
	// Size is the length of the message in bytes, headers of its own protocol included.
	Size int
}

// MaxTargets bounds Targets and Names of one message.
const MaxTargets = 64

// Counter is one extra count of a message.
type Counter struct {
	Name string
	Key  string
}

// Target is a thing addressed within a device.
type Target struct {
	// Space is the kind of thing: "coil", "discrete-input", "input-register", "holding-register", "DB",
	// "input", "output", "marker", "block", "group 12 variation 1", "file".
	Space string
	// Instance is the number within the space where it has one (the S7 data block); 0 otherwise.
	Instance uint32
	// Start and Count are the first address and the number of elements.
	Start, Count uint32
	// Value is the value written, printed; "" where none.
	Value string
}

// Has reports whether the message signals c.
func (m *Message) Has(c Condition) bool {
	for _, x := range m.Conditions {
		if x == c {
			return true
		}
	}
	return false
}

// From is the side that sent the message.
func (m *Message) From() Endpoint {
	if m.Direction == FromClient {
		return m.Client
	}
	return m.Server
}

// Operation is a word of the vocabulary all protocols share.
type Operation string

// The vocabulary. A protocol maps its function codes to these; engines know nothing else.
const (
	OpNone            Operation = ""
	OpRead            Operation = "read"
	OpWrite           Operation = "write"
	OpControl         Operation = "control"          // operate an output: a relay, breaker or setpoint command
	OpProgramUpload   Operation = "program upload"   // device to workstation
	OpProgramDownload Operation = "program download" // workstation to device
	OpProgramDelete   Operation = "program delete"
	OpStart           Operation = "start"
	OpStop            Operation = "stop"
	OpReset           Operation = "reset"
	OpModeChange      Operation = "mode change"
	OpFirmware        Operation = "firmware update"
	OpConfigRead      Operation = "configuration read"
	OpConfigWrite     Operation = "configuration write"
	OpLogin           Operation = "login"
	OpPasswordChange  Operation = "password change"
	OpFileRead        Operation = "file read"
	OpFileWrite       Operation = "file write"
	OpFileDelete      Operation = "file delete"
	OpDiagnostics     Operation = "diagnostics"
	OpDiscovery       Operation = "discovery"
	OpTimeSet         Operation = "time set"
	OpSession         Operation = "session" // opening, keeping and closing of a session
	OpNameQuery       Operation = "name query"
)

// ControlRelevant reports the operations that become rows of OTProtocolEvent: all but plain reads, polling
// diagnostics, sessions and name queries.
func (o Operation) ControlRelevant() bool {
	switch o {
	case OpNone, OpRead, OpDiagnostics, OpDiscovery, OpSession, OpNameQuery:
		return false
	}
	return true
}

// Condition is something a message signals, in words all protocols share.
type Condition string

// Conditions.
const (
	CondReservedFunction     Condition = "reserved-function"     // function code the specification reserves
	CondFunctionZero         Condition = "function-zero"         // function code 0 where it is not defined
	CondExceptionFromClient  Condition = "exception-from-client" // an error answer sent by the requester
	CondIllegalFunction      Condition = "illegal-function"      // server: function not supported
	CondIllegalAddress       Condition = "illegal-address"       // server: no such data address
	CondIllegalValue         Condition = "illegal-value"         // server: value not allowed
	CondDeviceFailure        Condition = "device-failure"        // server: unrecoverable failure
	CondUnknownObject        Condition = "unknown-object"        // server: object unknown
	CondParameterError       Condition = "parameter-error"       // server: parameter wrong
	CondRestarted            Condition = "restarted"             // server says it restarted
	CondEventOverflow        Condition = "event-overflow"        // server's event buffer overflowed
	CondConfigCorrupt        Condition = "config-corrupt"        // server's configuration is corrupt
	CondDeviceTrouble        Condition = "device-trouble"        // server reports trouble with itself
	CondReservedStatus       Condition = "reserved-status"       // reserved status bits are set
	CondObsoleteInitialize   Condition = "obsolete-initialize"   // DNP3 function 15
	CondObsoleteSaveConfig   Condition = "obsolete-save-config"  // DNP3 function 19
	CondConfirmRequested     Condition = "confirm-requested"     // request asks for an application confirm
	CondIllegalOperation     Condition = "illegal-operation"     // message breaks its specification
	CondAuthenticationFailed Condition = "authentication-failed"
	CondConfigChanged        Condition = "config-changed" // server says its configuration changed
	CondBadAnswerFormat      Condition = "bad-answer-format"
	CondIllegalVersion       Condition = "illegal-version"
	CondIntegrityPoll        Condition = "integrity-poll" // DNP3 class 0 read
	CondNoLease              Condition = "no-lease"       // DHCP client was refused
	CondNameNotFound         Condition = "name-not-found" // DNS answered NXDOMAIN
)

// Fact is one thing a message tells about a device's identity.
type Fact struct {
	// Server says the fact is about the flow's server, otherwise about its client; Addr or MAC, where set, name
	// another device instead (ARP, DHCP, DNS).
	Server bool
	Addr   netip.Addr
	MAC    packet.MAC
	Kind   FactKind
	Value  string
}

// FactKind is a field of a device.
type FactKind string

// The fields a fact can fill.
const (
	FactName     FactKind = "name"
	FactVendor   FactKind = "vendor"
	FactModel    FactKind = "model"
	FactFirmware FactKind = "firmware"
	FactSerial   FactKind = "serial"
	FactType     FactKind = "type" // a name of the device type list: "PLC", "RTU", "HMI", "Engineering Station"
	FactOS       FactKind = "os"
	// FactAddress ties Fact.MAC and Fact.Addr together (ARP, DHCP).
	FactAddress FactKind = "address"
)

// Connection is one flow as the stages behind see it. Client and Server may be exchanged, counters with them, until
// Recognised is called; never after.
type Connection struct {
	// ID numbers the connections of a sensor in the order of their opening, from 1. It survives a checkpoint, as the
	// pointer does not: stages that keep something per connection keep it by ID.
	ID             uint64
	Client, Server Endpoint
	VLAN           uint16
	Transport      string    // "tcp", "udp", "icmp"
	Protocol       *Protocol `json:"-"` // nil while, or where, not recognised
	HandshakeSeen  bool      // TCP: the opening was captured; Client is then certain
	Established    bool      // TCP: SYN and SYN-ACK seen, or data both ways; UDP: both directions seen
	Refused        bool      // TCP: answered by RST to SYN
	First, Last    time.Time
	// Counters per direction since the flow began.
	ClientPackets, ServerPackets uint64
	ClientBytes, ServerBytes     uint64 // on the wire
	LostBytes                    uint64
	UndecodedBytes               uint64
	Messages, Exceptions         uint64
}

// Reasons given to Handler.Closed.
const (
	ClosedFIN      = "fin"      // both sides finished
	ClosedRST      = "rst"      // a side reset the connection
	ClosedIdle     = "idle"     // nothing for longer than Limits allow
	ClosedReplaced = "replaced" // a new connection took over addresses and ports
	ClosedEvicted  = "evicted"  // the table was full
)

// Handler receives what the runner finds, in the order of the frames. All calls come from one goroutine;
// nothing handed over may be kept after the call returns, save where a comment says so.
type Handler interface {
	// Packet is called for every frame but the second copies that mirror ports make, decoded or not, before
	// anything the frame completes. c, with this packet already counted, is the packet's connection: it may be
	// about to be opened, and is nil where there is none (no TCP, UDP or ICMP, a fragment, a straggler of a
	// connection that was closed).
	Packet(p *packet.Packet, c *Connection)
	// Opened is called when a flow enters the table, Recognised when its protocol becomes known, Closed when it
	// leaves; the reason is one of the Closed constants. c stays the same pointer between Opened and Closed.
	Opened(c *Connection)
	Recognised(c *Connection)
	Closed(c *Connection, reason string)
	// Message is called for every message; m may be kept. c is nil for protocols below TCP and UDP. Messages held
	// back until their protocol was recognised, or until a gap was given up, carry the time and frame of their own
	// bytes, which then lie before the current frame's.
	Message(m *Message, c *Connection)
}

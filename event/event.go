// Package event holds the typed rows that cross between the three houses: sensor, fleet and siem.
// A sensor emits Records; the fleet stores and forwards them; the siem turns them into table rows.
// Commands travel the other way. Nothing else crosses, so these types are the wire format: fields are
// added, never renamed, and a zero value means "not known".
package event

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"
)

// Kind names the type of a Record's row.
type Kind string

// The kinds of rows a sensor emits.
const (
	KindAlert         Kind = "alert"
	KindDevice        Kind = "device"
	KindConnection    Kind = "connection"
	KindProtocolEvent Kind = "protocolEvent"
	KindHealth        Kind = "health"
	KindCapture       Kind = "capture"
)

// Record is one row of a sensor's outgoing sequence. Sequence starts at 1 and grows by one, without
// gaps, for the life of the sensor; (sensor, sequence) is the idempotency key of the uplink. Exactly one
// of the row fields is set, the one Kind names.
type Record struct {
	Sequence      uint64         `json:"sequence"`
	Kind          Kind           `json:"kind"`
	Alert         *Alert         `json:"alert,omitempty"`
	Device        *Device        `json:"device,omitempty"`
	Connection    *Connection    `json:"connection,omitempty"`
	ProtocolEvent *ProtocolEvent `json:"protocolEvent,omitempty"`
	Health        *Health        `json:"health,omitempty"`
	Capture       *Capture       `json:"capture,omitempty"`
}

// Validate reports a record whose row is absent, doubled or of another kind than Kind says.
func (r *Record) Validate() error {
	set := 0
	var kind Kind
	for _, row := range []struct {
		kind Kind
		set  bool
	}{
		{KindAlert, r.Alert != nil},
		{KindDevice, r.Device != nil},
		{KindConnection, r.Connection != nil},
		{KindProtocolEvent, r.ProtocolEvent != nil},
		{KindHealth, r.Health != nil},
		{KindCapture, r.Capture != nil},
	} {
		if row.set {
			set++
			kind = row.kind
		}
	}
	switch {
	case r.Sequence == 0:
		return fmt.Errorf("record without sequence")
	case set != 1:
		return fmt.Errorf("record %d: want exactly one row, got %d", r.Sequence, set)
	case kind != r.Kind:
		return fmt.Errorf("record %d: kind says %q but the row is of kind %q", r.Sequence, r.Kind, kind)
	}
	return nil
}

// Batch is what a sensor sends upward in one request: records in order of sequence, without gaps but those
// that Dropped names. Answered by an Ack, or refused with a SequenceError.
type Batch struct {
	SensorID string `json:"sensorId"`
	// Dropped are sequences the sensor will never send, because its spool was full or damaged: in order, each
	// before the record that follows it. The fleet steps over them and counts them.
	Dropped []Range `json:"dropped,omitempty"`
	// WaitSeconds, in a batch without records, lets the fleet hold its answer back that long, until there is a
	// command for the sensor. The fleet may answer sooner.
	WaitSeconds int `json:"waitSeconds,omitempty"`
	// Records may be empty: the sensor then only asks for commands.
	Records []Record `json:"records"`
	// AppliedCommand is the highest Command.ID the sensor has journaled; the fleet stops sending
	// commands up to it.
	AppliedCommand uint64 `json:"appliedCommand"`
}

// Range is the sequences From to To, both included.
type Range struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// SequenceError refuses a batch that leaves a gap: the records from Expected on are missing, and nothing of
// the batch was taken.
type SequenceError struct {
	Expected uint64
}

func (e *SequenceError) Error() string {
	return fmt.Sprintf("records are missing: expected sequence %d next", e.Expected)
}

// Ack answers a Batch. It is sent only after every record up to Sequence is durable.
type Ack struct {
	Sequence uint64    `json:"sequence"`
	Commands []Command `json:"commands,omitempty"`
}

// Command goes down from the fleet to one sensor. IDs grow by one per sensor; a sensor journals a command
// with its position in the frame stream before it applies it, so that a replay applies it at the same place.
type Command struct {
	ID      uint64     `json:"id"`
	Action  Action     `json:"action"`
	AlertID string     `json:"alertId,omitempty"`
	Mode    SensorMode `json:"mode,omitempty"`
	// Time is when the command was given; the alert's last activity takes it unless frame time is later.
	Time time.Time `json:"time"`
	// By names who gave it, for the sensor's timeline.
	By string `json:"by,omitempty"`
}

// Action is what a Command asks of the sensor.
type Action string

// The actions a sensor understands.
const (
	ActionSetNew    Action = "setNew"    // alert back to New
	ActionSetActive Action = "setActive" // alert is being worked on
	ActionClose     Action = "close"     // alert handled; the same traffic raises a new one
	ActionLearn     Action = "learn"     // close, and take the traffic into the baseline (learnable types only)
	ActionMute      Action = "mute"      // close, and stay silent for this alert's key until unmuted
	ActionUnmute    Action = "unmute"
	ActionSetMode   Action = "setMode" // learning or operational
)

// SensorMode says whether the policy-violation engine speaks.
type SensorMode string

// The two modes of a sensor.
const (
	ModeLearning    SensorMode = "learning"
	ModeOperational SensorMode = "operational"
)

// Severity of an alert, in the portal's words.
type Severity string

// Severities, highest first.
const (
	SeverityHigh          Severity = "High"
	SeverityMedium        Severity = "Medium"
	SeverityLow           Severity = "Low"
	SeverityInformational Severity = "Informational"
)

// Engine is the detection engine that raised an alert; the constant is the value of ProductComponentName.
type Engine string

// The five engines.
const (
	EngineProtocolViolation Engine = "PROTOCOL_VIOLATION"
	EnginePolicyViolation   Engine = "POLICY_VIOLATION"
	EngineMalware           Engine = "MALWARE"
	EngineAnomaly           Engine = "ANOMALY"
	EngineOperational       Engine = "OPERATIONAL"
)

// AlertStatus is the life of an alert on the sensor.
type AlertStatus string

// The statuses. A muted alert is Closed with Alert.Muted set.
const (
	AlertNew    AlertStatus = "New"
	AlertActive AlertStatus = "Active"
	AlertClosed AlertStatus = "Closed"
)

// Alert is one alert at one revision. (ID, Revision) is the idempotency key of the row.
type Alert struct {
	// ID is UUIDv5(sensor id, alert type, merge key, occurrence).
	ID       string `json:"id"`
	Revision int    `json:"revision"`
	// Key is the merge key: findings of one Type and Key are one alert. Occurrence counts the alerts of that key,
	// from 1.
	Key        string `json:"key,omitempty"`
	Occurrence int    `json:"occurrence,omitempty"`
	// Type is the kebab-case id of the alert type, Title its name in the alert reference.
	Type     string   `json:"type"`
	Title    string   `json:"title"`
	Engine   Engine   `json:"engine"`
	Severity Severity `json:"severity"`
	Category string   `json:"category"`
	// Protocol is the display name, such as "MODBUS" or "Siemens S7"; "GENERIC" when none applies.
	Protocol   string   `json:"protocol"`
	Tactics    []string `json:"tactics"`
	Techniques []string `json:"techniques"`
	Learnable  bool     `json:"learnable"`

	Status  AlertStatus `json:"status"`
	Muted   bool        `json:"muted,omitempty"`
	Learned bool        `json:"learned,omitempty"`

	FirstDetection time.Time `json:"firstDetection"`
	LastDetection  time.Time `json:"lastDetection"`
	// LastActivity is the time of the newest change, whether by traffic or by a person.
	LastActivity time.Time `json:"lastActivity"`
	// Published is the time revision 1 was emitted; constant over all revisions.
	Published time.Time `json:"published"`
	// Count is how often the traffic was seen while this alert was open; at least 1.
	Count int `json:"count"`

	SensorID   string `json:"sensorId"`
	SensorName string `json:"sensorName"`

	Source      *Endpoint `json:"source,omitempty"`
	Destination *Endpoint `json:"destination,omitempty"`
	// Devices are the involved devices as known at this revision, source first.
	Devices []Device `json:"devices,omitempty"`

	// Description says in one or two sentences what was seen, with the concrete values.
	Description string      `json:"description"`
	Explanation Explanation `json:"explanation"`
	// Details are name-value pairs of the evidence (function code, address, value), sorted by name.
	Details []Detail `json:"details,omitempty"`
	// Frame is the index of the first frame that raised the alert, counted from 1 in its source; 0 if none.
	Frame uint64 `json:"frame,omitempty"`
	// HasCapture is set once packets around the alert are kept.
	HasCapture bool `json:"hasCapture,omitempty"`
}

// Explanation tells a reader who knows SOCs but not controllers what an alert means.
type Explanation struct {
	Meaning string   `json:"meaning"` // what happened, in plain words
	Impact  string   `json:"impact"`  // what it can do to the plant
	Safe    []string `json:"safe"`    // safe to do now; at most three
	Avoid   []string `json:"avoid"`   // do not; at most three
	Ask     string   `json:"ask"`     // whom to ask first
}

// Detail is one piece of evidence.
type Detail struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Endpoint is one side of the traffic that raised an alert.
type Endpoint struct {
	DeviceID string `json:"deviceId,omitempty"`
	Name     string `json:"name,omitempty"`
	// Address is an IP address, or a MAC address where the traffic has none.
	Address string `json:"address"`
	Port    uint16 `json:"port,omitempty"`
}

// Device is a device of the inventory as the sensor knows it; a row is emitted per change.
type Device struct {
	// ID is UUIDv5(sensor id, first identity), stable for the life of the device on this sensor.
	ID           string       `json:"id"`
	Name         string       `json:"name"`
	IPAddresses  []netip.Addr `json:"ipAddresses"`
	MACAddresses []string     `json:"macAddresses"`
	VLANs        []uint16     `json:"vlans,omitempty"`
	Vendor       string       `json:"vendor,omitempty"`
	// Type is a name of the device type list, such as "PLC" or "Engineering Station"; "Unknown" if not known.
	Type            string `json:"type"`
	Model           string `json:"model,omitempty"`
	FirmwareVersion string `json:"firmwareVersion,omitempty"`
	SerialNumber    string `json:"serialNumber,omitempty"`
	OperatingSystem string `json:"operatingSystem,omitempty"`
	// Protocols are display names, sorted.
	Protocols []string `json:"protocols"`
	// PurdueLevel is "Process Control", "Supervisory", "Enterprise" or "".
	PurdueLevel string    `json:"purdueLevel,omitempty"`
	FirstSeen   time.Time `json:"firstSeen"`
	LastSeen    time.Time `json:"lastSeen"`
	Authorized  bool      `json:"authorized"`
	// Programming and Scanner say the device is known to program controllers, or to scan.
	Programming bool `json:"programming,omitempty"`
	Scanner     bool `json:"scanner,omitempty"`
	// OT is set where an OT protocol, or an OT subnet, is involved.
	OT       bool   `json:"ot,omitempty"`
	SensorID string `json:"sensorId"`
	// Importance is "Low", "Normal" or "High"; "" means Normal.
	Importance string `json:"importance,omitempty"`
	// Revision grows by one per emitted row of this device.
	Revision int `json:"revision"`
}

// Connection is what two devices did over one protocol within one minute of stage time.
type Connection struct {
	Minute         time.Time  `json:"minute"` // start of the minute, UTC
	SensorID       string     `json:"sensorId"`
	ClientID       string     `json:"clientId"`
	ServerID       string     `json:"serverId"`
	ClientAddress  netip.Addr `json:"clientAddress"`
	ServerAddress  netip.Addr `json:"serverAddress"`
	ServerPort     uint16     `json:"serverPort"`
	Transport      string     `json:"transport"` // "tcp", "udp", "icmp"
	Protocol       string     `json:"protocol"`  // display name; "Unknown" where undecoded
	ClientPackets  uint64     `json:"clientPackets"`
	ServerPackets  uint64     `json:"serverPackets"`
	ClientBytes    uint64     `json:"clientBytes"` // on the wire
	ServerBytes    uint64     `json:"serverBytes"`
	Messages       uint64     `json:"messages"`
	Exceptions     uint64     `json:"exceptions"`
	FirstSeen      time.Time  `json:"firstSeen"`
	LastSeen       time.Time  `json:"lastSeen"`
	OneSided       bool       `json:"oneSided,omitempty"`  // only one direction was seen
	LostBytes      uint64     `json:"lostBytes,omitempty"` // bytes of the streams that were never captured
	UndecodedBytes uint64     `json:"undecodedBytes,omitempty"`
}

// ProtocolEvent is one control-relevant message: a write, programming, mode change, stop, start, firmware,
// login or reading of configuration.
type ProtocolEvent struct {
	Time          time.Time  `json:"time"`
	SensorID      string     `json:"sensorId"`
	ClientID      string     `json:"clientId,omitempty"`
	ServerID      string     `json:"serverId,omitempty"`
	ClientAddress netip.Addr `json:"clientAddress"`
	ServerAddress netip.Addr `json:"serverAddress"`
	ServerPort    uint16     `json:"serverPort,omitempty"`
	Protocol      string     `json:"protocol"`
	Operation     string     `json:"operation"` // word of the shared vocabulary, such as "write"
	FunctionCode  int        `json:"functionCode"`
	FunctionName  string     `json:"functionName"`
	Unit          string     `json:"unit,omitempty"`   // station, unit or slot within the device
	Target        string     `json:"target,omitempty"` // what is touched, such as "holding register 40013"
	Value         string     `json:"value,omitempty"`  // value written, printed
	Result        string     `json:"result"`           // "request", "ok" or "error"
	ResultCode    int        `json:"resultCode,omitempty"`
	Frame         uint64     `json:"frame,omitempty"`
}

// Health is the sensor's own state, emitted every minute of stage time and when State changes.
type Health struct {
	Time       time.Time  `json:"time"`
	SensorID   string     `json:"sensorId"`
	SensorName string     `json:"sensorName"`
	Version    string     `json:"version"`
	Mode       SensorMode `json:"mode"`
	State      string     `json:"state"`  // "Healthy", "Warning" or "Critical"
	Reason     string     `json:"reason"` // why it is not healthy; empty when it is
	// Counters since the sensor's first start.
	Frames          uint64 `json:"frames"`
	Bytes           uint64 `json:"bytes"`
	Dropped         uint64 `json:"dropped"`         // frames the kernel or a full queue dropped
	Malformed       uint64 `json:"malformed"`       // frames that could not be decoded
	Duplicates      uint64 `json:"duplicates"`      // frames seen twice because of the mirror port
	LostBytes       uint64 `json:"lostBytes"`       // stream bytes never captured
	UndecodedBytes  uint64 `json:"undecodedBytes"`  // payload no protocol plug-in understood
	Devices         int    `json:"devices"`         // in the inventory
	OpenAlerts      int    `json:"openAlerts"`      // New or Active
	Connections     int    `json:"connections"`     // in the table now
	Evicted         uint64 `json:"evicted"`         // table entries dropped for lack of room
	SpooledRecords  uint64 `json:"spooledRecords"`  // waiting for the uplink
	OneSidedStreams uint64 `json:"oneSidedStreams"` // connections of which one direction was never seen
	PluginFailures  uint64 `json:"pluginFailures"`  // panics caught in plug-ins
}

// Capture is the packets around one alert, as a pcap file with nanosecond times. At most MaxCaptureBytes.
type Capture struct {
	AlertID string `json:"alertId"`
	Packets int    `json:"packets"`
	PCAP    []byte `json:"pcap"`
}

// MaxCaptureBytes bounds the file kept per alert; the oldest packets go first.
const MaxCaptureBytes = 256 << 10

// Encode gives the record's wire bytes. Equal records have equal bytes.
func (r *Record) Encode() ([]byte, error) { return json.Marshal(r) }

// Place says where a sensor stands, as the fleet knows it.
type Place struct {
	SubscriptionID string   `json:"subscriptionId"`
	SensorID       string   `json:"sensorId"`
	SensorName     string   `json:"sensorName"`
	Site           string   `json:"site"`
	Zone           string   `json:"zone"`
	Owners         []string `json:"owners,omitempty"` // mail addresses of the site's owners
}

// Entry is one record of a subscription's stream, from the fleet to a connector. Positions grow by one per
// subscription, without gaps.
type Entry struct {
	Position uint64 `json:"position"`
	Place    Place  `json:"place"`
	// Lines maps ids of the record's devices to production lines, with the line's owners.
	Lines  map[string]Line `json:"lines,omitempty"`
	Record Record          `json:"record"`
}

// Line is a production line and the people to ask about it.
type Line struct {
	Name   string   `json:"name"`
	Owners []string `json:"owners,omitempty"` // mail addresses
}

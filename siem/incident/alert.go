package incident

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/siem/state"
)

// Alert is an alert of an incident, as of its newest known revision.
type Alert struct {
	SystemAlertID    string       `json:"systemAlertId"`
	VendorOriginalID string       `json:"vendorOriginalId"`
	Name             string       `json:"name"`
	Severity         string       `json:"severity"`
	Status           string       `json:"status" doc:"New, InProgress, Resolved or Dismissed"`
	Engine           string       `json:"engine"`
	Category         string       `json:"category"`
	Protocol         string       `json:"protocol"`
	Description      string       `json:"description"`
	StartTime        time.Time    `json:"startTime" doc:"First detection"`
	EndTime          time.Time    `json:"endTime" doc:"Last detection"`
	TimeGenerated    time.Time    `json:"timeGenerated" doc:"Last activity"`
	ProviderName     string       `json:"providerName"`
	Revision         int          `json:"revision"`
	Count            int          `json:"count" doc:"How often the traffic was seen"`
	Tactics          []string     `json:"tactics"`
	Techniques       []string     `json:"techniques"`
	RemediationSteps []string     `json:"remediationSteps"`
	Source           Endpoint     `json:"source"`
	Destination      Endpoint     `json:"destination"`
	Devices          []Device     `json:"devices"`
	Explanation      *Explanation `json:"explanation"`
	Details          []Evidence   `json:"details"`
	Frame            uint64       `json:"frame"`
	Line             *Line        `json:"line"`
	PCAPURL          *string      `json:"pcapUrl"`

	Sensor      string `json:"sensor"`
	Site        string `json:"site"`
	Zone        string `json:"zone"`
	ProductName string `json:"productName"`
}

// Evidence is one piece of evidence.
type Evidence struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Endpoint is one side of the traffic.
type Endpoint struct {
	Name     string `json:"name"`
	Address  string `json:"address"`
	DeviceID string `json:"deviceId"`
}

// Device is a device of an alert, from its iotdevice entity.
type Device struct {
	DeviceID        string   `json:"deviceId"`
	Name            string   `json:"name"`
	Type            string   `json:"type"`
	Vendor          string   `json:"vendor"`
	Model           string   `json:"model"`
	FirmwareVersion string   `json:"firmwareVersion"`
	IPAddress       string   `json:"ipAddress"`
	MACAddress      string   `json:"macAddress"`
	Protocols       []string `json:"protocols"`
	Site            string   `json:"site"`
	Zone            string   `json:"zone"`
	Sensor          string   `json:"sensor"`
	PurdueLevel     string   `json:"purdueLevel"`
	Importance      string   `json:"importance"`
}

// Explanation says in plain words what an alert means.
type Explanation struct {
	Meaning string   `json:"meaning"`
	Impact  string   `json:"impact"`
	Safe    []string `json:"safe"`
	Avoid   []string `json:"avoid"`
	Ask     string   `json:"ask"`
}

// Line is a production line and the people to ask.
type Line struct {
	Name   string   `json:"name"`
	Owners []string `json:"owners"`
}

// AlertOf reads a SecurityAlert row. Texts that hold JSON are read as far as they make sense: a row that some
// other product wrote still becomes an alert, with less in it.
func AlertOf(row map[string]any) Alert {
	text := func(column string) string { s, _ := row[column].(string); return s }
	at := func(column string) time.Time { t, _ := row[column].(time.Time); return t.UTC() }
	a := Alert{
		SystemAlertID: text("SystemAlertId"), VendorOriginalID: text("VendorOriginalId"),
		Name: text("AlertName"), Severity: text("AlertSeverity"), Status: text("Status"),
		Engine: text("ProductComponentName"), Description: text("Description"),
		StartTime: at("StartTime"), EndTime: at("EndTime"), TimeGenerated: at("TimeGenerated"),
		ProviderName: text("ProviderName"), ProductName: text("ProductName"),
		Tactics: words(text("Tactics")), Techniques: words(text("Techniques")),
		RemediationSteps: jsonList(text("RemediationSteps")),
		Revision:         1, Count: 1, Devices: []Device{}, Details: []Evidence{},
	}
	if a.Name == "" {
		a.Name = text("DisplayName")
	}
	if a.StartTime.IsZero() {
		a.StartTime = a.TimeGenerated
	}
	if a.EndTime.IsZero() {
		a.EndTime = a.StartTime
	}
	if severityRank(a.Severity) == 0 {
		a.Severity = string(event.SeverityInformational)
	}
	a.readEntities(text("Entities"))
	a.readProperties(text("ExtendedProperties"))
	return a
}

// words reads a list that is either JSON array text or comma-separated.
func words(text string) []string {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "[") {
		return jsonList(text)
	}
	list := []string{}
	for word := range strings.SplitSeq(text, ",") {
		if word = strings.TrimSpace(word); word != "" {
			list = append(list, word)
		}
	}
	return list
}

// jsonList reads JSON array text of strings; text that is not becomes a list of one.
func jsonList(text string) []string {
	text = strings.TrimSpace(text)
	if text == "" {
		return []string{}
	}
	var list []string
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return []string{text}
	}
	return full(list)
}

// loose is a JSON value that producers write as text, number or flag alike.
type loose string

func (l *loose) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) == nil {
		*l = loose(s)
	} else if t := string(data); t != "null" && !strings.HasPrefix(t, "{") && !strings.HasPrefix(t, "[") {
		*l = loose(t)
	}
	return nil
}

// nested is a JSON value that may stand inside a string, as many producers write it.
func nested(data json.RawMessage, into any) bool {
	var s string
	if json.Unmarshal(data, &s) == nil {
		data = json.RawMessage(s)
	}
	return len(data) > 0 && json.Unmarshal(data, into) == nil
}

func (a *Alert) readProperties(text string) {
	var p map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &p) != nil {
		return
	}
	get := func(key string) string {
		var l loose
		if v, ok := p[key]; ok {
			_ = l.UnmarshalJSON(v)
		}
		return string(l)
	}
	number := func(key string, least int) int {
		n, err := strconv.Atoi(get(key))
		if err != nil || n < least {
			return least
		}
		return n
	}
	a.Category, a.Protocol = get("Category"), get("Protocol")
	a.Revision, a.Count = number("Revision", 1), number("Count", 1)
	a.Frame = uint64(number("Frame", 0))
	a.Source = Endpoint{Name: get("SourceDevice"), Address: get("SourceDeviceAddress")}
	a.Destination = Endpoint{Name: get("DestinationDevice"), Address: get("DestinationDeviceAddress")}
	for _, side := range []*Endpoint{&a.Source, &a.Destination} {
		for _, d := range a.Devices {
			if side.Address != "" && (d.IPAddress == side.Address || strings.EqualFold(d.MACAddress, side.Address)) {
				side.DeviceID = d.DeviceID
				if side.Name == "" {
					side.Name = d.Name
				}
			}
		}
	}
	for _, f := range []struct {
		into *string
		key  string
	}{{&a.Sensor, "SensorId"}, {&a.Site, "Site"}, {&a.Zone, "Zone"}} {
		if v := get(f.key); v != "" {
			*f.into = v
		}
	}
	var e Explanation
	if nested(p["Explanation"], &e) && e.Meaning != "" {
		e.Safe, e.Avoid = full(e.Safe), full(e.Avoid)
		a.Explanation = &e
	}
	var details []event.Detail
	if nested(p["Details"], &details) {
		for _, d := range details {
			a.Details = append(a.Details, Evidence(d))
		}
	}
	a.readLine(p["Line"])
	a.readCustomDetails(p["Custom Details"])
}

// readLine accepts an object or the bare name.
func (a *Alert) readLine(data json.RawMessage) {
	var l struct {
		Name   string   `json:"name"`
		Owners []string `json:"owners"`
	}
	if nested(data, &l) && l.Name != "" {
		a.Line = &Line{l.Name, full(l.Owners)}
		return
	}
	var name loose
	if len(data) > 0 && name.UnmarshalJSON(data) == nil && name != "" {
		a.Line = &Line{string(name), []string{}}
	}
}

// readCustomDetails takes from a rule's alert what its sensor alert would have said.
func (a *Alert) readCustomDetails(data json.RawMessage) {
	var details map[string][]string
	if !nested(data, &details) {
		return
	}
	for key, values := range details {
		if len(values) > 0 && key == "Protocol" && a.Protocol == "" {
			a.Protocol = values[0]
		}
	}
}

// entity is the part of an iotdevice entity that is shown.
type entity struct {
	Type            string
	DeviceID        string `json:"DeviceId"`
	DeviceName      string
	DeviceType      string
	Manufacturer    string
	Model           string
	FirmwareVersion string
	IPAddress       json.RawMessage `json:"IpAddress"`
	MACAddress      string          `json:"MacAddress"`
	Protocols       []string
	Site            string
	Zone            string
	Sensor          string
	PurdueLayer     string
	PurdueLevel     string
	Importance      loose
}

func (a *Alert) readEntities(text string) {
	var all []json.RawMessage
	if json.Unmarshal([]byte(text), &all) != nil {
		return
	}
	for _, raw := range all {
		var e entity
		if json.Unmarshal(raw, &e) != nil || !strings.EqualFold(e.Type, "iotdevice") || len(a.Devices) >= 20 {
			continue
		}
		var ip struct{ Address string }
		if nested(e.IPAddress, &ip); ip.Address == "" {
			var plain loose
			if len(e.IPAddress) > 0 {
				_ = plain.UnmarshalJSON(e.IPAddress)
			}
			ip.Address = string(plain)
		}
		d := Device{
			DeviceID: e.DeviceID, Name: e.DeviceName, Type: e.DeviceType, Vendor: e.Manufacturer, Model: e.Model,
			FirmwareVersion: e.FirmwareVersion, IPAddress: ip.Address, MACAddress: e.MACAddress,
			Protocols: full(e.Protocols), Site: e.Site, Zone: e.Zone, Sensor: e.Sensor,
			PurdueLevel: e.PurdueLayer, Importance: string(e.Importance),
		}
		if d.PurdueLevel == "" {
			d.PurdueLevel = e.PurdueLevel
		}
		if d.Importance == "" {
			d.Importance = "Normal"
		}
		a.Devices = append(a.Devices, d)
		if a.Sensor == "" {
			a.Sensor, a.Site, a.Zone = d.Sensor, d.Site, d.Zone
		}
	}
}

// Enrich lays what the fleet knows now over an alert read from a row: its status on the sensor, counters, evidence
// and explanation. pcapURL is where the packets around it can be had.
func (a *Alert) Enrich(now event.Alert, pcapURL string) {
	if now.HasCapture {
		a.PCAPURL = &pcapURL
	}
	if a.Explanation == nil && now.Explanation.Meaning != "" {
		e := now.Explanation
		a.Explanation = &Explanation{e.Meaning, e.Impact, full(e.Safe), full(e.Avoid), e.Ask}
	}
	if len(a.Details) == 0 {
		for _, d := range now.Details {
			a.Details = append(a.Details, Evidence(d))
		}
	}
	for _, side := range []struct {
		known *Endpoint
		fleet *event.Endpoint
	}{{&a.Source, now.Source}, {&a.Destination, now.Destination}} {
		if side.fleet != nil && *side.known == (Endpoint{}) {
			*side.known = Endpoint{side.fleet.Name, side.fleet.Address, side.fleet.DeviceID}
		}
	}
	if a.Category == "" {
		a.Category = now.Category
	}
	if a.Frame == 0 {
		a.Frame = now.Frame
	}
	if a.ProviderName == ProviderSensor && now.Revision >= a.Revision {
		a.Revision, a.Count, a.EndTime, a.Status = now.Revision, now.Count, now.LastDetection, StatusOf(now)
	}
}

// ProviderSensor is the ProviderName of rows that came from a sensor.
const ProviderSensor = "IoTSecurity"

// StatusOf is the row's word for a sensor alert's status.
func StatusOf(a event.Alert) string {
	switch {
	case a.Status == event.AlertActive:
		return "InProgress"
	case a.Status == event.AlertClosed && a.Muted:
		return "Dismissed"
	case a.Status == event.AlertClosed:
		return "Resolved"
	}
	return "New"
}

func (s *Service) alerts(ctx context.Context, q state.Querier, number int64) ([]Alert, error) {
	rows, err := q.QueryContext(ctx, `SELECT body FROM incident_alert WHERE workspace = ? AND incident = ? ORDER BY ordinal`, s.ws.ID, number)
	if err != nil {
		return nil, fmt.Errorf("alerts of incident %d: %w", number, err)
	}
	bodies, err := state.Scan(rows, func(b *string) []any { return []any{b} })
	if err != nil {
		return nil, fmt.Errorf("alerts of incident %d: %w", number, err)
	}
	alerts := make([]Alert, len(bodies))
	for n, body := range bodies {
		if err := json.Unmarshal([]byte(body), &alerts[n]); err != nil {
			return nil, fmt.Errorf("alert of incident %d: %w", number, err)
		}
	}
	return alerts, nil
}

func severityRank(severity string) int {
	return 1 + slices.Index([]string{"Informational", "Low", "Medium", "High"}, severity)
}

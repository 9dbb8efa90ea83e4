package iot

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/siem/ingest"
)

// Constant values of a sensor alert's row. A SOC's rules and queries look for them.
const (
	ProductName  = "Azure Security Center for IoT"
	ProviderName = "IoTSecurity"
	VendorName   = "Otus"
)

// Tables the connector fills.
const (
	TableAlert         = "SecurityAlert"
	TableDevice        = "OTDevice"
	TableConnection    = "OTConnection"
	TableProtocolEvent = "OTProtocolEvent"
	TableHealth        = "OTSensorHealth"
)

// Workspace is what rows must know of the workspace they go to.
type Workspace struct {
	// ID is the GUID that SystemAlertId is derived from.
	ID string
	// TenantID is the value of the column TenantId.
	TenantID string
	// BaseURL is where people reach the pages, without a slash at its end; empty gives paths only.
	BaseURL string
}

// How ExtendedProperties begins.
const (
	isNewTrue  = `{"isNew":"True"`
	isNewFalse = `{"isNew":"False"`
)

// RowOf maps an entry of the fleet's stream to its table and row; ok is false for entries that have no row. A
// SecurityAlert row carries the alert's Key, and isNew as an ingest.IfFirst.
func RowOf(w Workspace, e *event.Entry) (table string, row ingest.Row, ok bool) {
	switch e.Record.Kind {
	case event.KindAlert:
		row := AlertRow(w, e, true)
		text, _ := row["ExtendedProperties"].(string)
		// The key stands first, so the other text need not be encoded anew.
		row["ExtendedProperties"] = ingest.IfFirst{First: text, Again: isNewFalse + strings.TrimPrefix(text, isNewTrue)}
		row[ingest.KeyColumn] = ingest.Key{ID: e.Record.Alert.ID, Revision: int64(e.Record.Alert.Revision)}
		return TableAlert, row, true
	case event.KindDevice:
		return TableDevice, deviceRow(w, e), true
	case event.KindConnection:
		return TableConnection, connectionRow(w, e), true
	case event.KindProtocolEvent:
		return TableProtocolEvent, protocolEventRow(w, e), true
	case event.KindHealth:
		return TableHealth, healthRow(w, e), true
	}
	return "", nil, false
}

// AlertRow is the SecurityAlert row of an alert entry, with every column of the table. isNew says whether it is the
// first row of this alert in the workspace.
func AlertRow(w Workspace, e *event.Entry, isNew bool) ingest.Row {
	a := e.Record.Alert
	compromised := affected(a)
	return ingest.Row{
		"TenantId": w.TenantID, "Type": TableAlert, "SourceSystem": "Detection",
		"TimeGenerated": a.LastActivity, "StartTime": a.FirstDetection, "EndTime": a.LastDetection, "ProcessingEndTime": a.Published,
		"AlertName": a.Title, "DisplayName": a.Title, "AlertType": a.Type, "AlertSeverity": string(a.Severity), "Description": a.Description,
		"ProviderName": ProviderName, "VendorName": VendorName, "ProductName": ProductName, "ProductComponentName": string(a.Engine),
		"VendorOriginalId": a.ID, "SystemAlertId": SystemAlertID(w, a.ID),
		"Status": status(a), "CompromisedEntity": endpointName(compromised),
		"Tactics": strings.Join(a.Tactics, ","), "Techniques": jsonText(filled(a.Techniques)),
		"RemediationSteps": jsonText(filled(a.Explanation.Safe)), "Entities": jsonText(entities(w, e)),
		"ExtendedProperties": jsonText(properties(w, e, compromised, isNew)), "ExtendedLinks": "",
		"AlertLink": w.BaseURL + "/alerts?id=" + a.ID, "ResourceId": resourceID(e.Place),
		"ConfidenceLevel": "", "ConfidenceScore": nil, "IsIncident": false, "SourceComputerId": "",
		"WorkspaceSubscriptionId": "", "WorkspaceResourceGroup": "",
	}
}

// controllers are the device types that are the affected side of an alert wherever they stand in it: what they answer
// makes them its source.
var controllers = map[string]bool{"PLC": true, "RTU": true, "IED": true, "DCS Controller": true}

// affected is the endpoint an alert is about: whoever carries malware, the controller where only one side is one, and
// otherwise the side that was acted upon.
func affected(a *event.Alert) *event.Endpoint {
	known := func(e *event.Endpoint) bool { return e != nil && e.Address != "" }
	isController := func(e *event.Endpoint) bool {
		for i := range a.Devices {
			if d := &a.Devices[i]; d.ID == e.DeviceID {
				return controllers[d.Type]
			}
		}
		return false
	}
	switch {
	case !known(a.Destination):
		return a.Source
	case !known(a.Source):
		return a.Destination
	case a.Engine == event.EngineMalware, isController(a.Source) && !isController(a.Destination):
		return a.Source
	}
	return a.Destination
}

// SystemAlertID is the id of a sensor's alert in a workspace.
func SystemAlertID(w Workspace, alertID string) string {
	space, err := uuid.Parse(w.ID)
	if err != nil { // a workspace without a GUID: only in tools that write no rows
		space = uuid.NewSHA1(uuid.NameSpaceOID, []byte(w.ID))
	}
	return uuid.NewSHA1(space, []byte(alertID)).String()
}

// status is the row's word for the alert's state.
func status(a *event.Alert) string {
	switch {
	case a.Status == event.AlertClosed && a.Muted:
		return "Dismissed"
	case a.Status == event.AlertClosed:
		return "Resolved"
	case a.Status == event.AlertActive:
		return "InProgress"
	default:
		return "New"
	}
}

// extendedProperties is the JSON of the column; the order of its keys is the order of these fields.
type extendedProperties struct {
	IsNew                    string            `json:"isNew"`
	SensorID                 string            `json:"SensorId"` // the sensor's name, as readers expect
	DeviceID                 string            `json:"DeviceId"` // of the reporting device: the sensor again
	Site                     string            `json:"Site"`
	Zone                     string            `json:"Zone"`
	Protocol                 string            `json:"Protocol"`
	Category                 string            `json:"Category"`
	SourceDevice             string            `json:"SourceDevice"`
	SourceDeviceAddress      string            `json:"SourceDeviceAddress"`
	DestinationDevice        string            `json:"DestinationDevice"`
	DestinationDeviceAddress string            `json:"DestinationDeviceAddress"`
	CompromisedEntityID      string            `json:"CompromisedEntityId"`
	Line                     *event.Line       `json:"Line,omitempty"`
	Revision                 int               `json:"Revision"`
	Count                    int               `json:"Count"`
	Frame                    uint64            `json:"Frame"`
	Explanation              event.Explanation `json:"Explanation"`
	Details                  []event.Detail    `json:"Details"`
	AlertManagementURI       string            `json:"AlertManagementUri"`
}

func properties(w Workspace, e *event.Entry, compromised *event.Endpoint, isNew bool) extendedProperties {
	a := e.Record.Alert
	p := extendedProperties{
		IsNew: "False", SensorID: sensorName(e), DeviceID: sensorName(e), Site: e.Place.Site, Zone: e.Place.Zone,
		Protocol: a.Protocol, Category: a.Category,
		SourceDevice: endpointName(a.Source), DestinationDevice: endpointName(a.Destination),
		Line: lineOf(e), Revision: a.Revision, Count: a.Count, Frame: a.Frame,
		Explanation: a.Explanation, Details: filled(a.Details),
		AlertManagementURI: w.BaseURL + "/subscriptions/" + e.Place.SubscriptionID +
			"/providers/Microsoft.IoTSecurity/locations/local/deviceGroups/default/alerts/" + a.ID,
	}
	p.Explanation.Safe, p.Explanation.Avoid = filled(p.Explanation.Safe), filled(p.Explanation.Avoid)
	if isNew {
		p.IsNew = "True"
	}
	if a.Source != nil {
		p.SourceDeviceAddress = a.Source.Address
	}
	if a.Destination != nil {
		p.DestinationDeviceAddress = a.Destination.Address
	}
	if compromised != nil {
		p.CompromisedEntityID = compromised.DeviceID
	}
	return p
}

// lineOf is the production line of the alert: that of its first device that belongs to one.
func lineOf(e *event.Entry) *event.Line {
	for _, id := range deviceIDs(e) {
		if line, ok := e.Lines[id]; ok {
			line.Owners = filled(line.Owners)
			return &line
		}
	}
	return nil
}

// deviceIDs names the alert's devices: where it was aimed at, where it came from, others.
func deviceIDs(e *event.Entry) []string {
	a := e.Record.Alert
	var ids []string
	for _, side := range []*event.Endpoint{a.Destination, a.Source} {
		if side != nil && side.DeviceID != "" {
			ids = append(ids, side.DeviceID)
		}
	}
	for _, d := range a.Devices {
		ids = append(ids, d.ID)
	}
	return ids
}

// endpointName is how people call one side of the traffic.
func endpointName(e *event.Endpoint) string {
	switch {
	case e == nil:
		return ""
	case e.Name != "":
		return e.Name
	default:
		return e.Address
	}
}

// sensorName is the sensor's name in the fleet, or as it calls itself where there is no fleet.
func sensorName(e *event.Entry) string {
	if e.Place.SensorName == "" && e.Record.Alert != nil {
		return e.Record.Alert.SensorName
	}
	return e.Place.SensorName
}

func resourceID(p event.Place) string {
	return "/subscriptions/" + p.SubscriptionID + "/providers/Microsoft.IoTSecurity/sensors/" + p.SensorID
}

// owners lists whom to ask about a device: the people of its line before those of its site.
func owners(e *event.Entry, deviceID string) []string {
	all := slices.Clone(e.Lines[deviceID].Owners)
	for _, owner := range e.Place.Owners {
		if !slices.Contains(all, owner) {
			all = append(all, owner)
		}
	}
	return filled(all)
}

func deviceRow(w Workspace, e *event.Entry) ingest.Row {
	d := e.Record.Device
	row := placed(w, e, TableDevice, d.LastSeen)
	addresses := make([]string, len(d.IPAddresses))
	for i, a := range d.IPAddresses {
		addresses[i] = addressText(a)
	}
	importance := d.Importance
	if importance == "" {
		importance = "Normal"
	}
	return with(row, ingest.Row{
		"DeviceId": d.ID, "Revision": d.Revision, "DeviceName": d.Name, "DeviceType": d.Type, "Vendor": d.Vendor, "Model": d.Model,
		"FirmwareVersion": d.FirmwareVersion, "SerialNumber": d.SerialNumber, "OperatingSystem": d.OperatingSystem,
		"IpAddresses": addresses, "MacAddresses": filled(d.MACAddresses), "Vlans": filled(d.VLANs), "Protocols": filled(d.Protocols),
		"PurdueLevel": d.PurdueLevel, "Importance": importance, "FirstSeen": d.FirstSeen, "LastSeen": d.LastSeen,
		"IsAuthorized": d.Authorized, "IsProgramming": d.Programming, "IsScanner": d.Scanner, "IsOT": d.OT,
		"Line": e.Lines[d.ID].Name, "Owners": owners(e, d.ID),
	})
}

func connectionRow(w Workspace, e *event.Entry) ingest.Row {
	c := e.Record.Connection
	return with(placed(w, e, TableConnection, c.Minute), ingest.Row{
		"ClientDeviceId": c.ClientID, "ServerDeviceId": c.ServerID,
		"ClientIpAddress": addressText(c.ClientAddress), "ServerIpAddress": addressText(c.ServerAddress), "ServerPort": c.ServerPort,
		"Transport": c.Transport, "Protocol": c.Protocol,
		"ClientPackets": c.ClientPackets, "ServerPackets": c.ServerPackets, "ClientBytes": c.ClientBytes, "ServerBytes": c.ServerBytes,
		"Messages": c.Messages, "Exceptions": c.Exceptions, "FirstSeen": c.FirstSeen, "LastSeen": c.LastSeen,
		"IsOneSided": c.OneSided, "LostBytes": c.LostBytes, "UndecodedBytes": c.UndecodedBytes,
	})
}

func protocolEventRow(w Workspace, e *event.Entry) ingest.Row {
	p := e.Record.ProtocolEvent
	return with(placed(w, e, TableProtocolEvent, p.Time), ingest.Row{
		"ClientDeviceId": p.ClientID, "ServerDeviceId": p.ServerID,
		"ClientIpAddress": addressText(p.ClientAddress), "ServerIpAddress": addressText(p.ServerAddress), "ServerPort": p.ServerPort,
		"Protocol": p.Protocol, "Operation": p.Operation, "FunctionCode": p.FunctionCode, "FunctionName": p.FunctionName,
		"Unit": p.Unit, "Target": p.Target, "Value": p.Value, "Result": p.Result, "ResultCode": p.ResultCode, "Frame": p.Frame,
	})
}

func healthRow(w Workspace, e *event.Entry) ingest.Row {
	h := e.Record.Health
	row := placed(w, e, TableHealth, h.Time)
	if e.Place.SensorName == "" {
		row["SensorName"] = h.SensorName
	}
	return with(row, ingest.Row{
		"State": h.State, "Reason": h.Reason, "Mode": string(h.Mode), "Version": h.Version,
		"Frames": h.Frames, "Bytes": h.Bytes, "Dropped": h.Dropped, "Malformed": h.Malformed, "Duplicates": h.Duplicates,
		"LostBytes": h.LostBytes, "UndecodedBytes": h.UndecodedBytes, "OneSidedStreams": h.OneSidedStreams,
		"Devices": h.Devices, "OpenAlerts": h.OpenAlerts, "Connections": h.Connections, "Evicted": h.Evicted,
		"SpooledRecords": h.SpooledRecords, "PluginFailures": h.PluginFailures,
	})
}

// placed has the columns that all OT tables share.
func placed(w Workspace, e *event.Entry, table string, at time.Time) ingest.Row {
	return ingest.Row{
		"TenantId": w.TenantID, "Type": table, "SourceSystem": "OT", "TimeGenerated": at,
		"SensorId": e.Place.SensorID, "SensorName": e.Place.SensorName, "Site": e.Place.Site, "Zone": e.Place.Zone,
		"SubscriptionId": e.Place.SubscriptionID,
	}
}

func with(row, more ingest.Row) ingest.Row {
	for column, value := range more {
		row[column] = value
	}
	return row
}

func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// filled makes a nil list an empty one, which JSON prints as [].
func filled[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// jsonText is a value as the text of JSON, without the escapes that guard HTML.
func jsonText(v any) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		// Only plain structs of this package come here; they always encode.
		return strconv.Quote(err.Error())
	}
	return strings.TrimSuffix(b.String(), "\n")
}

package iot

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/otus-project/otus/content"
	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/siem/ingest"
	"github.com/otus-project/otus/siem/store"
)

var workspace = Workspace{ID: "6ba7b810-9dad-11d1-80b4-00c04fd430c8", TenantID: "11111111-2222-3333-4444-555555555555", BaseURL: "http://127.0.0.1:8080"}

// fill sets every field of a struct, and those inside it, to something that is not its zero value.
func fill(v reflect.Value) {
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(start))
		return
	case netip.Addr:
		v.Set(reflect.ValueOf(netip.MustParseAddr("10.1.2.3")))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int:
		v.SetInt(7)
	case reflect.Uint8:
		v.SetUint(7)
	case reflect.Uint16, reflect.Uint64:
		v.SetUint(7)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	default:
		panic("fill: " + v.Kind().String())
	}
}

func fullEntries() []event.Entry {
	var all []event.Entry
	for _, kind := range []event.Kind{event.KindAlert, event.KindDevice, event.KindConnection, event.KindProtocolEvent, event.KindHealth, event.KindCapture} {
		var e event.Entry
		fill(reflect.ValueOf(&e.Place).Elem())
		e.Lines = map[string]event.Line{"text": {Name: "Line 1", Owners: []string{"line@plant.example"}}}
		e.Record.Kind = kind
		full := event.Record{}
		fill(reflect.ValueOf(&full).Elem())
		switch kind {
		case event.KindAlert:
			e.Record.Alert = full.Alert
		case event.KindDevice:
			e.Record.Device = full.Device
		case event.KindConnection:
			e.Record.Connection = full.Connection
		case event.KindProtocolEvent:
			e.Record.ProtocolEvent = full.ProtocolEvent
		case event.KindHealth:
			e.Record.Health = full.Health
		case event.KindCapture:
			e.Record.Capture = full.Capture
		}
		all = append(all, e)
	}
	return all
}

// unused are the columns no row of ours fills.
var unused = map[string]bool{
	"ExtendedLinks": true, "ConfidenceLevel": true, "ConfidenceScore": true, "SourceComputerId": true,
	"WorkspaceSubscriptionId": true, "WorkspaceResourceGroup": true, "IsIncident": true,
}

// TestRowsAndTablesAgree compares the rows with the declared tables, in both directions: every column is written
// and none other, and every value fits its column.
func TestRowsAndTablesAgree(t *testing.T) {
	tables, err := store.LoadTables(content.FS())
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]*store.Table{}
	for _, table := range tables {
		byName[table.Name] = table
	}
	seen := map[string]bool{}
	for _, e := range fullEntries() {
		name, row, ok := RowOf(workspace, &e)
		if !ok {
			if e.Record.Kind != event.KindCapture {
				t.Errorf("%s: no row", e.Record.Kind)
			}
			continue
		}
		seen[name] = true
		table := byName[name]
		if table == nil {
			t.Errorf("%s: there is no table %q", e.Record.Kind, name)
			continue
		}
		for _, c := range table.Columns {
			v, ok := row[c.Name]
			switch {
			case !ok:
				t.Errorf("%s.%s: the row does not set it", name, c.Name)
			case !unused[c.Name] && (v == nil || reflect.ValueOf(v).IsZero()):
				t.Errorf("%s.%s: is %v though every field of the event is set", name, c.Name, v)
			}
		}
		for column := range row {
			if _, ok := table.ColumnType(column); !ok && column != ingest.KeyColumn {
				t.Errorf("%s.%s: the row sets it, but the table has no such column", name, column)
			}
		}
		if _, err := store.Prepare(byName, store.Batch{Sender: "a", Sequence: 1, Rows: map[string][]store.Row{name: {row}}}); err != nil {
			t.Errorf("full %s: %v", e.Record.Kind, err)
		}
		empty := event.Entry{Record: event.Record{Kind: e.Record.Kind, Alert: &event.Alert{ID: "a"}, Device: &event.Device{},
			Connection: &event.Connection{}, ProtocolEvent: &event.ProtocolEvent{}, Health: &event.Health{}}}
		_, row, _ = RowOf(workspace, &empty)
		if _, err := store.Prepare(byName, store.Batch{Sender: "a", Sequence: 1, Rows: map[string][]store.Row{name: {row}}}); err != nil {
			t.Errorf("empty %s: %v", e.Record.Kind, err)
		}
	}
	for _, name := range []string{TableAlert, TableDevice, TableConnection, TableProtocolEvent, TableHealth} {
		if !seen[name] {
			t.Errorf("no row for %s", name)
		}
	}
}

func TestAlertRow(t *testing.T) {
	f := newFleet("s")
	r := alert(1, 2, event.AlertActive)
	r.Alert.Devices = []event.Device{{ID: "hmi", Name: "HMI", Type: "HMI", IPAddresses: []netip.Addr{netip.MustParseAddr("10.0.0.5")}},
		{ID: "plc", Type: "PLC", Vendor: "Siemens", IPAddresses: []netip.Addr{netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("10.0.0.10")}, MACAddresses: []string{"00:11:22:33:44:55"}, Protocols: []string{"MODBUS"}, Importance: "High"}}
	f.emit("s", r)
	e := &f.streams["s"][0]
	row := AlertRow(workspace, e, true)
	for column, want := range map[string]any{
		"ProductName": "Azure Security Center for IoT", "ProviderName": "IoTSecurity", "ProductComponentName": "PROTOCOL_VIOLATION", "Status": "InProgress",
		"SystemAlertId": "7a56bb75-6ab4-5dcf-80a9-9a4dc0b55f96", "VendorOriginalId": "alert-1", "AlertName": "Modbus Exception", "AlertType": "function-code-not-supported",
		"AlertSeverity": "High", "Tactics": "Impact,Execution", "Techniques": `["T0855"]`, "RemediationSteps": `["Look <first>"]`, "CompromisedEntity": "PLC-1",
		"StartTime": start, "TimeGenerated": start.Add(time.Second + 2*time.Minute), "ProcessingEndTime": start, "IsIncident": false, "SourceSystem": "Detection",
		"AlertLink": "http://127.0.0.1:8080/alerts?id=alert-1",
	} {
		if column == "SystemAlertId" {
			want = SystemAlertID(workspace, "alert-1")
		}
		if row[column] != want {
			t.Errorf("%s: got %v, want %v", column, row[column], want)
		}
	}
	var p map[string]any
	if err := json.Unmarshal([]byte(row["ExtendedProperties"].(string)), &p); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"isNew": "True", "SensorId": "local", "DeviceId": "local", "Site": "Plant", "Zone": "Cell 1", "Protocol": "MODBUS", "Category": "Illegal Commands",
		"SourceDevice": "HMI", "SourceDeviceAddress": "10.0.0.5", "DestinationDevice": "PLC-1", "DestinationDeviceAddress": "10.0.0.9", "CompromisedEntityId": "plc",
		"Line": map[string]any{"name": "Filling", "owners": []any{"line@plant.example"}}, "Revision": 2.0, "Count": 2.0, "Frame": 0.0,
		"Explanation":        map[string]any{"meaning": "m", "impact": "i", "safe": []any{"Look <first>"}, "avoid": []any{}, "ask": "a"},
		"Details":            []any{map[string]any{"name": "function code", "value": "90"}},
		"AlertManagementUri": "http://127.0.0.1:8080/subscriptions/s/providers/Microsoft.IoTSecurity/locations/local/deviceGroups/default/alerts/alert-1",
	}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("ExtendedProperties: want -, got +\n%s", diff)
	}
	var entities []map[string]any
	if err := json.Unmarshal([]byte(row["Entities"].(string)), &entities); err != nil {
		t.Fatal(err)
	}
	plc := entities[1]
	for key, want := range map[string]any{"Type": "iotdevice", "DeviceId": "plc", "DeviceName": "10.0.0.9", "Sensor": "local", "Importance": "High",
		"Owners": []any{"line@plant.example", "site@plant.example"}, "IpAddress": map[string]any{"Type": "ip", "Address": "10.0.0.9"}} {
		if diff := cmp.Diff(want, plc[key]); diff != "" {
			t.Errorf("entity %s: want -, got +\n%s", key, diff)
		}
	}
	_, keyed, _ := RowOf(workspace, e)
	if got, want := keyed["ExtendedProperties"], (ingest.IfFirst{First: row["ExtendedProperties"], Again: AlertRow(workspace, e, false)["ExtendedProperties"]}); got != want {
		t.Errorf("RowOf: got %v, want %v", got, want)
	}
	if again := AlertRow(workspace, e, true); !reflect.DeepEqual(row, again) {
		t.Error("the same entry gave another row")
	}
	for _, c := range []struct {
		status event.AlertStatus
		muted  bool
		want   string
	}{{event.AlertNew, false, "New"}, {event.AlertActive, false, "InProgress"}, {event.AlertClosed, false, "Resolved"}, {event.AlertClosed, true, "Dismissed"}} {
		e.Record.Alert.Status, e.Record.Alert.Muted = c.status, c.muted
		if got := AlertRow(workspace, e, false)["Status"]; got != c.want {
			t.Errorf("%s, muted %v: got %v, want %s", c.status, c.muted, got, c.want)
		}
	}
}

func TestAlertWithoutDevicesNamesItsAddresses(t *testing.T) {
	f := newFleet("s")
	f.emit("s", alert(1, 1, event.AlertNew))
	row := AlertRow(workspace, &f.streams["s"][0], true)
	if got, want := row["Entities"], `[{"Type":"ip","Address":"10.0.0.5"},{"Type":"ip","Address":"10.0.0.9"}]`; got != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestAffectedSide(t *testing.T) {
	hmi, plc := &event.Endpoint{DeviceID: "hmi", Address: "10.0.0.1"}, &event.Endpoint{DeviceID: "plc", Address: "10.0.0.2"}
	devices := []event.Device{{ID: "hmi", Type: "HMI"}, {ID: "plc", Type: "PLC"}}
	for _, c := range []struct {
		name                string
		engine              event.Engine
		source, destination *event.Endpoint
		want                string
	}{
		{"a command goes to the controller", event.EngineOperational, hmi, plc, "plc"},
		{"an answer comes from the controller", event.EngineProtocolViolation, plc, hmi, "plc"},
		{"malware is where the traffic starts", event.EngineMalware, hmi, plc, "hmi"},
		{"a scan has one side", event.EngineAnomaly, hmi, nil, "hmi"},
	} {
		a := &event.Alert{Engine: c.engine, Source: c.source, Destination: c.destination, Devices: devices}
		if got := affected(a); got == nil || got.DeviceID != c.want {
			t.Errorf("%s: got %+v, want %s", c.name, got, c.want)
		}
	}
}

package analytics

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/siem/incident"
	"github.com/otus-project/otus/siem/state"
	"github.com/otus-project/otus/siem/store"
)

// Bench is where rules' tests run: a log store and a fresh state database per test.
type Bench struct {
	Log     Log
	Catalog *schema.Catalog
	// Append stores rows and gives the ingest sequences they got per table.
	Append func(ctx context.Context, table string, rows []state.Row) (map[string]store.Range, error)
	// Dir is an empty folder for the state database of the test of that name.
	Dir func(test string) string
	// Now is the time of the test.
	Now time.Time
}

// Check runs one test of a rule as the program would run the rule: the rows are ingested, the rule runs, and
// its alerts come out of the outbox, or for an incident-creation rule its incidents. It describes every difference.
func (b *Bench) Check(ctx context.Context, file string, data []byte, t Test) ([]string, error) {
	l, err := load(file, "", data, b.Catalog, "content")
	if err != nil {
		return nil, err
	}
	// The tests share a store, and a rule looks back over its period, at most 14 days: each test has a month of its own.
	b.Now = b.Now.Add(30 * 24 * time.Hour)
	db, err := state.Open(b.Dir(t.Name), state.Options{Now: func() time.Time { return b.Now }})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	incidents := incident.NewService(db, incident.Options{Workspace: db.Default()})
	s, err := newService(ctx, db, Options{Workspace: db.Default(), Incidents: incidents, Log: b.Log, Catalog: b.Catalog}, []*loaded{l})
	if err != nil {
		return nil, err
	}
	if err := s.SetEnabled(ctx, l.ID, true, "test"); err != nil {
		return nil, err
	}
	table := t.Table
	if table == "" {
		table = "SecurityAlert"
	}
	rows, err := b.rows(table, t.Rows)
	if err != nil {
		return nil, err
	}
	ranges, err := b.Append(ctx, table, rows)
	if err != nil {
		return nil, err
	}
	s.Ingested(ranges)
	if err := s.Pass(ctx); err != nil {
		return nil, err
	}
	s.RunDue(ctx, b.Now)
	if v, err := s.Get(l.ID); err != nil || v.LastError != "" {
		return nil, fmt.Errorf("the rule failed: %s%v", v.LastError, err)
	}
	got, err := b.outcome(ctx, db, incidents, l)
	if err != nil {
		return nil, err
	}
	return differences(got, *t.Alerts), nil
}

// outcome reads what the rule made.
func (b *Bench) outcome(ctx context.Context, db *state.DB, incidents *incident.Service, l *loaded) ([]state.Row, error) {
	if l.Kind == KindIncidentCreation {
		page, err := incidents.List(ctx, incident.Filter{Sort: "number", Limit: 1000})
		if err != nil {
			return nil, err
		}
		var rows []state.Row
		for _, i := range page.Items {
			rows = append(rows, state.Row{"AlertName": i.Title, "AlertSeverity": i.Severity, "Description": i.Description})
		}
		return rows, nil
	}
	out := &collector{}
	err := state.NewRelay(db, out).Drain(ctx)
	return out.alerts, err
}

// collector is a log store that keeps the alerts it gets.
type collector struct {
	cursor uint64
	alerts []state.Row
}

func (c *collector) Cursor(context.Context, string) (uint64, error) { return c.cursor, nil }

func (c *collector) AppendRows(_ context.Context, _ string, sequence uint64, rows map[string][]state.Row) (bool, error) {
	c.cursor = sequence
	c.alerts = append(c.alerts, rows["SecurityAlert"]...)
	return true, nil
}

func differences(got []state.Row, want []map[string]any) []string {
	var faults []string
	if len(got) != len(want) {
		names := []string{}
		for _, row := range got {
			names = append(names, fmt.Sprintf("%q", row["AlertName"]))
		}
		return []string{fmt.Sprintf("%d alerts [%s], want %d", len(got), strings.Join(names, ", "), len(want))}
	}
	for n, columns := range want {
		for _, column := range sortedKeys(columns) {
			if have, expected := cellText(got[n][column]), fmt.Sprint(columns[column]); have != expected {
				faults = append(faults, fmt.Sprintf("alert %d: %s is %q, want %q", n+1, column, have, expected))
			}
		}
	}
	return faults
}

// rows turns a test's rows into log rows.
func (b *Bench) rows(table string, given []map[string]any) ([]state.Row, error) {
	t := b.Catalog.Table(table)
	if t == nil {
		return nil, fmt.Errorf("there is no table %q", table)
	}
	all := make([]state.Row, 0, len(given))
	for n, g := range given {
		row := state.Row{"TimeGenerated": b.Now.Add(-time.Minute)}
		if table == "SecurityAlert" {
			row = b.sensorAlert(n, g)
		}
		for _, name := range sortedKeys(g) {
			column, ok := t.Column(name)
			if !ok {
				return nil, fmt.Errorf("row %d: table %s has no column %q", n+1, table, name)
			}
			if _, merged := g[name].(map[string]any); merged && name == "ExtendedProperties" && table == "SecurityAlert" {
				continue
			}
			value, err := b.value(column.Type, g[name])
			if err != nil {
				return nil, fmt.Errorf("row %d, column %s: %w", n+1, name, err)
			}
			row[name] = value
		}
		all = append(all, row)
	}
	return all, nil
}

// sensorAlert is what a SecurityAlert row of a test starts from: a new alert of a sensor, each row another alert.
func (b *Bench) sensorAlert(n int, given map[string]any) state.Row {
	id := "alert-" + strconv.Itoa(n+1)
	if v, ok := given["VendorOriginalId"].(string); ok {
		id = v
	}
	properties := map[string]any{
		"isNew": "True", "SensorId": "sensor-1", "DeviceId": "plc-1", "Protocol": "MODBUS", "Category": "Illegal Commands",
		"SourceDevice": "EWS-1", "SourceDeviceAddress": "10.10.1.20", "DestinationDevice": "PLC-1", "DestinationDeviceAddress": "10.10.1.5",
		"AlertManagementUri": "/otus/v1/fleet/alerts/" + id, "Revision": 1, "Count": 1,
	}
	if more, ok := given["ExtendedProperties"].(map[string]any); ok {
		for k, v := range more {
			properties[k] = v
		}
	}
	at := b.Now.Add(-time.Minute)
	return state.Row{
		"TimeGenerated": at, "StartTime": at, "EndTime": at, "ProcessingEndTime": at, "Type": "SecurityAlert", "SourceSystem": "Detection",
		"ProductName": "Azure Security Center for IoT", "ProviderName": incident.ProviderSensor, "VendorName": "Otus",
		"ProductComponentName": "OPERATIONAL", "VendorOriginalId": id, "SystemAlertId": "system-" + id, "AlertSeverity": "Medium",
		"Status": "New", "Description": "What was seen.", "Tactics": "ImpairProcessControl", "Techniques": `["T0855"]`,
		"RemediationSteps": `["Ask the plant."]`, "IsIncident": false, "ExtendedProperties": jsonText(properties),
		"Entities": `[{"Type":"iotdevice","DeviceId":"plc-1","DeviceName":"PLC-1","IpAddress":{"Address":"10.10.1.5"},"Sensor":"sensor-1"}]`,
	}
}

// value reads a test's value as one of the column's type. Times are RFC 3339, or "-5m" before the test's time.
func (b *Bench) value(t schema.Type, v any) (any, error) {
	text := fmt.Sprint(v)
	switch t {
	case schema.String, schema.GUID, schema.Decimal:
		switch v.(type) {
		case map[string]any, []any:
			return jsonText(v), nil
		}
		return text, nil
	case schema.Dynamic:
		data, err := json.Marshal(v)
		return json.RawMessage(data), err
	case schema.Bool:
		return strconv.ParseBool(text)
	case schema.Int, schema.Long:
		return strconv.ParseInt(text, 10, 64)
	case schema.Real:
		return strconv.ParseFloat(text, 64)
	case schema.Timespan:
		s, err := ParseSpan(text)
		return time.Duration(s), err
	case schema.DateTime:
		if ago, ok := strings.CutPrefix(text, "-"); ok {
			s, err := ParseSpan(ago)
			return b.Now.Add(-time.Duration(s)), err
		}
		return time.Parse(time.RFC3339Nano, text)
	}
	return nil, fmt.Errorf("a column of type %s cannot be written in a test", t)
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

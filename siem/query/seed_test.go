package query

import (
	"errors"
	"fmt"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/kql"
	"github.com/otus-project/otus/siem/connector/iot"
	"github.com/otus-project/otus/siem/store"
	"github.com/otus-project/otus/siem/store/storetest"
)

// TestQueriesSOCsUse runs the queries that SOCs write over OT alerts, word for word, on rows as the connector and the
// rules make them.
func TestQueriesSOCsUse(t *testing.T) {
	s, st := open(t, Options{})
	w := iot.Workspace{ID: workspaceID, TenantID: "tenant"}
	engines := []event.Engine{event.EngineMalware, event.EngineAnomaly, event.EngineOperational, event.EnginePolicyViolation, event.EngineProtocolViolation}
	batch := store.Batch{Sender: "test", Sequence: 1, Rows: map[string][]store.Row{}}
	for i, engine := range engines {
		a := &event.Alert{ID: fmt.Sprintf("a%d", i), Revision: 1, Title: "T", Engine: engine, Severity: event.SeverityHigh, Protocol: "MODBUS", Published: now, LastActivity: now, FirstDetection: now, LastDetection: now}
		sensor := "plant-a"
		if i%2 == 1 {
			a.Severity, a.Protocol, sensor = event.SeverityMedium, "DNP3", "plant-b"
		}
		if i == 4 { // an update long after publication
			a.LastActivity = now.Add(61 * time.Minute)
		}
		e := event.Entry{Place: event.Place{SensorName: sensor}, Record: event.Record{Kind: event.KindAlert, Alert: a}}
		table, row, _ := iot.RowOf(w, &e)
		batch.Rows[table] = append(batch.Rows[table], row)
	}
	for _, provider := range []string{"ASI Scheduled Alerts", "CustomAlertRule", "Other"} {
		batch.Rows["SecurityAlert"] = append(batch.Rows["SecurityAlert"], store.Row{"TimeGenerated": now, "ProcessingEndTime": now, "VendorOriginalId": provider, "ProviderName": provider,
			"ProductName": "Azure Sentinel", "ExtendedProperties": `not JSON`})
	}
	batch.Rows["SecurityIncident"] = []store.Row{{"TimeGenerated": now, "IncidentNumber": 1, "Title": "first"}, {"TimeGenerated": now, "IncidentNumber": 2, "Title": "second"}}
	storetest.Append(t, st, now, batch)

	const product = `SecurityAlert | where ProductName == "Azure Security Center for IoT"`
	for _, c := range []struct{ query, column, want string }{
		{product, "VendorOriginalId", "a0 a1 a2 a3 a4"},
		{product + "\n" + `| where tostring(parse_json(ExtendedProperties).SensorId) == "plant-b"`, "VendorOriginalId", "a1 a3"},
		{product + "\n" + `| where ProductComponentName == "MALWARE"`, "VendorOriginalId", "a0"},
		{product + "\n" + `| where ProductComponentName == "ANOMALY"`, "VendorOriginalId", "a1"},
		{product + "\n" + `| where ProductComponentName == "OPERATIONAL"`, "VendorOriginalId", "a2"},
		{product + "\n" + `| where ProductComponentName == "POLICY_VIOLATION"`, "VendorOriginalId", "a3"},
		{product + "\n" + `| where ProductComponentName == "PROTOCOL_VIOLATION"`, "VendorOriginalId", "a4"},
		{product + "\n" + `| where AlertSeverity == "High"`, "VendorOriginalId", "a0 a2 a4"},
		{product + "\n" + `| where tostring(parse_json(ExtendedProperties).Protocol) == "MODBUS"`, "VendorOriginalId", "a0 a2 a4"},
		{`SecurityAlert | where ProviderName == 'IoTSecurity' or ProviderName == 'CustomAlertRule'`, "VendorOriginalId", "CustomAlertRule a0 a1 a2 a3 a4"},
		{`SecurityAlert | where ProviderName == 'ASI Scheduled Alerts' or ProviderName =='CustomAlertRule'`, "VendorOriginalId", "ASI Scheduled Alerts CustomAlertRule"},
		{`SecurityIncident`, "Title", "first second"},
		{product + "\n" + `| where TimeGenerated <= ProcessingEndTime + 60m`, "VendorOriginalId", "a0 a1 a2 a3"},
		{product + "\n" + `| where ExtendedProperties has "MODBUS" and parse_json(ExtendedProperties).isNew == "True"`, "VendorOriginalId", "a0 a2 a4"},
		{product + "\n" + `| summarize arg_max(TimeGenerated, *) by SystemAlertId`, "VendorOriginalId", "a0 a1 a2 a3 a4"},
	} {
		r := run(t, s, c.query)
		var got []string
		for _, row := range r.Rows {
			for i, column := range r.Columns {
				if column.Name == c.column {
					got = append(got, Text(row[i]))
				}
			}
		}
		sort.Strings(got)
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s\n  got  %s\n  want %s", c.query, text, c.want)
		}
	}

	_, err := s.Run(t.Context(), Request{Text: product + "\nInstead"})
	var bad *kql.Error
	if !errors.As(err, &bad) || !strings.Contains(err.Error(), "Instead") || bad.Diagnostics[0].Line != 2 {
		t.Errorf("a stray word: got %v", err)
	}
}

// BenchmarkQueries tells how long queries over 100,000 alert rows take.
func BenchmarkQueries(b *testing.B) {
	s, st := open(b, Options{})
	w := iot.Workspace{ID: workspaceID}
	const total, size = 100_000, 10_000
	for n := range total / size {
		batch := store.Batch{Sender: "test", Sequence: uint64(n + 1), Rows: map[string][]store.Row{}}
		for i := range size {
			number := n*size + i
			e := event.Entry{Place: event.Place{SensorName: fmt.Sprintf("sensor-%d", number%50)}, Record: event.Record{Kind: event.KindAlert, Alert: &event.Alert{
				ID: fmt.Sprintf("alert-%d", number/3), Revision: 1 + number%3, Title: "T", Engine: event.EngineAnomaly, Severity: event.SeverityHigh, Protocol: "MODBUS",
				LastActivity: now.Add(time.Duration(number) * time.Second), Published: now}}}
			table, row, _ := iot.RowOf(w, &e)
			batch.Rows[table] = append(batch.Rows[table], row)
		}
		storetest.Append(b, st, now, batch)
	}
	for _, c := range []struct{ name, query string }{
		{"newest 100", `SecurityAlert | top 100 by TimeGenerated desc | project TimeGenerated, AlertName, ProductComponentName`},
		{"one sensor", `SecurityAlert | where ProductName == "Azure Security Center for IoT" | where tostring(parse_json(ExtendedProperties).SensorId) == "sensor-7" | count`},
		{"current state", `SecurityAlert | summarize arg_max(TimeGenerated, *) by SystemAlertId | summarize count() by Status`},
		{"per hour", `SecurityAlert | summarize count() by bin(TimeGenerated, 1h)`},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				run(b, s, c.query)
			}
		})
	}
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	incidentsPath = "/otus/v1/workspaces/default/incidents"
	rulesPath     = "/otus/v1/workspaces/default/rules"
	fleetPath     = "/otus/v1/fleet"
)

// plantCaptures writes the simulated plant: some quiet days, and the attack.
func plantCaptures(t testing.TB, days int) (learning, attack string) {
	t.Helper()
	dir := t.TempDir()
	learning, attack = filepath.Join(dir, "learning.pcap"), filepath.Join(dir, "attack.pcap")
	for path, part := range map[string]string{learning: "learning", attack: "attack"} {
		if _, errs, code := otus(t, "simulate", "--out", path, "--part", part, "--days", fmt.Sprint(days), "--at", "2026-03-01T12:00:00Z"); code != 0 {
			t.Fatalf("simulate %s: exit %d: %s", part, code, errs)
		}
	}
	return learning, attack
}

// settled runs up to its end in the folder.
func settled(t testing.TB, dir string, args ...string) {
	t.Helper()
	args = append([]string{"up", "--data", dir, "--connect", "--exit-when-done", "--listen", "", "--tls-listen", ""}, args...)
	if _, errs, code := otus(t, args...); code != 0 || strings.Contains(errs, "level=") {
		t.Fatalf("otus %s: exit %d: %s", strings.Join(args, " "), code, errs)
	}
}

// serving starts an otus over the folder that only serves, with an administrator's client.
func serving(t testing.TB, dir string, args ...string) (*process, *client) {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	p := start(t, append([]string{"up", "--data", dir, "--listen", "127.0.0.1:0", "--tls-listen", "", "--admin-token-file", token}, args...)...)
	return p, p.client(token)
}

// alertRow is a row of SecurityAlert, by column.
type alertRow map[string]any

func (a alertRow) text(column string) string { s, _ := a[column].(string); return s }

// property reads one of the alert's ExtendedProperties.
func (a alertRow) property(name string) string {
	var all map[string]any
	if json.Unmarshal([]byte(a.text("ExtendedProperties")), &all) != nil || all[name] == nil {
		return ""
	}
	return fmt.Sprint(all[name])
}

// queueItem is what the tests read of an incident.
type queueItem struct {
	Number      int
	Status      string
	Title       string
	AlertsCount int
	RuleNames   []string
	Alerts      []struct{ SystemAlertId, VendorOriginalId, ProviderName string } //nolint:revive // JSON names
}

func queue(t testing.TB, c *client) []queueItem {
	t.Helper()
	var page struct{ Items []queueItem }
	if err := c.call(t.Context(), "GET", incidentsPath+"?limit=1000&sort=createdTime", nil, &page); err != nil {
		t.Fatal(err)
	}
	return page.Items
}

// statusOf gives the HTTP status that the call was refused with; 200 if it was not.
func statusOf(err error) int {
	var p *problemError
	switch {
	case err == nil:
		return http.StatusOK
	case errors.As(err, &p):
		return p.Status
	}
	return 0
}

// TestPlantUnderAttack asks the questions an analyst asks, of an otus that has seen the simulated plant's attack with
// two rules switched on beside the default one.
func TestPlantUnderAttack(t *testing.T) {
	learning, attack := plantCaptures(t, 3)
	dir := t.TempDir()
	p, c := serving(t, dir)
	switchRulesOn(t, c)
	p.stop()
	settled(t, dir, "--learn", learning, "--replay", attack)
	p, c = serving(t, dir)
	t.Run("SeedQueries", func(t *testing.T) { testSeedQueries(t, c) })
	t.Run("TimeRunsThroughTheAttack", func(t *testing.T) { testTimes(t, c) })
	t.Run("OneIncidentForEachAlert", func(t *testing.T) { testIncidents(t, c) })
	t.Run("Refusals", func(t *testing.T) { testRefusals(t, c) })
	t.Run("Access", func(t *testing.T) { testAccess(t, c, dir) })
	p.stop()
	if strings.Contains(p.output(), "level=") {
		t.Errorf("it complained:\n%s", p.output())
	}
}

// The two rules: one of a user, and one of the solution's.
const (
	userRule = "5b8c11a2-6d0f-4a52-9b8c-2d6c9f0f7a11"
	scanRule = "493916d5-a094-4bfa-bdd1-d983a063ea3d"
)

func switchRulesOn(t *testing.T, c *client) {
	t.Helper()
	rule := map[string]any{
		"name": "late alerts", "kind": "Scheduled", "severity": "Medium", "queryFrequency": "5m", "queryPeriod": "1h",
		"triggerOperator": "gt", "triggerThreshold": 0, "eventGroupingSettings": map[string]any{"aggregationKind": "AlertPerResult"},
		"query": "SecurityAlert\n| where ProviderName == 'IoTSecurity'\n| where ProductComponentName == 'MALWARE'\n| where TimeGenerated <= ProcessingEndTime + 60m",
	}
	if err := c.call(t.Context(), "PUT", rulesPath+"/"+userRule, rule, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.call(t.Context(), "PATCH", rulesPath+"/"+scanRule, map[string]any{"enabled": true}, nil); err != nil {
		t.Fatal(err)
	}
}

const iotAlerts = `SecurityAlert | where ProductName == "Azure Security Center for IoT"`

// testSeedQueries counts each question's rows in the rows of the whole table.
func testSeedQueries(t *testing.T, c *client) {
	rows := alertRows(t, c)
	sensor := rows[0].property("SensorId")
	if sensor == "" {
		t.Fatalf("no sensor's name in %v", rows[0])
	}
	ofSolution := func(a alertRow) bool { return a.text("ProductName") == "Azure Security Center for IoT" }
	from := func(a alertRow, providers ...string) bool { return slices.Contains(providers, a.text("ProviderName")) }
	type question struct {
		text  string
		holds func(a alertRow) bool
	}
	questions := []question{
		{iotAlerts, ofSolution},
		{iotAlerts + ` | where tostring(parse_json(ExtendedProperties).SensorId) == "` + sensor + `"`,
			func(a alertRow) bool { return ofSolution(a) && a.property("SensorId") == sensor }},
		{iotAlerts + ` | where AlertSeverity == "High"`, func(a alertRow) bool { return ofSolution(a) && a.text("AlertSeverity") == "High" }},
		{`SecurityAlert | where ProviderName == 'IoTSecurity' or ProviderName == 'CustomAlertRule'`,
			func(a alertRow) bool { return from(a, "IoTSecurity", "CustomAlertRule") }},
		{`SecurityAlert | where ProviderName == 'ASI Scheduled Alerts' or ProviderName =='CustomAlertRule'`,
			func(a alertRow) bool { return from(a, "ASI Scheduled Alerts", "CustomAlertRule") }},
		{`SecurityAlert | where ProviderName == 'CustomAlertRule'`, func(a alertRow) bool { return from(a, "CustomAlertRule") }},
		{`SecurityAlert | where ProviderName == 'ASI Scheduled Alerts'`, func(a alertRow) bool { return from(a, "ASI Scheduled Alerts") }},
	}
	for _, engine := range []string{"MALWARE", "ANOMALY", "OPERATIONAL", "POLICY_VIOLATION", "PROTOCOL_VIOLATION"} {
		questions = append(questions, question{iotAlerts + ` | where ProductComponentName == "` + engine + `"`,
			func(a alertRow) bool { return ofSolution(a) && a.text("ProductComponentName") == engine }})
	}
	for _, protocol := range []string{"MODBUS", "DNP3", "Siemens S7"} {
		questions = append(questions, question{iotAlerts + ` | where tostring(parse_json(ExtendedProperties).Protocol) == "` + protocol + `"`,
			func(a alertRow) bool { return ofSolution(a) && a.property("Protocol") == protocol }})
	}
	name := func(a alertRow) string { return a.text("SystemAlertId") + " revision " + a.property("Revision") }
	for _, q := range questions {
		want, n := map[string]int{}, 0
		for _, a := range rows {
			if q.holds(a) {
				want[name(a)]++
				n++
			}
		}
		got := rowsOf(t, c, q.text)
		if len(got) != n || n == 0 {
			t.Errorf("%s: %d rows, counted %d", q.text, len(got), n)
		}
		for _, a := range got {
			want[name(a)]--
		}
		for row, left := range want {
			if left != 0 {
				t.Errorf("%s: row %s is there %d times too few", q.text, row, left)
			}
		}
	}
	if got := rowsOf(t, c, iotAlerts+` | where tostring(parse_json(ExtendedProperties).SensorId) == "another"`); len(got) != 0 {
		t.Errorf("%d rows of a sensor that is not there", len(got))
	}
}

// testIncidents demands one incident for each alert, whatever rules are on, and the rules' alerts in the incidents of
// the alerts they are about.
func testIncidents(t *testing.T, c *client) {
	alerts, malware := map[string]bool{}, map[string]bool{}
	for _, a := range alertRows(t, c) {
		if a.text("ProviderName") == "IoTSecurity" {
			alerts[a.text("VendorOriginalId")] = true
			if a.text("ProductComponentName") == "MALWARE" {
				malware[a.text("VendorOriginalId")] = true
			}
		}
	}
	open := queue(t, c)
	versions, err := c.query(t.Context(), "SecurityIncident")
	if err != nil {
		t.Fatal(err)
	}
	numbers := map[string]bool{}
	for _, n := range versions.column("IncidentNumber") {
		numbers[fmt.Sprint(n)] = true
	}
	if len(open) != len(alerts) || len(numbers) != len(alerts) || len(alerts) < 10 {
		t.Errorf("%d alerts, %d incidents in the queue and %d in SecurityIncident: want one of each", len(alerts), len(open), len(numbers))
	}
	joined := map[string]int{}
	for _, i := range open {
		var detail queueItem
		if err := c.call(t.Context(), "GET", fmt.Sprintf("%s/%d", incidentsPath, i.Number), nil, &detail); err != nil {
			t.Fatal(err)
		}
		owned := ""
		for _, a := range detail.Alerts {
			if a.ProviderName == "IoTSecurity" {
				owned += a.VendorOriginalId
			}
		}
		for _, a := range detail.Alerts {
			if a.ProviderName == "CustomAlertRule" || a.ProviderName == "ASI Scheduled Alerts" {
				joined[a.ProviderName]++
				if len(i.RuleNames) < 2 {
					t.Errorf("incident %d names the rules %q", i.Number, i.RuleNames)
				}
			}
			if a.ProviderName == "CustomAlertRule" && !malware[owned] {
				t.Errorf("incident %d (%s) has the rule's alert, which is about another", i.Number, i.Title)
			}
		}
	}
	if joined["CustomAlertRule"] < len(malware) || len(malware) == 0 || joined["ASI Scheduled Alerts"] == 0 {
		t.Errorf("joined: %v; want the user's rule in the incident of each of %d alerts", joined, len(malware))
	}
}

// rowsOf reads the rows of SecurityAlert that a query gives.
func rowsOf(t testing.TB, c *client, text string) []alertRow {
	t.Helper()
	answer, err := c.query(t.Context(), text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	var rows []alertRow
	for _, r := range answer.Rows {
		row := alertRow{}
		for i, column := range answer.Columns {
			row[column.Name] = r[i]
		}
		rows = append(rows, row)
	}
	return rows
}

// alertRows reads every row of SecurityAlert.
func alertRows(t testing.TB, c *client) []alertRow {
	t.Helper()
	return rowsOf(t, c, "SecurityAlert")
}

// testTimes holds a replay at full speed to the capture's own course of time: its 90 seconds stay 90 seconds.
func testTimes(t *testing.T, c *client) {
	answer, err := c.query(t.Context(), `SecurityAlert | where ProviderName == "IoTSecurity" | summarize Span = max(StartTime) - min(StartTime), Different = dcount(StartTime)`)
	if err != nil {
		t.Fatal(err)
	}
	span, different := fmt.Sprint(answer.Rows[0][0]), answer.Rows[0][1].(float64)
	if !strings.HasPrefix(span, "00:01:") || different < 8 {
		t.Errorf("the attack's alerts began within %s, at %v different times: want more than a minute, and one for each step", span, different)
	}
}

// testRefusals demands that a mistake is named, not guessed around.
func testRefusals(t *testing.T, c *client) {
	for _, path := range []string{"/v1/workspaces/default/query", "/otus/v1/workspaces/default/query"} {
		text := "SecurityAlert\n| where ProductName == \"Azure Security Center for IoT\"\nInstead"
		status, body := post(t, c, path, map[string]string{"query": text})
		if status != http.StatusBadRequest || !strings.Contains(body, "Instead") {
			t.Errorf("%s: a stray word is answered %d %s, want 400 that names it", path, status, body)
		}
		if !strings.Contains(body, `"line":3`) {
			t.Errorf("%s: the answer does not say line 3: %s", path, body)
		}
	}
}

// post sends JSON and gives the answer as it is.
func post(t testing.TB, c *client, path string, in any) (int, string) {
	t.Helper()
	var body strings.Builder
	if err := json.NewEncoder(&body).Encode(in); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), "POST", c.base+path, strings.NewReader(body.String()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer json.RawMessage
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

// testAccess tries every kind of call as nobody, with wrong tokens, and as somebody who may only read.
func testAccess(t *testing.T, c *client, dir string) {
	ctx := t.Context()
	calls := []struct {
		method, path string
		body         any
	}{
		{"GET", "/otus/v1/session", nil},
		{"GET", incidentsPath, nil},
		{"GET", incidentsPath + "/1", nil},
		{"PATCH", incidentsPath + "/1", map[string]any{"status": "Active"}},
		{"GET", rulesPath, nil},
		{"GET", "/otus/v1/workspaces/default/schema", nil},
		{"GET", "/otus/v1/workspaces/default/summary", nil},
		{"GET", "/otus/v1/workspaces/default/connectors", nil},
		{"GET", "/otus/v1/events", nil},
		{"GET", fleetPath + "/devices", nil},
		{"GET", fleetPath + "/alerts", nil},
		{"GET", "/otus/v1/tokens", nil},
		{"POST", "/v1/workspaces/default/query", map[string]any{"query": "SecurityAlert"}},
		{"POST", "/otus/v1/workspaces/default/query", map[string]any{"query": "SecurityAlert"}},
		{"POST", "/otus/v1/uplink/batches", map[string]any{}},
	}
	long := strings.Repeat("x", 10_000)
	for _, token := range []string{"", "nonsense", "otus_", c.token + "x", c.token[:len(c.token)-1], strings.ToUpper(c.token), long} {
		stranger := &client{http: c.http, base: c.base, token: token}
		for _, one := range calls {
			if got := statusOf(stranger.call(ctx, one.method, one.path, one.body, nil)); got != http.StatusUnauthorized {
				t.Errorf("%s %s with token %.12q is answered %d, want 401", one.method, one.path, token, got)
			}
		}
	}

	out, errs, code := otus(t, "token", "create", "--data", dir, "--name", "reader", "--role", "Reader")
	if code != 0 {
		t.Fatalf("token create: exit %d: %s", code, errs)
	}
	reader := &client{http: c.http, base: c.base, token: strings.TrimSpace(out)}
	if err := reader.call(ctx, "GET", incidentsPath, nil, nil); err != nil {
		t.Errorf("a reader may not read: %v", err)
	}
	if _, err := reader.query(ctx, "SecurityAlert | count"); err != nil {
		t.Errorf("a reader may not ask: %v", err)
	}
	for _, one := range []struct {
		method, path string
		body         any
	}{
		{"PATCH", incidentsPath + "/1", map[string]any{"status": "Active"}},
		{"POST", incidentsPath + "/1/comments", map[string]any{"message": "hello"}},
		{"PATCH", rulesPath + "/" + scanRule, map[string]any{"enabled": false}},
		{"PUT", rulesPath + "/mine", map[string]any{}},
		{"PUT", "/otus/v1/workspaces/default/connectors/iot/create-incidents", map[string]any{"enabled": false}},
		{"POST", "/otus/v1/tokens", map[string]any{"name": "more", "roles": []string{"Owner"}}},
		{"GET", "/otus/v1/tokens", nil},
	} {
		if got := statusOf(reader.call(ctx, one.method, one.path, one.body, nil)); got != http.StatusForbidden {
			t.Errorf("%s %s by a reader is answered %d, want 403", one.method, one.path, got)
		}
	}
	for _, i := range queue(t, c) {
		if i.Status != "New" {
			t.Errorf("incident %d is %s after all those refusals", i.Number, i.Status)
		}
	}
}

package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/fleet"
	"github.com/otus-project/otus/fleet/api"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// rig is a fleet behind an HTTPS server on loopback.
type rig struct {
	t      testing.TB
	fleet  *fleet.Fleet
	server *httptest.Server
	serve  atomic.Pointer[http.Handler] // may be exchanged while the server runs
	mu     sync.Mutex
	rights map[string]bool // granted
	audits []fleet.Audit
	causes []error
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, rights: map[string]bool{api.RightRead: true, api.RightWrite: true, api.RightSubscriptionWrite: true}}
	var err error
	r.fleet, err = fleet.Open(t.Context(), fleet.Options{Dir: t.TempDir(), Now: func() time.Time { return start }, Audit: func(_ context.Context, a fleet.Audit) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.audits = append(r.audits, a)
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.fleet.Close() })
	handler := r.handler()
	r.serve.Store(&handler)
	r.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { (*r.serve.Load()).ServeHTTP(w, q) }))
	t.Cleanup(r.server.Close)
	return r
}

func (r *rig) handler() http.Handler {
	mux := http.NewServeMux()
	config := huma.DefaultConfig("Otus", "test")
	config.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", api.SchemaName)
	api.Register(humago.New(mux, config), mux, r.fleet, api.Options{
		Authorize: func(_ context.Context, right string) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			if !r.rights[right] {
				return errors.New("needs " + right)
			}
			return nil
		},
		User: func(context.Context) string { return "ann@example.org" },
		OnError: func(_ context.Context, err error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.causes = append(r.causes, err)
		},
	})
	return mux
}

func (r *rig) grant(rights ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rights = map[string]bool{}
	for _, right := range rights {
		r.rights[right] = true
	}
}

// call makes a request, checks the status, and gives the answer.
func (r *rig) call(method, path, body string, status int) map[string]any {
	r.t.Helper()
	content := r.raw(method, "/otus/v1/fleet"+path, body, status)
	var answer map[string]any
	if len(content) > 0 {
		if err := json.Unmarshal(content, &answer); err != nil {
			r.t.Fatalf("%s %s: %v: %s", method, path, err, content)
		}
	}
	return answer
}

func (r *rig) raw(method, path, body string, status int, headers ...string) []byte {
	r.t.Helper()
	request, err := http.NewRequest(method, r.server.URL+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := r.server.Client().Do(request)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	if response.StatusCode != status {
		r.t.Fatalf("%s %s: status %d, want %d: %s", method, path, response.StatusCode, status, content)
	}
	return content
}

func (r *rig) local() fleet.Sensor {
	r.t.Helper()
	s, err := r.fleet.Local(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// fill gives the local sensor two devices, two alerts and a capture.
func (r *rig) fill() (sensor string) {
	r.t.Helper()
	id := r.local().ID
	plc := event.Device{ID: "plc", Name: "PLC1", Type: "PLC", Vendor: "Siemens", Protocols: []string{"Siemens S7"}, OT: true, SensorID: id, Revision: 1, FirstSeen: start, LastSeen: start}
	pc := event.Device{ID: "pc", Name: "Laptop", Type: "Workstation", Vendor: "Dell", Protocols: []string{"DNS", "Siemens S7"}, SensorID: id, Revision: 1, FirstSeen: start, LastSeen: start}
	stop := event.Alert{ID: "stop", Revision: 1, Type: "plc-stop", Title: "PLC Stop", Engine: event.EngineOperational, Severity: event.SeverityHigh, Status: event.AlertNew, SensorID: id,
		Source: &event.Endpoint{DeviceID: "pc", Address: "10.0.0.9"}, Destination: &event.Endpoint{DeviceID: "plc", Address: "10.0.0.5"}, LastActivity: start, HasCapture: true}
	scan := event.Alert{ID: "scan", Revision: 1, Type: "port-scan", Title: "Port Scan", Engine: event.EngineAnomaly, Severity: event.SeverityLow, Status: event.AlertClosed, SensorID: id,
		Source: &event.Endpoint{DeviceID: "pc", Address: "10.0.0.9"}, LastActivity: start.Add(time.Minute)}
	health := event.Health{Time: start, SensorID: id, Version: "1.0", Mode: event.ModeLearning, State: "Warning", Reason: "No traffic detected", LostBytes: 42}
	_, err := r.fleet.Ingest(r.t.Context(), event.Batch{SensorID: id, Records: []event.Record{
		{Sequence: 1, Kind: event.KindDevice, Device: &plc}, {Sequence: 2, Kind: event.KindDevice, Device: &pc},
		{Sequence: 3, Kind: event.KindAlert, Alert: &stop}, {Sequence: 4, Kind: event.KindAlert, Alert: &scan},
		{Sequence: 5, Kind: event.KindCapture, Capture: &event.Capture{AlertID: "stop", Packets: 1, PCAP: []byte("pcap bytes")}},
		{Sequence: 6, Kind: event.KindHealth, Health: &health},
	}})
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

// at walks into an answer: names of members, and numbers of elements.
func at(t testing.TB, v any, path ...any) any {
	t.Helper()
	for _, step := range path {
		switch step := step.(type) {
		case string:
			object, ok := v.(map[string]any)
			if !ok {
				t.Fatalf("%v: no object at %q: %v", path, step, v)
			}
			v = object[step]
		case int:
			array, ok := v.([]any)
			if !ok || step >= len(array) {
				t.Fatalf("%v: no element %d: %v", path, step, v)
			}
			v = array[step]
		}
	}
	return v
}

func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	g, _ := json.Marshal(got)
	w, _ := json.Marshal(want)
	if !bytes.Equal(g, w) {
		t.Errorf("%s: got %s, want %s", what, g, w)
	}
}

func TestSummaryAndSensors(t *testing.T) {
	r := newRig(t)
	id := r.fill()
	summary := r.call("GET", "/summary", "", 200)
	equal(t, "devices", summary["devices"], 2)
	equal(t, "OT devices", summary["otDevices"], 1)
	equal(t, "sensors", summary["sensors"], map[string]int{"total": 1, "healthy": 0, "warning": 1, "critical": 0})
	equal(t, "alerts", summary["alerts"], map[string]any{"open": 1, "bySeverity": map[string]int{"High": 1}, "byEngine": map[string]int{"OPERATIONAL": 1}})
	equal(t, "lost bytes", at(t, summary, "unseen", "lostBytes"), 42)
	sensor := at(t, r.call("GET", "/sensors", "", 200), "items", 0)
	equal(t, "sensor", []any{at(t, sensor, "id"), at(t, sensor, "state"), at(t, sensor, "reason"), at(t, sensor, "mode"), at(t, sensor, "site")}, []any{id, "Warning", "No traffic detected", "learning", "default"})
	r.call("PATCH", "/sensors/"+id, `{"mode":"operational","name":"pump house"}`, 204)
	sensor = r.call("GET", "/sensors/"+id, "", 200)
	equal(t, "changed sensor", []any{at(t, sensor, "modeWanted"), at(t, sensor, "pendingCommands"), at(t, sensor, "name")}, []any{"operational", 1, "pump house"})
	r.call("PATCH", "/sensors/"+id, `{"mode":"sleeping"}`, 422)
	r.call("PATCH", "/sensors/nothing", `{"name":"x"}`, 404)
}

func TestDevicesAndAlerts(t *testing.T) {
	r := newRig(t)
	r.fill()
	page := r.call("GET", "/devices", "", 200)
	equal(t, "total", page["total"], 2)
	equal(t, "facets", page["facets"], map[string]any{"type": map[string]int{"PLC": 1, "Workstation": 1}, "vendor": map[string]int{"Siemens": 1, "Dell": 1}, "protocol": map[string]int{"Siemens S7": 2, "DNS": 1}})
	equal(t, "first device", []any{at(t, page, "items", 0, "name"), at(t, page, "items", 0, "openAlerts"), at(t, page, "items", 0, "zone")}, []any{"Laptop", 1, "default"})
	for query, want := range map[string][]string{
		"?type=PLC":                    {"PLC1"},
		"?type=PLC,Workstation":        {"Laptop", "PLC1"},
		"?protocol=DNS":                {"Laptop"},
		"?vendor=Siemens&protocol=DNS": nil,
		"?ot=true":                     {"PLC1"},
		"?ot=false":                    {"Laptop"},
		"?q=SIEMENS+plc":               {"PLC1"},
		"?sort=-name":                  {"PLC1", "Laptop"},
		"?limit=1&offset=1":            {"PLC1"},
		"?q=%25":                       nil,
	} {
		var names []string
		for _, item := range r.call("GET", "/devices"+query, "", 200)["items"].([]any) {
			names = append(names, at(t, item, "name").(string))
		}
		equal(t, "devices"+query, names, want)
	}
	r.call("GET", "/devices?sort=password", "", 400)
	filtered := r.call("GET", "/devices?type=PLC", "", 200)
	equal(t, "a facet counts without its own filter", at(t, filtered, "facets", "type"), map[string]int{"PLC": 1, "Workstation": 1})
	equal(t, "a facet counts with other filters", at(t, filtered, "facets", "vendor"), map[string]int{"Siemens": 1})
	equal(t, "alerts of a device", at(t, r.call("GET", "/devices/pc", "", 200), "alerts", 1, "id"), "stop")
	r.call("GET", "/devices/nothing", "", 404)

	page = r.call("GET", "/alerts?status=New,Active", "", 200)
	equal(t, "open alerts", []any{page["total"], at(t, page, "items", 0, "title"), at(t, page, "items", 0, "site")}, []any{1, "PLC Stop", "default"})
	equal(t, "status facet", at(t, page, "facets", "status"), map[string]int{"New": 1, "Closed": 1})
	equal(t, "newest first", at(t, r.call("GET", "/alerts", "", 200), "items", 0, "id"), "scan")
	equal(t, "most severe first", at(t, r.call("GET", "/alerts?sort=-severity", "", 200), "items", 0, "id"), "stop")
	equal(t, "history", at(t, r.call("GET", "/alerts/scan", "", 200), "history", 0, "status"), "Closed")
	equal(t, "pcap", string(r.raw("GET", "/otus/v1/fleet/alerts/stop/pcap", "", 200)), "pcap bytes")
	r.call("GET", "/alerts/scan/pcap", "", 404)
	r.call("GET", "/alerts?limit=100000", "", 422)
}

func TestCommandsOverHTTP(t *testing.T) {
	r := newRig(t)
	id := r.fill()
	for range 2 {
		r.raw("POST", "/otus/v1/fleet/alerts/stop/commands", `{"action":"close"}`, 202, "Idempotency-Key", "key-1")
	}
	r.raw("POST", "/otus/v1/fleet/alerts/stop/commands", `{"action":"mute"}`, 409, "Idempotency-Key", "key-1")
	r.call("POST", "/alerts/stop/commands", `{"action":"explode"}`, 422)
	r.call("POST", "/alerts/stop/commands", `{"action":"learn"}`, 400)
	r.call("POST", "/alerts/nothing/commands", `{"action":"close"}`, 404)
	ack, err := r.fleet.Ingest(t.Context(), event.Batch{SensorID: id})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "commands", ack.Commands, []event.Command{{ID: 1, Action: event.ActionClose, AlertID: "stop", Time: start, By: "ann@example.org"}})
}

func TestPlaces(t *testing.T) {
	r := newRig(t)
	subscription := at(t, r.call("GET", "/subscriptions", "", 200), "items", 0, "id").(string)
	r.call("PATCH", "/subscriptions/"+subscription, `{"planOn":false}`, 204)
	equal(t, "plan", at(t, r.call("GET", "/subscriptions", "", 200), "items", 0, "planOn"), false)

	site := at(t, r.call("POST", "/sites", `{"name":"Riverside","owners":["a@example.org"]}`, 201), "id").(string)
	r.call("POST", "/sites", `{"name":"Riverside"}`, 409)
	r.call("POST", "/sites", `{"name":" "}`, 400)
	r.call("POST", "/sites", `{"name":"x","owners":["Ann <a@example.org>"]}`, 400)
	r.call("PATCH", "/sites/"+site, `{"owners":["b@example.org","c@example.org"]}`, 204)
	equal(t, "site", at(t, r.call("GET", "/sites", "", 200), "items", 0), map[string]any{"id": site, "subscriptionId": subscription, "name": "Riverside", "owners": []string{"b@example.org", "c@example.org"}})

	zone := at(t, r.call("POST", "/zones", `{"siteId":"`+site+`","name":"Intake"}`, 201), "id").(string)
	r.call("POST", "/zones", `{"siteId":"nothing","name":"Intake"}`, 400)
	r.call("PATCH", "/zones/"+zone, `{"name":"Outlet"}`, 204)
	r.call("DELETE", "/sites/"+site, "", 409)

	line := at(t, r.call("POST", "/lines", `{"siteId":"`+site+`","name":"Line 1","deviceIds":["plc","pc"]}`, 201), "id").(string)
	r.call("PATCH", "/lines/"+line, `{"owners":["d@example.org"]}`, 204)
	equal(t, "line", at(t, r.call("GET", "/lines", "", 200), "items", 0), map[string]any{"id": line, "siteId": site, "name": "Line 1", "owners": []string{"d@example.org"}, "deviceIds": []string{"pc", "plc"}})
	r.call("DELETE", "/lines/"+line, "", 204)
	r.call("DELETE", "/lines/"+line, "", 404)

	sensor := r.call("POST", "/sensors", `{"name":"intake","zoneId":"`+zone+`"}`, 201)
	if sensor["onboardingToken"] == "" {
		t.Error("no onboarding token")
	}
	r.call("DELETE", "/zones/"+zone, "", 409)
	r.call("POST", "/sensors/"+sensor["id"].(string)+"/token", "", 201)

	var actions []string
	for _, a := range r.audits {
		actions = append(actions, a.Action)
	}
	equal(t, "audited actions", actions, []string{"subscription.plan", "site.create", "site.update", "zone.create", "zone.update", "line.create", "line.update", "line.delete", "sensor.create", "sensor.token"})
}

func TestRights(t *testing.T) {
	r := newRig(t)
	id := r.fill()
	subscription := r.local().SubscriptionID
	reading := []string{"/summary", "/subscriptions", "/sites", "/zones", "/lines", "/sensors", "/sensors/" + id, "/devices", "/devices/plc", "/alerts", "/alerts/stop", "/alerts/stop/pcap"}
	changing := [][3]string{
		{"POST", "/sites", `{"name":"x"}`}, {"PATCH", "/sites/x", `{}`}, {"DELETE", "/sites/x", ""},
		{"POST", "/zones", `{"name":"x","siteId":"x"}`}, {"PATCH", "/zones/x", `{"name":"x"}`}, {"DELETE", "/zones/x", ""},
		{"POST", "/lines", `{"name":"x","siteId":"x"}`}, {"PATCH", "/lines/x", `{}`}, {"DELETE", "/lines/x", ""},
		{"POST", "/sensors", `{"name":"x","zoneId":"x"}`}, {"PATCH", "/sensors/" + id, `{}`}, {"POST", "/sensors/" + id + "/token", ""},
		{"POST", "/alerts/stop/commands", `{"action":"close"}`},
	}
	r.grant()
	for _, path := range reading {
		r.call("GET", path, "", 403)
	}
	r.grant(api.RightRead, api.RightSubscriptionWrite)
	for _, path := range reading[:len(reading)-1] {
		r.call("GET", path, "", 200)
	}
	for _, c := range changing {
		r.call(c[0], c[1], c[2], 403)
	}
	r.grant(api.RightRead, api.RightWrite)
	r.call("PATCH", "/subscriptions/"+subscription, `{"planOn":false}`, 403)
	r.grant(api.RightSubscriptionWrite)
	r.call("PATCH", "/subscriptions/"+subscription, `{"planOn":false}`, 204)
	if len(r.audits) != 1 {
		t.Errorf("audits: %+v", r.audits)
	}
}

func TestInternalErrorsKeepTheirCause(t *testing.T) {
	r := newRig(t)
	r.fleet.Close()
	answer := r.call("GET", "/summary", "", 500)
	equal(t, "detail", answer["detail"], "internal error")
	r.raw("GET", "/otus/v1/fleet/alerts/stop/pcap", "", 500)
	if len(r.causes) != 2 {
		t.Errorf("causes told: %v", r.causes)
	}
}

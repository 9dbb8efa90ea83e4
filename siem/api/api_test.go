package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/otus-project/otus/content"
	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/siem/access"
	"github.com/otus-project/otus/siem/analytics"
	"github.com/otus-project/otus/siem/incident"
	"github.com/otus-project/otus/siem/state"
	"github.com/otus-project/otus/siem/store"
)

// emptyLog is a log store in which nothing was ever stored: the rules of these tests are listed, not run.
type emptyLog struct{}

func (emptyLog) Run(context.Context, analytics.Request) (*analytics.Result, error) {
	return &analytics.Result{}, nil
}
func (emptyLog) Head(context.Context) (uint64, error) { return 0, nil }

// sensors answers for one alert.
type sensors struct{}

func (sensors) AlertState(_ context.Context, id string) (event.Alert, bool, error) {
	if id != "a1" {
		return event.Alert{}, false, nil
	}
	return event.Alert{
		ID: "a1", Status: event.AlertActive, Revision: 5, Count: 12, HasCapture: true, SensorName: "plant",
		Explanation: event.Explanation{Meaning: "the controller was told to stop"}, Details: []event.Detail{{Name: "function", Value: "0x29"}},
	}, true, nil
}

type bench struct {
	*httptest.Server
	t         *testing.T
	db        *state.DB
	incidents *incident.Service
	hub       *Hub
	token     string
}

const creationRule = `
id: 6f4f4b0e-5d3b-5f6e-9b61-0a4a4a0f2c11
name: Create incidents
kind: MicrosoftSecurityIncidentCreation
productFilter: Azure Security Center for IoT
`

func setup(t *testing.T) *bench {
	t.Helper()
	db, err := state.Open(t.TempDir(), state.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	b := &bench{t: t, db: db, hub: &Hub{}}
	b.incidents = incident.NewService(db, incident.Options{Workspace: db.Default(), Notify: func(n int64, change string) {
		b.hub.Publish(Event{Kind: "incident", ID: fmt.Sprint(n), Change: change})
	}})
	tables, err := store.LoadTables(content.FS())
	if err != nil {
		t.Fatal(err)
	}
	rules, err := analytics.NewService(t.Context(), db, analytics.Options{
		Workspace: db.Default(), Incidents: b.incidents, Log: emptyLog{}, Catalog: store.Catalog(tables),
		Content: fstest.MapFS{"create.yaml": {Data: []byte(creationRule)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	guard, err := access.New(db)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	config := huma.DefaultConfig("Otus", "test")
	config.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", func(t reflect.Type, hint string) string {
		return strings.ReplaceAll(t.PkgPath(), "/", "_") + huma.DefaultSchemaNamer(t, hint) // names of one word repeat among packages
	})
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "/otus/v1/openapi/spec", "", "/otus/v1/schemas"
	Register(humago.New(mux, config), mux, Deps{
		State: db, Workspace: db.Default(), Version: "test", Incidents: b.incidents, Rules: rules, Access: guard, Hub: b.hub, Fleet: sensors{},
		Rows:      func(context.Context) (map[string]int64, error) { return map[string]int64{"SecurityAlert": 3}, nil },
		Connector: func(context.Context) (any, error) { return map[string]string{"id": "iot"}, nil },
		OnError:   func(err error) { t.Errorf("internal error: %v", err) },
	})
	b.Server = httptest.NewServer(guard.Wrap(mux))
	t.Cleanup(b.Server.Close)
	_, b.token, err = guard.CreateToken(t.Context(), "script", []string{"Owner"}, 0, "test")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) open(id string) {
	b.t.Helper()
	err := b.db.Write(b.t.Context(), func(ctx context.Context, tx *state.Tx) error {
		_, err := b.incidents.Open(ctx, tx, incident.Signal{RuleID: "r", RuleName: "Rule", Originals: []string{id}, Alert: incident.AlertOf(map[string]any{
			"SystemAlertId": "sys-" + id, "VendorOriginalId": id, "AlertName": "Controller Stop", "AlertSeverity": "High", "Status": "New",
			"ProviderName": "IoTSecurity", "ProductComponentName": "OPERATIONAL", "TimeGenerated": time.Now(),
		})})
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// call sends JSON and reads JSON; it checks the status.
func (b *bench) call(method, path, body string, want int, headers ...string) map[string]any {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.URL+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+b.token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for n := 0; n+1 < len(headers); n += 2 {
		r.Header.Set(headers[n], headers[n+1])
	}
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer w.Body.Close()
	data, err := io.ReadAll(w.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if w.StatusCode != want {
		b.t.Errorf("%s %s: %d, want %d: %s", method, path, w.StatusCode, want, data)
	}
	if want >= 400 && !strings.HasPrefix(w.Header.Get("Content-Type"), "application/problem+json") {
		b.t.Errorf("%s %s: an error of type %s", method, path, w.Header.Get("Content-Type"))
	}
	out := map[string]any{}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &out); err != nil {
			b.t.Fatalf("%s %s: %v: %s", method, path, err, data)
		}
	}
	return out
}

// keys checks that an object has exactly these keys.
func keys(t *testing.T, what string, got any, want string) {
	t.Helper()
	m, ok := got.(map[string]any)
	if !ok {
		t.Errorf("%s is a %T", what, got)
		return
	}
	left := map[string]bool{}
	for _, k := range strings.Fields(want) {
		left[k] = true
		if _, ok := m[k]; !ok {
			t.Errorf("%s lacks %q", what, k)
		}
	}
	for k := range m {
		if !left[k] && k != "$schema" {
			t.Errorf("%s has an unexpected %q", what, k)
		}
	}
}

const w = "/otus/v1/workspaces/default"

const incidentKeys = `id number title description severity status classification classificationReason classificationComment owner labels
	createdTime lastModifiedTime firstActivityTime lastActivityTime closedTime firstModifiedTime alertsCount commentsCount tactics techniques
	engine protocol sensor site zone sourceDevice destinationDevice ruleNames etag`

func TestIncidents(t *testing.T) {
	b := setup(t)
	b.open("a1")
	b.open("a2")
	page := b.call("GET", w+"/incidents?status=New,Active&limit=1&sort=number", "", 200)
	keys(t, "page", page, "items total facets")
	keys(t, "facets", page["facets"], "status severity engine owner")
	if page["total"] != 2.0 || len(page["items"].([]any)) != 1 {
		t.Errorf("page %v", page)
	}
	keys(t, "incident", page["items"].([]any)[0], incidentKeys)
	if n := page["facets"].(map[string]any)["owner"].(map[string]any)["Unassigned"]; n != 2.0 {
		t.Errorf("owner facet %v", page["facets"])
	}
	if page := b.call("GET", w+"/incidents?owner=Unassigned&q=sys-a2", "", 200); page["total"] != 1.0 {
		t.Errorf("by text: %v", page)
	}
	b.call("GET", w+"/incidents?sort=nonsense", "", 400)
	b.call("GET", "/otus/v1/workspaces/other/incidents", "", 404)
	b.call("GET", "/otus/v1/workspaces/"+b.db.Default().ID+"/incidents", "", 200)

	d := b.call("GET", w+"/incidents/1", "", 200)
	keys(t, "detail", d, incidentKeys+" alerts activity comments sync")
	a := d["alerts"].([]any)[0].(map[string]any)
	keys(t, "alert", a, `systemAlertId vendorOriginalId name severity status engine category protocol description startTime endTime timeGenerated
		providerName revision count tactics techniques remediationSteps source destination devices explanation details frame line pcapUrl
		sensor site zone productName`)
	if a["pcapUrl"] != "/otus/v1/fleet/alerts/a1/pcap" || a["status"] != "InProgress" || a["count"] != 12.0 ||
		a["explanation"].(map[string]any)["meaning"] != "the controller was told to stop" || len(a["details"].([]any)) != 1 {
		t.Errorf("alert %v", a)
	}
	y := d["sync"].([]any)[0].(map[string]any)
	keys(t, "sync", y, "alertId sensor alertStatus wanted state detail since")
	if y["alertStatus"] != "Active" {
		t.Errorf("sync %v", y)
	}
	b.call("GET", w+"/incidents/99", "", 404)

	i := b.call("PATCH", w+"/incidents/1", `{"status":"Active","owner":{"name":"Anna","email":"anna@example.com"}}`, 200, "If-Match", `"1"`)
	if i["status"] != "Active" || i["owner"].(map[string]any)["name"] != "Anna" || i["etag"] != "2" {
		t.Errorf("changed %v", i)
	}
	b.call("PATCH", w+"/incidents/1", `{"severity":"Low"}`, 412, "If-Match", `"1"`)
	if i := b.call("PATCH", w+"/incidents/1", `{"severity":"Low"}`, 200); i["owner"] == nil {
		t.Error("an absent owner took the owner away")
	}
	if i := b.call("PATCH", w+"/incidents/1", `{"owner":null}`, 200); i["owner"] != nil {
		t.Errorf("owner %v after null", i["owner"])
	}
	bad := b.call("PATCH", w+"/incidents/1", `{"status":"Closed"}`, 400)
	keys(t, "problem", bad, "type title status detail errors")
	if !strings.Contains(bad["detail"].(string), "classification") {
		t.Errorf("problem %v", bad)
	}
	closed := b.call("PATCH", w+"/incidents/1", `{"status":"Closed","classification":"FalsePositive","classificationReason":"InaccurateData","closeAction":"mute"}`, 200)
	if closed["closedTime"] == nil || closed["classificationReason"] != "InaccurateData" {
		t.Errorf("closed %v", closed)
	}
	c := b.call("POST", w+"/incidents/2/comments", `{"message":"looks *real*"}`, 201)
	keys(t, "comment", c, "id author message createdTime")
	if all := b.call("GET", w+"/incidents/2/comments", "", 200)["items"].([]any); len(all) != 1 {
		t.Errorf("comments %v", all)
	}
	b.call("POST", w+"/incidents/2/comments", `{"message":""}`, 400)

	s := b.call("GET", w+"/summary", "", 200)
	keys(t, "summary", s, "incidents meanTimeToTriageSeconds meanTimeToCloseSeconds recent series rows connector")
	keys(t, "summary.incidents", s["incidents"], "open new active closed bySeverity")
	if len(s["series"].([]any)) != 24 || len(s["recent"].([]any)) != 2 || s["meanTimeToCloseSeconds"] == nil {
		t.Errorf("summary %v", s)
	}
	keys(t, "bin", s["series"].([]any)[0], "start high medium low informational")
}

const userRule = `name: Late updates are dropped
kind: Scheduled
severity: Low
query: |
  SecurityAlert
  | where TimeGenerated <= ProcessingEndTime + 60m
queryFrequency: 5m
queryPeriod: 5m
triggerOperator: gt
triggerThreshold: 0
`

func TestRules(t *testing.T) {
	b := setup(t)
	list := b.call("GET", w+"/rules", "", 200)["items"].([]any)
	if len(list) != 1 {
		t.Fatalf("rules %v", list)
	}
	first := list[0].(map[string]any)
	if first["enabled"] != false || first["source"] != "content" || first["kind"] != analytics.KindIncidentCreation {
		t.Errorf("default rule %v", first)
	}
	id := first["id"].(string)
	if r := b.call("PATCH", w+"/rules/"+id, `{"enabled":true}`, 200); r["enabled"] != true {
		t.Errorf("switched %v", r)
	}
	b.call("DELETE", w+"/rules/"+id, "", 409)
	b.call("PUT", w+"/rules/"+id, userRule, 409, "Content-Type", "application/yaml")
	r := b.call("PUT", w+"/rules/late", userRule, 200, "Content-Type", "text/yaml")
	if r["id"] != "late" || r["source"] != "user" || r["enabled"] != true || r["queryFrequency"] != "PT5M" || r["atIngestion"] != true {
		t.Errorf("user rule %v", r)
	}
	asJSON := `{"name":"As JSON","kind":"Scheduled","severity":"High","enabled":false,"query":"SecurityAlert | where AlertName == 'x'",
		"queryFrequency":"PT5M","queryPeriod":"PT1H","triggerOperator":"GreaterThan","triggerThreshold":0}`
	if r := b.call("PUT", w+"/rules/json", asJSON, 200); r["enabled"] != false {
		t.Errorf("JSON rule %v", r)
	}
	bad := b.call("PUT", w+"/rules/late", strings.Replace(userRule, "ProcessingEndTime", "PublishedAt", 1), 400, "Content-Type", "application/yaml")
	fault := bad["errors"].([]any)[0].(map[string]any)
	if fault["line"] != 6.0 || !strings.Contains(fault["message"].(string), "PublishedAt") {
		t.Errorf("fault %v", bad)
	}
	if r := b.call("GET", w+"/rules/late", "", 200); !strings.Contains(r["query"].(string), "ProcessingEndTime") {
		t.Error("a bad rule replaced a good one")
	}
	b.call("DELETE", w+"/rules/late", "", 204)
	b.call("GET", w+"/rules/late", "", 404)
}

func TestSessionAndTokens(t *testing.T) {
	b := setup(t)
	s := b.call("GET", "/otus/v1/session", "", 200)
	keys(t, "session", s, "user workspace version")
	keys(t, "user", s["user"], "name email roles")
	made := b.call("POST", "/otus/v1/tokens", `{"name":"reader","roles":["Reader"],"expiresInDays":3}`, 201)
	if !strings.HasPrefix(made["token"].(string), "otus_") || made["expires"] == nil {
		t.Errorf("token %v", made)
	}
	for _, x := range b.call("GET", "/otus/v1/tokens", "", 200)["items"].([]any) {
		keys(t, "listed token", x, "id name roles created createdBy expires lastUsed")
	}
	b.call("POST", "/otus/v1/tokens", `{"name":"x","roles":["King"]}`, 400)
	owner := b.token
	b.token = made["token"].(string)
	b.call("GET", w+"/incidents", "", 200)
	b.call("PATCH", w+"/incidents/1", `{"status":"Active"}`, 403)
	b.call("POST", "/otus/v1/tokens", `{"name":"y","roles":["Owner"]}`, 403)
	b.token = owner
	b.call("DELETE", "/otus/v1/tokens/"+made["id"].(string), "", 204)
	b.call("DELETE", "/otus/v1/tokens/"+made["id"].(string), "", 404)
	if log := b.call("GET", "/otus/v1/audit", "", 200)["items"].([]any); len(log) < 5 {
		t.Errorf("audit %v", log)
	}
	b.token = "wrong"
	b.call("GET", "/otus/v1/session", "", 401)
	b.call("DELETE", "/otus/v1/session", "", 401)
}

func TestEvents(t *testing.T) {
	b := setup(t)
	b.hub.Heartbeat = 20 * time.Millisecond
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	r, _ := http.NewRequestWithContext(ctx, "GET", b.URL+"/otus/v1/events", nil)
	r.Header.Set("Authorization", "Bearer "+b.token)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if kind := answer.Header.Get("Content-Type"); answer.StatusCode != 200 || kind != "text/event-stream" {
		t.Fatalf("%d %s", answer.StatusCode, kind)
	}
	lines := bufio.NewScanner(answer.Body)
	until := func(want string) {
		t.Helper()
		for lines.Scan() {
			if lines.Text() == want {
				return
			}
		}
		t.Fatalf("the stream ended before %q: %v", want, lines.Err())
	}
	until(": connected")
	b.open("a1")
	until("event: incident")
	until(`data: {"id":"1","change":"created"}`)
	until(": still here")
	b.call("PATCH", w+"/incidents/1", `{"severity":"Low"}`, 200)
	until(`data: {"id":"1","change":"updated"}`)
}

func TestSlowPageMissesButLearns(t *testing.T) {
	c := &client{known: map[Event]bool{}, wake: make(chan struct{}, 1)}
	h := &Hub{clients: map[*client]bool{c: true}}
	for range 3 {
		h.Publish(Event{Kind: "incident", ID: "1", Change: "updated"})
	}
	if got := c.take(); len(got) != 1 {
		t.Errorf("equal events: %v", got)
	}
	for n := range hubPending + 100 {
		h.Publish(Event{Kind: "incident", ID: fmt.Sprint(n), Change: "created"})
	}
	got := c.take()
	if len(got) != len(kinds) || got[0].ID != "" {
		t.Errorf("after missing some: %v", got)
	}
	h.Publish(Event{Kind: "incident", ID: "7", Change: "created"})
	if got := c.take(); len(got) != 1 || got[0].ID != "7" {
		t.Errorf("afterwards: %v", got)
	}
}

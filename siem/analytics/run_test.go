package analytics

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/otus-project/otus/content"
	"github.com/otus-project/otus/kql/native"
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/siem/incident"
	"github.com/otus-project/otus/siem/ingest"
	"github.com/otus-project/otus/siem/query"
	"github.com/otus-project/otus/siem/state"
	"github.com/otus-project/otus/siem/store"
	"github.com/otus-project/otus/siem/store/duckdb"
)

// world is the part of the program around the rules, all of it real: DuckDB, ingest, query, state, incidents.
type world struct {
	t       *testing.T
	dir     string
	clock   *atomic.Int64 // nanoseconds since 1970
	store   store.Store
	ingest  *ingest.Service
	log     Log
	catalog *schema.Catalog
	db      *state.DB
	inc     *incident.Service
	s       *Service
	relay   *state.Relay
	rules   fs.FS
	sent    uint64
}

func newWorld(t *testing.T, rules fs.FS) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), clock: &atomic.Int64{}, rules: rules}
	w.set(noon)
	w.openLog()
	w.openState()
	return w
}

// noon is when every test begins; time stands until the test moves it.
var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// openLog opens the log tables the program ships, in a file of their own.
func (w *world) openLog() {
	w.t.Helper()
	tables, err := store.LoadTables(content.FS())
	if err != nil {
		w.t.Fatal(err)
	}
	log, err := duckdb.OpenStore(filepath.Join(w.dir, "log.duckdb"), tables, duckdb.StoreOptions{Functions: native.All()})
	if err != nil {
		w.t.Fatal(err)
	}
	w.store, w.catalog = log, log.Catalog()
	w.ingest = ingest.New(log, ingest.Options{Now: w.now})
	w.log = LogOf(query.New(log, query.Options{Now: w.now}))
	w.t.Cleanup(func() {
		w.ingest.Close()
		if err := log.Close(); err != nil {
			w.t.Error(err)
		}
	})
}

func (w *world) now() time.Time { return time.Unix(0, w.clock.Load()).UTC() }

func (w *world) set(at time.Time) { w.clock.Store(at.UnixNano()) }

// openState opens state, incidents and rules, as a start of the program does.
func (w *world) openState() {
	w.t.Helper()
	ids := 0
	db, err := state.Open(filepath.Join(w.dir, "state"), state.Options{Now: w.now, IDs: func() string {
		ids++
		return fmt.Sprintf("00000000-0000-4000-8000-%012d", ids)
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { db.Close() })
	w.db = db
	w.inc = incident.NewService(db, incident.Options{Workspace: db.Default()})
	w.s, err = NewService(w.t.Context(), db, Options{
		Workspace: db.Default(), Incidents: w.inc, Log: w.log, Catalog: w.catalog, Content: w.rules,
		OnError: func(err error) { w.t.Errorf("analytics: %v", err) },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	s := w.s
	w.ingest.OnCommit(s.Ingested)
	w.relay = state.NewRelay(db, w.ingest)
}

func (w *world) restart() {
	w.t.Helper()
	w.db.Close()
	w.openState()
}

func (w *world) enable(ids ...string) {
	w.t.Helper()
	for _, id := range ids {
		if err := w.s.SetEnabled(w.t.Context(), id, true, "test"); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) put(id, yaml string) {
	w.t.Helper()
	if _, err := w.s.Put(w.t.Context(), id, []byte(yaml), "test"); err != nil {
		w.t.Fatal(err)
	}
}

// alert is a row of a sensor's alert at a revision.
func (w *world) alert(id, name string, revision int, change map[string]any) ingest.Row {
	b := Bench{Now: w.now(), Catalog: w.catalog}
	properties := map[string]any{"Revision": revision}
	if revision > 1 {
		properties["isNew"] = "False"
	}
	given := map[string]any{"VendorOriginalId": id, "AlertName": name, "ExtendedProperties": properties}
	row := b.sensorAlert(0, given)
	row["AlertName"] = name
	for k, v := range change {
		row[k] = v
	}
	return row
}

func (w *world) send(table string, rows ...ingest.Row) {
	w.t.Helper()
	w.sent++
	if _, err := w.ingest.Append(w.t.Context(), ingest.Batch{Sender: "test", Sequence: w.sent, Rows: map[string][]ingest.Row{table: rows}}); err != nil {
		w.t.Fatal(err)
	}
}

// settle runs rules and relay until nothing moves any more, as the running program would.
func (w *world) settle() {
	w.t.Helper()
	for range 5 {
		if err := w.s.Pass(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
		w.s.RunDue(w.t.Context(), w.now())
		if err := w.relay.Drain(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) incidents() []incident.Incident {
	w.t.Helper()
	page, err := w.inc.List(w.t.Context(), incident.Filter{Sort: "number", Limit: 1000})
	if err != nil {
		w.t.Fatal(err)
	}
	return page.Items
}

// query runs KQL over the log and gives the rows as text.
func (w *world) query(text string) []string {
	w.t.Helper()
	r, err := w.log.Run(w.t.Context(), Request{Text: text, Now: w.now(), MaxRows: 10_000})
	if err != nil {
		w.t.Fatal(err)
	}
	var all []string
	for _, row := range r.Rows {
		var cells []string
		for _, v := range row {
			cells = append(cells, cellText(v))
		}
		all = append(all, strings.Join(cells, "|"))
	}
	return all
}

// onePerAlert checks the promise: each vendor alert id is owned by one incident.
func (w *world) onePerAlert(ids ...string) {
	w.t.Helper()
	owners := map[int64]string{}
	for _, id := range ids {
		n, err := w.inc.ByAlert(w.t.Context(), id)
		if err != nil {
			w.t.Errorf("alert %s: %v", id, err)
		} else if other, taken := owners[n]; taken {
			w.t.Errorf("alerts %s and %s share incident %d", id, other, n)
		}
		owners[n] = id
	}
	if got := len(w.incidents()); got != len(ids) {
		w.t.Errorf("%d incidents for %d alerts", got, len(ids))
	}
}

const plcStop = "a7d3f642-15d8-4e83-99ee-83ca3352525d"

func contentRules(t *testing.T) fs.FS {
	t.Helper()
	rules, err := fs.Sub(content.FS(), "rules")
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// TestContentRules runs the tests that the shipped rules carry, on the real engine.
func TestContentRules(t *testing.T) {
	w := newWorld(t, fstest.MapFS{})
	bench := &Bench{
		Log: w.log, Catalog: w.catalog, Now: noon,
		Append: func(_ context.Context, table string, rows []state.Row) (map[string]store.Range, error) {
			ranges := map[string]store.Range{}
			w.sent++
			_, err := w.ingest.Append(t.Context(), ingest.Batch{Sender: "test", Sequence: w.sent, Rows: map[string][]ingest.Row{table: rows}})
			return ranges, err
		},
		Dir: func(string) string { return t.TempDir() },
	}
	scheduled := 0
	err := fs.WalkDir(contentRules(t), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		t.Run(path, func(t *testing.T) {
			data, err := fs.ReadFile(contentRules(t), path)
			if err != nil {
				t.Fatal(err)
			}
			l, err := load(path, "", data, w.catalog, "content")
			if err != nil {
				t.Fatal(err)
			}
			if !l.atIngest {
				t.Error("the rule does not run at ingestion")
			}
			if l.Kind == KindScheduled {
				scheduled++
			}
			firing, silent := 0, 0
			for _, test := range l.Tests {
				if len(*test.Alerts) > 0 {
					firing++
				} else {
					silent++
				}
				faults, err := bench.Check(t.Context(), path, data, test)
				if err != nil {
					t.Errorf("%s: %v", test.Name, err)
				}
				for _, f := range faults {
					t.Errorf("%s: %s", test.Name, f)
				}
			}
			if firing == 0 || silent < 2 {
				t.Errorf("%d firing and %d silent tests; want at least one and two", firing, silent)
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if scheduled != 15 {
		t.Errorf("%d scheduled rules, want the solution's 15", scheduled)
	}
}

const customStop = `name: My own stop rule
kind: Scheduled
severity: High
query: |
  SecurityAlert
  | where ProviderName == "IoTSecurity"
  | where AlertName has "Stop"
queryFrequency: 5m
queryPeriod: 5m
triggerOperator: gt
triggerThreshold: 0
`

// TestAnyMixOfRules switches every subset of three overlapping rules on, sends alerts and their updates with a restart
// in between, and expects one incident per alert id.
func TestAnyMixOfRules(t *testing.T) {
	for mix := 1; mix < 8; mix++ {
		t.Run(fmt.Sprintf("%03b", mix), func(t *testing.T) {
			w := newWorld(t, contentRules(t))
			want := 0
			if mix&1 != 0 {
				w.enable(DefaultIncidentRule)
				want++
			}
			if mix&2 != 0 {
				w.enable(plcStop)
				want++
			}
			if mix&4 != 0 {
				w.put("mine", customStop)
				want++
			}
			w.send("SecurityAlert", w.alert("a1", "Controller Stop", 1, nil), w.alert("a2", "Controller Stop", 1, nil))
			w.settle()
			w.send("SecurityAlert", w.alert("a1", "Controller Stop", 2, nil))
			w.restart()
			w.send("SecurityAlert", w.alert("a2", "Controller Stop", 2, nil), w.alert("a3", "Controller Stop", 1, nil), w.alert("a3", "Controller Stop", 2, nil))
			w.settle()
			w.onePerAlert("a1", "a2", "a3")
			for _, i := range w.incidents() {
				if i.AlertsCount != want || len(i.RuleNames) != want {
					t.Errorf("incident %d: %d alerts of %v, want %d", i.Number, i.AlertsCount, i.RuleNames, want)
				}
			}
			made := (want - mix&1) * 3
			if got := w.query(`SecurityAlert | where ProviderName == 'ASI Scheduled Alerts' or ProviderName =='CustomAlertRule'`); len(got) != made {
				t.Errorf("%d alerts made by rules, want %d", len(got), made)
			}
		})
	}
}

func TestDefaultRule(t *testing.T) {
	w := newWorld(t, contentRules(t))
	w.send("SecurityAlert", w.alert("before", "Controller Stop", 1, nil))
	w.settle()
	if n := len(w.incidents()); n != 0 {
		t.Fatalf("%d incidents while the rule is off", n)
	}
	w.enable(DefaultIncidentRule)
	w.settle()
	if n := len(w.incidents()); n != 0 {
		t.Errorf("%d incidents for rows from before the rule was on", n)
	}
	// After a reconnect any revision may be the first one seen.
	w.send("SecurityAlert", w.alert("late", "Controller Stop", 4, map[string]any{"Status": "InProgress"}), w.alert("over", "Controller Stop", 3, map[string]any{"Status": "Resolved"}))
	w.send("SecurityAlert", w.alert("late", "Controller Stop", 5, map[string]any{"Status": "Resolved", "Description": "closed on the sensor"}))
	w.settle()
	w.onePerAlert("late")
	d, err := w.inc.Get(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if a := d.Alerts[0]; d.Status != incident.New || d.AlertsCount != 1 || a.Revision != 5 || a.Status != "Resolved" || a.Description != "closed on the sensor" {
		t.Errorf("incident %s with alert %+v", d.Status, a)
	}
	if got := w.query("SecurityIncident"); len(got) != 1 {
		t.Errorf("%d SecurityIncident rows; a sensor's change must not add one", len(got))
	}
}

func TestRuleAlertRow(t *testing.T) {
	w := newWorld(t, contentRules(t))
	w.enable(plcStop)
	w.send("SecurityAlert", w.alert("a1", "Controller Stop", 1, map[string]any{"AlertSeverity": "Low", "Tactics": "Impair Process Control, Evasion", "Techniques": `["T0858"]`}))
	w.settle()
	got := w.query(`SecurityAlert | where ProviderName == "ASI Scheduled Alerts"
		| extend P = parse_json(ExtendedProperties) | extend D = parse_json(tostring(P["Custom Details"]))
		| project AlertName, DisplayName, Description, AlertSeverity, Tactics, Techniques, ProductName, ProductComponentName, RemediationSteps,
		VendorOriginalId, AlertType, Status, tostring(D.VendorOriginalId[0]), tostring(D.Sensor[0]), tostring(P["Analytic Rule Name"]),
		tostring(parse_json(Entities)[0].DeviceName), CompromisedEntity, IsIncident, SourceSystem`)
	want := "(MDIoT) Controller Stop|(MDIoT) Controller Stop|(MDIoT) What was seen.|Low|ImpairProcessControl, Evasion|[\"T0858\"]|Azure Security Center for IoT|" +
		"OPERATIONAL|[\"Ask the plant.\"]|a1|" + plcStop + "|New|a1|plc-1|PLC Stop Command (Microsoft Defender for IoT)|PLC-1|PLC-1|False|Detection"
	if len(got) != 1 || got[0] != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	i := w.incidents()
	if len(i) != 1 || i[0].Title != "(MDIoT) Controller Stop" || i[0].Severity != "Low" || i[0].Protocol != "MODBUS" || i[0].Sensor != "sensor-1" {
		t.Errorf("incident %+v", i)
	}
}

const lateRule = `name: Late updates are dropped
kind: Scheduled
severity: Medium
query: |
  SecurityAlert
  | where ProductName == "Azure Security Center for IoT"
  | where ProviderName == "IoTSecurity"
  | where TimeGenerated <= ProcessingEndTime + 60m
queryFrequency: 5m
queryPeriod: 5m
triggerOperator: gt
triggerThreshold: 0
eventGroupingSettings:
  aggregationKind: AlertPerResult
`

func TestCustomRuleDropsLateUpdates(t *testing.T) {
	w := newWorld(t, contentRules(t))
	w.put("late", lateRule)
	published := w.now().Add(-3 * time.Hour)
	w.send("SecurityAlert",
		w.alert("a1", "Controller Stop", 1, map[string]any{"ProcessingEndTime": published, "TimeGenerated": published.Add(time.Hour)}),
		w.alert("a2", "Controller Stop", 7, map[string]any{"ProcessingEndTime": published, "TimeGenerated": published.Add(time.Hour + 100*time.Nanosecond)}),
	)
	w.settle()
	w.onePerAlert("a1")
	if got := w.query(`SecurityAlert | where ProviderName == 'CustomAlertRule' | project VendorOriginalId, AlertName`); !slices.Equal(got, []string{"a1|Late updates are dropped"}) {
		t.Errorf("got %q", got)
	}
}

// TestNoRuleFeedsItself lets rules read tables that rules write to, themselves and each other, and counts.
func TestNoRuleFeedsItself(t *testing.T) {
	w := newWorld(t, contentRules(t))
	rule := func(query string) string {
		return strings.Replace(customStop, "SecurityAlert\n  | where ProviderName == \"IoTSecurity\"\n  | where AlertName has \"Stop\"", query, 1)
	}
	w.put("greedy", rule(`SecurityAlert | project TimeGenerated, AlertName`))
	w.put("mirror", rule(`SecurityAlert | where AlertSeverity == "High" | project AlertName, VendorOriginalId`))
	w.put("chain-1", rule(`SecurityAlert | where ProviderName == "CustomAlertRule" | project AlertName, AlertType`))
	w.put("chain-2", rule(`SecurityAlert | where ProviderName == "CustomAlertRule" | project AlertName, AlertType`))
	w.put("incidents-1", rule(`SecurityIncident | where Severity == "High" | project IncidentName, Title`))
	w.put("incidents-2", rule(`SecurityIncident | where Severity == "High" | project IncidentName, Title`))
	w.send("SecurityAlert", w.alert("a1", "Controller Stop", 1, map[string]any{"AlertSeverity": "High"}))
	for range 3 {
		w.settle()
	}
	// The sensor's alert makes one alert each of greedy and mirror; each chain rule sees those two; each incident rule
	// sees the incidents of these four rules, six in all.
	for id, want := range map[string]int{"greedy": 1, "mirror": 1, "chain-1": 2, "chain-2": 2, "incidents-1": 6, "incidents-2": 6} {
		if got := w.query(fmt.Sprintf(`SecurityAlert | where AlertType == "%s" | project AlertName`, id)); len(got) != want {
			t.Errorf("rule %s made %d alerts, want %d", id, len(got), want)
		}
	}
}

const countRule = `name: Many stops
kind: Scheduled
severity: Medium
query: |
  SecurityAlert
  | where ProviderName == "IoTSecurity"
  | summarize Alerts = count() by Name = AlertName
  | project Name, Alerts
queryFrequency: 5m
queryPeriod: 5m
triggerOperator: gt
triggerThreshold: 0
eventGroupingSettings:
  aggregationKind: AlertPerResult
alertDetailsOverride:
  alertDisplayNameFormat: "{{Name}} x {{Alerts}}"
`

// TestWindows: each row is counted in the window it belongs to, and one that arrives after its window closed once, in
// the next run.
func TestWindows(t *testing.T) {
	w := newWorld(t, contentRules(t))
	w.put("count", countRule)
	at := func(minute int, id string) ingest.Row {
		return w.alert(id, "Controller Stop", 1, map[string]any{"TimeGenerated": noon.Add(time.Duration(minute) * time.Minute)})
	}
	made := func() string {
		got := w.query(`SecurityAlert | where ProviderName == "CustomAlertRule" | project AlertName`)
		sort.Strings(got)
		return strings.Join(got, ", ")
	}
	w.settle() // the first window, (11:55, 12:00], is empty
	w.send("SecurityAlert", at(1, "a1"), at(5, "a2"), at(6, "a3"))
	w.set(noon.Add(4*time.Minute + 59*time.Second))
	w.settle()
	if got := made(); got != "" {
		t.Errorf("before the window's end: %s", got)
	}
	w.set(noon.Add(5 * time.Minute))
	w.settle()
	if got := made(); got != "Controller Stop x 2" { // 12:01 and 12:05; 12:06 is the next window's
		t.Errorf("first window: %s", got)
	}
	w.send("SecurityAlert", at(2, "b1")) // late by a window
	w.set(noon.Add(10 * time.Minute))
	w.settle()
	if got := made(); got != "Controller Stop x 1, Controller Stop x 1, Controller Stop x 2" { // the late one, and 12:06
		t.Errorf("second window: %s", got)
	}
	w.set(noon.Add(15 * time.Minute))
	w.settle()
	if got := made(); got != "Controller Stop x 1, Controller Stop x 1, Controller Stop x 2" {
		t.Errorf("a row was counted twice: %s", got)
	}
	// Windows missed while the program was down are made up for.
	w.send("SecurityAlert", at(16, "c1"), at(17, "c2"), at(23, "c3"))
	w.db.Close()
	w.set(noon.Add(40 * time.Minute))
	w.openState()
	w.settle()
	if got := made(); got != "Controller Stop x 1, Controller Stop x 1, Controller Stop x 1, Controller Stop x 2, Controller Stop x 2" {
		t.Errorf("missed windows: %s", got)
	}
}

func TestThresholdGroupingSuppression(t *testing.T) {
	w := newWorld(t, contentRules(t))
	w.put("three", strings.NewReplacer("triggerThreshold: 0", "triggerThreshold: 2", "My own stop rule", "Three").Replace(customStop))
	w.put("none", strings.NewReplacer("triggerOperator: gt", "triggerOperator: lt", "triggerThreshold: 0", "triggerThreshold: 1", "My own stop rule", "None").Replace(customStop))
	w.put("once", strings.Replace(customStop, "My own stop rule", "Once", 1)+"suppressionEnabled: true\nsuppressionDuration: 1h\n")
	w.settle()
	names := func() string {
		got := w.query(`SecurityAlert | where ProviderName == "CustomAlertRule" | project AlertName`)
		sort.Strings(got)
		return strings.Join(got, " ")
	}
	if got := names(); got != "None" {
		t.Errorf("an empty window: %s", got)
	}
	w.set(noon.Add(2 * time.Minute)) // so that the rows are of a minute after noon
	for n := range 3 {
		w.send("SecurityAlert", w.alert(fmt.Sprint("a", n), "Controller Stop", 1, nil))
	}
	w.set(noon.Add(5 * time.Minute))
	w.settle()
	if got := names(); got != "None Once Three" {
		t.Errorf("three alerts: %s", got)
	}
	v, _ := w.s.Get("once")
	if v.Suppressed != 2 {
		t.Errorf("suppressed %d, want 2", v.Suppressed)
	}
	n := 0
	for _, i := range w.incidents() {
		if i.Title == "Three" {
			n++
			d, _ := w.inc.Get(t.Context(), i.Number)
			if len(d.Sync) != 0 {
				t.Errorf("an aggregated incident owns %v", d.Sync)
			}
		}
	}
	if n != 1 {
		t.Errorf("%d incidents of the aggregated alert", n)
	}
}

// brokenLog fails for chosen texts.
type brokenLog struct {
	Log
	mu     sync.Mutex
	broken string
}

func (l *brokenLog) Run(ctx context.Context, r Request) (*Result, error) {
	l.mu.Lock()
	broken := l.broken
	l.mu.Unlock()
	if broken != "" && strings.Contains(r.Text, broken) {
		return nil, errors.New("out of query memory")
	}
	return l.Log.Run(ctx, r)
}

func TestFailureIsTheRulesOwn(t *testing.T) {
	w := newWorld(t, contentRules(t))
	log := &brokenLog{Log: w.log, broken: `has "Stop"`}
	w.s.o.Log = log
	w.put("mine", customStop)
	w.enable(DefaultIncidentRule)
	w.send("SecurityAlert", w.alert("a1", "Controller Stop", 1, nil))
	w.settle()
	v, _ := w.s.Get("mine")
	if v.LastResult != "failed" || v.LastError != "out of query memory" || v.LastRun == nil {
		t.Errorf("failed rule: %+v", v)
	}
	w.onePerAlert("a1") // the other rule went on
	w.restart()
	if v, _ := w.s.Get("mine"); v.LastError == "" {
		t.Error("the failure is forgotten after a restart")
	}
	w.set(noon.Add(time.Hour))
	w.settle()
	if v, _ := w.s.Get("mine"); v.LastError != "" || v.LastResult == "failed" {
		t.Errorf("after the cause is gone: %s, %s", v.LastResult, v.LastError)
	}
	w.onePerAlert("a1")
	if i := w.incidents()[0]; i.AlertsCount != 2 {
		t.Errorf("the failed rule's alert did not join: %+v", i)
	}
}

// TestTwoWorkers runs the same rules twice over the same rows at once, as two replicas would.
func TestTwoWorkers(t *testing.T) {
	w := newWorld(t, contentRules(t))
	w.enable(DefaultIncidentRule, plcStop)
	var ids []string
	other, err := NewService(t.Context(), w.db, w.s.o)
	if err != nil {
		t.Fatal(err)
	}
	w.ingest.OnCommit(other.Ingested)
	for round := range 5 {
		var rows []ingest.Row
		for n := range 10 {
			id := fmt.Sprintf("a%d-%d", round, n)
			ids = append(ids, id)
			rows = append(rows, w.alert(id, "Controller Stop", 1, nil))
		}
		w.send("SecurityAlert", rows...)
		var group sync.WaitGroup
		for _, s := range []*Service{w.s, other} {
			group.Go(func() {
				for range 3 {
					if err := s.Pass(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
	}
	w.settle()
	w.onePerAlert(ids...)
	if got := w.query(`SecurityAlert | where ProviderName == "ASI Scheduled Alerts"`); len(got) != len(ids) {
		t.Errorf("%d alerts of the rule, want %d", len(got), len(ids))
	}
}

// dyingLog ends the program's context at the nth call.
type dyingLog struct {
	Log
	left int
	die  func()
}

func (l *dyingLog) step() {
	if l.left--; l.left == 0 {
		l.die()
	}
}

func (l *dyingLog) Run(ctx context.Context, r Request) (*Result, error) {
	l.step()
	result, err := l.Log.Run(ctx, r)
	l.step()
	return result, err
}

// TestStopAtEveryStep stops the rules at each of their steps in turn, starts anew, and compares the end with an undisturbed
// run's.
func TestStopAtEveryStep(t *testing.T) {
	outcome := func(stops []int) (string, int) {
		w := newWorld(t, contentRules(t))
		w.enable(DefaultIncidentRule, plcStop)
		w.put("count", countRule)
		for n := range 4 {
			w.send("SecurityAlert", w.alert(fmt.Sprint("a", n), "Controller Stop", 1, nil))
		}
		steps := 0
		for _, n := range stops {
			ctx, die := context.WithCancel(t.Context())
			w.s.o.Log = &dyingLog{Log: w.log, left: n, die: die}
			w.s.o.OnError = nil
			if w.s.Pass(ctx) == nil {
				w.s.RunDue(ctx, w.now())
			}
			die()
			w.restart()
		}
		counter := &dyingLog{Log: w.log, die: func() {}}
		w.s.o.Log = counter
		w.settle()
		steps = -counter.left
		var all []string
		for _, i := range w.incidents() {
			all = append(all, fmt.Sprint(i.Title, i.Status, i.AlertsCount, i.RuleNames))
		}
		rows := w.query(`SecurityAlert | where ProviderName != "IoTSecurity" | project AlertName, VendorOriginalId, ProviderName`)
		rows = append(rows, w.query(`SecurityIncident | summarize Rows = count() by Title | project Title, Rows`)...)
		sort.Strings(all)
		sort.Strings(rows)
		return strings.Join(append(all, rows...), "\n"), steps
	}
	want, steps := outcome(nil)
	if !strings.Contains(want, "Controller Stop x 4") {
		t.Fatalf("undisturbed run:\n%s", want)
	}
	for n := 1; n <= min(steps, 10); n++ {
		if got, _ := outcome([]int{n, n}); got != want {
			t.Errorf("stopped at step %d:\n%s\nwant\n%s", n, got, want)
		}
	}
}

// TestLatency sends 100 alerts a second while the loops run, and times each from its commit to its incident.
func TestLatency(t *testing.T) {
	if testing.Short() {
		t.Skip("takes three seconds")
	}
	w := newWorld(t, contentRules(t))
	seen := make(chan time.Time, 1000)
	w.inc = incident.NewService(w.db, incident.Options{Workspace: w.db.Default(), Notify: func(int64, string) { seen <- time.Now() }})
	w.s.o.Incidents = w.inc
	w.enable(DefaultIncidentRule)
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { _ = w.s.Run(ctx) })
	group.Go(func() { _ = w.relay.Run(ctx) })
	const n = 300
	committed := make([]time.Time, 0, n)
	ticker := time.NewTicker(10 * time.Millisecond)
	for k := range n {
		<-ticker.C
		w.send("SecurityAlert", w.alert(fmt.Sprint("a", k), "Controller Stop", 1, nil))
		committed = append(committed, time.Now())
	}
	ticker.Stop()
	var waits []time.Duration
	for _, at := range committed { // incidents open in the order of the rows
		select {
		case opened := <-seen:
			waits = append(waits, opened.Sub(at))
		case <-time.After(10 * time.Second):
			t.Fatal("an incident is missing")
		}
	}
	stop()
	group.Wait()
	slices.Sort(waits)
	t.Logf("row committed to incident visible: p50 %v, p99 %v, max %v", waits[n/2], waits[n*99/100], waits[n-1])
}

func TestUserRulesSurviveRestart(t *testing.T) {
	w := newWorld(t, contentRules(t))
	w.put("mine", customStop)
	w.put("gone", customStop)
	if err := w.s.Delete(t.Context(), "gone", "test"); err != nil {
		t.Fatal(err)
	}
	w.restart()
	v, err := w.s.Get("mine")
	if err != nil || !v.Enabled || v.Source != "user" || v.Name != "My own stop rule" {
		t.Errorf("%+v %v", v, err)
	}
	if _, err := w.s.Get("gone"); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted rule: %v", err)
	}
	if err := w.s.Delete(t.Context(), plcStop, "test"); !errors.Is(err, ErrShipped) {
		t.Errorf("deleting a shipped rule: %v", err)
	}
	if _, err := w.s.Put(t.Context(), plcStop, []byte(customStop), "test"); !errors.Is(err, ErrShipped) {
		t.Errorf("replacing a shipped rule: %v", err)
	}
	data, err := json.Marshal(w.s.List())
	if err != nil || strings.Contains(string(data), `"tactics":null`) {
		t.Errorf("%v %s", err, data)
	}
}

func TestBadQueryIsPlacedInTheFile(t *testing.T) {
	w := newWorld(t, contentRules(t))
	for name, c := range map[string]struct{ from, to, want string }{
		"column":          {"AlertName has", "AlarmName has", "8:11:"},
		"stray word":      {`has "Stop"`, `has "Stop" Instead`, "Instead"},
		"override column": {"queryFrequency", "alertDetailsOverride:\n  alertDisplayNameFormat: \"{{Nonsense}}\"\nqueryFrequency", `10:27: the query's result has no column "Nonsense"`},
	} {
		_, err := w.s.Put(t.Context(), "x", []byte("id: x\n"+strings.Replace(customStop, c.from, c.to, 1)), "test")
		var invalid *InvalidRule
		if !errors.As(err, &invalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

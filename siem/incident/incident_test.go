package incident

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/siem/state"
)

// rows is a log store in memory with the cursor a real one has.
type rows struct {
	mu     sync.Mutex
	cursor uint64
	tables map[string][]state.Row
}

func (r *rows) Cursor(context.Context, string) (uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cursor, nil
}

func (r *rows) AppendRows(_ context.Context, _ string, sequence uint64, tables map[string][]state.Row) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if sequence <= r.cursor {
		return false, nil
	}
	r.cursor = sequence
	if r.tables == nil {
		r.tables = map[string][]state.Row{}
	}
	for table, more := range tables {
		r.tables[table] = append(r.tables[table], more...)
	}
	return true, nil
}

type bench struct {
	*Service
	db  *state.DB
	log *rows
}

func setup(t *testing.T, dir string) *bench {
	t.Helper()
	db, err := state.Open(dir, state.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &bench{NewService(db, Options{Workspace: db.Default()}), db, &rows{}}
}

// drain relays the outbox and checks what must hold of the whole state at any time.
func (b *bench) drain(t *testing.T) {
	t.Helper()
	if err := state.NewRelay(b.db, b.log).Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	page, err := b.List(t.Context(), Filter{Limit: 1000, Sort: "number"})
	if err != nil {
		t.Fatal(err)
	}
	latest := map[int32]state.Row{}
	for _, row := range b.log.tables["SecurityIncident"] {
		n := row["IncidentNumber"].(int32)
		if old, ok := latest[n]; ok && !row["LastModifiedTime"].(time.Time).After(old["LastModifiedTime"].(time.Time)) {
			t.Errorf("incident %d: a later row has LastModifiedTime %v, not after %v", n, row["LastModifiedTime"], old["LastModifiedTime"])
		}
		latest[n] = row
	}
	for _, i := range page.Items {
		row := latest[int32(i.Number)]
		if row == nil {
			t.Errorf("incident %d has no row", i.Number)
		} else if row["Status"] != i.Status || row["Severity"] != i.Severity || row["Title"] != i.Title || row["IncidentName"] != i.ID ||
			row["Classification"] != i.Classification || !row["LastModifiedTime"].(time.Time).Equal(i.LastModifiedTime) {
			t.Errorf("incident %d: newest row %v differs from %+v", i.Number, row, i)
		}
	}
}

func (b *bench) open(t *testing.T, sig Signal) Result {
	t.Helper()
	var r Result
	err := b.db.Write(t.Context(), func(ctx context.Context, tx *state.Tx) (err error) {
		r, err = b.Open(ctx, tx, sig)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// sensorAlert is the signal of the incident-creation rule for a sensor's alert.
func sensorAlert(id string) Signal {
	return Signal{RuleID: "default", RuleName: "Default", Originals: []string{id}, Alert: Alert{
		SystemAlertID: "sys-" + id, VendorOriginalID: id, Name: "Controller Stop", Severity: "Low", Status: "New",
		Engine: "OPERATIONAL", Protocol: "Siemens S7", ProviderName: ProviderSensor, Revision: 1, Sensor: "plant",
		StartTime: time.Unix(100, 0).UTC(), EndTime: time.Unix(200, 0).UTC(), Tactics: []string{"Execution"},
		Source: Endpoint{Name: "EWS-1", Address: "10.0.0.5"}, Destination: Endpoint{Name: "PLC-1", Address: "10.0.0.9"},
	}}
}

// ruleAlert is the signal of a Scheduled rule about a sensor's alert.
func ruleAlert(rule, id string) Signal {
	sig := sensorAlert(id)
	sig.RuleID, sig.RuleName = rule, "Rule "+rule
	sig.Alert.SystemAlertID, sig.Alert.ProviderName, sig.Alert.Name = "sys-"+rule+"-"+id, "ASI Scheduled Alerts", "(MDIoT) Controller Stop"
	return sig
}

func ptr[T any](v T) *T { return &v }

var anna = Person{Name: "Anna", Email: "anna@example.com"}

// TestOneIncidentPerAlert lets any order of rules name one alert, with a restart before each, and expects one incident.
func TestOneIncidentPerAlert(t *testing.T) {
	signals := []Signal{sensorAlert("a1"), ruleAlert("r1", "a1"), ruleAlert("r2", "a1")}
	for _, order := range [][]int{{0, 1, 2}, {1, 0, 2}, {2, 1, 0}, {0, 0, 1, 1, 2, 2, 0}} {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			dir := t.TempDir()
			created, joined := 0, 0
			for _, n := range order {
				b := setup(t, dir)
				r := b.open(t, signals[n])
				if r.Number != 1 {
					t.Errorf("signal %d went to incident %d", n, r.Number)
				}
				if r.Created {
					created++
				}
				if r.Joined {
					joined++
				}
				b.db.Close()
			}
			b := setup(t, dir)
			b.drain(t)
			d, err := b.Get(t.Context(), 1)
			if err != nil {
				t.Fatal(err)
			}
			if created != 1 || joined != 2 || len(d.Alerts) != 3 || d.AlertsCount != 3 || len(d.RuleNames) != 3 {
				t.Errorf("created %d, joined %d, alerts %d (%d), rules %v", created, joined, len(d.Alerts), d.AlertsCount, d.RuleNames)
			}
			if page, _ := b.List(t.Context(), Filter{}); page.Total != 1 {
				t.Errorf("%d incidents", page.Total)
			}
		})
	}
}

func TestConcurrentWorkersOneIncident(t *testing.T) {
	b := setup(t, t.TempDir())
	var group sync.WaitGroup
	for w := range 4 {
		group.Go(func() {
			for n := range 40 {
				sig := ruleAlert(fmt.Sprint(w), fmt.Sprint("a", (n*7+w*3)%40))
				if err := b.db.Write(t.Context(), func(ctx context.Context, tx *state.Tx) error {
					_, err := b.Open(ctx, tx, sig)
					return err
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	b.drain(t)
	page, err := b.List(t.Context(), Filter{Limit: 1000})
	if err != nil || page.Total != 40 {
		t.Fatalf("%d incidents, %v", page.Total, err)
	}
	for _, i := range page.Items {
		if i.AlertsCount != 4 {
			t.Errorf("incident %d has %d alerts, want 4", i.Number, i.AlertsCount)
		}
	}
}

// TestTwoProcessesOneIncident opens the file twice, as two processes would.
func TestTwoProcessesOneIncident(t *testing.T) {
	dir := t.TempDir()
	a, b := setup(t, dir), setup(t, dir)
	var group sync.WaitGroup
	for _, worker := range []*bench{a, b} {
		group.Go(func() {
			for n := range 30 {
				if err := worker.db.Write(t.Context(), func(ctx context.Context, tx *state.Tx) error {
					_, err := worker.Open(ctx, tx, sensorAlert(fmt.Sprint(n)))
					return err
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if page, err := a.List(t.Context(), Filter{Limit: 100}); err != nil || page.Total != 30 {
		t.Errorf("%d incidents, %v", page.Total, err)
	}
}

func TestAggregatedAlertOnlyRelates(t *testing.T) {
	b := setup(t, t.TempDir())
	b.open(t, sensorAlert("a1"))
	sig := ruleAlert("agg", "x")
	sig.Originals = []string{"a1", "a2"}
	if r := b.open(t, sig); !r.Created || r.Number != 2 {
		t.Errorf("aggregated alert: %+v", r)
	}
	if r := b.open(t, sensorAlert("a2")); !r.Created || r.Number != 3 {
		t.Errorf("a2 must still open its own incident: %+v", r)
	}
	if _, err := b.Update(t.Context(), 2, Change{Status: ptr(Active)}, anna, ""); err != nil {
		t.Fatal(err)
	}
	d, err := b.Get(t.Context(), 2)
	if err != nil || len(d.Sync) != 0 {
		t.Errorf("an aggregated incident must not move alerts it does not own: %+v %v", d.Sync, err)
	}
	b.drain(t)
}

func TestRefreshLeavesIncidentAlone(t *testing.T) {
	b := setup(t, t.TempDir())
	b.open(t, sensorAlert("a1"))
	b.drain(t)
	before, _ := b.Get(t.Context(), 1)
	sig := sensorAlert("a1")
	sig.Alert.Revision, sig.Alert.Count, sig.Alert.Status, sig.Alert.EndTime = 3, 9, "Resolved", time.Unix(900, 0).UTC()
	b.open(t, sig)
	sig.Alert.Revision, sig.Alert.Count = 2, 5 // an older one, late
	b.open(t, sig)
	after, _ := b.Get(t.Context(), 1)
	if !reflect.DeepEqual(before.Incident, after.Incident) {
		t.Errorf("a sensor's change changed the incident:\n%+v\n%+v", before.Incident, after.Incident)
	}
	if a := after.Alerts[0]; a.Count != 9 || a.Revision != 3 || a.Status != "Resolved" {
		t.Errorf("alert shown as %+v", a)
	}
	if n, _ := b.db.Pending(t.Context()); n != 0 {
		t.Errorf("%d log rows for a refresh", n)
	}
}

func TestUpdate(t *testing.T) {
	b := setup(t, t.TempDir())
	b.open(t, sensorAlert("a1"))
	ctx := t.Context()
	i, err := b.Update(ctx, 1, Change{Status: ptr(Active), Severity: ptr("High"), Owner: &anna, Labels: &[]string{"shift 2", "shift 2"}}, anna, `"1"`)
	if err != nil {
		t.Fatal(err)
	}
	if i.Status != Active || i.Severity != "High" || *i.Owner != anna || !slices.Equal(i.Labels, []string{"shift 2"}) || i.ETag != "2" || i.FirstModifiedTime == nil {
		t.Errorf("got %+v", i)
	}
	if _, err := b.Update(ctx, 1, Change{Status: ptr(New)}, anna, "1"); !errors.Is(err, ErrConflict) {
		t.Errorf("stale etag: %v", err)
	}
	if _, err := b.Update(ctx, 2, Change{}, anna, ""); !errors.Is(err, ErrNotFound) {
		t.Errorf("no such incident: %v", err)
	}
	closed, err := b.Update(ctx, 1, Change{Status: ptr(Closed), Classification: ptr("TruePositive"), ClassificationComment: ptr("confirmed")}, anna, "W/\"2\"")
	if err != nil {
		t.Fatal(err)
	}
	if closed.ClosedTime == nil || closed.ClassificationReason != "SuspiciousActivity" {
		t.Errorf("closed: %+v", closed)
	}
	again, err := b.Update(ctx, 1, Change{Status: ptr(Active)}, anna, "")
	if err != nil || again.ClosedTime != nil || again.Classification != "" {
		t.Errorf("reopened: %+v %v", again, err)
	}
	if same, err := b.Update(ctx, 1, Change{Status: ptr(Active)}, anna, ""); err != nil || same.ETag != again.ETag {
		t.Errorf("a change of nothing moved the etag: %+v %v", same, err)
	}
	b.drain(t)
	d, _ := b.Get(ctx, 1)
	kinds := []string{}
	for _, a := range d.Activity {
		kinds = append(kinds, a.Kind)
	}
	if want := "created severity owner labels status status classification status"; strings.Join(kinds, " ") != want {
		t.Errorf("history %v, want %s", kinds, want)
	}
}

func TestClassificationRules(t *testing.T) {
	b := setup(t, t.TempDir())
	b.open(t, sensorAlert("a1"))
	for _, c := range []struct {
		class, reason string
		ok            bool
	}{
		{"", "", false}, {"Nonsense", "", false},
		{"TruePositive", "SuspiciousActivity", true}, {"TruePositive", "InaccurateData", false},
		{"BenignPositive", "", true}, {"BenignPositive", "SuspiciousActivity", false},
		{"FalsePositive", "", false}, {"FalsePositive", "IncorrectAlertLogic", true}, {"FalsePositive", "InaccurateData", true},
		{"Undetermined", "", true}, {"Undetermined", "SuspiciousActivity", false},
	} {
		change := Change{Status: ptr(Closed)}
		if c.class != "" {
			change.Classification = ptr(c.class)
		}
		if c.reason != "" {
			change.ClassificationReason = ptr(c.reason)
		}
		_, err := b.Update(t.Context(), 1, change, anna, "")
		var invalid *Invalid
		if c.ok != (err == nil) || err != nil && !errors.As(err, &invalid) {
			t.Errorf("%s/%s: %v", c.class, c.reason, err)
		}
		if err == nil {
			if _, err := b.Update(t.Context(), 1, Change{Status: ptr(New)}, anna, ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]Change{
		"classify an open one": {Classification: ptr("TruePositive")}, "close action without closing": {CloseAction: ptr("learn")},
		"status": {Status: ptr("Done")}, "severity": {Severity: ptr("Huge")}, "title": {Title: ptr(" ")},
		"label": {Labels: &[]string{""}}, "action": {Status: ptr(Closed), Classification: ptr("Undetermined"), CloseAction: ptr("burn")},
	} {
		var invalid *Invalid
		if _, err := b.Update(t.Context(), 1, c, anna, ""); !errors.As(err, &invalid) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	b.drain(t)
}

func TestConcurrentEditsOneWins(t *testing.T) {
	b := setup(t, t.TempDir())
	b.open(t, sensorAlert("a1"))
	var won, lost int
	var mu sync.Mutex
	var group sync.WaitGroup
	for n := range 8 {
		group.Go(func() {
			_, err := b.Update(t.Context(), 1, Change{Title: ptr(fmt.Sprint("title ", n))}, anna, "1")
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case errors.Is(err, ErrConflict):
				lost++
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	if won != 1 || lost != 7 {
		t.Errorf("%d won, %d lost", won, lost)
	}
	b.drain(t)
}

func TestCommentsAndRowCap(t *testing.T) {
	b := setup(t, t.TempDir())
	b.open(t, sensorAlert("a1"))
	for n := range 5 {
		if _, err := b.Comment(t.Context(), 1, fmt.Sprint(n, strings.Repeat("ü", 10_000)), anna); err != nil {
			t.Fatal(err)
		}
	}
	var invalid *Invalid
	if _, err := b.Comment(t.Context(), 1, "  ", anna); !errors.As(err, &invalid) {
		t.Errorf("empty comment: %v", err)
	}
	b.drain(t)
	all := b.log.tables["SecurityIncident"]
	row := all[len(all)-1]
	var shown []struct{ Message string }
	if err := json.Unmarshal(row["Comments"].(json.RawMessage), &shown); err != nil {
		t.Fatal(err)
	}
	if len(shown) != 3 || shown[2].Message[0] != '4' || shown[0].Message[0] != '2' {
		t.Errorf("%d comments in the row", len(shown))
	}
	size := 0
	for _, v := range row {
		switch v := v.(type) {
		case string:
			size += len(v)
		case json.RawMessage:
			size += len(v)
		}
	}
	if size > maxRow {
		t.Errorf("row has %d bytes", size)
	}
	if comments, err := b.Comments(t.Context(), 1); err != nil || len(comments) != 5 {
		t.Errorf("%d comments kept, %v", len(comments), err)
	}
	if i, _ := b.Get(t.Context(), 1); i.ETag != "1" || i.CommentsCount != 5 {
		t.Errorf("etag %s, count %d", i.ETag, i.CommentsCount)
	}
}

func TestQueue(t *testing.T) {
	b := setup(t, t.TempDir())
	for n := range 6 {
		sig := sensorAlert(fmt.Sprint("a", n))
		if n%2 == 1 {
			sig.Alert.Severity, sig.Alert.Engine = "High", "MALWARE"
		}
		if n == 5 {
			sig.Alert.Name, sig.Alert.Destination.Name = "100% odd_name", "Boiler"
		}
		b.open(t, sig)
	}
	ctx := t.Context()
	for _, n := range []int64{1, 2} {
		if _, err := b.Update(ctx, n, Change{Status: ptr(Active), Owner: &anna}, anna, ""); err != nil {
			t.Fatal(err)
		}
	}
	numbers := func(f Filter) (list []int64) {
		page, err := b.List(ctx, f)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range page.Items {
			list = append(list, i.Number)
		}
		return list
	}
	for name, c := range map[string]struct {
		f    Filter
		want []int64
	}{
		"by status":    {Filter{Status: []string{"Active"}, Sort: "number"}, []int64{1, 2}},
		"by two":       {Filter{Status: []string{"New"}, Severity: []string{"High"}, Sort: "number"}, []int64{4, 6}},
		"severity":     {Filter{Sort: "-severity"}, []int64{6, 4, 2, 5, 3, 1}},
		"owner":        {Filter{Owner: []string{"Anna"}, Sort: "-number"}, []int64{2, 1}},
		"no owner":     {Filter{Owner: []string{""}, Engine: []string{"OPERATIONAL"}, Sort: "number"}, []int64{3, 5}},
		"page":         {Filter{Sort: "number", Limit: 2, Offset: 2}, []int64{3, 4}},
		"text":         {Filter{Text: "boiler 10.0.0.5"}, []int64{6}},
		"like chars":   {Filter{Text: "100% odd_"}, []int64{6}},
		"by alert id":  {Filter{Text: "sys-a3"}, []int64{4}},
		"nothing":      {Filter{Text: "odd%name"}, nil},
		"number":       {Filter{Text: "#3"}, []int64{3}},
		"newest first": {Filter{}, []int64{6, 5, 4, 3, 2, 1}},
	} {
		if got := numbers(c.f); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
	page, _ := b.List(ctx, Filter{Severity: []string{"High"}, Status: []string{"New"}})
	want := map[string]map[string]int{
		"status": {"New": 2, "Active": 1}, "severity": {"High": 2, "Low": 2},
		"engine": {"MALWARE": 2}, "owner": {"": 2},
	}
	if !reflect.DeepEqual(page.Facets, want) {
		t.Errorf("facets %v, want %v", page.Facets, want)
	}
	var invalid *Invalid
	if _, err := b.List(ctx, Filter{Sort: "id; drop table"}); !errors.As(err, &invalid) {
		t.Errorf("odd sort: %v", err)
	}
	sum, err := b.Summary(ctx)
	if err != nil || sum.Open != 6 || sum.Active != 2 || sum.BySeverity["High"] != 3 || sum.MeanTimeToTriage == nil || sum.MeanTimeToClose != nil {
		t.Errorf("summary %+v %v", sum, err)
	}
	bins, err := b.Series(ctx, 24)
	if err != nil || len(bins) != 24 || bins[23].High+bins[22].High != 3 {
		t.Errorf("series %+v %v", bins, err)
	}
}

// sensors is a small fleet: it obeys each command once, as the real one does, unless it is told to be away.
type sensors struct {
	mu       sync.Mutex
	alerts   map[string]event.Alert
	seen     map[string]bool
	commands []string
	away     bool
	slow     bool
}

func (f *sensors) Command(_ context.Context, request, alertID string, action event.Action, by string, at time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away {
		return errors.New("sensor does not answer")
	}
	if f.seen[request] {
		return nil
	}
	f.seen[request] = true
	f.commands = append(f.commands, alertID+" "+string(action)+" by "+by)
	if !f.slow {
		f.obey(alertID, action)
	}
	return nil
}

func (f *sensors) obey(alertID string, action event.Action) {
	a := f.alerts[alertID]
	switch action {
	case event.ActionSetNew:
		a.Status = event.AlertNew
	case event.ActionSetActive:
		a.Status = event.AlertActive
	default:
		a.Status, a.Learned, a.Muted = event.AlertClosed, action == event.ActionLearn, action == event.ActionMute
	}
	f.alerts[alertID] = a
}

func (f *sensors) AlertState(_ context.Context, id string) (event.Alert, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, ok := f.alerts[id]
	return a, ok, nil
}

func TestStatusSync(t *testing.T) {
	b := setup(t, t.TempDir())
	fleet := &sensors{seen: map[string]bool{}, alerts: map[string]event.Alert{
		"a1": {Status: event.AlertNew, Learnable: true}, "a2": {Status: event.AlertActive}, "a3": {Status: event.AlertNew},
	}}
	y := NewSyncer(b.Service, fleet)
	ctx := t.Context()
	steps := func() {
		for range 3 {
			y.Nudge("a1")
			y.Nudge("a2")
			y.Nudge("a3")
			y.Nudge("a4")
			if _, err := y.Step(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	syncOf := func(n int64) Sync {
		d, err := b.Get(ctx, n)
		if err != nil || len(d.Sync) != 1 {
			t.Fatalf("incident %d: sync %+v %v", n, d.Sync, err)
		}
		return d.Sync[0]
	}
	for n := 1; n <= 4; n++ {
		b.open(t, sensorAlert(fmt.Sprint("a", n)))
	}
	steps()
	if len(fleet.commands) != 0 {
		t.Errorf("a new incident commanded %v", fleet.commands)
	}
	update := func(n int64, c Change) {
		t.Helper()
		if _, err := b.Update(ctx, n, c, anna, ""); err != nil {
			t.Fatal(err)
		}
	}
	update(1, Change{Status: ptr(Active)})
	update(2, Change{Status: ptr(Active)}) // is Active on the sensor already
	steps()
	if want := []string{"a1 setActive by Anna"}; !slices.Equal(fleet.commands, want) {
		t.Errorf("commands %v, want %v", fleet.commands, want)
	}
	if s := syncOf(1); s.State != "inStep" || s.Wanted != Active {
		t.Errorf("%+v", s)
	}

	// A sensor's change does not come back.
	fleet.obey("a1", event.ActionClose)
	steps()
	if i, _ := b.Get(ctx, 1); i.Status != Active || len(fleet.commands) != 1 {
		t.Errorf("incident %s, commands %v", i.Status, fleet.commands)
	}

	fleet.away = true
	update(1, Change{Status: ptr(Closed), Classification: ptr("BenignPositive"), CloseAction: ptr("learn")})
	update(4, Change{Status: ptr(Active)}) // no sensor has a4
	steps()
	if s := syncOf(1); s.State != "failed" || s.Detail != "sensor does not answer" {
		t.Errorf("%+v", s)
	}
	if s := syncOf(4); s.State != "failed" || !strings.Contains(s.Detail, "no sensor") {
		t.Errorf("%+v", s)
	}
	fleet.away, fleet.slow = false, true
	steps()
	if s := syncOf(1); s.State != "waiting" {
		t.Errorf("%+v", s)
	}
	fleet.obey("a1", event.ActionLearn)
	steps()
	if s := syncOf(1); s.State != "inStep" || !fleet.alerts["a1"].Learned {
		t.Errorf("%+v", s)
	}
	fleet.slow = false
	update(3, Change{Status: ptr(Closed), Classification: ptr("Undetermined"), CloseAction: ptr("learn")}) // cannot be learned
	steps()
	if s := syncOf(3); s.State != "inStep" || fleet.alerts["a3"].Learned || !strings.Contains(s.Detail, "cannot be learned") {
		t.Errorf("%+v", s)
	}
	b.drain(t)
}

// TestRunSyncsAtOnce starts the loop and expects the command well before its timer.
func TestRunSyncsAtOnce(t *testing.T) {
	b := setup(t, t.TempDir())
	fleet := &sensors{seen: map[string]bool{}, alerts: map[string]event.Alert{"a1": {Status: event.AlertNew}}}
	y := NewSyncer(b.Service, fleet)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- y.Run(ctx) }()
	b.open(t, sensorAlert("a1"))
	time.Sleep(20 * time.Millisecond)
	began := time.Now()
	if _, err := b.Update(ctx, 1, Change{Status: ptr(Active)}, anna, ""); err != nil {
		t.Fatal(err)
	}
	for {
		if a, _, _ := fleet.AlertState(ctx, "a1"); a.Status == event.AlertActive {
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatal("no command within a minute")
		}
		time.Sleep(time.Millisecond)
	}
	stop()
	<-done
}

// TestSurvivesKill kills a process that opens incidents and closes them, again and again, and compares the end with
// an undisturbed run's.
func TestSurvivesKill(t *testing.T) {
	const n = 250
	if dir := os.Getenv("OTUS_INCIDENT_CHILD"); dir != "" {
		killChild(dir, n)
		return
	}
	dir := t.TempDir()
	killed := 0
	for run := 0; ; run++ {
		child := exec.Command(os.Args[0], "-test.run", "^TestSurvivesKill$")
		child.Env = append(os.Environ(), "OTUS_INCIDENT_CHILD="+dir)
		child.Stderr = os.Stderr
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- child.Wait() }()
		if killed < 10 {
			select {
			case <-time.After(time.Duration(90+run*23%110) * time.Millisecond):
				child.Process.Kill()
				<-ended
				killed++
				continue
			case <-ended:
			}
		} else {
			<-ended
		}
		if !child.ProcessState.Success() {
			t.Fatal("child failed")
		}
		break
	}
	b := setup(t, dir)
	b.drain(t)
	page, err := b.List(t.Context(), Filter{Limit: 1000, Sort: "number"})
	if err != nil || page.Total != n {
		t.Fatalf("%d incidents after %d kills, want %d (%v)", page.Total, killed, n, err)
	}
	perIncident := map[int32]int{}
	for _, row := range b.log.tables["SecurityIncident"] {
		perIncident[row["IncidentNumber"].(int32)]++
	}
	for k, i := range page.Items {
		if i.Number != int64(k+1) || i.Status != Closed || i.AlertsCount != 2 || perIncident[int32(i.Number)] != 3 {
			t.Errorf("incident %d: %s, %d alerts, %d rows; want Closed, 2, 3", i.Number, i.Status, i.AlertsCount, perIncident[int32(i.Number)])
		}
	}
	commands, err := os.ReadFile(filepath.Join(dir, "commands"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, line := range strings.Fields(string(commands)) {
		seen[line] = true
	}
	if len(seen) != n {
		t.Errorf("%d different commands, want %d", len(seen), n)
	}
	t.Logf("%d kills", killed)
}

// fileFleet notes each request in a file and answers from it.
type fileFleet struct{ path string }

func (f fileFleet) Command(_ context.Context, request, _ string, _ event.Action, _ string, _ time.Time) error {
	file, err := os.OpenFile(f.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.WriteString(request + "\n")
	return err
}

func (f fileFleet) AlertState(context.Context, string) (event.Alert, bool, error) {
	return event.Alert{Status: event.AlertNew}, true, nil // the sensor has not answered yet
}

func killChild(dir string, n int) {
	must := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	db, err := state.Open(dir, state.Options{Now: time.Now})
	must(err)
	s := NewService(db, Options{Workspace: db.Default()})
	ctx := context.Background()
	y := NewSyncer(s, fileFleet{filepath.Join(dir, "commands")})
	go y.Run(ctx)
	for k := range n {
		for _, sig := range []Signal{sensorAlert(fmt.Sprint("a", k)), ruleAlert("r", fmt.Sprint("a", k))} {
			must(db.Write(ctx, func(ctx context.Context, tx *state.Tx) error {
				_, err := s.Open(ctx, tx, sig)
				return err
			}))
		}
		_, err := s.Update(ctx, int64(k+1), Change{Status: ptr(Closed), Classification: ptr("Undetermined")}, anna, "")
		must(err)
	}
	for {
		rows, err := db.Reader().QueryContext(ctx, `SELECT count(*) FROM alert_sync WHERE attempts = 0`)
		must(err)
		left, err := state.Scan(rows, func(v *int) []any { return []any{v} })
		must(err)
		if left[0] == 0 {
			os.Exit(0)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestAlertOfRow(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	a := AlertOf(map[string]any{
		"SystemAlertId": "s", "VendorOriginalId": "v", "AlertName": "Controller Stop", "AlertSeverity": "Low", "Status": "New",
		"ProductComponentName": "OPERATIONAL", "ProviderName": "IoTSecurity", "StartTime": at, "EndTime": at, "TimeGenerated": at,
		"Tactics": "Execution, Evasion", "Techniques": `["T0858"]`, "RemediationSteps": `["look","ask"]`,
		"Entities": `[{"Type":"iotdevice","DeviceId":"d1","DeviceName":"EWS","IpAddress":{"Address":"10.0.0.5"},"Sensor":"s1","Site":"Plant","Zone":"Z"},
			{"Type":"iotdevice","DeviceId":"d2","DeviceName":"PLC","IpAddress":{"Address":"10.0.0.9"},"Protocols":["S7"]},{"Type":"ip","Address":"1.2.3.4"}, 7]`,
		"ExtendedProperties": `{"isNew":"True","SensorId":"s1","Protocol":"Siemens S7","SourceDevice":"EWS","SourceDeviceAddress":"10.0.0.5",
			"DestinationDeviceAddress":"10.0.0.9","Category":"Restart/Stop Commands","Revision":2,"Count":"7","Frame":12,
			"Explanation":{"meaning":"m","impact":"i","safe":["s"]},"Details":[{"name":"function","value":"41"}],"Line":{"name":"Line 3","owners":["a@b.c"]}}`,
	})
	if a.Revision != 2 || a.Count != 7 || a.Frame != 12 || a.Source.DeviceID != "d1" || a.Destination.Name != "PLC" || a.Destination.DeviceID != "d2" ||
		len(a.Devices) != 2 || a.Devices[0].Importance != "Normal" || a.Sensor != "s1" || a.Site != "Plant" || a.Line.Name != "Line 3" ||
		a.Explanation.Meaning != "m" || a.Explanation.Avoid == nil || a.Details[0].Value != "41" || !slices.Equal(a.Tactics, []string{"Execution", "Evasion"}) ||
		!slices.Equal(a.Techniques, []string{"T0858"}) || len(a.RemediationSteps) != 2 {
		t.Errorf("got %+v", a)
	}
}

// FuzzAlertOf: the JSON texts of a row come from outside; whatever they hold, an alert comes out.
func FuzzAlertOf(f *testing.F) {
	f.Add(`[{"Type":"iotdevice","IpAddress":"10.0.0.1","Importance":2}]`, `{"Line":"L","Revision":"x","Details":"[]","Custom Details":"{\"Protocol\":[\"S7\"]}"}`, `["T1"]`)
	f.Add(`{}`, `[]`, `null`)
	f.Add(`[null,[],"x"]`, `{"Explanation":"{\"meaning\":3}","Line":{"name":4}}`, `[1`)
	f.Fuzz(func(t *testing.T, entities, properties, list string) {
		a := AlertOf(map[string]any{"Entities": entities, "ExtendedProperties": properties, "Techniques": list, "Tactics": list, "RemediationSteps": list})
		if a.Revision < 1 || a.Devices == nil || a.Tactics == nil || a.RemediationSteps == nil || severityRank(a.Severity) == 0 {
			t.Errorf("got %+v", a)
		}
		if _, err := json.Marshal(a); err != nil {
			t.Error(err)
		}
	})
}

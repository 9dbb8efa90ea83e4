package fleet

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/otus-project/otus/event"
)

func TestPlanOffKeepsTablesButNotTheStream(t *testing.T) {
	r := newRig(t, Options{})
	s := r.local()
	woken := make(chan string, 10)
	end := r.Subscribe(func(subscription string) { woken <- subscription })
	r.send(mixed(s.ID, 1))
	if got := <-woken; got != s.SubscriptionID {
		t.Errorf("woken for %q", got)
	}
	if err := r.SetPlan(t.Context(), s.SubscriptionID, false); err != nil {
		t.Fatal(err)
	}
	<-woken
	r.send(mixed(s.ID, 8))
	if len(woken) > 0 {
		t.Error("woken while the plan is off")
	}
	if n := len(r.read(s.SubscriptionID, 0)); n != mixedEntries {
		t.Errorf("%d entries with the plan off, want %d", n, mixedEntries)
	}
	if _, known, _ := r.AlertState(t.Context(), "alert-8"); !known {
		t.Error("the fleet's own tables stood still while the plan was off")
	}
	if err := r.SetPlan(t.Context(), s.SubscriptionID, true); err != nil {
		t.Fatal(err)
	}
	end()
	r.send(mixed(s.ID, 15))
	entries := r.read(s.SubscriptionID, mixedEntries)
	if len(entries) != mixedEntries || entries[0].Position != mixedEntries+1 || entries[0].Record.Sequence != 15 {
		t.Errorf("after switching on again: %d entries", len(entries))
	}
	if err := r.SetPlan(t.Context(), "nothing", true); !errors.Is(err, ErrNotFound) {
		t.Errorf("plan of an unknown subscription: %v", err)
	}
	if head, err := r.Head(t.Context(), s.SubscriptionID); err != nil || head != 2*mixedEntries {
		t.Errorf("head: %d, %v", head, err)
	}
}

func TestOpenAlerts(t *testing.T) {
	r := newRig(t, Options{})
	s := r.local()
	r.send(event.Batch{SensorID: s.ID, Records: []event.Record{
		alertRecord(s.ID, 1, "new", 1, event.AlertNew), alertRecord(s.ID, 2, "active", 2, event.AlertActive), alertRecord(s.ID, 3, "closed", 1, event.AlertClosed),
	}})
	r.pass(time.Hour)
	r.send(event.Batch{SensorID: s.ID, Records: []event.Record{alertRecord(s.ID, 4, "late", 3, event.AlertNew)}})
	ids := func(since time.Time) string {
		entries, err := r.OpenAlerts(t.Context(), s.SubscriptionID, since)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, e := range entries {
			ids = append(ids, e.Record.Alert.ID)
			if e.Place.SensorName != "local" || e.Place.SubscriptionID != s.SubscriptionID || e.Position != 0 {
				t.Errorf("entry: %+v", e)
			}
		}
		return strings.Join(ids, " ")
	}
	if got := ids(time.Time{}); got != "new active late" {
		t.Errorf("open alerts: %s", got)
	}
	if got := ids(start.Add(time.Minute)); got != "late" {
		t.Errorf("open alerts since a minute after the start: %s", got)
	}
	other, err := r.AddSubscription(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := r.OpenAlerts(t.Context(), other.ID, time.Time{}); err != nil || len(entries) != 0 {
		t.Errorf("open alerts of another subscription: %v, %v", entries, err)
	}
}

func TestLinesTravelWithEntries(t *testing.T) {
	r := newRig(t, Options{})
	s := r.local()
	line, err := r.AddLine(t.Context(), Line{SiteID: s.SiteID, Name: "Filtration", Owners: []string{"shift@example.org"}, DeviceIDs: []string{"device-plc"}})
	if err != nil {
		t.Fatal(err)
	}
	r.reopen() // the mapping is not only in memory
	r.send(event.Batch{SensorID: s.ID, Records: []event.Record{connectionRecord(s.ID, 1), alertRecord(s.ID, 2, "a", 1, event.AlertNew), deviceRecord(s.ID, 3, "device-plc", 1), deviceRecord(s.ID, 4, "other", 1)}})
	want := map[string]event.Line{"device-plc": {Name: "Filtration", Owners: []string{"shift@example.org"}}}
	for i, e := range r.read(s.SubscriptionID, 0) {
		w := want
		if i == 3 {
			w = nil
		}
		if diff := cmp.Diff(w, e.Lines); diff != "" {
			t.Errorf("lines of entry %d: %s", i, diff)
		}
	}
	if d, err := r.Device(t.Context(), "device-plc"); err != nil || d.Line != "Filtration" || d.OpenAlerts != 1 {
		t.Errorf("device: %+v, %v", d, err)
	}
	if err := r.SetLine(t.Context(), line.ID, nil, nil, []string{}); err != nil {
		t.Fatal(err)
	}
	r.send(event.Batch{SensorID: s.ID, Records: []event.Record{connectionRecord(s.ID, 5)}})
	if e := r.read(s.SubscriptionID, 4); len(e) != 1 || e[0].Lines != nil {
		t.Errorf("entry after the device left the line: %+v", e)
	}
}

func TestStreamRetention(t *testing.T) {
	r := newRig(t, Options{})
	s := r.local()
	maintain := func() {
		t.Helper()
		if err := r.Maintain(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.check()
	}
	r.send(mixed(s.ID, 1))
	r.pass(10 * 24 * time.Hour)
	r.send(mixed(s.ID, 8))
	r.read(s.SubscriptionID, mixedEntries-1) // all but one of the first batch
	maintain()
	if n := r.count(`SELECT count(*) FROM entry`); n != 2*mixedEntries {
		t.Errorf("%d entries after ten days, want all %d", n, 2*mixedEntries)
	}
	r.pass(5 * 24 * time.Hour)
	maintain()
	if n := r.count(`SELECT min(position) FROM entry`); n != mixedEntries {
		t.Errorf("after 15 days the oldest entry is %d, want the unread %d", n, mixedEntries)
	}
	r.reopen()
	r.read(s.SubscriptionID, mixedEntries+2)
	maintain()
	if n := r.count(`SELECT min(position) FROM entry`); n != mixedEntries+1 {
		t.Errorf("once it was read the oldest entry is %d, want %d", n, mixedEntries+1)
	}
	if subscriptions, _ := r.Subscriptions(t.Context()); subscriptions[0].Lost != 0 {
		t.Errorf("lost: %d", subscriptions[0].Lost)
	}
}

func TestFullStreamLosesTheOldestAndSaysSo(t *testing.T) {
	r := newRig(t, Options{MaxStreamBytes: 4000})
	s := r.local()
	for n := uint64(0); n < 10; n++ {
		r.send(mixed(s.ID, 1+n*mixedRecords))
	}
	if err := r.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	subscriptions, err := r.Subscriptions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	left, size := r.count(`SELECT count(*) FROM entry`), r.count(`SELECT sum(length(body)) FROM entry`)
	if size > 4000 || left == 0 || int64(subscriptions[0].Lost)+left != 10*mixedEntries {
		t.Errorf("%d entries of %d bytes left, %d lost of %d", left, size, subscriptions[0].Lost, 10*mixedEntries)
	}
}

func TestRowRetention(t *testing.T) {
	r := newRig(t, Options{MaxCaptureBytes: 40})
	s := r.local()
	r.send(mixed(s.ID, 1))
	r.pass(91 * 24 * time.Hour)
	r.send(event.Batch{SensorID: s.ID, Records: []event.Record{alertRecord(s.ID, 8, "closed", 1, event.AlertClosed)}})
	r.send(mixed(s.ID, 9))
	r.send(mixed(s.ID, 16))
	if err := r.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Device(t.Context(), "device-1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a device after 91 days: %v", err)
	}
	if _, known, _ := r.AlertState(t.Context(), "alert-1"); !known {
		t.Error("an open alert went after 91 days")
	}
	if _, err := r.Capture(t.Context(), "alert-1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the oldest capture beyond the room for captures: %v", err)
	}
	for _, id := range []string{"alert-9", "alert-16"} {
		if _, err := r.Capture(t.Context(), id); err != nil {
			t.Errorf("capture of %s: %v", id, err)
		}
	}
	r.pass(91 * 24 * time.Hour)
	if err := r.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, known, _ := r.AlertState(t.Context(), "closed"); known {
		t.Error("a closed alert stayed beyond 90 days")
	}
}

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/otus-project/otus/sensor/capture"
	"github.com/otus-project/otus/sensor/packet"
)

// TestEqualReplaysGiveEqualRows replays the attack in new folders and compares every row of SecurityAlert, byte by byte.
func TestEqualReplaysGiveEqualRows(t *testing.T) {
	learning, attack := plantCaptures(t, 2)
	replay := func(args ...string) string {
		dir := t.TempDir()
		settled(t, dir, append([]string{"--learn", learning, "--replay", attack, "--at", "2026-03-01T12:00:00Z"}, args...)...)
		out, errs, code := otus(t, "query", "--data", dir, "--output", "json",
			`SecurityAlert | sort by VendorOriginalId asc, tolong(parse_json(ExtendedProperties).Revision) asc`)
		if code != 0 {
			t.Fatalf("query: exit %d: %s", code, errs)
		}
		return out
	}
	first := replay()
	if n := strings.Count(first, "IoTSecurity"); n < 15 {
		t.Fatalf("%d rows in %.2000s", n, first)
	}
	for name, again := range map[string]string{"the same": replay(), "paced": replay("--speed", "60")} {
		if again != first {
			t.Errorf("%s again gives other rows:\n%s", name, lineDifference(first, again))
		}
	}
	if other := replay("--seed", "2"); other == first {
		t.Error("another seed gives the same rows")
	}
}

// lineDifference shows the first line in which two texts differ.
func lineDifference(a, b string) string {
	left, right := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(left), len(right)) {
		if left[i] != right[i] {
			return fmt.Sprintf("line %d:\n- %.600s\n+ %.600s", i+1, left[i], right[i])
		}
	}
	return fmt.Sprintf("%d lines and %d lines", len(left), len(right))
}

// fleetAlert is what the tests read of an alert of the fleet.
type fleetAlert struct {
	ID, Status, Title   string
	Revision            int
	Source, Destination struct{ Address string }
}

func fleetAlerts(t testing.TB, c *client) []fleetAlert {
	t.Helper()
	var page struct{ Items []fleetAlert }
	if err := c.call(t.Context(), "GET", fleetPath+"/alerts?limit=1000", nil, &page); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(page.Items, func(a, b fleetAlert) int { return strings.Compare(a.ID, b.ID) })
	return page.Items
}

// TestReplayingAgain replays one capture three times in one folder: while its alerts are open it adds no incident; after
// one was closed it raises one alert and one incident anew.
func TestReplayingAgain(t *testing.T) {
	const n = 5
	file, dir := exceptions(t, n, 10*time.Millisecond), t.TempDir()
	look := func(do func(c *client)) {
		p, c := serving(t, dir)
		do(c)
		p.stop()
	}
	settled(t, dir, "--replay", file, "--at", "2026-03-01T12:00:00Z")
	var alerts []fleetAlert
	look(func(c *client) {
		alerts = fleetAlerts(t, c)
		if got := len(queue(t, c)); got != n || len(alerts) != n {
			t.Fatalf("first time: %d alerts, %d incidents, want %d", len(alerts), got, n)
		}
	})

	settled(t, dir, "--replay", file, "--at", "2026-03-01T13:00:00Z")
	var closed queueItem
	look(func(c *client) {
		again := fleetAlerts(t, c)
		if got := len(queue(t, c)); got != n || len(again) != n {
			t.Errorf("again while the alerts are open: %d alerts, %d incidents, want %d", len(again), got, n)
		}
		for i := range min(len(alerts), len(again)) {
			if again[i].ID != alerts[i].ID || again[i].Revision <= alerts[i].Revision {
				t.Errorf("alert %s revision %d became %s revision %d: want the same alert, seen again", alerts[i].ID, alerts[i].Revision, again[i].ID, again[i].Revision)
			}
		}
		closed = queue(t, c)[2]
		closeIncident(t, c, closed)
		testDownload(t, c, alerts[0])
	})

	settled(t, dir, "--replay", file, "--at", "2026-03-01T14:00:00Z")
	look(func(c *client) {
		all, incidents := fleetAlerts(t, c), queue(t, c)
		if len(all) != n+1 || len(incidents) != n+1 {
			t.Fatalf("after one was closed: %d alerts, %d incidents, want %d", len(all), len(incidents), n+1)
		}
		for _, i := range incidents {
			want := "New"
			if i.Number == closed.Number {
				want = "Closed"
			}
			if i.Status != want {
				t.Errorf("incident %d is %s, want %s", i.Number, i.Status, want)
			}
		}
	})
}

// closeIncident closes it and follows that down to the sensor and back into the rows.
func closeIncident(t *testing.T, c *client, i queueItem) {
	t.Helper()
	path := fmt.Sprintf("%s/%d", incidentsPath, i.Number)
	var detail struct {
		queueItem
		Sync []struct{ AlertID, State string }
	}
	if got := statusOf(c.call(t.Context(), "PATCH", path, map[string]any{"status": "Closed"}, nil)); got != http.StatusBadRequest {
		t.Errorf("closing without a classification is answered %d, want 400", got)
	}
	if err := c.call(t.Context(), "PATCH", path, map[string]any{"status": "Closed", "classification": "TruePositive"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.call(t.Context(), "GET", path, nil, &detail); err != nil || len(detail.Sync) != 1 {
		t.Fatalf("%v in %+v: want the state of one alert", err, detail)
	}
	id := detail.Sync[0].AlertID
	eventually(t, "close the alert on its sensor", func() error {
		var alert fleetAlert
		if err := c.call(t.Context(), "GET", fleetPath+"/alerts/"+id, nil, &alert); err != nil {
			return err
		}
		if alert.Status != "Closed" {
			return fmt.Errorf("alert %s is %s", id, alert.Status)
		}
		return nil
	})
	eventually(t, "a row that says so", func() error {
		rows := rowsOf(t, c, `SecurityAlert | where VendorOriginalId == "`+id+`" | summarize arg_max(tolong(parse_json(ExtendedProperties).Revision), *) by VendorOriginalId`)
		if len(rows) != 1 || rows[0].text("Status") != "Resolved" {
			return fmt.Errorf("%d rows: %v", len(rows), rows)
		}
		return nil
	})
	eventually(t, "the incident in step", func() error {
		if err := c.call(t.Context(), "GET", path, nil, &detail); err != nil || detail.Sync[0].State != "inStep" {
			return fmt.Errorf("%v, %+v", err, detail.Sync)
		}
		return nil
	})
}

// testDownload reads the packets of an alert as a capture.
func testDownload(t *testing.T, c *client, alert fleetAlert) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", c.base+fleetPath+"/alerts/"+alert.ID+"/pcap", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("download: %v, %s: %.200s", err, resp.Status, data)
	}
	path := filepath.Join(t.TempDir(), "alert.pcap")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	source, destination := netip.MustParseAddr(alert.Source.Address), netip.MustParseAddr(alert.Destination.Address)
	files, err := capture.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	frames, between, refusals := 0, 0, 0
	for {
		f, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		frames++
		if f.Link != packet.LinkEthernet || len(f.Data) < 34 {
			continue
		}
		a, b := netip.AddrFrom4([4]byte(f.Data[26:30])), netip.AddrFrom4([4]byte(f.Data[30:34]))
		if a == source && b == destination || a == destination && b == source {
			between++
			if bytes.HasSuffix(f.Data, []byte{1, 0x83, 2}) {
				refusals++
			}
		}
	}
	if between != frames || refusals == 0 {
		t.Errorf("the download has %d frames, %d of them between %s and %s, %d of those refusals; want all, and the refusal", frames, between, source, destination, refusals)
	}
	if out, errs, code := otus(t, "analyze", "--output", "json", path); code != 0 || !strings.Contains(out, alert.Title) {
		t.Errorf("analyze of the download: exit %d, %q is not in it: %s", code, alert.Title, errs)
	}
	if got := statusOf(c.call(t.Context(), "GET", fleetPath+"/alerts/nothing/pcap", nil, nil)); got != http.StatusNotFound {
		t.Errorf("packets of no alert: %d, want 404", got)
	}
}

// TestDisconnecting takes the stream away in the middle of a replay and gives it back at its end.
func TestDisconnecting(t *testing.T) {
	const n = 40
	file := exceptions(t, n, 50*time.Millisecond)
	_, c := serving(t, t.TempDir(), "--replay", file, "--speed", "1", "--connect")
	var connector struct {
		Subscriptions []struct {
			ID        string
			Connected bool
		}
	}
	if err := c.call(t.Context(), "GET", "/otus/v1/workspaces/default/connectors/iot", nil, &connector); err != nil || len(connector.Subscriptions) != 1 {
		t.Fatalf("%v, %+v", err, connector)
	}
	connect := func(on bool) {
		t.Helper()
		path := "/otus/v1/workspaces/default/connectors/iot/subscriptions/" + connector.Subscriptions[0].ID
		if err := c.call(t.Context(), "PUT", path, map[string]bool{"connected": on}, nil); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "rows of the first alerts", func() error {
		if got := len(alertRows(t, c)); got < 3 {
			return fmt.Errorf("%d rows", got)
		}
		return nil
	})
	connect(false)
	before := alertRows(t, c)
	eventually(t, "all alerts at the fleet", func() error {
		if got := len(fleetAlerts(t, c)); got != n {
			return fmt.Errorf("%d alerts", got)
		}
		return nil
	})
	if after := alertRows(t, c); len(after) != len(before) || len(before) >= n {
		t.Errorf("disconnected, %d rows became %d, of %d alerts in the end", len(before), len(after), n)
	}
	connect(true)
	eventually(t, "an incident for each alert", func() error {
		if got := len(queue(t, c)); got != n {
			return fmt.Errorf("%d incidents", got)
		}
		return nil
	})
	isNew, revisions := map[string]int{}, map[string]int{}
	for _, a := range alertRows(t, c) {
		revisions[a.text("VendorOriginalId")+"/"+a.property("Revision")]++
		if a.property("isNew") == "True" {
			isNew[a.text("VendorOriginalId")]++
		}
	}
	for _, a := range fleetAlerts(t, c) {
		if isNew[a.ID] != 1 || revisions[fmt.Sprintf("%s/%d", a.ID, a.Revision)] != 1 {
			t.Errorf("alert %s came %d times as new, and %d times in its present revision %d; want once", a.ID, isNew[a.ID], revisions[fmt.Sprintf("%s/%d", a.ID, a.Revision)], a.Revision)
		}
	}
	for key, times := range revisions {
		if times != 1 {
			t.Errorf("row %s is there %d times", key, times)
		}
	}
}

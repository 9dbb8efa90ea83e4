package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

var tlsAddress = regexp.MustCompile(`https://(\S+)`)

// TestSensorElsewhere onboards the sensor program with its one-time token over HTTPS, and follows what it finds into
// the log tables, and a closed incident back to it.
func TestSensorElsewhere(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "otus-sensor")
	build := exec.Command("go", "build", "-o", program, "../otus-sensor")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build otus-sensor without cgo: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	token := filepath.Join(dir, "token")
	p := start(t, "up", "--data", filepath.Join(dir, "data"), "--connect", "--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0", "--admin-token-file", token)
	c := p.client(token)
	address := "https://" + tlsAddress.FindStringSubmatch(p.output())[1]

	var zones struct{ Items []struct{ ID string } }
	if err := c.call(ctx, "GET", "/otus/v1/fleet/zones", nil, &zones); err != nil || len(zones.Items) == 0 {
		t.Fatalf("zones: %v %v", zones, err)
	}
	var added struct{ ID, OnboardingToken string }
	if err := c.call(ctx, "POST", "/otus/v1/fleet/sensors", map[string]string{"name": "pump house", "zoneId": zones.Items[0].ID}, &added); err != nil {
		t.Fatal(err)
	}
	args := []string{"--data", filepath.Join(dir, "sensor"), "--fleet", address, "--ca", filepath.Join(dir, "data", "tls", "ca.pem"),
		"--token", added.OnboardingToken, "--replay", exceptions(t, 5, time.Millisecond)}
	sensor := exec.CommandContext(ctx, program, args...)
	log := filepath.Join(dir, "sensor.log")
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	sensor.Stderr = f
	if err := sensor.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		sensor.Process.Kill()
		sensor.Wait()
		f.Close()
		if t.Failed() {
			out, _ := os.ReadFile(log)
			t.Logf("otus-sensor:\n%s", out)
		}
	}()

	eventually(t, "the sensor's alerts become incidents", func() error {
		rows, err := c.query(ctx, `SecurityAlert | where tostring(parse_json(ExtendedProperties).SensorId) == "pump house" | distinct VendorOriginalId | count`)
		if err != nil {
			return err
		}
		incidents, err := c.query(ctx, `SecurityIncident | distinct IncidentNumber | count`)
		if err != nil {
			return err
		}
		if a, i := fmt.Sprint(rows.Rows[0][0]), fmt.Sprint(incidents.Rows[0][0]); a != "5" || i != "5" {
			return fmt.Errorf("%s alerts, %s incidents, want 5 and 5", a, i)
		}
		return nil
	})
	if err := c.call(ctx, "PATCH", "/otus/v1/workspaces/default/incidents/1", map[string]string{"status": "Closed", "classification": "Undetermined"}, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the closed incident closes the alert on the sensor", func() error {
		rows, err := c.query(ctx, `SecurityAlert | where Status == "Resolved" | count`)
		if err == nil && fmt.Sprint(rows.Rows[0][0]) != "1" {
			err = fmt.Errorf("%v rows say Resolved", rows.Rows[0][0])
		}
		return err
	})
	// The token works once.
	again := exec.CommandContext(ctx, program, "--data", filepath.Join(dir, "other"), "--fleet", address,
		"--ca", filepath.Join(dir, "data", "tls", "ca.pem"), "--token", added.OnboardingToken)
	if err := again.Run(); err == nil {
		t.Error("the one-time token was accepted twice")
	}
}

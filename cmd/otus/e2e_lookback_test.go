package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestANewRuleLooksBack gives a rule to a program that has its alerts already: the rule sees those of its last period,
// and its alerts join the incidents there are.
func TestANewRuleLooksBack(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	token := filepath.Join(dir, "token")
	p := start(t, "up", "--data", filepath.Join(dir, "data"), "--connect", "--replay", exceptions(t, 3, time.Millisecond),
		"--listen", "127.0.0.1:0", "--tls-listen", "", "--admin-token-file", token)
	c := p.client(token)
	count := func(query, want string) error {
		rows, err := c.query(ctx, query+" | count")
		if err == nil && fmt.Sprint(rows.Rows[0][0]) != want {
			err = fmt.Errorf("%s: %v, want %s", query, rows.Rows[0][0], want)
		}
		return err
	}
	eventually(t, "incidents of the replay", func() error { return count("SecurityIncident | distinct IncidentNumber", "3") })
	rule := `id: late
name: Late rule
description: Looks at alerts that were there before it.
kind: Scheduled
severity: Low
query: |
  SecurityAlert
  | where ProviderName == "IoTSecurity"
  | where TimeGenerated <= ProcessingEndTime + 60m
queryFrequency: 5m
queryPeriod: 1h
triggerOperator: gt
triggerThreshold: 0
eventGroupingSettings:
  aggregationKind: AlertPerResult
tactics: []
relevantTechniques: []
version: 1.0.0
`
	req, err := http.NewRequestWithContext(ctx, "PUT", c.base+"/otus/v1/workspaces/default/rules/late", strings.NewReader(rule))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", "text/yaml")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Fatalf("put rule: %d %s", resp.StatusCode, body)
	}
	eventually(t, "alerts of the new rule", func() error {
		return count(`SecurityAlert | where ProviderName == "CustomAlertRule"`, "3")
	})
	if err := count("SecurityIncident | distinct IncidentNumber", "3"); err != nil {
		t.Error(err)
	}
}

package incident

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/otus-project/otus/siem/state"
)

// Signal is what a rule found: one alert for one incident.
type Signal struct {
	RuleID   string
	RuleName string
	Alert    Alert
	// Originals are the vendor alert ids the alert is about. One: the alert belongs to the incident that owns that
	// id. None: the alert is its own. Several: it opens an incident of its own that only relates to their owners.
	Originals []string
}

// key is the alert id by which one incident owns the signal.
func (s *Signal) key() string {
	if len(s.Originals) == 1 {
		return s.Originals[0]
	}
	return s.Alert.SystemAlertID
}

// Result says what became of a signal.
type Result struct {
	Number  int64
	Created bool // a new incident was opened
	Joined  bool // the alert was added to the incident that owned its id already
}

// Open opens an incident for a signal, or adds its alert to the incident that owns the alert id already. The same
// alert again changes nothing but its stored revision. Everything happens in tx.
func (s *Service) Open(ctx context.Context, tx *state.Tx, sig Signal) (Result, error) {
	if sig.key() == "" || sig.Alert.SystemAlertID == "" {
		return Result{}, fmt.Errorf("open incident: an alert of rule %q has no id", sig.RuleName)
	}
	number, err := s.owner(ctx, tx, sig.key())
	switch {
	case err == nil:
		joined, err := s.join(ctx, tx, number, sig)
		return Result{Number: number, Joined: joined}, err
	case !errors.Is(err, ErrNotFound):
		return Result{}, err
	}
	i, err := s.create(ctx, tx, sig)
	if err != nil {
		return Result{}, err
	}
	return Result{Number: i.Number, Created: true}, nil
}

func (s *Service) create(ctx context.Context, tx *state.Tx, sig Signal) (*Incident, error) {
	var number int64
	if err := tx.QueryRowContext(ctx, `INSERT INTO incident_sequence (workspace, last) VALUES (?, 1)
		ON CONFLICT (workspace) DO UPDATE SET last = last + 1 RETURNING last`, s.ws.ID).Scan(&number); err != nil {
		return nil, fmt.Errorf("next incident number: %w", err)
	}
	a := sig.Alert
	i := &Incident{
		ID: s.idOf(sig.key()), Number: number, Title: a.Name, Description: cut(a.Description, maxDescription),
		Severity: a.Severity, Status: New, Labels: []string{}, CreatedTime: tx.Now(),
		FirstActivityTime: a.StartTime, LastActivityTime: a.EndTime, etag: 1,
		Engine: a.Engine, Protocol: a.Protocol, Sensor: a.Sensor, Site: a.Site, Zone: a.Zone,
		SourceDevice: device(a.Source, a.Devices, 0), DestinationDevice: device(a.Destination, a.Devices, 1),
	}
	if i.Title == "" {
		i.Title = sig.RuleName
	}
	// The unique key decides: of two workers that got here for one alert, one fails and tries again as a join.
	if _, err := tx.ExecContext(ctx, `INSERT INTO alert_owner (workspace, alert, incident) VALUES (?, ?, ?)`,
		s.ws.ID, sig.key(), number); err != nil {
		return nil, fmt.Errorf("own alert %q: %w", sig.key(), err)
	}
	i.take(sig)
	if err := s.attach(ctx, tx, i, sig, "owned"); err != nil {
		return nil, err
	}
	if len(sig.Originals) > 1 {
		for _, id := range sig.Originals {
			if _, err := tx.ExecContext(ctx, `INSERT INTO incident_relation (workspace, incident, alert) VALUES (?, ?, ?)
				ON CONFLICT DO NOTHING`, s.ws.ID, number, id); err != nil {
				return nil, fmt.Errorf("relate incident %d: %w", number, err)
			}
		}
	}
	if err := s.note(ctx, tx, i, sig.RuleName, "created", fmt.Sprintf("Opened by the rule %q.", sig.RuleName)); err != nil {
		return nil, err
	}
	return i, s.store(ctx, tx, i, sig.RuleName, "created")
}

// device names one side of the traffic; alerts that name no sides list their devices source first.
func device(e Endpoint, devices []Device, n int) string {
	switch {
	case e.Name != "":
		return e.Name
	case e.Address != "":
		return e.Address
	case e == (Endpoint{}) && n < len(devices):
		return devices[n].Name
	}
	return ""
}

// take adds the rule, the alert's times and its lists.
func (i *Incident) take(sig Signal) {
	a := sig.Alert
	i.AlertsCount++
	if !a.StartTime.IsZero() && (i.FirstActivityTime.IsZero() || a.StartTime.Before(i.FirstActivityTime)) {
		i.FirstActivityTime = a.StartTime
	}
	if a.EndTime.After(i.LastActivityTime) {
		i.LastActivityTime = a.EndTime
	}
	i.Tactics, i.Techniques = union(i.Tactics, a.Tactics...), union(i.Techniques, a.Techniques...)
	i.products = union(i.products, a.ProductName)
	i.keywords = union(i.keywords, a.VendorOriginalID, a.SystemAlertID, a.Name, a.Category, a.Source.Address, a.Destination.Address)
	for _, d := range a.Devices {
		i.keywords = union(i.keywords, d.Name, d.IPAddress, d.MACAddress, d.Vendor, d.Type)
	}
	if len(i.keywords) > maxKeywords {
		i.keywords = i.keywords[:maxKeywords]
	}
	if !slices.Contains(i.ruleIDs, sig.RuleID) {
		i.ruleIDs, i.RuleNames = append(i.ruleIDs, sig.RuleID), append(full(i.RuleNames), sig.RuleName)
	}
}

func union(list []string, more ...string) []string {
	list = full(list)
	for _, word := range more {
		if word != "" && !slices.Contains(list, word) {
			list = append(list, word)
		}
	}
	return list
}

func (s *Service) attach(ctx context.Context, tx *state.Tx, i *Incident, sig Signal, relation string) error {
	body, err := json.Marshal(sig.Alert)
	if err != nil {
		return err
	}
	vendor := ""
	if len(sig.Originals) == 1 {
		vendor = sig.Originals[0]
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO incident_alert (workspace, incident, alert, ordinal, vendor, relation, rule, revision, body)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		s.ws.ID, i.Number, sig.Alert.SystemAlertID, i.AlertsCount, vendor, relation, sig.RuleID, sig.Alert.Revision, string(body))
	if err != nil {
		return fmt.Errorf("add alert to incident %d: %w", i.Number, err)
	}
	return nil
}

// join adds the alert to the incident that owns its id. It reports false if the alert is there already.
func (s *Service) join(ctx context.Context, tx *state.Tx, number int64, sig Signal) (bool, error) {
	var known int
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM incident_alert WHERE workspace = ? AND incident = ? AND alert = ?`,
		s.ws.ID, number, sig.Alert.SystemAlertID).Scan(&known); err != nil {
		return false, fmt.Errorf("alerts of incident %d: %w", number, err)
	}
	if known > 0 {
		return false, s.Refresh(ctx, tx, sig.Alert)
	}
	i, err := s.load(ctx, tx, number)
	if err != nil {
		return false, err
	}
	i.take(sig)
	if err := s.attach(ctx, tx, &i, sig, "joined"); err != nil {
		return false, err
	}
	if err := s.note(ctx, tx, &i, sig.RuleName, "alert", fmt.Sprintf("The rule %q found the same alert: %s.", sig.RuleName, sig.Alert.Name)); err != nil {
		return false, err
	}
	return true, s.store(ctx, tx, &i, sig.RuleName, "updated")
}

// Known reports whether the owning incident holds the signal's alert already, and whether there is an owning
// incident at all. It spares a transaction; Open decides by itself.
func (s *Service) Known(ctx context.Context, sig Signal) (known, owned bool, err error) {
	q := s.db.Reader()
	number, err := s.owner(ctx, q, sig.key())
	if errors.Is(err, ErrNotFound) {
		return false, false, nil
	}
	if err != nil {
		return false, false, err
	}
	var n int
	err = q.QueryRowContext(ctx, `SELECT count(*) FROM incident_alert WHERE workspace = ? AND incident = ? AND alert = ?`,
		s.ws.ID, number, sig.Alert.SystemAlertID).Scan(&n)
	if err != nil {
		return false, false, fmt.Errorf("alerts of incident %d: %w", number, err)
	}
	return n > 0, true, nil
}

// Outdated keeps of the alerts those that some incident holds at an older revision.
func (s *Service) Outdated(ctx context.Context, alerts []Alert) ([]Alert, error) {
	var all []Alert
	for _, a := range alerts {
		var n int
		err := s.db.Reader().QueryRowContext(ctx, `SELECT count(*) FROM incident_alert WHERE workspace = ? AND alert = ? AND revision < ?`,
			s.ws.ID, a.SystemAlertID, a.Revision).Scan(&n)
		if err != nil {
			return nil, fmt.Errorf("revision of alert %q: %w", a.SystemAlertID, err)
		}
		if n > 0 {
			all = append(all, a)
		}
	}
	return all, nil
}

// Refresh takes a newer revision of an alert into the incidents that hold it. It changes what they show of the alert,
// never the incident itself: no status, no time, no log row.
func (s *Service) Refresh(ctx context.Context, tx *state.Tx, a Alert) error {
	body, err := json.Marshal(a)
	if err != nil {
		return err
	}
	rows, err := tx.QueryContext(ctx, `UPDATE incident_alert SET body = ?, revision = ?
		WHERE workspace = ? AND alert = ? AND revision < ? RETURNING incident`,
		string(body), a.Revision, s.ws.ID, a.SystemAlertID, a.Revision)
	if err != nil {
		return fmt.Errorf("refresh alert %q: %w", a.SystemAlertID, err)
	}
	numbers, err := state.Scan(rows, func(n *int64) []any { return []any{n} })
	if err != nil {
		return fmt.Errorf("refresh alert %q: %w", a.SystemAlertID, err)
	}
	if s.o.Notify != nil {
		for _, number := range numbers {
			tx.AfterCommit(func() { s.o.Notify(number, "updated") })
		}
	}
	return nil
}

// Limits of texts, as the SIEM our users come from has them.
const (
	maxTitle       = 1000
	maxDescription = 5000
	maxComment     = 30000
	maxComments    = 100
	maxKeywords    = 200 // words of its alerts an incident can be found by
)

// cut shortens a text to at most n bytes, at a character's edge.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && text[n]&0xC0 == 0x80 {
		n--
	}
	return text[:n]
}

package fleet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/otus-project/otus/event"
)

// Alert is the current revision of an alert, and where its sensor stands.
type Alert struct {
	event.Alert
	Site string `json:"site"`
	Zone string `json:"zone"`
}

// StatusChange is one step in the life of an alert.
type StatusChange struct {
	Revision int               `json:"revision"`
	Status   event.AlertStatus `json:"status"`
	Muted    bool              `json:"muted"`
	Learned  bool              `json:"learned"`
	Time     time.Time         `json:"time"`
}

// AlertFilter chooses alerts for a page; empty parts choose all.
type AlertFilter struct {
	Status, Severity, Engine, Sensor []string // Sensor holds ids
	Device                           string   // id
	Q                                string   // words that must all occur
	Sort                             string   // lastActivity, firstDetection, lastDetection, severity, title, engine, status; "-" before it turns it round
	Limit, Offset                    int
}

// AlertPage is one page of alerts.
type AlertPage struct {
	Items  []Alert `json:"items"`
	Total  int     `json:"total"`
	Facets Facets  `json:"facets"`
}

const alertTables = `alert JOIN sensor ON sensor.id = alert.sensor_id JOIN zone ON zone.id = zone_id JOIN site ON site.id = site_id`

func scanAlert(rows *sql.Rows, a *Alert) error {
	return rows.Scan(jsonColumn(&a.Alert), &a.Site, &a.Zone)
}

// Alerts gives a page of alerts, by default those with the newest activity first.
func (f *Fleet) Alerts(ctx context.Context, filter AlertFilter) (AlertPage, error) {
	sorted, err := order(filter.Sort, "-lastActivity", map[string]string{
		"lastActivity": "alert.last_activity", "firstDetection": "alert.first_detection", "lastDetection": "alert.last_detection",
		"severity": "alert.severity_rank", "title": "alert.title", "engine": "alert.engine", "status": "alert.status",
	})
	if err != nil {
		return AlertPage{}, err
	}
	conditions, err := containing(ctx, f.db.reader, "alert", filter.Q)
	if err != nil {
		return AlertPage{}, err
	}
	conditions = append(conditions, in("status", "alert.status", filter.Status)...)
	conditions = append(conditions, in("severity", "alert.severity", filter.Severity)...)
	conditions = append(conditions, in("engine", "alert.engine", filter.Engine)...)
	conditions = append(conditions, in("sensor", "alert.sensor_id", filter.Sensor)...)
	if filter.Device != "" {
		conditions = append(conditions, condition{text: "alert.id IN (SELECT alert_id FROM alert_device WHERE device_id = ?)", args: []any{filter.Device}})
	}
	page := AlertPage{Facets: Facets{}}
	text, args := where(conditions, "")
	if err := f.db.reader.QueryRowContext(ctx, "SELECT count(*) FROM alert"+text, args...).Scan(&page.Total); err != nil {
		return page, fmt.Errorf("list alerts: %w", err)
	}
	limit, offset := bounds(filter.Limit, filter.Offset)
	// The rows of the page are found first, so that only their bodies are read and sorted.
	found := "SELECT alert.rowid FROM alert" + text + sorted + ", alert.rowid LIMIT ? OFFSET ?"
	page.Items, err = collect(ctx, f.db.reader, scanAlert, "SELECT alert.body, site.name, zone.name FROM "+alertTables+" WHERE alert.rowid IN ("+found+")"+sorted+", alert.rowid", append(args, limit, offset)...)
	if err != nil {
		return page, fmt.Errorf("list alerts: %w", err)
	}
	for _, name := range []string{"status", "severity", "engine"} {
		if page.Facets[name], err = facet(ctx, f.db.reader, name, "alert."+name, "alert", conditions); err != nil {
			return page, err
		}
	}
	return page, nil
}

// Alert gives one alert and the changes of its status, oldest first.
func (f *Fleet) Alert(ctx context.Context, id string) (Alert, []StatusChange, error) {
	alerts, err := collect(ctx, f.db.reader, scanAlert, "SELECT alert.body, site.name, zone.name FROM "+alertTables+" WHERE alert.id = ?", id)
	if err == nil && len(alerts) == 0 {
		err = sql.ErrNoRows
	}
	if err != nil {
		return Alert{}, nil, missing(err, "alert", id)
	}
	changes, err := collect(ctx, f.db.reader, func(rows *sql.Rows, c *StatusChange) error {
		var at int64
		err := rows.Scan(&c.Revision, &c.Status, &c.Muted, &c.Learned, &at)
		c.Time = moment(at)
		return err
	}, `SELECT revision, status, muted, learned, time FROM alert_status WHERE alert_id = ? ORDER BY revision`, id)
	return alerts[0], changes, err
}

// AlertState gives the current revision of an alert, and whether the fleet knows it.
func (f *Fleet) AlertState(ctx context.Context, id string) (event.Alert, bool, error) {
	var a event.Alert
	err := f.db.reader.QueryRowContext(ctx, `SELECT body FROM alert WHERE id = ?`, id).Scan(jsonColumn(&a))
	if errors.Is(err, sql.ErrNoRows) {
		return a, false, nil
	}
	if err != nil {
		return a, false, fmt.Errorf("read alert %q: %w", id, err)
	}
	return a, true, nil
}

// Capture gives the packets around an alert as a pcap file.
func (f *Fleet) Capture(ctx context.Context, alertID string) ([]byte, error) {
	var pcap []byte
	err := f.db.reader.QueryRowContext(ctx, `SELECT pcap FROM capture WHERE alert_id = ?`, alertID).Scan(&pcap)
	if err != nil {
		return nil, missing(err, "capture of alert", alertID)
	}
	return pcap, nil
}

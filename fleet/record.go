package fleet

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/otus-project/otus/event"
)

// hot are the statements that run for every record.
var hot = []string{insertEntry, selectAlert, upsertAlert, selectDevice, upsertDevice, insertAlertDevice}

const (
	selectAlert = `SELECT sensor_id, revision, status FROM alert WHERE id = ?`

	upsertAlert = `INSERT INTO alert(id, sensor_id, revision, status, severity, severity_rank, engine, title, protocol, first_detection, last_detection, last_activity, received, search, body)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT(id) DO UPDATE SET revision = excluded.revision, status = excluded.status, severity = excluded.severity, severity_rank = excluded.severity_rank,
			engine = excluded.engine, title = excluded.title, protocol = excluded.protocol, first_detection = excluded.first_detection, last_detection = excluded.last_detection,
			last_activity = excluded.last_activity, received = excluded.received, search = excluded.search, body = excluded.body`

	insertAlertDevice = `INSERT INTO alert_device(alert_id, device_id) VALUES (?, ?) ON CONFLICT DO NOTHING`

	selectDevice = `SELECT sensor_id, revision FROM device WHERE id = ?`

	upsertDevice = `INSERT INTO device(id, sensor_id, revision, name, type, vendor, ot, protocols, first_seen, last_seen, received, search, body)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT(id) DO UPDATE SET revision = excluded.revision, name = excluded.name, type = excluded.type, vendor = excluded.vendor, ot = excluded.ot,
			protocols = excluded.protocols, first_seen = excluded.first_seen, last_seen = excluded.last_seen, received = excluded.received, search = excluded.search, body = excluded.body`
)

// severityRank orders severities; what is not known is lowest.
var severityRank = map[event.Severity]int{
	event.SeverityHigh: 4, event.SeverityMedium: 3, event.SeverityLow: 2, event.SeverityInformational: 1,
}

// apply changes the current tables by one record.
func (in *ingestion) apply(ctx context.Context, r *event.Record) error {
	switch r.Kind {
	case event.KindAlert:
		return in.applyAlert(ctx, r)
	case event.KindDevice:
		return in.applyDevice(ctx, r.Device)
	case event.KindCapture:
		return in.applyCapture(ctx, r.Capture)
	case event.KindHealth:
		in.health = r.Health
	}
	return nil
}

func (in *ingestion) scanHot(ctx context.Context, text, id string, targets ...any) (found bool, err error) {
	err = in.tx.StmtContext(ctx, in.tx.d.hot[text]).QueryRowContext(ctx, id).Scan(targets...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

func (in *ingestion) applyAlert(ctx context.Context, r *event.Record) error {
	a := r.Alert
	var owner string
	var revision int
	var status event.AlertStatus
	found, err := in.scanHot(ctx, selectAlert, a.ID, &owner, &revision, &status)
	switch {
	case err != nil:
		return err
	case found && owner != in.b.SensorID:
		return fmt.Errorf("%w: alert %q belongs to another sensor", ErrInvalid, a.ID)
	case found && a.Revision <= revision:
		return nil // an older one never overwrites
	}
	body, err := json.Marshal(a)
	if err != nil {
		return err
	}
	_, err = in.tx.exec(ctx, upsertAlert, a.ID, in.b.SensorID, a.Revision, a.Status, a.Severity, severityRank[a.Severity], a.Engine, a.Title, a.Protocol,
		nanos(a.FirstDetection), nanos(a.LastDetection), nanos(a.LastActivity), in.received, searchAlert(a), body)
	if err != nil {
		return err
	}
	if !found || status != a.Status {
		_, err = in.tx.exec(ctx, `INSERT INTO alert_status(alert_id, revision, status, muted, learned, time) VALUES (?, ?, ?, ?, ?, ?)`,
			a.ID, a.Revision, a.Status, a.Muted, a.Learned, nanos(a.LastActivity))
		if err != nil {
			return err
		}
	}
	for _, device := range devicesOf(r) {
		if _, err := in.tx.exec(ctx, insertAlertDevice, a.ID, device); err != nil {
			return err
		}
	}
	in.noteRow("alert", a.ID, found)
	return nil
}

func (in *ingestion) applyDevice(ctx context.Context, d *event.Device) error {
	var owner string
	var revision int
	found, err := in.scanHot(ctx, selectDevice, d.ID, &owner, &revision)
	switch {
	case err != nil:
		return err
	case found && owner != in.b.SensorID:
		return fmt.Errorf("%w: device %q belongs to another sensor", ErrInvalid, d.ID)
	case found && d.Revision <= revision:
		return nil
	}
	body, err := json.Marshal(d)
	if err != nil {
		return err
	}
	protocols := d.Protocols
	if protocols == nil {
		protocols = []string{}
	}
	list, err := json.Marshal(protocols)
	if err != nil {
		return err
	}
	_, err = in.tx.exec(ctx, upsertDevice, d.ID, in.b.SensorID, d.Revision, d.Name, d.Type, d.Vendor, d.OT, string(list),
		nanos(d.FirstSeen), nanos(d.LastSeen), in.received, searchDevice(d), body)
	if err != nil {
		return err
	}
	in.noteRow("device", d.ID, found)
	return nil
}

func (in *ingestion) applyCapture(ctx context.Context, c *event.Capture) error {
	var foreign bool
	err := in.tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM alert WHERE id = ?1 AND sensor_id <> ?2) OR EXISTS (SELECT 1 FROM capture WHERE alert_id = ?1 AND sensor_id <> ?2)`,
		c.AlertID, in.b.SensorID).Scan(&foreign)
	if err != nil {
		return err
	}
	if foreign {
		return fmt.Errorf("%w: alert %q belongs to another sensor", ErrInvalid, c.AlertID)
	}
	// Replaced by delete and insert, so that the newest has the highest number.
	if _, err := in.tx.exec(ctx, `DELETE FROM capture WHERE alert_id = ?`, c.AlertID); err != nil {
		return err
	}
	pcap := c.PCAP
	if pcap == nil {
		pcap = []byte{}
	}
	_, err = in.tx.exec(ctx, `INSERT INTO capture(alert_id, sensor_id, received, packets, bytes, pcap) VALUES (?, ?, ?, ?, ?, ?)`,
		c.AlertID, in.b.SensorID, in.received, c.Packets, len(c.PCAP), pcap)
	in.note("alert", c.AlertID, "updated")
	return err
}

func (in *ingestion) noteRow(kind, id string, known bool) {
	if known {
		in.note(kind, id, "updated")
	} else {
		in.note(kind, id, "created")
	}
}

// searchAlert gives the text in which a search looks.
func searchAlert(a *event.Alert) string {
	words := []string{a.ID, a.Type, a.Title, string(a.Engine), a.Category, a.Protocol, a.Description}
	for _, end := range []*event.Endpoint{a.Source, a.Destination} {
		if end != nil {
			words = append(words, end.Name, end.Address)
		}
	}
	for i := range a.Devices {
		words = append(words, a.Devices[i].Name, a.Devices[i].Vendor)
	}
	return strings.ToLower(strings.Join(words, "\n"))
}

func searchDevice(d *event.Device) string {
	words := []string{d.ID, d.Name, d.Vendor, d.Type, d.Model, d.FirmwareVersion, d.SerialNumber, d.OperatingSystem}
	for _, address := range d.IPAddresses {
		words = append(words, address.String())
	}
	words = append(words, d.MACAddresses...)
	words = append(words, d.Protocols...)
	return strings.ToLower(strings.Join(words, "\n"))
}

package fleet

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/otus-project/otus/event"
)

// Device is a device as its sensor last described it, and what the fleet knows about it.
type Device struct {
	event.Device
	Site       string `json:"site"`
	Zone       string `json:"zone"`
	SensorName string `json:"sensorName"`
	Line       string `json:"line"` // name of its production line, if it has one
	OpenAlerts int    `json:"openAlerts"`
}

// DeviceFilter chooses devices for a page; empty parts choose all.
type DeviceFilter struct {
	Type, Vendor, Protocol, Sensor []string // Sensor holds ids
	OT                             *bool
	Q                              string // words that must all occur
	Sort                           string // name, type, vendor, firstSeen, lastSeen, openAlerts, sensor; "-" before it turns it round
	Limit, Offset                  int
}

// DevicePage is one page of devices.
type DevicePage struct {
	Items  []Device `json:"items"`
	Total  int      `json:"total"`
	Facets Facets   `json:"facets"`
}

const (
	openAlertsOf = `(SELECT count(*) FROM alert_device JOIN alert ON alert.id = alert_id WHERE device_id = device.id AND alert.status <> 'Closed')`

	selectDevices = `SELECT device.body, site.name, zone.name, sensor.name, line.name, ` + openAlertsOf + ` AS open_alerts
		FROM device JOIN sensor ON sensor.id = device.sensor_id JOIN zone ON zone.id = zone_id JOIN site ON site.id = zone.site_id
		LEFT JOIN line_device ON line_device.device_id = device.id LEFT JOIN line ON line.id = line_id`
)

func scanDevice(rows *sql.Rows, d *Device) error {
	var line sql.NullString
	err := rows.Scan(jsonColumn(&d.Device), &d.Site, &d.Zone, &d.SensorName, &line, &d.OpenAlerts)
	d.Line = line.String
	return err
}

// Devices gives a page of devices, by default by name.
func (f *Fleet) Devices(ctx context.Context, filter DeviceFilter) (DevicePage, error) {
	sorted, err := order(filter.Sort, "name", map[string]string{
		"name": "device.name", "type": "device.type", "vendor": "device.vendor", "firstSeen": "device.first_seen", "lastSeen": "device.last_seen",
		"openAlerts": "open_alerts", "sensor": "sensor.name",
	})
	if err != nil {
		return DevicePage{}, err
	}
	conditions, err := containing(ctx, f.db.reader, "device", filter.Q)
	if err != nil {
		return DevicePage{}, err
	}
	conditions = append(conditions, in("type", "device.type", filter.Type)...)
	conditions = append(conditions, in("vendor", "device.vendor", filter.Vendor)...)
	conditions = append(conditions, in("sensor", "device.sensor_id", filter.Sensor)...)
	for _, c := range in("protocol", "value", filter.Protocol) {
		c.text = "EXISTS (SELECT 1 FROM json_each(device.protocols) WHERE " + c.text + ")"
		conditions = append(conditions, c)
	}
	if filter.OT != nil {
		conditions = append(conditions, condition{text: "device.ot = ?", args: []any{*filter.OT}})
	}
	page := DevicePage{Facets: Facets{}}
	text, args := where(conditions, "")
	if err := f.db.reader.QueryRowContext(ctx, "SELECT count(*) FROM device"+text, args...).Scan(&page.Total); err != nil {
		return page, fmt.Errorf("list devices: %w", err)
	}
	limit, offset := bounds(filter.Limit, filter.Offset)
	page.Items, err = collect(ctx, f.db.reader, scanDevice, selectDevices+text+sorted+", device.id LIMIT ? OFFSET ?", append(args, limit, offset)...)
	if err != nil {
		return page, fmt.Errorf("list devices: %w", err)
	}
	for _, of := range []struct{ name, expression, from string }{
		{"type", "device.type", "device"},
		{"vendor", "device.vendor", "device"},
		{"protocol", "each.value", "device, json_each(device.protocols) AS each"},
	} {
		if page.Facets[of.name], err = facet(ctx, f.db.reader, of.name, of.expression, of.from, conditions); err != nil {
			return page, err
		}
	}
	return page, nil
}

// Device gives one device.
func (f *Fleet) Device(ctx context.Context, id string) (Device, error) {
	devices, err := collect(ctx, f.db.reader, scanDevice, selectDevices+" WHERE device.id = ?", id)
	if err == nil && len(devices) == 0 {
		err = sql.ErrNoRows
	}
	if err != nil {
		return Device{}, missing(err, "device", id)
	}
	return devices[0], nil
}

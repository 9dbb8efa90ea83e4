package fleet

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"unicode"

	"github.com/google/uuid"
	"github.com/otus-project/otus/event"
)

// Subscription groups sites; its plan says whether its records enter its stream.
type Subscription struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	PlanOn bool   `json:"planOn"`
	// Lost counts entries that were removed from a full stream before they were read.
	Lost uint64 `json:"lost"`
}

// Site is a plant, with the people who own it.
type Site struct {
	ID             string   `json:"id"`
	SubscriptionID string   `json:"subscriptionId"`
	Name           string   `json:"name"`
	Owners         []string `json:"owners"` // mail addresses
}

// Zone is a part of a site with addresses of its own.
type Zone struct {
	ID     string `json:"id"`
	SiteID string `json:"siteId"`
	Name   string `json:"name"`
}

// Line is a production line: devices that belong together, and the people to ask about them.
type Line struct {
	ID        string   `json:"id"`
	SiteID    string   `json:"siteId"`
	Name      string   `json:"name"`
	Owners    []string `json:"owners"` // mail addresses
	DeviceIDs []string `json:"deviceIds"`
}

// Bounds of what people enter.
const (
	maxName        = 100 // characters
	maxOwners      = 50
	maxLineDevices = 10_000
)

// Subscriptions gives all subscriptions by name.
func (f *Fleet) Subscriptions(ctx context.Context) ([]Subscription, error) {
	return collect(ctx, f.db.reader, func(rows *sql.Rows, s *Subscription) error {
		return rows.Scan(&s.ID, &s.Name, &s.PlanOn, &s.Lost)
	}, `SELECT id, name, plan_on, lost FROM subscription ORDER BY name`)
}

// AddSubscription makes a subscription; its plan is off.
func (f *Fleet) AddSubscription(ctx context.Context, name string) (Subscription, error) {
	s := Subscription{ID: uuid.NewString(), Name: name}
	err := f.change(ctx, "subscription", s.ID, "create", name, func(ctx context.Context, tx *transaction) error {
		if err := checkName(name); err != nil {
			return err
		}
		_, err := tx.exec(ctx, `INSERT INTO subscription(id, name, plan_on) VALUES (?, ?, 0)`, s.ID, name)
		return err
	})
	return s, err
}

// SetPlan switches a subscription's plan. While it is off its records still change the fleet's own tables, but none
// enters the stream.
func (f *Fleet) SetPlan(ctx context.Context, subscription string, on bool) error {
	err := f.change(ctx, "subscription", subscription, "plan", fmt.Sprintf("planOn=%t", on), func(ctx context.Context, tx *transaction) error {
		return one(tx.exec(ctx, `UPDATE subscription SET plan_on = ? WHERE id = ?`, on, subscription))
	})
	if err == nil {
		f.wake(subscription)
	}
	return err
}

// Sites gives all sites by name.
func (f *Fleet) Sites(ctx context.Context) ([]Site, error) {
	return collect(ctx, f.db.reader, func(rows *sql.Rows, s *Site) error {
		return rows.Scan(&s.ID, &s.SubscriptionID, &s.Name, jsonColumn(&s.Owners))
	}, `SELECT site.id, subscription.id, site.name, owners FROM site JOIN subscription ON subscription.number = site.subscription ORDER BY site.name, site.id`)
}

// AddSite makes a site. Without a subscription id it belongs to the oldest subscription.
func (f *Fleet) AddSite(ctx context.Context, s Site) (Site, error) {
	s.ID = uuid.NewString()
	err := f.change(ctx, "site", s.ID, "create", s.Name, func(ctx context.Context, tx *transaction) error {
		owners, err := nameAndOwners(s.Name, s.Owners)
		if err != nil {
			return err
		}
		var number int64
		err = tx.QueryRowContext(ctx, `SELECT number, id FROM subscription WHERE id = ? OR ? = '' ORDER BY number LIMIT 1`, s.SubscriptionID, s.SubscriptionID).Scan(&number, &s.SubscriptionID)
		if err != nil {
			return missing(err, "subscription", s.SubscriptionID)
		}
		_, err = tx.exec(ctx, `INSERT INTO site(id, subscription, name, owners) VALUES (?, ?, ?, ?)`, s.ID, number, s.Name, owners)
		return err
	})
	if s.Owners == nil {
		s.Owners = []string{}
	}
	return s, err
}

// SetSite changes a site's name and owners; nil leaves one as it is.
func (f *Fleet) SetSite(ctx context.Context, id string, name *string, owners []string) error {
	return f.change(ctx, "site", id, "update", "", func(ctx context.Context, tx *transaction) error {
		return setNameAndOwners(ctx, tx, "site", id, name, owners)
	})
}

// RemoveSite removes a site without zones, and its lines.
func (f *Fleet) RemoveSite(ctx context.Context, id string) error {
	err := f.change(ctx, "site", id, "delete", "", func(ctx context.Context, tx *transaction) error {
		if _, err := tx.exec(ctx, `DELETE FROM line WHERE site_id = ?`, id); err != nil {
			return err
		}
		return one(tx.exec(ctx, `DELETE FROM site WHERE id = ?`, id))
	})
	return errors.Join(err, f.loadLines(ctx))
}

// Zones gives all zones by name.
func (f *Fleet) Zones(ctx context.Context) ([]Zone, error) {
	return collect(ctx, f.db.reader, func(rows *sql.Rows, z *Zone) error {
		return rows.Scan(&z.ID, &z.SiteID, &z.Name)
	}, `SELECT id, site_id, name FROM zone ORDER BY name, id`)
}

// AddZone makes a zone of a site.
func (f *Fleet) AddZone(ctx context.Context, z Zone) (Zone, error) {
	z.ID = uuid.NewString()
	return z, f.change(ctx, "zone", z.ID, "create", z.Name, func(ctx context.Context, tx *transaction) error {
		if err := checkName(z.Name); err != nil {
			return err
		}
		_, err := tx.exec(ctx, `INSERT INTO zone(id, site_id, name) VALUES (?, ?, ?)`, z.ID, z.SiteID, z.Name)
		return err
	})
}

// SetZone renames a zone.
func (f *Fleet) SetZone(ctx context.Context, id, name string) error {
	return f.change(ctx, "zone", id, "update", "name="+name, func(ctx context.Context, tx *transaction) error {
		if err := checkName(name); err != nil {
			return err
		}
		return one(tx.exec(ctx, `UPDATE zone SET name = ? WHERE id = ?`, name, id))
	})
}

// RemoveZone removes a zone without sensors.
func (f *Fleet) RemoveZone(ctx context.Context, id string) error {
	return f.change(ctx, "zone", id, "delete", "", func(ctx context.Context, tx *transaction) error {
		return one(tx.exec(ctx, `DELETE FROM zone WHERE id = ?`, id))
	})
}

// Lines gives all lines by name, with their devices.
func (f *Fleet) Lines(ctx context.Context) ([]Line, error) {
	return collect(ctx, f.db.reader, func(rows *sql.Rows, l *Line) error {
		return rows.Scan(&l.ID, &l.SiteID, &l.Name, jsonColumn(&l.Owners), jsonColumn(&l.DeviceIDs))
	}, `SELECT id, site_id, name, owners, (SELECT json_group_array(device_id ORDER BY device_id) FROM line_device WHERE line_id = line.id) FROM line ORDER BY name, id`)
}

// AddLine makes a line. A device that belonged to another line moves to this one.
func (f *Fleet) AddLine(ctx context.Context, l Line) (Line, error) {
	l.ID = uuid.NewString()
	err := f.change(ctx, "line", l.ID, "create", l.Name, func(ctx context.Context, tx *transaction) error {
		owners, err := nameAndOwners(l.Name, l.Owners)
		if err != nil {
			return err
		}
		if _, err := tx.exec(ctx, `INSERT INTO line(id, site_id, name, owners) VALUES (?, ?, ?, ?)`, l.ID, l.SiteID, l.Name, owners); err != nil {
			return err
		}
		return setLineDevices(ctx, tx, l.ID, l.DeviceIDs)
	})
	if l.Owners == nil {
		l.Owners = []string{}
	}
	if l.DeviceIDs == nil {
		l.DeviceIDs = []string{}
	}
	return l, errors.Join(err, f.loadLines(ctx))
}

// SetLine changes a line; nil leaves a part as it is.
func (f *Fleet) SetLine(ctx context.Context, id string, name *string, owners, deviceIDs []string) error {
	err := f.change(ctx, "line", id, "update", "", func(ctx context.Context, tx *transaction) error {
		if err := setNameAndOwners(ctx, tx, "line", id, name, owners); err != nil || deviceIDs == nil {
			return err
		}
		return setLineDevices(ctx, tx, id, deviceIDs)
	})
	return errors.Join(err, f.loadLines(ctx))
}

// RemoveLine removes a line; its devices stay.
func (f *Fleet) RemoveLine(ctx context.Context, id string) error {
	err := f.change(ctx, "line", id, "delete", "", func(ctx context.Context, tx *transaction) error {
		return one(tx.exec(ctx, `DELETE FROM line WHERE id = ?`, id))
	})
	return errors.Join(err, f.loadLines(ctx))
}

func setLineDevices(ctx context.Context, tx *transaction, line string, devices []string) error {
	if len(devices) > maxLineDevices {
		return fmt.Errorf("%w: a line has at most %d devices", ErrInvalid, maxLineDevices)
	}
	if _, err := tx.exec(ctx, `DELETE FROM line_device WHERE line_id = ?`, line); err != nil {
		return err
	}
	for _, device := range devices {
		if device == "" || len(device) > maxName {
			return fmt.Errorf("%w: device id %q", ErrInvalid, device)
		}
		if _, err := tx.exec(ctx, `INSERT INTO line_device(device_id, line_id) VALUES (?, ?) ON CONFLICT(device_id) DO UPDATE SET line_id = excluded.line_id`, device, line); err != nil {
			return err
		}
	}
	return nil
}

// loadLines reads which device belongs to which line; Ingest looks at it for every record.
func (f *Fleet) loadLines(ctx context.Context) error {
	f.loading.Lock() // an older reading must not replace a newer one
	defer f.loading.Unlock()
	lines := map[string]event.Line{}
	_, err := collect(ctx, f.db.reader, func(rows *sql.Rows, _ *struct{}) error {
		var device string
		var line event.Line
		if err := rows.Scan(&device, &line.Name, jsonColumn(&line.Owners)); err != nil {
			return err
		}
		lines[device] = line
		return nil
	}, `SELECT device_id, name, owners FROM line_device JOIN line ON line.id = line_id`)
	if err != nil {
		return fmt.Errorf("read lines: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lines = lines
	return nil
}

// change runs one change that was asked for, gives its error a kind, and speaks of it.
func (f *Fleet) change(ctx context.Context, kind, id, verb, detail string, do func(context.Context, *transaction) error) error {
	err := f.db.write(ctx, do)
	if err == nil {
		f.done(ctx, kind, id, verb, detail)
		return nil
	}
	switch unique, reference := constraint(err); {
	case unique:
		return fmt.Errorf("%w: a %s of that name exists", ErrConflict, kind)
	case reference && verb == "delete":
		return fmt.Errorf("%w: %s %q is still in use", ErrConflict, kind, id)
	case reference:
		return fmt.Errorf("%w: what %s %q is to belong to does not exist", ErrInvalid, kind, id)
	case errors.Is(err, errNothing):
		return fmt.Errorf("%s %q: %w", kind, id, ErrNotFound)
	}
	return fmt.Errorf("%s %s: %w", verb, kind, err)
}

// errNothing says that no row was changed.
var errNothing = errors.New("no such row")

func one(rows int64, err error) error {
	if err == nil && rows == 0 {
		return errNothing
	}
	return err
}

func missing(err error, kind, id string) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%s %q: %w", kind, id, ErrNotFound)
	}
	return fmt.Errorf("read %s %q: %w", kind, id, err)
}

func setNameAndOwners(ctx context.Context, tx *transaction, table, id string, name *string, owners []string) error {
	if name != nil {
		if err := checkName(*name); err != nil {
			return err
		}
	}
	var list any
	if owners != nil {
		text, err := checkOwners(owners)
		if err != nil {
			return err
		}
		list = text
	}
	return one(tx.exec(ctx, `UPDATE `+table+` SET name = coalesce(?, name), owners = coalesce(?, owners) WHERE id = ?`, name, list, id))
}

func nameAndOwners(name string, owners []string) (list string, err error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	return checkOwners(owners)
}

func checkName(name string) error {
	if name == "" || strings.TrimSpace(name) != name || len([]rune(name)) > maxName || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("%w: name %q: want 1 to %d printable characters, no space at the ends", ErrInvalid, name, maxName)
	}
	return nil
}

// checkOwners gives the stored form of mail addresses.
func checkOwners(owners []string) (string, error) {
	if len(owners) > maxOwners {
		return "", fmt.Errorf("%w: at most %d owners", ErrInvalid, maxOwners)
	}
	for _, owner := range owners {
		if parsed, err := mail.ParseAddress(owner); err != nil || parsed.Address != owner {
			return "", fmt.Errorf("%w: owner %q is not a plain mail address", ErrInvalid, owner)
		}
	}
	if owners == nil {
		owners = []string{}
	}
	text, err := json.Marshal(slices.Compact(slices.Clone(owners)))
	return string(text), err
}

// collect runs a query and gives its rows; never nil, so that it is an empty array in JSON.
func collect[T any](ctx context.Context, q querier, scan func(*sql.Rows, *T) error, text string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	items := []T{}
	for rows.Next() {
		var item T
		if err := scan(rows, &item); err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, rows.Err()
}

// jsonColumn scans a JSON text into what target points to.
func jsonColumn(target any) sql.Scanner { return jsonScanner{target} }

type jsonScanner struct{ target any }

func (s jsonScanner) Scan(value any) error {
	switch v := value.(type) {
	case nil:
		return nil
	case string:
		return json.Unmarshal([]byte(v), s.target)
	case []byte:
		return json.Unmarshal(v, s.target)
	}
	return fmt.Errorf("JSON column holds a %T", value)
}

package fleet

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/otus-project/otus/event"
)

// silence is after how long without a word a sensor counts as disconnected. A sensor asks for commands at least
// every 25 s plus its retries.
const silence = 90 * time.Second

// States of a sensor.
const (
	stateHealthy  = "Healthy"
	stateWarning  = "Warning"
	stateCritical = "Critical"
)

// Sensor is one sensor as the fleet knows it.
type Sensor struct {
	ID             string           `json:"id"`
	Name           string           `json:"name"`
	SubscriptionID string           `json:"subscriptionId"`
	SiteID         string           `json:"siteId"`
	Site           string           `json:"site"`
	ZoneID         string           `json:"zoneId"`
	Zone           string           `json:"zone"`
	Version        string           `json:"version"`
	Mode           event.SensorMode `json:"mode"`       // as the sensor reports it
	ModeWanted     event.SensorMode `json:"modeWanted"` // as it was last asked for; empty if never
	State          string           `json:"state"`      // Healthy, Warning or Critical
	Reason         string           `json:"reason"`
	LastSeen       *time.Time       `json:"lastSeen"` // last word from the sensor, by the fleet's clock
	// LostRecords are records the sensor's full or damaged spool had to give up.
	LostRecords uint64 `json:"lostRecords"`
	// PendingCommands have not been journaled by the sensor yet.
	PendingCommands uint64        `json:"pendingCommands"`
	Health          *event.Health `json:"health"`
}

const sensorColumns = `SELECT sensor.id, sensor.name, subscription.id, site.id, site.name, zone.id, zone.name, mode_wanted, last_seen, sensor.lost, commands - applied, health
	FROM sensor JOIN zone ON zone.id = zone_id JOIN site ON site.id = site_id JOIN subscription ON subscription.number = site.subscription`

// Sensors gives all sensors by name.
func (f *Fleet) Sensors(ctx context.Context) ([]Sensor, error) {
	return collect(ctx, f.db.reader, f.scanSensor, sensorColumns+` ORDER BY sensor.name`)
}

// Sensor gives one sensor.
func (f *Fleet) Sensor(ctx context.Context, id string) (Sensor, error) {
	return f.firstSensor(ctx, id, sensorColumns+` WHERE sensor.id = ?`, id)
}

// Local gives the sensor that the first start made: the one of the same process.
func (f *Fleet) Local(ctx context.Context) (Sensor, error) {
	return f.firstSensor(ctx, "local", sensorColumns+` ORDER BY sensor.rowid LIMIT 1`)
}

func (f *Fleet) firstSensor(ctx context.Context, id, text string, args ...any) (Sensor, error) {
	sensors, err := collect(ctx, f.db.reader, f.scanSensor, text, args...)
	if err == nil && len(sensors) == 0 {
		err = sql.ErrNoRows
	}
	if err != nil {
		return Sensor{}, missing(err, "sensor", id)
	}
	return sensors[0], nil
}

func (f *Fleet) scanSensor(rows *sql.Rows, s *Sensor) error {
	var seen int64
	if err := rows.Scan(&s.ID, &s.Name, &s.SubscriptionID, &s.SiteID, &s.Site, &s.ZoneID, &s.Zone, &s.ModeWanted, &seen, &s.LostRecords, &s.PendingCommands, jsonColumn(&s.Health)); err != nil {
		return err
	}
	last := moment(seen)
	f.mu.Lock()
	if contact := f.contacts[s.ID]; contact.After(last) {
		last = contact
	}
	f.mu.Unlock()
	if !last.IsZero() {
		s.LastSeen = &last
	}
	if s.Health != nil {
		s.Version, s.Mode = s.Health.Version, s.Health.Mode
	}
	s.State, s.Reason = stateOf(f.o.Now(), last, s.Health)
	return nil
}

func stateOf(now, seen time.Time, health *event.Health) (state, reason string) {
	switch {
	case seen.IsZero():
		return stateHealthy, "Pending activation"
	case now.Sub(seen) > silence:
		return stateCritical, "Disconnected"
	case health == nil:
		return stateHealthy, ""
	}
	switch health.State {
	case stateHealthy, stateWarning, stateCritical:
		return health.State, health.Reason
	}
	return stateWarning, fmt.Sprintf("Unknown state %q", health.State)
}

// AddSensor makes a sensor in a zone and gives the token with which it is activated, once.
func (f *Fleet) AddSensor(ctx context.Context, name, zoneID string) (s Sensor, token string, err error) {
	id := uuid.NewString()
	token, hash := newSecret("otus_token_")
	err = f.change(ctx, "sensor", id, "create", name, func(ctx context.Context, tx *transaction) error {
		if err := checkName(name); err != nil {
			return err
		}
		now := f.o.Now()
		_, err := tx.exec(ctx, `INSERT INTO sensor(id, zone_id, name, created, token_hash, token_expires) VALUES (?, ?, ?, ?, ?, ?)`,
			id, zoneID, name, nanos(now), hash, nanos(now.Add(f.o.TokenLife)))
		return err
	})
	if err != nil {
		return Sensor{}, "", err
	}
	s, err = f.Sensor(ctx, id)
	return s, token, err
}

// RenewToken gives a sensor another token, for a lost one or for exchanging the machine. The sensor's present key is
// good until the token is used.
func (f *Fleet) RenewToken(ctx context.Context, id string) (token string, err error) {
	token, hash := newSecret("otus_token_")
	return token, f.change(ctx, "sensor", id, "token", "", func(ctx context.Context, tx *transaction) error {
		return one(tx.exec(ctx, `UPDATE sensor SET token_hash = ?, token_expires = ? WHERE id = ?`, hash, nanos(f.o.Now().Add(f.o.TokenLife)), id))
	})
}

// SetSensor renames a sensor or moves it to another zone; nil leaves a part as it is.
func (f *Fleet) SetSensor(ctx context.Context, id string, name, zoneID *string) error {
	return f.change(ctx, "sensor", id, "update", "", func(ctx context.Context, tx *transaction) error {
		if name != nil {
			if err := checkName(*name); err != nil {
				return err
			}
		}
		return one(tx.exec(ctx, `UPDATE sensor SET name = coalesce(?, name), zone_id = coalesce(?, zone_id) WHERE id = ?`, name, zoneID, id))
	})
}

// Activate trades an unused onboarding token for the sensor's key. An earlier key of the sensor ends.
func (f *Fleet) Activate(ctx context.Context, token string) (sensorID, key string, err error) {
	key, hash := newSecret("otus_key_")
	err = f.db.write(ctx, func(ctx context.Context, tx *transaction) error {
		err := tx.QueryRowContext(ctx, `UPDATE sensor SET key_hash = ?, token_hash = NULL WHERE token_hash = ? AND token_expires > ? RETURNING id`,
			hash, hashed(token), nanos(f.o.Now())).Scan(&sensorID)
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("%w: the token is unknown, used or too old", ErrUnauthorised)
		}
		return err
	})
	if err != nil {
		return "", "", err
	}
	f.done(ctx, "sensor", sensorID, "activate", "")
	return sensorID, key, nil
}

// Authenticate gives the sensor a key belongs to.
func (f *Fleet) Authenticate(ctx context.Context, key string) (sensorID string, err error) {
	err = f.db.reader.QueryRowContext(ctx, `SELECT id FROM sensor WHERE key_hash = ?`, hashed(key)).Scan(&sensorID)
	if errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("%w: unknown key", ErrUnauthorised)
	}
	return sensorID, err
}

// newSecret makes a secret of 256 random bits; with so many, a plain hash is enough to keep.
func newSecret(prefix string) (secret string, hash []byte) {
	var random [32]byte
	rand.Read(random[:]) // never fails
	secret = prefix + base64.RawURLEncoding.EncodeToString(random[:])
	return secret, hashed(secret)
}

func hashed(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

func (f *Fleet) touch(sensorID string) {
	now := f.o.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.After(f.contacts[sensorID]) {
		f.contacts[sensorID] = now
	}
}

// storeContacts writes down when sensors were last heard of. A question for commands alone writes nothing.
func (f *Fleet) storeContacts(ctx context.Context) error {
	f.mu.Lock()
	contacts := make(map[string]time.Time, len(f.contacts))
	for id, at := range f.contacts {
		contacts[id] = at
	}
	f.mu.Unlock()
	if len(contacts) == 0 {
		return nil
	}
	return f.db.write(ctx, func(ctx context.Context, tx *transaction) error {
		for id, at := range contacts {
			if _, err := tx.exec(ctx, `UPDATE sensor SET last_seen = max(last_seen, ?) WHERE id = ?`, nanos(at), id); err != nil {
				return err
			}
		}
		return nil
	})
}

// tellStates speaks of sensors whose state is another than when it was last looked at, such as those gone silent.
func (f *Fleet) tellStates(ctx context.Context) error {
	sensors, err := f.Sensors(ctx)
	if err != nil {
		return err
	}
	for _, s := range sensors {
		state := s.State + " " + s.Reason
		f.mu.Lock()
		before, known := f.states[s.ID]
		f.states[s.ID] = state
		f.mu.Unlock()
		if known && before != state {
			f.o.OnChange("sensor", s.ID, "updated")
		}
	}
	return nil
}

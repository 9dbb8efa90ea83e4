package fleet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/otus-project/otus/event"
)

// Command asks the sensor of an alert to change it. It is durable when Command returns, and is handed to the sensor
// until that has journaled it. A requestID that was used before changes nothing; with other contents it is a conflict.
func (f *Fleet) Command(ctx context.Context, requestID, alertID string, action event.Action, by string, at time.Time) error {
	switch action {
	case event.ActionSetNew, event.ActionSetActive, event.ActionClose, event.ActionLearn, event.ActionMute, event.ActionUnmute:
	default:
		return fmt.Errorf("%w: action %q on an alert", ErrInvalid, action)
	}
	var sensorID string
	err := f.db.write(ctx, func(ctx context.Context, tx *transaction) error {
		var a event.Alert
		err := tx.QueryRowContext(ctx, `SELECT sensor_id, body FROM alert WHERE id = ?`, alertID).Scan(&sensorID, jsonColumn(&a))
		if err != nil {
			return missing(err, "alert", alertID)
		}
		if action == event.ActionLearn && !a.Learnable {
			return fmt.Errorf("%w: alerts of type %q cannot be learned", ErrInvalid, a.Type)
		}
		return f.enqueue(ctx, tx, requestID, sensorID, event.Command{Action: action, AlertID: alertID, Time: at, By: by})
	})
	return f.commanded(ctx, sensorID, "alert "+alertID+": "+string(action), by, err)
}

// SetMode asks a sensor to learn or to speak. Idempotent by requestID like Command.
func (f *Fleet) SetMode(ctx context.Context, requestID, sensorID string, mode event.SensorMode, by string, at time.Time) error {
	if mode != event.ModeLearning && mode != event.ModeOperational {
		return fmt.Errorf("%w: mode %q: want %q or %q", ErrInvalid, mode, event.ModeLearning, event.ModeOperational)
	}
	err := f.db.write(ctx, func(ctx context.Context, tx *transaction) error {
		if err := one(tx.exec(ctx, `UPDATE sensor SET mode_wanted = ? WHERE id = ?`, mode, sensorID)); err != nil {
			return fmt.Errorf("sensor %q: %w", sensorID, ErrNotFound)
		}
		return f.enqueue(ctx, tx, requestID, sensorID, event.Command{Action: event.ActionSetMode, Mode: mode, Time: at, By: by})
	})
	if err := f.commanded(ctx, sensorID, "mode "+string(mode), by, err); err != nil {
		return err
	}
	f.o.OnChange("sensor", sensorID, "updated")
	return nil
}

// errRepeated says that a request was made before, alike.
var errRepeated = errors.New("repeated request")

func (f *Fleet) enqueue(ctx context.Context, tx *transaction, requestID, sensorID string, c event.Command) error {
	if requestID == "" || len(requestID) > maxName {
		return fmt.Errorf("%w: request id %q", ErrInvalid, requestID)
	}
	var before event.Command
	err := tx.QueryRowContext(ctx, `SELECT action, alert_id, mode FROM command WHERE request_id = ?`, requestID).Scan(&before.Action, &before.AlertID, &before.Mode)
	switch {
	case err == nil && (before.Action != c.Action || before.AlertID != c.AlertID || before.Mode != c.Mode):
		return fmt.Errorf("%w: request %q was another command", ErrConflict, requestID)
	case err == nil:
		return errRepeated
	case !errors.Is(err, sql.ErrNoRows):
		return err
	}
	_, err = tx.exec(ctx, `INSERT INTO command(sensor_id, id, request_id, alert_id, action, mode, time, by, created)
		SELECT id, commands + 1, ?, ?, ?, ?, ?, ?, ? FROM sensor WHERE id = ?`,
		requestID, c.AlertID, c.Action, c.Mode, nanos(c.Time), c.By, nanos(f.o.Now()), sensorID)
	if err != nil {
		return err
	}
	_, err = tx.exec(ctx, `UPDATE sensor SET commands = commands + 1 WHERE id = ?`, sensorID)
	return err
}

// commanded wakes the sensor after a command was stored and audits it.
func (f *Fleet) commanded(ctx context.Context, sensorID, detail, by string, err error) error {
	if errors.Is(err, errRepeated) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("command: %w", err)
	}
	f.mu.Lock()
	if waiting := f.waiting[sensorID]; waiting != nil {
		close(waiting)
		delete(f.waiting, sensorID)
	}
	f.mu.Unlock()
	f.o.Audit(ctx, Audit{Action: "command.create", Kind: "command", ID: sensorID, Detail: detail + " by " + by})
	return nil
}

// nextCommand gives a channel that closes when a command for the sensor is stored.
func (f *Fleet) nextCommand(sensorID string) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	waiting := f.waiting[sensorID]
	if waiting == nil {
		waiting = make(chan struct{})
		f.waiting[sensorID] = waiting
	}
	return waiting
}

func scanCommand(rows *sql.Rows, c *event.Command) error {
	var at int64
	err := rows.Scan(&c.ID, &c.Action, &c.AlertID, &c.Mode, &at, &c.By)
	c.Time = moment(at)
	return err
}

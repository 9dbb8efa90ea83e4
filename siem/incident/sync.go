package incident

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/siem/state"
)

// Sync says how far the status of one owned alert follows the incident on its sensor.
type Sync struct {
	AlertID     string    `json:"alertId"`
	Sensor      string    `json:"sensor"`
	AlertStatus string    `json:"alertStatus" doc:"Status on the sensor, as last known: New, Active or Closed"`
	Wanted      string    `json:"wanted"`
	State       string    `json:"state" enum:"inStep,waiting,failed"`
	Detail      string    `json:"detail"`
	Since       time.Time `json:"since"`
}

// Fleet is what the status sync needs of the sensors' side.
type Fleet interface {
	// Command makes a command durable and sends it to the alert's sensor. The same requestID again is the same
	// command and does nothing. Called by one goroutine; an error is tried again.
	Command(ctx context.Context, requestID, alertID string, action event.Action, by string, at time.Time) error
	// AlertState gives the alert as the sensor last reported it; false if the fleet does not know it.
	AlertState(ctx context.Context, alertID string) (event.Alert, bool, error)
}

// statusOf maps an incident's status to the alert's and to the command that brings it there.
var wantedOf = map[string]struct {
	status event.AlertStatus
	action event.Action
}{
	New:    {event.AlertNew, event.ActionSetNew},
	Active: {event.AlertActive, event.ActionSetActive},
	Closed: {event.AlertClosed, event.ActionClose},
}

// want notes, in the transaction that changes the incident, which status its own alerts shall have on their
// sensors. Alerts it only relates to, and alerts that no sensor made, are left alone.
func (s *Service) want(ctx context.Context, tx *state.Tx, i *Incident, closeAction *string, by string) error {
	action := wantedOf[i.Status].action
	if i.Status == Closed && closeAction != nil {
		switch *closeAction {
		case "learn":
			action = event.ActionLearn
		case "mute":
			action = event.ActionMute
		}
	}
	ids, err := s.ownedOriginals(ctx, tx, i.Number)
	if err != nil {
		return err
	}
	now := state.Ticks(tx.Now())
	for _, id := range ids {
		request := derive(i.ID, fmt.Sprintf("%s/%d", id, i.etag))
		if _, err := tx.ExecContext(ctx, `INSERT INTO alert_sync
			(workspace, alert, incident, sensor, wanted, action, request, actor, time, state, since, detail, attempts, next_try)
			VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'waiting', ?9, '', 0, ?9)
			ON CONFLICT (workspace, alert) DO UPDATE SET incident = ?3, sensor = ?4, wanted = ?5, action = ?6, request = ?7,
			actor = ?8, time = ?9, state = 'waiting', since = ?9, detail = '', attempts = 0, next_try = ?9`,
			s.ws.ID, id, i.Number, i.Sensor, i.Status, string(action), request, by, now); err != nil {
			return fmt.Errorf("wanted status of alert %q: %w", id, err)
		}
	}
	tx.AfterCommit(func() {
		select {
		case s.wanted <- struct{}{}:
		default:
		}
	})
	return nil
}

// ownedOriginals are the vendor alert ids the incident owns; a rule's alert that is its own original is none.
func (s *Service) ownedOriginals(ctx context.Context, q state.Querier, number int64) ([]string, error) {
	return s.list(ctx, q, `SELECT o.alert FROM alert_owner o WHERE o.workspace = ? AND o.incident = ? AND NOT EXISTS
		(SELECT 1 FROM incident_alert a WHERE a.workspace = o.workspace AND a.incident = o.incident AND a.alert = o.alert)
		ORDER BY o.alert`, number)
}

// syncOf lists the sync states of an incident; an alert whose status was never asked for counts as in step.
func (s *Service) syncOf(ctx context.Context, q state.Querier, i Incident) ([]Sync, error) {
	ids, err := s.ownedOriginals(ctx, q, i.Number)
	if err != nil {
		return nil, fmt.Errorf("sync states of incident %d: %w", i.Number, err)
	}
	rows, err := q.QueryContext(ctx, `SELECT alert, sensor, wanted, state, detail, since FROM alert_sync
		WHERE workspace = ? AND incident = ?`, s.ws.ID, i.Number)
	if err != nil {
		return nil, fmt.Errorf("sync states of incident %d: %w", i.Number, err)
	}
	asked, err := state.Scan(rows, func(y *Sync) []any {
		return []any{&y.AlertID, &y.Sensor, &y.Wanted, &y.State, &y.Detail, state.TicksOf(&y.Since)}
	})
	if err != nil {
		return nil, fmt.Errorf("sync states of incident %d: %w", i.Number, err)
	}
	byID := map[string]Sync{}
	for _, y := range asked {
		byID[y.AlertID] = y
	}
	all := make([]Sync, 0, len(ids))
	for _, id := range ids {
		y, ok := byID[id]
		if !ok {
			y = Sync{AlertID: id, Sensor: i.Sensor, Wanted: i.Status, State: "inStep", Detail: "no change asked for yet", Since: i.CreatedTime}
		}
		all = append(all, y)
	}
	return all, nil
}

// Syncer carries wanted statuses to the sensors. It compares first and commands only a difference; what it has to
// do is in the database, so a crash at any point only repeats a command with the same request id.
type Syncer struct {
	s     *Service
	fleet Fleet
	// OnError is told of failures of the database; those of the fleet are kept per alert. May be nil.
	OnError func(error)

	mu     sync.Mutex
	nudged map[string]bool
	nudge  chan struct{}
}

// Bounds of the sync: how many alerts one pass looks at, and how long it waits before it looks again.
const (
	syncBatch   = 256
	syncSoonest = time.Second
	syncLatest  = time.Minute
)

// NewSyncer makes the sync of a workspace's incidents; one may run per workspace.
func NewSyncer(s *Service, fleet Fleet) *Syncer {
	return &Syncer{s: s, fleet: fleet, nudged: map[string]bool{}, nudge: make(chan struct{}, 1)}
}

// Nudge says that an alert changed in the fleet, so that its sync state is looked at now. It never blocks.
func (y *Syncer) Nudge(alertID string) {
	y.mu.Lock()
	if len(y.nudged) < 10_000 { // past it the timer finds them
		y.nudged[alertID] = true
	}
	y.mu.Unlock()
	select {
	case y.nudge <- struct{}{}:
	default:
	}
}

// Run syncs until the context ends: at once after a change of an incident or a nudge, and again after a pause.
func (y *Syncer) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-y.s.wanted:
		case <-y.nudge:
		case <-timer.C:
		}
		for {
			n, err := y.Step(ctx)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil && y.OnError != nil {
				y.OnError(err)
			}
			if err != nil || n < syncBatch {
				break
			}
		}
		timer.Reset(syncSoonest)
	}
}

type wish struct {
	alert, wanted, action, request, actor string
	state, was, detail                    string
	time                                  time.Time
	attempts                              int
}

// Step looks at the alerts whose turn it is, at most a batch of them, and gives their number.
func (y *Syncer) Step(ctx context.Context) (int, error) {
	due, err := y.due(ctx)
	if err != nil || len(due) == 0 {
		return 0, err
	}
	after := make([]wish, len(due))
	for n, w := range due {
		after[n] = y.try(ctx, w)
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
	return len(due), y.save(ctx, after)
}

func (y *Syncer) due(ctx context.Context) ([]wish, error) {
	y.mu.Lock()
	nudged := y.nudged
	y.nudged = map[string]bool{}
	y.mu.Unlock()
	const fields = `SELECT alert, wanted, action, request, actor, state, detail, time, attempts FROM alert_sync
		WHERE workspace = ? AND state <> 'inStep' `
	into := func(w *wish) []any {
		return []any{&w.alert, &w.wanted, &w.action, &w.request, &w.actor, &w.state, &w.detail, state.TicksOf(&w.time), &w.attempts}
	}
	q := y.s.db.Reader()
	rows, err := q.QueryContext(ctx, fields+`AND next_try <= ? ORDER BY next_try, alert LIMIT ?`, y.s.ws.ID, state.Ticks(y.s.db.Now()), syncBatch)
	if err != nil {
		return nil, fmt.Errorf("read wanted statuses: %w", err)
	}
	due, err := state.Scan(rows, into)
	if err != nil {
		return nil, fmt.Errorf("read wanted statuses: %w", err)
	}
	for _, w := range due {
		delete(nudged, w.alert)
	}
	for id := range nudged {
		rows, err := q.QueryContext(ctx, fields+`AND alert = ?`, y.s.ws.ID, id)
		if err != nil {
			return nil, fmt.Errorf("read wanted statuses: %w", err)
		}
		more, err := state.Scan(rows, into)
		if err != nil {
			return nil, fmt.Errorf("read wanted statuses: %w", err)
		}
		due = append(due, more...)
	}
	return due, nil
}

// try compares and, where it differs, commands. The result is the row's next content.
func (y *Syncer) try(ctx context.Context, w wish) wish {
	w.attempts++
	w.was = w.state
	fail := func(text string) wish {
		w.state, w.detail = "failed", text
		return w
	}
	a, known, err := y.fleet.AlertState(ctx, w.alert)
	if err != nil {
		return fail(err.Error())
	}
	if !known {
		return fail("no sensor of the fleet has this alert")
	}
	action := event.Action(w.action)
	if action == event.ActionLearn && !a.Learnable {
		action = event.ActionClose // the type cannot be learned; what can be done is done
	}
	if a.Status == wantedOf[w.wanted].status && reached(a, action) {
		w.state, w.detail = "inStep", ""
		if string(action) != w.action {
			w.detail = "closed; alerts of this type cannot be learned"
		}
		return w
	}
	if err := y.fleet.Command(ctx, w.request, w.alert, action, w.actor, w.time); err != nil {
		return fail(err.Error())
	}
	w.state, w.detail = "waiting", "sent; the sensor has not reported the change yet"
	return w
}

// reached says whether a closed alert was closed in the way that was asked for.
func reached(a event.Alert, action event.Action) bool {
	switch action {
	case event.ActionLearn:
		return a.Learned
	case event.ActionMute:
		return a.Muted
	}
	return true
}

// save writes the outcomes. A row whose incident changed again meanwhile carries another request and is left alone.
func (y *Syncer) save(ctx context.Context, outcomes []wish) error {
	err := y.s.db.Write(ctx, func(ctx context.Context, tx *state.Tx) error {
		now := tx.Now()
		for _, w := range outcomes {
			pause := min(syncSoonest<<min(w.attempts-1, 10), syncLatest)
			rows, err := tx.QueryContext(ctx, `UPDATE alert_sync SET since = CASE WHEN state = ?1 THEN since ELSE ?2 END,
				state = ?1, detail = ?3, attempts = ?4, next_try = ?5
				WHERE workspace = ?6 AND alert = ?7 AND request = ?8 RETURNING incident`,
				w.state, state.Ticks(now), w.detail, w.attempts, state.Ticks(now.Add(pause)), y.s.ws.ID, w.alert, w.request)
			if err != nil {
				return err
			}
			numbers, err := state.Scan(rows, func(n *int64) []any { return []any{n} })
			if err != nil {
				return err
			}
			if y.s.o.Notify != nil && w.state != w.was {
				for _, n := range numbers {
					tx.AfterCommit(func() { y.s.o.Notify(n, "updated") })
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write sync states: %w", err)
	}
	return nil
}

// Waiting counts the alerts that are not in step yet; the failed ones among them are tried again too.
func (y *Syncer) Waiting(ctx context.Context) (waiting, failed int, err error) {
	err = y.s.db.Reader().QueryRowContext(ctx, `SELECT count(*) FILTER (WHERE state = 'waiting'), count(*) FILTER (WHERE state = 'failed')
		FROM alert_sync WHERE workspace = ? AND state <> 'inStep'`, y.s.ws.ID).Scan(&waiting, &failed)
	if err != nil {
		return 0, 0, errors.Join(errors.New("count wanted statuses"), err)
	}
	return waiting, failed, nil
}

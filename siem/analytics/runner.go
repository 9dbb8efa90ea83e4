package analytics

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/otus-project/otus/siem/incident"
	"github.com/otus-project/otus/siem/state"
	"github.com/otus-project/otus/siem/store"
)

// Bounds of the runner.
const (
	// ingestStep is how many ingest sequences one run at ingestion reads at most; it bounds a transaction.
	ingestStep = 2000
	// ingestRows is how many results such a run may give; more in one step narrows the step.
	ingestRows = 20_000
	// windowRows is how many results of a window are looked at; a rule's threshold is at most 10,000.
	windowRows = 10_001
	// ingestTime and windowTime bound one query, so that no rule holds up the others for long.
	ingestTime = 30 * time.Second
	windowTime = 3 * time.Minute
	// restAfter is how long rows that gave nothing may be read ahead of the durable watermark.
	restAfter = 5 * time.Second
	// mostMissed is how many missed windows of a rule are made up for, one by one; rows older than those are still
	// evaluated, as late ones.
	mostMissed = 300
	pollEvery  = 2 * time.Second
	retryFirst = time.Second
	retryLast  = 5 * time.Minute
)

// Ingested tells the service which rows a commit brought. It never blocks: it is meant for the ingest service's
// OnCommit, whose calls come in the order of commits.
func (s *Service) Ingested(tables map[string]store.Range) {
	s.mu.Lock()
	for table, n := range tables {
		s.heads[table] = max(s.heads[table], n.Last)
		s.seen = max(s.seen, n.Last)
	}
	s.mu.Unlock()
	signal(s.wakeIngest)
}

// head is up to where rules may read: what commits told of. With look, the log store is asked too, and what it has
// beyond that may be of any table.
func (s *Service) head(ctx context.Context, look bool) (uint64, error) {
	var found uint64
	if look {
		var err error
		if found, err = s.o.Log.Head(ctx); err != nil {
			return 0, fmt.Errorf("rules at ingestion: %w", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if found > s.seen {
		s.blind = max(s.blind, found)
	}
	return max(s.seen, s.blind), nil
}

// untouched holds if no row of the tables lies behind the given sequence. mu is held.
func (s *Service) untouched(tables []string, read uint64) bool {
	if read < s.blind {
		return false
	}
	for _, table := range tables {
		if s.heads[table] > read {
			return false
		}
	}
	return true
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (s *Service) wake() {
	signal(s.wakeIngest)
	signal(s.wakeSchedule)
}

// Run runs the rules until the context ends.
func (s *Service) Run(ctx context.Context) error {
	var group sync.WaitGroup
	for _, loop := range []func(context.Context){s.ingestLoop, s.scheduleLoop} {
		group.Go(func() { loop(ctx) })
	}
	group.Wait()
	return ctx.Err()
}

func (s *Service) report(err error) {
	if err != nil && s.o.OnError != nil && !errors.Is(err, context.Canceled) {
		s.o.OnError(err)
	}
}

func (s *Service) ingestLoop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		look := false
		select {
		case <-ctx.Done():
			s.report(s.rest(context.WithoutCancel(ctx), 0))
			return
		case <-s.wakeIngest:
		case <-timer.C: // a commit we were not told of, a retry that is due
			look = true
		}
		s.report(s.pass(ctx, look))
		s.report(s.rest(ctx, restAfter))
		timer.Reset(pollEvery)
	}
}

// Pass runs the rules at ingestion over everything committed by now. Run does so by itself; a program that ends
// when all is done calls it to know that it is.
func (s *Service) Pass(ctx context.Context) error { return s.pass(ctx, true) }

func (s *Service) pass(ctx context.Context, look bool) error {
	s.passing.Lock()
	defer s.passing.Unlock()
	head, err := s.head(ctx, look)
	if err != nil {
		return err
	}
	s.mu.Lock()
	rules := s.ordered()
	s.mu.Unlock()
	for _, r := range rules {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if r.atIngest {
			s.catchUp(ctx, r, head)
		}
	}
	return s.follow(ctx, head) // after the rules: an incident they opened may have newer rows in the same range
}

// catchUp reads a rule up to head, in steps. Its failure is the rule's own: it is noted, and tried again later.
func (s *Service) catchUp(ctx context.Context, r *running, head uint64) {
	step := uint64(ingestStep)
	for {
		s.mu.Lock()
		p, read := r.p, r.read
		current := s.rules[r.ID] == r
		if current && p.enabled && read < head && s.untouched(r.tables, read) {
			r.read = head // no row of its tables lies in between
			read = head
		}
		s.mu.Unlock()
		now := s.db.Now()
		if !current || !p.enabled || now.Before(p.retryAt) || ctx.Err() != nil {
			return
		}
		if r.Kind == KindScheduled && !p.windowEnd.IsZero() {
			if err := s.lookBack(ctx, r, p); err != nil {
				if ctx.Err() == nil {
					s.failed(ctx, r, err)
				}
				return
			}
			continue
		}
		if read >= head {
			return
		}
		upTo := min(head, read+step)
		narrow, err := s.ingestStep(ctx, r, p, read, upTo)
		switch {
		case err != nil:
			if ctx.Err() == nil {
				s.failed(ctx, r, err)
			}
			return
		case narrow && step > 1:
			step = max(step/4, 1)
		case narrow:
			s.failed(ctx, r, fmt.Errorf("one row gave more than %d results", ingestRows))
			return
		}
	}
}

// lookBack evaluates, once, the rows that were there when the rule was switched on: those of its last period. Of more
// results than one step may have, the rest is left.
func (s *Service) lookBack(ctx context.Context, r *running, p progress) error {
	limited, cancel := context.WithTimeout(ctx, windowTime)
	defer cancel()
	from := p.windowEnd.Add(-time.Duration(r.QueryPeriod))
	result, err := s.o.Log.Run(limited, Request{Text: s.text(r), Now: p.windowEnd, From: &from, IngestUpTo: &p.watermark, MaxRows: ingestRows})
	if err != nil {
		return err
	}
	context := run{workspace: s.o.Workspace, rule: r.loaded, now: p.windowEnd, ordinal: p.produced}
	found := context.alerts(&table{result.Columns, result.Rows})
	return s.commit(ctx, r, p, outcome{found: found, upTo: p.watermark, results: len(result.Rows)})
}

// ingestStep evaluates the rows in (after, upTo]. narrow says that there were too many results for one step.
func (s *Service) ingestStep(ctx context.Context, r *running, p progress, after, upTo uint64) (narrow bool, err error) {
	now := s.db.Now()
	limited, cancel := context.WithTimeout(ctx, ingestTime)
	defer cancel()
	result, err := s.o.Log.Run(limited, Request{Text: s.text(r), Now: now, IngestAfter: &after, IngestUpTo: &upTo, MaxRows: ingestRows})
	if err != nil {
		return false, err
	}
	if result.Truncated {
		return true, nil
	}
	t := &table{result.Columns, result.Rows}
	if r.Kind == KindIncidentCreation {
		return false, s.commitSignals(ctx, r, p, upTo, r.signals(t))
	}
	context := run{workspace: s.o.Workspace, rule: r.loaded, now: now, ordinal: p.produced}
	return false, s.commit(ctx, r, p, outcome{found: context.alerts(t), upTo: upTo, windowEnd: p.windowEnd, results: len(t.rows)})
}

// text is what is run for a rule: its query, with rows made by rules kept away from it.
func (s *Service) text(r *running) string {
	if r.Kind == KindIncidentCreation {
		return "SecurityAlert\n| where ProductName == " + kqlString(r.ProductFilter)
	}
	if !slices.Contains(r.tables, "SecurityIncident") {
		return r.guarded(nil)
	}
	var readers []string
	s.mu.Lock()
	for _, other := range s.rules {
		if slices.Contains(other.tables, "SecurityIncident") {
			readers = append(readers, other.ID)
		}
	}
	s.mu.Unlock()
	slices.Sort(readers)
	return r.guarded(readers)
}

// outcome is what one run of a rule brings, to be committed as one.
type outcome struct {
	found     []made
	upTo      uint64
	windowEnd time.Time
	results   int
}

// errMoved reports that the rule was changed, or run by another worker, since it was read.
var errMoved = errors.New("the rule moved on")

// commit writes watermark, alerts and incidents of a run in one transaction. A run that found nothing only moves the
// watermark in memory, and its window in the database.
func (s *Service) commit(ctx context.Context, r *running, p progress, o outcome) error {
	next := p
	next.watermark, next.windowEnd = o.upTo, o.windowEnd
	next.lastRun, next.lastError, next.failures, next.retryAt = s.db.Now(), "", 0, time.Time{}
	if len(o.found) == 0 && o.windowEnd.Equal(p.windowEnd) && p.failures == 0 {
		s.mu.Lock()
		if r.p.watermark == p.watermark {
			r.read = o.upTo
			r.p.lastRun, r.p.lastResult = next.lastRun, "no results"
		}
		s.mu.Unlock()
		return nil
	}
	var ids []string
	opened, joined := 0, 0
	err := s.db.Write(ctx, func(ctx context.Context, tx *state.Tx) error {
		if err := s.unmoved(ctx, tx, r.ID, p); err != nil {
			return err
		}
		suppressed := r.SuppressionEnabled && tx.Now().Before(next.suppressedUntil)
		for n := range o.found {
			m := &o.found[n]
			if suppressed {
				next.suppressed++
				continue
			}
			if known, err := s.knownAlert(ctx, tx, r.ID, m); err != nil || known {
				if err != nil {
					return err
				}
				continue
			}
			tx.Append("SecurityAlert", m.row)
			ids = append(ids, m.alert.SystemAlertID)
			if r.SuppressionEnabled {
				next.suppressedUntil = tx.Now().Add(time.Duration(r.SuppressionDuration))
				suppressed = r.atIngest // each row is a run of its own; a window's alerts come together
			}
			if !r.createsIncidents() {
				continue
			}
			result, err := s.o.Incidents.Open(ctx, tx, incident.Signal{RuleID: r.ID, RuleName: r.Name, Alert: m.alert, Originals: m.originals})
			if err != nil {
				return err
			}
			if result.Created {
				opened++
			} else if result.Joined {
				joined++
			}
		}
		next.produced += int64(len(o.found))
		next.lastResult = resultText(len(ids), opened, joined, o.results)
		return s.writeProgress(ctx, tx, r.ID, next)
	})
	return s.settled(r, p, next, ids, err)
}

func resultText(alerts, opened, joined, results int) string {
	if alerts == 0 && opened == 0 && joined == 0 {
		if results == 0 {
			return "no results"
		}
		return fmt.Sprintf("results: %d, nothing new", results)
	}
	return fmt.Sprintf("alerts: %d, incidents opened: %d, joined: %d", alerts, opened, joined)
}

// settled takes a committed progress over, or forgets a run that somebody else was faster with.
func (s *Service) settled(r *running, was, next progress, ids []string, err error) error {
	if errors.Is(err, errMoved) {
		fresh, found, err := s.progress(context.Background(), s.db.Reader(), r.ID)
		if err != nil || !found {
			return err
		}
		s.mu.Lock()
		r.p, r.read = fresh, fresh.watermark
		s.mu.Unlock()
		return nil
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	if r.p.watermark == was.watermark && r.p.enabled == was.enabled {
		r.p, r.read = next, next.watermark
	}
	s.mu.Unlock()
	if s.o.Notify != nil {
		for _, id := range ids {
			s.o.Notify(id)
		}
	}
	return nil
}

// unmoved makes sure that the rule still stands where this run began.
func (s *Service) unmoved(ctx context.Context, tx *state.Tx, id string, p progress) error {
	now, found, err := s.progress(ctx, tx, id)
	if err != nil {
		return err
	}
	if !found || !now.enabled || now.watermark != p.watermark || !now.windowEnd.Equal(p.windowEnd) || now.produced != p.produced {
		return errMoved
	}
	return nil
}

// knownAlert notes that the rule made an alert about one original, and says whether it had before.
func (s *Service) knownAlert(ctx context.Context, tx *state.Tx, rule string, m *made) (bool, error) {
	if len(m.originals) != 1 {
		return false, nil
	}
	result, err := tx.ExecContext(ctx, `INSERT INTO rule_alert (workspace, rule, alert) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`,
		s.o.Workspace.ID, rule, m.originals[0])
	if err != nil {
		return false, fmt.Errorf("note alert of rule %q: %w", rule, err)
	}
	n, err := result.RowsAffected()
	return n == 0, err
}

// failed notes a rule's failure and when it is tried again; the others go on.
func (s *Service) failed(ctx context.Context, r *running, cause error) {
	s.mu.Lock()
	p := r.p
	s.mu.Unlock()
	p.failures++
	p.lastRun, p.lastResult, p.lastError = s.db.Now(), "failed", cause.Error()
	p.retryAt = p.lastRun.Add(min(retryFirst<<min(p.failures-1, 20), retryLast))
	err := s.db.Write(ctx, func(ctx context.Context, tx *state.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE rule_state SET last_run = ?, last_result = ?, last_error = ?, failures = ?, retry_at = ?
			WHERE workspace = ? AND rule = ?`, ticksOrZero(p.lastRun), p.lastResult, p.lastError, p.failures, ticksOrZero(p.retryAt),
			s.o.Workspace.ID, r.ID)
		return err
	})
	s.report(err)
	s.mu.Lock()
	r.p.lastRun, r.p.lastResult, r.p.lastError, r.p.failures, r.p.retryAt = p.lastRun, p.lastResult, p.lastError, p.failures, p.retryAt
	s.mu.Unlock()
}

// rest writes down how far rules have read that found nothing, once that is older than age.
func (s *Service) rest(ctx context.Context, age time.Duration) error {
	type ahead struct {
		r    *running
		from progress
		read uint64
	}
	var behind []ahead
	now := s.db.Now()
	s.mu.Lock()
	for _, r := range s.rules {
		if r.p.enabled && r.read > r.p.watermark && now.Sub(r.p.lastRun) >= age {
			behind = append(behind, ahead{r, r.p, r.read})
		}
	}
	s.mu.Unlock()
	if len(behind) == 0 {
		return nil
	}
	err := s.db.Write(ctx, func(ctx context.Context, tx *state.Tx) error {
		for _, b := range behind {
			if _, err := tx.ExecContext(ctx, `UPDATE rule_state SET watermark = ?, last_run = ?, last_result = ?
				WHERE workspace = ? AND rule = ? AND watermark = ?`, int64(b.read), ticksOrZero(b.from.lastRun), b.from.lastResult,
				s.o.Workspace.ID, b.r.ID, int64(b.from.watermark)); err != nil {
				return fmt.Errorf("progress of rule %q: %w", b.r.ID, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	for _, b := range behind {
		if b.r.p.watermark == b.from.watermark {
			b.r.p.watermark = b.read
		}
	}
	s.mu.Unlock()
	return nil
}

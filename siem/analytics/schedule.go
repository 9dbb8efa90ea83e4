package analytics

import (
	"context"
	"time"
)

func (s *Service) scheduleLoop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wakeSchedule:
		case <-timer.C:
		}
		next := s.RunDue(ctx, s.db.Now())
		pause := 30 * time.Second // a clock that is set forward is noticed within it
		if !next.IsZero() {
			pause = min(max(next.Sub(s.db.Now()), 10*time.Millisecond), pause)
		}
		timer.Reset(pause)
	}
}

// RunDue runs every scheduled rule whose window has ended at the given time, missed windows one after the other, and
// says when the next one ends; zero if there is none.
func (s *Service) RunDue(ctx context.Context, now time.Time) (next time.Time) {
	s.mu.Lock()
	rules := s.ordered()
	s.mu.Unlock()
	for _, r := range rules {
		if r.atIngest {
			continue
		}
		for ctx.Err() == nil {
			s.mu.Lock()
			p, current := r.p, s.rules[r.ID] == r
			s.mu.Unlock()
			if !current || !p.enabled {
				break
			}
			due := r.due(p, now)
			if p.retryAt.After(due) {
				due = p.retryAt
			}
			if due.After(now) {
				if next.IsZero() || due.Before(next) {
					next = due
				}
				break
			}
			if err := s.window(ctx, r, p, r.due(p, now)); err != nil && ctx.Err() == nil {
				s.failed(ctx, r, err)
			}
		}
	}
	return next
}

// due is the end of the rule's next window: now for the first, then one frequency after the other. After a long
// pause the oldest of the missed windows are left out; their rows count as late.
func (r *running) due(p progress, now time.Time) time.Time {
	if p.windowEnd.IsZero() {
		return now
	}
	frequency := time.Duration(r.QueryFrequency)
	due := p.windowEnd.Add(frequency)
	if missed := now.Sub(due) / frequency; missed > mostMissed {
		due = due.Add((missed - mostMissed) * frequency)
	}
	return due
}

// window runs a rule at the given time: over the rows of the window that ends there, and over rows that arrived since
// the last run although their window had closed. Both see rows committed by now.
func (s *Service) window(ctx context.Context, r *running, p progress, at time.Time) error {
	limited, cancel := context.WithTimeout(ctx, windowTime)
	defer cancel()
	head, err := s.o.Log.Head(limited)
	if err != nil {
		return err
	}
	text := s.text(r)
	const tick = 100 * time.Nanosecond
	opens, after := at.Add(-time.Duration(r.QueryPeriod)), at.Add(tick) // rows with opens < TimeGenerated <= at
	from := opens.Add(tick)
	result, err := s.o.Log.Run(limited, Request{Text: text, From: &from, To: &after, Now: at, IngestUpTo: &head, MaxRows: windowRows})
	if err != nil {
		return err
	}
	context := run{workspace: s.o.Workspace, rule: r.loaded, now: s.db.Now(), from: opens, to: at, ordinal: p.produced}
	o := outcome{found: context.alerts(&table{result.Columns, result.Rows}), upTo: head, windowEnd: at, results: len(result.Rows)}
	if !p.windowEnd.IsZero() && p.watermark < head {
		late, err := s.o.Log.Run(limited, Request{Text: text, To: &from, Now: at, IngestAfter: &p.watermark, IngestUpTo: &head, MaxRows: windowRows})
		if err != nil {
			return err
		}
		if len(late.Rows) > 0 {
			o.found = append(o.found, context.lateAlerts(&table{late.Columns, late.Rows})...)
			o.results += len(late.Rows)
		}
	}
	return s.commit(limited, r, p, o)
}

// lateAlerts are the alerts of late rows. Their ids differ from those of the window's own.
func (r *run) lateAlerts(t *table) []made {
	late := *r
	late.late = true
	return late.alerts(t)
}

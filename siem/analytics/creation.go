package analytics

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/otus-project/otus/siem/incident"
	"github.com/otus-project/otus/siem/state"
)

// signals applies an incident-creation rule's filters to SecurityAlert rows.
func (l *loaded) signals(t *table) []incident.Signal {
	var all []incident.Signal
	for _, row := range t.rows {
		named := make(map[string]any, len(row))
		for n, column := range t.columns {
			named[column] = row[n]
		}
		if p, _ := named["ProviderName"].(string); p == providerContent || p == providerUser {
			continue // a rule's alert has its incident already
		}
		a := incident.AlertOf(named)
		if !l.wants(a) {
			continue
		}
		sig := incident.Signal{RuleID: l.ID, RuleName: l.Name, Alert: a}
		if a.VendorOriginalID != "" {
			sig.Originals = []string{a.VendorOriginalID}
		}
		if a.SystemAlertID == "" && a.VendorOriginalID == "" {
			continue // nothing names this alert; it could never be told from the next
		}
		if a.SystemAlertID == "" {
			sig.Alert.SystemAlertID = a.VendorOriginalID
		}
		all = append(all, sig)
	}
	return all
}

func (l *loaded) wants(a incident.Alert) bool {
	contains := func(list []string) bool {
		return slices.ContainsFunc(list, func(part string) bool {
			return strings.Contains(strings.ToLower(a.Name), strings.ToLower(part))
		})
	}
	switch {
	case len(l.SeveritiesFilter) > 0 && !slices.Contains(l.SeveritiesFilter, a.Severity):
		return false
	case len(l.DisplayNamesFilter) > 0 && !contains(l.DisplayNamesFilter):
		return false
	}
	return !contains(l.DisplayNamesExcludeFilter)
}

// commitSignals opens incidents for the alerts that have none. Any row of an alert may be the first one this rule
// sees, after a reconnect say; further rows of a known alert open nothing, and neither does an alert that is over.
func (s *Service) commitSignals(ctx context.Context, r *running, p progress, upTo uint64, signals []incident.Signal) error {
	fresh := signals[:0:0]
	opening := map[string]bool{} // alerts that get their incident by an earlier row of this run
	for _, sig := range signals {
		known, owned, err := s.o.Incidents.Known(ctx, sig)
		if err != nil {
			return err
		}
		id := sig.Alert.SystemAlertID
		over := sig.Alert.Status == "Resolved" || sig.Alert.Status == "Dismissed"
		if known || over && !owned && !opening[id] {
			continue // known ones are the follower's
		}
		opening[id] = true
		fresh = append(fresh, sig)
	}
	if len(fresh) == 0 {
		return s.commit(ctx, r, p, outcome{upTo: upTo, windowEnd: p.windowEnd, results: len(signals)})
	}
	next := p
	next.watermark = upTo
	next.lastRun, next.lastError, next.failures, next.retryAt = s.db.Now(), "", 0, time.Time{}
	err := s.db.Write(ctx, func(ctx context.Context, tx *state.Tx) error {
		if err := s.unmoved(ctx, tx, r.ID, p); err != nil {
			return err
		}
		opened, joined := 0, 0
		for _, sig := range fresh {
			result, err := s.o.Incidents.Open(ctx, tx, sig)
			if err != nil {
				return err
			}
			if result.Created {
				opened++
			} else if result.Joined {
				joined++
			}
		}
		next.produced += int64(opened + joined)
		next.lastResult = fmt.Sprintf("incidents opened: %d, joined: %d", opened, joined)
		return s.writeProgress(ctx, tx, r.ID, next)
	})
	return s.settled(r, p, next, nil, err)
}

// followed is the name under which the follower keeps its watermark; no rule can have it.
const followed = "$follow"

// follow keeps what incidents show of their alerts at the newest revision, whether or not any rule is on.
func (s *Service) follow(ctx context.Context, head uint64) error {
	p, found, err := s.progress(ctx, s.db.Reader(), followed)
	if err != nil {
		return err
	}
	if !found {
		p.watermark = head
		return s.db.Write(ctx, func(ctx context.Context, tx *state.Tx) error { return s.writeProgress(ctx, tx, followed, p) })
	}
	read := max(p.watermark, s.followedTo)
	for read < head {
		upTo := min(head, read+ingestStep)
		s.mu.Lock()
		untouched := s.untouched([]string{"SecurityAlert"}, read)
		s.mu.Unlock()
		if untouched {
			s.followedTo = head
			return nil
		}
		changed, err := s.newer(ctx, read, upTo)
		if err != nil {
			return fmt.Errorf("follow alerts: %w", err)
		}
		if len(changed) > 0 {
			err := s.db.Write(ctx, func(ctx context.Context, tx *state.Tx) error {
				for _, a := range changed {
					if err := s.o.Incidents.Refresh(ctx, tx, a); err != nil {
						return err
					}
				}
				p.watermark = upTo
				return s.writeProgress(ctx, tx, followed, p)
			})
			if err != nil {
				return fmt.Errorf("follow alerts: %w", err)
			}
		}
		read = upTo
		s.followedTo = upTo
	}
	return nil
}

// newer gives the newest revision of each alert among the rows that an incident holds an older one of.
func (s *Service) newer(ctx context.Context, after, upTo uint64) ([]incident.Alert, error) {
	limited, cancel := context.WithTimeout(ctx, ingestTime)
	defer cancel()
	result, err := s.o.Log.Run(limited, Request{
		Text: `SecurityAlert | where ProviderName == "` + incident.ProviderSensor + `"`, Now: s.db.Now(), IngestAfter: &after, IngestUpTo: &upTo, MaxRows: ingestRows,
	})
	if err != nil {
		return nil, err
	}
	latest := map[string]int{}
	var all []incident.Alert
	for _, row := range result.Rows {
		named := make(map[string]any, len(row))
		for n, column := range result.Columns {
			named[column] = row[n]
		}
		a := incident.AlertOf(named)
		if n, ok := latest[a.SystemAlertID]; !ok {
			latest[a.SystemAlertID] = len(all)
			all = append(all, a)
		} else if a.Revision > all[n].Revision {
			all[n] = a
		}
	}
	return s.o.Incidents.Outdated(ctx, all)
}

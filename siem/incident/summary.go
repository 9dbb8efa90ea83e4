package incident

import (
	"context"
	"fmt"
	"time"

	"github.com/otus-project/otus/siem/state"
)

// Summary counts the incidents of a workspace and says how quickly they were handled.
type Summary struct {
	Open   int `json:"open" doc:"New and Active"`
	New    int `json:"new"`
	Active int `json:"active"`
	Closed int `json:"closed"`
	// BySeverity counts the open ones.
	BySeverity map[string]int `json:"bySeverity"`

	// MeanTimeToTriage and MeanTimeToClose are nil while no incident has been touched or closed.
	MeanTimeToTriage *time.Duration `json:"-"`
	MeanTimeToClose  *time.Duration `json:"-"`
}

// Bin counts the incidents created within one hour.
type Bin struct {
	Start         time.Time `json:"start"`
	High          int       `json:"high"`
	Medium        int       `json:"medium"`
	Low           int       `json:"low"`
	Informational int       `json:"informational"`
}

// Summary counts now.
func (s *Service) Summary(ctx context.Context) (*Summary, error) {
	sum := &Summary{BySeverity: map[string]int{"High": 0, "Medium": 0, "Low": 0, "Informational": 0}}
	err := s.db.Read(ctx, func(ctx context.Context, q state.Querier) error {
		byStatus, err := counts(ctx, q, `SELECT status, count(*) FROM incident WHERE workspace = ? GROUP BY 1`, s.ws.ID)
		if err != nil {
			return err
		}
		sum.New, sum.Active, sum.Closed = byStatus[New], byStatus[Active], byStatus[Closed]
		sum.Open = sum.New + sum.Active
		bySeverity, err := counts(ctx, q, `SELECT severity, count(*) FROM incident
			WHERE workspace = ? AND status IN ('New', 'Active') GROUP BY 1`, s.ws.ID)
		if err != nil {
			return err
		}
		for severity, n := range bySeverity {
			sum.BySeverity[severity] = n
		}
		var triage, closing *float64
		if err := q.QueryRowContext(ctx, `SELECT avg(first_modified - created), avg(closed - created)
			FROM incident WHERE workspace = ?`, s.ws.ID).Scan(&triage, &closing); err != nil {
			return err
		}
		sum.MeanTimeToTriage, sum.MeanTimeToClose = ticksToDuration(triage), ticksToDuration(closing)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("summary of incidents: %w", err)
	}
	return sum, nil
}

func ticksToDuration(ticks *float64) *time.Duration {
	if ticks == nil {
		return nil
	}
	d := time.Duration(*ticks * 100)
	return &d
}

// Series counts the incidents created in each of the last hours, oldest first; the last bin is the hour now runs in.
func (s *Service) Series(ctx context.Context, hours int) ([]Bin, error) {
	last := s.db.Now().Truncate(time.Hour)
	first := last.Add(-time.Duration(hours-1) * time.Hour)
	bins := make([]Bin, hours)
	for n := range bins {
		bins[n].Start = first.Add(time.Duration(n) * time.Hour)
	}
	rows, err := s.db.Reader().QueryContext(ctx, `SELECT (created - ?) / 36000000000, severity, count(*) FROM incident
		WHERE workspace = ? AND created >= ? GROUP BY 1, 2`, state.Ticks(first), s.ws.ID, state.Ticks(first))
	if err != nil {
		return nil, fmt.Errorf("series of incidents: %w", err)
	}
	type cell struct {
		bin      int
		severity string
		n        int
	}
	cells, err := state.Scan(rows, func(c *cell) []any { return []any{&c.bin, &c.severity, &c.n} })
	if err != nil {
		return nil, fmt.Errorf("series of incidents: %w", err)
	}
	for _, c := range cells {
		if c.bin >= hours {
			continue
		}
		b := &bins[c.bin]
		switch c.severity {
		case "High":
			b.High = c.n
		case "Medium":
			b.Medium = c.n
		case "Low":
			b.Low = c.n
		default:
			b.Informational = c.n
		}
	}
	return bins, nil
}

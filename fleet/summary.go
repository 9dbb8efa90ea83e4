package fleet

import (
	"context"
	"fmt"
)

// Summary counts what the fleet has.
type Summary struct {
	Devices   int `json:"devices"`
	OTDevices int `json:"otDevices"`
	Sensors   struct {
		Total    int `json:"total"`
		Healthy  int `json:"healthy"`
		Warning  int `json:"warning"`
		Critical int `json:"critical"`
	} `json:"sensors"`
	Alerts struct {
		Open       int            `json:"open"` // New or Active
		BySeverity map[string]int `json:"bySeverity"`
		ByEngine   map[string]int `json:"byEngine"`
	} `json:"alerts"`
	Unseen Unseen `json:"unseen"`
}

// Unseen says what the sensors cannot see: sums of their health counters.
type Unseen struct {
	OneSidedStreams uint64 `json:"oneSidedStreams"`
	LostBytes       uint64 `json:"lostBytes"`
	UndecodedBytes  uint64 `json:"undecodedBytes"`
	Duplicates      uint64 `json:"duplicates"`
	Dropped         uint64 `json:"dropped"`     // frames
	LostRecords     uint64 `json:"lostRecords"` // given up by full spools
}

// Summary gives the counts of the first page.
func (f *Fleet) Summary(ctx context.Context) (Summary, error) {
	var s Summary
	if err := f.db.reader.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(ot), 0) FROM device`).Scan(&s.Devices, &s.OTDevices); err != nil {
		return s, fmt.Errorf("fleet summary: %w", err)
	}
	open := []condition{{text: "alert.status <> 'Closed'"}}
	var err error
	if s.Alerts.BySeverity, err = facet(ctx, f.db.reader, "severity", "alert.severity", "alert", open); err != nil {
		return s, fmt.Errorf("fleet summary: %w", err)
	}
	if s.Alerts.ByEngine, err = facet(ctx, f.db.reader, "engine", "alert.engine", "alert", open); err != nil {
		return s, fmt.Errorf("fleet summary: %w", err)
	}
	for _, n := range s.Alerts.BySeverity {
		s.Alerts.Open += n
	}
	sensors, err := f.Sensors(ctx)
	if err != nil {
		return s, fmt.Errorf("fleet summary: %w", err)
	}
	s.Sensors.Total = len(sensors)
	for _, sensor := range sensors {
		switch sensor.State {
		case stateCritical:
			s.Sensors.Critical++
		case stateWarning:
			s.Sensors.Warning++
		default:
			s.Sensors.Healthy++
		}
		s.Unseen.LostRecords += sensor.LostRecords
		if h := sensor.Health; h != nil {
			s.Unseen.OneSidedStreams += h.OneSidedStreams
			s.Unseen.LostBytes += h.LostBytes
			s.Unseen.UndecodedBytes += h.UndecodedBytes
			s.Unseen.Duplicates += h.Duplicates
			s.Unseen.Dropped += h.Dropped
		}
	}
	return s, nil
}

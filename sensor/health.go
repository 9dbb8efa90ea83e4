package sensor

import (
	"time"

	"github.com/otus-project/otus/event"
)

// healthState is what the health row needs beyond the stages' own counters.
type healthState struct {
	Minute    time.Time // of the last row
	State     string    // told by the last row
	Reason    string
	Mode      event.SensorMode
	Dropped   uint64 // by the kernel, on live interfaces
	Conflicts uint64 // records derived again with other bytes: a bug, told as a warning
}

// reportHealth emits a row for every minute of stage time that has begun, and whenever the state or mode changes.
func (s *Sensor) reportHealth(now time.Time) {
	c := s.stage.Counters()
	state, reason := "Healthy", ""
	switch {
	case c.PluginFailures > 0:
		state, reason = "Warning", "a plug-in failed and was set aside for the flow it failed on"
	case s.health.Conflicts > 0:
		state, reason = "Warning", "records derived again after a restart differed from those sent"
	case s.health.Dropped > 0:
		state, reason = "Warning", "the interface dropped frames before the sensor could read them"
	case c.NoTraffic:
		state, reason = "Critical", "no traffic on the sensor's interface"
	}
	mode := s.stage.Mode()
	minute := now.Truncate(time.Minute)
	h := &s.health
	if !minute.After(h.Minute) && state == h.State && reason == h.Reason && mode == h.Mode {
		return
	}
	if minute.After(h.Minute) {
		h.Minute = minute
	}
	h.State, h.Reason, h.Mode = state, reason, mode
	row := event.Health{
		Time: now, SensorID: s.o.ID, SensorName: s.o.Name, Version: s.o.Version, Mode: mode,
		State: state, Reason: reason,
		Frames: c.Frames, Bytes: c.Bytes, Dropped: h.Dropped, Malformed: c.Malformed, Duplicates: c.Duplicates,
		LostBytes: c.LostBytes, UndecodedBytes: c.UndecodedBytes, Devices: c.Devices, OpenAlerts: c.OpenAlerts,
		Connections: c.Connections, Evicted: c.Evicted, OneSidedStreams: c.OneSidedStreams, PluginFailures: c.PluginFailures,
	}
	if s.live { // depends on the uplink's pace: in a replay it would make equal runs differ
		row.SpooledRecords = s.waiting.Load()
	}
	s.emit(event.Record{Kind: event.KindHealth, Health: &row})
}

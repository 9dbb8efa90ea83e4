package query

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ParseTimespan reads the time range of a query: an ISO 8601 duration that ends now ("P1D", "PT1H", "PT86400.0S"), or
// an interval of two times, or of a time and a duration, around a slash. Empty text is no range: both nil.
func ParseTimespan(text string, now time.Time) (from, to *time.Time, err error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, nil, nil
	}
	wrong := fmt.Errorf("timespan %q is neither a duration such as P1D nor an interval such as 2026-01-01T00:00:00Z/2026-01-02T00:00:00Z", text)
	left, right, interval := strings.Cut(text, "/")
	if !interval {
		d, ok := parseDuration(text)
		if !ok {
			return nil, nil, wrong
		}
		start, end := d.before(now), now
		return &start, &end, nil
	}
	start, startOK := parseTime(left)
	end, endOK := parseTime(right)
	switch {
	case startOK && endOK:
	case startOK:
		d, ok := parseDuration(right)
		if !ok {
			return nil, nil, wrong
		}
		end = d.after(start)
	case endOK:
		d, ok := parseDuration(left)
		if !ok {
			return nil, nil, wrong
		}
		start = d.before(end)
	default:
		return nil, nil, wrong
	}
	if end.Before(start) {
		return nil, nil, fmt.Errorf("timespan %q ends before it begins", text)
	}
	return &start, &end, nil
}

func parseTime(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, strings.TrimSpace(s)); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// span is a duration whose months and days follow the calendar.
type span struct {
	years, months, days int
	rest                time.Duration
}

func (s span) before(t time.Time) time.Time {
	return t.AddDate(-s.years, -s.months, -s.days).Add(-s.rest)
}
func (s span) after(t time.Time) time.Time { return t.AddDate(s.years, s.months, s.days).Add(s.rest) }

// maxUnits bounds each number of a duration: ten thousand years in days.
const maxUnits = 3_660_000

func parseDuration(text string) (s span, ok bool) {
	rest, ok := strings.CutPrefix(strings.ToUpper(strings.TrimSpace(text)), "P")
	if !ok || rest == "" || strings.HasSuffix(rest, "T") {
		return s, false
	}
	allowed, inTime := "YMWD", false
	for rest != "" {
		if rest[0] == 'T' {
			if inTime {
				return s, false
			}
			allowed, inTime, rest = "HMS", true, rest[1:]
			continue
		}
		end := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != '.' && r != ',' })
		if end <= 0 {
			return s, false
		}
		number, unit := strings.ReplaceAll(rest[:end], ",", "."), rest[end]
		rest = rest[end+1:]
		place := strings.IndexByte(allowed, unit)
		if place < 0 || !s.add(unit, inTime, number) {
			return s, false
		}
		allowed = allowed[place+1:] // each unit once, the larger ones first
	}
	return s, true
}

func (s *span) add(unit byte, inTime bool, number string) bool {
	if inTime {
		n, err := strconv.ParseFloat(number, 64)
		if err != nil || n > maxUnits*86400 {
			return false
		}
		size := map[byte]time.Duration{'H': time.Hour, 'M': time.Minute, 'S': time.Second}[unit]
		if seconds := n * size.Seconds(); seconds > 290*365*86400 {
			return false
		}
		s.rest += time.Duration(n * float64(size))
		return true
	}
	n, err := strconv.Atoi(number)
	if err != nil || n > maxUnits {
		return false
	}
	switch unit {
	case 'Y':
		s.years = n
		return n <= 9999
	case 'M':
		s.months = n
		return n <= 9999*12
	case 'W':
		s.days += 7 * n
	case 'D':
		s.days += n
	}
	return true
}

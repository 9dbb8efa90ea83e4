package native

import (
	"math"
	"strconv"
	"strings"
)

// FormatReal gives a real as tostring does.
func FormatReal(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	case f == 0:
		if math.Signbit(f) {
			return "-0.0"
		}
		return "0.0"
	}
	if a := math.Abs(f); a >= 1e15 || a < 1e-5 {
		s := strconv.FormatFloat(f, 'E', -1, 64)
		mantissa, exponent, _ := strings.Cut(s, "E")
		return mantissa + "E" + exponent
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// RealJSON gives a real inside dynamic; what JSON has no number for is a string.
func RealJSON(f float64) string {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return `"` + FormatReal(f) + `"`
	}
	return FormatReal(f)
}

// formatDatetime applies a format of format_datetime; ok is false for a format with anything unknown in it.
func formatDatetime(t int64, format string) (string, bool) {
	days := floorDiv(t, ticksDay)
	rest := t - days*ticksDay
	year, month, day := Date(days)
	var b []byte
	for i := 0; i < len(format); {
		c := format[i]
		n := 1
		for i+n < len(format) && format[i+n] == c {
			n++
		}
		i += n
		hour := rest / ticksHour
		switch c {
		case 'y':
			if n >= 4 {
				b = appendPadded(b, year, n)
			} else {
				b = appendPadded(b, year%100, n)
			}
		case 'M':
			b = appendPadded(b, month, min(n, 2))
		case 'd':
			b = appendPadded(b, day, min(n, 2))
		case 'H':
			b = appendPadded(b, hour, min(n, 2))
		case 'h':
			b = appendPadded(b, (hour+11)%12+1, min(n, 2))
		case 'm':
			b = appendPadded(b, rest/ticksMinute%60, min(n, 2))
		case 's':
			b = appendPadded(b, rest/ticksSecond%60, min(n, 2))
		case 'f', 'F':
			if n > 7 {
				return "", false
			}
			b = appendFraction(b, rest%ticksSecond, n, c == 'F')
		case 't':
			half := "AM"
			if hour >= 12 {
				half = "PM"
			}
			b = append(b, half[:min(n, 2)]...)
		case ' ', '/', '-', ':', ',', '.', '_', '[', ']':
			b = append(b, strings.Repeat(string(c), n)...)
		default:
			return "", false
		}
	}
	return string(b), true
}

// ValidDatetimeFormat tells whether format_datetime takes the format.
func ValidDatetimeFormat(format string) bool { _, ok := formatDatetime(0, format); return ok }

// ValidTimespanFormat tells whether format_timespan takes the format.
func ValidTimespanFormat(format string) bool { _, ok := formatTimespan(0, format); return ok }

// appendFraction writes the first n of a second's seven decimals; F drops trailing zeros, and a point before nothing.
func appendFraction(b []byte, ticks int64, n int, trim bool) []byte {
	s := string(appendPadded(nil, ticks, 7))[:n]
	if trim {
		s = strings.TrimRight(s, "0")
		if s == "" && len(b) > 0 && b[len(b)-1] == '.' {
			b = b[:len(b)-1]
		}
	}
	return append(b, s...)
}

func formatTimespan(t int64, format string) (string, bool) {
	var b []byte
	u := uint64(t)
	if t < 0 {
		b = append(b, '-')
		u = -u
	}
	days, rest := int64(u/uint64(ticksDay)), int64(u%uint64(ticksDay))
	for i := 0; i < len(format); {
		c := format[i]
		n := 1
		for i+n < len(format) && format[i+n] == c {
			n++
		}
		i += n
		switch c {
		case 'd':
			if n > 8 {
				return "", false
			}
			b = appendPadded(b, days, n)
		case 'h', 'H':
			b = appendPadded(b, rest/ticksHour, min(n, 2))
		case 'm':
			b = appendPadded(b, rest/ticksMinute%60, min(n, 2))
		case 's':
			b = appendPadded(b, rest/ticksSecond%60, min(n, 2))
		case 'f', 'F':
			if n > 7 {
				return "", false
			}
			b = appendFraction(b, rest%ticksSecond, n, c == 'F')
		case ' ', '/', '-', ':', ',', '.', '_', '[', ']':
			b = append(b, strings.Repeat(string(c), n)...)
		default:
			return "", false
		}
	}
	return string(b), true
}

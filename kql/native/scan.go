package native

import (
	"math"
	"math/big"
	"strconv"
	"strings"
)

// The ticks of datetime: 100 ns since 1970-01-01, within the years 1 to 9999.
const (
	MinDatetime  int64 = -621355968000000000
	MaxDatetime  int64 = 2534023007999999999
	ticksSecond  int64 = 1e7
	ticksMinute        = 60 * ticksSecond
	ticksHour          = 60 * ticksMinute
	ticksDay           = 24 * ticksHour
	ticksUnixEra       = -MinDatetime // ticks from 0001-01-01 to 1970-01-01
)

// ParseLong reads a long as tolong does: decimal or 0x, a sign, white space around.
func ParseLong(s string) (int64, bool) {
	s = strings.TrimSpace(s)
	t, negative := s, false
	if t != "" && (t[0] == '-' || t[0] == '+') {
		negative = t[0] == '-'
		t = t[1:]
	}
	if len(t) > 2 && (t[:2] == "0x" || t[:2] == "0X") {
		u, err := strconv.ParseUint(t[2:], 16, 64)
		if err != nil {
			return 0, false
		}
		if negative {
			return -int64(u), true
		}
		return int64(u), true
	}
	if t == "" || t[0] < '0' || t[0] > '9' {
		return 0, false
	}
	i, err := strconv.ParseInt(strings.TrimPrefix(s, "+"), 10, 64)
	return i, err == nil
}

// ParseReal reads a real as toreal does: NaN, Infinity and inf among them.
func ParseReal(s string) (float64, bool) {
	s = strings.TrimSpace(s)
	switch s {
	case "nan", "NaN", "NAN":
		return math.NaN(), true
	case "inf", "+inf", "Inf", "+Inf", "Infinity", "+Infinity", "infinity", "+infinity":
		return math.Inf(1), true
	case "-inf", "-Inf", "-Infinity", "-infinity":
		return math.Inf(-1), true
	}
	for _, c := range []byte(s) {
		if c != '.' && c != '+' && c != '-' && c != 'e' && c != 'E' && (c < '0' || c > '9') {
			return 0, false
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && err.(*strconv.NumError).Err == strconv.ErrRange { //nolint:errorlint // ParseFloat's documented error
		return f, true // beyond the range is infinite, or zero
	}
	return f, err == nil
}

// ParseBool reads a bool as tobool does: true, false in any case, or an integer.
func ParseBool(s string) (bool, bool) {
	s = strings.TrimSpace(s)
	switch {
	case strings.EqualFold(s, "true"):
		return true, true
	case strings.EqualFold(s, "false"):
		return false, true
	}
	i, ok := ParseLong(s)
	return i != 0, ok
}

// ParseGUID reads a guid with or without dashes and braces, and gives it in lower case with dashes.
func ParseGUID(s string) (string, bool) {
	s = strings.TrimSpace(s)
	if len(s) >= 2 && (s[0] == '{' && s[len(s)-1] == '}' || s[0] == '(' && s[len(s)-1] == ')') {
		s = s[1 : len(s)-1]
	}
	if len(s) == 36 {
		if s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
			return "", false
		}
		s = strings.ReplaceAll(s, "-", "")
	}
	if len(s) != 32 {
		return "", false
	}
	for _, c := range []byte(s) {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
			return "", false
		}
	}
	s = strings.ToLower(s)
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:], true
}

// ParseDecimal reads a decimal and gives its canonical text.
func ParseDecimal(s string) (string, bool) {
	s = strings.TrimSpace(s)
	if len(s) > 400 || s == "" {
		return "", false
	}
	for _, c := range []byte(s) {
		if c != '.' && c != '+' && c != '-' && c != 'e' && c != 'E' && (c < '0' || c > '9') {
			return "", false
		}
	}
	mantissa, exponent, scientific := strings.Cut(strings.ToLower(s), "e")
	if scientific {
		if e, err := strconv.Atoi(exponent); err != nil || e > 300 || e < -300 {
			return "", false
		}
	} else if _, ok := new(big.Rat).SetString(mantissa); ok {
		return trimDecimal(strings.TrimPrefix(mantissa, "+")), true
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		return "", false
	}
	return FormatDecimal(r), true
}

// FormatDecimal gives a rational number with 34 significant digits, as Kusto's decimal holds it.
func FormatDecimal(r *big.Rat) string {
	whole := new(big.Int).Quo(r.Num(), r.Denom())
	digits := 34 - len(new(big.Int).Abs(whole).String())
	if whole.Sign() == 0 {
		digits = 34
	}
	return trimDecimal(r.FloatString(max(digits, 0)))
}

func trimDecimal(s string) string {
	if strings.Contains(s, ".") {
		s = strings.TrimRight(s, "0")
		s = strings.TrimSuffix(s, ".")
	}
	if strings.HasPrefix(s, ".") {
		s = "0" + s
	}
	if strings.HasPrefix(s, "-.") {
		s = "-0" + s[1:]
	}
	if s == "-0" || s == "" {
		s = "0"
	}
	return s
}

// ParseTimespan reads [-][d.]hh:mm[:ss[.fffffff]], a number with a unit, or a number of days.
func ParseTimespan(s string) (int64, bool) {
	s = strings.TrimSpace(s)
	negative := false
	if s != "" && (s[0] == '-' || s[0] == '+') {
		negative = s[0] == '-'
		s = s[1:]
	}
	ticks, ok := parseTimespan(s)
	if negative {
		ticks = -ticks
	}
	return ticks, ok
}

func parseTimespan(s string) (int64, bool) {
	if s == "" || len(s) > 40 {
		return 0, false
	}
	if !strings.Contains(s, ":") {
		return parseDays(s)
	}
	var days int64
	head, _, _ := strings.Cut(s, ":")
	if d, _, ok := strings.Cut(head, "."); ok {
		n, good := digits(d, 8)
		if !good {
			return 0, false
		}
		days = n
		s = s[len(d)+1:]
	}
	parts := strings.Split(s, ":")
	if len(parts) > 3 {
		return 0, false
	}
	hours, ok1 := digits(parts[0], 2)
	minutes, ok2 := digits(parts[1], 2)
	if !ok1 || !ok2 || hours > 23 || minutes > 59 {
		return 0, false
	}
	ticks := days*ticksDay + hours*ticksHour + minutes*ticksMinute
	if len(parts) == 3 {
		whole, fraction, hasFraction := strings.Cut(parts[2], ".")
		seconds, ok := digits(whole, 2)
		if !ok || seconds > 59 {
			return 0, false
		}
		ticks += seconds * ticksSecond
		if hasFraction {
			f, ok := fractionTicks(fraction)
			if !ok {
				return 0, false
			}
			ticks += f
		}
	}
	return ticks, true
}

var unitTicks = map[string]int64{"d": ticksDay, "h": ticksHour, "m": ticksMinute, "min": ticksMinute, "s": ticksSecond, "ms": 1e4, "tick": 1,
	"ticks": 1, "day": ticksDay, "days": ticksDay, "hour": ticksHour, "hours": ticksHour, "minute": ticksMinute, "minutes": ticksMinute,
	"second": ticksSecond, "seconds": ticksSecond, "sec": ticksSecond, "hr": ticksHour, "hrs": ticksHour, "microsecond": 10, "microseconds": 10,
	"millisecond": 1e4, "milliseconds": 1e4, "": ticksDay}

func parseDays(s string) (int64, bool) {
	n := strings.IndexFunc(s, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	if n < 0 {
		n = len(s)
	}
	unit, ok := unitTicks[strings.TrimSpace(s[n:])]
	if !ok || n == 0 {
		return 0, false
	}
	f, err := strconv.ParseFloat(s[:n], 64)
	if err != nil || f*float64(unit) > 9.2e18 {
		return 0, false
	}
	return int64(math.Round(f * float64(unit))), true
}

// digits reads one to limit decimal digits and nothing else.
func digits(s string, limit int) (int64, bool) {
	if s == "" || len(s) > limit {
		return 0, false
	}
	var n int64
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// fractionTicks reads the digits after a second's point; what lies below a tick is dropped.
func fractionTicks(s string) (int64, bool) {
	if s == "" || len(s) > 18 {
		return 0, false
	}
	if _, ok := digits(s, 18); !ok {
		return 0, false
	}
	n, _ := digits((s + "0000000")[:7], 7)
	return n, true
}

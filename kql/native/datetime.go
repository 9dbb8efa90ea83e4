package native

import (
	"strconv"
	"strings"
)

// Days gives the days from 1970-01-01 to a date of the proleptic Gregorian calendar.
func Days(year, month, day int64) int64 {
	if month <= 2 {
		year--
	}
	era := floorDiv(year, 400)
	yearOfEra := year - era*400
	dayOfYear := (153*(month+map[bool]int64{true: -3, false: 9}[month > 2])+2)/5 + day - 1
	return era*146097 + yearOfEra*365 + yearOfEra/4 - yearOfEra/100 + dayOfYear - 719468
}

// Date gives the date of a number of days since 1970-01-01.
func Date(days int64) (year, month, day int64) {
	days += 719468
	era := floorDiv(days, 146097)
	doe := days - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	day = doy - (153*mp+2)/5 + 1
	month = mp + 3
	if month > 12 {
		month -= 12
	}
	year = yoe + era*400
	if month <= 2 {
		year++
	}
	return year, month, day
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}

func daysInMonth(year, month int64) int64 {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

func datetime(year, month, day, ticks int64) (int64, bool) {
	if year < 1 || year > 9999 || month < 1 || month > 12 || day < 1 || day > daysInMonth(year, month) {
		return 0, false
	}
	return Days(year, month, day)*ticksDay + ticks, true
}

// ParseDatetime reads the forms that datetime() and todatetime take: ISO 8601, dates with slashes or dashes in
// American order, RFC 822 and 850, and years alone. A value without a zone is UTC.
func ParseDatetime(s string) (int64, bool) {
	s = strings.TrimSpace(s)
	if s == "" || len(s) > 64 {
		return 0, false
	}
	s = strings.TrimSpace(skipWeekday(s))
	year, month, day, rest, ok := parseDate(s)
	if !ok {
		return 0, false
	}
	ticks, offset, ok := parseTimeOfDay(rest)
	if !ok {
		return 0, false
	}
	t, ok := datetime(year, month, day, 0)
	if !ok {
		return 0, false
	}
	t += ticks - offset
	return t, t >= MinDatetime && t <= MaxDatetime
}

var weekdays = []string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}
var months = []string{"january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"}

func skipWeekday(s string) string {
	n := letters(s)
	if n < 3 {
		return s
	}
	word := strings.ToLower(s[:n])
	for _, w := range weekdays {
		if word == w || word == w[:3] {
			return strings.TrimLeft(s[n:], ", ")
		}
	}
	return s
}

func letters(s string) int {
	n := 0
	for n < len(s) && (s[n] >= 'a' && s[n] <= 'z' || s[n] >= 'A' && s[n] <= 'Z') {
		n++
	}
	return n
}

func monthNamed(word string) int64 {
	word = strings.ToLower(word)
	for i, m := range months {
		if word == m || word == m[:3] {
			return int64(i + 1)
		}
	}
	return 0
}

// takeNumber cuts leading digits off.
func takeNumber(s string, limit int) (n int64, width int, rest string) {
	for width < len(s) && width < limit && s[width] >= '0' && s[width] <= '9' {
		n = n*10 + int64(s[width]-'0')
		width++
	}
	return n, width, s[width:]
}

func parseDate(s string) (year, month, day int64, rest string, ok bool) {
	if n := letters(s); n >= 3 { // Nov 8, 2014
		month = monthNamed(s[:n])
		var w int
		day, w, rest = takeNumber(strings.TrimLeft(s[n:], " -"), 2)
		if month == 0 || w == 0 {
			return 0, 0, 0, "", false
		}
		year, w, rest = takeNumber(strings.TrimLeft(rest, ", -"), 4)
		return fullYear(year, w), month, day, rest, w == 4 || w == 2
	}
	first, width, rest := takeNumber(s, 8)
	if width == 0 {
		return 0, 0, 0, "", false
	}
	if width == 8 {
		return first / 10000, first / 100 % 100, first % 100, rest, true
	}
	if rest == "" {
		return first, 1, 1, "", width == 4
	}
	separator := rest[0]
	switch {
	case separator == ' ' || separator == '-' && letters(rest[1:]) >= 3: // 8 Nov 2014
		t := strings.TrimLeft(rest, " -")
		n := letters(t)
		month = monthNamed(t[:n])
		if month == 0 || width > 2 {
			return 0, 0, 0, "", false
		}
		var w int
		year, w, rest = takeNumber(strings.TrimLeft(t[n:], " -"), 4)
		return fullYear(year, w), month, first, rest, w == 4 || w == 2
	case separator == ',': // 2025, 6, 14
		return parseListed(first, width, rest)
	case separator != '-' && separator != '/' && separator != '.':
		return 0, 0, 0, "", false
	}
	second, width2, rest := takeNumber(rest[1:], 2)
	if width2 == 0 {
		return 0, 0, 0, "", false
	}
	if rest == "" || rest[0] != separator {
		return first, second, 1, rest, width == 4
	}
	third, width3, rest := takeNumber(rest[1:], 4)
	switch {
	case width == 4 && width3 >= 1 && width3 <= 2:
		return first, second, third, rest, true
	case width <= 2 && (width3 == 4 || width3 == 2): // American order: month, day, year
		return fullYear(third, width3), first, second, rest, true
	}
	return 0, 0, 0, "", false
}

func parseListed(year int64, width int, rest string) (y, m, d int64, tail string, ok bool) {
	parts := strings.Split(rest[1:], ",")
	if width != 4 || len(parts) < 2 || len(parts) > 5 {
		return 0, 0, 0, "", false
	}
	values := [5]int64{}
	for i, p := range parts {
		n, ok := digits(strings.TrimSpace(p), 2)
		if !ok {
			return 0, 0, 0, "", false
		}
		values[i] = n
	}
	if len(parts) == 2 {
		return year, values[0], values[1], "", true
	}
	pad := func(n int64) string { return strconv.FormatInt(100+n, 10)[1:] }
	return year, values[0], values[1], " " + pad(values[2]) + ":" + pad(values[3]) + ":" + pad(values[4]), true
}

func fullYear(year int64, width int) int64 {
	if width != 2 {
		return year
	}
	if year < 50 {
		return 2000 + year
	}
	return 1900 + year
}

// parseTimeOfDay reads hh:mm[:ss[.f]][ AM|PM][ zone] after a date, or nothing.
func parseTimeOfDay(s string) (ticks, offset int64, ok bool) {
	if s == "" {
		return 0, 0, true
	}
	if s[0] == 'T' || s[0] == 't' || s[0] == ' ' || s[0] == ':' {
		s = strings.TrimLeft(s[1:], " ")
	} else if s[0] != 'Z' && s[0] != 'z' {
		return 0, 0, false
	}
	hour, width, rest := takeNumber(s, 2)
	if width > 0 {
		if !strings.HasPrefix(rest, ":") {
			if rest != "" && rest != "Z" {
				return 0, 0, false
			}
			rest = ":00" + rest
		}
		minute, w, r := takeNumber(rest[1:], 2)
		if w == 0 || hour > 24 || minute > 59 {
			return 0, 0, false
		}
		ticks = hour*ticksHour + minute*ticksMinute
		rest = r
		if strings.HasPrefix(rest, ":") {
			second, w, r := takeNumber(rest[1:], 2)
			if w == 0 || second > 59 {
				return 0, 0, false
			}
			ticks += second * ticksSecond
			rest = r
			if rest != "" && (rest[0] == '.' || rest[0] == ',') {
				n := 1
				for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
					n++
				}
				f, ok := fractionTicks(rest[1:n])
				if !ok {
					return 0, 0, false
				}
				ticks += f
				rest = rest[n:]
			}
		}
		if hour == 24 && ticks != ticksDay {
			return 0, 0, false
		}
		s = rest
	}
	s = strings.TrimSpace(s)
	if len(s) >= 2 && (strings.EqualFold(s[:2], "AM") || strings.EqualFold(s[:2], "PM")) {
		if hour > 12 || hour == 0 {
			return 0, 0, false
		}
		pm := s[0] == 'P' || s[0] == 'p'
		switch {
		case pm && hour < 12:
			ticks += 12 * ticksHour
		case !pm && hour == 12:
			ticks -= 12 * ticksHour
		}
		s = strings.TrimSpace(s[2:])
	}
	offset, ok = parseZone(s)
	return ticks, offset, ok
}

func parseZone(s string) (int64, bool) {
	switch strings.ToUpper(s) {
	case "", "Z", "UTC", "GMT":
		return 0, true
	}
	if s[0] != '+' && s[0] != '-' {
		return 0, false
	}
	hours, w, rest := takeNumber(s[1:], 2)
	if w == 0 {
		return 0, false
	}
	rest = strings.TrimPrefix(rest, ":")
	minutes, _, rest := takeNumber(rest, 2)
	if rest != "" || hours > 14 || minutes > 59 {
		return 0, false
	}
	offset := hours*ticksHour + minutes*ticksMinute
	if s[0] == '-' {
		offset = -offset
	}
	return offset, true
}

// FormatDatetime gives a datetime as tostring does: ISO 8601 with seven decimals and Z.
func FormatDatetime(t int64) string {
	days := floorDiv(t, ticksDay)
	rest := t - days*ticksDay
	year, month, day := Date(days)
	b := make([]byte, 0, 28)
	b = appendPadded(b, year, 4)
	b = append(b, '-')
	b = appendPadded(b, month, 2)
	b = append(b, '-')
	b = appendPadded(b, day, 2)
	b = append(b, 'T')
	b = appendClock(b, rest)
	b = append(b, '.')
	b = appendPadded(b, rest%ticksSecond, 7)
	return string(append(b, 'Z'))
}

func appendClock(b []byte, ticks int64) []byte {
	b = appendPadded(b, ticks/ticksHour, 2)
	b = append(b, ':')
	b = appendPadded(b, ticks/ticksMinute%60, 2)
	b = append(b, ':')
	return appendPadded(b, ticks/ticksSecond%60, 2)
}

func appendPadded(b []byte, n int64, width int) []byte {
	s := strconv.FormatInt(n, 10)
	for i := len(s); i < width; i++ {
		b = append(b, '0')
	}
	return append(b, s...)
}

// FormatTimespan gives a timespan as tostring does: [-][d.]hh:mm:ss[.fffffff].
func FormatTimespan(t int64) string {
	b := make([]byte, 0, 28)
	u := uint64(t)
	if t < 0 {
		b = append(b, '-')
		u = -u
	}
	day := uint64(ticksDay)
	if d := u / day; d > 0 {
		b = strconv.AppendUint(b, d, 10)
		b = append(b, '.')
	}
	rest := int64(u % day)
	b = appendClock(b, rest)
	if f := rest % ticksSecond; f != 0 {
		b = append(b, '.')
		b = appendPadded(b, f, 7)
	}
	return string(b)
}

// FormatLong gives a long in decimal.
func FormatLong(i int64) string { return strconv.FormatInt(i, 10) }

func year(t int64) int64 { y, _, _ := Date(floorDiv(t, ticksDay)); return y }

// month arithmetic: the same day of another month, or its last day.
func addMonths(t, n int64) (int64, bool) {
	days := floorDiv(t, ticksDay)
	y, m, d := Date(days)
	if n > 120000 || n < -120000 {
		return 0, false
	}
	index := y*12 + m - 1 + n
	y, m = floorDiv(index, 12), index-floorDiv(index, 12)*12+1
	if y < 1 || y > 9999 {
		return 0, false
	}
	return datetime(y, m, min(d, daysInMonth(y, m)), t-days*ticksDay)
}

func inRange(t int64) (int64, bool) { return t, t >= MinDatetime && t <= MaxDatetime }

func startOfDay(t int64) int64 { return floorDiv(t, ticksDay) * ticksDay }

func startOfWeek(t int64) int64 {
	days := floorDiv(t, ticksDay)
	weekday := ((days+4)%7 + 7) % 7 // 1970-01-01 was a Thursday
	return (days - weekday) * ticksDay
}

func startOfMonth(t int64) int64 {
	y, m, _ := Date(floorDiv(t, ticksDay))
	return Days(y, m, 1) * ticksDay
}

func startOfYear(t int64) int64 { return Days(year(t), 1, 1) * ticksDay }

// weekOfYear is the ISO 8601 week number.
func weekOfYear(t int64) int64 {
	days := floorDiv(t, ticksDay)
	weekday := ((days+3)%7+7)%7 + 1 // Monday 1
	thursday := days + 4 - weekday
	y, _, _ := Date(thursday)
	return (thursday-Days(y, 1, 1))/7 + 1
}

func datetimePart(part string, t int64) (int64, bool) {
	days := floorDiv(t, ticksDay)
	rest := t - days*ticksDay
	y, m, d := Date(days)
	switch strings.ToLower(part) {
	case "year":
		return y, true
	case "quarter":
		return (m-1)/3 + 1, true
	case "month":
		return m, true
	case "week_of_year", "weekofyear":
		return weekOfYear(t), true
	case "day":
		return d, true
	case "dayofyear":
		return days - Days(y, 1, 1) + 1, true
	case "hour":
		return rest / ticksHour, true
	case "minute":
		return rest / ticksMinute % 60, true
	case "second":
		return rest / ticksSecond % 60, true
	case "millisecond":
		return rest / 1e4 % 1000, true
	case "microsecond":
		return rest / 10 % 1e6, true
	case "nanosecond":
		return rest % ticksSecond * 100, true
	}
	return 0, false
}

var partTicks = map[string]int64{"week": 7 * ticksDay, "day": ticksDay, "hour": ticksHour, "minute": ticksMinute, "second": ticksSecond, "millisecond": 1e4, "microsecond": 10}

func datetimeAdd(part string, n, t int64) (int64, bool) {
	part = strings.ToLower(part)
	switch part {
	case "year":
		return addMonths(t, n*12)
	case "quarter":
		return addMonths(t, n*3)
	case "month":
		return addMonths(t, n)
	case "nanosecond":
		return inRange(t + n/100)
	}
	unit, ok := partTicks[part]
	if !ok || n > 4e18/unit || n < -4e18/unit {
		return 0, false
	}
	return inRange(t + n*unit)
}

// datetimeDiff counts the boundaries of the part between b and a.
func datetimeDiff(part string, a, b int64) (int64, bool) {
	part = strings.ToLower(part)
	ya, ma, _ := Date(floorDiv(a, ticksDay))
	yb, mb, _ := Date(floorDiv(b, ticksDay))
	switch part {
	case "year":
		return ya - yb, true
	case "quarter":
		return ya*4 + (ma-1)/3 - yb*4 - (mb-1)/3, true
	case "month":
		return ya*12 + ma - yb*12 - mb, true
	case "week":
		return (startOfWeek(a) - startOfWeek(b)) / (7 * ticksDay), true
	case "nanosecond":
		if d := a - b; d > 9e16 || d < -9e16 {
			return 0, false
		}
		return (a - b) * 100, true
	}
	unit, ok := partTicks[part]
	if !ok {
		return 0, false
	}
	return floorDiv(a, unit) - floorDiv(b, unit), true
}

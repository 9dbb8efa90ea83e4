package store

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/otus-project/otus/kql/schema"
)

// Bounds of one value, in bytes.
const (
	MaxString  = 256 << 10
	MaxDynamic = 1 << 20
)

// Ticks of 100 ns: the unit of stored datetimes (since 1970) and timespans.
const (
	TicksPerSecond = 10_000_000
	minDateTime    = -621355968000000000 // 0001-01-01T00:00:00Z
	maxDateTime    = 2534023007999999999 // 9999-12-31T23:59:59.9999999Z
)

// Ticks converts a time to stored form; ok is false outside of the years 1 to 9999. What is finer than 100 ns is cut.
func Ticks(t time.Time) (ticks int64, ok bool) {
	seconds := t.Unix()
	if seconds < minDateTime/TicksPerSecond || seconds > maxDateTime/TicksPerSecond {
		return 0, false
	}
	return seconds*TicksPerSecond + int64(t.Nanosecond()/100), true
}

// Time converts stored ticks to a UTC time.
func Time(ticks int64) time.Time {
	seconds, rest := ticks/TicksPerSecond, ticks%TicksPerSecond
	if rest < 0 {
		seconds, rest = seconds-1, rest+TicksPerSecond
	}
	return time.Unix(seconds, rest*100).UTC()
}

// ValueError names the value that did not fit.
type ValueError struct {
	Table  string
	Row    int // index within the batch's rows of the table, from 0
	Column string
	Value  string // the start of it, printed
	Reason string
}

func (e *ValueError) Error() string {
	return fmt.Sprintf("table %q, row %d, column %q: %s, got %s", e.Table, e.Row, e.Column, e.Reason, e.Value)
}

// Kind tells how a KQL type is stored.
type Kind uint8

// The physical kinds.
const (
	Boolean Kind = iota + 1
	Integer32
	Integer64
	Double
	Varchar
)

// KindOf gives the physical kind of a KQL type: datetime and timespan are ticks, dynamic is canonical JSON text, guid
// is lower-case text, decimal is text.
func KindOf(t schema.Type) Kind {
	switch t {
	case schema.Bool:
		return Boolean
	case schema.Int:
		return Integer32
	case schema.Long, schema.DateTime, schema.Timespan:
		return Integer64
	case schema.Real:
		return Double
	default:
		return Varchar
	}
}

func (t *Table) unknown(index int, row Row) error {
	worst := ""
	for name := range row {
		if _, ok := t.types[name]; !ok && name != KeyColumn && (worst == "" || name < worst) {
			worst = name
		}
	}
	return &ValueError{Table: t.Name, Row: index, Column: worst, Value: show(row[worst]), Reason: "the table has no such column"}
}

func show(v any) string {
	s := fmt.Sprintf("%T %v", v, v)
	if b, ok := v.(json.RawMessage); ok {
		s = "JSON " + string(b)
	}
	if len(s) > 120 {
		s = strings.ToValidUTF8(s[:120], "") + "..."
	}
	return s
}

// convert gives the physical form of a value, or the reason why it has none.
func convert(t schema.Type, v any) (physical any, reason string) {
	switch t {
	case schema.String:
		return convertString(v)
	case schema.Dynamic:
		return convertDynamic(v)
	}
	if v == nil {
		return nil, ""
	}
	switch t {
	case schema.Bool:
		if b, ok := v.(bool); ok {
			return b, ""
		}
		return nil, "want a bool"
	case schema.Int:
		if n, ok := integer(v); ok && n >= math.MinInt32 && n <= math.MaxInt32 {
			return int32(n), ""
		}
		return nil, "want an integer of 32 bits"
	case schema.Long:
		if n, ok := integer(v); ok {
			return n, ""
		}
		return nil, "want an integer of 64 bits"
	case schema.Real:
		if f, ok := float(v); ok {
			return f, ""
		}
		return nil, "want a number"
	case schema.DateTime:
		return convertTime(v)
	case schema.Timespan:
		if d, ok := v.(time.Duration); ok {
			return int64(d / 100), ""
		}
		return nil, "want a duration"
	case schema.GUID:
		return convertGUID(v)
	case schema.Decimal:
		if s, ok := v.(string); ok && decimal.MatchString(s) {
			return s, ""
		}
		return nil, "want a decimal number as text"
	}
	return nil, "a column of unknown type"
}

var decimal = regexp.MustCompile(`^-?[0-9]{1,34}(\.[0-9]{1,34})?$`)

func integer(v any) (int64, bool) {
	switch n := v.(type) {
	case int:
		return int64(n), true
	case int8:
		return int64(n), true
	case int16:
		return int64(n), true
	case int32:
		return int64(n), true
	case int64:
		return n, true
	case uint8:
		return int64(n), true
	case uint16:
		return int64(n), true
	case uint32:
		return int64(n), true
	case uint:
		return int64(n), uint64(n) <= math.MaxInt64
	case uint64:
		return int64(n), n <= math.MaxInt64
	}
	return 0, false
}

func float(v any) (float64, bool) {
	switch f := v.(type) {
	case float64:
		return f, true
	case float32:
		return float64(f), true
	}
	n, ok := integer(v)
	return float64(n), ok
}

func convertTime(v any) (any, string) {
	t, ok := v.(time.Time)
	if !ok {
		return nil, "want a time"
	}
	if t.IsZero() {
		return nil, ""
	}
	ticks, ok := Ticks(t)
	if !ok {
		return nil, "want a time in the years 1 to 9999"
	}
	return ticks, ""
}

func convertGUID(v any) (any, string) {
	s, ok := v.(string)
	if !ok {
		return nil, "want a GUID as text"
	}
	if s == "" {
		return nil, ""
	}
	id, err := uuid.Parse(s)
	if err != nil {
		return nil, "want a GUID"
	}
	return id.String(), ""
}

func convertString(v any) (any, string) {
	if v == nil {
		return "", ""
	}
	s, ok := v.(string)
	if !ok {
		return nil, "want text"
	}
	if len(s) > MaxString {
		return nil, fmt.Sprintf("want at most %d bytes of text", MaxString)
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return s, ""
}

func convertDynamic(v any) (any, string) {
	if v == nil {
		return nil, ""
	}
	raw, ok := v.(json.RawMessage)
	if !ok {
		b, err := marshal(v)
		if err != nil {
			return nil, "want a value that encodes to JSON (" + err.Error() + ")"
		}
		raw = b
	}
	if raw == nil {
		return nil, ""
	}
	if len(raw) > MaxDynamic {
		return nil, fmt.Sprintf("want at most %d bytes of JSON", MaxDynamic)
	}
	canonical, err := Canonical(raw)
	if err != nil {
		return nil, "want JSON (" + err.Error() + ")"
	}
	return canonical, ""
}

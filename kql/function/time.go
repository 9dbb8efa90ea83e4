package function

import (
	"strings"

	"github.com/otus-project/otus/kql/native"
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/kql/sqlgen"
)

func timeFunctions() []*Function {
	var list []*Function
	for _, edge := range []struct{ prefix, sql, word string }{{"startof", "kql_startof", "beginning"}, {"endof", "kql_endof", "end"}} {
		for _, part := range []string{"day", "week", "month", "year"} {
			name := edge.prefix + part
			naming := NoName
			if name == "startofday" {
				naming = FirstName
			}
			list = append(list, &Function{Name: name, Signatures: "date:datetime, offset:long=0 -> datetime", Naming: naming,
				Doc: "The " + edge.word + " of the " + part + " of a point in time, shifted by a number of " + part + "s.", Example: name + "(datetime(2024-05-17))",
				SQL: duckNull(edge.sql + "('" + part + "', $1, $2)")})
		}
	}
	parts := func(name, part, result, doc string, hidden bool) *Function {
		return &Function{Name: name, Signatures: "date:datetime -> " + result, Doc: doc, Example: name + "(datetime(2024-05-17))", Hidden: hidden, SQL: func(c *Call) sqlgen.Expr {
			e := call("kql_datetime_part('"+part+"', $1)", c.As(0, schema.DateTime))
			if c.Result == schema.Int {
				return c.Op("as_int", e)
			}
			return e
		}}
	}
	part := func(c *Call) sqlgen.Expr {
		if s, ok := c.String(0); !ok || !dateParts[strings.ToLower(s)] {
			return c.Fail(0, "there is no such part of a date")
		}
		return c.Op("as_int", call("kql_datetime_part($1, $2)", c.Args[0].Expr, c.Args[1].Expr))
	}
	unix := func(name, scale, doc string) *Function {
		return &Function{Name: name, Signatures: "number:number -> datetime", Doc: doc, Example: name + "(1546300800)", SQL: func(c *Call) sqlgen.Expr {
			if c.Args[0].Type == schema.Real || c.Args[0].Type == schema.Decimal {
				return call("kql_in_range(TRY_CAST(round($1 * "+scale+") AS BIGINT))", c.As(0, schema.Real))
			}
			return call("kql_in_range(TRY_CAST(round($1 * "+scale+") AS BIGINT))", c.As(0, schema.Long))
		}}
	}
	return append(list,
		parts("dayofmonth", "day", "int", "The day of the month.", false), parts("dayofyear", "dayofyear", "int", "The day of the year.", false),
		parts("hourofday", "hour", "int", "The hour of the day.", false), parts("monthofyear", "month", "int", "The month of the year.", false),
		parts("getmonth", "month", "int", "The month of the year.", false), parts("getyear", "year", "int", "The year.", false),
		parts("week_of_year", "week_of_year", "int", "The week of the year by ISO 8601.", false), parts("weekofyear", "week_of_year", "int", "Another name of week_of_year().", true),
		&Function{Name: "dayofweek", Signatures: "date:datetime -> timespan", Doc: "The days since the last Sunday, as a duration.", Example: "dayofweek(datetime(2024-05-17))", SQL: dayOfWeek},
		&Function{Name: "datetime_part", Signatures: "part:string!, date:datetime -> int", Doc: "A part of a point in time, such as its hour.", Example: `datetime_part("hour", datetime(2024-05-17 10:00))`, SQL: part},
		&Function{Name: "datepart", Signatures: "part:string!, date:datetime -> int", Hidden: true, Doc: "Another name of datetime_part().", Example: `datepart("hour", datetime(2024-05-17 10:00))`, SQL: part},
		&Function{Name: "datetime_add", Signatures: "part:string!, value:long, date:datetime -> datetime", Doc: "Moves a point in time by a number of years, months, days and so on.",
			Example: `datetime_add("month", 1, datetime(2024-01-31))`, SQL: checkedPart("kql_datetime_add($1, $2, $3)")},
		&Function{Name: "datetime_diff", Signatures: "part:string!, a:datetime, b:datetime -> long", Doc: "Counts the boundaries of years, months, days and so on between two points in time.",
			Example: `datetime_diff("day", datetime(2024-05-17), datetime(2024-05-01))`, SQL: checkedPart("kql_datetime_diff($1, $2, $3)")},
		&Function{Name: "now", Signatures: "offset:timespan? -> datetime", Doc: "The time of the query, the same everywhere in it.", Example: "now(-1d)", SQL: addNow(1), Fold: foldNow(1)},
		&Function{Name: "ago", Signatures: "timespan:timespan -> datetime", Doc: "The time of the query less a duration.", Example: "ago(1h)", SQL: addNow(-1), Fold: foldNow(-1)},
		&Function{Name: "format_datetime", Signatures: "date:datetime, format:string! -> string", Naming: FirstName, Doc: "Writes a point in time in a given form.",
			Example: `format_datetime(datetime(2024-05-17), "yyyy-MM-dd")`, SQL: format("kql_format_datetime($1, $2)", native.ValidDatetimeFormat)},
		&Function{Name: "format_timespan", Signatures: "timespan:timespan, format:string! -> string", Naming: FirstName, Doc: "Writes a duration in a given form.",
			Example: `format_timespan(90m, "hh:mm")`, SQL: format("kql_format_timespan($1, $2)", native.ValidTimespanFormat)},
		&Function{Name: "make_datetime", Signatures: "year:long, month:long, day:long, hour:long=0, minute:long=0, second:real=0.0 -> datetime; value:scalar -> datetime", Naming: OnlyName,
			Doc: "Makes a point in time of its parts; null if there is none such.", Example: "make_datetime(2024, 5, 17)", SQL: func(c *Call) sqlgen.Expr {
				if len(c.Args) == 1 {
					return conversion(schema.DateTime)(c)
				}
				return duckNull("kql_make_datetime($1, $2, $3, $4, $5, $6)")(c)
			}},
		&Function{Name: "make_timespan", Signatures: "days:long, hours:long, minutes:long, seconds:real -> timespan; hours:long, minutes:long, seconds:real=0.0 -> timespan; value:scalar -> timespan", Naming: OnlyName,
			Doc: "Makes a duration of its parts; null if there is none such.", Example: "make_timespan(1, 30)", SQL: func(c *Call) sqlgen.Expr {
				switch len(c.Args) {
				case 1:
					return conversion(schema.Timespan)(c)
				case 4:
					return duckNull("kql_make_timespan($1, $2, $3, $4)")(c)
				}
				return duckNull("kql_make_timespan(0, $1, $2, $3)")(c)
			}},
		unix("unixtime_seconds_todatetime", "10000000", "A point in time from seconds since 1970."), unix("unixtime_milliseconds_todatetime", "10000", "A point in time from milliseconds since 1970."),
		unix("unixtime_microseconds_todatetime", "10", "A point in time from microseconds since 1970."), unix("unixtime_nanoseconds_todatetime", "0.01", "A point in time from nanoseconds since 1970."),
	)
}

var dateParts = map[string]bool{"year": true, "quarter": true, "month": true, "week": true, "week_of_year": true, "day": true, "dayofyear": true, "hour": true, "minute": true,
	"second": true, "millisecond": true, "microsecond": true, "nanosecond": true}

func checkedPart(template string) func(*Call) sqlgen.Expr {
	return func(c *Call) sqlgen.Expr {
		if s, ok := c.String(0); !ok || !dateParts[strings.ToLower(s)] {
			return c.Fail(0, "there is no such part of a date")
		}
		return duckNull(template)(c)
	}
}

// dayOfWeek: the year 9999's last weeks end beyond the calendar, where Kusto gives null.
func dayOfWeek(c *Call) sqlgen.Expr {
	return call("kql_dayofweek($1)", c.As(0, schema.DateTime))
}

func addNow(sign int64) func(*Call) sqlgen.Expr {
	return func(c *Call) sqlgen.Expr {
		now := sqlgen.Param{Value: c.Now, Kind: sqlgen.Long}
		if len(c.Args) == 0 || c.Args[0].Absent {
			c.Null = false
			return now
		}
		offset := c.As(0, schema.Timespan)
		if sign < 0 {
			offset = c.Op("neg", offset)
		}
		return call("kql_time_add($1, $2)", now, offset)
	}
}

func foldNow(sign int64) func(*Call, []any) (any, bool) {
	return func(c *Call, values []any) (any, bool) {
		if len(values) == 0 {
			return c.Now, true
		}
		n, ok := values[0].(int64)
		if !ok {
			return nil, false
		}
		t := c.Now + sign*n
		return t, t >= native.MinDatetime && t <= native.MaxDatetime
	}
}

func format(template string, valid func(string) bool) func(*Call) sqlgen.Expr {
	return func(c *Call) sqlgen.Expr {
		if s, ok := c.String(1); ok && !valid(s) {
			return c.Fail(1, "the format has a part that is not known")
		}
		return duckNull(template)(c)
	}
}

package function

import (
	"strconv"

	"github.com/otus-project/otus/kql/native"
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/kql/sqlgen"
)

// Physical gives the store's type of a KQL type.
func Physical(t schema.Type) sqlgen.Kind {
	switch t {
	case schema.Bool:
		return sqlgen.Bool
	case schema.Int:
		return sqlgen.Int
	case schema.Long, schema.DateTime, schema.Timespan:
		return sqlgen.Long
	case schema.Real:
		return sqlgen.Real
	}
	return sqlgen.Text
}

// Constant writes a constant of a KQL type as a parameter.
func Constant(t schema.Type, v any) sqlgen.Expr {
	if v == nil && t == schema.String {
		v = ""
	}
	return sqlgen.Param{Value: v, Kind: Physical(t)}
}

func call(template string, args ...sqlgen.Expr) sqlgen.Expr {
	return sqlgen.Call{Template: template, Args: args}
}

// JSON gives an argument as JSON text that is never null: the form it has inside dynamic.
func JSON(d *sqlgen.Dialect, a Arg) sqlgen.Expr {
	if a.Known {
		if s, ok := constantJSON(a.Type, a.Value); ok {
			return sqlgen.Param{Value: s, Kind: sqlgen.Text}
		}
	}
	e := ToDynamic(d, a)
	if a.Null || a.Type == schema.Dynamic {
		return call("coalesce($1, 'null')", e)
	}
	return e
}

func constantJSON(t schema.Type, v any) (string, bool) {
	switch v := v.(type) {
	case nil:
		if t == schema.String {
			return `""`, true
		}
		return "null", true
	case bool:
		return strconv.FormatBool(v), true
	case float64:
		return native.RealJSON(v), true
	case string:
		if t == schema.Dynamic || t == schema.Decimal {
			return v, true
		}
		return native.JSONString(v), true
	case int64:
		switch t {
		case schema.DateTime:
			return native.JSONString(native.FormatDatetime(v)), true
		case schema.Timespan:
			return native.JSONString(native.FormatTimespan(v)), true
		}
		return native.FormatLong(v), true
	}
	return "", false
}

// ToDynamic gives an argument as dynamic; null stays null.
func ToDynamic(d *sqlgen.Dialect, a Arg) sqlgen.Expr {
	switch a.Type {
	case schema.Dynamic:
		return a.Expr
	case schema.Int, schema.Long, schema.Bool:
		return d.Op("as_text", a.Expr)
	case schema.Real:
		return call("kql_real_json($1)", a.Expr)
	case schema.DateTime:
		return call("kql_string_json(kql_datetime_text($1))", a.Expr)
	case schema.Timespan:
		return call("kql_string_json(kql_timespan_text($1))", a.Expr)
	case schema.Decimal:
		return a.Expr
	}
	return call("kql_string_json($1)", a.Expr)
}

// Convert gives an argument as a value of type t, by the rules of the to...() functions.
func Convert(d *sqlgen.Dialect, a Arg, t schema.Type) sqlgen.Expr {
	if a.Type == t {
		return a.Expr
	}
	if a.Known && a.Value == nil {
		return Constant(t, nil)
	}
	switch t {
	case schema.String:
		return toText(d, a)
	case schema.Dynamic:
		return ToDynamic(d, a)
	case schema.Long:
		return toLong(d, a)
	case schema.Int:
		return toInt(d, a)
	case schema.Real:
		return toReal(d, a)
	case schema.Bool:
		return toBool(d, a)
	case schema.DateTime:
		switch a.Type {
		case schema.String:
			return call("kql_datetime($1)", a.Expr)
		case schema.Dynamic:
			return call("kql_dyn_datetime($1)", a.Expr)
		case schema.Long, schema.Int:
			return datetimeRange(d.Op("sub", d.Op("as_long", a.Expr), sqlgen.Param{Value: -native.MinDatetime, Kind: sqlgen.Long}))
		}
	case schema.Timespan:
		switch a.Type {
		case schema.String:
			return call("kql_timespan($1)", a.Expr)
		case schema.Dynamic:
			return call("kql_dyn_timespan($1)", a.Expr)
		case schema.Long, schema.Int:
			return d.Op("as_long", a.Expr)
		}
	case schema.GUID:
		switch a.Type {
		case schema.String:
			return call("kql_guid($1)", a.Expr)
		case schema.Dynamic:
			return call("kql_guid($1)", d.Op("json_root_text", a.Expr))
		}
	case schema.Decimal:
		switch a.Type {
		case schema.String:
			return call("kql_decimal($1)", a.Expr)
		case schema.Dynamic:
			return call("kql_decimal($1)", d.Op("json_root_text", a.Expr))
		case schema.Int, schema.Long:
			return d.Op("as_text", a.Expr)
		case schema.Real:
			return call("kql_real_dec($1)", a.Expr)
		}
	}
	return nil
}

func toText(d *sqlgen.Dialect, a Arg) sqlgen.Expr {
	var e sqlgen.Expr
	switch a.Type {
	case schema.Bool:
		e = call("CASE $1 WHEN TRUE THEN 'True' WHEN FALSE THEN 'False' ELSE '' END", a.Expr)
		return e
	case schema.Real:
		e = call("kql_real_text($1)", a.Expr)
	case schema.DateTime:
		e = call("kql_datetime_text($1)", a.Expr)
	case schema.Timespan:
		e = call("kql_timespan_text($1)", a.Expr)
	case schema.Dynamic:
		if a.Base != nil {
			op := "json_text"
			if a.Unchecked {
				op = "json_text_checked"
			}
			return call("coalesce($1, '')", d.Op(op, a.Base, sqlgen.Param{Value: a.Path, Kind: sqlgen.Text}))
		}
		return call("coalesce($1, '')", d.Op("json_root_text", a.Expr))
	case schema.Int, schema.Long:
		e = d.Op("as_text", a.Expr)
	default:
		e = a.Expr
	}
	if a.Null {
		e = call("coalesce($1, '')", e)
	}
	return e
}

func toLong(d *sqlgen.Dialect, a Arg) sqlgen.Expr {
	switch a.Type {
	case schema.Int, schema.Bool:
		return d.Op("as_long", a.Expr)
	case schema.Timespan:
		return a.Expr
	case schema.Real:
		return d.Op("trunc_long", a.Expr)
	case schema.String:
		return call("kql_long($1)", a.Expr)
	case schema.Dynamic:
		return call("kql_dyn_long($1)", a.Expr)
	case schema.DateTime: // ticks since the year 1
		return d.Op("add", a.Expr, sqlgen.Param{Value: -native.MinDatetime, Kind: sqlgen.Long})
	case schema.Decimal:
		return call("kql_dec_long($1)", a.Expr)
	}
	return nil
}

func toInt(d *sqlgen.Dialect, a Arg) sqlgen.Expr {
	switch a.Type {
	case schema.Bool:
		return d.Op("as_int", a.Expr)
	case schema.String:
		return call("kql_int($1)", a.Expr)
	case schema.Dynamic:
		return call("kql_dyn_int($1)", a.Expr)
	}
	if e := toLong(d, a); e != nil {
		return d.Op("int_wrap", e)
	}
	if a.Type == schema.Long {
		return d.Op("int_wrap", a.Expr)
	}
	return nil
}

func toReal(d *sqlgen.Dialect, a Arg) sqlgen.Expr {
	switch a.Type {
	case schema.Int, schema.Long, schema.Timespan:
		return d.Op("as_real", a.Expr)
	case schema.Bool:
		return d.Op("as_real", d.Op("as_int", a.Expr))
	case schema.DateTime:
		return d.Op("as_real", toLong(d, a))
	case schema.String:
		return call("kql_real($1)", a.Expr)
	case schema.Dynamic:
		return call("kql_dyn_real($1)", a.Expr)
	case schema.Decimal:
		return call("kql_dec_real($1)", a.Expr)
	}
	return nil
}

func toBool(d *sqlgen.Dialect, a Arg) sqlgen.Expr {
	zero := sqlgen.Param{Value: int64(0), Kind: sqlgen.Long}
	switch a.Type {
	case schema.Int, schema.Long:
		return d.Op("ne", a.Expr, zero)
	case schema.Real:
		return d.Op("ne", a.Expr, sqlgen.Param{Value: 0.0, Kind: sqlgen.Real})
	case schema.String:
		return call("kql_bool($1)", a.Expr)
	case schema.Dynamic:
		return call("kql_dyn_bool($1)", a.Expr)
	case schema.Decimal:
		return d.Op("ne", call("kql_dec_real($1)", a.Expr), sqlgen.Param{Value: 0.0, Kind: sqlgen.Real})
	}
	return nil
}

// datetimeRange makes a datetime outside the years 1 to 9999 null.
func datetimeRange(e sqlgen.Expr) sqlgen.Expr { return call("kql_in_range($1)", e) }

// conversion writes the to...() functions.
func conversion(t schema.Type) func(*Call) sqlgen.Expr {
	return func(c *Call) sqlgen.Expr {
		a := c.Args[0]
		e := Convert(c.Dialect, a, t)
		if e == nil {
			return c.Refuse("a " + a.Type.String() + " cannot become a " + t.String())
		}
		c.Null = t != schema.String
		if a.Type == t {
			c.Null = a.Null
		}
		return e
	}
}

func foldConversion(t schema.Type) func(*Call, []any) (any, bool) {
	return func(c *Call, v []any) (any, bool) {
		if c.Args[0].Type == t {
			return v[0], true
		}
		s, ok := v[0].(string)
		if !ok || c.Args[0].Type != schema.String {
			if n, isLong := v[0].(int64); isLong && (c.Args[0].Type == schema.Long || c.Args[0].Type == schema.Int) && t == schema.Long {
				return n, true
			}
			return nil, false
		}
		switch t {
		case schema.DateTime:
			if v, ok := native.ParseDatetime(s); ok {
				return v, true
			}
			return nil, true
		case schema.Timespan:
			if v, ok := native.ParseTimespan(s); ok {
				return v, true
			}
			return nil, true
		case schema.Long:
			if v, ok := native.ParseLong(s); ok {
				return v, true
			}
			return nil, true
		}
		return nil, false
	}
}

func conversionFunctions() []*Function {
	to := func(name string, t schema.Type, doc, example string, old ...string) []*Function {
		list := []*Function{{Name: name, Signatures: "value:scalar -> " + t.String(), Naming: FirstName, Doc: doc, Example: example, SQL: conversion(t), Fold: foldConversion(t)}}
		for _, o := range old {
			f := &Function{Name: o, Signatures: list[0].Signatures, Naming: FirstName, Hidden: true, Doc: "Another name of " + name + "().", Example: example, SQL: conversion(t), Fold: foldConversion(t)}
			list = append(list, f)
		}
		return list
	}
	var list []*Function
	for _, part := range [][]*Function{
		to("tostring", schema.String, "Gives a value as text; null gives the empty string.", `tostring(123)`),
		to("tolong", schema.Long, "Reads or truncates a value to a 64-bit integer; null if it is none.", `tolong("42")`),
		to("toint", schema.Int, "Reads or truncates a value to a 32-bit integer; null if it is none.", `toint("42")`),
		to("toreal", schema.Real, "Gives a value as a floating-point number; null if it is none.", `toreal("1.5")`, "todouble"),
		to("todatetime", schema.DateTime, "Reads a point in time; null if the value is none.", `todatetime("2024-05-01T10:00:00Z")`),
		to("totimespan", schema.Timespan, "Reads a duration; null if the value is none.", `totimespan("01:30:00")`, "totime"),
		to("tobool", schema.Bool, "Gives a value as true or false; null if it is neither.", `tobool("true")`, "toboolean"),
		to("todecimal", schema.Decimal, "Gives a value as a decimal number; null if it is none.", `todecimal("0.1")`),
		to("toguid", schema.GUID, "Reads a GUID; null if the value is none.", `toguid("70fc66f7-8279-44fc-9092-d364d70fce44")`),
	} {
		list = append(list, part...)
	}
	parse := func(c *Call) sqlgen.Expr {
		if c.Args[0].Type == schema.Dynamic {
			c.Null = true
			return c.Args[0].Expr
		}
		c.Null = true
		return call("kql_json($1)", c.Args[0].Expr)
	}
	for _, name := range []string{"parse_json", "todynamic", "toobject", "parsejson"} {
		list = append(list, &Function{Name: name, Signatures: "text:stringOrDynamic -> dynamic", Naming: FirstName, Hidden: name == "toobject" || name == "parsejson",
			Doc: "Reads JSON text as a dynamic value; text that is no JSON stays a string.", Example: `parse_json('{"a":1}')`, SQL: parse})
	}
	list = append(list,
		&Function{Name: "dynamic_to_json", Signatures: "value:scalar -> string", Doc: "Gives a dynamic value as JSON text.", Example: `dynamic_to_json(dynamic([1,2]))`,
			SQL: func(c *Call) sqlgen.Expr {
				c.Null = false
				return JSON(c.Dialect, c.Args[0])
			}},
		&Function{Name: "gettype", Signatures: "value:scalar -> string", Naming: PrefixedName, Prefix: "type", Doc: "Names the type of a value.", Example: `gettype(1)`,
			SQL: func(c *Call) sqlgen.Expr {
				c.Null = false
				if c.Args[0].Type == schema.Dynamic {
					return call("kql_gettype($1)", c.Args[0].Expr)
				}
				return Constant(schema.String, c.Args[0].Type.String())
			}},
	)
	return list
}

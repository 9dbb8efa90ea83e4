package function

import (
	"strings"

	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/kql/sqlgen"
)

// aggregates are the functions of summarize. Over no rows or nulls alone they give what Kusto gives: sums 0,
// averages not a number, lists empty, extremes null.
func aggregates() []*Function {
	// with makes an aggregate and its variant that takes a condition.
	with := func(name, expr, result, doc, example string, write func(c *Call, x Arg, filter func(sqlgen.Expr) sqlgen.Expr) sqlgen.Expr) []*Function {
		plain := &Function{Name: name, Signatures: signatures(expr, "", result), Naming: PrefixedName, Doc: doc, Example: example, SQL: func(c *Call) sqlgen.Expr {
			return write(c, c.Args[0], func(e sqlgen.Expr) sqlgen.Expr { return e })
		}}
		conditional := &Function{Name: name + "if", Signatures: signatures(expr, ", condition:bool", result), Naming: PrefixedName, Doc: doc + " Counts only rows where a condition holds.",
			Example: name + "if(x, true)", SQL: func(c *Call) sqlgen.Expr {
				return write(c, c.Args[0], func(e sqlgen.Expr) sqlgen.Expr { return c.Op("filter", e, c.As(1, schema.Bool)) })
			}}
		return []*Function{plain, conditional}
	}
	var list []*Function
	add := func(l []*Function) { list = append(list, l...) }

	add(with("sum", "expr:summable", "promoted0", "The sum of values.", "sum(x)", func(c *Call, x Arg, filter func(sqlgen.Expr) sqlgen.Expr) sqlgen.Expr {
		c.Null = false
		switch x.Type {
		case schema.Real:
			return call("coalesce($1, 0.0::DOUBLE)", filter(call("sum($1)", x.Expr)))
		case schema.Int, schema.Long, schema.Timespan:
			return call("coalesce($1, 0)", c.Op("sum_wrap", filter(call("sum($1)", x.Expr))))
		}
		return c.Refuse("sum() of a " + x.Type.String())
	}))
	add(with("avg", "expr:number", "average", "The average of values.", "avg(x)", func(c *Call, x Arg, filter func(sqlgen.Expr) sqlgen.Expr) sqlgen.Expr {
		switch x.Type {
		case schema.Int, schema.Long, schema.Real:
			c.Null = false
			return call("coalesce($1, 'NaN'::DOUBLE)", filter(call("avg($1)", Convert(c.Dialect, x, schema.Real))))
		case schema.Timespan, schema.DateTime:
			return call("CAST($1 // nullif($2, 0) AS BIGINT)", filter(call("sum($1)", x.Expr)), filter(call("count($1)", x.Expr)))
		}
		return c.Refuse("avg() of a " + x.Type.String())
	}))
	for _, name := range []string{"min", "max"} {
		add(with(name, "expr:orderable", "param0", map[string]string{"min": "The least of values.", "max": "The greatest of values."}[name], name+"(x)",
			func(c *Call, x Arg, filter func(sqlgen.Expr) sqlgen.Expr) sqlgen.Expr {
				e := filter(call(name+"($1)", x.Expr))
				switch x.Type {
				case schema.Real: // not a number wins
					return call("CASE WHEN coalesce($1, FALSE) THEN 'NaN'::DOUBLE ELSE $2 END", filter(call("bool_or(isnan($1))", x.Expr)), e)
				case schema.Decimal:
					return c.Refuse(name + "() of a decimal")
				}
				return e
			}))
	}
	deviation := func(name, function, doc string) {
		add(with(name, "expr:summable", "real", doc, name+"(x)", func(c *Call, x Arg, filter func(sqlgen.Expr) sqlgen.Expr) sqlgen.Expr {
			c.Null = false
			v := Convert(c.Dialect, x, schema.Real)
			if v == nil || x.Type == schema.DateTime || x.Type == schema.Timespan {
				return c.Refuse(name + "() of a " + x.Type.String())
			}
			finite := call("CASE WHEN isfinite($1) THEN $1 END", v)
			return call("CASE WHEN coalesce($1, FALSE) THEN 'NaN'::DOUBLE ELSE coalesce($2, 0.0::DOUBLE) END", filter(call("bool_or(NOT isfinite($1))", v)), filter(call(function+"($1)", finite)))
		}))
	}
	deviation("stdev", "stddev_samp", "The standard deviation of a sample.")
	deviation("stdevp", "stddev_pop", "The standard deviation of a population.")
	deviation("variance", "var_samp", "The variance of a sample.")
	deviation("variancep", "var_pop", "The variance of a population.")
	add(with("dcount", "expr:scalar", "long", "Counts the different values.", "dcount(x)", distinctCount))
	add(with("count_distinct", "expr:notDynamic", "long", "Counts the different values.", "count_distinct(x)", distinctCount))
	for _, f := range list {
		if f.Name == "dcount" || f.Name == "dcountif" {
			f.Signatures = signatures("expr:scalar", map[bool]string{true: ", condition:bool"}[f.Name == "dcountif"]+", accuracy:integer?", "long")
		}
	}
	for _, bit := range []struct{ name, sql string }{{"binary_all_and", "bit_and"}, {"binary_all_or", "bit_or"}, {"binary_all_xor", "bit_xor"}} {
		list = append(list, &Function{Name: bit.name, Signatures: "expr:integer -> param0", Naming: FirstName, Doc: "Joins the bits of values.", Example: bit.name + "(x)", SQL: duckNull(bit.sql + "($1)")})
	}
	lists := func(name, prefix, extra, doc string, hidden, nulls, distinct bool) {
		list = append(list, &Function{Name: name, Signatures: "expr:scalar" + extra + " -> dynamic", Naming: PrefixedName, Prefix: prefix, Hidden: hidden, Doc: doc, Example: name + map[bool]string{true: "(x, true)", false: "(x)"}[strings.HasSuffix(name, "_if")],
			SQL: func(c *Call) sqlgen.Expr { return makeList(c, nulls, distinct, extra != "" && extra[2] == 'c') }})
	}
	size, condition := ", size:integer?", ", condition:bool, size:integer?"
	lists("make_list", "list", size, "Collects the values in an array.", false, false, false)
	lists("make_list_if", "list", condition, "Collects the values of rows where a condition holds in an array.", false, false, false)
	lists("make_list_with_nulls", "list", "", "Collects the values in an array, nulls too.", false, true, false)
	lists("makelist", "list", size, "Another name of make_list().", true, false, false)
	lists("make_set", "set", size, "Collects the different values in an array.", false, false, true)
	lists("make_set_if", "set", condition, "Collects the different values of rows where a condition holds in an array.", false, false, true)
	lists("makeset", "set", size, "Another name of make_set().", true, false, true)
	bagOf := func(conditional bool) func(c *Call) sqlgen.Expr {
		return func(c *Call) sqlgen.Expr {
			c.Null = false
			e := sqlgen.Expr(ordered(c, "string_agg($1, ','$o)", call("coalesce($1, 'null')", c.Args[0].Expr)))
			if conditional {
				e = c.Op("filter", e, c.As(1, schema.Bool))
			}
			return call("coalesce(kql_bag_merge('[' || $1 || ']'), '{}')", e)
		}
	}
	any := func(c *Call) sqlgen.Expr { return call("any_value($1)", c.Args[0].Expr) }
	return append(list,
		&Function{Name: "count", Signatures: "value:any? -> long", Naming: PrefixedName, Doc: "Counts the rows.", Example: "count()", SQL: func(c *Call) sqlgen.Expr {
			c.Null = false
			if len(c.Args) > 0 && !c.Args[0].Absent && c.Args[0].Type == schema.Bool {
				return c.Refuse("count() of a condition; use countif()")
			}
			return call("count(*)")
		}},
		&Function{Name: "countif", Signatures: "condition:bool -> long", Naming: PrefixedName, Doc: "Counts the rows where a condition holds.", Example: "countif(x > 1)", SQL: func(c *Call) sqlgen.Expr {
			c.Null = false
			return call("count(*) FILTER (WHERE $1)", c.As(0, schema.Bool))
		}},
		&Function{Name: "make_bag", Signatures: "expr:bag, size:integer? -> dynamic", Naming: PrefixedName, Prefix: "bag", Doc: "Joins property bags to one.", Example: "make_bag(x)", SQL: bagOf(false)},
		&Function{Name: "make_dictionary", Signatures: "expr:bag, size:integer? -> dynamic", Naming: PrefixedName, Prefix: "dictionary", Hidden: true, Doc: "Another name of make_bag().", Example: "make_dictionary(x)", SQL: bagOf(false)},
		&Function{Name: "make_bag_if", Signatures: "expr:bag, condition:bool, size:integer? -> dynamic", Naming: PrefixedName, Prefix: "bag", Doc: "Joins property bags of rows where a condition holds.", Example: "make_bag_if(x, true)", SQL: bagOf(true)},
		&Function{Name: "anyif", Signatures: "expr:scalar, condition:bool -> param0", Naming: PrefixedName, Hidden: true, Doc: "Another name of take_anyif().", Example: "anyif(x, true)", SQL: func(c *Call) sqlgen.Expr {
			return c.Op("filter", any(c), c.As(1, schema.Bool))
		}},
		&Function{Name: "take_anyif", Signatures: "expr:scalar, condition:bool -> param0", Naming: FirstName, Doc: "Some value of the rows where a condition holds.", Example: "take_anyif(x, true)", SQL: func(c *Call) sqlgen.Expr {
			return c.Op("filter", any(c), c.As(1, schema.Bool))
		}},
		&Function{Name: "take_any", Signatures: "expr:any+ -> custom", Doc: "The values of some row.", Example: "take_any(x)", Built: "take_any"},
		&Function{Name: "any", Signatures: "expr:any+ -> custom", Hidden: true, Doc: "Another name of take_any().", Example: "any(x)", Built: "take_any"},
		&Function{Name: "arg_max", Signatures: "maximized:orderable, returned:any* -> custom", Doc: "The row where a value is greatest.", Example: "arg_max(x, *)", Built: "arg_max"},
		&Function{Name: "arg_min", Signatures: "minimized:orderable, returned:any* -> custom", Doc: "The row where a value is least.", Example: "arg_min(x, *)", Built: "arg_min"},
		&Function{Name: "argmax", Signatures: "maximized:orderable, returned:any* -> custom", Hidden: true, Doc: "The old form of arg_max().", Example: "argmax(x, *)", Built: "arg_max"},
		&Function{Name: "argmin", Signatures: "minimized:orderable, returned:any* -> custom", Hidden: true, Doc: "The old form of arg_min().", Example: "argmin(x, *)", Built: "arg_min"},
		&Function{Name: "percentile", Signatures: "expr:scalar, percentile:any -> custom", Doc: "The value below which a share of the values lies, by nearest rank.", Example: "percentile(x, 95)", Built: "percentile"},
		&Function{Name: "percentiles", Signatures: "expr:scalar, percentile:any+ -> custom", Doc: "Several percentiles at once.", Example: "percentiles(x, 50, 95)", Built: "percentile"},
		&Function{Name: "percentiles_array", Signatures: "expr:scalar, percentile:any+ -> custom", Doc: "Several percentiles in an array.", Example: "percentiles_array(x, 50, 95)", Built: "percentiles_array"},
		&Function{Name: "percentilew", Signatures: "expr:scalar, weight:integer, percentile:any -> custom", Doc: "A percentile of weighted values.", Example: "percentilew(x, w, 95)"},
		&Function{Name: "percentilesw", Signatures: "expr:scalar, weight:integer, percentile:any+ -> custom", Doc: "Percentiles of weighted values.", Example: "percentilesw(x, w, 50, 95)"},
		&Function{Name: "percentilesw_array", Signatures: "expr:scalar, weight:integer, percentile:any+ -> custom", Doc: "Percentiles of weighted values in an array.", Example: "percentilesw_array(x, w, 50, 95)"},
		&Function{Name: "hll", Signatures: "expr:scalar, accuracy:integer? -> dynamic", Naming: PrefixedName, Doc: "A sketch from which the number of different values is estimated.", Example: "hll(x)"},
		&Function{Name: "hll_merge", Signatures: "hll:array -> dynamic", Naming: PrefixedName, Doc: "Joins sketches of different values.", Example: "hll_merge(x)"},
		&Function{Name: "tdigest", Signatures: "expr:summable, weight:integer? -> dynamic", Naming: PrefixedName, Doc: "A sketch from which percentiles are estimated.", Example: "tdigest(x)"},
		&Function{Name: "tdigest_merge", Signatures: "tdigest:array -> dynamic", Naming: PrefixedName, Prefix: "merge_tdigests", Doc: "Joins sketches of percentiles.", Example: "tdigest_merge(x)"},
		&Function{Name: "merge_tdigest", Signatures: "tdigest:array -> dynamic", Naming: PrefixedName, Prefix: "merge_tdigests", Doc: "Joins sketches of percentiles.", Example: "merge_tdigest(x)"},
		&Function{Name: "buildschema", Signatures: "expr:bag -> dynamic", Naming: PrefixedName, Prefix: "schema", Doc: "The schema that all property bags fit.", Example: "buildschema(x)"},
		&Function{Name: "covariance", Signatures: "x:summable, y:summable -> real", Naming: PrefixedName, Doc: "The covariance of two samples.", Example: "covariance(x, y)"},
	)
}

func signatures(expr, extra, result string) string {
	if result != "average" {
		return expr + extra + " -> " + result
	}
	var s string
	for i, t := range []string{"integer -> real", "real -> real", "decimal -> decimal", "timespan -> timespan", "datetime -> datetime"} {
		typ, result, _ := cut(t)
		if i > 0 {
			s += "; "
		}
		s += "expr:" + typ + extra + " -> " + result
	}
	return s
}

func cut(s string) (before, after string, ok bool) {
	for i := 0; i+4 <= len(s); i++ {
		if s[i:i+4] == " -> " {
			return s[:i], s[i+4:], true
		}
	}
	return s, "", false
}

func distinctCount(c *Call, x Arg, filter func(sqlgen.Expr) sqlgen.Expr) sqlgen.Expr {
	c.Null = false
	return filter(call("count(DISTINCT $1)", x.Expr))
}

// ordered adds the order of the rows to an aggregate that depends on it.
func ordered(c *Call, template string, args ...sqlgen.Expr) sqlgen.Expr {
	return sqlgen.Ordered{Call: sqlgen.Call{Template: template, Args: args}, Keys: c.Order}
}

// makeList writes make_list and make_set. Arrays among dynamic values are taken apart into their elements.
func makeList(c *Call, nulls, distinct, conditional bool) sqlgen.Expr {
	c.Null = false
	x := c.Args[0]
	var where []sqlgen.Expr
	if conditional {
		where = append(where, c.As(1, schema.Bool))
	}
	sizeAt := 1
	if conditional {
		sizeAt = 2
	}
	size := int64(1048576)
	if len(c.Args) > sizeAt && !c.Args[sizeAt].Absent {
		n, ok := c.Integer(sizeAt)
		if !ok || n < 0 {
			return c.Refuse(c.Name + "() with a size that is not a constant")
		}
		size = min(n, size)
	}
	var value sqlgen.Expr
	if x.Type == schema.Dynamic {
		value = call("CASE WHEN $1 IS NULL THEN 'null' WHEN starts_with($1, '[') THEN substr($1, 2, length($1) - 2) ELSE $1 END", x.Expr)
		where = append(where, call("($1 IS NULL OR $1 <> '[]')", x.Expr))
		if distinct { // null is no element of a set
			where = append(where, c.Op("is_not_null", x.Expr))
		}
	} else {
		if !nulls && x.Null {
			where = append(where, c.Op("is_not_null", x.Expr))
		}
		value = ToDynamic(c.Dialect, x)
		if nulls && x.Null {
			value = call("coalesce($1, 'null')", value)
		}
	}
	template := "list($1$o)"
	if x.Type == schema.Dynamic {
		template = "string_agg($1, ','$o)"
	}
	list := ordered(c, template, value)
	for i, w := range where {
		if i > 0 {
			where[0] = c.Op("and", where[0], w)
		}
	}
	if len(where) > 0 {
		list = c.Op("filter", list, where[0])
	}
	n := sqlgen.Param{Value: size, Kind: sqlgen.Long}
	if distinct && x.Type != schema.Dynamic {
		// In the order of first appearance, which a distinct list of the store's does not keep.
		return call("kql_array_slice(kql_set(concat('[', array_to_string($1, ','), ']')), 0, $2)", list, sqlgen.Param{Value: size - 1, Kind: sqlgen.Long})
	}
	if x.Type != schema.Dynamic {
		return call("concat('[', array_to_string(list_slice($1, 1, $2), ','), ']')", list, n)
	}
	e := call("concat('[', $1, ']')", list)
	if distinct {
		e = call("kql_set($1)", e)
	}
	return call("kql_array_slice($1, 0, $2)", e, sqlgen.Param{Value: size - 1, Kind: sqlgen.Long})
}

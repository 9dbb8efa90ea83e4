package function

import (
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/kql/sqlgen"
)

func dynamicFunctions() []*Function {
	list := func(template string) func(*Call) sqlgen.Expr {
		return func(c *Call) sqlgen.Expr { c.Null = true; return call(template, c.List(0)) }
	}
	// json gives the last argument as JSON text.
	json := func(template string) func(*Call) sqlgen.Expr {
		return func(c *Call) sqlgen.Expr {
			args := make([]sqlgen.Expr, len(c.Args))
			for i, a := range c.Args {
				args[i] = a.Expr
			}
			args[1] = JSON(c.Dialect, c.Args[1])
			return call(template, args...)
		}
	}
	shift := func(sign string) func(*Call) sqlgen.Expr {
		return func(c *Call) sqlgen.Expr {
			fill := sqlgen.Expr(sqlgen.Param{Value: "null", Kind: sqlgen.Text})
			if len(c.Args) > 2 && !c.Args[2].Absent {
				fill = JSON(c.Dialect, c.Args[2])
			}
			return call("kql_array_shift($1, "+sign+"$2, $3)", c.Args[0].Expr, c.As(1, schema.Long), fill)
		}
	}
	sorted := func(desc string) func(*Call) sqlgen.Expr {
		return func(c *Call) sqlgen.Expr {
			if len(c.Args) != 1 {
				return c.Refuse(c.Name + "() of more than one array")
			}
			return call("kql_array_sort($1, "+desc+")", c.Args[0].Expr)
		}
	}
	iff := func(c *Call) sqlgen.Expr {
		return call("kql_array_iff($1, $2, $3)", c.Args[0].Expr, JSON(c.Dialect, c.Args[1]), JSON(c.Dialect, c.Args[2]))
	}
	pack := func(c *Call) sqlgen.Expr {
		if len(c.Args)%2 != 0 {
			return c.Fail(len(c.Args)-1, c.Name+"() takes keys and values in turn")
		}
		c.Null = false
		return call("kql_bag_pack($1)", c.List(0))
	}
	strcat := func(c *Call) sqlgen.Expr {
		return call("kql_strcat_array($1, $2)", c.Args[0].Expr, c.Text(1))
	}
	return []*Function{
		{Name: "array_length", Signatures: "array:array -> long", Doc: "Counts the elements of an array; null if it is none.", Example: "array_length(dynamic([1,2]))", SQL: duckNull("kql_array_length($1)")},
		{Name: "arraylength", Signatures: "array:array -> long", Hidden: true, Doc: "Another name of array_length().", Example: "arraylength(dynamic([1,2]))", SQL: duckNull("kql_array_length($1)")},
		{Name: "array_concat", Signatures: "array:array+ -> dynamic", Doc: "Joins arrays to one.", Example: "array_concat(dynamic([1]), dynamic([2]))", SQL: list("kql_array_concat($1)")},
		{Name: "array_slice", Signatures: "array:array, start:long, end:long -> dynamic", Doc: "The elements between two places, both included; negative ones count from the end.", Example: "array_slice(dynamic([1,2,3]), 1, 2)", SQL: duckNull("kql_array_slice($1, $2, $3)")},
		{Name: "array_reverse", Signatures: "value:array -> dynamic", Doc: "An array backwards.", Example: "array_reverse(dynamic([1,2]))", SQL: duckNull("kql_array_reverse($1)")},
		{Name: "array_rotate_left", Signatures: "array:array, count:long -> dynamic", Doc: "Moves elements to the left; those that fall off come in at the right.", Example: "array_rotate_left(dynamic([1,2,3]), 1)", SQL: duckNull("kql_array_rotate($1, $2)")},
		{Name: "array_rotate_right", Signatures: "array:array, count:long -> dynamic", Doc: "Moves elements to the right; those that fall off come in at the left.", Example: "array_rotate_right(dynamic([1,2,3]), 1)", SQL: duckNull("kql_array_rotate($1, -$2)")},
		{Name: "array_shift_left", Signatures: "array:array, count:long, fill:scalar? -> dynamic", Doc: "Moves elements to the left and fills up at the right.", Example: "array_shift_left(dynamic([1,2,3]), 1)", SQL: shift("")},
		{Name: "array_shift_right", Signatures: "array:array, count:long, fill:scalar? -> dynamic", Doc: "Moves elements to the right and fills up at the left.", Example: "array_shift_right(dynamic([1,2,3]), 1)", SQL: shift("-")},
		{Name: "array_sum", Signatures: "array:array -> real", Doc: "The sum of an array of numbers.", Example: "array_sum(dynamic([1,2]))", SQL: duckNull("kql_array_sum($1)")},
		{Name: "array_sort_asc", Signatures: "array:array+ -> dynamic", Doc: "An array in rising order, nulls last.", Example: "array_sort_asc(dynamic([2,1]))", SQL: sorted("FALSE")},
		{Name: "array_sort_desc", Signatures: "array:array+ -> dynamic", Doc: "An array in falling order, nulls last.", Example: "array_sort_desc(dynamic([1,2]))", SQL: sorted("TRUE")},
		{Name: "array_index_of", Signatures: "array:array, value:scalar, start:long=0, length:long=-1 -> long", Doc: "The place of a value in an array, counted from 0; -1 if it is not there.", Example: `array_index_of(dynamic(["a","b"]), "b")`, SQL: json("kql_array_index_of($1, $2, $3, $4)")},
		{Name: "array_split", Signatures: "array:array, index:integerOrArray -> dynamic", Doc: "Cuts an array at one place or several.", Example: "array_split(dynamic([1,2,3]), 1)", SQL: json("kql_array_split($1, $2)")},
		{Name: "array_iff", Signatures: "condition:array, then:scalar, else:scalar -> dynamic", Doc: "Chooses element by element.", Example: "array_iff(dynamic([true,false]), 1, 2)", SQL: iff},
		{Name: "array_iif", Signatures: "condition:array, then:scalar, else:scalar -> dynamic", Hidden: true, Doc: "Another name of array_iff().", Example: "array_iif(dynamic([true,false]), 1, 2)", SQL: iff},
		{Name: "strcat_array", Signatures: "array:array, delimiter:text -> string", Doc: "Joins the elements of an array as text.", Example: `strcat_array(dynamic([1,2]), ",")`, SQL: strcat},
		{Name: "array_strcat", Signatures: "array:array, delimiter:text -> string", Doc: "Another name of strcat_array().", Example: `array_strcat(dynamic([1,2]), ",")`, SQL: strcat},
		{Name: "zip", Signatures: "array:array+ -> dynamic", Doc: "Puts the elements of several arrays together, place by place.", Example: "zip(dynamic([1,2]), dynamic([3,4]))", SQL: list("kql_zip($1)")},
		{Name: "set_union", Signatures: "set:array+ -> dynamic", Doc: "The different elements of all arrays.", Example: "set_union(dynamic([1]), dynamic([2]))", SQL: list("kql_set_union($1)")},
		{Name: "set_intersect", Signatures: "set:array+ -> dynamic", Doc: "The elements that all arrays have.", Example: "set_intersect(dynamic([1,2]), dynamic([2]))", SQL: list("kql_set_intersect($1)")},
		{Name: "set_difference", Signatures: "set:array+ -> dynamic", Doc: "The elements of the first array that no other has.", Example: "set_difference(dynamic([1,2]), dynamic([2]))", SQL: list("kql_set_difference($1)")},
		{Name: "set_has_element", Signatures: "set:array, value:scalar -> bool", Doc: "Tells whether an array has an element.", Example: "set_has_element(dynamic([1,2]), 2)", SQL: json("kql_set_has_element($1, $2)")},
		{Name: "jaccard_index", Signatures: "set:array+ -> real", Doc: "How much two sets have in common, from 0 to 1.", Example: "jaccard_index(dynamic([1,2]), dynamic([2,3]))", SQL: list("kql_jaccard($1)")},
		{Name: "bag_keys", Signatures: "object:bag -> dynamic", Doc: "The keys of a property bag.", Example: `bag_keys(dynamic({"a":1}))`, SQL: duckNull("kql_bag_keys($1)")},
		{Name: "bag_merge", Signatures: "bag:bag+ -> dynamic", Doc: "Joins property bags; the first that has a key gives its value.", Example: `bag_merge(dynamic({"a":1}), dynamic({"b":2}))`, SQL: list("kql_bag_merge($1)")},
		{Name: "bag_has_key", Signatures: "bag:bag, key:string -> bool", Doc: "Tells whether a property bag has a key.", Example: `bag_has_key(dynamic({"a":1}), "a")`, SQL: func(c *Call) sqlgen.Expr {
			if s, ok := c.String(1); !ok || len(s) > 0 && s[0] == '$' {
				return c.Refuse("bag_has_key() with a path")
			}
			return call("kql_bag_has_key($1, $2)", c.Args[0].Expr, c.Args[1].Expr)
		}},
		{Name: "bag_remove_keys", Signatures: "bag:bag, keys:array -> dynamic", Doc: "A property bag without some keys.", Example: `bag_remove_keys(dynamic({"a":1,"b":2}), dynamic(["a"]))`, SQL: duckNull("kql_bag_remove_keys($1, $2)")},
		{Name: "bag_set_key", Signatures: "bag:bag, key:string!, value:scalar -> dynamic", Doc: "A property bag with a key set.", Example: `bag_set_key(dynamic({}), "a", 1)`, SQL: func(c *Call) sqlgen.Expr {
			return call("kql_bag_set_key($1, $2, $3)", c.Args[0].Expr, c.Args[1].Expr, JSON(c.Dialect, c.Args[2]))
		}},
		{Name: "bag_zip", Signatures: "keys:array, values:array -> dynamic", Doc: "Makes a property bag of an array of keys and one of values.", Example: `bag_zip(dynamic(["a"]), dynamic([1]))`, SQL: duckNull("kql_bag_zip($1, $2)")},
		{Name: "bag_pack", Signatures: "arg:any+ -> dynamic", Doc: "Makes a property bag of keys and values.", Example: `bag_pack("a", 1)`, SQL: pack},
		{Name: "pack", Signatures: "arg:any+ -> dynamic", Hidden: true, Doc: "Another name of bag_pack().", Example: `pack("a", 1)`, SQL: pack},
		{Name: "pack_dictionary", Signatures: "arg:any+ -> dynamic", Hidden: true, Doc: "Another name of bag_pack().", Example: `pack_dictionary("a", 1)`, SQL: pack},
		{Name: "pack_array", Signatures: "value:any+ -> dynamic", Doc: "Makes an array of values.", Example: "pack_array(1, 2)", Built: "pack_array"},
		{Name: "pack_all", Signatures: "ignore_empty:bool? -> dynamic", Doc: "Makes a property bag of all columns.", Example: "print a = 1 | extend b = pack_all()", Built: "pack_all"},
		{Name: "bag_pack_columns", Signatures: "column:any+ -> dynamic", Doc: "Makes a property bag of some columns.", Example: "print a = 1 | extend b = bag_pack_columns(a)", Built: "bag_pack_columns"},
		{Name: "range", Signatures: "start:summable, stop:summable, step:summable? -> dynamic", Doc: "An array of numbers, times or durations in equal steps.", Example: "range(1, 5, 2)", SQL: rangeArray},
		{Name: "repeat", Signatures: "value:scalar, count:long -> dynamic", Naming: PrefixedName, Doc: "An array of one value again and again.", Example: "repeat(1, 3)", SQL: func(c *Call) sqlgen.Expr {
			return call("kql_repeat($1, $2)", JSON(c.Dialect, c.Args[0]), c.As(1, schema.Long))
		}},
	}
}

func rangeArray(c *Call) sqlgen.Expr {
	start, stop := c.Args[0], c.Args[1]
	step := Arg{Expr: Constant(schema.Long, int64(1)), Type: schema.Long}
	if len(c.Args) > 2 && !c.Args[2].Absent {
		step = c.Args[2]
	} else if start.Type == schema.DateTime || start.Type == schema.Timespan {
		step = Arg{Expr: Constant(schema.Timespan, int64(36e9)), Type: schema.Timespan}
	}
	d := c.Dialect
	as := func(a Arg, t schema.Type) sqlgen.Expr { return Convert(d, a, t) }
	switch {
	case start.Type == schema.DateTime && stop.Type == schema.DateTime && step.Type == schema.Timespan:
		return call("kql_range_time($1, $2, $3, TRUE)", start.Expr, stop.Expr, step.Expr)
	case start.Type == schema.Timespan && stop.Type == schema.Timespan && step.Type == schema.Timespan:
		return call("kql_range_time($1, $2, $3, FALSE)", start.Expr, stop.Expr, step.Expr)
	case start.Type == schema.Real || stop.Type == schema.Real || step.Type == schema.Real:
		return call("kql_range_real($1, $2, $3)", as(start, schema.Real), as(stop, schema.Real), as(step, schema.Real))
	case isNumber(start.Type) && isNumber(stop.Type) && isNumber(step.Type) && start.Type != schema.Decimal:
		return call("kql_range($1, $2, $3)", as(start, schema.Long), as(stop, schema.Long), as(step, schema.Long))
	}
	return c.Refuse("range() of a " + start.Type.String() + ", a " + stop.Type.String() + " and a " + step.Type.String())
}

func seriesFunctions() []*Function {
	var list []*Function
	for _, op := range []string{"add", "subtract", "multiply", "divide", "pow", "greater", "greater_equals", "less", "less_equals", "equals", "not_equals"} {
		list = append(list, &Function{Name: "series_" + op, Signatures: "a:scalar, b:scalar -> dynamic", Doc: "Applies an operation to the elements of two arrays, place by place.",
			Example: "series_" + op + "(dynamic([1,2]), dynamic([3,4]))", SQL: func(c *Call) sqlgen.Expr {
				a, b := c.Args[0], c.Args[1]
				x, y := a.Expr, b.Expr
				if a.Type != schema.Dynamic {
					x = call("kql_repeat($1, kql_array_length($2))", JSON(c.Dialect, a), b.Expr)
				}
				if b.Type != schema.Dynamic {
					y = call("kql_repeat($1, kql_array_length($2))", JSON(c.Dialect, b), a.Expr)
				}
				return call("kql_series_combine($1, $2, '"+op+"')", x, y)
			}})
	}
	for _, op := range []string{"exp", "sin", "cos", "tan", "asin", "acos", "atan", "log", "floor", "ceiling", "sign"} {
		list = append(list, &Function{Name: "series_" + op, Signatures: "series:array -> dynamic", Doc: "Applies a function to every element.", Example: "series_" + op + "(dynamic([1,2]))",
			SQL: duckNull("kql_series_map($1, '" + op + "')")})
	}
	one := func(name, signature, doc, example, template string) *Function {
		return &Function{Name: name, Signatures: signature, Doc: doc, Example: example, SQL: duckNull(template)}
	}
	first := func(f *Function) *Function { f.Naming = FirstName; return f }
	return append(list,
		&Function{Name: "series_stats", Signatures: "series:array -> custom", Doc: "The least, the greatest and the average of a series, and how it spreads.", Example: "series_stats(dynamic([1,2]))",
			Tuple: "min:real,min_idx:long,max:real,max_idx:long,avg:real,stdev:real,variance:real", SQL: duckNull("kql_series_stats($1)")},
		one("series_stats_dynamic", "series:array -> dynamic", "What series_stats() gives, as a property bag.", "series_stats_dynamic(dynamic([1,2]))",
			"kql_bag_zip('[\"min\",\"min_idx\",\"max\",\"max_idx\",\"avg\",\"stdev\",\"variance\"]', kql_series_stats($1))"),
		&Function{Name: "series_fit_line", Signatures: "series:array -> custom", Doc: "The straight line that fits a series best.", Example: "series_fit_line(dynamic([1,2]))",
			Tuple: "rsquare:real,slope:real,variance:real,rvariance:real,interception:real,line_fit:dynamic", SQL: duckNull("kql_series_fit_line($1)")},
		one("series_fit_line_dynamic", "series:array -> dynamic", "What series_fit_line() gives, as a property bag.", "series_fit_line_dynamic(dynamic([1,2]))",
			"kql_bag_zip('[\"rsquare\",\"slope\",\"variance\",\"rvariance\",\"interception\",\"line_fit\"]', kql_series_fit_line($1))"),
		one("series_abs", "series:array -> dynamic", "Takes the signs off.", "series_abs(dynamic([-1,2]))", "kql_series_abs($1)"),
		one("series_sum", "series:array -> real", "The sum of the elements.", "series_sum(dynamic([1,2]))", "kql_series_sum($1)"),
		one("series_product", "series:array -> real", "The product of the elements.", "series_product(dynamic([1,2]))", "kql_series_product($1)"),
		one("series_magnitude", "series:array -> real", "The square root of the sum of squares.", "series_magnitude(dynamic([3,4]))", "kql_series_magnitude($1)"),
		one("series_pearson_correlation", "a:array, b:array -> real", "The correlation of two series, from -1 to 1.", "series_pearson_correlation(dynamic([1,2]), dynamic([2,4]))", "kql_series_pearson($1, $2)"),
		first(one("series_fill_forward", "series:array -> dynamic", "Fills gaps with the value before.", "series_fill_forward(dynamic([1,null]))", "kql_series_fill_forward($1)")),
		first(one("series_fill_backward", "series:array -> dynamic", "Fills gaps with the value after.", "series_fill_backward(dynamic([null,1]))", "kql_series_fill_backward($1)")),
		first(one("series_fill_linear", "series:array -> dynamic", "Fills gaps on a straight line.", "series_fill_linear(dynamic([1,null,3]))", "kql_series_fill_linear($1)")),
		first(&Function{Name: "series_fill_const", Signatures: "series:array, value:scalar? -> dynamic", Doc: "Fills gaps with a constant.", Example: "series_fill_const(dynamic([1,null]), 0)", SQL: func(c *Call) sqlgen.Expr {
			fill := sqlgen.Expr(sqlgen.Param{Value: "0", Kind: sqlgen.Text})
			if len(c.Args) > 1 && !c.Args[1].Absent {
				fill = JSON(c.Dialect, c.Args[1])
			}
			return call("kql_series_fill_const($1, $2)", c.Args[0].Expr, fill)
		}}),
		first(one("series_iir", "series:array, numerators:array, denominators:array -> dynamic", "Runs a recursive filter over a series.", "series_iir(dynamic([1,2]), dynamic([1]), dynamic([1,-1]))", "kql_series_iir($1, $2, $3)")),
		&Function{Name: "series_dot_product", Signatures: "a:scalar, b:scalar -> real", Doc: "The sum of products of two series.", Example: "series_dot_product(dynamic([1,2]), dynamic([3,4]))", SQL: func(c *Call) sqlgen.Expr {
			a, b := c.Args[0], c.Args[1]
			x, y := a.Expr, b.Expr
			if a.Type != schema.Dynamic {
				x = call("kql_repeat($1, kql_array_length($2))", JSON(c.Dialect, a), b.Expr)
			}
			if b.Type != schema.Dynamic {
				y = call("kql_repeat($1, kql_array_length($2))", JSON(c.Dialect, b), a.Expr)
			}
			return call("kql_series_dot_product($1, $2)", x, y)
		}},
	)
}

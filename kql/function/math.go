package function

import (
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/kql/sqlgen"
)

func mathFunctions() []*Function {
	one := func(name, doc, example string) *Function {
		return &Function{Name: name, Signatures: "number:real -> real", Naming: FirstName, Doc: doc, Example: example, SQL: duckNull("kql_" + name + "($1)")}
	}
	bits := func(name, template, doc, example string) *Function {
		return &Function{Name: name, Signatures: "a:long, b:long -> long", Naming: FirstName, Doc: doc, Example: example, SQL: duck(template)}
	}
	plain := func(f *Function) *Function { f.Naming = NoName; return f }
	return []*Function{
		one("sqrt", "The square root.", "sqrt(2)"), one("log", "The natural logarithm; null below zero.", "log(10)"), one("log2", "The logarithm to base 2.", "log2(8)"),
		one("log10", "The logarithm to base 10.", "log10(100)"), one("exp", "e to a power.", "exp(1)"), one("exp2", "2 to a power.", "exp2(3)"), one("exp10", "10 to a power.", "exp10(3)"),
		one("sin", "The sine of an angle in radians.", "sin(1)"), one("cos", "The cosine of an angle in radians.", "cos(1)"), one("tan", "The tangent of an angle in radians.", "tan(1)"),
		one("asin", "The angle of a sine.", "asin(1)"), one("acos", "The angle of a cosine.", "acos(1)"), one("atan", "The angle of a tangent.", "atan(1)"),
		one("gamma", "The gamma function.", "gamma(5)"), one("loggamma", "The logarithm of the gamma function.", "loggamma(5)"), one("erf", "The error function.", "erf(0.5)"),
		one("erfc", "The complementary error function.", "erfc(0.5)"),
		plain(one("cot", "The cotangent of an angle in radians.", "cot(1)")), plain(one("degrees", "Turns radians into degrees.", "degrees(3.14)")),
		plain(one("radians", "Turns degrees into radians.", "radians(180)")), plain(one("sign", "-1, 0 or 1 as a number is negative, zero or positive.", "sign(-3)")),
		{Name: "pow", Signatures: "base:real, exponent:real -> real", Naming: FirstName, Doc: "A number to a power.", Example: "pow(2, 10)", SQL: duck("kql_pow($1, $2)")},
		{Name: "atan2", Signatures: "y:real, x:real -> real", Naming: FirstName, Doc: "The angle of a point seen from the origin.", Example: "atan2(1, 1)", SQL: duck("kql_atan2($1, $2)")},
		{Name: "pi", Signatures: "-> real", Doc: "The ratio of a circle's circumference to its diameter.", Example: "pi()", SQL: duck("pi()")},
		{Name: "abs", Signatures: "number:integer -> long; number:real -> real; number:timespan -> timespan", Naming: FirstName, Doc: "A number without its sign.", Example: "abs(-5)", SQL: func(c *Call) sqlgen.Expr {
			c.Null = true
			if c.Result == schema.Decimal {
				return c.Refuse("abs() of a decimal")
			}
			if c.Result == schema.Real {
				return call("abs($1)", c.As(0, schema.Real))
			}
			return c.Dialect.Op("int_abs", c.As(0, c.Result))
		}},
		{Name: "ceiling", Signatures: "number:number -> param0", Naming: FirstName, Doc: "The smallest whole number not below a number.", Example: "ceiling(1.2)", SQL: func(c *Call) sqlgen.Expr {
			return whole(c, "kql_ceiling($1)")
		}},
		{Name: "round", Signatures: "number:number, precision:long=0 -> param0", Naming: FirstName, Doc: "Rounds to a number of decimals, halves away from zero.", Example: "round(2.567, 1)", SQL: func(c *Call) sqlgen.Expr {
			c.Null = c.Args[0].Null
			switch c.Args[0].Type {
			case schema.Int, schema.Long:
				if n, ok := c.Integer(1); c.Args[1].Absent || ok && n >= 0 {
					return c.Args[0].Expr
				}
			case schema.Real:
				return call("kql_round($1, $2)", c.Args[0].Expr, c.Args[1].Expr)
			}
			return c.Refuse("round() of a " + c.Args[0].Type.String() + " to that precision")
		}},
		{Name: "isnan", Signatures: "number:real -> bool", Doc: "Tells whether a number is not a number.", Example: "isnan(0.0 / 0.0)", SQL: finite("isnan($1)")},
		{Name: "isinf", Signatures: "number:real -> bool", Doc: "Tells whether a number is infinite.", Example: "isinf(1.0 / 0.0)", SQL: finite("isinf($1)")},
		{Name: "isfinite", Signatures: "number:real -> bool", Doc: "Tells whether a number is neither infinite nor not a number.", Example: "isfinite(1.0)", SQL: finite("isfinite($1)")},
		bits("binary_and", "($1 & $2)", "The bits that both numbers have.", "binary_and(6, 3)"), bits("binary_or", "($1 | $2)", "The bits that either number has.", "binary_or(5, 3)"),
		bits("binary_xor", "xor($1, $2)", "The bits in which numbers differ.", "binary_xor(5, 3)"),
		bits("binary_shift_left", "kql_shift_left($1, $2)", "Moves bits to the left.", "binary_shift_left(1, 4)"),
		bits("binary_shift_right", "kql_shift_right($1, $2)", "Moves bits to the right.", "binary_shift_right(16, 4)"),
		{Name: "binary_not", Signatures: "value:long -> long", Naming: FirstName, Doc: "Turns every bit around.", Example: "binary_not(0)", SQL: duck("(~$1)")},
		{Name: "bitset_count_ones", Signatures: "value:long -> long", Naming: FirstName, Doc: "Counts the bits that are set.", Example: "bitset_count_ones(7)", SQL: duck("CAST(bit_count($1) AS BIGINT)")},
		{Name: "max_of", Signatures: "arg:common+ -> common", Doc: "The greatest of its arguments that are not null.", Example: "max_of(1, 3)", SQL: extreme("greatest($*)", "kql_max2($1, $2)")},
		{Name: "min_of", Signatures: "arg:common+ -> common", Doc: "The least of its arguments that are not null.", Example: "min_of(1, 3)", SQL: extreme("least($*)", "kql_min2($1, $2)")},
		{Name: "rand", Signatures: "number:integer? -> real", Naming: FirstName, Doc: "A random number.", Example: "rand()", SQL: func(c *Call) sqlgen.Expr {
			c.Null = false
			if len(c.Args) == 0 || c.Args[0].Absent {
				return call("random()")
			}
			return call("floor(random() * $1)", c.As(0, schema.Real))
		}},
		{Name: "bin", Signatures: binSignatures, Naming: FirstName, Doc: "Rounds a value down to a multiple of a size.", Example: "bin(7, 5)", SQL: bin},
		{Name: "floor", Signatures: binSignatures, Naming: FirstName, Doc: "Rounds a value down to a multiple of a size, as bin().", Example: "floor(7.8, 1)", SQL: bin},
		{Name: "bin_at", Signatures: `value:number, size:number, point:number -> widest; value:timespan, size:timespan, point:timespan -> timespan;
			value:datetime, size:timespan, point:datetime -> datetime`, Naming: FirstName, Doc: "Rounds a value down to a size, counted from a fixed point.", Example: "bin_at(6.5, 2.5, 7)", SQL: func(c *Call) sqlgen.Expr {
			c.Null = true
			switch c.Result {
			case schema.Real:
				return call("kql_bin_at_real($1, $2, $3)", c.As(0, schema.Real), c.As(1, schema.Real), c.As(2, schema.Real))
			case schema.Decimal:
				return c.Refuse("bin_at() of a decimal")
			}
			return call("kql_bin_at($1, $2, $3)", c.Op("as_long", c.Args[0].Expr), c.Op("as_long", c.Args[1].Expr), c.Op("as_long", c.Args[2].Expr))
		}},
	}
}

const binSignatures = "value:number, size:number -> widest; value:timespan, size:timespan -> timespan; value:datetime, size:timespan -> datetime"

func whole(c *Call, template string) sqlgen.Expr {
	c.Null = c.Args[0].Null
	switch c.Args[0].Type {
	case schema.Int, schema.Long:
		return c.Args[0].Expr
	case schema.Real:
		return call(template, c.Args[0].Expr)
	}
	return c.Refuse(c.Name + "() of a " + c.Args[0].Type.String())
}

// finite writes isnan and its kin.
func finite(template string) func(*Call) sqlgen.Expr {
	return func(c *Call) sqlgen.Expr {
		c.Null = c.Args[0].Null
		return call(template, c.As(0, schema.Real))
	}
}

// bin floors to a multiple; a constant size that is positive needs no function call.
func bin(c *Call) sqlgen.Expr {
	c.Null = c.Args[0].Null
	size, known := c.Integer(1)
	switch c.Result {
	case schema.Real:
		c.Null = true
		return call("kql_bin_real($1, $2)", c.As(0, schema.Real), c.As(1, schema.Real))
	case schema.Decimal:
		return c.Refuse(c.Name + "() of a decimal")
	}
	if c.Args[0].Type == schema.DateTime { // counted from the year 1
		c.Null = true
		if known && size > 0 {
			if _, plain := c.Args[0].Expr.(sqlgen.Column); plain {
				c.Null = c.Args[0].Null
				return call("($1 - (($1 + 621355968000000000) % $2))", c.Args[0].Expr, c.Args[1].Expr)
			}
		}
		return call("kql_bin_at($1, $2, -621355968000000000)", c.Args[0].Expr, c.Args[1].Expr)
	}
	if known && size > 0 {
		if _, plain := c.Args[0].Expr.(sqlgen.Column); plain {
			e := c.Op("bin_long", c.Args[0].Expr, c.Args[1].Expr)
			if c.Result == schema.Int {
				return c.Op("as_int", e)
			}
			return e
		}
	}
	c.Null = true
	e := c.Op("bin_long_any", c.Op("as_long", c.Args[0].Expr), c.Op("as_long", c.Args[1].Expr))
	if c.Result == schema.Int {
		return c.Op("as_int", e)
	}
	return e
}

// extreme writes max_of and min_of. Not a number wins among reals, as nothing compares with it.
func extreme(template, reals string) func(*Call) sqlgen.Expr {
	return func(c *Call) sqlgen.Expr {
		args := make([]sqlgen.Expr, len(c.Args))
		c.Null = true
		for i := range c.Args {
			args[i] = c.As(i, c.Result)
			if args[i] == nil || c.Result == schema.Decimal || c.Result == schema.Dynamic {
				return c.Refuse(c.Name + "() of a " + c.Args[i].Type.String())
			}
			c.Null = c.Null && c.Args[i].Null
		}
		if c.Result != schema.Real {
			return call(template, args...)
		}
		e := args[0]
		for _, a := range args[1:] {
			e = call("coalesce("+reals+", $1, $2)", e, a)
		}
		return e
	}
}

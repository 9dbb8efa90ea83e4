package native

import (
	"math"
	"math/big"
	"strconv"
	"strings"
)

// All lists every native function. A store registers them once; their order is that of the files.
func All() []Function {
	var list []Function
	for _, part := range [][]Function{conversions(), arithmetic(), decimals(), dates(), texts(), patterns(), dynamics(), addresses(), encodings(), parsers(), series()} {
		list = append(list, part...)
	}
	return list
}

// of makes a function that is null when an argument is.
func of(name string, params string, eval func(a []Value) Value) Function {
	f := withNulls(name, params, eval)
	f.Eval = func(args []Value) Value {
		for _, a := range args {
			if a.Null {
				return null
			}
		}
		return eval(args)
	}
	return f
}

// withNulls makes a function that is given nulls. The parameters are letters, the result follows a colon:
// b bool, i int, l long, r real, t text.
func withNulls(name string, params string, eval func(a []Value) Value) Function {
	f := Function{Name: "kql_" + name, Eval: eval}
	ins, out, _ := strings.Cut(params, ":")
	for _, c := range []byte(ins) {
		f.Params = append(f.Params, kindOf(c))
	}
	f.Result = kindOf(out[0])
	return f
}

func kindOf(letter byte) Kind {
	switch letter {
	case 'b':
		return Bool
	case 'i':
		return Int
	case 'l':
		return Long
	case 'r':
		return Real
	}
	return Text
}

var null = Value{Null: true}

func text(s string) Value  { return Value{S: s} }
func long(i int64) Value   { return Value{I: i} }
func real(f float64) Value { return Value{F: f} }
func truth(b bool) Value   { return Value{B: b} }

func orNull[T any](make func(T) Value, v T, ok bool) Value {
	if !ok {
		return null
	}
	return make(v)
}

func conversions() []Function {
	parsed := func(name, params string, parse func(string) Value) Function {
		return of(name, params, func(a []Value) Value { return parse(a[0].S) })
	}
	fromDynamic := func(name, params string, convert func(n node) Value) Function {
		return of(name, params, func(a []Value) Value {
			n, ok := parseJSON(a[0].S)
			if !ok {
				return null
			}
			return convert(n)
		})
	}
	return []Function{
		parsed("json", "t:t", func(s string) Value { v, ok := CanonicalJSON(s); return orNull(text, v, ok) }),
		parsed("long", "t:l", func(s string) Value { v, ok := ParseLong(s); return orNull(long, v, ok) }),
		parsed("int", "t:i", func(s string) Value {
			v, ok := ParseLong(s)
			return orNull(long, v, ok && v == int64(int32(v)))
		}),
		parsed("real", "t:r", func(s string) Value { v, ok := ParseReal(s); return orNull(real, v, ok) }),
		parsed("bool", "t:b", func(s string) Value { v, ok := ParseBool(s); return orNull(truth, v, ok) }),
		parsed("guid", "t:t", func(s string) Value { v, ok := ParseGUID(s); return orNull(text, v, ok) }),
		parsed("decimal", "t:t", func(s string) Value { v, ok := ParseDecimal(s); return orNull(text, v, ok) }),
		parsed("datetime", "t:l", func(s string) Value { v, ok := ParseDatetime(s); return orNull(long, v, ok) }),
		parsed("timespan", "t:l", func(s string) Value { v, ok := ParseTimespan(s); return orNull(long, v, ok) }),
		fromDynamic("dyn_long", "t:l", func(n node) Value { v, ok := n.long(); return orNull(long, v, ok) }),
		fromDynamic("dyn_int", "t:i", func(n node) Value {
			v, ok := n.long()
			if n.kind == jsonString {
				ok = ok && v == int64(int32(v))
			}
			return orNull(long, int64(int32(v)), ok)
		}),
		fromDynamic("dyn_real", "t:r", func(n node) Value {
			if n.kind == jsonString {
				v, ok := ParseReal(n.s)
				return orNull(real, v, ok)
			}
			v, ok := n.number()
			return orNull(real, v, ok)
		}),
		fromDynamic("dyn_bool", "t:b", func(n node) Value {
			if n.kind == jsonString {
				v, ok := ParseBool(n.s)
				return orNull(truth, v, ok)
			}
			v, ok := n.number()
			return orNull(truth, v != 0, ok)
		}),
		fromDynamic("dyn_datetime", "t:l", func(n node) Value {
			switch n.kind {
			case jsonString:
				v, ok := ParseDatetime(n.s)
				return orNull(long, v, ok)
			case jsonLong:
				v, ok := inRange(n.i - ticksUnixEra)
				return orNull(long, v, ok && n.i >= 0)
			}
			return null
		}),
		fromDynamic("dyn_timespan", "t:l", func(n node) Value {
			switch n.kind {
			case jsonString:
				v, ok := ParseTimespan(n.s)
				return orNull(long, v, ok)
			case jsonLong:
				return long(n.i)
			}
			return null
		}),
		of("datetime_text", "l:t", func(a []Value) Value { return text(FormatDatetime(a[0].I)) }),
		of("timespan_text", "l:t", func(a []Value) Value { return text(FormatTimespan(a[0].I)) }),
		of("real_text", "r:t", func(a []Value) Value { return text(FormatReal(a[0].F)) }),
		of("real_json", "r:t", func(a []Value) Value { return text(RealJSON(a[0].F)) }),
		of("string_json", "t:t", func(a []Value) Value { return text(JSONString(a[0].S)) }),
		withNulls("gettype", "t:t", func(a []Value) Value {
			n, ok := parseJSON(a[0].S)
			if a[0].Null || !ok {
				return text("null")
			}
			return text([...]string{"null", "bool", "long", "double", "string", "array", "dictionary"}[n.kind])
		}),
	}
}

func (n node) long() (int64, bool) {
	switch n.kind {
	case jsonLong:
		return n.i, true
	case jsonReal:
		t := math.Trunc(n.f)
		return int64(t), t >= -9.223372036854775e18 && t <= 9.223372036854775e18
	case jsonBool:
		if n.b {
			return 1, true
		}
		return 0, true
	case jsonString:
		return ParseLong(n.s)
	}
	return 0, false
}

// modulo is the remainder that is never negative.
func modulo(a, b int64) (int64, bool) {
	if b == 0 {
		return 0, false
	}
	if b == math.MinInt64 {
		if a >= 0 {
			return a, true
		}
		if a == math.MinInt64 {
			return 0, true
		}
		return a - b, true
	}
	if b < 0 {
		b = -b
	}
	m := a % b
	if m < 0 {
		m += b
	}
	return m, true
}

func arithmetic() []Function {
	number := func(name string, f func(float64) float64) Function {
		return of(name, "r:r", func(a []Value) Value { return real(f(a[0].F)) })
	}
	logarithm := func(name string, f func(float64) float64) Function {
		return of(name, "r:r", func(a []Value) Value {
			if a[0].F < 0 {
				return null
			}
			return real(f(a[0].F))
		})
	}
	compare := func(name string, f func(x, y float64) bool) Function {
		return of(name, "rr:b", func(a []Value) Value { return truth(f(a[0].F, a[1].F)) })
	}
	return []Function{
		of("in_range", "l:l", func(a []Value) Value { v, ok := inRange(a[0].I); return orNull(long, v, ok) }),
		of("time_add", "ll:l", func(a []Value) Value { // a datetime and a timespan
			sum := a[0].I + a[1].I
			if (sum > a[0].I) != (a[1].I > 0) && a[1].I != 0 {
				return null
			}
			v, ok := inRange(sum)
			return orNull(long, v, ok)
		}),
		of("mod", "ll:l", func(a []Value) Value { v, ok := modulo(a[0].I, a[1].I); return orNull(long, v, ok) }),
		of("real_mod", "rr:r", func(a []Value) Value {
			y := math.Abs(a[1].F)
			m := math.Mod(a[0].F, y)
			if m < 0 {
				m += y
			}
			return real(m)
		}),
		of("bin", "ll:l", func(a []Value) Value {
			m, ok := modulo(a[0].I, a[1].I)
			return orNull(long, a[0].I-m, ok && a[1].I > 0)
		}),
		of("bin_real", "rr:r", func(a []Value) Value {
			if a[1].F <= 0 {
				return null
			}
			return real(math.Floor(a[0].F/a[1].F) * a[1].F)
		}),
		of("bin_at", "lll:l", func(a []Value) Value {
			m, ok := modulo(a[0].I-a[2].I, a[1].I)
			return orNull(long, a[0].I-m, ok && a[1].I > 0)
		}),
		of("bin_at_real", "rrr:r", func(a []Value) Value {
			if a[1].F <= 0 {
				return null
			}
			return real(math.Floor((a[0].F-a[2].F)/a[1].F)*a[1].F + a[2].F)
		}),
		of("round", "rl:r", func(a []Value) Value { return real(round(a[0].F, a[1].I)) }),
		number("sqrt", math.Sqrt), logarithm("log", math.Log), logarithm("log2", math.Log2), logarithm("log10", math.Log10),
		number("exp", math.Exp), number("exp2", math.Exp2), number("exp10", func(x float64) float64 { return math.Pow(10, x) }),
		number("sin", math.Sin), number("cos", math.Cos), number("tan", math.Tan), number("asin", math.Asin), number("acos", math.Acos),
		number("atan", math.Atan), number("cot", func(x float64) float64 { return 1 / math.Tan(x) }),
		number("degrees", func(x float64) float64 { return x * 180 / math.Pi }), number("radians", func(x float64) float64 { return x * math.Pi / 180 }),
		number("gamma", math.Gamma), number("loggamma", func(x float64) float64 { v, _ := math.Lgamma(x); return v }),
		number("erf", math.Erf), number("erfc", math.Erfc), number("ceiling", math.Ceil), number("floor", math.Floor),
		number("sign", func(x float64) float64 {
			switch {
			case x > 0:
				return 1
			case x < 0:
				return -1
			}
			return x * 0
		}),
		of("pow", "rr:r", func(a []Value) Value { return real(math.Pow(a[0].F, a[1].F)) }),
		of("atan2", "rr:r", func(a []Value) Value { return real(math.Atan2(a[0].F, a[1].F)) }),
		of("real_div", "rr:r", func(a []Value) Value { return real(a[0].F / a[1].F) }),
		compare("real_eq", func(x, y float64) bool { return x == y }), compare("real_ne", func(x, y float64) bool { return x != y }),
		compare("real_lt", func(x, y float64) bool { return x < y }), compare("real_le", func(x, y float64) bool { return x <= y }),
		of("min2", "rr:r", func(a []Value) Value { return real(math.Min(a[0].F, a[1].F)) }),
		of("max2", "rr:r", func(a []Value) Value { return real(math.Max(a[0].F, a[1].F)) }),
		of("shift_left", "ll:l", func(a []Value) Value { return long(a[0].I << (uint64(a[1].I) & 63)) }),
		of("shift_right", "ll:l", func(a []Value) Value { return long(a[0].I >> (uint64(a[1].I) & 63)) }),
	}
}

// round rounds half away from zero to a number of decimals, negative ones before the point.
func round(f float64, decimals int64) float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) || decimals > 15 {
		return f
	}
	if decimals < -300 {
		return 0
	}
	if decimals <= 0 {
		p := math.Pow(10, float64(-decimals))
		return math.Round(f/p) * p
	}
	p := math.Pow(10, float64(decimals))
	r := math.Round(f * p)
	if math.IsInf(r, 0) {
		return f
	}
	// The nearest decimal text settles what the product rounded away.
	v, err := strconv.ParseFloat(strconv.FormatFloat(r/p, 'f', int(decimals), 64), 64)
	if err != nil {
		return r / p
	}
	return v
}

func decimals() []Function {
	two := func(name string, params string, f func(x, y *big.Rat) Value) Function {
		return of(name, params, func(a []Value) Value {
			x, ok1 := new(big.Rat).SetString(a[0].S)
			y, ok2 := new(big.Rat).SetString(a[1].S)
			if !ok1 || !ok2 {
				return null
			}
			return f(x, y)
		})
	}
	one := func(name string, params string, f func(x *big.Rat) Value) Function {
		return of(name, params, func(a []Value) Value {
			x, ok := new(big.Rat).SetString(a[0].S)
			if !ok {
				return null
			}
			return f(x)
		})
	}
	give := func(r *big.Rat) Value { return text(FormatDecimal(r)) }
	truncated := func(x *big.Rat) *big.Int { return new(big.Int).Quo(x.Num(), x.Denom()) }
	return []Function{
		two("dec_add", "tt:t", func(x, y *big.Rat) Value { return give(x.Add(x, y)) }),
		two("dec_sub", "tt:t", func(x, y *big.Rat) Value { return give(x.Sub(x, y)) }),
		two("dec_mul", "tt:t", func(x, y *big.Rat) Value { return give(x.Mul(x, y)) }),
		two("dec_div", "tt:t", func(x, y *big.Rat) Value {
			if y.Sign() == 0 {
				return null
			}
			return give(x.Quo(x, y))
		}),
		two("dec_mod", "tt:t", func(x, y *big.Rat) Value {
			if y.Sign() == 0 {
				return null
			}
			y.Abs(y)
			q := new(big.Rat).SetInt(truncated(new(big.Rat).Quo(x, y)))
			x.Sub(x, q.Mul(q, y))
			if x.Sign() < 0 {
				x.Add(x, y)
			}
			return give(x)
		}),
		two("dec_cmp", "tt:l", func(x, y *big.Rat) Value { return long(int64(x.Cmp(y))) }),
		one("dec_neg", "t:t", func(x *big.Rat) Value { return give(x.Neg(x)) }),
		one("dec_real", "t:r", func(x *big.Rat) Value { f, _ := x.Float64(); return real(f) }),
		one("dec_long", "t:l", func(x *big.Rat) Value {
			i := truncated(x)
			return orNull(long, i.Int64(), i.IsInt64())
		}),
		of("real_dec", "r:t", func(a []Value) Value {
			s, ok := ParseDecimal(strconv.FormatFloat(a[0].F, 'g', -1, 64))
			return orNull(text, s, ok)
		}),
	}
}

func dates() []Function {
	starts := map[string]func(int64) int64{"day": startOfDay, "week": startOfWeek, "month": startOfMonth, "year": startOfYear}
	start := func(part string, t, n int64) (int64, bool) {
		f, ok := starts[part]
		if !ok {
			return 0, false
		}
		v, ok := datetimeAdd(part, n, f(t))
		if !ok && n == 0 {
			return f(t), true
		}
		return v, ok
	}
	return []Function{
		of("startof", "tll:l", func(a []Value) Value {
			v, ok := start(a[0].S, a[1].I, a[2].I)
			return orNull(long, v, ok)
		}),
		of("endof", "tll:l", func(a []Value) Value {
			v, ok := start(a[0].S, a[1].I, a[2].I)
			if !ok {
				return null
			}
			next, ok := datetimeAdd(a[0].S, 1, v)
			if !ok {
				return long(MaxDatetime)
			}
			return long(next - 1)
		}),
		of("dayofweek", "l:l", func(a []Value) Value {
			week := startOfWeek(a[0].I)
			return orNull(long, startOfDay(a[0].I)-week, week+7*ticksDay-1 <= MaxDatetime) // as in Kusto, the last week must end
		}),
		of("datetime_part", "tl:l", func(a []Value) Value { v, ok := datetimePart(a[0].S, a[1].I); return orNull(long, v, ok) }),
		of("datetime_add", "tll:l", func(a []Value) Value {
			v, ok := datetimeAdd(a[0].S, a[1].I, a[2].I)
			return orNull(long, v, ok)
		}),
		of("datetime_diff", "tll:l", func(a []Value) Value {
			v, ok := datetimeDiff(a[0].S, a[1].I, a[2].I)
			return orNull(long, v, ok)
		}),
		of("format_datetime", "lt:t", func(a []Value) Value { v, ok := formatDatetime(a[0].I, a[1].S); return orNull(text, v, ok) }),
		of("format_timespan", "lt:t", func(a []Value) Value { v, ok := formatTimespan(a[0].I, a[1].S); return orNull(text, v, ok) }),
		of("make_datetime", "lllllr:l", func(a []Value) Value {
			if a[3].I < 0 || a[3].I > 23 || a[4].I < 0 || a[4].I > 59 || !(a[5].F >= 0 && a[5].F < 60) {
				return null
			}
			v, ok := datetime(a[0].I, a[1].I, a[2].I, a[3].I*ticksHour+a[4].I*ticksMinute+int64(math.Round(a[5].F*1e7)))
			return orNull(long, v, ok)
		}),
		of("make_timespan", "lllr:l", func(a []Value) Value {
			if a[0].I < 0 || a[0].I > 1e7 || a[1].I < 0 || a[1].I > 23 || a[2].I < 0 || a[2].I > 59 || !(a[3].F >= 0 && a[3].F < 60) {
				return null
			}
			return long(a[0].I*ticksDay + a[1].I*ticksHour + a[2].I*ticksMinute + int64(math.Round(a[3].F*1e7)))
		}),
	}
}

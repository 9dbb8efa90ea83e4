package kql

import (
	"math"
	"math/bits"
	"strings"

	"github.com/otus-project/otus/kql/function"
	"github.com/otus-project/otus/kql/native"
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/kql/sqlgen"
)

func (b *binder) binary(e *binaryExpr, filter bool) value {
	switch e.Op {
	case "and", "or":
		l, r := b.condition(e.L, filter), b.condition(e.R, filter)
		if l.Type == schema.Unknown || r.Type == schema.Unknown {
			return computed(schema.Bool, function.Nothing, true)
		}
		return computed(schema.Bool, b.d.Op(e.Op, l.Expr, r.Expr), l.Null || r.Null)
	case "==", "!=", "<", ">", "<=", ">=":
		if s, ok := e.L.(*starExpr); ok {
			return b.anyColumn(e, s.Span, filter)
		}
		return b.compare(e, b.scalar(e.L), b.scalar(e.R), filter)
	case "+", "-", "*", "/", "%":
		return b.arithmetic(e, b.scalar(e.L), b.scalar(e.R))
	}
	if s, ok := e.L.(*starExpr); ok {
		return b.anyColumn(e, s.Span, filter)
	}
	return b.stringOperation(e, b.scalar(e.L), b.scalar(e.R), filter)
}

// anyColumn binds "* has x": the comparison of some column.
func (b *binder) anyColumn(e *binaryExpr, at Span, filter bool) value {
	if b.row == nil {
		b.fail(CodeSyntax, at, "", "* cannot stand here")
		return unknown()
	}
	right := b.scalar(e.R)
	if e.Op[0] == '!' { // none of the columns: the opposite of some
		positive := *e
		positive.Op = map[bool]string{true: "==", false: e.Op[1:]}[e.Op == "!="]
		if positive.Op == "~" {
			positive.Op = "=~"
		}
		v := b.anyColumn(&positive, at, false)
		return computed(schema.Bool, b.d.Op("not", v.Expr), v.Null)
	}
	var all value
	for i := range b.row.columns {
		c := b.columnValue(b.row, i)
		switch {
		case e.Op == "==" || e.Op == "!=":
			if c.Type != right.Type && !(isNumeric(c.Type) && isNumeric(right.Type)) {
				continue
			}
		case c.Type != schema.String && c.Type != schema.Dynamic:
			c = computed(schema.String, b.as(c, schema.String, at), false)
		}
		var one value
		if e.Op == "==" || e.Op == "!=" || e.Op == "<" || e.Op == ">" || e.Op == "<=" || e.Op == ">=" {
			one = b.compare(e, c, right, filter)
		} else {
			one = b.stringOperation(e, c, right, filter)
		}
		if all.Expr == nil {
			all = one
		} else {
			all = computed(schema.Bool, b.d.Op("or", all.Expr, one.Expr), all.Null || one.Null)
		}
	}
	if all.Expr == nil {
		return constant(schema.Bool, false)
	}
	return all
}

func (b *binder) noOperator(e *binaryExpr, l, r value) value {
	b.fail(CodeType, e.OpAt, "", "%s does not go between a %s and a %s", e.Op, l.Type, r.Type)
	return unknown()
}

var comparisons = map[string]string{"==": "eq", "!=": "ne", "<": "lt", ">": "gt", "<=": "le", ">=": "ge"}

// compare binds == and its kin. A comparison with null is false, of != true; in a filter SQL's null does as well
// as false.
func (b *binder) compare(e *binaryExpr, l, r value, filter bool) value {
	bad := computed(schema.Bool, function.Nothing, true)
	if l.Type == schema.Unknown || r.Type == schema.Unknown {
		return bad
	}
	equality := e.Op == "==" || e.Op == "!="
	t := l.Type
	switch {
	case l.Type == r.Type:
		if t == schema.Dynamic {
			b.refuse(e.Span, "the comparison of two dynamic values (convert one, for example by tostring())")
			return bad
		}
		if !equality && (t == schema.GUID || t == schema.String) {
			return b.noOrder(e, l, r)
		}
	case isNumeric(l.Type) && isNumeric(r.Type):
		t = widest(l.Type, r.Type)
	case l.Type == schema.Dynamic:
		t = r.Type
	case r.Type == schema.Dynamic:
		t = l.Type
	case l.Type == schema.Bool && isInteger(r.Type), r.Type == schema.Bool && isInteger(l.Type):
		t = schema.Long
	case !equality:
		return b.noOrder(e, l, r)
	case l.Known && constantBeside(r.Type, l), r.Known && constantBeside(l.Type, r):
		// A number written beside a text, or a text beside a number, is read as what the column is.
		if l.Known {
			t = r.Type
		}
	default:
		b.refuse(e.Span, "the comparison of a %s and a %s (convert one of them)", l.Type, r.Type)
		return bad
	}
	if !equality && t == schema.String {
		return b.noOrder(e, l, r)
	}
	x, y := b.as(l, t, e.Span), b.as(r, t, e.Span)
	null := (l.Null || l.Type != t) || (r.Null || r.Type != t)
	if t == schema.String {
		null = false
	}
	sql := b.comparison(e.Op, t, l, r, x, y)
	if !null {
		return computed(schema.Bool, sql, false)
	}
	if e.Op == "!=" {
		return computed(schema.Bool, b.d.Op("coalesce", sql, b.d.Op("true")), false)
	}
	if filter {
		return computed(schema.Bool, sql, true)
	}
	return computed(schema.Bool, b.d.Op("coalesce", sql, b.d.Op("false")), false)
}

// constantBeside tells whether a constant can be read as a value of a column's type, a number as a text or the other way.
func constantBeside(column schema.Type, v value) bool {
	switch c := v.Value.(type) {
	case int64:
		return column == schema.String && isInteger(v.Type)
	case string:
		if v.Type != schema.String || !isInteger(column) && column != schema.Real {
			return false
		}
		_, ok := native.ParseLong(c)
		return ok
	}
	return false
}

// noOrder: texts are compared in order by strcmp() only.
func (b *binder) noOrder(e *binaryExpr, l, r value) value {
	b.noOperator(e, l, r)
	return computed(schema.Bool, function.Nothing, true)
}

// comparison writes the SQL of a comparison of two values of one type.
func (b *binder) comparison(op string, t schema.Type, l, r value, x, y sqlgen.Expr) sqlgen.Expr {
	call := func(template string, args ...sqlgen.Expr) sqlgen.Expr {
		return sqlgen.Call{Template: template, Args: args}
	}
	switch t {
	case schema.Decimal:
		return b.d.Op(comparisons[op], call("kql_dec_cmp($1, $2)", x, y), longParam(0))
	case schema.Real:
		// Not a number compares as false, but the store holds it equal to itself and above all else.
		if isInteger(l.Type) && isInteger(r.Type) {
			break
		}
		if f, ok := constantReal(r); ok && !math.IsNaN(f) {
			infinite := sqlgen.Param{Value: math.Inf(1), Kind: sqlgen.Real}
			switch op {
			case ">":
				return b.d.Op("between", x, sqlgen.Param{Value: math.Nextafter(f, math.Inf(1)), Kind: sqlgen.Real}, infinite)
			case ">=":
				return b.d.Op("between", x, y, infinite)
			}
			return b.d.Op(comparisons[op], x, y)
		}
		switch op {
		case "==":
			return call("kql_real_eq($1, $2)", x, y)
		case "!=":
			return call("kql_real_ne($1, $2)", x, y)
		case "<":
			return call("kql_real_lt($1, $2)", x, y)
		case "<=":
			return call("kql_real_le($1, $2)", x, y)
		case ">":
			return call("kql_real_lt($1, $2)", y, x)
		}
		return call("kql_real_le($1, $2)", y, x)
	}
	return b.d.Op(comparisons[op], x, y)
}

func constantReal(v value) (float64, bool) {
	if !v.Known {
		return 0, false
	}
	switch f := v.Value.(type) {
	case float64:
		return f, true
	case int64:
		return float64(f), isInteger(v.Type)
	}
	return 0, false
}

// arithmetic binds + - * / %.
func (b *binder) arithmetic(e *binaryExpr, l, r value) value {
	if l.Type == schema.Unknown || r.Type == schema.Unknown {
		v := unknown()
		if t := arithmeticType(e.Op, l.Type, r.Type); t != schema.Unknown && (l.Type != schema.Unknown || r.Type != schema.Unknown) {
			v.Type = schema.Unknown
		}
		return v
	}
	if l.Type == schema.Dynamic && r.Type == schema.Dynamic {
		b.refuse(e.Span, "arithmetic of two dynamic values (convert them, for example by tolong())")
		return computed(schema.Dynamic, function.Nothing, true)
	}
	if l.Type == schema.Dynamic {
		l = b.fromDynamic(l, r.Type, e)
	} else if r.Type == schema.Dynamic {
		r = b.fromDynamic(r, l.Type, e)
	}
	t := arithmeticType(e.Op, l.Type, r.Type)
	if t == schema.Unknown {
		return b.noOperator(e, l, r)
	}
	if v, ok := foldArithmetic(e.Op, t, l, r); ok {
		return constant(t, v)
	}
	return b.calculate(e, t, l, r)
}

// fromDynamic reads a dynamic operand as the other operand's type; beside a time, what is added is a duration.
func (b *binder) fromDynamic(v value, other schema.Type, e *binaryExpr) value {
	t := longer(other)
	if other == schema.DateTime && e.Op == "+" {
		t = schema.Timespan
	}
	if other == schema.Timespan && (e.Op == "*" || e.Op == "/") {
		t = schema.Real
	}
	if other == schema.String || other == schema.Bool || other == schema.GUID {
		return v
	}
	return computed(t, b.as(v, t, e.Span), true)
}

// arithmeticType gives the type of a result, or Unknown where the operator is not defined.
func arithmeticType(op string, l, r schema.Type) schema.Type {
	switch {
	case isNumeric(l) && isNumeric(r):
		return longer(widest(l, r))
	case l == schema.Timespan && r == schema.Timespan:
		if op == "/" {
			return schema.Real
		}
		if op == "*" {
			return schema.Unknown
		}
		return schema.Timespan
	case op == "+" && (l == schema.DateTime && r == schema.Timespan || l == schema.Timespan && r == schema.DateTime):
		return schema.DateTime
	case op == "-" && l == schema.DateTime && r == schema.DateTime:
		return schema.Timespan
	case op == "-" && l == schema.DateTime && r == schema.Timespan:
		return schema.DateTime
	case op == "*" && (l == schema.Timespan && isNumeric(r) || isNumeric(l) && r == schema.Timespan):
		return schema.Timespan
	case op == "/" && l == schema.Timespan && isNumeric(r):
		return schema.Timespan
	case op == "/" && l == schema.DateTime && r == schema.Timespan:
		return schema.Real
	case op == "%" && l == schema.DateTime && r == schema.Timespan:
		return schema.Timespan
	}
	return schema.Unknown
}

// foldArithmetic computes with constants, so that bounds of time are plain numbers in the SQL.
func foldArithmetic(op string, t schema.Type, l, r value) (any, bool) {
	if !l.Known || !r.Known {
		return nil, false
	}
	if l.Value == nil || r.Value == nil {
		return nil, true
	}
	x, okX := l.Value.(int64)
	y, okY := r.Value.(int64)
	if okX && okY && l.Type != schema.Decimal && r.Type != schema.Decimal {
		return foldIntegers(op, t, x, y)
	}
	f, okF := l.Value.(float64)
	g, okG := r.Value.(float64)
	switch {
	case okF && okY:
		g = float64(y)
	case okX && okG:
		f = float64(x)
	case !okF || !okG:
		return nil, false
	}
	if t == schema.Decimal {
		return nil, false
	}
	v := 0.0
	switch op {
	case "+":
		v = f + g
	case "-":
		v = f - g
	case "*":
		v = f * g
	case "/":
		v = f / g
	default:
		return nil, false
	}
	if t == schema.Real {
		return v, true
	}
	if t == schema.Timespan && math.Abs(v) < 9e18 {
		return int64(v), true
	}
	return nil, false
}

func foldIntegers(op string, t schema.Type, x, y int64) (any, bool) {
	var v int64
	switch op {
	case "+":
		v = x + y
	case "-":
		v = x - y
	case "*":
		v = x * y
		if hi, _ := bits.Mul64(magnitude(x), magnitude(y)); hi != 0 && t != schema.Long {
			return nil, false
		}
	case "/":
		if t == schema.Real {
			return float64(x) / float64(y), y != 0
		}
		if y == 0 {
			return nil, true
		}
		if x == math.MinInt64 && y == -1 {
			return nil, true
		}
		v = x / y
	case "%":
		if y == 0 || y == math.MinInt64 {
			return nil, y == 0
		}
		y = int64(magnitude(y))
		v = (x%y + y) % y
	}
	if t == schema.DateTime && (v < native.MinDatetime || v > native.MaxDatetime) {
		return nil, true
	}
	return v, true
}

func magnitude(x int64) uint64 {
	if x < 0 {
		return uint64(-x)
	}
	return uint64(x)
}

// narrow tells whether a value certainly fits 32 bits, so that its sums and products fit 64.
func narrow(v value) bool {
	if v.Type == schema.Int {
		return true
	}
	n, ok := v.Value.(int64)
	return v.Known && ok && n >= -1<<31 && n < 1<<31
}

func (b *binder) calculate(e *binaryExpr, t schema.Type, l, r value) value {
	call := func(template string, args ...sqlgen.Expr) sqlgen.Expr {
		return sqlgen.Call{Template: template, Args: args}
	}
	null := l.Null || r.Null
	switch t {
	case schema.Long:
		x, y := b.as(l, t, e.Span), b.as(r, t, e.Span)
		switch e.Op {
		case "+", "-", "*":
			op := map[string]string{"+": "add", "-": "sub", "*": "mul"}[e.Op]
			if !narrow(l) || !narrow(r) {
				op += "_wrap"
			}
			return computed(t, b.d.Op(op, x, y), null)
		case "/":
			if n, ok := r.Value.(int64); ok && r.Known && n != -1 {
				return computed(t, b.d.Op("int_div_const", x, y), true)
			}
			return computed(t, b.d.Op("int_div", x, y), true)
		}
		if n, ok := r.Value.(int64); ok && r.Known && n > 0 && n < 1<<31 {
			return computed(t, b.d.Op("int_mod_const", x, y), null)
		}
		return computed(t, b.d.Op("int_mod", x, y), true)
	case schema.Real:
		if l.Type == schema.Timespan || l.Type == schema.DateTime {
			return computed(t, b.d.Op("div", b.d.Op("as_real", l.Expr), b.d.Op("as_real", r.Expr)), true)
		}
		x, y := b.as(l, t, e.Span), b.as(r, t, e.Span)
		switch e.Op {
		case "+":
			return computed(t, b.d.Op("add", x, y), null)
		case "-":
			return computed(t, b.d.Op("sub", x, y), null)
		case "*":
			return computed(t, b.d.Op("mul", x, y), null)
		case "/":
			return computed(t, b.d.Op("div", x, y), null)
		}
		return computed(t, b.d.Op("real_mod", x, y), null)
	case schema.Decimal:
		x, y := b.as(l, t, e.Span), b.as(r, t, e.Span)
		name := map[string]string{"+": "add", "-": "sub", "*": "mul", "/": "div", "%": "mod"}[e.Op]
		return computed(t, call("kql_dec_"+name+"($1, $2)", x, y), true)
	case schema.DateTime:
		time, span := l, r
		if l.Type == schema.Timespan {
			time, span = r, l
		}
		s := span.Expr
		if e.Op == "-" {
			s = b.d.Op("span_neg", s)
		}
		return computed(t, call("kql_time_add($1, $2)", time.Expr, s), true)
	}
	return b.spanArithmetic(e, l, r)
}

// spanArithmetic computes timespans; what does not fit 64 bits is null.
func (b *binder) spanArithmetic(e *binaryExpr, l, r value) value {
	t := schema.Timespan
	switch e.Op {
	case "+":
		return computed(t, b.d.Op("span_add", l.Expr, r.Expr), true)
	case "-":
		return computed(t, b.d.Op("span_sub", l.Expr, r.Expr), true)
	case "%":
		return computed(t, b.d.Op("int_mod", l.Expr, r.Expr), true)
	case "*":
		if l.Type != schema.Timespan {
			l, r = r, l
		}
		if isInteger(r.Type) {
			return computed(t, b.d.Op("span_mul", l.Expr, b.d.Op("as_long", r.Expr)), true)
		}
		return computed(t, b.d.Op("trunc_long", b.d.Op("mul", b.d.Op("as_real", l.Expr), b.as(r, schema.Real, e.Span))), true)
	}
	if isInteger(r.Type) {
		if n, ok := r.Value.(int64); ok && r.Known && n != -1 {
			return computed(t, b.d.Op("int_div_const", l.Expr, b.d.Op("as_long", r.Expr)), true)
		}
		return computed(t, b.d.Op("int_div", l.Expr, b.d.Op("as_long", r.Expr)), true)
	}
	return computed(t, b.d.Op("trunc_long", b.d.Op("div", b.d.Op("as_real", l.Expr), b.as(r, schema.Real, e.Span))), true)
}

// textOf gives a value as text for an operator on strings.
func (b *binder) textOf(v value, at Span) (sqlgen.Expr, bool) {
	switch v.Type {
	case schema.String, schema.Dynamic, schema.GUID, schema.Decimal:
		return function.Convert(b.d, v.Arg, schema.String), true
	}
	b.fail(CodeType, at, "convert it by tostring()", "a text is expected here, not a %s", v.Type)
	return function.Nothing, false
}

// stringOperation binds has, contains, =~ and their kin.
func (b *binder) stringOperation(e *binaryExpr, l, r value, filter bool) value {
	result := func(sql sqlgen.Expr) value { return computed(schema.Bool, sql, false) }
	if l.Type == schema.Unknown || r.Type == schema.Unknown {
		return result(function.Nothing)
	}
	op, not := e.Op, false
	if op[0] == '!' {
		op, not = op[1:], true
		if op == "~" {
			op = "=~"
		}
	}
	op, not = oldSpelling(op, not)
	x, ok := b.textOf(l, e.L.span())
	if !ok {
		return result(function.Nothing)
	}
	y, ok := b.textOf(r, e.R.span())
	if !ok {
		return result(function.Nothing)
	}
	var sql sqlgen.Expr
	if op == "matches regex" {
		sql = b.matches(e, x, y, r)
	} else {
		sql = b.textMatch(op, x, y, r)
	}
	if sql == nil {
		b.refuse(e.OpAt, "the operator %s", e.Op)
		sql = function.Nothing
	}
	if not {
		sql = b.d.Op("not", sql)
	}
	return result(sql)
}

func oldSpelling(op string, not bool) (string, bool) {
	switch op {
	case "notcontains":
		return "contains", true
	case "notcontainscs":
		return "contains_cs", true
	case "containscs":
		return "contains_cs", not
	case ":":
		return "has", not
	}
	return op, not
}

func (b *binder) lower(e sqlgen.Expr) sqlgen.Expr {
	if p, ok := e.(sqlgen.Param); ok {
		if s, ok := p.Value.(string); ok && isASCII(s) {
			return text(strings.ToLower(s))
		}
	}
	return b.d.Op("lower", e)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// textMatch writes an operator on two texts; nil if it is not supported.
func (b *binder) textMatch(op string, x, y sqlgen.Expr, right value) sqlgen.Expr {
	sensitive := strings.HasSuffix(op, "_cs")
	base := strings.TrimSuffix(op, "_cs")
	fold := func(e sqlgen.Expr) sqlgen.Expr {
		if sensitive {
			return e
		}
		return b.lower(e)
	}
	switch base {
	case "=~":
		return b.d.Op("eq", b.lower(x), b.lower(y))
	case "contains":
		return b.d.Op("contains", fold(x), fold(y))
	case "startswith":
		return b.d.Op("starts_with", fold(x), fold(y))
	case "endswith":
		return b.d.Op("ends_with", fold(x), fold(y))
	case "has", "hasprefix", "hassuffix":
		term, known := right.Value.(string)
		if right.Known && known && term == "" {
			return b.d.Op("true")
		}
		if column, plain := x.(sqlgen.Column); plain && right.Known && known {
			return b.hasTerm(column, term, sensitive, base != "hassuffix", base != "hasprefix")
		}
		flag := b.d.Op("false")
		if sensitive {
			flag = b.d.Op("true")
		}
		return sqlgen.Call{Template: "kql_" + base + "($1, $2, $3)", Args: []sqlgen.Expr{x, y, flag}}
	}
	return nil
}

// hasTerm looks for a constant term in a column: a cheap search first, then a pattern with the boundaries. An end of
// the term that is no letter or digit needs none.
func (b *binder) hasTerm(x sqlgen.Expr, term string, sensitive, left, right bool) sqlgen.Expr {
	if !sensitive {
		if !isASCII(term) {
			return sqlgen.Call{Template: "kql_" + map[[2]bool]string{{true, true}: "has", {true, false}: "hasprefix", {false, true}: "hassuffix"}[[2]bool{left, right}] + "($1, $2, FALSE)", Args: []sqlgen.Expr{x, text(term)}}
		}
		x, term = b.d.Op("lower", x), strings.ToLower(term)
	}
	contains := b.d.Op("contains", x, text(term))
	pattern := termPattern(term, left, right)
	if pattern == term {
		return contains
	}
	return b.d.Op("and", contains, b.d.Op("regex", x, text(pattern)))
}

func termPattern(term string, left, right bool) string {
	pattern := quoteRegex(term)
	if left && alphanumericAt(term, true) {
		pattern = `(?:^|[^\p{L}\p{N}])` + pattern
	}
	if right && alphanumericAt(term, false) {
		pattern += `(?:$|[^\p{L}\p{N}])`
	}
	return pattern
}

// matches binds "matches regex": constant patterns are checked here.
func (b *binder) matches(e *binaryExpr, x, y sqlgen.Expr, right value) sqlgen.Expr {
	pattern, ok := right.Value.(string)
	if !right.Known || !ok {
		return sqlgen.Call{Template: "coalesce(kql_matches($1, $2), FALSE)", Args: []sqlgen.Expr{x, y}}
	}
	if _, err := native.Regexp(pattern); err != nil {
		b.fail(CodeLiteral, e.R.span(), "", "the regular expression is not valid: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		return function.Nothing
	}
	return b.d.Op("regex", x, text(native.UnicodeClasses(pattern)))
}

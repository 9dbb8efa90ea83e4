package kql

import (
	"fmt"
	"math"
	"strings"

	"github.com/otus-project/otus/kql/function"
	"github.com/otus-project/otus/kql/native"
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/kql/sqlgen"
)

// value is a bound expression.
type value struct {
	function.Arg
	// tuple holds the parts of an expression that fills several columns.
	tuple []column
}

func unknown() value { return value{Arg: function.Arg{Expr: function.Nothing, Null: true}} }

func constant(t schema.Type, v any) value {
	a := function.Arg{Expr: function.Constant(t, v), Type: t, Known: true, Value: v}
	a.Null = v == nil && t != schema.String
	if v == nil && t == schema.String {
		a.Value = ""
	}
	return value{Arg: a}
}

func computed(t schema.Type, e sqlgen.Expr, null bool) value {
	return value{Arg: function.Arg{Expr: e, Type: t, Null: null}}
}

// scalar binds an expression whose value is wanted.
func (b *binder) scalar(e Expr) value { return b.expr(e, false) }

// expr binds an expression. In a filter, null counts as false, so that comparisons need not say so themselves.
func (b *binder) expr(e Expr, filter bool) value {
	b.depth++
	defer func() { b.depth-- }()
	if b.depth > 4*maxDepth {
		b.fail(CodeLimit, e.span(), "", "the expression nests deeper than %d levels", 4*maxDepth)
		return unknown()
	}
	switch e := e.(type) {
	case nameExpr:
		return b.name(e)
	case *literalExpr:
		v := e.Value
		if j, ok := v.(jsonText); ok {
			v = string(j)
		}
		return constant(e.Type, v)
	case *pathExpr:
		return b.path(e)
	case *indexExpr:
		return b.element(e)
	case *callExpr:
		return b.call(e)
	case *unaryExpr:
		return b.unary(e)
	case *binaryExpr:
		return b.binary(e, filter)
	case *inExpr:
		return b.in(e, filter)
	case *betweenExpr:
		return b.between(e, filter)
	case *typeExpr:
		v := unknown()
		v.Literal = e.Type
		return v
	case *pipeExpr:
		// A table in the place of a value: its one column of its one row.
		b.fail(CodeType, e.Span, "put toscalar() around it", "a table stands where a value is expected")
		return unknown()
	case *starExpr, *wildcardExpr:
		b.fail(CodeSyntax, e.span(), "", "* cannot stand here")
		return unknown()
	case *functionExpr:
		b.fail(CodeSyntax, e.span(), "", "a function cannot stand here")
		return unknown()
	}
	return unknown()
}

func (b *binder) name(e nameExpr) value {
	if b.right != nil {
		if e.Name == "$left" || e.Name == "$right" {
			b.fail(CodeSyntax, e.Span, "", "%s needs a column after it", e.Name)
			return unknown()
		}
	}
	if b.row != nil {
		if i := b.row.index(e.Name); i >= 0 {
			v := b.columnValue(b.row, i)
			v.Name = e.Name
			return v
		}
	}
	if v := b.scope.find(e.Name); v != nil {
		if v.value != nil {
			result := *v.value
			result.Name = e.Name
			return result
		}
		if v.function != nil && len(v.function.Params) == 0 {
			result, rel := b.invoke(e, v, nil)
			if rel == nil {
				return result
			}
		}
		b.fail(CodeType, e.Span, "put toscalar() around it", "%q is a table, not a value", e.Name)
		return unknown()
	}
	if b.row != nil && b.row.open {
		return b.openColumn(e.Name)
	}
	candidates := b.scope.all(func(v *variable) bool { return v.value != nil })
	what := "column or variable"
	if b.row != nil {
		candidates = append(b.row.names(), candidates...)
	}
	if function.Find(e.Name, false) != nil || function.Find(e.Name, true) != nil {
		b.fail(CodeName, e.Span, fmt.Sprintf("a function is called with parentheses: %s()", e.Name), "there is no %s %q", what, e.Name)
		return unknown()
	}
	b.fail(CodeName, e.Span, didYouMean(e.Name, candidates), "there is no %s %q", what, e.Name)
	v := unknown()
	v.Name = e.Name
	return v
}

// openColumn refers to a column that only the data can tell of. A column of a watchlist is a member of its item.
func (b *binder) openColumn(name string) value {
	c := column{name: name, expr: function.Nothing, null: true}
	if b.row.items != "" {
		item := computed(schema.Dynamic, sqlgen.Column(b.row.items), true)
		c.typ, c.null = schema.String, false
		c.expr = function.Convert(b.d, b.member(item, name).Arg, schema.String)
	}
	b.row.columns = append(b.row.columns, c)
	return named(b.columnValue(b.row, len(b.row.columns)-1), name)
}

// columnValue refers to a column of a relation; a computed one is first closed into a subquery.
func (b *binder) columnValue(r *relation, i int) value {
	c := &r.columns[i]
	if c.value != nil {
		return value{Arg: *c.value}
	}
	if _, ok := c.plain(); !ok {
		b.wrap(r)
		c = &r.columns[i]
	}
	v := computed(c.typ, c.expr, c.null)
	if c.raw != "" {
		v.Raw = sqlgen.Column(c.raw)
	}
	return v
}

// path binds a.b: a member of a dynamic value.
func (b *binder) path(e *pathExpr) value {
	if n, ok := e.X.(nameExpr); ok && (n.Name == "$left" || n.Name == "$right") && b.right != nil {
		side := b.row
		if n.Name == "$right" {
			side = b.right
		}
		i := side.index(e.Name.Name)
		if i < 0 {
			if !side.open {
				b.fail(CodeName, e.Name.Span, didYouMean(e.Name.Name, side.names()), "the %s side has no column %q", n.Name[1:], e.Name.Name)
			}
			return unknown()
		}
		return b.columnValue(side, i)
	}
	x := b.scalar(e.X)
	name := e.Name.Name
	if x.Type == schema.Unknown {
		return named(unknown(), joinName(x.Name, name))
	}
	if x.Type != schema.Dynamic {
		b.fail(CodeType, e.Name.Span, "only dynamic values have members; parse_json() makes one of text", "a %s has no member %q", x.Type, name)
		return unknown()
	}
	return named(b.member(x, name), joinName(x.Name, name))
}

func named(v value, name string) value {
	v.Name = name
	return v
}

func joinName(left, right string) string {
	if left == "" {
		return right
	}
	return left + "_" + right
}

// member reads a key of a dynamic value.
func (b *binder) member(x value, key string) value {
	if strings.ContainsAny(key, "\"\\") || key == "" {
		return computed(schema.Dynamic, sqlgen.Call{Template: "kql_get_key($1, $2)", Args: []sqlgen.Expr{x.Expr, text(key)}}, true)
	}
	return b.read(x, `."`+key+`"`)
}

// read extends the path into JSON text, so that a chain of members costs one call.
func (b *binder) read(x value, step string) value {
	base, path, op := x.Expr, "$", "json_get"
	unchecked := false
	switch {
	case x.Base != nil:
		base, path, unchecked = x.Base, x.Path, x.Unchecked
	case x.Raw != nil:
		base, unchecked = x.Raw, true
	}
	if unchecked {
		op = "json_get_checked"
	}
	path += step
	v := computed(schema.Dynamic, b.d.Op(op, base, text(path)), true)
	v.Base, v.Path, v.Unchecked = base, path, unchecked
	return v
}

func text(s string) sqlgen.Expr { return sqlgen.Param{Value: s, Kind: sqlgen.Text} }

func longParam(i int64) sqlgen.Expr { return sqlgen.Param{Value: i, Kind: sqlgen.Long} }

// element binds a[i] and a["key"].
func (b *binder) element(e *indexExpr) value {
	x := b.scalar(e.X)
	i := b.scalar(e.Index)
	name := x.Name + "_"
	if i.Known {
		switch v := i.Value.(type) {
		case string:
			name += v
		case int64:
			if v >= 0 {
				name += native.FormatLong(v)
			}
		}
	}
	if x.Type == schema.Unknown || i.Type == schema.Unknown {
		return named(unknown(), name)
	}
	if x.Type != schema.Dynamic {
		b.fail(CodeType, e.X.span(), "only dynamic values have elements; parse_json() makes one of text", "a %s has no elements", x.Type)
		return unknown()
	}
	switch i.Type {
	case schema.String:
		if key, ok := i.Value.(string); ok && i.Known {
			return named(b.member(x, key), name)
		}
		return named(computed(schema.Dynamic, sqlgen.Call{Template: "kql_get_key($1, $2)", Args: []sqlgen.Expr{x.Expr, i.Expr}}, true), name)
	case schema.Dynamic:
		key := function.Convert(b.d, i.Arg, schema.String)
		return named(computed(schema.Dynamic, sqlgen.Call{Template: "kql_get_key($1, $2)", Args: []sqlgen.Expr{x.Expr, key}}, true), name)
	case schema.Int, schema.Long:
		if n, ok := i.Value.(int64); ok && i.Known {
			if n < 0 { // counted from the end
				return named(b.read(x, "[#"+native.FormatLong(n)+"]"), name)
			}
			return named(b.read(x, "["+native.FormatLong(n)+"]"), name)
		}
		return named(computed(schema.Dynamic, sqlgen.Call{Template: "kql_get_index($1, $2)", Args: []sqlgen.Expr{x.Expr, b.d.Op("as_long", i.Expr)}}, true), name)
	}
	b.fail(CodeType, e.Index.span(), "", "an element is chosen by a number or a text, not a %s", i.Type)
	return unknown()
}

func (b *binder) unary(e *unaryExpr) value {
	x := b.scalar(e.X)
	if x.Type == schema.Unknown {
		return unknown()
	}
	if e.Op == "+" {
		return x
	}
	if x.Known {
		switch v := x.Value.(type) {
		case int64:
			if v != math.MinInt64 && x.Type != schema.DateTime {
				return constant(longer(x.Type), -v)
			}
		case float64:
			return constant(x.Type, -v)
		}
	}
	switch x.Type {
	case schema.Int, schema.Long:
		return computed(schema.Long, b.d.Op("neg_wrap", x.Expr), x.Null)
	case schema.Real:
		return computed(x.Type, b.d.Op("neg", x.Expr), x.Null)
	case schema.Timespan:
		return computed(x.Type, b.d.Op("span_neg", x.Expr), true)
	case schema.Decimal:
		return computed(x.Type, sqlgen.Call{Template: "kql_dec_neg($1)", Args: []sqlgen.Expr{x.Expr}}, x.Null)
	case schema.Dynamic:
		b.refuse(e.Span, "the sign of a dynamic value (convert it first, for example by tolong())")
		return computed(schema.Dynamic, function.Nothing, true)
	}
	b.fail(CodeType, e.Span, "", "a %s has no sign", x.Type)
	return unknown()
}

// longer is the type of arithmetic with a value of type t: an int counts as a long.
func longer(t schema.Type) schema.Type {
	if t == schema.Int {
		return schema.Long
	}
	return t
}

// convertTo gives a value as another type where that needs no function call in the query: wider numbers, dynamic
// values, constants.
func (b *binder) convertTo(v value, t schema.Type, at Span) value {
	if v.Type == t || v.Type == schema.Unknown || t == schema.Unknown {
		return v
	}
	if v.Known {
		switch x := v.Value.(type) {
		case nil:
			return constant(t, nil)
		case int64:
			switch {
			case t == schema.Real && isInteger(v.Type):
				return constant(t, float64(x))
			case isInteger(t) && isInteger(v.Type):
				return constant(t, x)
			}
		}
	}
	allowed := v.Type == schema.Dynamic || t == schema.Dynamic || isNumeric(v.Type) && isNumeric(t)
	if !allowed {
		b.fail(CodeType, at, fmt.Sprintf("convert it by to%s()", t), "a %s is expected here, not a %s", t, v.Type)
		return value{Arg: function.Arg{Expr: function.Nothing, Type: t, Null: true}}
	}
	e := function.Convert(b.d, v.Arg, t)
	if e == nil {
		b.refuse(at, "a %s in the place of a %s", v.Type, t)
		e = function.Nothing
	}
	c := computed(t, e, t != schema.String)
	c.Name = v.Name
	return c
}

func isInteger(t schema.Type) bool { return t == schema.Int || t == schema.Long }

func isNumeric(t schema.Type) bool {
	return t == schema.Int || t == schema.Long || t == schema.Real || t == schema.Decimal
}

// widest is the numeric type that holds both.
func widest(a, c schema.Type) schema.Type {
	if a < c { // the types are declared from narrow to wide
		return c
	}
	return a
}

// as gives the SQL of a value as type t; what cannot be is refused.
func (b *binder) as(v value, t schema.Type, at Span) sqlgen.Expr {
	e := function.Convert(b.d, v.Arg, t)
	if e == nil {
		b.refuse(at, "a %s in the place of a %s", v.Type, t)
		return function.Nothing
	}
	return e
}

// condition binds an expression that must be true or false.
func (b *binder) condition(e Expr, filter bool) value {
	v := b.expr(e, filter)
	switch v.Type {
	case schema.Bool, schema.Unknown:
		return v
	case schema.Dynamic, schema.Int, schema.Long:
		return computed(schema.Bool, b.as(v, schema.Bool, e.span()), true)
	}
	b.fail(CodeType, e.span(), "", "a condition is expected here, not a %s", v.Type)
	return unknown()
}

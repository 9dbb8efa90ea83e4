package kql

import (
	"encoding/json"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/otus-project/otus/kql/function"
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/kql/sqlgen"
)

func quoteRegex(s string) string { return regexp.QuoteMeta(s) }

func alphanumericAt(s string, first bool) bool {
	r, _ := utf8.DecodeRuneInString(s)
	if !first {
		r, _ = utf8.DecodeLastRuneInString(s)
	}
	return unicode.IsLetter(r) || unicode.IsNumber(r)
}

// in binds in, has_any, has_all and their kin: a value and a list of values, an array, or a table's first column.
func (b *binder) in(e *inExpr, filter bool) value {
	op, not := strings.TrimSuffix(e.Op, "~"), false
	fold := strings.HasSuffix(e.Op, "~")
	if op[0] == '!' {
		op, not = op[1:], true
	}
	if s, ok := e.X.(*starExpr); ok {
		b.refuse(s.Span, "* before %s", e.Op)
		return computed(schema.Bool, function.Nothing, false)
	}
	x := b.scalar(e.X)
	var sql sqlgen.Expr
	if len(e.List) == 1 {
		if rel := b.listTable(e.List[0]); rel != nil {
			sql = b.inTable(e, op, fold, x, rel)
			return b.inResult(sql, not, filter)
		}
	}
	values, array := b.listValues(e.List)
	if x.Type == schema.Unknown {
		return computed(schema.Bool, function.Nothing, false)
	}
	for _, v := range values {
		if v.Type == schema.Unknown {
			return computed(schema.Bool, function.Nothing, false)
		}
	}
	switch {
	case op == "in" && array != nil:
		sql = b.inArray(e, fold, x, *array)
	case op == "in":
		sql = b.inValues(e, fold, x, values)
	default:
		sql = b.hasMany(e, op, x, values, array)
	}
	return b.inResult(sql, not, filter)
}

// inResult: null is in no list.
func (b *binder) inResult(sql sqlgen.Expr, not, filter bool) value {
	if not {
		return computed(schema.Bool, b.d.Op("not", b.d.Op("coalesce", sql, b.d.Op("false"))), false)
	}
	if filter {
		return computed(schema.Bool, sql, true)
	}
	return computed(schema.Bool, b.d.Op("coalesce", sql, b.d.Op("false")), false)
}

// listTable binds a list that is a table, if it is one.
func (b *binder) listTable(e Expr) *relation {
	switch e := e.(type) {
	case nameExpr:
		if b.row != nil && b.row.has(e.Name) {
			return nil
		}
		if v := b.scope.find(e.Name); v != nil && v.value != nil {
			return nil
		}
	case *pipeExpr, *pathExpr:
	case *callExpr:
		if v := b.scope.find(e.Name.Name); v == nil && e.Name.Name != "materialize" && e.Name.Name != "table" && !strings.HasPrefix(e.Name.Name, "_Get") {
			return nil
		}
	default:
		return nil
	}
	if p, ok := e.(*pathExpr); ok && !b.isTablePath(p) {
		return nil
	}
	row := b.row
	var rel *relation
	switch e := e.(type) {
	case nameExpr:
		rel = b.tableNamed(e, false)
	default:
		b.row = nil
		_, rel = b.any(e)
	}
	b.row = row
	if rel != nil && rel.scalar {
		return nil
	}
	return rel
}

// listValues binds the values of a list. One dynamic value is an array; a constant one is taken apart.
func (b *binder) listValues(list []Expr) (values []value, array *value) {
	for _, e := range list {
		v := b.scalar(e)
		if v.Type != schema.Dynamic {
			values = append(values, v)
			continue
		}
		if !v.Known {
			if len(list) == 1 {
				return nil, &v
			}
			values = append(values, v)
			continue
		}
		values = append(values, elements(v)...)
	}
	return values, nil
}

// elements takes a constant array apart into constants.
func elements(v value) []value {
	s, _ := v.Value.(string)
	if s == "" {
		return nil
	}
	decoder := json.NewDecoder(strings.NewReader(s))
	decoder.UseNumber()
	var raw any
	if decoder.Decode(&raw) != nil {
		return nil
	}
	list, ok := raw.([]any)
	if !ok {
		list = []any{raw}
	}
	var out []value
	for _, item := range list {
		switch item := item.(type) {
		case string:
			out = append(out, constant(schema.String, item))
		case bool:
			out = append(out, constant(schema.Bool, item))
		case json.Number:
			if i, err := item.Int64(); err == nil {
				out = append(out, constant(schema.Long, i))
			} else if f, err := item.Float64(); err == nil {
				out = append(out, constant(schema.Real, f))
			}
		case nil:
		default:
			text, _ := json.Marshal(item)
			out = append(out, constant(schema.String, string(text)))
		}
	}
	return out
}

// inValues writes x in (a, b, ...) over values of one type.
func (b *binder) inValues(e *inExpr, fold bool, x value, values []value) sqlgen.Expr {
	t := x.Type
	if t == schema.Dynamic || fold {
		t = schema.String
		for i, v := range values {
			if i == 0 && !fold && v.Type != schema.Dynamic {
				t = v.Type
			}
		}
	}
	for _, v := range values {
		if isNumeric(t) && isNumeric(v.Type) {
			t = widest(t, v.Type)
		}
	}
	subject := b.as(x, t, e.X.span())
	if t == schema.Decimal {
		b.refuse(e.Span, "%s with decimals", e.Op)
	}
	var list []sqlgen.Expr
	for _, v := range values {
		if v.Known && v.Value == nil && t != schema.String {
			continue
		}
		if v.Type != t && v.Type != schema.Dynamic && !(isNumeric(v.Type) && isNumeric(t)) {
			if v.Known && constantBeside(t, v) {
				list = append(list, b.as(v, t, e.Span))
				continue
			}
			b.refuse(e.Span, "%s with a %s and a %s", e.Op, t, v.Type)
			return function.Nothing
		}
		item := b.as(v, t, e.Span)
		if fold {
			item = b.lower(item)
		}
		list = append(list, item)
	}
	if fold {
		subject = b.lower(subject)
	}
	if len(list) == 0 {
		return b.d.Op("false")
	}
	return b.d.Op("in", subject, b.d.Op("list", list...))
}

// inArray looks a value up in an array that is known only row by row.
func (b *binder) inArray(e *inExpr, fold bool, x, array value) sqlgen.Expr {
	list := array.Expr
	element := function.JSON(b.d, x.Arg)
	if fold {
		element, list = b.lower(element), b.lower(list)
	}
	return sqlgen.Call{Template: "kql_set_has_element($1, $2)", Args: []sqlgen.Expr{list, element}}
}

// inTable looks a value up in the first column of a table.
func (b *binder) inTable(e *inExpr, op string, fold bool, x value, rel *relation) sqlgen.Expr {
	b.rowLocal = false
	if len(rel.columns) == 0 {
		return function.Nothing
	}
	c := b.columnValue(rel, 0)
	if x.Type == schema.Unknown || c.Type == schema.Unknown {
		return function.Nothing
	}
	if op != "in" {
		rel.columns = []column{{name: "value", typ: schema.String, expr: function.JSON(b.d, computed(schema.String, b.as(c, schema.String, e.Span), false).Arg)}}
		s := b.selection(rel)
		s.Items[0].Expr = sqlgen.Call{Template: "concat('[', string_agg($1, ','), ']')", Args: []sqlgen.Expr{s.Items[0].Expr}}
		s.Items = s.Items[:1]
		return sqlgen.Call{Template: "kql_" + op + "($1, $2)", Args: []sqlgen.Expr{b.as(x, schema.String, e.X.span()), sqlgen.Scalar{Query: s}}}
	}
	t := x.Type
	switch {
	case fold:
		t = schema.String
	case t == schema.Dynamic:
		t = c.Type
	case isNumeric(t) && isNumeric(c.Type):
		t = widest(t, c.Type)
	case t != c.Type && c.Type != schema.Dynamic:
		b.refuse(e.Span, "%s with a %s and a column of type %s", e.Op, t, c.Type)
		return function.Nothing
	}
	item, subject := b.as(c, t, e.Span), b.as(x, t, e.X.span())
	if fold {
		item, subject = b.lower(item), b.lower(subject)
	}
	s := &sqlgen.Select{Items: []sqlgen.Item{{Expr: item, Alias: b.fresh("value")}}, From: rel.from, Where: rel.where}
	if t != schema.String {
		s.Where = append(append([]sqlgen.Expr(nil), s.Where...), b.d.Op("is_not_null", item))
	}
	return sqlgen.In{X: subject, Query: s}
}

// hasMany writes has_any and has_all. One alternation over all terms is the cheap search, one with the boundaries
// the answer.
func (b *binder) hasMany(e *inExpr, op string, x value, values []value, array *value) sqlgen.Expr {
	subject, ok := b.textOf(x, e.X.span())
	if !ok {
		return function.Nothing
	}
	call := "kql_" + op + "($1, $2)"
	if array != nil {
		return sqlgen.Call{Template: call, Args: []sqlgen.Expr{subject, array.Expr}}
	}
	var terms []string
	var parts []sqlgen.Expr
	ascii := true
	for _, v := range values {
		s := function.Convert(b.d, v.Arg, schema.String)
		parts = append(parts, function.JSON(b.d, computed(schema.String, s, false).Arg))
		if t, ok := v.Value.(string); ok && v.Known && v.Type == schema.String {
			ascii = ascii && isASCII(t) && t != ""
			terms = append(terms, strings.ToLower(t))
		}
	}
	if column, plain := subject.(sqlgen.Column); plain && len(terms) == len(values) && ascii && op == "has_any" && len(terms) > 0 {
		x := b.d.Op("lower", column)
		var quick, exact []string
		for _, t := range terms {
			quick = append(quick, quoteRegex(t))
			exact = append(exact, termPattern(t, true, true))
		}
		return b.d.Op("and", b.d.Op("regex", x, text(strings.Join(quick, "|"))), b.d.Op("regex", x, text(strings.Join(exact, "|"))))
	}
	return sqlgen.Call{Template: call, Args: []sqlgen.Expr{subject, b.textList(values, parts)}}
}

// textList gives texts as a JSON array; constants become one parameter.
func (b *binder) textList(values []value, parts []sqlgen.Expr) sqlgen.Expr {
	var list []string
	for _, p := range parts {
		c, ok := p.(sqlgen.Param)
		if !ok {
			return function.List(parts)
		}
		s, _ := c.Value.(string)
		list = append(list, s)
	}
	return text("[" + strings.Join(list, ",") + "]")
}

// between binds x between (low .. high); beside a time, high may be a duration from low.
func (b *binder) between(e *betweenExpr, filter bool) value {
	x, low, high := b.scalar(e.X), b.scalar(e.Low), b.scalar(e.High)
	bad := computed(schema.Bool, function.Nothing, false)
	if x.Type == schema.Unknown || low.Type == schema.Unknown || high.Type == schema.Unknown {
		return bad
	}
	t := x.Type
	if t == schema.Dynamic {
		t = low.Type
	}
	switch {
	case t == schema.DateTime && low.Type == schema.DateTime && high.Type == schema.Timespan:
		plus := &binaryExpr{Span: e.Span, Op: "+", OpAt: e.Span}
		high = b.arithmetic(plus, low, high)
	case isNumeric(t):
		for _, v := range []value{low, high} {
			if isNumeric(v.Type) {
				t = widest(t, v.Type)
			} else if v.Type != schema.Dynamic {
				b.fail(CodeType, e.Span, "", "between does not go with a %s and a %s", t, v.Type)
				return bad
			}
		}
	case t != low.Type && low.Type != schema.Dynamic || t != high.Type && high.Type != schema.Dynamic || t == schema.String || t == schema.Dynamic || t == schema.Bool:
		b.fail(CodeType, e.Span, "", "between does not go with a %s, a %s and a %s", x.Type, low.Type, high.Type)
		return bad
	}
	if t == schema.Decimal {
		b.refuse(e.Span, "between with decimals")
		return bad
	}
	sql := b.d.Op("between", b.as(x, t, e.Span), b.as(low, t, e.Span), b.as(high, t, e.Span))
	return b.inResult(sql, e.Not, filter)
}

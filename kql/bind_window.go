package kql

import (
	"github.com/otus-project/otus/kql/function"
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/kql/sqlgen"
)

// window binds the functions over a row's neighbours. They need rows in an order.
func (b *binder) window(e *callExpr, f *function.Function) value {
	if b.row == nil {
		b.fail(CodeSyntax, e.Span, "", "%s() needs rows", f.Name)
		return unknown()
	}
	if !b.row.serialized {
		b.fail(CodeType, e.Span, "sort the rows first, or put serialize before it", "%s() needs rows in an order", f.Name)
	}
	values := b.arguments(e)
	sig, ok := b.overload(e, f, values)
	result := schema.Unknown
	if ok {
		result = b.resultType(sig, values, e)
	}
	nothing := value{Arg: function.Arg{Expr: function.Nothing, Type: result, Null: true}}
	if !ok {
		return nothing
	}
	for _, v := range values {
		if v.Type == schema.Unknown {
			return nothing
		}
	}
	b.windows = true
	b.rowLocal = false
	b.settleOrder()
	w := windowCall{b: b, e: e, result: result, values: values}
	switch f.Built {
	case "row_number":
		return w.rowNumber()
	case "prev", "next":
		return w.neighbour(f.Built)
	case "row_cumsum":
		return w.cumulate()
	case "row_rank_dense", "row_rank_min":
		return w.rank(f.Built == "row_rank_dense")
	}
	b.refuse(e.Span, "%s()", f.Name)
	return nothing
}

// settleOrder numbers the rows once, so that all windows see equal rows in the same order. Earlier references stay
// valid: names of columns survive a wrap.
func (b *binder) settleOrder() {
	r := b.row
	if len(r.order) == 1 && r.order[0].NullsFirst && !r.order[0].Desc {
		if _, ok := r.order[0].Expr.(sqlgen.Column); ok && b.aliases["#"+string(r.order[0].Expr.(sqlgen.Column))] == 1 {
			return
		}
	}
	s := b.selection(r)
	alias := b.fresh("row_order")
	s.Items = append(s.Items, sqlgen.Item{Expr: sqlgen.Ordered{Call: sqlgen.Call{Template: "row_number() OVER ($o)"}, Keys: r.order}, Alias: alias})
	r.from, r.where = s, nil
	r.order = []sqlgen.Order{{Expr: sqlgen.Column(alias), NullsFirst: true}}
	b.aliases["#"+alias] = 1 // remembers that the column numbers rows
}

type windowCall struct {
	b      *binder
	e      *callExpr
	result schema.Type
	values []value
}

func (w windowCall) over(template string, args ...sqlgen.Expr) sqlgen.Expr {
	return sqlgen.Ordered{Call: sqlgen.Call{Template: template, Args: args}, Keys: w.b.row.order}
}

// groups gives a column that numbers the runs of rows between restarts; nil without a restart argument.
func (w windowCall) groups(restart int) sqlgen.Expr {
	if restart >= len(w.values) {
		return nil
	}
	b := w.b
	if v, ok := w.values[restart].Value.(bool); ok && w.values[restart].Known && !v {
		return nil
	}
	// The restart condition may itself hold windows: it becomes a column first.
	flag := b.addHidden("restart", sqlgen.Call{Template: "CAST(coalesce($1, FALSE) AS BIGINT)", Args: []sqlgen.Expr{b.as(w.values[restart], schema.Bool, w.e.Span)}})
	return b.addHidden("run", w.over("CAST(sum($1) OVER ($o ROWS UNBOUNDED PRECEDING) AS BIGINT)", flag))
}

// addHidden computes a column that only the SQL sees, in a subquery of its own.
func (b *binder) addHidden(name string, e sqlgen.Expr) sqlgen.Expr {
	r := b.row
	alias := b.fresh(name)
	s := b.selection(r)
	s.Items = append(s.Items, sqlgen.Item{Expr: e, Alias: alias})
	r.from, r.where = s, nil
	r.carried = append(r.carried, alias)
	return sqlgen.Column(alias)
}

func (w windowCall) rowNumber() value {
	start := int64(1)
	if len(w.values) > 0 {
		v, ok := w.values[0].Value.(int64)
		if !ok || !w.values[0].Known {
			w.b.refuse(w.e.Span, "row_number() with a start that is not a constant")
		}
		start = v
	}
	run := w.groups(1)
	var n sqlgen.Expr
	if run == nil {
		n = w.over("row_number() OVER ($o)")
	} else {
		n = w.over("row_number() OVER (PARTITION BY $1$o)", run)
	}
	n = w.b.d.Op("number", n)
	if start == 1 {
		return computed(schema.Long, n, false)
	}
	return computed(schema.Long, w.b.d.Op("add", n, longParam(start-1)), false)
}

func (w windowCall) neighbour(which string) value {
	offset := int64(1)
	if len(w.values) > 1 {
		v, ok := w.values[1].Value.(int64)
		if !ok || !w.values[1].Known || v < 0 {
			w.b.refuse(w.e.Span, "%s() with an offset that is not a constant", which)
		}
		offset = v
	}
	name := map[string]string{"prev": "lag", "next": "lead"}[which]
	missing := function.Constant(w.result, nil)
	if len(w.values) > 2 {
		if !w.values[2].Known {
			w.b.fail(CodeArguments, w.e.Args[2].Value.span(), "", "the default of %s() must be a constant", which)
		}
		missing = w.b.as(w.values[2], w.result, w.e.Span)
	}
	x := w.values[0]
	e := w.over(name+"($1, $2, $3) OVER ($o)", x.Expr, longParam(offset), missing)
	return computed(w.result, e, w.result != schema.String)
}

func (w windowCall) cumulate() value {
	run := w.groups(1)
	x := w.b.as(w.values[0], w.result, w.e.Span)
	partition := ""
	args := []sqlgen.Expr{x}
	if run != nil {
		partition = "PARTITION BY $2"
		args = append(args, run)
	}
	sum := w.over("sum($1) OVER ("+partition+"$o ROWS UNBOUNDED PRECEDING)", args...)
	if w.result == schema.Real {
		return computed(w.result, sqlgen.Call{Template: "coalesce($1, 0.0)", Args: []sqlgen.Expr{sum}}, false)
	}
	if w.result == schema.Decimal {
		w.b.refuse(w.e.Span, "row_cumsum() of a decimal")
	}
	e := sqlgen.Expr(sqlgen.Call{Template: "coalesce($1, 0)", Args: []sqlgen.Expr{w.b.d.Op("sum_wrap", sum)}})
	if w.result == schema.Int {
		e = w.b.d.Op("int_wrap", e)
	}
	return computed(w.result, e, false)
}

// rank numbers the runs of equal values, as they come.
func (w windowCall) rank(dense bool) value {
	b := w.b
	run := w.groups(1)
	partition := ""
	x := w.values[0].Expr
	var args []sqlgen.Expr
	if run != nil {
		partition = "PARTITION BY $2"
	}
	args = []sqlgen.Expr{x, run}
	if run == nil {
		args = args[:1]
	}
	changed := b.addHidden("changed", sqlgen.Call{Template: "CASE WHEN $1 IS NOT DISTINCT FROM $2 AND $3 > 1 THEN 0 ELSE 1 END", Args: []sqlgen.Expr{
		x, w.over("lag($1) OVER ("+partition+"$o)", args...), w.over("row_number() OVER ("+partition+"$o)", args...)}})
	args = append([]sqlgen.Expr{changed}, args[1:]...)
	if dense {
		return computed(schema.Long, w.over("CAST(sum($1) OVER ("+partition+"$o ROWS UNBOUNDED PRECEDING) AS BIGINT)", args...), false)
	}
	number := b.addHidden("number", w.over("row_number() OVER ("+partition+"$o)", args...))
	at := w.over("max(CASE WHEN $1 = 1 THEN $3 END) OVER ("+partition+"$o ROWS UNBOUNDED PRECEDING)", append(args[:1:1], run, number)...)
	if run == nil {
		at = w.over("max(CASE WHEN $1 = 1 THEN $2 END) OVER ($o ROWS UNBOUNDED PRECEDING)", changed, number)
	}
	return computed(schema.Long, at, false)
}

package kql

import (
	"strconv"
	"strings"

	"github.com/otus-project/otus/kql/function"
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/kql/sqlgen"
)

// summarizeOp groups rows and aggregates each group.
type summarizeOp struct {
	Span
	Hints      parameters
	Aggregates []namedExpr
	By         []namedExpr
}

func summarizeDecl() *declaration {
	return &declaration{name: "summarize", form: "summarize name = aggregate, ... by name = expression, ...", supported: true,
		doc: "Groups rows and computes aggregates over each group.", example: "range x from 1 to 4 step 1 | summarize count(), sum(x) by odd = x % 2",
		parse: func(p *parser, _ string, at Span) operator {
			o := &summarizeOp{Hints: p.parameters()}
			if !p.isWord("by") && !p.is("|") && !p.is(")") && !p.is(";") && p.kind() != tokenEnd {
				o.Aggregates = p.namedList()
			}
			if p.acceptWord("by") {
				o.By = p.namedList()
			}
			o.Span = p.since(at.Start)
			if len(o.Aggregates)+len(o.By) == 0 {
				p.expected("an aggregate or by")
			}
			return o
		}}
}

func (o *summarizeOp) span() Span { return o.Span }

func (o *summarizeOp) print(p *printer) {
	p.word("summarize")
	p.parameters(o.Hints)
	p.namedList(o.Aggregates)
	if len(o.By) > 0 {
		p.word("by")
		p.namedList(o.By)
	}
}

func (o *summarizeOp) bind(b *binder, in *relation) *relation {
	b.rowLocal = false
	b.settleStable(in)
	keys := b.groupKeys(in, o.By)
	if len(o.Aggregates) == 1 {
		if rel := b.argRows(in, o.Aggregates[0], keys); rel != nil {
			return rel
		}
	}
	b.inSummary, b.keysInScope = true, keys
	list := append(keys[:len(keys):len(keys)], b.columns(o.Aggregates, "Column", nil)...)
	b.inSummary = false
	return b.group(in, keys, list)
}

// groupKeys binds what rows are grouped by, as plain columns.
func (b *binder) groupKeys(in *relation, by []namedExpr) []boundColumn {
	keys := b.columns(by, "Column", nil)
	visible := len(in.columns)
	for i := range keys {
		if _, plain := keys[i].plain(); !plain {
			alias := keys[i].column
			alias.name = "key"
			in.columns = append(in.columns, alias)
		}
	}
	if len(in.columns) == visible {
		return keys
	}
	b.wrap(in)
	next := visible
	for i := range keys {
		if _, plain := keys[i].plain(); !plain {
			keys[i].expr = in.columns[next].expr
			next++
		}
	}
	in.columns = in.columns[:visible]
	return keys
}

// group writes the grouping; list is the keys and the aggregates.
func (b *binder) group(in *relation, keys, list []boundColumn) *relation {
	columns := b.unique(list, "Column", 1)
	out := &relation{columns: columns, from: in.from, where: in.where}
	s := b.selection(out)
	grouped := map[string]bool{}
	for _, k := range keys {
		if alias, _ := k.plain(); !grouped[alias] {
			grouped[alias] = true
			s.GroupBy = append(s.GroupBy, k.expr)
		}
	}
	if in.stable && len(in.order) == 1 {
		b.firstSeen(in, out, s)
	} else if len(list) == len(keys) && len(keys) > 0 {
		s.GroupBy, s.Distinct = nil, true
	}
	out.from, out.where = s, nil
	return out
}

// settleStable numbers the rows of a stable order by one column.
func (b *binder) settleStable(in *relation) {
	if in.stable && len(in.order) > 1 {
		b.settleOrder()
	}
}

// firstSeen keeps groups in the order of their first rows.
func (b *binder) firstSeen(in, out *relation, s *sqlgen.Select) {
	key := in.order[0]
	first := "min($1)"
	if key.Desc {
		first = "max($1)"
	}
	alias := b.fresh("first")
	s.Items = append(s.Items, sqlgen.Item{Expr: sqlgen.Call{Template: first, Args: []sqlgen.Expr{key.Expr}}, Alias: alias})
	key.Expr = sqlgen.Column(alias)
	out.order, out.stable = []sqlgen.Order{key}, true
}

// argRows writes "arg_max(x, *) by k" as the choice of one row a group, which the store does without copying rows.
// It gives nil for anything else.
func (b *binder) argRows(in *relation, n namedExpr, keys []boundColumn) *relation {
	e, ok := n.Value.(*callExpr)
	if !ok || len(n.Names) > 0 {
		return nil
	}
	f := function.Find(e.Name.Name, true)
	if f == nil || f.Built != "arg_max" && f.Built != "arg_min" || e.Name.Name == "argmax" || e.Name.Name == "argmin" || len(e.Args) < 1 {
		return nil
	}
	if v := b.scope.find(e.Name.Name); v != nil {
		return nil
	}
	b.inSummary = false
	list := append(append([]boundColumn(nil), keys...), b.argColumns(in, e, keys)...)
	if len(list) == len(keys) {
		return nil
	}
	v := list[len(keys)]
	columns := b.unique(list, "Column", 1)
	if v.typ == schema.Unknown {
		in.columns = columns
		return in
	}
	// The value may be computed: it becomes a column first, so that the windows see it by name.
	out := &relation{columns: columns, from: in.from, where: in.where}
	s := b.selection(out)
	var partition []sqlgen.Expr
	for i := range keys {
		partition = append(partition, columns[i].expr)
	}
	maximized := columns[len(keys)]
	out.from, out.where = s, nil
	outer := &sqlgen.Select{From: s}
	given := map[string]bool{}
	for _, c := range columns {
		alias, _ := c.plain()
		if !given[alias] {
			given[alias] = true
			outer.Items = append(outer.Items, sqlgen.Item{Expr: c.expr, Alias: alias})
		}
	}
	order := argOrder(maximized, f.Built == "arg_max")
	over := "row_number() OVER ("
	if len(partition) > 0 {
		over += "PARTITION BY $*"
	}
	outer.Qualify = b.d.Op("first_row", sqlgen.Ordered{Call: sqlgen.Call{Template: over + "$o)", Args: partition}, Keys: order})
	out.from = outer
	if len(keys) == 0 { // over no rows there is still one result row
		b.refuseEmpty(out)
	}
	return out
}

// refuseEmpty gives a relation of at most one row exactly one: nulls if there was none.
func (b *binder) refuseEmpty(r *relation) {
	inner := b.selection(r)
	one := &sqlgen.Select{Items: []sqlgen.Item{{Expr: sqlgen.Call{Template: "1"}, Alias: b.fresh("one")}}}
	r.from = &sqlgen.Join{Kind: sqlgen.LeftJoin, Left: one, Right: inner, On: b.d.Op("true")}
	for i := range r.columns {
		c := &r.columns[i]
		c.null = c.typ != schema.String
		if c.typ == schema.String {
			c.expr = sqlgen.Call{Template: "coalesce($1, '')", Args: []sqlgen.Expr{c.expr}}
		}
	}
}

// argOrder sorts the wanted row first. Not a number counts as the extreme either way.
func argOrder(c column, greatest bool) []sqlgen.Order {
	var keys []sqlgen.Order
	if c.typ == schema.Real && !greatest {
		keys = append(keys, sqlgen.Order{Expr: sqlgen.Call{Template: "isnan($1)", Args: []sqlgen.Expr{c.expr}}, Desc: true})
	}
	return append(keys, sqlgen.Order{Expr: c.expr, Desc: greatest})
}

// keyAliases gives the source's columns that rows are grouped by as they are.
func keyAliases(keys []boundColumn) map[string]bool {
	set := map[string]bool{}
	for _, k := range keys {
		if alias, ok := k.plain(); ok {
			set[alias] = true
		}
	}
	return set
}

// argColumns gives the columns of arg_max: the value and those returned with it.
func (b *binder) argColumns(in *relation, e *callExpr, keys []boundColumn) []boundColumn {
	isKey := keyAliases(keys)
	var out []boundColumn
	for i, a := range e.Args {
		if _, star := a.Value.(*starExpr); star {
			if i == 0 {
				b.fail(CodeArguments, a.Value.span(), "", "%s() needs a value before *", e.Name.Name)
				continue
			}
			for j := range in.columns {
				v := b.columnValue(in, j)
				c := in.columns[j]
				if alias, ok := c.plain(); ok && isKey[alias] || len(out) > 0 && c.name == out[0].name {
					continue
				}
				bc := boundColumn{column: v.column(), at: a.Value.span()}
				bc.name = c.name
				out = append(out, bc)
			}
			continue
		}
		v := b.scalar(a.Value)
		if i == 0 && v.Type == schema.Dynamic {
			b.fail(CodeType, a.Value.span(), "convert it, for example by tostring()", "%s() cannot compare dynamic values", e.Name.Name)
		}
		bc := boundColumn{column: v.column(), at: a.Value.span()}
		bc.name = v.Name
		bc.fallback = v.Name == ""
		if bc.fallback {
			bc.name = strings.TrimPrefix(e.Name.Name, "arg_") + "_"
			bc.fallback = false
		}
		out = append(out, bc)
	}
	return out
}

// builtAggregate binds the aggregates that fill several columns.
func (b *binder) builtAggregate(e *callExpr, f *function.Function) value {
	b.inSummary = false
	defer func() { b.inSummary = true }()
	switch f.Built {
	case "arg_max", "arg_min":
		if len(e.Args) == 0 {
			b.fail(CodeArguments, e.Span, f.Signature(), "%s() needs a value", f.Name)
			return unknown()
		}
		return b.argAggregate(e, f)
	case "take_any":
		return b.takeAny(e, f)
	}
	return b.percentiles(e, f)
}

func (b *binder) argAggregate(e *callExpr, f *function.Function) value {
	list := b.argColumns(b.row, e, b.keysInScope)
	if len(list) == 0 {
		return unknown()
	}
	order := argOrder(list[0].column, f.Built == "arg_max")
	var v value
	for i, c := range list {
		col := c.column
		col.raw = ""
		if col.typ == schema.Unknown {
			v.tuple = append(v.tuple, col)
			continue
		}
		col.expr = sqlgen.Ordered{Call: sqlgen.Call{Template: "first($1$o)", Args: []sqlgen.Expr{col.expr}}, Keys: order}
		col.null = true
		if col.typ == schema.String {
			col.expr, col.null = sqlgen.Call{Template: "coalesce($1, '')", Args: []sqlgen.Expr{col.expr}}, false
		}
		if strings.HasPrefix(f.Name, "argm") {
			col.name = strings.TrimPrefix(f.Name, "arg") + "_" + col.name
			if i > 0 {
				col.name = strings.TrimPrefix(f.Name, "arg") + "_" + list[0].name + "_" + list[i].name
			}
		}
		v.tuple = append(v.tuple, col)
	}
	if len(v.tuple) == 1 {
		c := v.tuple[0]
		one := computed(c.typ, c.expr, c.null)
		one.Name = c.name
		return one
	}
	v.Type = schema.Unknown
	return v
}

func (b *binder) takeAny(e *callExpr, f *function.Function) value {
	var v value
	prefix := ""
	if f.Name == "any" {
		prefix = "any_"
	}
	add := func(x value, name string) {
		template := "any_value($1)"
		if len(e.Args) > 1 || x.Type == schema.Unknown {
			template = "first($1)"
		}
		c := column{name: prefix + name, typ: x.Type, expr: sqlgen.Call{Template: template, Args: []sqlgen.Expr{x.Expr}}, null: true}
		if c.typ == schema.String {
			c.expr, c.null = sqlgen.Call{Template: "coalesce($1, '')", Args: []sqlgen.Expr{c.expr}}, false
		}
		v.tuple = append(v.tuple, c)
	}
	for _, a := range e.Args {
		if _, ok := a.Value.(*starExpr); ok {
			isKey := keyAliases(b.keysInScope)
			for i := range b.row.columns {
				x := b.columnValue(b.row, i)
				if alias, ok := b.row.columns[i].plain(); !ok || !isKey[alias] {
					add(x, b.row.columns[i].name)
				}
			}
			for i := range v.tuple {
				if c, ok := v.tuple[i].expr.(sqlgen.Call); ok && c.Template == "any_value($1)" {
					c.Template = "first($1)"
					v.tuple[i].expr = c
				}
			}
			continue
		}
		x := b.scalar(a.Value)
		add(x, x.Name)
	}
	if len(v.tuple) == 1 {
		c := v.tuple[0]
		one := computed(c.typ, c.expr, c.null)
		one.Name = c.name
		return one
	}
	return v
}

// percentiles binds percentile, percentiles and percentiles_array, by nearest rank.
func (b *binder) percentiles(e *callExpr, f *function.Function) value {
	if len(e.Args) < 2 {
		b.fail(CodeArguments, e.Span, f.Signature(), "%s() takes a value and percentages", f.Name)
		return unknown()
	}
	x := b.scalar(e.Args[0].Value)
	var ranks []float64
	for _, a := range e.Args[1:] {
		p := b.scalar(a.Value)
		list := []value{p}
		if p.Type == schema.Dynamic && p.Known {
			list = elements(p)
		}
		for _, p := range list {
			rank, ok := constantReal(p)
			if !ok || rank < 0 || rank > 100 {
				if p.Type != schema.Unknown {
					b.fail(CodeArguments, a.Value.span(), "", "a percentage is a constant from 0 to 100")
				}
				rank = 50
			}
			ranks = append(ranks, rank)
		}
	}
	switch x.Type {
	case schema.Int, schema.Long, schema.Real, schema.DateTime, schema.Timespan, schema.Unknown:
	default:
		b.refuse(e.Span, "%s() of a %s", f.Name, x.Type)
	}
	quantile := func(rank float64) sqlgen.Expr {
		return sqlgen.Call{Template: "quantile_disc($1, " + strconv.FormatFloat(rank/100, 'f', -1, 64) + ")", Args: []sqlgen.Expr{x.Expr}}
	}
	if f.Built == "percentiles_array" {
		var parts []sqlgen.Expr
		for _, r := range ranks {
			parts = append(parts, function.JSON(b.d, computed(x.Type, quantile(r), true).Arg))
		}
		return named(computed(schema.Dynamic, function.List(parts), false), "percentiles_"+x.Name)
	}
	var v value
	for _, r := range ranks {
		name := "percentile_" + x.Name + "_" + strings.ReplaceAll(strconv.FormatFloat(r, 'f', -1, 64), ".", "_")
		v.tuple = append(v.tuple, column{name: name, typ: x.Type, expr: quantile(r), null: true})
	}
	if len(v.tuple) == 1 {
		c := v.tuple[0]
		return named(computed(c.typ, c.expr, true), c.name)
	}
	return v
}

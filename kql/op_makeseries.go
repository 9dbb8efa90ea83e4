package kql

import (
	"github.com/otus-project/otus/kql/function"
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/kql/sqlgen"
)

// makeSeriesOp collects aggregates along an axis into arrays, one element a step, with a value for empty steps.
type makeSeriesOp struct {
	Span
	Params         parameters
	Aggregates     []seriesAggregate
	On             namedExpr
	From, To, Step Expr
	By             []namedExpr
}

type seriesAggregate struct {
	Value   namedExpr
	Default Expr
}

func makeSeriesDecl() *declaration {
	return &declaration{name: "make-series", form: "make-series name = aggregate [default = value], ... on axis [from start to end] step size [by column, ...]", supported: true,
		doc: "Collects aggregates along an axis into arrays.", example: "range x from 1 to 4 step 1 | make-series sum(x) default = 0 on x from 1 to 5 step 2",
		parse: func(p *parser, _ string, at Span) operator {
			o := &makeSeriesOp{Params: p.parameters("kind")}
			for {
				a := seriesAggregate{Value: p.named()}
				if p.isWord("default") {
					p.advance()
					p.expect("=")
					a.Default = p.expr()
				}
				o.Aggregates = append(o.Aggregates, a)
				if !p.accept(",") {
					break
				}
			}
			p.expectWord("on")
			o.On = p.seriesAxis()
			if p.isWord("in") { // in range(from, to, step)
				p.advance()
				if c, ok := p.postfix().(*callExpr); ok && len(c.Args) == 3 {
					o.From, o.To, o.Step = c.Args[0].Value, c.Args[1].Value, c.Args[2].Value
				} else {
					p.expected("range(from, to, step)")
				}
			} else {
				if p.acceptWord("from") {
					o.From = p.expr()
				}
				if p.acceptWord("to") {
					o.To = p.expr()
				}
				p.expectWord("step")
				o.Step = p.expr()
			}
			if p.acceptWord("by") {
				o.By = p.namedList()
			}
			o.Span = p.since(at.Start)
			return o
		}}
}

// seriesAxis reads the axis, after which "in range(...)" may follow.
func (p *parser) seriesAxis() namedExpr {
	start := p.token().Start
	n := namedExpr{}
	if next := p.ahead(1); p.kind() == tokenName && next.kind == tokenOperator && next.text == "=" {
		n.Names = []nameExpr{p.newName("a name")}
		p.advance()
	}
	n.Value = p.additive()
	n.Span = p.since(start)
	return n
}

func (o *makeSeriesOp) span() Span { return o.Span }

func (o *makeSeriesOp) print(p *printer) {
	p.word("make-series")
	p.parameters(o.Params)
	for i, a := range o.Aggregates {
		if i > 0 {
			p.text(",")
		}
		p.named(a.Value)
		if a.Default != nil {
			p.word("default")
			p.text("=")
			a.Default.print(p)
		}
	}
	p.word("on")
	p.named(o.On)
	if o.From != nil {
		p.word("from")
		o.From.print(p)
	}
	if o.To != nil {
		p.word("to")
		o.To.print(p)
	}
	p.word("step")
	o.Step.print(p)
	if len(o.By) > 0 {
		p.word("by")
		p.namedList(o.By)
	}
}

func (o *makeSeriesOp) bind(b *binder, in *relation) *relation {
	b.rowLocal = false
	keys := b.groupKeys(in, o.By)
	axis := b.oneColumn(o.On)
	step := b.scalar(o.Step)
	var from, to *value
	bound := func(e Expr) *value {
		if e == nil {
			return nil
		}
		v := b.scalar(e)
		return &v
	}
	from, to = bound(o.From), bound(o.To)
	b.inSummary, b.keysInScope = true, keys
	var values []boundColumn
	var defaults []value
	for _, a := range o.Aggregates {
		columns := b.columns([]namedExpr{a.Value}, "Column", nil)
		b.inSummary = false
		d := constant(schema.Long, int64(0))
		if a.Default != nil {
			d = b.scalar(a.Default)
		}
		b.inSummary = true
		for _, c := range columns {
			values = append(values, c)
			defaults = append(defaults, d)
		}
	}
	b.inSummary = false
	axisColumn := boundColumn{column: column{name: axis.name, typ: schema.Dynamic, expr: function.Nothing}, named: axis.named, at: axis.at, fallback: axis.fallback}
	typed := axis.typ == schema.DateTime && step.Type == schema.Timespan || isInteger(axis.typ) && isInteger(step.Type) || axis.typ == schema.Timespan && step.Type == schema.Timespan
	for _, v := range []*value{from, to} {
		typed = typed && (v == nil || v.Type == axis.typ || isInteger(v.Type) && isInteger(axis.typ))
	}
	n, known := step.Value.(int64)
	nonempty := o.Params.word("kind") == "nonempty"
	if !typed || !step.Known || !known || n <= 0 || nonempty || (from == nil) != (to == nil) {
		if axis.typ != schema.Unknown && step.Type != schema.Unknown {
			b.refuse(o.Span, "make-series in this form")
		}
		list := append([]boundColumn(nil), keys...)
		for _, v := range values {
			v.typ, v.expr = schema.Dynamic, function.Nothing
			list = append(list, v)
		}
		list = append(list, axisColumn)
		return &relation{columns: b.unique(list, "Column", 1), from: in.from}
	}
	return o.series(b, in, keys, values, defaults, axis, axisColumn, from, to, longParam(n))
}

// series groups the rows by key and step, puts the steps that no row has beside them, and collects the arrays.
func (o *makeSeriesOp) series(b *binder, in *relation, keys, values []boundColumn, defaults []value, axis, axisColumn boundColumn, from, to *value, step sqlgen.Expr) *relation {
	call := func(template string, args ...sqlgen.Expr) sqlgen.Expr {
		return sqlgen.Call{Template: template, Args: args}
	}
	x := axis.expr
	if isInteger(axis.typ) {
		x = b.d.Op("as_long", x)
	}
	slot := b.fresh("slot")
	grouped := &sqlgen.Select{From: in.from, Where: append([]sqlgen.Expr(nil), in.where...)}
	var start sqlgen.Expr
	if from != nil {
		start = b.d.Op("as_long", from.Expr)
		end := b.d.Op("as_long", to.Expr)
		grouped.Where = append(grouped.Where, b.d.Op("ge", x, start), b.d.Op("lt", x, end))
		grouped.Items = append(grouped.Items, sqlgen.Item{Expr: call("(($1 - $2) // $3)", x, start, step), Alias: slot})
	} else {
		grouped.Where = append(grouped.Where, b.d.Op("is_not_null", x))
		grouped.Items = append(grouped.Items, sqlgen.Item{Expr: call("(($1 - ((($1 % $2) + $2) % $2)) // $2)", x, step), Alias: slot})
	}
	grouped.GroupBy = append(grouped.GroupBy, grouped.Items[0].Expr)
	keyAlias := make([]string, len(keys))
	for i, k := range keys {
		keyAlias[i] = b.fresh(k.name)
		grouped.Items = append(grouped.Items, sqlgen.Item{Expr: k.expr, Alias: keyAlias[i]})
		grouped.GroupBy = append(grouped.GroupBy, k.expr)
	}
	valueAlias := make([]string, len(values))
	for i, v := range values {
		valueAlias[i] = b.fresh(v.name)
		json := function.JSON(b.d, function.Arg{Expr: v.expr, Type: v.typ, Null: v.null})
		grouped.Items = append(grouped.Items, sqlgen.Item{Expr: json, Alias: valueAlias[i]})
	}
	shared := b.fresh("steps")
	b.with = append(b.with, sqlgen.With{Name: shared, Query: grouped})

	// The grid: every key with every step.
	gridSlot := b.fresh("slot")
	grid := &sqlgen.Select{}
	gridAlias := make([]string, len(keys))
	groups := &sqlgen.Select{From: sqlgen.Shared(shared), Distinct: true}
	on := b.d.Op("eq", sqlgen.Column(slot), sqlgen.Column(gridSlot))
	for i := range keys {
		gridAlias[i] = b.fresh(keys[i].name)
		groups.Items = append(groups.Items, sqlgen.Item{Expr: sqlgen.Column(keyAlias[i]), Alias: gridAlias[i]})
		on = b.d.Op("and", on, b.d.Op("same", sqlgen.Column(keyAlias[i]), sqlgen.Column(gridAlias[i])))
	}
	if len(keys) == 0 {
		groups.Items = append(groups.Items, sqlgen.Item{Expr: call("1"), Alias: b.fresh("one")})
	}
	var slots sqlgen.Source
	if from != nil {
		slots = &sqlgen.Function{Call: call("range(CAST(least(1048576, greatest(0, (($2 - $1) + $3 - 1) // $3)) AS BIGINT))", start, b.d.Op("as_long", to.Expr), step), Columns: []string{gridSlot}}
	} else {
		bounds := func(f string) sqlgen.Expr {
			return sqlgen.Scalar{Query: &sqlgen.Select{Items: []sqlgen.Item{{Expr: call(f+"($1)", sqlgen.Column(slot)), Alias: "b"}}, From: sqlgen.Shared(shared)}}
		}
		first, last := bounds("min"), bounds("max")
		slots = &sqlgen.Function{Call: call("generate_series($1, least($2, $1 + 1048576))", first, last), Columns: []string{gridSlot}}
		start = longParam(0)
	}
	grid.From = &sqlgen.Join{Kind: sqlgen.CrossJoin, Left: groups, Right: slots}
	for i := range keys {
		grid.Items = append(grid.Items, sqlgen.Item{Expr: sqlgen.Column(gridAlias[i]), Alias: gridAlias[i]})
	}
	grid.Items = append(grid.Items, sqlgen.Item{Expr: sqlgen.Column(gridSlot), Alias: gridSlot})

	order := []sqlgen.Order{{Expr: sqlgen.Column(gridSlot)}}
	collect := func(e sqlgen.Expr) sqlgen.Expr {
		return call("concat('[', $1, ']')", sqlgen.Ordered{Call: sqlgen.Call{Template: "string_agg($1, ','$o)", Args: []sqlgen.Expr{e}}, Keys: order})
	}
	out := &relation{from: &sqlgen.Join{Kind: sqlgen.LeftJoin, Left: grid, Right: sqlgen.Shared(shared), On: on}}
	var list []boundColumn
	for i, k := range keys {
		k.expr, k.raw = sqlgen.Column(gridAlias[i]), ""
		list = append(list, k)
	}
	for i, v := range values {
		fill := function.JSON(b.d, defaults[i].Arg)
		v.column = column{name: v.name, typ: schema.Dynamic, expr: collect(call("coalesce($1, $2)", sqlgen.Column(valueAlias[i]), fill))}
		list = append(list, v)
	}
	at := call("($1 + $2 * $3)", start, sqlgen.Column(gridSlot), step)
	axisColumn.expr = collect(function.JSON(b.d, function.Arg{Expr: at, Type: longer(axis.typ)}))
	list = append(list, axisColumn)
	out.columns = b.unique(list, "Column", 1)
	s := b.selection(out)
	for _, k := range list[:len(keys)] {
		s.GroupBy = append(s.GroupBy, k.expr)
	}
	if len(keys) == 0 {
		s.Having = call("count(*) > 0")
	}
	out.from = s
	return out
}

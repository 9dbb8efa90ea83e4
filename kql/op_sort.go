package kql

import (
	"github.com/otus-project/otus/kql/native"
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/kql/sqlgen"
)

// sortKey is one key of sort and top.
type sortKey struct {
	Span
	Value     namedExpr
	Direction string // asc, desc or empty
	Nulls     string // first, last or empty
}

// sortOp puts rows in an order.
type sortOp struct {
	Span
	Keys []sortKey
}

func sortDecl() *declaration {
	return &declaration{name: "sort", aliases: []string{"order"}, form: "sort by expression [asc|desc] [nulls first|last], ...", supported: true,
		doc: "Puts rows in an order, the greatest first.", example: "range x from 1 to 3 step 1 | sort by x desc",
		parse: func(p *parser, _ string, at Span) operator {
			p.parameters()
			p.expectWord("by")
			keys := p.sortKeys()
			return &sortOp{p.since(at.Start), keys}
		}}
}

func (p *parser) sortKeys() []sortKey {
	var list []sortKey
	for {
		start := p.token().Start
		k := sortKey{Value: p.named()}
		if p.isWord("asc") || p.isWord("desc") {
			k.Direction = p.advance().text
		}
		if p.isWord("nulls") {
			p.advance()
			if p.isWord("first") || p.isWord("last") {
				k.Nulls = p.advance().text
			} else {
				p.expected(`"first" or "last"`)
			}
		}
		k.Span = p.since(start)
		list = append(list, k)
		if !p.accept(",") {
			return list
		}
	}
}

func (p *printer) sortKeys(keys []sortKey) {
	for i, k := range keys {
		if i > 0 {
			p.text(",")
		}
		p.named(k.Value)
		if k.Direction != "" {
			p.word(k.Direction)
		}
		if k.Nulls != "" {
			p.word("nulls")
			p.word(k.Nulls)
		}
	}
}

func (o *sortOp) span() Span { return o.Span }

func (o *sortOp) print(p *printer) {
	p.word("sort")
	p.word("by")
	p.sortKeys(o.Keys)
}

func (o *sortOp) bind(b *binder, in *relation) *relation {
	b.rowLocal = false
	in.order = b.bindSort(in, o.Keys)
	in.serialized = true
	return in
}

// bindSort gives the keys of an order, as columns of the relation's source.
func (b *binder) bindSort(in *relation, keys []sortKey) []sqlgen.Order {
	visible := len(in.columns)
	var orders []sqlgen.Order
	type pending struct{ order, column int }
	var later []pending
	add := func(v value, desc, nullsFirst bool) {
		o := sqlgen.Order{Expr: v.Expr, Desc: desc, NullsFirst: nullsFirst}
		if _, plain := v.Expr.(sqlgen.Column); !plain {
			later = append(later, pending{len(orders), len(in.columns)})
			in.columns = append(in.columns, column{name: "key", typ: v.Type, expr: v.Expr})
		}
		orders = append(orders, o)
	}
	for _, k := range keys {
		v := b.scalar(k.Value.Value)
		if v.Type == schema.Dynamic {
			b.fail(CodeType, k.Value.Value.span(), "convert it, for example by tostring()", "dynamic values have no order")
			continue
		}
		if v.Type == schema.Unknown || v.Known {
			continue
		}
		desc := k.Direction != "asc"
		nullsFirst := !desc
		if k.Nulls != "" {
			nullsFirst = k.Nulls == "first"
		}
		switch v.Type {
		case schema.Decimal:
			b.refuse(k.Span, "sorting by a decimal")
		case schema.Real:
			// Not a number stands beside null: below all numbers.
			if v.Null {
				null := computed(schema.Bool, b.d.Op("is_null", v.Expr), false)
				add(null, nullsFirst, false)
			}
			nan := computed(schema.Bool, sqlgen.Call{Template: "coalesce(isnan($1), FALSE)", Args: []sqlgen.Expr{v.Expr}}, false)
			add(nan, !desc, false)
		}
		add(v, desc, nullsFirst)
	}
	if len(later) > 0 {
		b.wrap(in)
		for _, l := range later {
			orders[l.order].Expr = in.columns[l.column].expr
		}
	}
	in.columns = in.columns[:visible]
	if in.stable {
		orders = append(orders, in.order...)
	}
	return orders
}

// topOp keeps the first rows of an order.
type topOp struct {
	Span
	Count Expr
	Keys  []sortKey
}

func topDecl() *declaration {
	return &declaration{name: "top", form: "top count by expression [asc|desc]", supported: true, doc: "Keeps the first rows of an order.",
		example: "range x from 1 to 5 step 1 | top 2 by x",
		parse: func(p *parser, _ string, at Span) operator {
			p.parameters()
			o := &topOp{Count: p.expr()}
			p.expectWord("by")
			o.Keys = p.sortKeys()
			o.Span = p.since(at.Start)
			return o
		}}
}

func (o *topOp) span() Span { return o.Span }

func (o *topOp) print(p *printer) {
	p.word("top")
	o.Count.print(p)
	p.word("by")
	p.sortKeys(o.Keys)
}

func (o *topOp) bind(b *binder, in *relation) *relation {
	b.rowLocal = false
	n := b.rowCount(o.Count)
	in.order = b.bindSort(in, o.Keys)
	in.serialized = true
	b.limit(in, n)
	return in
}

// rowCount binds a number of rows.
func (b *binder) rowCount(e Expr) sqlgen.Expr {
	row := b.row
	b.row = nil
	v := b.scalar(e)
	b.row = row
	if v.Type == schema.Unknown {
		return longParam(0)
	}
	if !isInteger(v.Type) {
		b.fail(CodeType, e.span(), "", "a number of rows is expected here, not a %s", v.Type)
		return longParam(0)
	}
	if n, ok := v.Value.(int64); ok && v.Known {
		if n < 0 {
			b.fail(CodeArguments, e.span(), "", "a number of rows is not negative")
		}
		if b.lateral {
			return sqlgen.Call{Template: native.FormatLong(n)}
		}
		return longParam(n)
	}
	return b.as(v, schema.Long, e.span())
}

// limit keeps the first rows in the order that the relation has.
func (b *binder) limit(in *relation, n sqlgen.Expr) {
	s := b.ordered(in)
	s.Limit = n
	in.from, in.where = s, nil
}

// takeOp keeps some rows.
type takeOp struct {
	Span
	Count Expr
}

func takeDecl() *declaration {
	return &declaration{name: "take", aliases: []string{"limit"}, form: "take count", supported: true, doc: "Keeps some number of rows.",
		example: "range x from 1 to 5 step 1 | take 2",
		parse: func(p *parser, _ string, at Span) operator {
			p.parameters()
			n := p.expr()
			return &takeOp{p.since(at.Start), n}
		}}
}

func (o *takeOp) span() Span { return o.Span }

func (o *takeOp) print(p *printer) {
	p.word("take")
	o.Count.print(p)
}

func (o *takeOp) bind(b *binder, in *relation) *relation {
	b.rowLocal = false
	b.limit(in, b.rowCount(o.Count))
	return in
}

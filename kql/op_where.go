package kql

import (
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/kql/sqlgen"
)

// whereOp keeps the rows that a condition holds for.
type whereOp struct {
	Span
	Condition namedExpr
}

func whereDecl() *declaration {
	return &declaration{name: "where", aliases: []string{"filter"}, form: "where condition", supported: true,
		doc: "Keeps the rows that a condition holds for.", example: "range x from 1 to 5 step 1 | where x > 3",
		parse: func(p *parser, _ string, at Span) operator {
			c := p.named()
			return &whereOp{p.since(at.Start), c}
		}}
}

func (o *whereOp) span() Span { return o.Span }

func (o *whereOp) print(p *printer) {
	p.word("where")
	p.named(o.Condition)
}

func (o *whereOp) bind(b *binder, in *relation) *relation {
	if len(o.Condition.Names) > 0 {
		b.refused.add(CodeUnsupported, o.Condition.Span, "compare with == instead of =", "a name in where is not supported")
	}
	v := b.condition(o.Condition.Value, true)
	if v.Type == schema.Unknown {
		return in
	}
	b.filter(in, v.Expr)
	return in
}

// filter keeps rows by a bound condition.
func (b *binder) filter(r *relation, condition sqlgen.Expr) {
	if b.windows {
		// A window sees rows before any filter: it becomes a column of a subquery first.
		alias := b.fresh("condition")
		s := b.selection(r)
		s.Items = append(s.Items, sqlgen.Item{Expr: condition, Alias: alias})
		r.from, r.where = s, nil
		condition = sqlgen.Column(alias)
	}
	r.where = append(r.where, condition)
}

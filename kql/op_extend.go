package kql

import (
	"github.com/otus-project/otus/kql/function"
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/kql/sqlgen"
)

// extendOp adds computed columns; one of an existing name takes its place.
type extendOp struct {
	Span
	Columns []namedExpr
}

func extendDecl() *declaration {
	return &declaration{name: "extend", form: "extend name = expression, ...", supported: true, doc: "Adds computed columns.",
		example: "print a = 1 | extend b = a + 1",
		parse: func(p *parser, _ string, at Span) operator {
			list := p.namedList()
			return &extendOp{p.since(at.Start), list}
		}}
}

func (o *extendOp) span() Span { return o.Span }

func (o *extendOp) print(p *printer) {
	p.word("extend")
	p.namedList(o.Columns)
}

func (o *extendOp) bind(b *binder, in *relation) *relation {
	added := b.columns(o.Columns, "Column", nil)
	return b.extend(in, o.Columns, added)
}

// extend puts bound columns to a relation.
func (b *binder) extend(in *relation, exprs []namedExpr, added []boundColumn) *relation {
	columns := append([]column(nil), in.columns...)
	set := map[string]bool{}
	for _, a := range added {
		c := a.column
		if a.named && set[c.name] {
			b.fail(CodeDuplicate, a.at, "", "the column %q is given twice", c.name)
		}
		if a.fallback {
			stem, n := c.name, 1
			for c.name = stem + "1"; set[c.name] || in.has(c.name); n++ {
				c.name = stem + itoa(n+1)
			}
		}
		set[c.name] = true
		replaced := false
		for i := range columns {
			if columns[i].name == c.name {
				columns[i], replaced = c, true
			}
		}
		if !replaced {
			columns = append(columns, c)
		}
	}
	in.columns = columns
	if b.windows {
		b.wrap(in)
	}
	return in
}

// boundColumn is a column of a list of named expressions.
type boundColumn struct {
	column
	at       Span
	named    bool // the text gives the name
	fallback bool // there was no name to be had; column.name is the stem of one
}

// columns binds a list of named expressions. An expression without a name gets the one it suggests, else the stem.
// Stars are expanded by star, where they may stand.
func (b *binder) columns(list []namedExpr, stem string, star func() []column) []boundColumn {
	var out []boundColumn
	for _, n := range list {
		if s, ok := n.Value.(*starExpr); ok {
			if star == nil {
				b.fail(CodeSyntax, s.Span, "", "* cannot stand here")
				continue
			}
			for _, c := range star() {
				out = append(out, boundColumn{column: c, at: s.Span})
			}
			continue
		}
		v := b.scalar(n.Value)
		if len(n.Names) == 1 && !n.Tuple && !b.inSummary {
			v.tuple = nil // one name takes the first of several values
		}
		if len(n.Names) > 1 || n.Tuple || len(v.tuple) > 0 {
			out = append(out, b.tupleColumns(n, v)...)
			continue
		}
		c := boundColumn{column: v.column(), at: n.Span}
		switch {
		case len(n.Names) == 1:
			c.name, c.named, c.at = n.Names[0].Name, true, n.Names[0].Span
		case v.Name != "":
			c.name = v.Name
		default:
			c.name, c.fallback = stem, true
		}
		out = append(out, c)
	}
	return out
}

// oneColumn binds an expression that fills one column; what fills none is reported and stands for an unknown one.
func (b *binder) oneColumn(n namedExpr) boundColumn {
	if list := b.columns([]namedExpr{n}, "Column", nil); len(list) > 0 {
		return list[0]
	}
	return boundColumn{column: column{name: "Column", expr: function.Nothing, null: true}, at: n.Span, fallback: true}
}

// column gives a value as a column without a name.
func (v value) column() column {
	c := column{typ: v.Type, expr: v.Expr, null: v.Null}
	if raw, ok := v.Raw.(sqlgen.Column); ok && v.Base == nil {
		c.raw = string(raw)
	}
	return c
}

// tupleColumns spreads an expression of several values over several names.
func (b *binder) tupleColumns(n namedExpr, v value) []boundColumn {
	if len(v.tuple) == 0 {
		if v.Type == schema.Dynamic || v.Type == schema.Unknown {
			if v.Type == schema.Dynamic {
				b.refuse(n.Span, "several names for one expression")
			}
			var out []boundColumn
			for _, name := range n.Names {
				c := v.column()
				c.name = name.Name
				out = append(out, boundColumn{column: c, at: name.Span, named: true})
			}
			return out
		}
		b.fail(CodeType, n.Span, "", "the expression does not have several values")
		return nil
	}
	var out []boundColumn
	for i, c := range v.tuple {
		bc := boundColumn{column: c, at: n.Span}
		if i < len(n.Names) {
			bc.name, bc.named = n.Names[i].Name, true
		}
		out = append(out, bc)
	}
	return out
}

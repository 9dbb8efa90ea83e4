package kql

import (
	"strings"

	"github.com/otus-project/otus/kql/function"
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/kql/sqlgen"
)

// searchOp keeps the rows in which some column has a term.
type searchOp struct {
	Span
	Params    parameters
	Tables    []unionTable // of "in (...)"
	Condition Expr
}

func searchDecl() *declaration {
	return &declaration{name: "search", form: `search [kind=case_sensitive] [in (table, ...)] "term" and column:"term"`, supported: true, doc: "Looks for terms in all columns.",
		example: `print s = "hello world" | search "hello"`, parse: func(p *parser, _ string, at Span) operator { return p.search(at.Start) }}
}

func (p *parser) search(start int) *searchOp {
	o := &searchOp{Params: p.parameters("kind")}
	if p.isWord("in") && p.ahead(1).text == "(" {
		p.advance()
		p.advance()
		for !p.is(")") && p.kind() != tokenEnd {
			before := p.at
			t := unionTable{}
			if (p.kind() == tokenName && p.ahead(1).text == "*" && !p.ahead(1).spaced) || p.is("*") {
				at := p.token().Start
				for (p.kind() == tokenName || p.is("*")) && (t.Pattern.Text == "" || !p.token().spaced) {
					t.Pattern.Text += p.advance().text
				}
				t.Pattern.Span = p.since(at)
			} else {
				t.Expr = p.argumentValue()
			}
			o.Tables = append(o.Tables, t)
			if !p.accept(",") || p.at == before {
				break
			}
		}
		p.expect(")")
	}
	o.Condition = p.expr()
	o.Span = p.since(start)
	return o
}

type searchSource struct{ *searchOp }

func (p *parser) searchSource() source {
	start := p.advance().Start
	return &searchSource{p.search(start)}
}

func (o *searchOp) span() Span { return o.Span }

func (o *searchOp) print(p *printer) {
	p.word("search")
	p.parameters(o.Params)
	if len(o.Tables) > 0 {
		p.word("in")
		p.text("(")
		for i, t := range o.Tables {
			if i > 0 {
				p.text(",")
			}
			if t.Expr == nil {
				p.word(t.Pattern.Text)
			} else {
				t.Expr.print(p)
			}
		}
		p.text(")")
	}
	o.Condition.print(p)
}

func (s *searchSource) bindSource(b *binder) *relation {
	tables := s.Tables
	if len(tables) == 0 {
		tables = []unionTable{{Pattern: pattern{Text: "*", Span: s.Span}}}
	}
	var parts []*relation
	for _, t := range tables {
		if t.Expr == nil {
			parts = append(parts, b.matchingTables(t.Pattern)...)
		} else if rel := b.tabularArgument(t.Expr); rel != nil {
			parts = append(parts, rel)
		}
	}
	if len(parts) == 0 {
		return nil
	}
	r := b.union(parts, "$table", false)
	return s.searchRows(b, r)
}

func (o *searchOp) bind(b *binder, in *relation) *relation {
	b.rowLocal = false
	name := in.table
	if name == "" {
		name = "search_arg0"
	}
	if !in.has("$table") {
		in.columns = append([]column{{name: "$table", typ: schema.String, expr: text(name)}}, in.columns...)
		b.wrap(in)
	}
	return o.searchRows(b, in)
}

func (o *searchOp) searchRows(b *binder, in *relation) *relation {
	b.rowLocal = false
	row := b.row
	b.row = in
	sensitive := o.Params.word("kind") == "case_sensitive"
	condition := o.term(b, in, o.Condition, sensitive)
	b.row = row
	if condition != nil {
		in.where = append(in.where, condition)
	}
	return in
}

// term binds a part of the condition: a text is looked for in every column.
func (o *searchOp) term(b *binder, in *relation, e Expr, sensitive bool) sqlgen.Expr {
	switch e := e.(type) {
	case *literalExpr:
		if s, ok := e.Value.(string); ok && e.Type == schema.String {
			return o.anywhere(b, in, s, sensitive)
		}
		if isNumeric(e.Type) {
			return o.anywhere(b, in, e.Text, sensitive)
		}
		b.refuse(e.Span, "search for a %s", e.Type)
		return nil
	case *starExpr:
		return b.d.Op("true")
	case *binaryExpr:
		if e.Op == "and" || e.Op == "or" {
			l, r := o.term(b, in, e.L, sensitive), o.term(b, in, e.R, sensitive)
			if l == nil || r == nil {
				return nil
			}
			return b.d.Op(e.Op, l, r)
		}
		if e.Op == ":" {
			v := b.scalar(e.L)
			if s, ok := b.scalar(e.R).Value.(string); ok && v.Type != schema.Unknown {
				if n, isName := e.L.(nameExpr); isName {
					if i := in.index(n.Name); i >= 0 {
						return o.inColumn(b, in, i, s, sensitive)
					}
				}
			}
		}
	case *callExpr:
		if e.Name.Name == "not" && len(e.Args) == 1 {
			if x := o.term(b, in, e.Args[0].Value, sensitive); x != nil {
				return b.d.Op("not", x)
			}
			return nil
		}
	}
	v := b.condition(e, false)
	if v.Type == schema.Unknown {
		return nil
	}
	return v.Expr
}

func (o *searchOp) anywhere(b *binder, in *relation, term string, sensitive bool) sqlgen.Expr {
	var any sqlgen.Expr
	for i := range in.columns {
		if in.columns[i].name == "$table" {
			continue
		}
		c := o.inColumn(b, in, i, term, sensitive)
		if c == nil {
			continue
		}
		if any == nil {
			any = c
		} else {
			any = b.d.Op("or", any, c)
		}
	}
	if any == nil {
		return b.d.Op("false")
	}
	return any
}

// inColumn looks for a term, with * at its ends for the rest of a word.
func (o *searchOp) inColumn(b *binder, in *relation, i int, term string, sensitive bool) sqlgen.Expr {
	v := b.columnValue(in, i)
	if v.Type == schema.Unknown || v.Type == schema.Real || v.Type == schema.Decimal {
		return nil // no term stands for a number with a fraction
	}
	x := function.Convert(b.d, v.Arg, schema.String)
	if x == nil {
		return nil
	}
	op := "has"
	before, after := strings.HasPrefix(term, "*"), strings.HasSuffix(term, "*") && len(term) > 1
	bare := strings.Trim(term, "*")
	switch {
	case bare == "":
		return b.d.Op("true")
	case before && after:
		op = "contains"
	case before:
		op = "hassuffix"
	case after:
		op = "hasprefix"
	}
	if strings.Contains(bare, "*") {
		b.refuse(o.Span, "a search term with * inside")
		return nil
	}
	if sensitive {
		op += "_cs"
	}
	return b.textMatch(op, x, text(bare), constant(schema.String, bare))
}

package kql

import (
	"github.com/otus-project/otus/kql/function"
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/kql/sqlgen"
)

// printSource gives one row of computed columns.
type printSource struct {
	Span
	Columns []namedExpr
}

func (p *parser) printSource() source {
	start := p.advance().Start
	s := &printSource{}
	if !p.is("|") && !p.is(";") && !p.is(")") && p.kind() != tokenEnd {
		s.Columns = p.namedList()
	}
	s.Span = p.since(start)
	return s
}

func (s *printSource) span() Span { return s.Span }

func (s *printSource) print(p *printer) {
	p.word("print")
	p.namedList(s.Columns)
}

func (s *printSource) bindSource(b *binder) *relation {
	b.rowLocal = false
	r := &relation{stable: true}
	b.row = nil
	list := b.columns(s.Columns, "print_", nil)
	// An unnamed column is called by its place, whatever it is computed of.
	for i := range list {
		if !list[i].named && i < len(s.Columns) {
			list[i].name, list[i].fallback = "print_"+itoa(i), false
		}
	}
	r.columns = b.unique(list, "print_", 0)
	return r
}

// rangeSource gives a column of values in equal steps.
type rangeSource struct {
	Span
	Name           nameExpr
	From, To, Step Expr
}

func (p *parser) rangeSource() source {
	start := p.advance().Start
	s := &rangeSource{Name: p.newName("a name")}
	p.expectWord("from")
	s.From = p.expr()
	p.expectWord("to")
	s.To = p.expr()
	p.expectWord("step")
	s.Step = p.expr()
	s.Span = p.since(start)
	return s
}

func (s *rangeSource) span() Span { return s.Span }

func (s *rangeSource) print(p *printer) {
	p.word("range")
	p.name(s.Name)
	p.word("from")
	s.From.print(p)
	p.word("to")
	s.To.print(p)
	p.word("step")
	s.Step.print(p)
}

func (s *rangeSource) bindSource(b *binder) *relation {
	b.rowLocal = false
	b.row = nil
	from, to, step := b.scalar(s.From), b.scalar(s.To), b.scalar(s.Step)
	t := from.Type
	if t == schema.Unknown {
		t = to.Type
	}
	if isNumeric(from.Type) && isNumeric(to.Type) && isNumeric(step.Type) {
		t = longer(widest(widest(from.Type, to.Type), step.Type))
		if from.Type == schema.Int && to.Type == schema.Int && step.Type == schema.Int {
			t = schema.Int
		}
	}
	r := &relation{serialized: true, columns: []column{{name: s.Name.Name, typ: t}}}
	c := &r.columns[0]
	alias := b.fresh(s.Name.Name)
	c.expr = sqlgen.Column(alias)
	source := func(template string, args ...sqlgen.Expr) {
		r.from = &sqlgen.Function{Call: sqlgen.Call{Template: template, Args: args}, Columns: []string{alias}}
		r.order = []sqlgen.Order{{Expr: sqlgen.Column(alias), Desc: isNegative(step), NullsFirst: true}}
		r.stable = true
	}
	if from.Type == schema.Unknown || to.Type == schema.Unknown || step.Type == schema.Unknown {
		source("range(0)")
		return r
	}
	// The limit keeps a range from filling the memory; Kusto's own is the same.
	const rows = "least($2, $1 + 1048576 * $3)"
	switch {
	case t == schema.Real:
		index := b.fresh("index")
		x, y, z := b.as(from, t, s.From.span()), b.as(to, t, s.To.span()), b.as(step, t, s.Step.span())
		count := sqlgen.Call{Template: "CASE WHEN $3 = 0 THEN 0 ELSE CAST(greatest(0, least(1048576, floor(($2 - $1) / $3 + 1e-9) + 1)) AS BIGINT) END", Args: []sqlgen.Expr{x, y, z}}
		r.from = &sqlgen.Function{Call: sqlgen.Call{Template: "range($1)", Args: []sqlgen.Expr{count}}, Columns: []string{index}}
		c.expr = sqlgen.Call{Template: "($1 + $2 * $3)", Args: []sqlgen.Expr{x, sqlgen.Column(index), z}}
		r.order, r.stable = []sqlgen.Order{{Expr: sqlgen.Column(index), NullsFirst: true}}, true
	case (t == schema.Long || t == schema.Int) && isNumeric(step.Type),
		t == schema.DateTime && to.Type == t && step.Type == schema.Timespan,
		t == schema.Timespan && to.Type == t && step.Type == t:
		long := func(v value, at Span) sqlgen.Expr {
			if isNumeric(v.Type) {
				return b.as(v, schema.Long, at)
			}
			return v.Expr
		}
		source("generate_series($1, "+rows+", $3)", long(from, s.From.span()), long(to, s.To.span()), long(step, s.Step.span()))
		if n, ok := step.Value.(int64); ok && n <= 0 {
			if n == 0 {
				b.fail(CodeArguments, s.Step.span(), "", "a step of 0 leads nowhere")
			}
			source("generate_series($1, $2, $3)", long(from, s.From.span()), long(to, s.To.span()), long(step, s.Step.span()))
		}
		if t == schema.Int {
			c.expr = b.d.Op("as_int", c.expr)
		}
	default:
		b.fail(CodeType, s.Span, "", "range does not go from a %s to a %s in steps of a %s", from.Type, to.Type, step.Type)
	}
	return r
}

func isNegative(v value) bool {
	switch n := v.Value.(type) {
	case int64:
		return n < 0
	case float64:
		return n < 0
	}
	return false
}

// datatableSource is a table written out.
type datatableSource struct {
	Span
	Columns []columnDecl
	Values  []Expr
}

func (p *parser) datatable() source {
	start := p.advance().Start
	s := &datatableSource{}
	p.parameters()
	if p.expect("(") {
		s.Columns = p.columnDecls(")")
	}
	p.expect("[")
	for !p.is("]") && p.kind() != tokenEnd {
		before := p.at
		s.Values = append(s.Values, p.unary())
		if !p.accept(",") || p.at == before {
			break
		}
		if len(s.Values) > 10*maxList {
			p.report.add(CodeLimit, p.token().Span, "", "the table has more than %d values", 10*maxList)
			p.at = len(p.tokens) - 1
		}
	}
	p.expect("]")
	s.Span = p.since(start)
	return s
}

func (s *datatableSource) span() Span { return s.Span }

func (s *datatableSource) print(p *printer) {
	p.word("datatable")
	p.text("(")
	p.columnDecls(s.Columns)
	p.text(")")
	p.text("[")
	p.list(s.Values)
	p.text("]")
}

func (s *datatableSource) bindSource(b *binder) *relation {
	b.rowLocal = false
	b.row = nil
	n := len(s.Columns)
	if n == 0 {
		b.fail(CodeSyntax, s.Span, "", "a datatable needs columns")
		return &relation{}
	}
	seen := map[string]bool{}
	names, types := make([]string, n), make([]schema.Type, n)
	for i, c := range s.Columns {
		if seen[c.Name.Name] {
			b.fail(CodeDuplicate, c.Name.Span, "", "the column %q is given twice", c.Name.Name)
		}
		seen[c.Name.Name] = true
		names[i], types[i] = c.Name.Name, c.Type
	}
	if len(s.Values)%n != 0 {
		b.fail(CodeArguments, s.Span, "", "%d values do not fill rows of %d columns", len(s.Values), n)
		return b.literalRows(names, types, nil)
	}
	var rows [][]sqlgen.Expr
	for i := 0; i < len(s.Values); i += n {
		row := make([]sqlgen.Expr, n)
		for j := range n {
			row[j] = b.cell(s.Values[i+j], types[j])
		}
		rows = append(rows, row)
	}
	return b.literalRows(names, types, rows)
}

// cell binds a value of a datatable, which must be a constant.
func (b *binder) cell(e Expr, t schema.Type) sqlgen.Expr {
	v := b.scalar(e)
	if v.Type == schema.Unknown {
		return function.Nothing
	}
	if !v.Known {
		b.fail(CodeLiteral, e.span(), "", "the values of a datatable are constants")
		return function.Nothing
	}
	if v.Type == t {
		return v.Expr
	}
	if v.Value == nil {
		return function.Constant(t, nil)
	}
	if i, ok := v.Value.(int64); ok {
		switch {
		case isInteger(v.Type) && (isInteger(t) || t == schema.Real):
			if t == schema.Int {
				i = int64(int32(i))
			}
			if t == schema.Real {
				return function.Constant(t, float64(i))
			}
			return function.Constant(t, i)
		case isInteger(v.Type) && t == schema.Bool:
			return function.Constant(t, i != 0)
		}
	}
	if f, ok := v.Value.(float64); ok && isInteger(t) {
		return function.Constant(t, int64(f))
	}
	if sql := function.Convert(b.d, v.Arg, t); sql != nil {
		return sql
	}
	b.fail(CodeType, e.span(), "", "a %s does not fit a column of type %s", v.Type, t)
	return function.Nothing
}

// literalRows makes a relation of rows that are written out.
func (b *binder) literalRows(names []string, types []schema.Type, rows [][]sqlgen.Expr) *relation {
	r := &relation{stable: true}
	values := &sqlgen.Values{}
	for i, name := range names {
		alias := b.fresh(name)
		values.Columns = append(values.Columns, alias)
		r.columns = append(r.columns, column{name: name, typ: types[i], expr: sqlgen.Column(alias), null: types[i] != schema.String})
	}
	values.Rows = rows
	// The rows are numbered as they are written.
	numbered := &sqlgen.Select{From: values}
	for _, alias := range values.Columns {
		numbered.Items = append(numbered.Items, sqlgen.Item{Expr: sqlgen.Column(alias), Alias: alias})
	}
	number := b.fresh("row")
	numbered.Items = append(numbered.Items, sqlgen.Item{Expr: sqlgen.Call{Template: "row_number() OVER ()"}, Alias: number})
	r.from, r.order = numbered, []sqlgen.Order{{Expr: sqlgen.Column(number), NullsFirst: true}}
	if len(rows) == 0 {
		row := make([]sqlgen.Expr, len(types))
		for i, t := range types {
			row[i] = function.Constant(t, nil)
		}
		values.Rows = [][]sqlgen.Expr{row}
		numbered.Where = []sqlgen.Expr{b.d.Op("false")}
	}
	return r
}

// externaldataSource reads a file somewhere else; it is known and refused.
type externaldataSource struct {
	Span
	Columns []columnDecl
	Files   []Expr
	Options []argument
}

func (p *parser) externaldata() source {
	start := p.advance().Start
	s := &externaldataSource{}
	if p.expect("(") {
		s.Columns = p.columnDecls(")")
	}
	p.parameters()
	if p.expect("[") {
		for !p.is("]") && p.kind() != tokenEnd {
			before := p.at
			s.Files = append(s.Files, p.expr())
			if !p.accept(",") || p.at == before {
				break
			}
		}
		p.expect("]")
	}
	if p.acceptWord("with") {
		s.Options = p.withOptions()
	}
	s.Span = p.since(start)
	return s
}

// withOptions reads (name = value, ...).
func (p *parser) withOptions() []argument {
	var list []argument
	p.expect("(")
	for !p.is(")") && p.kind() != tokenEnd {
		before := p.at
		a := argument{Name: p.name("a setting").Name}
		p.expect("=")
		a.Value = p.postfix()
		list = append(list, a)
		if !p.accept(",") || p.at == before {
			break
		}
	}
	p.expect(")")
	return list
}

func (p *printer) withOptions(list []argument) {
	p.text("(")
	for i, a := range list {
		if i > 0 {
			p.text(",")
		}
		p.word(a.Name)
		p.text("=")
		a.Value.print(p)
	}
	p.text(")")
}

func (s *externaldataSource) span() Span { return s.Span }

func (s *externaldataSource) print(p *printer) {
	p.word("externaldata")
	p.text("(")
	p.columnDecls(s.Columns)
	p.text(")")
	p.text("[")
	p.list(s.Files)
	p.text("]")
	if len(s.Options) > 0 {
		p.word("with")
		p.withOptions(s.Options)
	}
}

func (s *externaldataSource) bindSource(b *binder) *relation {
	b.refuse(s.Span, "externaldata, which reads a file from elsewhere,")
	var names []string
	var types []schema.Type
	for _, c := range s.Columns {
		names = append(names, c.Name.Name)
		types = append(types, c.Type)
	}
	return b.literalRows(names, types, nil)
}

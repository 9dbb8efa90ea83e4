package kql

import (
	"github.com/otus-project/otus/kql/function"
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/kql/sqlgen"
)

// expansion is an array that mv-expand or mv-apply takes apart.
type expansion struct {
	Value namedExpr
	Type  schema.Type // of to typeof(); Unknown without it
}

// mvExpandOp gives a row for every element of arrays.
type mvExpandOp struct {
	Span
	Params parameters
	Arrays []expansion
	Limit  Expr
}

func mvExpandDecl() *declaration {
	return &declaration{name: "mv-expand", aliases: []string{"mvexpand"}, form: "mv-expand [with_itemindex=name] name = array [to typeof(type)], ... [limit count]", supported: true,
		doc: "Gives a row for every element of an array or property bag.", example: "print a = dynamic([1,2]) | mv-expand a to typeof(long)",
		parse: func(p *parser, _ string, at Span) operator {
			o := &mvExpandOp{Params: p.parameters("bagexpansion", "kind", "with_itemindex")}
			o.Arrays = p.expansions()
			if p.acceptWord("limit") {
				o.Limit = p.expr()
			}
			o.Span = p.since(at.Start)
			return o
		}}
}

func (p *parser) expansions() []expansion {
	var list []expansion
	for {
		x := expansion{Value: p.named()}
		if p.acceptWord("to") {
			if t, ok := p.postfix().(*typeExpr); ok && !t.Tabular {
				x.Type = t.Type
			} else {
				p.expected("typeof(type)")
			}
		}
		list = append(list, x)
		if !p.accept(",") {
			return list
		}
	}
}

func (p *printer) expansions(list []expansion) {
	for i, x := range list {
		if i > 0 {
			p.text(",")
		}
		p.named(x.Value)
		if x.Type != schema.Unknown {
			p.word("to")
			p.word("typeof")
			p.text("(")
			p.word(x.Type.String())
			p.text(")")
		}
	}
}

func (o *mvExpandOp) span() Span { return o.Span }

func (o *mvExpandOp) print(p *printer) {
	p.word("mv-expand")
	p.parameters(o.Params)
	p.expansions(o.Arrays)
	if o.Limit != nil {
		p.word("limit")
		o.Limit.print(p)
	}
}

// expanded is a bound expansion: the array, and the column that its elements fill.
type expanded struct {
	name  string
	typ   schema.Type
	array sqlgen.Expr
	at    int // index of the column that it replaces, or -1
}

func (b *binder) bindExpansions(in *relation, list []expansion, pairs bool) []expanded {
	var out []expanded
	flag := b.d.Op("false")
	if pairs {
		flag = b.d.Op("true")
	}
	for _, x := range list {
		v := b.scalar(x.Value.Value)
		e := expanded{typ: schema.Dynamic, at: -1, name: v.Name}
		if len(x.Value.Names) > 0 {
			e.name = x.Value.Names[0].Name
		}
		if e.name == "" {
			e.name = "Column1"
			for n := 2; in.has(e.name); n++ {
				e.name = "Column" + itoa(n)
			}
		}
		e.at = in.index(e.name)
		if x.Type != schema.Unknown {
			e.typ = x.Type
		}
		if v.Type != schema.Dynamic && v.Type != schema.Unknown {
			b.fail(CodeType, x.Value.Span, "parse_json() makes a dynamic value of text", "only dynamic values can be expanded, not a %s", v.Type)
		}
		e.array = b.d.Op("json_elements", sqlgen.Call{Template: "kql_expand($1, $2)", Args: []sqlgen.Expr{v.Expr, flag}})
		if v.Type == schema.Unknown {
			e.array = sqlgen.Call{Template: "[]"}
		}
		out = append(out, e)
	}
	return out
}

// elementValue gives an element as the column's type.
func (b *binder) elementValue(e sqlgen.Expr, t schema.Type, at Span) (sqlgen.Expr, bool) {
	element := value{Arg: function.Arg{Expr: sqlgen.Call{Template: "nullif($1, 'null')", Args: []sqlgen.Expr{e}}, Type: schema.Dynamic, Null: true}}
	if t == schema.Dynamic {
		return element.Expr, true
	}
	return b.as(element, t, at), t != schema.String
}

func (o *mvExpandOp) bind(b *binder, in *relation) *relation {
	b.rowLocal = false
	list := b.bindExpansions(in, o.Arrays, o.Params.word("bagexpansion") == "array" || o.Params.word("kind") == "array")
	s := b.selection(in)
	index := ""
	if name := o.Params.word("with_itemindex"); name != "" || len(in.order) > 0 || in.stable {
		index = b.fresh("index")
		longest := sqlgen.Expr(sqlgen.Call{Template: "len($1)", Args: []sqlgen.Expr{list[0].array}})
		for _, e := range list[1:] {
			longest = sqlgen.Call{Template: "greatest($1, len($2))", Args: []sqlgen.Expr{longest, e.array}}
		}
		s.Items = append(s.Items, sqlgen.Item{Expr: sqlgen.Call{Template: "unnest(range(CAST($1 AS BIGINT)))", Args: []sqlgen.Expr{longest}}, Alias: index})
	}
	var added []column
	for _, e := range list {
		alias := b.fresh(e.name)
		s.Items = append(s.Items, sqlgen.Item{Expr: sqlgen.Call{Template: "unnest($1)", Args: []sqlgen.Expr{e.array}}, Alias: alias})
		c := column{name: e.name, typ: e.typ}
		c.expr, c.null = b.elementValue(sqlgen.Column(alias), e.typ, o.Span)
		if e.at >= 0 {
			in.columns[e.at] = c
		} else {
			added = append(added, c)
		}
	}
	in.columns = append(in.columns, added...)
	if name := o.Params.word("with_itemindex"); name != "" {
		in.columns = append(in.columns, column{name: name, typ: schema.Long, expr: sqlgen.Column(index)})
	}
	if index != "" && (len(in.order) > 0 || in.stable) {
		in.order = append(append([]sqlgen.Order(nil), in.order...), sqlgen.Order{Expr: sqlgen.Column(index), NullsFirst: true})
	}
	in.from, in.where = s, nil
	if o.Limit != nil {
		b.refuse(o.Limit.span(), "a limit of mv-expand")
	}
	return in
}

// mvApplyOp runs a query over the elements of arrays, row by row.
type mvApplyOp struct {
	Span
	Params parameters
	Arrays []expansion
	Limit  Expr
	Body   *pipeline // its source is nil: the elements
}

func mvApplyDecl() *declaration {
	return &declaration{name: "mv-apply", form: "mv-apply name = array [to typeof(type)], ... on (query)", supported: true, doc: "Runs a query over the elements of an array, for every row.",
		example: "print a = dynamic([3,1]) | mv-apply x = a to typeof(long) on (top 1 by x)",
		parse: func(p *parser, _ string, at Span) operator {
			o := &mvApplyOp{Params: p.parameters("with_itemindex", "bagexpansion", "kind")}
			o.Arrays = p.expansions()
			if p.acceptWord("limit") {
				o.Limit = p.expr()
			}
			p.expectWord("on")
			o.Body = p.subquery()
			o.Span = p.since(at.Start)
			return o
		}}
}

// subquery reads (operator | operator ...), whose source is what surrounds it.
func (p *parser) subquery() *pipeline {
	start := p.token().Start
	pipe := &pipeline{}
	if !p.enter() {
		return pipe
	}
	defer p.leave()
	if !p.expect("(") {
		return pipe
	}
	if op := p.operator(); op != nil {
		pipe.Operators = append(pipe.Operators, op)
	} else {
		p.skipTo("|", ")")
	}
	p.operators(pipe)
	p.expect(")")
	pipe.Span = p.since(start)
	return pipe
}

func (p *printer) subquery(pipe *pipeline) {
	p.text("(")
	for i, op := range pipe.Operators {
		if i > 0 {
			p.text("|")
		}
		op.print(p)
	}
	p.text(")")
}

func (o *mvApplyOp) span() Span { return o.Span }

func (o *mvApplyOp) print(p *printer) {
	p.word("mv-apply")
	p.parameters(o.Params)
	p.expansions(o.Arrays)
	if o.Limit != nil {
		p.word("limit")
		o.Limit.print(p)
	}
	p.word("on")
	p.subquery(o.Body)
}

// bind writes the query as a lateral subquery over the elements. Inside, the outer row's columns are constants.
func (o *mvApplyOp) bind(b *binder, in *relation) *relation {
	b.rowLocal = false
	list := b.bindExpansions(in, o.Arrays, o.Params.word("bagexpansion") == "array" || o.Params.word("kind") == "array")
	b.wrap(in)
	if o.Limit != nil {
		b.refuse(o.Limit.span(), "a limit of mv-apply")
	}
	inner := &relation{serialized: true, stable: true, open: in.open}
	s := &sqlgen.Select{}
	outerAlias := map[string]string{} // inner name of an outer column
	replaced := map[int]bool{}
	for _, e := range list {
		if e.at >= 0 {
			replaced[e.at] = true
		}
	}
	for i, c := range in.columns {
		if replaced[i] {
			continue
		}
		alias, _ := c.plain()
		n := b.fresh(alias)
		outerAlias[n] = alias
		s.Items = append(s.Items, sqlgen.Item{Expr: sqlgen.Column(alias), Alias: n})
		inner.columns = append(inner.columns, column{name: c.name, typ: c.typ, expr: sqlgen.Column(n), null: c.null})
	}
	longest := sqlgen.Expr(sqlgen.Call{Template: "len($1)", Args: []sqlgen.Expr{list[0].array}})
	for _, e := range list[1:] {
		longest = sqlgen.Call{Template: "greatest($1, len($2))", Args: []sqlgen.Expr{longest, e.array}}
	}
	index := b.fresh("index")
	s.Items = append(s.Items, sqlgen.Item{Expr: sqlgen.Call{Template: "unnest(range(CAST($1 AS BIGINT)))", Args: []sqlgen.Expr{longest}}, Alias: index})
	inner.order = []sqlgen.Order{{Expr: sqlgen.Column(index), NullsFirst: true}}
	for _, e := range list {
		alias := b.fresh(e.name)
		s.Items = append(s.Items, sqlgen.Item{Expr: sqlgen.Call{Template: "unnest($1)", Args: []sqlgen.Expr{e.array}}, Alias: alias})
		c := column{name: e.name, typ: e.typ}
		c.expr, c.null = b.elementValue(sqlgen.Column(alias), e.typ, o.Span)
		inner.columns = append(inner.columns, c)
	}
	if name := o.Params.word("with_itemindex"); name != "" {
		inner.columns = append(inner.columns, column{name: name, typ: schema.Long, expr: sqlgen.Column(index)})
	}
	inner.from = s
	lateralBefore := b.lateral
	b.lateral = true
	result := b.nested(inner, o.Body)
	b.lateral = lateralBefore
	if result == nil {
		return nil
	}
	// What the query leaves of the outer row is there already.
	own := map[string]bool{}
	var added []column
	for _, c := range result.columns {
		if alias, ok := c.plain(); ok && outerAlias[alias] != "" {
			continue
		}
		own[c.name] = true
		added = append(added, c)
	}
	result.columns = added
	lateral := b.selection(result)
	out := &relation{from: &sqlgen.Join{Kind: sqlgen.Lateral, Left: in.from, Right: lateral}, open: in.open || result.open, stable: in.stable, serialized: in.serialized}
	if len(in.order) > 0 || in.stable {
		out.order = append(append([]sqlgen.Order(nil), in.order...), result.order...)
	}
	for i, c := range in.columns {
		if !replaced[i] && !own[c.name] {
			out.columns = append(out.columns, c)
		}
	}
	out.columns = append(out.columns, result.columns...)
	return out
}

// nested binds the operators of a subquery over a relation.
func (b *binder) nested(rel *relation, body *pipeline) *relation {
	row, windows, summary := b.row, b.windows, b.inSummary
	b.inSummary = false
	for _, op := range body.Operators {
		if rel == nil {
			break
		}
		b.operators++
		b.row, b.windows = rel, false
		rel = op.bind(b, rel)
		if rel != nil {
			rel.carried = nil
		}
	}
	b.row, b.windows, b.inSummary = row, windows, summary
	return rel
}

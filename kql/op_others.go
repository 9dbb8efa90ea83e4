package kql

import (
	"github.com/otus-project/otus/kql/function"
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/kql/sqlgen"
)

// invokeOp calls a function with the rows as its first argument.
type invokeOp struct {
	Span
	Call *callExpr
}

func invokeDecl() *declaration {
	return &declaration{name: "invoke", form: "invoke function(arguments)", supported: true, doc: "Calls a function of a let statement with the rows as its first argument.",
		example: "let f = (T:(x:long)) { T | where x > 1 }; range x from 1 to 3 step 1 | invoke f()",
		parse: func(p *parser, _ string, at Span) operator {
			o := &invokeOp{}
			if c, ok := p.postfix().(*callExpr); ok {
				o.Call = c
			} else {
				p.expected("a call")
				return nil
			}
			o.Span = p.since(at.Start)
			return o
		}}
}

func (o *invokeOp) span() Span { return o.Span }

func (o *invokeOp) print(p *printer) {
	p.word("invoke")
	o.Call.print(p)
}

func (o *invokeOp) bind(b *binder, in *relation) *relation {
	b.rowLocal = false
	v := b.scope.find(o.Call.Name.Name)
	if v == nil || v.function == nil {
		b.fail(CodeFunction, o.Call.Name.Span, didYouMean(o.Call.Name.Name, b.scope.all(func(v *variable) bool { return v.function != nil })), "there is no function %q", o.Call.Name.Name)
		return nil
	}
	if len(v.function.Params) == 0 || !v.function.Params[0].Tabular {
		b.fail(CodeArguments, o.Span, "", "the first parameter of %s() is not a table", o.Call.Name.Name)
		return nil
	}
	// The rows are passed under a name that no query can write.
	const rows = "\x00rows"
	outer := b.scope
	b.scope = &scope{outer: outer}
	b.scope.set(rows, &variable{rel: in})
	call := *o.Call
	call.Args = append([]argument{{Value: nameExpr{o.Span, rows, true}}}, o.Call.Args...)
	row := b.row
	b.row = nil
	_, rel := b.invoke(o.Call.Name, v, &call)
	b.row = row
	b.scope = outer
	return rel
}

// evaluateOp runs a plug-in.
type evaluateOp struct {
	Span
	Params parameters
	Call   *callExpr
	Schema []columnDecl // of ": (a:long, ...)"
	Typed  bool
}

func evaluateDecl() *declaration {
	return &declaration{name: "evaluate", form: "evaluate plugin(arguments)", doc: "Runs a plug-in.", example: "print d = dynamic({\"a\":1}) | evaluate bag_unpack(d)",
		parse: func(p *parser, _ string, at Span) operator { return p.evaluate(at.Start) }}
}

func (p *parser) evaluate(start int) operator {
	o := &evaluateOp{Params: p.parameters()}
	c, ok := p.postfix().(*callExpr)
	if !ok {
		p.expected("a call of a plug-in")
		return nil
	}
	o.Call = c
	if p.accept(":") {
		o.Typed = true
		p.expect("(")
		if p.accept("*") {
			p.accept(",")
		}
		o.Schema = p.columnDecls(")")
	}
	o.Span = p.since(start)
	return o
}

type evaluateSource struct{ *evaluateOp }

func (p *parser) evaluateSource() source {
	start := p.advance().Start
	if o, ok := p.evaluate(start).(*evaluateOp); ok {
		return &evaluateSource{o}
	}
	return &evaluateSource{&evaluateOp{Span: p.since(start), Call: &callExpr{}}}
}

func (s *evaluateSource) bindSource(b *binder) *relation {
	b.refuse(s.Span, "the plug-in %s", s.Call.Name.Name)
	return &relation{open: true, from: sqlgen.Table("none")}
}

func (o *evaluateOp) span() Span { return o.Span }

func (o *evaluateOp) print(p *printer) {
	p.word("evaluate")
	p.parameters(o.Params)
	o.Call.print(p)
	if o.Typed {
		p.text(":")
		p.text("(")
		p.columnDecls(o.Schema)
		p.text(")")
	}
}

func (o *evaluateOp) bind(b *binder, in *relation) *relation {
	name := o.Call.Name.Name
	b.refuse(o.Span, "the plug-in %s", name)
	var args []value
	for _, a := range o.Call.Args {
		if n, ok := a.Value.(nameExpr); ok && !in.has(n.Name) {
			args = append(args, unknown())
			continue
		}
		if c, ok := a.Value.(*callExpr); ok && function.Find(c.Name.Name, true) != nil {
			args = append(args, unknown())
			continue
		}
		if _, ok := a.Value.(*pipeExpr); ok {
			args = append(args, unknown())
			continue
		}
		args = append(args, b.scalar(a.Value))
	}
	drop := func(v value) {
		for i := range in.columns {
			if in.columns[i].name == v.Name && v.Name != "" {
				in.columns = append(in.columns[:i:i], in.columns[i+1:]...)
				return
			}
		}
	}
	switch name {
	case "bag_unpack":
		if len(args) > 0 {
			drop(args[0])
		}
		in.open = !o.Typed
	case "pivot":
		if len(args) > 0 {
			drop(args[0])
		}
		if len(args) > 1 {
			if c, ok := o.Call.Args[1].Value.(*callExpr); ok && len(c.Args) > 0 {
				if n, ok := c.Args[0].Value.(nameExpr); ok {
					drop(named(unknown(), n.Name))
				}
			}
		}
		if len(args) > 2 {
			var kept []column
			for _, a := range args[2:] {
				if i := in.index(a.Name); i >= 0 {
					kept = append(kept, in.columns[i])
				}
			}
			in.columns = kept
		}
		in.open = !o.Typed
	case "narrow":
		in = &relation{from: in.from, columns: []column{{name: "Row", typ: schema.Long, expr: function.Nothing}, {name: "Column", typ: schema.String, expr: function.Nothing}, {name: "Value", typ: schema.String, expr: function.Nothing}}}
	default:
		in.open = true
	}
	for _, c := range o.Schema {
		col := column{name: c.Name.Name, typ: c.Type, expr: function.Nothing, null: true}
		if i := in.index(col.name); i >= 0 {
			in.columns[i] = col
		} else {
			in.columns = append(in.columns, col)
		}
	}
	return in
}

// sampleOp keeps some random rows.
type sampleOp struct {
	Span
	Count Expr
	Of    *namedExpr // sample-distinct
}

func sampleDecl() *declaration {
	return &declaration{name: "sample", form: "sample count", supported: true, doc: "Keeps some rows at random.", example: "range x from 1 to 5 step 1 | sample 2",
		parse: func(p *parser, _ string, at Span) operator {
			n := p.expr()
			return &sampleOp{p.since(at.Start), n, nil}
		}}
}

func sampleDistinctDecl() *declaration {
	return &declaration{name: "sample-distinct", form: "sample-distinct count of column", supported: true, doc: "Gives some different values of a column.", example: "range x from 1 to 5 step 1 | sample-distinct 2 of x",
		parse: func(p *parser, _ string, at Span) operator {
			o := &sampleOp{Count: p.expr()}
			p.expectWord("of")
			of := p.named()
			o.Of = &of
			o.Span = p.since(at.Start)
			return o
		}}
}

func (o *sampleOp) span() Span { return o.Span }

func (o *sampleOp) print(p *printer) {
	if o.Of == nil {
		p.word("sample")
		o.Count.print(p)
		return
	}
	p.word("sample-distinct")
	o.Count.print(p)
	p.word("of")
	p.named(*o.Of)
}

func (o *sampleOp) bind(b *binder, in *relation) *relation {
	if o.Of != nil {
		d := &distinctOp{o.Span, []namedExpr{*o.Of}}
		in = d.bind(b, in)
	}
	b.rowLocal = false
	b.limit(in, b.rowCount(o.Count))
	return in
}

// topHittersOp gives the most frequent values.
type topHittersOp struct {
	Span
	Count Expr
	Of    namedExpr
	By    Expr
}

func topHittersDecl() *declaration {
	return &declaration{name: "top-hitters", form: "top-hitters count of column [by expression]", doc: "Gives the values that occur most, or that weigh most.", example: "range x from 1 to 5 step 1 | top-hitters 2 of x",
		parse: func(p *parser, _ string, at Span) operator {
			o := &topHittersOp{Count: p.expr()}
			p.expectWord("of")
			o.Of = p.named()
			if p.acceptWord("by") {
				o.By = p.expr()
			}
			o.Span = p.since(at.Start)
			return o
		}}
}

func (o *topHittersOp) span() Span { return o.Span }

func (o *topHittersOp) print(p *printer) {
	p.word("top-hitters")
	o.Count.print(p)
	p.word("of")
	p.named(o.Of)
	if o.By != nil {
		p.word("by")
		o.By.print(p)
	}
}

// bind gives the columns only: which of equally frequent values Kusto's estimate picks cannot be told.
func (o *topHittersOp) bind(b *binder, in *relation) *relation {
	b.refuse(o.Span, "the operator top-hitters")
	list := []boundColumn{b.oneColumn(o.Of)}
	name := "approximate_count_" + list[0].name
	typ := schema.Long
	if o.By != nil {
		v := b.scalar(o.By)
		name, typ = "approximate_sum_"+v.Name, v.Type
	}
	list = append(list, boundColumn{column: column{name: name, typ: longer(typ), expr: function.Nothing}})
	return &relation{columns: b.unique(list, "Column", 1), from: in.from}
}

// topNestedOp ranks values level by level.
type topNestedOp struct {
	Span
	Levels []nestedLevel
}

type nestedLevel struct {
	Count  Expr
	Of     namedExpr
	Others Expr
	By     namedExpr
	Asc    string
}

func topNestedDecl() *declaration {
	return &declaration{name: "top-nested", form: "top-nested [count] of expression [with others = value] by aggregate, ...", doc: "Ranks values, and within each the values of the next level.",
		example: "range x from 1 to 5 step 1 | top-nested 2 of x % 2 by sum(x)",
		parse: func(p *parser, _ string, at Span) operator {
			o := &topNestedOp{}
			for {
				l := nestedLevel{}
				if !p.isWord("of") {
					l.Count = p.expr()
				}
				p.expectWord("of")
				l.Of = p.named()
				if p.acceptWord("with") {
					p.expectWord("others")
					p.expect("=")
					l.Others = p.expr()
				}
				p.expectWord("by")
				l.By = p.named()
				if p.isWord("asc") || p.isWord("desc") {
					l.Asc = p.advance().text
				}
				o.Levels = append(o.Levels, l)
				if !p.accept(",") {
					break
				}
				if !p.isWord("top") {
					p.expected(`"top-nested"`)
					break
				}
				if word, _ := p.operatorWord(); word != "top-nested" {
					p.expected(`"top-nested"`)
					break
				}
			}
			o.Span = p.since(at.Start)
			return o
		}}
}

func (o *topNestedOp) span() Span { return o.Span }

func (o *topNestedOp) print(p *printer) {
	for i, l := range o.Levels {
		if i > 0 {
			p.text(",")
		}
		p.word("top-nested")
		if l.Count != nil {
			l.Count.print(p)
		}
		p.word("of")
		p.named(l.Of)
		if l.Others != nil {
			p.word("with")
			p.word("others")
			p.text("=")
			l.Others.print(p)
		}
		p.word("by")
		p.named(l.By)
		if l.Asc != "" {
			p.word(l.Asc)
		}
	}
}

func (o *topNestedOp) bind(b *binder, in *relation) *relation {
	b.refuse(o.Span, "the operator top-nested")
	var list []boundColumn
	for _, l := range o.Levels {
		key := b.columns([]namedExpr{l.Of}, "Column", nil)
		b.inSummary, b.keysInScope = true, nil
		sum := b.columns([]namedExpr{l.By}, "Column", nil)
		b.inSummary = false
		list = append(list, key...)
		for _, c := range sum {
			if len(l.By.Names) == 0 && len(key) > 0 {
				c.name = "aggregated_" + key[0].name
			}
			list = append(list, c)
		}
	}
	return &relation{columns: b.unique(list, "Column", 1), from: in.from}
}

// blockOp is an operator with subqueries of its own, or with a form of its own, that is known and refused: partition,
// fork, facet, scan, reduce. Its text is kept as it stands.
type blockOp struct {
	Span
	Word string
	Text string
	// Body is the subquery of partition.
	Body    *pipeline
	By      Expr
	Columns []columnDecl
	Match   string // with_match_id of scan
	Params  parameters
}

func (o *blockOp) span() Span { return o.Span }

func (o *blockOp) print(p *printer) { p.raw(o.Text) }

func partitionDecl() *declaration {
	return &declaration{name: "partition", aliases: []string{"__partitionby"}, form: "partition by column (query)", doc: "Runs a query over the rows of each value of a column.", example: "range x from 1 to 4 step 1 | extend k = x % 2 | partition by k (top 1 by x)",
		parse: func(p *parser, _ string, at Span) operator {
			o := &blockOp{Word: "partition", Params: p.parameters()}
			p.expectWord("by")
			o.By = p.parameterValue()
			switch {
			case p.is("("):
				o.Body = p.subquery()
			default:
				p.skipTo("|", ";")
			}
			return o.ended(p, at)
		}}
}

func (o *blockOp) ended(p *parser, at Span) operator {
	o.Span = p.since(at.Start)
	o.Text = p.source[o.Span.Start:o.Span.End]
	return o
}

func blockDecl(name, doc, example string) *declaration {
	return &declaration{name: name, form: name + " ...", doc: doc, example: example, parse: func(p *parser, word string, at Span) operator {
		o := &blockOp{Word: word}
		p.skipTo("|", ";")
		return o.ended(p, at)
	}}
}

func forkDecl() *declaration {
	return blockDecl("fork", "Runs several queries over the same rows.", "range x from 1 to 3 step 1 | fork (count) (take 1)")
}

func facetDecl() *declaration {
	return blockDecl("facet", "Counts the values of columns, a table for each.", "range x from 1 to 3 step 1 | facet by x")
}

func reduceDecl() *declaration {
	return blockDecl("reduce", "Groups texts that are alike.", "print s = \"a\" | reduce by s")
}

func scanDecl() *declaration {
	return &declaration{name: "scan", form: "scan declare (name:type = value) with (step name: condition => name = value;)", doc: "Matches rows with the steps of a sequence.", example: "range x from 1 to 3 step 1 | scan declare (s:long = 0) with (step a: true => s = x + a.s;)",
		parse: func(p *parser, _ string, at Span) operator {
			o := &blockOp{Word: "scan"}
			for p.kind() == tokenName && p.ahead(1).text == "=" {
				name := p.advance().text
				p.advance()
				v := p.postfix()
				if n, ok := v.(nameExpr); ok && name == "with_match_id" {
					o.Match = n.Name
				}
			}
			if p.acceptWord("order") {
				p.expectWord("by")
				p.sortKeys()
			}
			if p.acceptWord("partition") {
				p.expectWord("by")
				p.namedList()
			}
			if p.acceptWord("declare") {
				for _, q := range p.params() {
					o.Columns = append(o.Columns, columnDecl{q.Name, q.Type})
				}
			}
			p.expectWord("with")
			if p.is("(") {
				p.advance()
				p.skipTo(")")
				p.expect(")")
			}
			return o.ended(p, at)
		}}
}

func (o *blockOp) bind(b *binder, in *relation) *relation {
	b.refuse(o.Span, "the operator %s", o.Word)
	switch o.Word {
	case "partition":
		if o.Body != nil {
			return b.nested(in, o.Body)
		}
	case "scan":
		for _, c := range o.Columns {
			in.columns = append(in.columns, column{name: uniqueName(c.Name.Name, in.has), typ: c.Type, expr: function.Nothing, null: true})
		}
		if o.Match != "" {
			in.columns = append(in.columns, column{name: o.Match, typ: schema.Long, expr: function.Nothing})
		}
	case "reduce":
		return &relation{from: in.from, columns: []column{{name: "Pattern", typ: schema.String, expr: function.Nothing}, {name: "Count", typ: schema.Long, expr: function.Nothing}, {name: "Representative", typ: schema.String, expr: function.Nothing}}}
	}
	return in
}

// findSource looks for rows in many tables.
type findSource struct {
	Span
	Text      string
	Tables    []unionTable
	Condition Expr
	Project   []string
}

func (p *parser) findSource() source {
	start := p.advance().Start
	s := &findSource{}
	p.parameters("withsource", "datascope")
	p.skipTo("|", ";")
	s.Span = p.since(start)
	s.Text = p.source[s.Span.Start:s.Span.End]
	return s
}

func (s *findSource) span() Span { return s.Span }

func (s *findSource) print(p *printer) { p.raw(s.Text) }

func (s *findSource) bindSource(b *binder) *relation {
	b.refuse(s.Span, "find")
	return &relation{open: true, from: sqlgen.Table("none")}
}

package kql

// renderOp asks for a visualisation; the rows stay as they are.
type renderOp struct {
	Span
	Kind    string
	Options []argument
}

func renderDecl() *declaration {
	return &declaration{name: "render", form: "render kind [with (title = text, ...)]", supported: true, doc: "Asks for a chart of the result.", example: "range x from 1 to 3 step 1 | render columnchart",
		parse: func(p *parser, _ string, at Span) operator {
			o := &renderOp{}
			if t := p.token(); t.kind == tokenName {
				o.Kind = t.text
				p.advance()
			} else {
				p.expected("a kind of chart")
			}
			if p.acceptWord("with") {
				o.Options = p.withOptions()
			} else {
				for _, q := range p.parameters("title", "xcolumn", "ycolumns", "series", "kind", "legend", "ysplit", "accumulate", "xaxis", "yaxis", "xtitle", "ytitle", "ymin", "ymax", "xmin", "xmax", "anomalycolumns") {
					o.Options = append(o.Options, argument{q.Name, q.Value})
				}
			}
			o.Span = p.since(at.Start)
			return o
		}}
}

func (o *renderOp) span() Span { return o.Span }

func (o *renderOp) print(p *printer) {
	p.word("render")
	p.word(o.Kind)
	if len(o.Options) > 0 {
		p.word("with")
		p.withOptions(o.Options)
	}
}

func (o *renderOp) bind(b *binder, in *relation) *relation {
	r := &Render{Kind: o.Kind, Properties: map[string]string{}}
	for _, a := range o.Options {
		l := parameters{{Name: a.Name, Value: a.Value}}
		r.Properties[a.Name] = l.word(a.Name)
	}
	b.render = r
	return in
}

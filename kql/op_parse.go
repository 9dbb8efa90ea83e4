package kql

import (
	"regexp"
	"strings"

	"github.com/otus-project/otus/kql/function"
	"github.com/otus-project/otus/kql/native"
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/kql/sqlgen"
)

// parseOp takes texts apart by a pattern of constants and columns.
type parseOp struct {
	Span
	Where  bool // parse-where: rows that do not fit are left out
	Params parameters
	Text   Expr
	Parts  []parsePart
}

// parsePart is a star, a constant or a column.
type parsePart struct {
	Star   bool
	Const  Expr
	Column nameExpr
	Type   schema.Type
	Typed  bool
}

func parseDecl() *declaration {
	return &declaration{name: "parse", form: `parse [kind=simple|regex|relaxed] text with * "constant" column:type ...`, supported: true, doc: "Takes texts apart by a pattern.",
		example: `print s = "id=7" | parse s with "id=" id:long`, parse: parseParse(false)}
}

func parseWhereDecl() *declaration {
	return &declaration{name: "parse-where", form: `parse-where [kind=simple|regex] text with * "constant" column:type ...`, supported: true,
		doc: "Takes texts apart by a pattern and leaves out those that do not fit.", example: `print s = "id=7" | parse-where s with "id=" id:long`, parse: parseParse(true)}
}

func parseParse(where bool) func(p *parser, _ string, at Span) operator {
	return func(p *parser, _ string, at Span) operator {
		o := &parseOp{Where: where, Params: p.parameters("kind", "flags")}
		o.Text = p.expr()
		p.expectWord("with")
		for {
			switch t := p.token(); {
			case p.is("*"):
				p.advance()
				o.Parts = append(o.Parts, parsePart{Star: true})
				continue
			case t.kind == tokenString:
				p.advance() // strings side by side are parts of their own here
				o.Parts = append(o.Parts, parsePart{Const: &literalExpr{t.Span, schema.String, t.text, ""}})
				continue
			case t.kind == tokenName || p.is("["):
				part := parsePart{Column: p.newName("a column"), Type: schema.String}
				if p.accept(":") {
					part.Type, part.Typed = p.typeName(), true
				}
				o.Parts = append(o.Parts, part)
				continue
			}
			break
		}
		o.Span = p.since(at.Start)
		if len(o.Parts) == 0 {
			p.expected("a pattern")
		}
		return o
	}
}

func (o *parseOp) span() Span { return o.Span }

func (o *parseOp) print(p *printer) {
	if o.Where {
		p.word("parse-where")
	} else {
		p.word("parse")
	}
	p.parameters(o.Params)
	o.Text.print(p)
	p.word("with")
	for _, part := range o.Parts {
		switch {
		case part.Star:
			p.word("*")
		case part.Const != nil:
			part.Const.print(p)
		default:
			p.name(part.Column)
			if part.Typed {
				p.text(":")
				p.word(part.Type.String())
			}
		}
	}
}

func (o *parseOp) bind(b *binder, in *relation) *relation {
	kind := o.Params.word("kind")
	if kind == "" {
		kind = "simple"
	}
	if kind != "simple" && kind != "regex" && kind != "relaxed" {
		b.fail(CodeArguments, o.Span, "", "there is no kind %q of parse", kind)
	}
	v := b.scalar(o.Text)
	pattern := o.pattern(b, kind)
	var added []boundColumn
	var columns []parsePart
	for _, part := range o.Parts {
		if !part.Star && part.Const == nil {
			columns = append(columns, part)
		}
	}
	subject, ok := sqlgen.Expr(function.Nothing), v.Type != schema.Unknown
	if ok {
		subject, ok = b.textOf(v, o.Text.span())
	}
	if _, err := regexp.Compile(pattern); err != nil && ok {
		b.fail(CodeLiteral, o.Span, "", "the pattern is not valid: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		ok = false
	}
	if !ok {
		for _, part := range columns {
			added = append(added, boundColumn{column: column{name: part.Column.Name, typ: part.Type, expr: function.Nothing, null: true}, at: part.Column.Span, named: true})
		}
		return b.extend(in, nil, added)
	}
	// The match is computed once, in a subquery; the columns read its groups.
	matched := b.fresh("matched")
	texts := make([]string, len(columns))
	s := b.selection(in)
	re := text(pattern)
	s.Items = append(s.Items, sqlgen.Item{Expr: b.d.Op("regex", subject, re), Alias: matched})
	for i, part := range columns {
		texts[i] = b.fresh(part.Column.Name)
		template := "regexp_extract($1, $2, " + itoa(i+1) + ")"
		if i >= 9 { // the store's own function knows nine groups
			template = "kql_extract($2, " + itoa(i+1) + ", $1)"
		}
		s.Items = append(s.Items, sqlgen.Item{Expr: sqlgen.Call{Template: template, Args: []sqlgen.Expr{subject, re}}, Alias: texts[i]})
	}
	in.from, in.where = s, nil
	fits := sqlgen.Expr(sqlgen.Column(matched))
	values := make([]sqlgen.Expr, len(columns))
	for i, part := range columns {
		t := part.Type
		raw := value{Arg: function.Arg{Expr: sqlgen.Column(texts[i]), Type: schema.String}}
		if t == schema.Dynamic {
			values[i] = sqlgen.Call{Template: "kql_json($1)", Args: []sqlgen.Expr{raw.Expr}}
		} else {
			values[i] = b.as(raw, t, part.Column.Span)
		}
		if t != schema.String && kind != "relaxed" {
			fits = b.d.Op("and", fits, b.d.Op("is_not_null", values[i]))
		}
	}
	if kind != "relaxed" {
		alias := b.fresh("fits")
		s2 := b.selection(in)
		for i := range texts {
			s2.Items = append(s2.Items, sqlgen.Item{Expr: sqlgen.Column(texts[i]), Alias: texts[i]})
		}
		s2.Items = append(s2.Items, sqlgen.Item{Expr: fits, Alias: alias})
		in.from = s2
		fits = sqlgen.Column(alias)
	} else {
		fits = sqlgen.Column(matched)
	}
	for i, part := range columns {
		empty := function.Constant(part.Type, nil)
		c := column{name: part.Column.Name, typ: part.Type, null: part.Type != schema.String}
		c.expr = sqlgen.Case{When: []sqlgen.Expr{fits}, Then: []sqlgen.Expr{values[i]}, Else: empty}
		added = append(added, boundColumn{column: c, at: part.Column.Span, named: true})
	}
	if o.Where {
		in.where = append(in.where, fits)
	}
	return b.extend(in, nil, added)
}

// pattern writes the parts as a regular expression: in the simple forms, columns take as little as they can.
func (o *parseOp) pattern(b *binder, kind string) string {
	var re strings.Builder
	flags := "s"
	any := "(.*?)"
	if kind == "regex" {
		any = "(.*)"
		for _, f := range o.Params.word("flags") {
			switch f {
			case 'i', 'm', 's':
				flags += string(f)
			case 'U':
				any = "(.*?)"
			default:
				b.refuse(o.Span, "the flag %c of parse", f)
			}
		}
	}
	re.WriteString("(?" + flags + ")^")
	for i, part := range o.Parts {
		last := i == len(o.Parts)-1
		switch {
		case part.Star:
			if !last {
				re.WriteString(".*?")
			}
		case part.Const != nil:
			s, _ := b.scalar(part.Const).Value.(string)
			if kind == "regex" {
				re.WriteString("(?:" + native.UnicodeClasses(noGroups(s)) + ")")
			} else {
				re.WriteString(quoteRegex(s))
			}
		default:
			beforeStar := !last && o.Parts[i+1].Star
			switch {
			case isInteger(part.Type) && (kind == "regex" || beforeStar):
				re.WriteString(`([-+]?[0-9]+)`)
				if kind == "relaxed" {
					re.WriteString("?")
				}
			case beforeStar:
				b.refuse(part.Column.Span, "a %s before * in a pattern of parse", part.Type)
				re.WriteString(any)
			default:
				re.WriteString(any)
			}
			if i > 0 && !o.Parts[i-1].Star && o.Parts[i-1].Const == nil {
				b.fail(CodeSyntax, part.Column.Span, "put a constant between them", "two columns stand side by side in the pattern")
			}
			if last {
				re.WriteString("$")
			}
		}
	}
	if len(o.Parts) > 0 && o.Parts[len(o.Parts)-1].Const != nil && kind != "regex" {
		re.WriteString("$")
	}
	return re.String()
}

// noGroups makes capturing groups of a pattern not capture, so that the columns keep their numbers.
func noGroups(s string) string {
	var b strings.Builder
	class := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		b.WriteByte(c)
		switch {
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case c == '[':
			class = true
		case c == ']':
			class = false
		case c == '(' && !class && !strings.HasPrefix(s[i+1:], "?"):
			b.WriteString("?:")
		}
	}
	return b.String()
}

// parseKVOp reads key-value pairs out of a text.
type parseKVOp struct {
	Span
	Text    Expr
	Columns []columnDecl
	Options []argument
}

func parseKVDecl() *declaration {
	return &declaration{name: "parse-kv", form: `parse-kv text as (column:type, ...) with (pair_delimiter=",", kv_delimiter="=")`, supported: true, doc: "Reads key-value pairs out of a text.",
		example: `print s = "a=1;b=2" | parse-kv s as (a:long, b:long) with (pair_delimiter=";", kv_delimiter="=")`,
		parse: func(p *parser, _ string, at Span) operator {
			o := &parseKVOp{Text: p.expr()}
			p.expectWord("as")
			if p.expect("(") {
				o.Columns = p.columnDecls(")")
			}
			if p.acceptWord("with") {
				o.Options = p.withOptions()
			}
			o.Span = p.since(at.Start)
			return o
		}}
}

func (o *parseKVOp) span() Span { return o.Span }

func (o *parseKVOp) print(p *printer) {
	p.word("parse-kv")
	o.Text.print(p)
	p.word("as")
	p.text("(")
	p.columnDecls(o.Columns)
	p.text(")")
	if len(o.Options) > 0 {
		p.word("with")
		p.withOptions(o.Options)
	}
}

func (o *parseKVOp) bind(b *binder, in *relation) *relation {
	b.rowLocal = false
	settings := map[string]string{"pair_delimiter": "", "kv_delimiter": "", "quote": "", "escape": ""}
	for _, a := range o.Options {
		v := b.scalar(a.Value)
		s, ok := v.Value.(string)
		if _, known := settings[a.Name]; !known || !ok {
			b.refuse(o.Span, "the setting %s of parse-kv", a.Name)
			continue
		}
		settings[a.Name] = s
	}
	if settings["pair_delimiter"] == "" || settings["kv_delimiter"] == "" {
		b.refuse(o.Span, "parse-kv without both delimiters")
	}
	v := b.scalar(o.Text)
	subject := sqlgen.Expr(function.Nothing)
	if v.Type != schema.Unknown {
		subject, _ = b.textOf(v, o.Text.span())
	}
	pairs := b.fresh("pairs")
	s := b.selection(in)
	s.Items = append(s.Items, sqlgen.Item{Expr: sqlgen.Call{Template: "kql_parse_kv($1, $2, $3, $4, $5)",
		Args: []sqlgen.Expr{subject, text(settings["pair_delimiter"]), text(settings["kv_delimiter"]), text(settings["quote"]), text(settings["escape"])}}, Alias: pairs})
	in.from, in.where = s, nil
	var added []boundColumn
	for _, c := range o.Columns {
		found := value{Arg: function.Arg{Expr: sqlgen.Call{Template: "kql_get_key($1, $2)", Args: []sqlgen.Expr{sqlgen.Column(pairs), text(c.Name.Name)}}, Type: schema.Dynamic, Null: true}}
		e := found.Expr
		if c.Type != schema.Dynamic {
			e = b.as(found, c.Type, c.Name.Span)
		}
		added = append(added, boundColumn{column: column{name: c.Name.Name, typ: c.Type, expr: e, null: c.Type != schema.String}, at: c.Name.Span, named: true})
	}
	return b.extend(in, nil, added)
}

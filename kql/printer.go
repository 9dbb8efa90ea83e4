package kql

import (
	"fmt"
	"strings"

	"github.com/otus-project/otus/kql/schema"
)

// printer writes a tree as text of the language, in one form for equal trees: parsed again it gives the same tree.
type printer struct {
	b     strings.Builder
	glued bool // nothing may stand between what was written and what comes
}

// Format parses a query and writes it in its plain form. The error of a bad query is an *Error.
func Format(source string) (string, error) {
	r := &report{source: source}
	statements := parse(source, r)
	if err := r.err(); err != nil {
		return "", err
	}
	return printStatements(statements), nil
}

func printStatements(list []statement) string {
	p := &printer{}
	for i, s := range list {
		if i > 0 {
			p.b.WriteString(";\n")
			p.glued = true
		}
		s.print(p)
	}
	return p.b.String()
}

// word writes a word with a blank before it.
func (p *printer) word(s string) {
	if p.b.Len() > 0 && !p.glued {
		p.b.WriteByte(' ')
	}
	p.glued = false
	p.b.WriteString(s)
}

// text writes punctuation; brackets hold what is in them close.
func (p *printer) text(s string) {
	switch s {
	case "(", "[", "{":
		if p.b.Len() > 0 && !p.glued {
			p.b.WriteByte(' ')
		}
		p.b.WriteString(s)
		p.glued = true
		return
	case ")", "]", "}", ",", ":":
		p.b.WriteString(s)
		p.glued = s == ":"
		return
	}
	p.word(s)
}

func (p *printer) raw(s string) { p.word(s) }

// glue writes without a blank on either side.
func (p *printer) glue(s string) {
	p.b.WriteString(s)
	p.glued = true
}

func (p *printer) name(n nameExpr) {
	if n.Bracket {
		p.word("['" + escapeQuoted(n.Name) + "']")
		return
	}
	p.word(n.Name)
}

func escapeQuoted(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch r {
		case '\\', '\'', '"':
			b.WriteByte('\\')
			b.WriteRune(r)
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func (p *printer) named(n namedExpr) {
	switch {
	case n.Tuple:
		p.text("(")
		for i, name := range n.Names {
			if i > 0 {
				p.text(",")
			}
			p.name(name)
		}
		p.text(")")
		p.word("=")
	case len(n.Names) == 1:
		p.name(n.Names[0])
		p.word("=")
	}
	n.Value.print(p)
}

func (p *printer) namedList(list []namedExpr) {
	for i, n := range list {
		if i > 0 {
			p.text(",")
		}
		p.named(n)
	}
}

func (p *printer) list(list []Expr) {
	for i, e := range list {
		if i > 0 {
			p.text(",")
		}
		e.print(p)
	}
}

func (p *printer) parameters(list parameters) {
	for _, q := range list {
		p.word(q.Name)
		p.glue("=")
		q.Value.print(p)
	}
}

func (p *printer) columnDecls(list []columnDecl) {
	for i, c := range list {
		if i > 0 {
			p.text(",")
		}
		p.name(c.Name)
		p.text(":")
		p.word(c.Type.String())
	}
}

// operand writes an expression where only a simple one may stand.
func (p *printer) operand(e Expr) {
	switch e.(type) {
	case nameExpr, *callExpr, *pathExpr, *indexExpr, *literalExpr, *starExpr, *pipeExpr, *typeExpr:
		e.print(p)
	default:
		p.text("(")
		e.print(p)
		p.text(")")
	}
}

func (e nameExpr) print(p *printer)      { p.name(e) }
func (e *starExpr) print(p *printer)     { p.word("*") }
func (e *wildcardExpr) print(p *printer) { p.word(e.Pattern) }

func (e *literalExpr) print(p *printer) {
	switch {
	case e.Type == schema.String:
		s, _ := e.Value.(string)
		p.word(quoted(s))
	case e.Type == schema.Dynamic && e.Value != nil:
		p.word("dynamic(" + e.Text[strings.IndexByte(e.Text, '(')+1:])
	default:
		p.word(e.Text)
	}
}

func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(s) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < 0x20:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func (e *typeExpr) print(p *printer) {
	p.word("typeof")
	p.glue("(")
	if e.Tabular {
		if len(e.Columns) == 0 {
			p.word("*")
		}
		p.columnDecls(e.Columns)
	} else {
		p.word(e.Type.String())
	}
	p.text(")")
}

func (e *pathExpr) print(p *printer) {
	p.operand(e.X)
	p.glue(".")
	if e.Call != nil {
		e.Call.print(p)
		return
	}
	p.name(e.Name)
}

func (e *indexExpr) print(p *printer) {
	p.operand(e.X)
	p.glue("[")
	if l, ok := e.Index.(*literalExpr); ok && l.Type == schema.String {
		// A lone string in brackets would read as a name elsewhere; here it is an element.
		p.word(quoted(l.Value.(string)))
	} else {
		e.Index.print(p)
	}
	p.text("]")
}

func (e *callExpr) print(p *printer) {
	p.name(e.Name)
	p.glue("(")
	for i, a := range e.Args {
		if i > 0 {
			p.text(",")
		}
		if a.Name != "" {
			p.word(a.Name)
			p.glue("=")
		}
		if q, ok := a.Value.(*pipeExpr); ok && len(e.Args) == 1 {
			q.Pipe.print(p)
			continue
		}
		a.Value.print(p)
	}
	p.text(")")
}

func (e *unaryExpr) print(p *printer) {
	p.word(e.Op)
	p.glued = true
	if _, ok := e.X.(*unaryExpr); ok {
		p.text("(")
		e.X.print(p)
		p.text(")")
		return
	}
	p.operand(e.X)
}

// level is how tightly an expression binds.
func level(e Expr) int {
	switch e := e.(type) {
	case *binaryExpr:
		switch e.Op {
		case "or":
			return 1
		case "and":
			return 2
		case "==", "!=":
			return 3
		case "<", ">", "<=", ">=":
			return 4
		case "+", "-":
			return 5
		case "*", "/", "%":
			return 6
		}
		return 7
	case *inExpr, *betweenExpr:
		return 3
	case *unaryExpr:
		return 8
	}
	return 9
}

func (p *printer) within(e Expr, least int) {
	if level(e) < least {
		p.text("(")
		e.print(p)
		p.text(")")
		return
	}
	e.print(p)
}

func (e *binaryExpr) print(p *printer) {
	l := level(e)
	p.within(e.L, l)
	p.word(e.Op)
	p.within(e.R, l+1)
}

func (e *inExpr) print(p *printer) {
	p.within(e.X, 3)
	p.word(e.Op)
	p.text("(")
	for i, x := range e.List {
		if i > 0 {
			p.text(",")
		}
		if q, ok := x.(*pipeExpr); ok && len(e.List) == 1 {
			q.Pipe.print(p)
			continue
		}
		x.print(p)
	}
	p.text(")")
}

func (e *betweenExpr) print(p *printer) {
	p.within(e.X, 3)
	if e.Not {
		p.word("!between")
	} else {
		p.word("between")
	}
	p.text("(")
	e.Low.print(p)
	p.word("..")
	e.High.print(p)
	p.text(")")
}

func (e *pipeExpr) print(p *printer) {
	p.text("(")
	e.Pipe.print(p)
	p.text(")")
}

func (e *functionExpr) print(p *printer) {
	if e.View {
		p.word("view")
	}
	p.text("(")
	p.params(e.Params)
	p.text(")")
	p.text("{")
	p.glued = false
	for _, s := range e.Statements {
		s.print(p)
		p.b.WriteByte(';')
	}
	if e.Body != nil {
		e.Body.print(p)
	}
	p.word("}")
}

func (p *printer) params(list []param) {
	for i, q := range list {
		if i > 0 {
			p.text(",")
		}
		p.name(q.Name)
		p.text(":")
		switch {
		case q.AnyCols:
			p.word("(*)")
		case q.Tabular:
			p.text("(")
			p.columnDecls(q.Columns)
			p.text(")")
		default:
			p.word(q.Type.String())
		}
		if q.Default != nil {
			p.word("=")
			q.Default.print(p)
		}
	}
}

func (s *pipeline) print(p *printer) {
	s.Source.print(p)
	for _, op := range s.Operators {
		p.b.WriteString("\n|")
		p.glued = false
		op.print(p)
	}
}

func (s *exprSource) print(p *printer) { s.Expr.print(p) }

func (s *letStatement) print(p *printer) {
	p.word("let")
	p.name(s.Name)
	p.word("=")
	if q, ok := s.Value.(*pipeExpr); ok {
		q.Pipe.print(p)
		return
	}
	s.Value.print(p)
}

func (s *setStatement) print(p *printer) {
	p.word("set")
	p.word(s.Name)
	if s.Value != nil {
		p.word("=")
		s.Value.print(p)
	}
}

func (s *declareStatement) print(p *printer) {
	p.word("declare")
	p.word("query_parameters")
	p.text("(")
	p.params(s.Params)
	p.text(")")
}

func (s *refusedStatement) print(p *printer) { p.raw(s.Text) }

func (s *queryStatement) print(p *printer) { s.Pipe.print(p) }

package kql

import (
	"fmt"
	"strings"
)

// maxDepth bounds how deep expressions, parentheses and pipelines nest.
const maxDepth = 200

// parser reads tokens into the tree. After an error it goes on at the next pipe or semicolon, so that one
// run finds several errors.
type parser struct {
	source string
	tokens []token
	at     int
	report *report
	depth  int
}

// parse reads a whole query text.
func parse(source string, r *report) []statement {
	p := &parser{source: source, tokens: lex(source, r), report: r}
	var list []statement
	for p.kind() != tokenEnd {
		if p.accept(";") {
			continue
		}
		before := p.at
		s := p.statement()
		if s != nil {
			list = append(list, s)
		}
		if p.kind() != tokenEnd && !p.is(";") {
			p.stray()
			p.skipTo(";")
		}
		if p.at == before {
			p.at++
		}
	}
	return list
}

func (p *parser) token() token    { return p.tokens[p.at] }
func (p *parser) kind() tokenKind { return p.tokens[p.at].kind }
func (p *parser) text() string    { return p.tokens[p.at].text }

func (p *parser) ahead(n int) token {
	if p.at+n < len(p.tokens) {
		return p.tokens[p.at+n]
	}
	return p.tokens[len(p.tokens)-1]
}

// last is the end of the token read last.
func (p *parser) last() int {
	if p.at == 0 {
		return 0
	}
	return p.tokens[p.at-1].End
}

func (p *parser) since(start int) Span { return Span{start, max(p.last(), start)} }

func (p *parser) advance() token {
	t := p.tokens[p.at]
	if p.at < len(p.tokens)-1 {
		p.at++
	}
	return t
}

// is tells whether the next token is this punctuation.
func (p *parser) is(text string) bool {
	return p.kind() == tokenOperator && p.text() == text
}

// isWord tells whether the next token is this word.
func (p *parser) isWord(word string) bool { return p.kind() == tokenName && p.text() == word }

func (p *parser) accept(text string) bool {
	if p.is(text) {
		p.advance()
		return true
	}
	return false
}

func (p *parser) acceptWord(word string) bool {
	if p.isWord(word) {
		p.advance()
		return true
	}
	return false
}

func (p *parser) expect(text string) bool {
	if p.accept(text) {
		return true
	}
	p.expected("%q", text)
	return false
}

func (p *parser) expectWord(word string) bool {
	if p.acceptWord(word) {
		return true
	}
	p.expected("%q", word)
	return false
}

// expected reports what stands here and what should.
func (p *parser) expected(format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	t := p.token()
	p.report.add(CodeSyntax, t.Span, "", "expected %s, found %s", what, t.describe())
}

func (t token) describe() string {
	switch t.kind {
	case tokenEnd:
		return "the end of the query"
	case tokenString:
		return "a string"
	default:
		return fmt.Sprintf("%q", t.text)
	}
}

// stray reports a token after a complete query.
func (p *parser) stray() {
	t := p.token()
	if t.kind == tokenName {
		p.report.add(CodeSyntax, t.Span, "remove it, or put | before an operator and ; between queries", "unexpected word %q", t.text)
		return
	}
	p.report.add(CodeSyntax, t.Span, "", "unexpected %s; expected |, ; or the end of the query", t.describe())
}

// skipTo moves to the next of the given punctuation outside brackets, or to the end.
func (p *parser) skipTo(stops ...string) {
	nesting := 0
	for p.kind() != tokenEnd {
		if p.kind() == tokenOperator {
			switch p.text() {
			case "(", "[", "{":
				nesting++
			case ")", "]", "}":
				nesting--
				if nesting < 0 {
					return
				}
				p.advance()
				continue
			}
			if nesting == 0 {
				for _, s := range stops {
					if p.text() == s {
						return
					}
				}
			}
		}
		p.advance()
	}
}

// enter counts a level of nesting; false means the limit is reached and nothing more is read.
func (p *parser) enter() bool {
	p.depth++
	if p.depth > maxDepth {
		p.report.add(CodeLimit, p.token().Span, "", "the query nests deeper than %d levels", maxDepth)
		p.at = len(p.tokens) - 1
		return false
	}
	return true
}

func (p *parser) leave() { p.depth-- }

func (p *parser) statement() statement {
	start := p.token().Start
	switch next := p.ahead(1); {
	case p.isWord("let") && (next.kind == tokenName || next.text == "["):
		return p.let()
	case p.isWord("set") && next.kind == tokenName:
		p.advance()
		s := &setStatement{Name: p.advance().text}
		for p.is(".") {
			p.advance()
			s.Name += "." + p.advance().text
		}
		if p.accept("=") {
			s.Value = p.expr()
		}
		s.Span = p.since(start)
		return s
	case p.isWord("declare") && next.text == "query_parameters":
		p.at += 2
		s := &declareStatement{Params: p.params()}
		s.Span = p.since(start)
		return s
	case p.isWord("declare") && next.kind == tokenName, p.isWord("alias") && next.kind == tokenName, p.isWord("restrict") && next.text == "access":
		word := p.text()
		if word == "declare" {
			word += " " + next.text
		}
		p.skipTo(";")
		span := p.since(start)
		return &refusedStatement{span, word, p.source[span.Start:span.End]}
	}
	pipe := p.pipeline()
	if pipe == nil {
		return nil
	}
	return &queryStatement{pipe.Span, pipe}
}

func (p *parser) let() statement {
	start := p.advance().Start
	s := &letStatement{Name: p.name("a name")}
	p.expect("=")
	switch {
	case p.startsFunction():
		s.Value = p.function()
	default:
		s.Value = p.argumentValue()
	}
	s.Span = p.since(start)
	return s
}

// startsFunction tells a function "(a:int) {" from an expression in parentheses.
func (p *parser) startsFunction() bool {
	if p.isWord("view") && p.ahead(1).text == "(" {
		return true
	}
	if !p.is("(") {
		return p.is("{")
	}
	nesting := 0
	for i := p.at; i < len(p.tokens); i++ {
		if p.tokens[i].kind != tokenOperator {
			continue
		}
		switch p.tokens[i].text {
		case "(":
			nesting++
		case ")":
			nesting--
			if nesting == 0 {
				return p.tokens[min(i+1, len(p.tokens)-1)].text == "{"
			}
		case ";", "|":
			if nesting == 0 {
				return false
			}
		}
	}
	return false
}

func (p *parser) function() Expr {
	f := &functionExpr{}
	start := p.token().Start
	if !p.enter() {
		return f
	}
	defer p.leave()
	f.View = p.acceptWord("view")
	if p.is("(") {
		f.Params = p.params()
	}
	p.expect("{")
	for !p.is("}") && p.kind() != tokenEnd {
		if p.accept(";") {
			continue
		}
		before := p.at
		switch s := p.statement().(type) {
		case nil:
		case *queryStatement:
			f.Body = s.Pipe
		default:
			f.Statements = append(f.Statements, s)
		}
		if !p.is("}") && !p.is(";") && p.kind() != tokenEnd {
			p.stray()
			p.skipTo(";", "}")
		}
		if p.at == before {
			p.advance()
		}
	}
	p.expect("}")
	f.Span = p.since(start)
	return f
}

func (p *parser) params() []param {
	p.expect("(")
	var list []param
	for !p.is(")") && p.kind() != tokenEnd {
		before := p.at
		q := param{Name: p.name("a parameter")}
		p.expect(":")
		if p.accept("(") {
			q.Tabular = true
			if p.accept("*") {
				q.AnyCols = true
				p.expect(")")
			} else {
				q.Columns = p.columnDecls(")")
			}
		} else {
			q.Type = p.typeName()
		}
		if p.accept("=") {
			q.Default = p.expr()
		}
		list = append(list, q)
		if !p.accept(",") || p.at == before {
			break
		}
	}
	p.expect(")")
	return list
}

// columnDecls reads name:type, ... up to and with the closing punctuation.
func (p *parser) columnDecls(closing string) []columnDecl {
	var list []columnDecl
	for !p.is(closing) && p.kind() != tokenEnd {
		before := p.at
		c := columnDecl{Name: p.name("a column")}
		p.expect(":")
		c.Type = p.typeName()
		list = append(list, c)
		if !p.accept(",") || p.at == before {
			break
		}
	}
	p.expect(closing)
	return list
}

// name reads a name, plain or in brackets.
func (p *parser) name(what string) nameExpr {
	t := p.token()
	switch {
	case t.kind == tokenName:
		p.advance()
		return nameExpr{t.Span, t.text, false}
	case p.is("[") && p.ahead(1).kind == tokenString && p.ahead(2).text == "]":
		p.advance()
		text := p.advance().text
		p.advance()
		return nameExpr{p.since(t.Start), text, true}
	}
	p.expected("%s", what)
	return nameExpr{Span: Span{t.Start, t.Start}}
}

// newName reads a name that is being declared; a word with a meaning of its own needs brackets there.
func (p *parser) newName(what string) nameExpr {
	n := p.name(what)
	p.checkNew(n)
	return n
}

func (p *parser) checkNew(n nameExpr) {
	if !n.Bracket && reserved[n.Name] {
		p.report.add(CodeSyntax, n.Span, fmt.Sprintf("write ['%s']", n.Name), "%q is a word of the language and cannot be a name without brackets", n.Name)
	}
}

// reserved are the words that cannot name a new column or variable.
var reserved = wordSet(`accumulate and as asc assert-schema bagexpansion between by contains contains_cs datatable desc
	earliest endswith endswith_cs externaldata external_data find first flags has has_any has_all has_cs hasprefix hasprefix_cs
	hassuffix hassuffix_cs in invoke isfuzzy journal kind last latest like likecs materialize missing notcontains notlike of or others
	project relaxed sample search set simple sql startswith startswith_cs statistics timeline to toscalar totable union
	verbose where with_itemindex with_match_id with_source with_step_name withsource boolean char byte int uint long ulong float real
	decimal double string time timespan date datetime uniqueid dynamic`)

func wordSet(words string) map[string]bool {
	set := map[string]bool{}
	for w := range strings.FieldsSeq(words) {
		set[w] = true
	}
	return set
}

// pipeline reads a source and its operators.
func (p *parser) pipeline() *pipeline {
	if !p.enter() {
		return nil
	}
	defer p.leave()
	start := p.token().Start
	pipe := &pipeline{Source: p.source_()}
	p.operators(pipe)
	pipe.Span = p.since(start)
	return pipe
}

func (p *parser) operators(pipe *pipeline) {
	for p.is("|") {
		p.advance()
		before, errors := p.at, p.report.errors
		if op := p.operator(); op != nil {
			pipe.Operators = append(pipe.Operators, op)
		}
		if p.report.errors > errors {
			p.skipTo("|", ";")
		}
		if p.at == before && !p.is("|") {
			break
		}
	}
}

// source_ reads what a pipeline begins with.
func (p *parser) source_() source {
	if s := p.keywordSource(); s != nil {
		return s
	}
	start := p.token().Start
	e := p.expr()
	return &exprSource{p.since(start), e}
}

// keywordSource reads a source that begins with a word of its own, or nothing.
func (p *parser) keywordSource() source {
	if p.kind() != tokenName {
		return nil
	}
	next := p.ahead(1)
	switch p.text() {
	case "print":
		return p.printSource()
	case "range":
		if next.kind == tokenName || next.text == "[" {
			return p.rangeSource()
		}
	case "datatable":
		return p.datatable()
	case "externaldata", "external_data":
		return p.externaldata()
	case "union":
		if !next.isAny("|", ";", ")", ".") {
			return p.unionSource()
		}
	case "search":
		if !next.isAny("|", ";", ")", ".", "=") {
			return p.searchSource()
		}
	case "find":
		if !next.isAny("|", ";", ".", "=") {
			return p.findSource()
		}
	case "evaluate":
		if next.kind == tokenName {
			return p.evaluateSource()
		}
	}
	return nil
}

func (t token) isAny(texts ...string) bool {
	if t.kind == tokenEnd {
		return true
	}
	for _, s := range texts {
		if t.kind == tokenOperator && t.text == s {
			return true
		}
	}
	return false
}

// operatorWord reads an operator's name, whose parts may be joined by dashes.
func (p *parser) operatorWord() (string, Span) {
	t := p.token()
	if t.kind != tokenName {
		p.expected("an operator after |")
		return "", t.Span
	}
	p.advance()
	word := t.text
	for p.is("-") && !p.token().spaced && p.ahead(1).kind == tokenName && !p.ahead(1).spaced {
		p.advance()
		word += "-" + p.advance().text
	}
	return word, p.since(t.Start)
}

func (p *parser) operator() operator {
	word, at := p.operatorWord()
	if word == "" {
		return nil
	}
	o := operatorNamed(word)
	if o == nil {
		p.report.add(CodeOperator, at, didYouMean(word, operatorNames()), "there is no operator %q", word)
		return nil
	}
	return o.parse(p, word, at)
}

// parameters are the name=value settings of an operator.
type parameters []parameter

type parameter struct {
	Span
	Name  string
	Value Expr
}

func (l parameters) get(name string) Expr {
	for _, q := range l {
		if q.Name == name {
			return q.Value
		}
	}
	return nil
}

// word gives the value of a parameter that is written as a bare word.
func (l parameters) word(name string) string {
	switch e := l.get(name).(type) {
	case nameExpr:
		return e.Name
	case *literalExpr:
		if s, ok := e.Value.(string); ok {
			return s
		}
		if b, ok := e.Value.(bool); ok {
			return fmt.Sprint(b)
		}
	}
	return ""
}

// parameters reads the settings that stand between an operator and its operands.
func (p *parser) parameters(allowed ...string) parameters {
	var list parameters
	for p.kind() == tokenName {
		n := 1
		for p.ahead(n).text == "." && p.ahead(n+1).kind == tokenName {
			n += 2
		}
		if eq := p.ahead(n); eq.kind != tokenOperator || eq.text != "=" {
			break
		}
		start := p.at
		name := p.advance().text
		for p.accept(".") {
			name += "." + p.advance().text
		}
		known := strings.HasPrefix(name, "hint.")
		for _, a := range allowed {
			known = known || a == name
		}
		if !known {
			p.at = start
			break
		}
		p.advance()
		q := parameter{Name: name, Value: p.parameterValue()}
		q.Span = p.since(p.tokens[start].Start)
		list = append(list, q)
	}
	return list
}

// parameterValue reads a setting's value. A word is only a word: what stands in parentheses after it is not its own.
func (p *parser) parameterValue() Expr {
	if t := p.token(); t.kind == tokenName && t.text != "true" && t.text != "false" && t.text != "dynamic" {
		p.advance()
		return nameExpr{t.Span, t.text, false}
	}
	return p.postfix()
}

// namedList reads expressions with optional names, separated by commas.
func (p *parser) namedList() []namedExpr {
	var list []namedExpr
	for {
		list = append(list, p.named())
		if !p.accept(",") {
			return list
		}
		if len(list) > maxList {
			p.report.add(CodeLimit, p.token().Span, "", "the list has more than %d parts", maxList)
			p.at = len(p.tokens) - 1
			return list
		}
	}
}

// maxList bounds the parts of one list.
const maxList = 20000

func (p *parser) named() namedExpr {
	start := p.token().Start
	n := namedExpr{}
	next := p.ahead(1)
	switch {
	case p.kind() == tokenName && next.kind == tokenOperator && next.text == "=":
		n.Names = []nameExpr{p.newName("a name")}
		p.advance()
	case p.is("[") && next.kind == tokenString && p.ahead(2).text == "]" && p.ahead(3).text == "=" && p.ahead(3).kind == tokenOperator:
		n.Names = []nameExpr{p.name("a name")}
		p.advance()
	case p.is("(") && p.isTuple():
		n.Tuple = true
		p.advance()
		for !p.is(")") && p.kind() != tokenEnd {
			n.Names = append(n.Names, p.newName("a name"))
			if !p.accept(",") {
				break
			}
		}
		p.expect(")")
		p.expect("=")
	}
	n.Value = p.expr()
	n.Span = p.since(start)
	return n
}

// isTuple tells (a, b) = f() from an expression in parentheses.
func (p *parser) isTuple() bool {
	i := p.at + 1
	for i < len(p.tokens) {
		switch t := p.tokens[i]; {
		case t.kind == tokenName, t.kind == tokenString, t.isAny(",", "[", "]") && t.kind != tokenEnd:
			i++
		case t.kind == tokenOperator && t.text == ")":
			after := p.tokens[min(i+1, len(p.tokens)-1)]
			return after.kind == tokenOperator && after.text == "="
		default:
			return false
		}
	}
	return false
}

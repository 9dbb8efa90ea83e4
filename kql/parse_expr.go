package kql

import (
	"strings"

	"github.com/otus-project/otus/kql/native"
	"github.com/otus-project/otus/kql/schema"
)

// Expressions, from the loosest binding to the tightest: or, and, equality and membership, order, sums,
// products, string operators, signs, then paths, elements and calls.

func (p *parser) expr() Expr {
	if !p.enter() {
		return &literalExpr{Span: p.token().Span}
	}
	defer p.leave()
	return p.chain(p.and, "or")
}

func (p *parser) and() Expr { return p.chain(p.equality, "and") }

// chain reads operands joined by a word.
func (p *parser) chain(operand func() Expr, word string) Expr {
	left := operand()
	for n := 0; p.isWord(word); n++ {
		op := p.advance()
		right := operand()
		left = &binaryExpr{left.span().to(right.span()), word, op.Span, left, right}
		if n > maxList {
			p.report.add(CodeLimit, op.Span, "", "more than %d conditions", maxList)
			p.at = len(p.tokens) - 1
		}
	}
	return left
}

func (p *parser) equality() Expr {
	left := p.relational()
	for {
		t := p.token()
		switch {
		case p.is("==") || p.is("!=") || p.is("<>"):
			p.advance()
			left = p.binary(left, t, p.relational())
		case t.isMember():
			p.advance()
			e := &inExpr{Op: t.text, X: left, List: p.operandList()}
			e.Span = p.since(left.span().Start)
			left = e
		case t.text == "between" && t.kind == tokenName, t.text == "!between" && t.kind == tokenOperator:
			p.advance()
			e := &betweenExpr{Not: t.text[0] == '!', X: left}
			p.expect("(")
			e.Low = p.expr()
			p.expect("..")
			e.High = p.expr()
			p.expect(")")
			e.Span = p.since(left.span().Start)
			left = e
		default:
			return left
		}
	}
}

// isMember tells whether the token is an operator with a list at its right.
func (t token) isMember() bool {
	switch t.text {
	case "in", "has_any", "has_all":
		return t.kind == tokenName
	case "!in", "in~", "!in~", "has_any~", "has_all~", "!has_any", "!has_all":
		return t.kind == tokenOperator
	}
	return false
}

// operandList reads the list of in: in parentheses, values or one query.
func (p *parser) operandList() []Expr {
	if !p.is("(") {
		return []Expr{p.relational()}
	}
	p.advance()
	var list []Expr
	for !p.is(")") && p.kind() != tokenEnd {
		list = append(list, p.argumentValue())
		if !p.accept(",") {
			break
		}
		if len(list) > maxList {
			p.report.add(CodeLimit, p.token().Span, "", "the list has more than %d values", maxList)
			p.at = len(p.tokens) - 1
		}
	}
	p.expect(")")
	return list
}

func (p *parser) binary(left Expr, op token, right Expr) Expr {
	text := op.text
	if text == "<>" {
		text = "!="
	}
	return &binaryExpr{left.span().to(right.span()), text, op.Span, left, right}
}

func (p *parser) relational() Expr {
	return p.binaries(p.additive, "<", ">", "<=", ">=")
}

func (p *parser) additive() Expr { return p.binaries(p.multiplicative, "+", "-") }

func (p *parser) multiplicative() Expr { return p.binaries(p.stringOperator, "*", "/", "%") }

func (p *parser) binaries(operand func() Expr, ops ...string) Expr {
	left := operand()
	for n := 0; p.kind() == tokenOperator; n++ {
		t := p.token()
		found := false
		for _, op := range ops {
			found = found || t.text == op
		}
		if !found || n > maxList {
			break
		}
		p.advance()
		left = p.binary(left, t, operand())
	}
	return left
}

// stringOperators are the operators on strings, without the ! of their negations.
var stringOperators = wordSet(`has has_cs contains contains_cs startswith startswith_cs endswith endswith_cs hasprefix hasprefix_cs
	hassuffix hassuffix_cs like likecs notcontains notcontainscs containscs`)

func (p *parser) stringOperator() Expr {
	left := p.unary()
	for {
		t := p.token()
		switch {
		case p.is("=~") || p.is("!~") || p.is(":"):
			if p.is(":") && !p.searchTerm() {
				return left
			}
			p.advance()
			left = p.binary(left, t, p.unary())
		case t.kind == tokenName && stringOperators[t.text], t.kind == tokenOperator && len(t.text) > 1 && t.text[0] == '!' && stringOperators[t.text[1:]]:
			p.advance()
			left = p.binary(left, t, p.unary())
		case t.kind == tokenName && t.text == "matches" && p.ahead(1).text == "regex":
			p.advance()
			p.advance()
			t.text = "matches regex"
			t.End = p.last()
			left = p.binary(left, t, p.unary())
		default:
			return left
		}
	}
}

// searchTerm: "column:term" only means "has" where a string or word follows at once, in search.
func (p *parser) searchTerm() bool {
	next := p.ahead(1)
	return next.kind == tokenString || next.kind == tokenNumber
}

func (p *parser) unary() Expr {
	t := p.token()
	if p.is("-") || p.is("+") {
		if !p.enter() {
			return &literalExpr{Span: t.Span}
		}
		defer p.leave()
		p.advance()
		x := p.unary()
		return &unaryExpr{Span{t.Start, x.span().End}, t.text, x}
	}
	return p.postfix()
}

// postfix reads a primary expression with the paths, elements and calls after it.
func (p *parser) postfix() Expr {
	x := p.primary()
	for n := 0; n < maxList; n++ {
		switch {
		case p.is("."):
			p.advance()
			if p.is("[") && p.ahead(1).kind != tokenString {
				x = p.index(x)
				continue
			}
			x = p.member(x)
		case p.is("[") && !p.startsList():
			x = p.index(x)
		default:
			return x
		}
	}
	return x
}

// startsList: a bracket on a new line after a complete expression begins no element access.
func (p *parser) startsList() bool { return false }

func (p *parser) member(x Expr) Expr {
	name := p.memberName()
	if p.is("(") && !name.Bracket {
		c := p.call(name)
		return &pathExpr{p.since(x.span().Start), x, name, c}
	}
	return &pathExpr{p.since(x.span().Start), x, name, nil}
}

// memberName reads a name after a dot; type words and typed literals are plain names there.
func (p *parser) memberName() nameExpr {
	if t := p.token(); t.kind == tokenTyped {
		p.advance()
		return nameExpr{t.Span, t.text, false}
	}
	return p.name("a name after the dot")
}

func (p *parser) index(x Expr) Expr {
	p.advance()
	e := &indexExpr{X: x, Index: p.expr()}
	p.expect("]")
	e.Span = p.since(x.span().Start)
	return e
}

func (p *parser) call(name nameExpr) Expr {
	c := &callExpr{Name: name}
	p.advance()
	for !p.is(")") && p.kind() != tokenEnd {
		before := p.at
		a := argument{}
		if next := p.ahead(1); p.kind() == tokenName && next.kind == tokenOperator && next.text == "=" {
			a.Name = p.advance().text
			p.advance()
		}
		a.Value = p.argumentValue()
		c.Args = append(c.Args, a)
		if !p.accept(",") || p.at == before {
			break
		}
		if len(c.Args) > maxList {
			p.report.add(CodeLimit, p.token().Span, "", "more than %d arguments", maxList)
			p.at = len(p.tokens) - 1
		}
	}
	p.expect(")")
	c.Span = p.since(name.Start)
	return c
}

// argumentValue reads an expression or a pipeline, where both may stand.
func (p *parser) argumentValue() Expr {
	if !p.enter() {
		return &literalExpr{Span: p.token().Span}
	}
	defer p.leave()
	start := p.token().Start
	var from source
	if s := p.keywordSource(); s != nil {
		from = s
	} else {
		e := p.expr()
		if !p.is("|") {
			return e
		}
		from = &exprSource{e.span(), e}
	}
	pipe := &pipeline{Source: from}
	p.operators(pipe)
	pipe.Span = p.since(start)
	return &pipeExpr{pipe.Span, pipe}
}

func (p *parser) primary() Expr {
	t := p.token()
	switch t.kind {
	case tokenName:
		switch {
		case t.text == "dynamic" && p.ahead(1).text == "(":
			return p.dynamic()
		case t.text == "typeof" && p.ahead(1).text == "(":
			return p.typeof()
		case t.text == "true" || t.text == "false" || t.text == "True" || t.text == "False" || t.text == "TRUE" || t.text == "FALSE":
			p.advance()
			return &literalExpr{t.Span, schema.Bool, strings.EqualFold(t.text, "true"), t.text}
		}
		p.advance()
		name := nameExpr{t.Span, t.text, false}
		if p.is("(") {
			return p.call(name)
		}
		return name
	case tokenString:
		p.advance()
		value := t.text
		for p.kind() == tokenString { // adjacent strings are one
			value += p.advance().text
		}
		return &literalExpr{p.since(t.Start), schema.String, value, ""}
	case tokenNumber, tokenSpan, tokenTyped:
		p.advance()
		return p.literal(t)
	case tokenOperator:
		switch t.text {
		case "(":
			p.advance()
			e := p.argumentValue()
			p.expect(")")
			return e
		case "*":
			p.advance()
			return &starExpr{t.Span}
		case "[":
			if p.ahead(1).kind == tokenString && p.ahead(2).text == "]" {
				name := p.name("a name")
				if p.is("(") {
					return p.call(name)
				}
				return name
			}
		}
	}
	p.expected("an expression")
	return &literalExpr{Span: Span{t.Start, t.Start}}
}

// literal reads a number, a timespan or type(...).
func (p *parser) literal(t token) Expr {
	e := &literalExpr{Span: t.Span, Text: p.source[t.Start:t.End]}
	bad := func(what string) Expr {
		p.report.add(CodeLiteral, t.Span, "", "%q is not %s", e.Text, what)
		return e
	}
	switch t.kind {
	case tokenNumber:
		if strings.ContainsAny(t.text, ".eE") && !strings.HasPrefix(strings.ToLower(t.text), "0x") {
			f, ok := native.ParseReal(t.text)
			if !ok {
				return bad("a number")
			}
			e.Type, e.Value = schema.Real, f
			return e
		}
		i, ok := native.ParseLong(t.text)
		if !ok {
			return bad("a long: it has more than 64 bits")
		}
		e.Type, e.Value = schema.Long, i
		return e
	case tokenSpan:
		ticks, ok := parseUnits(t.text)
		if !ok {
			return bad("a timespan")
		}
		e.Type, e.Value = schema.Timespan, ticks
		return e
	}
	e.Type, _ = schema.ParseType(t.text)
	if t.value == "null" {
		return e
	}
	value, ok := parseTyped(e.Type, t.value)
	if !ok && strings.ContainsAny(t.value, `"'`) && t.value != "" {
		return e // a text in quotes that is none gives null
	}
	if !ok {
		return bad("a " + e.Type.String())
	}
	e.Value = value
	return e
}

// parseUnits reads 1.5h and the like into ticks.
func parseUnits(text string) (int64, bool) {
	i := strings.IndexFunc(text, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	if i <= 0 {
		return 0, false
	}
	unit, ok := timeUnits[text[i:]]
	if !ok {
		return 0, false
	}
	if n, ok := native.ParseLong(text[:i]); ok && unit >= 1 {
		ticks := n * int64(unit)
		if n != 0 && ticks/n != int64(unit) {
			return 0, false
		}
		return ticks, true
	}
	f, ok := native.ParseReal(text[:i])
	if !ok || f*unit > 9.2e18 {
		return 0, false
	}
	return int64(f * unit), true
}

// parseTyped reads what stands in datetime(...), long(...) and so on.
func parseTyped(t schema.Type, text string) (any, bool) {
	if len(text) >= 2 && (text[0] == '"' || text[0] == '\'') && text[len(text)-1] == text[0] {
		text = text[1 : len(text)-1]
	}
	switch t {
	case schema.Bool:
		return native.ParseBool(text)
	case schema.Int:
		v, ok := native.ParseLong(text)
		return int64(int32(v)), ok && (v == int64(int32(v)) || v == int64(uint32(v)))
	case schema.Long:
		return native.ParseLong(text)
	case schema.Real:
		return native.ParseReal(text)
	case schema.Decimal:
		return native.ParseDecimal(text)
	case schema.GUID:
		return native.ParseGUID(text)
	case schema.DateTime:
		return native.ParseDatetime(text)
	case schema.Timespan:
		if sign, rest, ok := strings.Cut(text, "-"); ok && sign == "" {
			v, ok := parseTyped(t, rest)
			if !ok {
				return nil, false
			}
			return -v.(int64), true
		}
		if v, ok := parseUnits(text); ok {
			return v, true
		}
		return native.ParseTimespan(text)
	}
	return nil, false
}

func (p *parser) typeof() Expr {
	start := p.advance().Start
	p.advance()
	e := &typeExpr{}
	switch {
	case p.accept("*"):
		e.Tabular = true
	case p.ahead(1).text == ":" || p.is("["):
		e.Tabular = true
		for !p.is(")") && p.kind() != tokenEnd {
			if p.accept("*") {
			} else {
				c := columnDecl{Name: p.name("a column")}
				p.expect(":")
				c.Type = p.typeName()
				e.Columns = append(e.Columns, c)
			}
			if !p.accept(",") {
				break
			}
		}
	default:
		e.Type = p.typeName()
	}
	p.expect(")")
	e.Span = p.since(start)
	return e
}

// typeName reads the name of a scalar type.
func (p *parser) typeName() schema.Type {
	t := p.token()
	if t.kind != tokenName && t.kind != tokenTyped {
		p.expected("a type")
		return schema.Unknown
	}
	p.advance()
	typ, ok := schema.ParseType(t.text)
	if !ok {
		p.report.add(CodeType, t.Span, didYouMean(t.text, []string{"bool", "int", "long", "real", "decimal", "datetime", "timespan", "guid", "string", "dynamic"}), "there is no type %q", t.text)
	}
	return typ
}

// dynamic reads dynamic(...): JSON, with the language's own strings and typed literals in it.
func (p *parser) dynamic() Expr {
	start := p.advance().Start
	p.advance()
	var b strings.Builder
	isNull := p.isWord("null") && p.ahead(1).text == ")"
	p.dynamicValue(&b, 0)
	p.expect(")")
	e := &literalExpr{Span: p.since(start), Type: schema.Dynamic}
	e.Text = p.source[e.Start:e.End]
	if !isNull {
		e.Value = jsonText(b.String())
	}
	return e
}

func (p *parser) dynamicValue(b *strings.Builder, depth int) {
	t := p.token()
	if depth > maxDepth {
		p.report.add(CodeLimit, t.Span, "", "the value nests deeper than %d levels", maxDepth)
		p.at = len(p.tokens) - 1
		return
	}
	switch {
	case p.accept("{"):
		b.WriteByte('{')
		for n := 0; !p.is("}") && p.kind() != tokenEnd; n++ {
			if n > 0 {
				b.WriteByte(',')
			}
			key := p.token()
			if key.kind != tokenString && key.kind != tokenName {
				p.expected("a key")
				return
			}
			p.advance()
			native.WriteJSONString(b, key.text)
			p.expect(":")
			b.WriteByte(':')
			p.dynamicValue(b, depth+1)
			if !p.accept(",") {
				break
			}
		}
		p.expect("}")
		b.WriteByte('}')
	case p.accept("["):
		b.WriteByte('[')
		for n := 0; !p.is("]") && p.kind() != tokenEnd; n++ {
			if n > 0 {
				b.WriteByte(',')
			}
			p.dynamicValue(b, depth+1)
			if !p.accept(",") {
				break
			}
		}
		p.expect("]")
		b.WriteByte(']')
	case t.kind == tokenName && t.text == "dynamic" && p.ahead(1).text == "(":
		if e, ok := p.dynamic().(*literalExpr); ok && e.Value != nil {
			b.WriteString(string(e.Value.(jsonText)))
		} else {
			b.WriteString("null")
		}
	case t.kind == tokenName && (t.text == "true" || t.text == "false" || t.text == "null"):
		p.advance()
		b.WriteString(t.text)
	default:
		negative := p.accept("-")
		t = p.token()
		switch t.kind {
		case tokenString, tokenNumber, tokenSpan, tokenTyped:
			e := p.primary().(*literalExpr)
			if negative {
				switch v := e.Value.(type) {
				case int64:
					e.Value = -v
				case float64:
					e.Value = -v
				}
			}
			b.WriteString(literalJSON(e))
		default:
			p.expected("a JSON value")
		}
	}
}

// literalJSON is a literal as it stands inside dynamic.
func literalJSON(e *literalExpr) string {
	if e.Value == nil {
		return "null"
	}
	switch v := e.Value.(type) {
	case jsonText:
		return string(v)
	case bool:
		if v {
			return "true"
		}
		return "false"
	case float64:
		return native.RealJSON(v)
	case string:
		return native.JSONString(v)
	case int64:
		switch e.Type {
		case schema.DateTime:
			return native.JSONString(native.FormatDatetime(v))
		case schema.Timespan:
			return native.JSONString(native.FormatTimespan(v))
		}
		return native.FormatLong(v)
	}
	return "null"
}

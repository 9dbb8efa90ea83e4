package kql

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Span is a piece of the text: byte offsets, End exclusive.
type Span struct{ Start, End int }

func (s Span) to(e Span) Span { return Span{s.Start, e.End} }

// tokenKind is the kind of a token.
type tokenKind uint8

const (
	tokenEnd      tokenKind = iota
	tokenName               // a word; text is the word
	tokenNumber             // an integer or real
	tokenSpan               // a timespan such as 5m
	tokenString             // text is the decoded value
	tokenTyped              // datetime(...), long(...): text is the type's word, value what stands inside
	tokenOperator           // punctuation and !-words; text is the spelling
)

type token struct {
	kind  tokenKind
	text  string
	value string
	Span
	spaced bool // white space or a comment stands before it
}

// MaxQuery bounds the length of a query, in bytes.
const MaxQuery = 256 << 10

// lex cuts the text into tokens; the last one is tokenEnd. Comments and white space are dropped.
func lex(source string, r *report) []token {
	l := lexer{source: source, report: r, tokens: make([]token, 0, len(source)/5+8)}
	if len(source) > MaxQuery {
		r.add(CodeLimit, Span{MaxQuery, len(source)}, "", "the query is longer than %d bytes", MaxQuery)
		l.source = ""
	}
	for l.next() {
	}
	l.tokens = append(l.tokens, token{kind: tokenEnd, Span: Span{len(source), len(source)}, spaced: true})
	return l.tokens
}

type lexer struct {
	source string
	at     int
	report *report
	tokens []token
	spaced bool
}

func (l *lexer) add(kind tokenKind, start int, text, value string) {
	l.tokens = append(l.tokens, token{kind, text, value, Span{start, l.at}, l.spaced})
	l.spaced = false
}

func (l *lexer) peek(offset int) byte {
	if l.at+offset < len(l.source) {
		return l.source[l.at+offset]
	}
	return 0
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func (l *lexer) next() bool {
	for l.at < len(l.source) {
		switch c := l.source[l.at]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v':
			l.at++
		case c == '/' && l.peek(1) == '/':
			if i := strings.IndexByte(l.source[l.at:], '\n'); i >= 0 {
				l.at += i
			} else {
				l.at = len(l.source)
			}
		case c >= utf8.RuneSelf && l.unicodeSpace():
		default:
			return l.token()
		}
		l.spaced = true
	}
	return false
}

// unicodeSpace skips a white space outside ASCII, a byte order mark among them.
func (l *lexer) unicodeSpace() bool {
	r, n := utf8.DecodeRuneInString(l.source[l.at:])
	if unicode.IsSpace(r) || r == '\uFEFF' || r == '\u200B' {
		l.at += n
		return true
	}
	return false
}

func (l *lexer) token() bool {
	start, c := l.at, l.source[l.at]
	switch {
	case c == '"' || c == '\'':
		l.quoted(start, start)
	case c == '@' && (l.peek(1) == '"' || l.peek(1) == '\''):
		l.at++
		l.verbatim(start)
	case (c == 'h' || c == 'H') && (l.peek(1) == '"' || l.peek(1) == '\''):
		l.at++
		l.quoted(start, start+1)
	case (c == 'h' || c == 'H') && l.peek(1) == '@' && (l.peek(2) == '"' || l.peek(2) == '\''):
		l.at += 2
		l.verbatim(start)
	case strings.HasPrefix(l.source[l.at:], "```") || strings.HasPrefix(l.source[l.at:], "~~~"):
		l.multiline(start)
	case (c == 'h' || c == 'H') && (strings.HasPrefix(l.source[l.at+1:], "```") || strings.HasPrefix(l.source[l.at+1:], "~~~")):
		l.at++
		l.multiline(start)
	case isDigit(c):
		l.number(start)
	case isWord(c) || c == '$':
		l.word(start)
	case c == '!' && l.peek(1) >= 'a' && l.peek(1) <= 'z':
		l.at++
		for isWord(l.peek(0)) {
			l.at++
		}
		if l.peek(0) == '~' {
			l.at++
		}
		l.add(tokenOperator, start, l.source[start:l.at], "")
	case c >= utf8.RuneSelf:
		l.foreign(start)
	default:
		l.punctuation(start)
	}
	return true
}

var punctuation = []string{"=>", "==", "=~", "!=", "!~", "<>", "<=", ">=", "..", "-->", "<--"}

func (l *lexer) punctuation(start int) {
	rest := l.source[l.at:]
	for _, p := range punctuation {
		if strings.HasPrefix(rest, p) {
			l.at += len(p)
			l.add(tokenOperator, start, p, "")
			return
		}
	}
	c := rest[0]
	l.at++
	if !strings.ContainsRune("|()[]{},;:.+-*/%=<>!?@~", rune(c)) {
		l.report.add(CodeSyntax, Span{start, l.at}, "", "unexpected character %q", c)
		return
	}
	l.add(tokenOperator, start, rest[:1], "")
}

// straight maps typographic quotation marks to the ones of the language.
var straight = map[rune]byte{'“': '"', '”': '"', '„': '"', '‟': '"', '«': '"', '»': '"', '″': '"', '＂': '"', '‘': '\'', '’': '\'', '‚': '\'', '‛': '\'', '′': '\'', '＇': '\''}

// foreign handles a character outside ASCII that stands where a token begins.
func (l *lexer) foreign(start int) {
	r, n := utf8.DecodeRuneInString(l.source[l.at:])
	quote, ok := straight[r]
	if !ok {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			for l.at < len(l.source) {
				r, n := utf8.DecodeRuneInString(l.source[l.at:])
				if !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' {
					break
				}
				l.at += n
			}
			word := l.source[start:l.at]
			l.report.add(CodeSyntax, Span{start, l.at}, fmt.Sprintf("write ['%s']", word), "the name %q needs brackets: it has letters outside a-z", word)
			l.add(tokenName, start, word, "")
			return
		}
		l.at += n
		l.report.add(CodeSyntax, Span{start, l.at}, "", "unexpected character %q", r)
		return
	}
	l.at += n
	end := strings.IndexFunc(l.source[l.at:], func(r rune) bool { return r == '\n' || straight[r] == quote || r == rune(quote) })
	inner := ""
	if end >= 0 && l.source[l.at+end] != '\n' {
		inner = l.source[l.at : l.at+end]
		_, closing := utf8.DecodeRuneInString(l.source[l.at+end:])
		l.at += end + closing
	}
	q := string(rune(quote))
	hint := "use straight quotes: " + q
	if inner != "" {
		hint += inner + q
	}
	l.report.add(CodeQuote, Span{start, l.at}, hint, "%c is a typographic quotation mark, which KQL does not know", r)
	l.add(tokenString, start, inner, "")
}

func (l *lexer) unterminated(start int) {
	l.report.add(CodeSyntax, Span{start, l.at}, "close it with the quotation mark it began with", "the string is not closed")
}

// quoted reads a string with backslash escapes; l.at stands on the opening quote.
func (l *lexer) quoted(start, open int) {
	quote := l.source[open]
	l.at = open + 1
	var b strings.Builder
	plain := l.at
	for {
		if l.at >= len(l.source) || l.source[l.at] == '\n' {
			b.WriteString(l.source[plain:l.at])
			l.unterminated(start)
			break
		}
		c := l.source[l.at]
		if c == quote {
			b.WriteString(l.source[plain:l.at])
			l.at++
			break
		}
		if c != '\\' {
			l.at++
			continue
		}
		b.WriteString(l.source[plain:l.at])
		l.escape(&b)
		plain = l.at
	}
	l.add(tokenString, start, b.String(), "")
}

var escapes = map[byte]byte{'n': '\n', 't': '\t', 'r': '\r', 'a': '\a', 'b': '\b', 'f': '\f', 'v': '\v', '\\': '\\', '"': '"', '\'': '\''}

func (l *lexer) escape(b *strings.Builder) {
	start := l.at
	c := l.peek(1)
	l.at += 2
	if l.at > len(l.source) {
		l.at = len(l.source)
		return
	}
	if e, ok := escapes[c]; ok {
		b.WriteByte(e)
		return
	}
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
	if digits > 0 {
		value, n := rune(0), 0
		for n < digits && unhex(l.peek(0)) >= 0 {
			value = value<<4 | rune(unhex(l.peek(0)))
			l.at++
			n++
		}
		if n == digits && utf8.ValidRune(value) {
			b.WriteRune(value)
			return
		}
	}
	if c >= '0' && c <= '7' {
		value := rune(c - '0')
		for n := 1; n < 3 && l.peek(0) >= '0' && l.peek(0) <= '7'; n++ {
			value = value<<3 | rune(l.peek(0)-'0')
			l.at++
		}
		b.WriteRune(value)
		return
	}
	l.report.add(CodeLiteral, Span{start, l.at}, `write \\ for a backslash, or put @ before the string`, "%q is not an escape sequence", l.source[start:l.at])
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// verbatim reads @"...": backslashes stand for themselves and a doubled quote for one.
func (l *lexer) verbatim(start int) {
	quote := l.source[l.at]
	l.at++
	var b strings.Builder
	for {
		if l.at >= len(l.source) || l.source[l.at] == '\n' {
			l.unterminated(start)
			break
		}
		c := l.source[l.at]
		l.at++
		if c == quote {
			if l.peek(0) != quote {
				break
			}
			l.at++
		}
		b.WriteByte(c)
	}
	l.add(tokenString, start, b.String(), "")
}

func (l *lexer) multiline(start int) {
	fence := l.source[l.at : l.at+3]
	l.at += 3
	end := strings.Index(l.source[l.at:], fence)
	if end < 0 {
		text := l.source[l.at:]
		l.at = len(l.source)
		l.unterminated(start)
		l.add(tokenString, start, text, "")
		return
	}
	text := l.source[l.at : l.at+end]
	l.at += end + 3
	l.add(tokenString, start, text, "")
}

func (l *lexer) number(start int) {
	if l.source[l.at] == '0' && (l.peek(1) == 'x' || l.peek(1) == 'X') && unhex(l.peek(2)) >= 0 {
		l.at += 2
		for unhex(l.peek(0)) >= 0 {
			l.at++
		}
		l.finishNumber(start, tokenNumber)
		return
	}
	for isDigit(l.peek(0)) {
		l.at++
	}
	if l.peek(0) == '.' && l.peek(1) != '.' && !isLetter(l.peek(1)) {
		l.at++
		for isDigit(l.peek(0)) {
			l.at++
		}
	}
	if c := l.peek(0); c == 'e' || c == 'E' {
		n := 1
		if s := l.peek(1); s == '+' || s == '-' {
			n = 2
		}
		if isDigit(l.peek(n)) {
			l.at += n
			for isDigit(l.peek(0)) {
				l.at++
			}
			l.finishNumber(start, tokenNumber)
			return
		}
	}
	if isLetter(l.peek(0)) {
		n := 0
		for isWord(l.peek(n)) {
			n++
		}
		if _, ok := timeUnits[l.source[l.at:l.at+n]]; ok {
			l.at += n
			l.add(tokenSpan, start, l.source[start:l.at], "")
			return
		}
	}
	l.finishNumber(start, tokenNumber)
}

func isLetter(c byte) bool { return isWord(c) && !isDigit(c) }

// finishNumber ends a number; letters glued to it make a name of it all, as the language has it.
func (l *lexer) finishNumber(start int, kind tokenKind) {
	if isLetter(l.peek(0)) {
		for isWord(l.peek(0)) {
			l.at++
		}
		kind = tokenName
	}
	l.add(kind, start, l.source[start:l.at], "")
}

// timeUnits are the suffixes of timespan literals, in ticks of 100 ns; a nanosecond is less than one.
var timeUnits = func() map[string]float64 {
	units := map[string]float64{}
	for ticks, words := range map[float64]string{
		0.01: "nano nanos nanosecond nanoseconds", 1: "tick ticks", 10: "micro micros microsec microsecond microseconds",
		1e4: "ms milli millis millisec millisecond milliseconds", 1e7: "s sec second seconds", 60e7: "m min minute minutes",
		3600e7: "h hr hrs hour hours", 86400e7: "d day days",
	} {
		for word := range strings.FieldsSeq(words) {
			units[word] = ticks
		}
	}
	return units
}()

// typedLiterals are the words that, with a parenthesis after them, enclose a literal and not an expression.
var typedLiterals = map[string]bool{
	"datetime": true, "date": true, "timespan": true, "time": true, "guid": true, "uuid": true, "uniqueid": true, "bool": true, "boolean": true,
	"int": true, "long": true, "real": true, "double": true, "decimal": true,
}

func (l *lexer) word(start int) {
	l.at++
	for isWord(l.peek(0)) {
		l.at++
	}
	word := l.source[start:l.at]
	if (word == "in" || word == "has_any" || word == "has_all") && l.peek(0) == '~' {
		l.at++
		l.add(tokenOperator, start, l.source[start:l.at], "")
		return
	}
	if typedLiterals[word] && l.typed(start, word) {
		return
	}
	l.add(tokenName, start, word, "")
}

// typed reads what stands in the parentheses after a type's word, if it looks like a literal.
func (l *lexer) typed(start int, word string) bool {
	at := l.at
	for at < len(l.source) && (l.source[at] == ' ' || l.source[at] == '\t') {
		at++
	}
	if at >= len(l.source) || l.source[at] != '(' {
		return false
	}
	end := strings.IndexAny(l.source[at+1:], ")(\n")
	if end < 0 || l.source[at+1+end] != ')' {
		return false
	}
	value := strings.TrimSpace(l.source[at+1 : at+1+end])
	l.at = at + 1 + end + 1
	l.add(tokenTyped, start, word, value)
	return true
}

package native

import (
	"math"
	"sort"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonKind is the kind of a JSON value.
type jsonKind uint8

const (
	jsonNull jsonKind = iota
	jsonBool
	jsonLong
	jsonReal
	jsonString
	jsonArray
	jsonObject
)

// node is a parsed JSON value. Objects keep the order of their keys.
type node struct {
	kind  jsonKind
	b     bool
	i     int64
	f     float64
	s     string // of a string; of a number too large for a long, its digits
	keys  []string
	items []node // elements of an array, values of an object
}

// maxNesting bounds how deep JSON may nest.
const maxNesting = 512

// parseJSON reads a whole text as JSON.
func parseJSON(s string) (node, bool) {
	p := jsonParser{s: s}
	p.space()
	n, ok := p.value(0)
	if !ok {
		return node{}, false
	}
	p.space()
	return n, p.at == len(s)
}

type jsonParser struct {
	s  string
	at int
}

func (p *jsonParser) space() {
	for p.at < len(p.s) {
		switch p.s[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

func (p *jsonParser) accept(c byte) bool {
	p.space()
	if p.at < len(p.s) && p.s[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *jsonParser) value(depth int) (node, bool) {
	if depth > maxNesting || p.at >= len(p.s) {
		return node{}, false
	}
	switch c := p.s[p.at]; {
	case c == '{':
		return p.object(depth)
	case c == '[':
		return p.array(depth)
	case c == '"':
		s, ok := p.str()
		return node{kind: jsonString, s: s}, ok
	case strings.HasPrefix(p.s[p.at:], "true"):
		p.at += 4
		return node{kind: jsonBool, b: true}, true
	case strings.HasPrefix(p.s[p.at:], "false"):
		p.at += 5
		return node{kind: jsonBool}, true
	case strings.HasPrefix(p.s[p.at:], "null"):
		p.at += 4
		return node{}, true
	default:
		return p.number()
	}
}

func (p *jsonParser) object(depth int) (node, bool) {
	n := node{kind: jsonObject}
	p.at++
	if p.accept('}') {
		return n, true
	}
	seen := map[string]int{}
	for {
		p.space()
		if p.at >= len(p.s) || p.s[p.at] != '"' {
			return n, false
		}
		key, ok := p.str()
		if !ok || !p.accept(':') {
			return n, false
		}
		p.space()
		v, ok := p.value(depth + 1)
		if !ok {
			return n, false
		}
		if i, twice := seen[key]; twice {
			n.items[i] = v
		} else {
			seen[key] = len(n.keys)
			n.keys = append(n.keys, key)
			n.items = append(n.items, v)
		}
		if p.accept('}') {
			return n, true
		}
		if !p.accept(',') {
			return n, false
		}
	}
}

func (p *jsonParser) array(depth int) (node, bool) {
	n := node{kind: jsonArray}
	p.at++
	if p.accept(']') {
		return n, true
	}
	for {
		p.space()
		v, ok := p.value(depth + 1)
		if !ok {
			return n, false
		}
		n.items = append(n.items, v)
		if p.accept(']') {
			return n, true
		}
		if !p.accept(',') {
			return n, false
		}
	}
}

func (p *jsonParser) str() (string, bool) {
	p.at++
	start := p.at
	for p.at < len(p.s) && p.s[p.at] != '"' && p.s[p.at] != '\\' && p.s[p.at] >= 0x20 {
		p.at++
	}
	if p.at < len(p.s) && p.s[p.at] == '"' {
		p.at++
		return p.s[start : p.at-1], true
	}
	var b strings.Builder
	b.WriteString(p.s[start:p.at])
	for p.at < len(p.s) {
		c := p.s[p.at]
		p.at++
		switch {
		case c == '"':
			return b.String(), true
		case c < 0x20 && c != '\t' && c != '\n' && c != '\r':
			return "", false
		case c != '\\':
			b.WriteByte(c)
		case !p.escape(&b):
			return "", false
		}
	}
	return "", false
}

func (p *jsonParser) escape(b *strings.Builder) bool {
	if p.at >= len(p.s) {
		return false
	}
	c := p.s[p.at]
	p.at++
	switch c {
	case '"', '\\', '/':
		b.WriteByte(c)
	case 'b':
		b.WriteByte('\b')
	case 'f':
		b.WriteByte('\f')
	case 'n':
		b.WriteByte('\n')
	case 'r':
		b.WriteByte('\r')
	case 't':
		b.WriteByte('\t')
	case 'u':
		r, ok := p.hex()
		if !ok {
			return false
		}
		if utf16.IsSurrogate(r) {
			if strings.HasPrefix(p.s[p.at:], `\u`) {
				before := p.at
				p.at += 2
				if low, ok := p.hex(); ok {
					if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
						b.WriteRune(pair)
						return true
					}
				}
				p.at = before
			}
			r = utf8.RuneError
		}
		b.WriteRune(r)
	default:
		return false
	}
	return true
}

func (p *jsonParser) hex() (rune, bool) {
	if p.at+4 > len(p.s) {
		return 0, false
	}
	v, err := strconv.ParseUint(p.s[p.at:p.at+4], 16, 32)
	p.at += 4
	return rune(v), err == nil
}

func (p *jsonParser) number() (node, bool) {
	start := p.at
	real := false
	for p.at < len(p.s) {
		c := p.s[p.at]
		if c == '.' || c == 'e' || c == 'E' {
			real = true
		} else if c != '-' && c != '+' && (c < '0' || c > '9') {
			break
		}
		p.at++
	}
	text := p.s[start:p.at]
	if text == "" || text[0] == '+' {
		return node{}, false
	}
	if !real {
		if i, err := strconv.ParseInt(text, 10, 64); err == nil {
			return node{kind: jsonLong, i: i}, true
		}
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil && !math.IsInf(f, 0) {
		return node{}, false
	}
	return node{kind: jsonReal, f: f}, true
}

// text writes the canonical form: no white space, minimal escapes, reals as tostring has them.
func (n node) text() string {
	var b strings.Builder
	n.write(&b)
	return b.String()
}

func (n node) write(b *strings.Builder) {
	switch n.kind {
	case jsonNull:
		b.WriteString("null")
	case jsonBool:
		b.WriteString(strconv.FormatBool(n.b))
	case jsonLong:
		b.WriteString(strconv.FormatInt(n.i, 10))
	case jsonReal:
		b.WriteString(RealJSON(n.f))
	case jsonString:
		WriteJSONString(b, n.s)
	case jsonArray:
		b.WriteByte('[')
		for i, item := range n.items {
			if i > 0 {
				b.WriteByte(',')
			}
			item.write(b)
		}
		b.WriteByte(']')
	case jsonObject:
		b.WriteByte('{')
		for i, item := range n.items {
			if i > 0 {
				b.WriteByte(',')
			}
			WriteJSONString(b, n.keys[i])
			b.WriteByte(':')
			item.write(b)
		}
		b.WriteByte('}')
	}
}

// plain is the value as tostring gives it: strings without quotes, null empty.
func (n node) plain() string {
	switch n.kind {
	case jsonNull:
		return ""
	case jsonString:
		return n.s
	}
	return n.text()
}

func (n node) get(key string) (node, bool) {
	if n.kind == jsonObject {
		for i, k := range n.keys {
			if k == key {
				return n.items[i], true
			}
		}
	}
	return node{}, false
}

func (n *node) set(key string, v node) {
	for i, k := range n.keys {
		if k == key {
			n.items[i] = v
			return
		}
	}
	n.keys = append(n.keys, key)
	n.items = append(n.items, v)
}

// number gives a numeric value as a real.
func (n node) number() (float64, bool) {
	switch n.kind {
	case jsonLong:
		return float64(n.i), true
	case jsonReal:
		return n.f, true
	case jsonBool:
		if n.b {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

func stringNode(s string) node { return node{kind: jsonString, s: s} }
func longNode(i int64) node    { return node{kind: jsonLong, i: i} }
func realNode(f float64) node  { return node{kind: jsonReal, f: f} }
func boolNode(b bool) node     { return node{kind: jsonBool, b: b} }
func arrayNode(items []node) node {
	return node{kind: jsonArray, items: items}
}

const hexDigits = "0123456789abcdef"

// WriteJSONString writes a string as JSON, escaping no more than it must.
func WriteJSONString(b *strings.Builder, s string) {
	b.WriteByte('"')
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		b.WriteString(s[start:i])
		start = i + 1
		switch c {
		case '"', '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		case '\b':
			b.WriteString(`\b`)
		case '\f':
			b.WriteString(`\f`)
		default:
			b.WriteString(`\u00`)
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	b.WriteString(s[start:])
	b.WriteByte('"')
}

// JSONString gives a string as JSON.
func JSONString(s string) string {
	var b strings.Builder
	WriteJSONString(&b, s)
	return b.String()
}

// CanonicalJSON gives the canonical form of JSON text; text that is no JSON becomes a JSON string, as
// parse_json has it. ok is false for null and for empty text.
func CanonicalJSON(s string) (string, bool) {
	trimmed := strings.TrimSpace(s)
	if trimmed == "" {
		return "", false
	}
	n, ok := parseJSON(trimmed)
	if !ok {
		return JSONString(s), true
	}
	if n.kind == jsonNull {
		return "", false
	}
	return n.text(), true
}

// order compares two values of sorting functions: numbers, then strings; null is not compared.
func (n node) rank() int {
	switch n.kind {
	case jsonNull:
		return 9
	case jsonLong, jsonReal, jsonBool:
		return 0
	case jsonString:
		return 1
	}
	return 2
}

func lessNode(a, b node) bool {
	if ra, rb := a.rank(), b.rank(); ra != rb {
		return ra < rb
	}
	if x, ok := a.number(); ok {
		y, _ := b.number()
		if a.kind == jsonLong && b.kind == jsonLong {
			return a.i < b.i
		}
		return x < y
	}
	if a.kind == jsonString {
		return a.s < b.s
	}
	return a.text() < b.text()
}

func sortNodes(items []node, index []int, descending bool) {
	sort.SliceStable(index, func(i, j int) bool {
		a, b := items[index[i]], items[index[j]]
		if a.kind == jsonNull || b.kind == jsonNull {
			return a.kind != jsonNull && b.kind == jsonNull // nulls last
		}
		if descending {
			return lessNode(b, a)
		}
		return lessNode(a, b)
	})
}

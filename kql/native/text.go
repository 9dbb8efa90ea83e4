package native

import (
	"regexp"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

func texts() []Function {
	return []Function{
		of("substring", "tll:t", func(a []Value) Value { return text(substring(a[0].S, a[1].I, a[2].I)) }),
		of("indexof", "ttlll:l", func(a []Value) Value {
			return long(indexOf(a[0].S, a[1].S, a[2].I, a[3].I, a[4].I))
		}),
		of("countof", "tt:l", func(a []Value) Value { return long(countOf(a[0].S, a[1].S)) }),
		of("split", "tt:t", func(a []Value) Value { return text(split(a[0].S, a[1].S).text()) }),
		of("strcmp", "tt:l", func(a []Value) Value { return long(int64(strings.Compare(a[0].S, a[1].S))) }),
		of("strrep", "tlt:t", func(a []Value) Value {
			n := a[1].I
			if n <= 0 {
				return text("")
			}
			if n > 1024 || int64(len(a[0].S)+len(a[2].S))*n > 1<<20 {
				return null
			}
			return text(strings.TrimSuffix(strings.Repeat(a[0].S+a[2].S, int(n)), a[2].S))
		}),
		of("reverse", "t:t", func(a []Value) Value {
			r := []rune(a[0].S)
			for i, j := 0, len(r)-1; i < j; i, j = i+1, j-1 {
				r[i], r[j] = r[j], r[i]
			}
			return text(string(r))
		}),
		of("has", "ttb:b", func(a []Value) Value { return truth(hasTerm(a[0].S, a[1].S, a[2].B, true, true)) }),
		of("hasprefix", "ttb:b", func(a []Value) Value { return truth(hasTerm(a[0].S, a[1].S, a[2].B, true, false)) }),
		of("hassuffix", "ttb:b", func(a []Value) Value { return truth(hasTerm(a[0].S, a[1].S, a[2].B, false, true)) }),
		of("has_any", "tt:b", func(a []Value) Value { return truth(hasMany(a[0].S, a[1].S, false)) }),
		of("has_all", "tt:b", func(a []Value) Value { return truth(hasMany(a[0].S, a[1].S, true)) }),
		of("has_any_index", "tt:l", func(a []Value) Value {
			list, ok := parseJSON(a[1].S)
			if !ok || list.kind != jsonArray {
				return null
			}
			for i, n := range list.items {
				if hasTerm(a[0].S, n.plain(), false, true, true) {
					return long(int64(i))
				}
			}
			return long(-1)
		}),
		of("translate", "ttt:t", func(a []Value) Value {
			from, to := []rune(a[0].S), []rune(a[1].S)
			return text(strings.Map(func(r rune) rune {
				for i, f := range from {
					if f == r {
						switch {
						case len(to) == 0:
							return -1
						case i < len(to):
							return to[i]
						}
						return to[len(to)-1]
					}
				}
				return r
			}, a[2].S))
		}),
		of("replace_strings", "ttt:t", func(a []Value) Value {
			from, ok1 := parseJSON(a[1].S)
			to, ok2 := parseJSON(a[2].S)
			if !ok1 || !ok2 || from.kind != jsonArray || to.kind != jsonArray || len(from.items) != len(to.items) {
				return null
			}
			return text(replaceStrings(a[0].S, from.items, to.items))
		}),
		of("codepoints", "t:t", func(a []Value) Value {
			var items []node
			for _, r := range a[0].S {
				items = append(items, longNode(int64(r)))
			}
			return text(arrayNode(items).text())
		}),
		of("from_codepoints", "t:t", func(a []Value) Value {
			list, ok := parseJSON(a[0].S)
			if !ok {
				return null
			}
			var b strings.Builder
			var walk func(n node)
			walk = func(n node) {
				if n.kind == jsonArray {
					for _, item := range n.items {
						walk(item)
					}
				} else if i, ok := n.long(); ok && i >= 0 && i <= unicode.MaxRune {
					b.WriteRune(rune(i))
				}
			}
			walk(list)
			return text(b.String())
		}),
		of("isascii", "t:b", func(a []Value) Value {
			for _, c := range []byte(a[0].S) {
				if c >= utf8.RuneSelf {
					return truth(false)
				}
			}
			return truth(true)
		}),
	}
}

// replaceStrings replaces several texts, the first of the list first; what one has replaced no other touches. A
// replacement that is no text leaves what it stands for as it is.
func replaceStrings(s string, from, to []node) string {
	for i, f := range from {
		if f.kind != jsonString || f.s == "" {
			continue
		}
		at := strings.Index(s, f.s)
		if at < 0 {
			continue
		}
		var b strings.Builder
		for at >= 0 && b.Len() < 1<<20 {
			b.WriteString(replaceStrings(s[:at], from[i+1:], to[i+1:]))
			if to[i].kind == jsonString {
				b.WriteString(to[i].s)
			} else {
				b.WriteString(f.s)
			}
			s = s[at+len(f.s):]
			at = strings.Index(s, f.s)
		}
		b.WriteString(replaceStrings(s, from[i+1:], to[i+1:]))
		return b.String()
	}
	return s
}

// substring counts characters; a negative start counts from the end, a negative length gives nothing.
func substring(s string, start, length int64) string {
	if length <= 0 {
		return ""
	}
	r := []rune(s)
	n := int64(len(r))
	if start < 0 {
		start = max(n+start, 0)
	}
	if start >= n {
		return ""
	}
	return string(r[start:min(start+min(length, n), n)])
}

// indexOf finds the occurrence of match within length characters from start; -1 if it is not there.
func indexOf(s, match string, start, length, occurrence int64) int64 {
	r, m := []rune(s), []rune(match)
	n := int64(len(r))
	if start < 0 {
		start = max(n+start, 0)
	}
	end := n
	if length >= 0 && start+length < n {
		end = start + length
	}
	for i := start; i+int64(len(m)) <= end; i++ {
		if string(r[i:i+int64(len(m))]) == match {
			occurrence--
			if occurrence <= 0 {
				return i
			}
		}
	}
	return -1
}

// countOf counts occurrences, overlapping ones too.
func countOf(s, search string) int64 {
	if search == "" {
		return 0
	}
	n := int64(0)
	for {
		i := strings.Index(s, search)
		if i < 0 {
			return n
		}
		n++
		_, width := utf8.DecodeRuneInString(s[i:])
		s = s[i+width:]
	}
}

func split(s, delimiter string) node {
	if delimiter == "" {
		return arrayNode([]node{stringNode(s)})
	}
	parts := strings.Split(s, delimiter)
	items := make([]node, len(parts))
	for i, p := range parts {
		items[i] = stringNode(p)
	}
	return arrayNode(items)
}

func isAlphanumeric(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsNumber(r)
}

// hasTerm looks for a term with a boundary at its left, its right or both: a change between letters or digits
// and anything else. An end of the term that is no letter or digit is a boundary by itself.
func hasTerm(s, term string, caseSensitive, left, right bool) bool {
	if term == "" {
		return true
	}
	if !caseSensitive {
		s, term = strings.ToLower(s), strings.ToLower(term)
	}
	first, _ := utf8.DecodeRuneInString(term)
	last, _ := utf8.DecodeLastRuneInString(term)
	left = left && isAlphanumeric(first)
	right = right && isAlphanumeric(last)
	for at := 0; ; {
		i := strings.Index(s[at:], term)
		if i < 0 {
			return false
		}
		i += at
		before, _ := utf8.DecodeLastRuneInString(s[:i])
		after, _ := utf8.DecodeRuneInString(s[i+len(term):])
		if (!left || i == 0 || !isAlphanumeric(before)) && (!right || i+len(term) == len(s) || !isAlphanumeric(after)) {
			return true
		}
		_, width := utf8.DecodeRuneInString(s[i:])
		at = i + width
	}
}

func hasMany(s, list string, all bool) bool {
	n, ok := parseJSON(list)
	if !ok {
		return false
	}
	items := n.items
	if n.kind != jsonArray {
		items = []node{n}
	}
	for _, item := range items {
		if hasTerm(s, item.plain(), false, true, true) != all {
			return !all
		}
	}
	return all
}

// Regexp compiles a pattern of the language: RE2, with the classes of letters and digits over all of Unicode.
func Regexp(pattern string) (*regexp.Regexp, error) { return regexp.Compile(UnicodeClasses(pattern)) }

// UnicodeClasses rewrites \d and \w, which RE2 limits to ASCII, to what they mean in Kusto.
func UnicodeClasses(pattern string) string {
	if !strings.Contains(pattern, `\`) {
		return pattern
	}
	var b strings.Builder
	class := false
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		if c != '\\' || i+1 == len(pattern) {
			if c == '[' && !class {
				class = true
				if strings.HasPrefix(pattern[i+1:], "^]") || strings.HasPrefix(pattern[i+1:], "]") {
					n := strings.IndexByte(pattern[i:], ']') + 1
					b.WriteString(pattern[i : i+n])
					i += n - 1
					continue
				}
			} else if c == ']' {
				class = false
			}
			b.WriteByte(c)
			continue
		}
		i++
		switch {
		case pattern[i] == 'd':
			b.WriteString(`\p{Nd}`)
		case pattern[i] == 'D':
			b.WriteString(`\P{Nd}`)
		case pattern[i] == 'w' && class:
			b.WriteString(`\p{L}\p{M}\p{Nd}\p{Pc}`)
		case pattern[i] == 'w':
			b.WriteString(`[\p{L}\p{M}\p{Nd}\p{Pc}]`)
		case pattern[i] == 'W' && !class:
			b.WriteString(`[^\p{L}\p{M}\p{Nd}\p{Pc}]`)
		default:
			b.WriteByte('\\')
			b.WriteByte(pattern[i])
		}
	}
	return b.String()
}

// regexps remembers compiled patterns; data may hold any number of them, so the memory is dropped when full.
var regexps struct {
	sync.Mutex
	m map[string]*regexp.Regexp
}

func compiled(pattern string) *regexp.Regexp {
	regexps.Lock()
	defer regexps.Unlock()
	re, ok := regexps.m[pattern]
	if ok {
		return re
	}
	re, err := Regexp(pattern)
	if err != nil {
		re = nil
	}
	if regexps.m == nil || len(regexps.m) >= 256 {
		regexps.m = map[string]*regexp.Regexp{}
	}
	regexps.m[pattern] = re
	return re
}

func patterns() []Function {
	with := func(name, params string, pattern int, f func(re *regexp.Regexp, a []Value) Value) Function {
		return of(name, params, func(a []Value) Value {
			re := compiled(a[pattern].S)
			if re == nil {
				return null
			}
			return f(re, a)
		})
	}
	return []Function{
		with("matches", "tt:b", 1, func(re *regexp.Regexp, a []Value) Value { return truth(re.MatchString(a[0].S)) }),
		with("extract", "tlt:t", 0, func(re *regexp.Regexp, a []Value) Value {
			m := re.FindStringSubmatch(a[2].S)
			if m == nil || a[1].I < 0 || a[1].I >= int64(len(m)) {
				return text("")
			}
			return text(m[a[1].I])
		}),
		with("extract_all", "ttt:t", 0, func(re *regexp.Regexp, a []Value) Value { return extractAll(re, a[1].S, a[2].S) }),
		with("countof_regex", "tt:l", 1, func(re *regexp.Regexp, a []Value) Value {
			return long(int64(len(re.FindAllStringIndex(a[0].S, -1))))
		}),
		with("replace_regex", "ttt:t", 1, func(re *regexp.Regexp, a []Value) Value {
			return text(re.ReplaceAllString(a[0].S, rewrite(a[2].S)))
		}),
		with("indexof_regex", "ttlll:l", 1, func(re *regexp.Regexp, a []Value) Value {
			r := []rune(a[0].S)
			n := int64(len(r))
			start := a[2].I
			if start < 0 || start > n || a[4].I < 1 {
				return null
			}
			end := n
			if a[3].I >= 0 && start+a[3].I < n {
				end = start + a[3].I
			}
			s := string(r[start:end])
			found := re.FindAllStringIndex(s, -1)
			if int64(len(found)) < a[4].I {
				return long(-1)
			}
			return long(start + int64(utf8.RuneCountInString(s[:found[a[4].I-1][0]])))
		}),
		of("trim", "tbbt:t", func(a []Value) Value {
			s := a[3].S
			if a[1].B {
				re := compiled("^(?:" + a[0].S + ")")
				if re == nil {
					return null
				}
				if m := re.FindStringIndex(s); m != nil {
					s = s[m[1]:]
				}
			}
			if a[2].B {
				re := compiled("(?:" + a[0].S + ")$")
				if re == nil {
					return null
				}
				if m := re.FindStringIndex(s); m != nil {
					s = s[:m[0]]
				}
			}
			return text(s)
		}),
		of("regex_quote", "t:t", func(a []Value) Value { return text(regexp.QuoteMeta(a[0].S)) }),
	}
}

// rewrite turns \1 of Kusto's replacement patterns into ${1} of Go's.
func rewrite(pattern string) string {
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '$':
			b.WriteString("$$")
		case c == '\\' && i+1 < len(pattern):
			i++
			if d := pattern[i]; d >= '0' && d <= '9' {
				b.WriteString("${" + string(d) + "}")
			} else {
				b.WriteByte(d)
			}
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// extractAll gives every match: the group itself if there is one, else an array of the groups asked for.
func extractAll(re *regexp.Regexp, groups, s string) Value {
	var wanted []int
	if groups != "" {
		list, ok := parseJSON(groups)
		if !ok || list.kind != jsonArray {
			return null
		}
		for _, g := range list.items {
			i := -1
			if g.kind == jsonString {
				i = re.SubexpIndex(g.s)
			} else if v, ok := g.long(); ok {
				i = int(v)
			}
			if i < 0 || i > re.NumSubexp() {
				return null
			}
			wanted = append(wanted, i)
		}
	} else {
		for i := 1; i <= re.NumSubexp(); i++ {
			wanted = append(wanted, i)
		}
	}
	if len(wanted) == 0 {
		wanted = []int{0}
	}
	var out []node
	for _, m := range re.FindAllStringSubmatch(s, -1) {
		if len(wanted) == 1 {
			out = append(out, stringNode(m[wanted[0]]))
			continue
		}
		row := make([]node, len(wanted))
		for i, g := range wanted {
			row[i] = stringNode(m[g])
		}
		out = append(out, arrayNode(row))
	}
	if out == nil {
		return null
	}
	return text(arrayNode(out).text())
}

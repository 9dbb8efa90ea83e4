package native

import (
	"math/big"
	"strconv"
	"strings"
)

// parsers take apart texts of known forms.
func parsers() []Function {
	return []Function{
		of("parse_url", "t:t", func(a []Value) Value { return text(parseURL(a[0].S).text()) }),
		of("parse_urlquery", "t:t", func(a []Value) Value {
			out := node{kind: jsonObject}
			out.set("Query Parameters", queryParameters(a[0].S))
			return text(out.text())
		}),
		of("parse_path", "t:t", func(a []Value) Value { return text(parsePath(a[0].S).text()) }),
		of("parse_csv", "t:t", func(a []Value) Value { return text(parseCSV(a[0].S).text()) }),
		of("parse_version", "t:t", func(a []Value) Value { v, ok := parseVersion(a[0].S); return orNull(text, v, ok) }),
		of("parse_command_line", "t:t", func(a []Value) Value { return text(parseCommandLine(a[0].S).text()) }),
		of("format_bytes", "rlt:t", func(a []Value) Value { v, ok := formatBytes(a[0].F, a[1].I, a[2].S); return orNull(text, v, ok) }),
		of("parse_kv", "ttttt:t", func(a []Value) Value {
			return text(parseKV(a[0].S, a[1].S, a[2].S, a[3].S, a[4].S).text())
		}),
	}
}

func bag(pairs ...any) node {
	n := node{kind: jsonObject}
	for i := 0; i < len(pairs); i += 2 {
		v, ok := pairs[i+1].(node)
		if !ok {
			v = stringNode(pairs[i+1].(string))
		}
		n.set(pairs[i].(string), v)
	}
	return n
}

func queryParameters(s string) node {
	out := node{kind: jsonObject}
	for part := range strings.SplitSeq(s, "&") {
		if part == "" {
			continue
		}
		k, v, _ := strings.Cut(part, "=")
		out.set(k, stringNode(v))
	}
	return out
}

func parseURL(s string) node {
	rest := s
	scheme, after, ok := strings.Cut(rest, "://")
	if ok {
		rest = after
	} else {
		scheme = ""
	}
	rest, fragment, _ := strings.Cut(rest, "#")
	rest, query, _ := strings.Cut(rest, "?")
	host, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	if scheme == "" {
		host, path = "", rest
	}
	user, password := "", ""
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		user, password, _ = strings.Cut(host[:i], ":")
		host = host[i+1:]
	}
	port := ""
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host, port = host[:i], host[i+1:]
	}
	return bag("Scheme", scheme, "Host", host, "Port", port, "Path", path, "Username", user, "Password", password,
		"Query Parameters", queryParameters(query), "Fragment", fragment)
}

func parsePath(s string) node {
	scheme, path := "", s
	if head, rest, ok := strings.Cut(s, "://"); ok {
		scheme, path = head, rest
	}
	stream := ""
	if i := strings.LastIndexByte(path, ':'); i > 1 && !strings.ContainsAny(path[i:], `/\`) {
		path, stream = path[:i], path[i+1:]
	}
	root := ""
	if len(path) >= 2 && path[1] == ':' {
		root = path[:2]
		if len(path) > 2 && (path[2] == '\\' || path[2] == '/') {
			root = path[:3]
		}
	}
	i := strings.LastIndexAny(path, `/\`)
	directory, file := "", path
	if i >= 0 {
		directory, file = path[:i], path[i+1:]
		if i == 0 || len(directory) < len(root) {
			directory = root
		}
	}
	name := directory
	if i := strings.LastIndexAny(directory, `/\`); i >= 0 {
		name = directory[i+1:]
	}
	extension := ""
	if i := strings.LastIndexByte(file, '.'); i >= 0 {
		extension = file[i+1:]
	}
	return bag("Scheme", scheme, "RootPath", root, "DirectoryPath", directory, "DirectoryName", name, "Filename", file,
		"Extension", extension, "AlternateDataStreamName", stream)
}

// parseCSV reads the first record.
func parseCSV(s string) node {
	var items []node
	var b strings.Builder
	quoted := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quoted && c == '"' && i+1 < len(s) && s[i+1] == '"':
			b.WriteByte('"')
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			items = append(items, stringNode(b.String()))
			b.Reset()
		case (c == '\n' || c == '\r') && !quoted:
			i = len(s)
		default:
			b.WriteByte(c)
		}
	}
	return arrayNode(append(items, stringNode(b.String())))
}

// parseVersion gives a version of up to four parts as one number that compares as the version does.
func parseVersion(s string) (string, bool) {
	parts := strings.Split(strings.TrimSpace(s), ".")
	if len(parts) > 4 {
		return "", false
	}
	for len(parts) < 4 {
		parts = append(parts, "0")
	}
	sum := new(big.Int)
	for _, part := range parts {
		n, ok := digits(part, 8)
		if !ok {
			return "", false
		}
		sum.Mul(sum, big.NewInt(100000000))
		sum.Add(sum, big.NewInt(n))
	}
	return sum.String(), true
}

// parseCommandLine splits a command line by the rules of Windows.
func parseCommandLine(s string) node {
	var items []node
	var b strings.Builder
	inWord, quoted := false, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\':
			n := 0
			for i < len(s) && s[i] == '\\' {
				n++
				i++
			}
			inWord = true
			if i < len(s) && s[i] == '"' {
				b.WriteString(strings.Repeat(`\`, n/2))
				if n%2 == 1 {
					b.WriteByte('"')
				} else {
					quoted = !quoted
				}
				continue
			}
			b.WriteString(strings.Repeat(`\`, n))
			i--
		case c == '"':
			quoted = !quoted
			inWord = true
		case (c == ' ' || c == '\t') && !quoted:
			if inWord {
				items = append(items, stringNode(b.String()))
				b.Reset()
				inWord = false
			}
		default:
			b.WriteByte(c)
			inWord = true
		}
	}
	if inWord {
		items = append(items, stringNode(b.String()))
	}
	return arrayNode(items)
}

var byteUnits = []string{"Bytes", "KB", "MB", "GB", "TB", "PB", "EB"}

func formatBytes(size float64, precision int64, unit string) (string, bool) {
	n := 0
	if unit == "" {
		for n+1 < len(byteUnits) && (size >= 1024 || size <= -1024) {
			size /= 1024
			n++
		}
	} else {
		found := false
		for i, u := range byteUnits {
			if strings.EqualFold(u, unit) {
				n, found = i, true
			}
		}
		if !found {
			return "", false
		}
		for range n {
			size /= 1024
		}
	}
	s := strconv.FormatFloat(round(size, precision), 'f', int(min(max(precision, 0), 15)), 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s + " " + byteUnits[n], true
}

// parseKV takes key-value pairs apart; the first value of a key stays.
func parseKV(s, pairDelimiter, kvDelimiter, quote, escape string) node {
	out := node{kind: jsonObject}
	add := func(k, v string) {
		k = strings.TrimSpace(k)
		if _, there := out.get(k); !there && k != "" {
			out.set(k, stringNode(v))
		}
	}
	for pair := range splitQuoted(s, pairDelimiter, quote, escape) {
		k, v, ok := strings.Cut(pair, kvDelimiter)
		if !ok {
			continue
		}
		k, v = unquote(strings.TrimSpace(k), quote, escape), unquote(strings.TrimSpace(v), quote, escape)
		add(k, v)
	}
	return out
}

func splitQuoted(s, delimiter, quote, escape string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		start, quoted := 0, false
		for i := 0; i < len(s); {
			switch {
			case escape != "" && strings.HasPrefix(s[i:], escape) && i+len(escape) < len(s):
				i += len(escape) + 1
			case quote != "" && strings.HasPrefix(s[i:], quote):
				quoted = !quoted
				i += len(quote)
			case !quoted && delimiter != "" && strings.HasPrefix(s[i:], delimiter):
				if !yield(s[start:i]) {
					return
				}
				i += len(delimiter)
				start = i
			default:
				i++
			}
		}
		yield(s[start:])
	}
}

func unquote(s, quote, escape string) string {
	if quote != "" && len(s) >= 2*len(quote) && strings.HasPrefix(s, quote) && strings.HasSuffix(s, quote) {
		s = s[len(quote) : len(s)-len(quote)]
		if escape != "" {
			s = strings.ReplaceAll(s, escape+quote, quote)
		}
	}
	return s
}

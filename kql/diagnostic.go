package kql

import (
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"
)

// Severity of a diagnostic. Only errors stop a query.
type Severity string

// Severities.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
)

// The codes of diagnostics. They are part of the interface: never renumbered, never reused.
const (
	CodeSyntax      = "KQL001" // the text is not of the language's form
	CodeQuote       = "KQL002" // a typographic quotation mark
	CodeLiteral     = "KQL003" // a literal that cannot be read
	CodeName        = "KQL004" // a name that nothing bears
	CodeFunction    = "KQL005" // a function that does not exist
	CodeOperator    = "KQL006" // an operator that does not exist
	CodeArguments   = "KQL007" // wrong number or kind of arguments
	CodeType        = "KQL008" // a value of the wrong type
	CodeDuplicate   = "KQL009" // a name declared twice
	CodeUnsupported = "KQL010" // valid KQL that this engine does not run
	CodeLimit       = "KQL011" // beyond a limit of the compiler
)

// Diagnostic is one finding about a query's text.
type Diagnostic struct {
	Code     string
	Severity Severity
	Message  string
	Hint     string // what to do about it; may be empty
	// Start and End are byte offsets into the text, End exclusive.
	Start, End int
	// Line and Column of Start, counted from 1; the column counts characters.
	Line, Column int
}

// Error is the error of a query that cannot be run: all that was found, in the order of the text.
type Error struct {
	Diagnostics []Diagnostic
	source      string
}

// Error gives the first finding, and how many more there are.
func (e *Error) Error() string {
	d := e.Diagnostics[0]
	s := fmt.Sprintf("line %d, column %d: %s", d.Line, d.Column, d.Message)
	if d.Hint != "" {
		s += " (" + d.Hint + ")"
	}
	if more := len(e.Diagnostics) - 1; more > 0 {
		s += fmt.Sprintf("; and %d more", more)
	}
	return s
}

// Render shows every finding with the line it is in and a caret under its place.
func (e *Error) Render() string {
	var b strings.Builder
	for i, d := range e.Diagnostics {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(d.Render(e.source))
	}
	return b.String()
}

// Render shows the finding with its line of source and a caret line.
func (d Diagnostic) Render(source string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s at line %d, column %d: %s\n", d.Severity, d.Code, d.Line, d.Column, d.Message)
	start := min(max(d.Start, 0), len(source))
	end := min(max(d.End, start), len(source))
	lineStart := strings.LastIndexByte(source[:start], '\n') + 1
	lineEnd := len(source)
	if i := strings.IndexByte(source[start:], '\n'); i >= 0 {
		lineEnd = start + i
	}
	line := strings.TrimRight(source[lineStart:lineEnd], "\r")
	fmt.Fprintf(&b, "  %s\n  ", line)
	for _, r := range source[lineStart:start] {
		if r == '\t' {
			b.WriteByte('\t')
		} else {
			b.WriteByte(' ')
		}
	}
	width := utf8.RuneCountInString(source[start:min(end, lineEnd)])
	b.WriteString(strings.Repeat("^", max(width, 1)))
	b.WriteByte('\n')
	if d.Hint != "" {
		fmt.Fprintf(&b, "  %s\n", d.Hint)
	}
	return b.String()
}

// maxDiagnostics bounds how many findings one text can yield.
const maxDiagnostics = 50

// report collects findings while a text is parsed and bound.
type report struct {
	source string
	list   []Diagnostic
	errors int
}

func (r *report) add(code string, at Span, hint, format string, args ...any) {
	if len(r.list) >= maxDiagnostics {
		r.errors++
		return
	}
	message := format
	if len(args) > 0 {
		message = fmt.Sprintf(format, args...)
	}
	for _, d := range r.list {
		if d.Start == at.Start && d.Code == code && d.Message == message {
			return
		}
	}
	r.errors++
	r.list = append(r.list, Diagnostic{Code: code, Severity: SeverityError, Message: message, Hint: hint, Start: at.Start, End: at.End})
}

// err gives the error of what was collected, or nil.
func (r *report) err() error {
	if r.errors == 0 {
		return nil
	}
	sort.SliceStable(r.list, func(i, j int) bool { return r.list[i].Start < r.list[j].Start })
	for i := range r.list {
		d := &r.list[i]
		start := min(d.Start, len(r.source))
		d.Line = 1 + strings.Count(r.source[:start], "\n")
		d.Column = 1 + utf8.RuneCountInString(r.source[strings.LastIndexByte(r.source[:start], '\n')+1:start])
	}
	return &Error{Diagnostics: r.list, source: r.source}
}

// nearest is the candidate that differs least from name, if it differs little enough to be meant.
func nearest(name string, candidates []string) string {
	best, bestDistance := "", len(name)/3+1
	lower := strings.ToLower(name)
	for _, c := range candidates {
		if strings.EqualFold(c, name) {
			return c
		}
		if d := len(c) - len(name); d > bestDistance || -d > bestDistance {
			continue
		}
		if d := distance(lower, strings.ToLower(c), bestDistance); d < bestDistance || d == bestDistance && best == "" {
			best, bestDistance = c, d
		}
	}
	if best != "" {
		return best
	}
	// A word that was left out: "Severity" for "AlertSeverity".
	for _, c := range candidates {
		if len(name) >= 4 && strings.HasSuffix(strings.ToLower(c), lower) {
			return c
		}
	}
	return ""
}

// distance is the edit distance of two strings, cut off above limit.
func distance(a, b string, limit int) int {
	if len(a) > 128 || len(b) > 128 {
		return limit + 1
	}
	previous := make([]int, len(b)+1)
	current := make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := 1; i <= len(a); i++ {
		current[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			current[j] = min(previous[j]+1, current[j-1]+1, previous[j-1]+cost)
		}
		previous, current = current, previous
	}
	return previous[len(b)]
}

func didYouMean(name string, candidates []string) string {
	if n := nearest(name, candidates); n != "" && n != name {
		return fmt.Sprintf("did you mean %s?", n)
	}
	return ""
}

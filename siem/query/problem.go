package query

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/otus-project/otus/kql"
)

// Diagnostic is one finding about a query's text, as answered over HTTP.
type Diagnostic struct {
	Code     string `json:"code"`
	Message  string `json:"message"`
	Line     int    `json:"line" doc:"Counted from 1"`
	Column   int    `json:"column" doc:"In characters, counted from 1"`
	Start    int    `json:"start" doc:"Offset into the text, in bytes of UTF-8"`
	End      int    `json:"end" doc:"Offset behind the place, in bytes of UTF-8"`
	Hint     string `json:"hint"`
	Severity string `json:"severity"`
}

func diagnostics(found []kql.Diagnostic) []Diagnostic {
	all := make([]Diagnostic, len(found))
	for i, d := range found {
		all[i] = Diagnostic{Code: d.Code, Message: d.Message, Line: d.Line, Column: d.Column, Start: d.Start, End: d.End, Hint: d.Hint, Severity: string(d.Severity)}
	}
	return all
}

// Problem is an error answer in the form of RFC 9457; for a bad query with all findings.
type Problem struct {
	Type   string       `json:"type"`
	Title  string       `json:"title"`
	Status int          `json:"status"`
	Detail string       `json:"detail"`
	Errors []Diagnostic `json:"errors,omitempty"`
}

func (p *Problem) Error() string { return p.Detail }

// GetStatus gives the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is that of RFC 9457.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

func newProblem(status int, detail string) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail}
}

// problemOf maps an error of Run; inner says that its cause is not for strangers and should be logged.
func problemOf(err error) (p *Problem, inner bool) {
	var bad *kql.Error
	switch {
	case errors.As(err, &bad):
		p = newProblem(http.StatusBadRequest, bad.Error())
		p.Title, p.Errors = "The query cannot be run", diagnostics(bad.Diagnostics)
		return p, false
	case errors.Is(err, ErrTimeout):
		return newProblem(http.StatusGatewayTimeout, ErrTimeout.Error()), false
	case errors.Is(err, ErrMemory):
		return newProblem(http.StatusUnprocessableEntity, ErrMemory.Error()), false
	}
	return newProblem(http.StatusInternalServerError, "internal error"), true
}

// token gives the text a finding points at, cut to a sensible length.
func token(source string, d kql.Diagnostic) string {
	start := min(max(d.Start, 0), len(source))
	end := min(max(d.End, start), len(source))
	text := source[start:end]
	if len(text) > 100 {
		text = text[:100]
	}
	return text
}

func position(d kql.Diagnostic) string {
	return "[" + strconv.Itoa(d.Line) + "," + strconv.Itoa(d.Column) + "]"
}

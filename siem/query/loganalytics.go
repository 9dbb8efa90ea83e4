package query

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/otus-project/otus/kql"
	"github.com/otus-project/otus/kql/schema"
)

// LogAnalyticsOptions say for which workspace the handler answers.
type LogAnalyticsOptions struct {
	// Workspaces are the names the workspace is called by in a path: its GUID and "default".
	Workspaces []string
	APIOptions
}

// Bounds of a request.
const (
	maxRequestBytes = 4 << 20 // also after gzip
	maxWait         = 10 * time.Minute
)

// LogAnalytics serves POST and GET /v1/workspaces/{id}/query as clients of the Log Analytics query API expect it. The
// pattern it is mounted under must name the path's {id}.
func (s *Service) LogAnalytics(o LogAnalyticsOptions) http.Handler {
	return &logAnalytics{s, o}
}

type logAnalytics struct {
	*Service
	o LogAnalyticsOptions
}

type logAnalyticsRequest struct {
	Query      string   `json:"query"`
	Timespan   *string  `json:"timespan"`
	Workspaces []string `json:"workspaces"`
}

// apiError is an error answer: a code, a message and, nested, what lies beneath.
type apiError struct {
	status        int
	Code          string    `json:"code"`
	Message       string    `json:"message"`
	CorrelationID string    `json:"correlationId,omitempty"`
	Details       []any     `json:"details,omitempty"`
	Inner         *apiInner `json:"innererror,omitempty"`
}

type apiInner struct {
	Code         string    `json:"code"`
	Message      string    `json:"message"`
	Severity     int       `json:"severity,omitempty"`
	SeverityName string    `json:"severityName,omitempty"`
	Line         *int      `json:"line,omitempty"`
	Pos          *int      `json:"pos,omitempty"`
	Token        *string   `json:"token,omitempty"`
	Inner        *apiInner `json:"innererror,omitempty"`
}

func (e *apiError) Error() string { return e.Message }

func badArgument(code, message string) *apiError {
	return &apiError{status: http.StatusBadRequest, Code: "BadArgumentError", Message: "The request had some invalid properties", Inner: &apiInner{Code: code, Message: message}}
}

func (h *logAnalytics) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	requestID := uuid.NewString()
	w.Header().Set("X-Ms-Request-Id", requestID)
	if id := r.Header.Get("X-Ms-Client-Request-Id"); id != "" && len(id) <= 200 {
		w.Header().Set("X-Ms-Client-Request-Id", id)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	body, err := h.answer(r)
	if err != nil {
		var known *apiError
		if !errors.As(err, &known) {
			if h.o.OnError != nil && r.Context().Err() == nil {
				h.o.OnError(r.Context(), err)
			}
			known = &apiError{status: http.StatusInternalServerError, Code: "InternalServerError", Message: "internal error"}
		}
		known.CorrelationID = requestID
		w.WriteHeader(known.status)
		_ = json.NewEncoder(w).Encode(map[string]*apiError{"error": known}) // the caller has gone
		return
	}
	_, _ = w.Write(body) // likewise
}

func (h *logAnalytics) answer(r *http.Request) ([]byte, error) {
	if err := h.admit(r); err != nil {
		return nil, err
	}
	request, err := h.read(r)
	if err != nil {
		return nil, err
	}
	prefer, err := parsePrefer(r.Header.Values("Prefer"))
	if err != nil {
		return nil, err
	}
	request.Timeout = prefer.wait
	request.MaxRows = h.Service.o.MaxRows
	result, err := h.Run(r.Context(), request)
	if err != nil {
		return nil, apiErrorOf(request.Text, err)
	}
	return encodeTables(result, prefer)
}

// admit refuses callers, methods and workspaces.
func (h *logAnalytics) admit(r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return &apiError{status: http.StatusMethodNotAllowed, Code: "MethodNotAllowedError", Message: "use GET or POST"}
	}
	found := false
	for _, name := range h.o.Workspaces {
		found = found || strings.EqualFold(name, r.PathValue("id"))
	}
	if !found {
		return &apiError{status: http.StatusNotFound, Code: "PathNotFoundError", Message: "The requested path does not exist"}
	}
	if h.o.Authorize != nil {
		if err := h.o.Authorize(r.Context(), RightRead); err != nil {
			return &apiError{status: http.StatusForbidden, Code: "InsufficientAccessError", Message: "The provided credentials have insufficient access to perform the requested operation"}
		}
	}
	return nil
}

// read takes the question from body and address; where both give a time range, the rows must be in both.
func (h *logAnalytics) read(r *http.Request) (Request, error) {
	var in logAnalyticsRequest
	if r.Method == http.MethodPost {
		b, err := readBody(r)
		if err != nil {
			return Request{}, err
		}
		if err := json.Unmarshal(b, &in); err != nil {
			return Request{}, badArgument("MalformedRequest", "The body is not JSON of the form {\"query\":\"...\"}: "+err.Error())
		}
	}
	address := r.URL.Query()
	if in.Query == "" {
		in.Query = address.Get("query")
	}
	if strings.TrimSpace(in.Query) == "" {
		return Request{}, badArgument("MissingQuery", "A query is needed")
	}
	for _, other := range in.Workspaces {
		known := false
		for _, name := range h.o.Workspaces {
			known = known || strings.EqualFold(name, other)
		}
		if !known {
			return Request{}, badArgument("WorkspaceNotFound", fmt.Sprintf("There is no workspace %q here", other))
		}
	}
	request := Request{Text: in.Query, Now: h.Service.o.Now()}
	spans := []string{address.Get("timespan")}
	if in.Timespan != nil {
		spans = append(spans, *in.Timespan)
	}
	for _, text := range spans {
		from, to, err := ParseTimespan(text, request.Now)
		if err != nil {
			return Request{}, badArgument("InvalidTimespan", err.Error())
		}
		if from != nil && (request.From == nil || from.After(*request.From)) {
			request.From = from
		}
		if to != nil && (request.To == nil || to.Before(*request.To)) {
			request.To = to
		}
	}
	return request, nil
}

func readBody(r *http.Request) ([]byte, error) {
	var body io.Reader = http.MaxBytesReader(nil, r.Body, maxRequestBytes)
	if strings.EqualFold(r.Header.Get("Content-Encoding"), "gzip") {
		z, err := gzip.NewReader(body)
		if err != nil {
			return nil, badArgument("MalformedRequest", "The body is not gzip")
		}
		body = z
	}
	b, err := io.ReadAll(io.LimitReader(body, maxRequestBytes+1))
	if err != nil || len(b) > maxRequestBytes {
		return nil, &apiError{status: http.StatusRequestEntityTooLarge, Code: "RequestTooLarge", Message: fmt.Sprintf("A request may have %d bytes", maxRequestBytes)}
	}
	return b, nil
}

type preferences struct {
	wait       time.Duration
	statistics bool
	render     bool
}

// parsePrefer reads "wait=60,include-statistics=true,include-render=true"; what is unknown is ignored.
func parsePrefer(values []string) (preferences, error) {
	var p preferences
	for part := range strings.FieldsFuncSeq(strings.Join(values, ","), func(r rune) bool { return r == ',' || r == ';' }) {
		key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		value = strings.Trim(strings.TrimSpace(value), `"`)
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "wait":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 {
				return p, badArgument("InvalidPreferHeader", fmt.Sprintf("wait=%q is not a number of seconds", value))
			}
			p.wait = min(time.Duration(min(n, 3600))*time.Second, maxWait)
		case "include-statistics":
			p.statistics = strings.EqualFold(value, "true")
		case "include-render":
			p.render = strings.EqualFold(value, "true")
		}
	}
	return p, nil
}

// apiErrorOf maps an error of Run.
func apiErrorOf(text string, err error) error {
	var bad *kql.Error
	switch {
	case errors.As(err, &bad):
		return queryError(text, bad.Diagnostics[0])
	case errors.Is(err, ErrTimeout):
		return &apiError{status: http.StatusGatewayTimeout, Code: "GatewayTimeout", Message: "The query took longer than allowed"}
	case errors.Is(err, ErrMemory):
		return &apiError{status: http.StatusUnprocessableEntity, Code: "QueryExecutionError", Message: "The query could not be run to its end", Inner: &apiInner{Code: "E_LOW_MEMORY_CONDITION", Message: ErrMemory.Error()}}
	case errors.Is(err, context.Canceled):
		return &apiError{status: 499, Code: "Canceled", Message: "The caller went away"}
	}
	return err
}

// queryError tells the first finding about a text in the words of the API: what the text is not, or does not mean.
func queryError(text string, d kql.Diagnostic) *apiError {
	message := d.Message
	if d.Hint != "" {
		message += " (" + d.Hint + ")"
	}
	line, column, at := d.Line, d.Column, token(text, d)
	inner := &apiInner{Line: &line, Pos: &column, Token: &at}
	e := badArgument("SemanticError", "A semantic error occurred.")
	inner.Code, inner.Message = "SEM0100", fmt.Sprintf("%s (line %d, position %d)", message, line, column)
	switch d.Code {
	case kql.CodeSyntax, kql.CodeQuote, kql.CodeLiteral:
		e = badArgument("SyntaxError", "A recognition error occurred in the query.")
		inner.Code, inner.Message = "SYN0002", fmt.Sprintf("Query could not be parsed at '%s' on line %s: %s", at, position(d), message)
	}
	e.Inner.Inner = inner
	return e
}

type tablesAnswer struct {
	Tables     []tableAnswer  `json:"tables"`
	Statistics map[string]any `json:"statistics,omitempty"`
	Render     map[string]any `json:"render,omitempty"`
	Error      *apiError      `json:"error,omitempty"`
}

type tableAnswer struct {
	Name    string         `json:"name"`
	Columns []AnswerColumn `json:"columns"`
	Rows    [][]any        `json:"rows"`
}

func encodeTables(r *Result, p preferences) ([]byte, error) {
	table := tableAnswer{Name: "PrimaryResult", Columns: make([]AnswerColumn, len(r.Columns)), Rows: r.Rows}
	for i, c := range r.Columns {
		table.Columns[i] = AnswerColumn{c.Name, c.Type.String()}
	}
	for _, row := range r.Rows {
		for i, c := range r.Columns {
			row[i] = cell(c.Type, row[i])
		}
	}
	out := tablesAnswer{Tables: []tableAnswer{table}}
	if p.statistics {
		seconds := r.Stats.Elapsed.Seconds()
		out.Statistics = map[string]any{"query": map[string]any{"executionTime": seconds,
			"datasetStatistics": []any{map[string]any{"tableRowCount": r.Stats.Rows, "tableSize": r.Stats.Bytes}}}}
	}
	if p.render {
		out.Render = renderAnswer(r.Render)
	}
	if r.Truncated {
		out.Error = &apiError{Code: "PartialError", Message: "There were some errors when processing your query.", Details: []any{map[string]any{
			"code": "EngineError", "message": "Something went wrong processing your query on the server.",
			"innererror": apiInner{Code: "-2133196797", Severity: 2, SeverityName: "Error",
				Message: fmt.Sprintf("The query result was cut after %d rows; it has more.", r.Stats.Rows)}}}}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(out); err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	return b.Bytes(), nil
}

// cell is a value as these clients expect it: dynamic is the text of JSON, a string is never null.
func cell(t schema.Type, v any) any {
	switch v := v.(type) {
	case json.RawMessage:
		return string(v)
	case nil:
		if t == schema.String {
			return ""
		}
		return nil
	default:
		return JSON(v)
	}
}

func renderAnswer(r *kql.Render) map[string]any {
	out := map[string]any{"visualization": "table", "title": nil, "xColumn": nil, "yColumns": nil, "series": nil, "kind": "default"}
	if r == nil {
		return out
	}
	out["visualization"] = r.Kind
	for key, property := range map[string]string{"title": "title", "xColumn": "xcolumn", "yColumns": "ycolumns", "series": "series", "kind": "kind"} {
		if v := r.Properties[property]; v != "" {
			out[key] = v
		}
	}
	return out
}

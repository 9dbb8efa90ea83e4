package query

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/otus-project/otus/kql"
)

// RightRead is the right every call of this package asks for.
const RightRead = "workspace.read"

// APIOptions tell the calls who asks.
type APIOptions struct {
	// Authorize refuses a caller without the right; nil allows everything. A huma.StatusError is answered as it is,
	// any other error as 403.
	Authorize func(ctx context.Context, right string) error
	// OnError is told the cause of what is answered as "internal error".
	OnError func(ctx context.Context, err error)
}

type inWorkspace struct {
	Workspace string `path:"workspace" doc:"Id or name of the workspace"`
}

type queryInput struct {
	inWorkspace
	Body struct {
		Query    string `json:"query" maxLength:"1000000" doc:"KQL"`
		Timespan string `json:"timespan,omitempty" doc:"ISO 8601 duration that ends now, or start/end; restricts TimeGenerated" example:"P1D"`
		MaxRows  int    `json:"maxRows,omitempty" minimum:"0" doc:"Cuts the answer; 0 is the server's own limit"`
	}
}

type queryOutput struct {
	Body Answer
}

// Answer is a result as JSON.
type Answer struct {
	Columns       []AnswerColumn   `json:"columns" nullable:"false"`
	Rows          [][]any          `json:"rows" nullable:"false" doc:"Values in the order of the columns; datetime, timespan, guid and decimal are text, dynamic is JSON"`
	Truncated     bool             `json:"truncated" doc:"Whether there is more"`
	Statistics    AnswerStatistics `json:"statistics"`
	Visualization *Visualization   `json:"visualization" doc:"What the render operator asks for; null without one"`
}

// AnswerColumn names a column and its KQL type.
type AnswerColumn struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// AnswerStatistics tell what the query took.
type AnswerStatistics struct {
	ElapsedMs float64 `json:"elapsedMs"`
	Rows      int     `json:"rows"`
}

// Visualization is the chart a query asks for.
type Visualization struct {
	Kind     string   `json:"kind"`
	Title    string   `json:"title"`
	XColumn  string   `json:"xColumn"`
	YColumns []string `json:"yColumns" nullable:"false"`
	Series   []string `json:"series" nullable:"false"`
	Stacked  bool     `json:"stacked"`
}

// Findings is what there is to say about a query's text.
type Findings struct {
	Diagnostics []Diagnostic `json:"diagnostics" nullable:"false"`
}

type checkOutput struct {
	Body Findings
}

type schemaOutput struct {
	Body Schema
}

// Schema is everything an editor must know of the language and the tables.
type Schema struct {
	Tables    []SchemaTable    `json:"tables" nullable:"false"`
	Functions []SchemaFunction `json:"functions" nullable:"false"`
	Operators []SchemaOperator `json:"operators" nullable:"false"`
}

// SchemaTable describes a table.
type SchemaTable struct {
	Name        string         `json:"name"`
	Description string         `json:"description"`
	Solutions   []string       `json:"solutions" nullable:"false"`
	Columns     []SchemaColumn `json:"columns" nullable:"false"`
}

// SchemaColumn describes a column of a table.
type SchemaColumn struct {
	Name        string `json:"name"`
	Type        string `json:"type"`
	Description string `json:"description"`
}

// SchemaFunction describes a function.
type SchemaFunction struct {
	Name        string `json:"name"`
	Kind        string `json:"kind" doc:"scalar, aggregate or window"`
	Signature   string `json:"signature"`
	Description string `json:"description"`
}

// SchemaOperator describes a tabular operator.
type SchemaOperator struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

type calls struct {
	*Service
	o APIOptions
}

// Register serves queries, their check and the schema.
func (s *Service) Register(api huma.API, o APIOptions) {
	c := &calls{s, o}
	operation := func(method, path, id, summary string) huma.Operation {
		return huma.Operation{Method: method, Path: "/otus/v1/workspaces/{workspace}" + path, OperationID: id, Summary: summary, Tags: []string{"logs"},
			MaxBodyBytes: 4 << 20, Errors: []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden}}
	}
	huma.Register(api, operation(http.MethodPost, "/query", "runQuery", "Run a query"), c.query)
	huma.Register(api, operation(http.MethodPost, "/query/check", "checkQuery", "Say what is wrong with a query"), c.check)
	huma.Register(api, operation(http.MethodGet, "/schema", "getSchema", "Tables, functions and operators"), c.schema)
}

func (c *calls) authorize(ctx context.Context) error {
	if c.o.Authorize == nil {
		return nil
	}
	err := c.o.Authorize(ctx, RightRead)
	var known huma.StatusError
	if err == nil || errors.As(err, &known) {
		return err
	}
	return newProblem(http.StatusForbidden, err.Error())
}

func (c *calls) query(ctx context.Context, in *queryInput) (*queryOutput, error) {
	if err := c.authorize(ctx); err != nil {
		return nil, err
	}
	request := Request{Text: in.Body.Query, MaxRows: in.Body.MaxRows, Now: c.Service.o.Now()}
	var err error
	if request.From, request.To, err = ParseTimespan(in.Body.Timespan, request.Now); err != nil {
		return nil, newProblem(http.StatusBadRequest, err.Error())
	}
	result, err := c.Run(ctx, request)
	if err != nil {
		p, inner := problemOf(err)
		if inner && ctx.Err() == nil && c.o.OnError != nil {
			c.o.OnError(ctx, err)
		}
		return nil, p
	}
	return &queryOutput{answer(result)}, nil
}

func answer(r *Result) Answer {
	a := Answer{Columns: make([]AnswerColumn, len(r.Columns)), Rows: r.Rows, Truncated: r.Truncated,
		Statistics: AnswerStatistics{ElapsedMs: float64(r.Stats.Elapsed) / float64(time.Millisecond), Rows: r.Stats.Rows}, Visualization: visualization(r.Render)}
	for i, c := range r.Columns {
		a.Columns[i] = AnswerColumn{c.Name, c.Type.String()}
	}
	for _, row := range a.Rows { // the result is ours alone
		for i := range row {
			row[i] = JSON(row[i])
		}
	}
	return a
}

func visualization(r *kql.Render) *Visualization {
	if r == nil {
		return nil
	}
	list := func(key string) []string {
		names := []string{}
		for name := range strings.SplitSeq(r.Properties[key], ",") {
			if name = strings.TrimSpace(name); name != "" {
				names = append(names, name)
			}
		}
		return names
	}
	return &Visualization{Kind: r.Kind, Title: r.Properties["title"], XColumn: r.Properties["xcolumn"], YColumns: list("ycolumns"), Series: list("series"),
		Stacked: strings.HasPrefix(r.Properties["kind"], "stacked")}
}

func (c *calls) check(ctx context.Context, in *queryInput) (*checkOutput, error) {
	if err := c.authorize(ctx); err != nil {
		return nil, err
	}
	return &checkOutput{Findings{Diagnostics: diagnostics(c.Check(in.Body.Query))}}, nil
}

func (c *calls) schema(ctx context.Context, _ *inWorkspace) (*schemaOutput, error) {
	if err := c.authorize(ctx); err != nil {
		return nil, err
	}
	return &schemaOutput{c.Schema()}, nil
}

// Schema describes the tables and the part of the language that runs here.
func (s *Service) Schema() Schema {
	out := Schema{Tables: []SchemaTable{}, Functions: []SchemaFunction{}, Operators: []SchemaOperator{}}
	for _, t := range s.Catalog().Tables {
		table := SchemaTable{Name: t.Name, Description: t.Description, Solutions: t.Solutions}
		for _, c := range t.Columns {
			table.Columns = append(table.Columns, SchemaColumn{c.Name, c.Type.String(), c.Description})
		}
		out.Tables = append(out.Tables, table)
	}
	for _, f := range kql.Functions() {
		if f.Supported {
			out.Functions = append(out.Functions, SchemaFunction{f.Name, f.Kind, f.Signature, f.Description})
		}
	}
	for _, o := range kql.Operators() {
		if o.Supported {
			out.Operators = append(out.Operators, SchemaOperator{o.Name, o.Description})
		}
	}
	return out
}

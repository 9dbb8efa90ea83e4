// Package kql compiles the Kusto query language: a query's text goes in, an SQL statement with parameters and the
// columns of its result come out, or everything that is wrong with the text. It does no I/O and has no clock;
// equal inputs give equal outputs. One tabular operator is one file, op_<name>.go; one function is one entry in
// kql/function. What is not supported is refused by name, never guessed.
package kql

import (
	"errors"
	"sort"
	"time"

	"github.com/otus-project/otus/kql/function"
	"github.com/otus-project/otus/kql/native"
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/kql/sqlgen"
)

// Options say what a query may name and what surrounds it.
type Options struct {
	Catalog *schema.Catalog
	// Now is now() and the base of ago(). The zero time is the year 1.
	Now time.Time
	// From and To bound TimeGenerated of every table that has it: From <= TimeGenerated < To.
	From, To *time.Time
	// IngestAfter and IngestUpTo bound the hidden column _IngestSeq of every table: IngestAfter < seq <= IngestUpTo.
	IngestAfter, IngestUpTo *uint64
	// MaxRows, if positive, limits the rows to one more than it, so that a cut result can be told.
	MaxRows int
	// Dialect is the SQL to write; nil is DuckDB's.
	Dialect *sqlgen.Dialect
}

// The hidden columns of every stored table. They are never in a result.
const (
	IngestSeqColumn     = "_IngestSeq"
	IngestionTimeColumn = "_IngestionTime"
)

// Query is a compiled query.
type Query struct {
	SQL     string
	Args    []any // bool, int64, float64, string or nil, for $1, $2 ...
	Columns []schema.Column
	// Render is the visualisation asked for; nil without one.
	Render *Render
	// Tables are the stored tables read, sorted.
	Tables []string
	// RowLocal: the query only filters and computes on single rows of one table (where, extend, project), so that
	// its result over new rows is the new part of its result.
	RowLocal bool
}

// Render is what the render operator asked for.
type Render struct {
	Kind       string            // barchart, timechart, table ...
	Properties map[string]string // title, xcolumn ...
}

// Compile turns a query into SQL. The error of a bad query is an *Error.
func Compile(text string, o Options) (*Query, error) {
	b, rel := bindText(text, o)
	b.report.list = append(b.report.list, b.refused.list...)
	b.report.errors += b.refused.errors
	if err := b.report.err(); err != nil {
		return nil, err
	}
	if rel == nil {
		b.report.add(CodeSyntax, Span{0, len(text)}, "", "there is no query in the text")
		return nil, b.report.err()
	}
	s := b.finish(rel)
	if o.MaxRows > 0 {
		s.Limit = sqlgen.Param{Value: int64(o.MaxRows) + 1, Kind: sqlgen.Long}
	}
	s.With = b.with
	statement, err := b.d.Write(sqlgen.Prune(s))
	if errors.Is(err, sqlgen.ErrTooLarge) {
		b.report.add(CodeLimit, Span{0, len(text)}, "", "%s", err.Error())
		return nil, b.report.err()
	}
	q := &Query{SQL: statement.Text, Args: statement.Args, Columns: rel.schema(), Render: b.render, RowLocal: b.rowLocal && len(b.tables) == 1}
	for t := range b.tables {
		q.Tables = append(q.Tables, t)
	}
	sort.Strings(q.Tables)
	return q, nil
}

// Bind gives the columns of a query's result without asking whether this engine can run it. A query that ends in
// a scalar has one column. The error of a bad query is an *Error.
func Bind(text string, o Options) ([]schema.Column, error) {
	b, rel := bindText(text, o)
	if err := b.report.err(); err != nil {
		return nil, err
	}
	if rel == nil {
		return nil, nil
	}
	return rel.schema(), nil
}

// Check gives everything there is to say about a query's text, refusals too; none means that it would run.
func Check(text string, o Options) []Diagnostic {
	_, err := Compile(text, o)
	var e *Error
	if errors.As(err, &e) {
		return e.Diagnostics
	}
	return nil
}

func bindText(text string, o Options) (*binder, *relation) {
	r := &report{source: text}
	statements := parse(text, r)
	b := newBinder(text, o, r)
	if r.errors > 0 && !hasQuery(statements) {
		return b, nil
	}
	// After a syntax error the rest is still bound, but only for what the author can use: names that do not
	// exist. A tree with holes in it yields follow-up findings, which say nothing.
	if r.errors > 0 {
		return b, nil
	}
	return b, b.statements(statements)
}

func hasQuery(list []statement) bool {
	for _, s := range list {
		if _, ok := s.(*queryStatement); ok {
			return true
		}
	}
	return false
}

// ticks gives a time in 100 ns since 1970.
func ticks(t time.Time) int64 {
	seconds := t.Unix()
	return seconds*1e7 + int64(t.Nanosecond()/100)
}

// Info describes a function or operator for completion and reference pages.
type Info struct {
	Name        string
	Kind        string // scalar, aggregate, window, operator
	Signature   string
	Description string
	Example     string
	Supported   bool
}

// Functions lists what the language offers, sorted by name.
func Functions() []Info {
	var list []Info
	for _, f := range function.All() {
		if !f.Hidden {
			list = append(list, Info{f.Name, string(f.Kind), f.Signature(), f.Doc, f.Example, f.Supported()})
		}
	}
	return list
}

// Operators lists the tabular operators, sorted by name.
func Operators() []Info {
	var list []Info
	for _, o := range operators() {
		if !o.hidden {
			list = append(list, Info{o.name, "operator", o.form, o.doc, o.example, o.supported})
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}

// Natives lists the functions that the store must register for the SQL of this package.
func Natives() []native.Function { return native.All() }

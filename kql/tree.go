package kql

import "github.com/otus-project/otus/kql/schema"

// The tree of a query: what was written, with the place of every part. Nothing in it is resolved.

// Expr is an expression as written.
type Expr interface {
	span() Span
	print(p *printer)
}

// nameExpr is a name: of a column, a variable, a table.
type nameExpr struct {
	Span
	Name    string
	Bracket bool // written ['name']
}

// starExpr is * where all columns are meant.
type starExpr struct{ Span }

// wildcardExpr is a name with * in it.
type wildcardExpr struct {
	Span
	Pattern string
}

// literalExpr is a value. Value is bool, int64, float64, string (also of guid and decimal), int64 ticks of
// datetime and timespan, jsonText of dynamic, or nil for a null.
type literalExpr struct {
	Span
	Type  schema.Type
	Value any
	// Text is the spelling of number and typed literals, for printing; strings are printed from their value.
	Text string
}

// typeExpr is typeof(...): one type, or a list of columns.
type typeExpr struct {
	Span
	Type    schema.Type
	Columns []columnDecl
	Tabular bool // typeof(a:int, ...) or typeof(*)
}

type pathExpr struct {
	Span
	X    Expr
	Name nameExpr
	Call Expr // database("x").f(): the call; Name is its name
}

type indexExpr struct {
	Span
	X, Index Expr
}

type callExpr struct {
	Span
	Name nameExpr
	Args []argument
}

// argument of a call; Name is empty if it goes by position.
type argument struct {
	Name  string
	Value Expr
}

type unaryExpr struct {
	Span
	Op string
	X  Expr
}

// binaryExpr covers arithmetic, comparison, string operators, and, or.
type binaryExpr struct {
	Span
	Op   string
	OpAt Span
	L, R Expr
}

// inExpr is in, !in, in~, has_any, has_all and their kin.
type inExpr struct {
	Span
	Op   string
	X    Expr
	List []Expr
}

type betweenExpr struct {
	Span
	Not          bool
	X, Low, High Expr
}

// pipeExpr is a pipeline where an expression may stand: in parentheses, as an argument of toscalar, of in.
type pipeExpr struct {
	Span
	Pipe *pipeline
}

// functionExpr is a function of a let statement.
type functionExpr struct {
	Span
	View       bool
	Params     []param
	Statements []statement
	Body       *pipeline // a tabular or scalar result
}

type param struct {
	Name    nameExpr
	Type    schema.Type
	Columns []columnDecl // of a tabular parameter
	Tabular bool
	AnyCols bool // (*)
	Default Expr
}

type columnDecl struct {
	Name nameExpr
	Type schema.Type
}

func (e nameExpr) span() Span      { return e.Span }
func (e *starExpr) span() Span     { return e.Span }
func (e *wildcardExpr) span() Span { return e.Span }
func (e *literalExpr) span() Span  { return e.Span }
func (e *typeExpr) span() Span     { return e.Span }
func (e *pathExpr) span() Span     { return e.Span }
func (e *indexExpr) span() Span    { return e.Span }
func (e *callExpr) span() Span     { return e.Span }
func (e *unaryExpr) span() Span    { return e.Span }
func (e *binaryExpr) span() Span   { return e.Span }
func (e *inExpr) span() Span       { return e.Span }
func (e *betweenExpr) span() Span  { return e.Span }
func (e *pipeExpr) span() Span     { return e.Span }
func (e *functionExpr) span() Span { return e.Span }

// jsonText is the value of a dynamic literal: canonical JSON.
type jsonText string

// namedExpr is an expression of a list, with the name or names it was given.
type namedExpr struct {
	Span
	Names []nameExpr // none: unnamed; several: (a, b) = ...
	Tuple bool       // written with parentheses
	Value Expr
}

// pipeline is a source and the operators its rows go through.
type pipeline struct {
	Span
	Source    source
	Operators []operator
}

// source is where a pipeline begins.
type source interface {
	span() Span
	print(p *printer)
	bindSource(b *binder) *relation
}

// operator is one tabular operator. Each lives in a file of its own, op_<name>.go, with its parsing, its
// printing, its resulting columns and its SQL.
type operator interface {
	span() Span
	print(p *printer)
	bind(b *binder, in *relation) *relation
}

// statement is let, set, declare, alias or a query.
type statement interface {
	span() Span
	print(p *printer)
}

type letStatement struct {
	Span
	Name  nameExpr
	Value Expr // a scalar, a functionExpr, or a pipeExpr
}

type setStatement struct {
	Span
	Name  string
	Value Expr
}

type declareStatement struct {
	Span
	Params []param
}

// refusedStatement is one whose form is known but not its parts: alias, pattern, restrict.
type refusedStatement struct {
	Span
	Word, Text string
}

type queryStatement struct {
	Span
	Pipe *pipeline
}

func (s *letStatement) span() Span     { return s.Span }
func (s *setStatement) span() Span     { return s.Span }
func (s *declareStatement) span() Span { return s.Span }
func (s *refusedStatement) span() Span { return s.Span }
func (s *queryStatement) span() Span   { return s.Span }
func (p *pipeline) span() Span         { return p.Span }

// exprSource begins a pipeline with a table name, a call, or a pipeline in parentheses.
type exprSource struct {
	Span
	Expr Expr
}

func (s *exprSource) span() Span { return s.Span }

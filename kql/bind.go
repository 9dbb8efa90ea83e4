package kql

import (
	"strings"

	"github.com/otus-project/otus/kql/function"
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/kql/sqlgen"
)

// binder gives meaning to a tree: it resolves names, derives types and columns, and writes SQL, in one walk.
type binder struct {
	source  string
	o       Options
	d       *sqlgen.Dialect
	report  *report
	refused *report // valid, but not supported: errors of Compile, none of Bind

	scope   *scope
	row     *relation // the row that expressions refer to; nil where there is none
	right   *relation // the right side, while the condition of a join is bound
	now     int64
	aliases map[string]int
	with    []sqlgen.With
	tables  map[string]bool
	render  *Render

	rowLocal bool
	windows  bool // a window function was written since the flag was last cleared
	// lateral: the rows are those of a correlated subquery, in which the store takes no parameter for a limit.
	lateral   bool
	inSummary bool // aggregates may be called
	// keysInScope are the keys of the summarize at work.
	keysInScope []boundColumn
	operators   int
	depth       int
}

// The limits of what definitions may unfold to.
const (
	maxOperators = 20000
	maxCalls     = 100 // nesting of calls of user functions
	maxColumns   = 40000
)

func newBinder(text string, o Options, r *report) *binder {
	b := &binder{source: text, o: o, d: o.Dialect, report: r, refused: &report{source: text}, now: ticks(o.Now),
		aliases: map[string]int{}, tables: map[string]bool{}, rowLocal: true, scope: &scope{}}
	if b.d == nil {
		b.d = sqlgen.DuckDB
	}
	if b.o.Catalog == nil {
		b.o.Catalog = &schema.Catalog{}
	}
	return b
}

// scope is a chain of what let statements and parameters have named.
type scope struct {
	outer *scope
	names map[string]*variable
}

// variable is one of a value, a relation or a function.
type variable struct {
	value    *value
	rel      *relation
	shared   string // name of a query computed once, whose columns rel has
	function *functionExpr
	scope    *scope // where the function was defined
	view     bool
	used     bool
}

func (s *scope) find(name string) *variable {
	for ; s != nil; s = s.outer {
		if v, ok := s.names[name]; ok {
			return v
		}
	}
	return nil
}

func (s *scope) set(name string, v *variable) {
	if s.names == nil {
		s.names = map[string]*variable{}
	}
	s.names[name] = v
}

// all lists the names in reach.
func (s *scope) all(accept func(*variable) bool) []string {
	var list []string
	for ; s != nil; s = s.outer {
		for n, v := range s.names {
			if accept(v) {
				list = append(list, n)
			}
		}
	}
	return list
}

func (b *binder) fail(code string, at Span, hint, format string, args ...any) {
	b.report.add(code, at, hint, format, args...)
}

// refuse reports what is valid KQL but not supported here.
func (b *binder) refuse(at Span, format string, args ...any) {
	b.refused.add(CodeUnsupported, at, "", format+" is not supported yet", args...)
}

// statements binds a text; the last query is its result.
func (b *binder) statements(list []statement) *relation {
	var result *relation
	for _, s := range list {
		if r := b.statement(s); r != nil {
			result = r
		}
	}
	return result
}

func (b *binder) statement(s statement) *relation {
	switch s := s.(type) {
	case *letStatement:
		b.let(s)
	case *declareStatement:
		for _, q := range s.Params {
			if q.Default == nil {
				b.refuse(q.Name.Span, "a query parameter without a default value (%s)", q.Name.Name)
				b.scope.set(q.Name.Name, &variable{value: &value{Arg: function.Arg{Expr: function.Nothing, Type: q.Type}}})
				continue
			}
			v := b.convertTo(b.scalar(q.Default), q.Type, q.Default.span())
			b.scope.set(q.Name.Name, &variable{value: &v})
		}
	case *setStatement:
		// Settings of Kusto's engine steer its work, not the answer, but for these.
		switch strings.ToLower(s.Name) {
		case "query_now", "query_datetimescope_from", "query_datetimescope_to", "query_datetimescope_column", "query_take_max_records", "truncationmaxrecords":
			b.refuse(s.Span, "the setting %s", s.Name)
		}
	case *refusedStatement:
		b.refuse(s.Span, "the statement %s", s.Word)
	case *queryStatement:
		return b.pipeline(s.Pipe)
	}
	return nil
}

func (b *binder) let(s *letStatement) {
	if _, twice := b.scope.names[s.Name.Name]; twice {
		b.fail(CodeDuplicate, s.Name.Span, "", "%q is already defined", s.Name.Name)
	}
	switch e := s.Value.(type) {
	case *functionExpr:
		b.scope.set(s.Name.Name, &variable{function: e, scope: b.scope, view: e.View})
		return
	case *callExpr:
		if e.Name.Name == "materialize" && len(e.Args) == 1 {
			if rel := b.tabularArgument(e.Args[0].Value); rel != nil {
				b.shareAs(s.Name.Name, rel)
				return
			}
		}
	}
	row := b.row
	b.row = nil
	v, rel := b.any(s.Value)
	b.row = row
	if rel != nil && !rel.scalar {
		rel.table = ""
		b.scope.set(s.Name.Name, &variable{rel: rel})
		return
	}
	b.scope.set(s.Name.Name, &variable{value: &v})
}

// shareAs makes a relation a query that is computed once.
func (b *binder) shareAs(name string, rel *relation) {
	shared := b.fresh(name)
	b.with = append(b.with, sqlgen.With{Name: shared, Query: b.ordered(rel)})
	rel.from, rel.where, rel.table = sqlgen.Shared(shared), nil, ""
	b.scope.set(name, &variable{rel: rel, shared: shared})
}

// any binds what may be a table or a value: a name, a call, a pipeline, an expression.
func (b *binder) any(e Expr) (value, *relation) {
	switch e := e.(type) {
	case *pipeExpr:
		return value{}, b.pipeline(e.Pipe)
	case nameExpr:
		if b.row == nil || !b.row.has(e.Name) {
			if rel := b.tableNamed(e, false); rel != nil {
				return value{}, rel
			}
		}
	case *callExpr:
		if rel, ok := b.tableCall(e); ok {
			return value{}, rel
		}
	case *pathExpr:
		if rel, ok := b.tablePath(e); ok {
			return value{}, rel
		}
	}
	return b.scalar(e), nil
}

// pipeline binds a source and its operators.
func (b *binder) pipeline(p *pipeline) *relation {
	b.depth++
	defer func() { b.depth-- }()
	if b.depth > maxDepth {
		b.fail(CodeLimit, p.Span, "", "the query nests deeper than %d levels", maxDepth)
		return nil
	}
	row, right, summary := b.row, b.right, b.inSummary
	b.row, b.right, b.inSummary = nil, nil, false
	rel := p.Source.bindSource(b)
	for _, op := range p.Operators {
		if rel == nil {
			break
		}
		if rel.scalar {
			b.fail(CodeType, op.span(), "", "the value before | is not a table")
			rel = nil
			break
		}
		b.operators++
		if b.operators > maxOperators {
			b.fail(CodeLimit, op.span(), "", "the query has more than %d operators once its definitions are put in", maxOperators)
			rel = nil
			break
		}
		b.row = rel
		b.windows = false
		rel = op.bind(b, rel)
		b.row = nil
		if rel != nil {
			rel.carried = nil
			if len(rel.columns) > maxColumns {
				b.fail(CodeLimit, op.span(), "", "the rows have more than %d columns", maxColumns)
				rel = nil
				break
			}
			if _, isAs := op.(*asOp); !isAs {
				rel.table = ""
			}
		}
	}
	b.row, b.right, b.inSummary = row, right, summary
	return rel
}

func (s *exprSource) bindSource(b *binder) *relation {
	if n, ok := s.Expr.(nameExpr); ok && b.scope.find(n.Name) == nil && b.o.Catalog.Table(n.Name) == nil {
		b.missingTable(n)
		return nil
	}
	v, rel := b.any(s.Expr)
	if rel != nil {
		return rel
	}
	// A value by itself is a query of one row.
	name := "print_0"
	return &relation{scalar: true, columns: []column{{name: name, typ: v.Type, expr: v.Expr, null: v.Null}}}
}

// tabularArgument binds an argument that must be a table.
func (b *binder) tabularArgument(e Expr) *relation {
	row := b.row
	b.row = nil
	_, rel := b.any(e)
	b.row = row
	if rel == nil {
		return nil
	}
	if rel.scalar {
		b.fail(CodeType, e.span(), "", "a table is expected here, not a value")
		return nil
	}
	return rel
}

// tableNamed gives the table, view or tabular variable of a name, or nil. With must, a missing one is reported.
func (b *binder) tableNamed(n nameExpr, must bool) *relation {
	if v := b.scope.find(n.Name); v != nil {
		switch {
		case v.shared != "":
			return b.copyOf(v.rel)
		case v.rel != nil:
			if !v.used {
				v.used = true
				// The first use takes the relation itself; a copy stays behind for later ones.
				rel := v.rel
				v.rel = b.copyOf(rel)
				return b.cloned(rel)
			}
			c := b.copyOf(v.rel)
			return c
		case v.function != nil && (v.view || len(v.function.Params) == 0):
			_, rel := b.invoke(n, v, nil)
			if rel != nil && !rel.scalar {
				rel.table = ""
				if v.view {
					rel.table = n.Name
				}
				return rel
			}
			return nil
		}
		if must {
			b.fail(CodeType, n.Span, "", "%q is a value, not a table", n.Name)
		}
		return nil
	}
	if t := b.o.Catalog.Table(n.Name); t != nil {
		return b.scan(t)
	}
	if must {
		b.missingTable(n)
	}
	return nil
}

func (b *binder) missingTable(n nameExpr) {
	var names []string
	for _, t := range b.o.Catalog.Tables {
		names = append(names, t.Name)
	}
	names = append(names, b.scope.all(func(v *variable) bool { return v.value == nil })...)
	b.fail(CodeName, n.Span, didYouMean(n.Name, names), "there is no table %q", n.Name)
}

// cloned gives a relation whose lists are its own, so that changing it leaves the original as it was.
func (b *binder) cloned(r *relation) *relation {
	c := *r
	c.columns = append([]column(nil), r.columns...)
	c.where = append([]sqlgen.Expr(nil), r.where...)
	c.order = append([]sqlgen.Order(nil), r.order...)
	return &c
}

// scan reads a stored table, with the query's bounds on it.
func (b *binder) scan(t *schema.Table) *relation {
	if b.tables[t.Name] {
		b.rowLocal = false
	}
	b.tables[t.Name] = true
	r := &relation{table: t.Name}
	inner := &sqlgen.Select{From: sqlgen.Table(t.Name)}
	renamed := false
	alias := func(name string) string {
		a := b.fresh(name)
		renamed = renamed || a != name
		inner.Items = append(inner.Items, sqlgen.Item{Expr: sqlgen.Column(name), Alias: a})
		return a
	}
	inner.Items = make([]sqlgen.Item, 0, len(t.Columns)+1)
	r.columns = make([]column, 0, len(t.Columns))
	for _, c := range t.Columns {
		col := column{name: c.Name, typ: c.Type, expr: sqlgen.Column(alias(c.Name)), null: c.Type != schema.String}
		r.columns = append(r.columns, col)
	}
	r.ingestion = alias(IngestionTimeColumn)
	bound := func(name, op string, v int64) {
		inner.Where = append(inner.Where, b.d.Op(op, sqlgen.Column(name), sqlgen.Param{Value: v, Kind: sqlgen.Long}))
	}
	if _, ok := t.Column("TimeGenerated"); ok {
		if b.o.From != nil {
			bound("TimeGenerated", "ge", ticks(*b.o.From))
		}
		if b.o.To != nil {
			bound("TimeGenerated", "lt", ticks(*b.o.To))
		}
	}
	if b.o.IngestAfter != nil {
		bound(IngestSeqColumn, "gt", int64(*b.o.IngestAfter))
	}
	if b.o.IngestUpTo != nil {
		bound(IngestSeqColumn, "le", int64(*b.o.IngestUpTo))
	}
	r.from = inner
	if !renamed {
		r.from, r.where = sqlgen.Table(t.Name), inner.Where
	}
	return r
}

// tableCall binds calls that give tables: table(), materialize(), _GetWatchlist(), functions of let.
func (b *binder) tableCall(e *callExpr) (*relation, bool) {
	if v := b.scope.find(e.Name.Name); v != nil && v.function != nil {
		if !b.returnsTable(v) {
			return nil, false
		}
		_, rel := b.invoke(e.Name, v, e)
		if rel == nil {
			return nil, true
		}
		rel.table = ""
		if v.view {
			rel.table = e.Name.Name
		}
		return rel, !rel.scalar
	}
	switch e.Name.Name {
	case "materialize":
		if len(e.Args) == 1 {
			return b.tabularArgument(e.Args[0].Value), true
		}
	case "table":
		if len(e.Args) >= 1 {
			v := b.scalar(e.Args[0].Value)
			if name, ok := v.Value.(string); ok && v.Known {
				return b.tableNamed(nameExpr{e.Args[0].Value.span(), name, true}, true), true
			}
			b.fail(CodeArguments, e.Span, "", "table() takes the name of a table as a constant")
			return nil, true
		}
	case "_GetWatchlist", "_GetWatchlistAlias":
		return b.watchlist(e), true
	case "externaldata", "external_table", "materialized_view", "entity_group", "stored_query_result", "cluster", "database", "workspace", "app", "graph":
		b.refuse(e.Span, "%s()", e.Name.Name)
		return &relation{open: true, from: sqlgen.Table("none")}, true
	}
	return nil, false
}

// tabularFunctions are the functions of the language that give tables.
var tabularFunctions = wordSet("materialize table _GetWatchlist _GetWatchlistAlias externaldata external_table materialized_view entity_group stored_query_result cluster database workspace app graph")

// returnsTable tells whether the body of a function is a table, without binding it: from its form.
func (b *binder) returnsTable(v *variable) bool {
	if v.function.Body == nil {
		return false
	}
	if len(v.function.Body.Operators) > 0 {
		return true
	}
	s, ok := v.function.Body.Source.(*exprSource)
	if !ok {
		return true
	}
	return b.isTable(s.Expr, v)
}

func (b *binder) isTable(e Expr, v *variable) bool {
	switch e := e.(type) {
	case *pipeExpr:
		return true
	case nameExpr:
		for _, q := range v.function.Params {
			if q.Name.Name == e.Name {
				return q.Tabular
			}
		}
		for _, s := range v.function.Statements {
			if l, ok := s.(*letStatement); ok && l.Name.Name == e.Name {
				if f, ok := l.Value.(*functionExpr); ok {
					return b.returnsTable(&variable{function: f, scope: v.scope})
				}
				if c, ok := l.Value.(*callExpr); ok && c.Name.Name == "materialize" {
					return true
				}
				return b.isTable(l.Value, v)
			}
		}
		if w := v.scope.find(e.Name); w != nil {
			return w.rel != nil || w.function != nil && b.returnsTable(w)
		}
		return b.o.Catalog.Table(e.Name) != nil
	case *callExpr:
		for _, s := range v.function.Statements {
			if l, ok := s.(*letStatement); ok && l.Name.Name == e.Name.Name {
				if f, ok := l.Value.(*functionExpr); ok {
					return b.returnsTable(&variable{function: f, scope: v.scope})
				}
			}
		}
		if w := v.scope.find(e.Name.Name); w != nil && w.function != nil {
			return b.returnsTable(w)
		}
		switch e.Name.Name {
		case "table", "materialize", "_GetWatchlist", "external_table", "materialized_view":
			return true
		}
	case *pathExpr:
		return b.isTablePath(e)
	}
	return false
}

func (b *binder) isTablePath(e *pathExpr) bool {
	x := e.X
	if inner, ok := x.(*pathExpr); ok {
		x = inner.X
		if inner.Call != nil {
			x = inner.Call
		}
	}
	c, ok := x.(*callExpr)
	return ok && (c.Name.Name == "cluster" || c.Name.Name == "database" || c.Name.Name == "workspace" || c.Name.Name == "app")
}

// tablePath binds cluster("x").database("y").T, which names a table of another place.
func (b *binder) tablePath(e *pathExpr) (*relation, bool) {
	if !b.isTablePath(e) {
		return nil, false
	}
	b.refuse(e.Span, "a table of another cluster, database or workspace")
	name := e.Name
	if c, ok := e.Call.(*callExpr); ok {
		if c.Name.Name != "table" || len(c.Args) == 0 {
			return &relation{open: true, from: sqlgen.Table("none")}, true
		}
		if l, ok := c.Args[0].Value.(*literalExpr); ok {
			if s, ok := l.Value.(string); ok {
				name = nameExpr{l.Span, s, true}
			}
		}
	}
	if t := b.o.Catalog.Table(name.Name); t != nil {
		return b.scan(t), true
	}
	return &relation{open: true, from: sqlgen.Table("none")}, true
}

// watchlistColumns are those of every watchlist; its own are members of the item.
var watchlistColumns = []schema.Column{{Name: "SearchKey", Type: schema.String}, {Name: "_DTItemId", Type: schema.String}, {Name: "LastUpdatedTimeUTC", Type: schema.DateTime}, {Name: "WatchlistItem", Type: schema.Dynamic}}

// watchlist reads the items of a watchlist as they are now: the table Watchlist holds every change of an item.
func (b *binder) watchlist(e *callExpr) *relation {
	r := &relation{open: true, from: sqlgen.Table("Watchlist")}
	t := b.o.Catalog.Table("Watchlist")
	var alias value
	if len(e.Args) == 1 {
		alias = b.scalar(e.Args[0].Value)
	}
	if t == nil || alias.Type != schema.String {
		b.refuse(e.Span, "%s() without a table Watchlist", e.Name.Name)
		for _, c := range watchlistColumns {
			r.columns = append(r.columns, column{name: c.Name, typ: c.Type, expr: function.Nothing, null: c.Type != schema.String})
		}
		return r
	}
	for _, name := range []string{"WatchlistAlias", "SearchKey", "_DTItemId", "_DTItemStatus", "LastUpdatedTimeUTC", "WatchlistItem", "TimeGenerated"} {
		if _, ok := t.Column(name); !ok {
			b.refuse(e.Span, "%s(), as the table Watchlist has no column %s,", e.Name.Name, name)
			return r
		}
	}
	b.rowLocal = false
	b.tables[t.Name] = true
	s := &sqlgen.Select{From: sqlgen.Table(t.Name), Where: []sqlgen.Expr{b.d.Op("eq", sqlgen.Column("WatchlistAlias"), alias.Expr)}}
	for _, c := range watchlistColumns {
		a := b.fresh(c.Name)
		s.Items = append(s.Items, sqlgen.Item{Expr: sqlgen.Column(c.Name), Alias: a})
		r.columns = append(r.columns, column{name: c.Name, typ: c.Type, expr: sqlgen.Column(a), null: c.Type != schema.String})
		r.items = a // WatchlistItem is the last
	}
	status := b.fresh("_DTItemStatus")
	s.Items = append(s.Items, sqlgen.Item{Expr: sqlgen.Column("_DTItemStatus"), Alias: status})
	s.Qualify = b.d.Op("first_row", sqlgen.Call{Template: "row_number() OVER (PARTITION BY $1 ORDER BY $2 DESC)", Args: []sqlgen.Expr{sqlgen.Column("_DTItemId"), sqlgen.Column("TimeGenerated")}})
	r.from = s
	r.where = []sqlgen.Expr{b.d.Op("ne", sqlgen.Column(status), text("Delete"))}
	return r
}

// invoke calls a function of a let statement: its parameters become variables of a scope of its own.
func (b *binder) invoke(at nameExpr, v *variable, call *callExpr) (value, *relation) {
	b.depth++
	defer func() { b.depth-- }()
	if b.depth > maxCalls {
		b.fail(CodeLimit, at.Span, "", "functions call each other deeper than %d levels", maxCalls)
		return unknown(), nil
	}
	inner := &scope{outer: v.scope}
	var args []argument
	if call != nil {
		args = call.Args
	}
	if len(args) > len(v.function.Params) {
		b.fail(CodeArguments, call.Span, "", "%s() takes %d arguments, not %d", at.Name, len(v.function.Params), len(args))
	}
	for i, q := range v.function.Params {
		b.bindParam(inner, at, q, argumentFor(args, i, q.Name.Name))
	}
	outer, row, summary := b.scope, b.row, b.inSummary
	b.scope, b.row, b.inSummary = inner, nil, false
	for _, s := range v.function.Statements {
		b.statement(s)
	}
	var result value
	var rel *relation
	if v.function.Body == nil {
		b.fail(CodeSyntax, v.function.Span, "", "the function %s has no result", at.Name)
		result = unknown()
	} else if s, ok := v.function.Body.Source.(*exprSource); ok && len(v.function.Body.Operators) == 0 {
		result, rel = b.any(s.Expr)
	} else {
		rel = b.pipeline(v.function.Body)
	}
	b.scope, b.row, b.inSummary = outer, row, summary
	result.Name = ""
	return result, rel
}

func argumentFor(args []argument, i int, name string) Expr {
	for _, a := range args {
		if a.Name == name && a.Name != "" {
			return a.Value
		}
	}
	if i < len(args) && args[i].Name == "" {
		return args[i].Value
	}
	return nil
}

func (b *binder) bindParam(inner *scope, at nameExpr, q param, arg Expr) {
	name := q.Name.Name
	if q.Tabular {
		if arg == nil {
			b.fail(CodeArguments, at.Span, "", "%s() needs a table for %s", at.Name, name)
			return
		}
		if rel := b.tabularArgument(arg); rel != nil {
			inner.set(name, &variable{rel: rel})
		}
		return
	}
	if arg == nil {
		arg = q.Default
	}
	if arg == nil {
		b.fail(CodeArguments, at.Span, "", "%s() needs a value for %s", at.Name, name)
		v := unknown()
		inner.set(name, &variable{value: &v})
		return
	}
	v := b.scalar(arg)
	v = b.convertTo(v, q.Type, arg.span())
	v.Name = ""
	inner.set(name, &variable{value: &v})
}

// uniqueName gives a column name that the list does not have: name, name1, name2 ...
func uniqueName(name string, taken func(string) bool) string {
	if !taken(name) {
		return name
	}
	for i := 1; ; i++ {
		candidate := name + itoa(i)
		if !taken(candidate) {
			return candidate
		}
	}
}

func itoa(i int) string {
	var b strings.Builder
	if i >= 10 {
		b.WriteString(itoa(i / 10))
	}
	b.WriteByte(byte('0' + i%10))
	return b.String()
}

package kql

import (
	"strconv"
	"strings"

	"github.com/otus-project/otus/kql/function"
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/kql/sqlgen"
)

// column of a relation that is being built.
type column struct {
	name string
	typ  schema.Type
	// expr computes it from what the relation's source gives. Once plain, it is a column of that source.
	expr  sqlgen.Expr
	null  bool
	value *function.Arg // its value, where that is a constant
	// raw is the source's column of JSON text that this column is the parsed form of.
	raw string
}

func (c column) plain() (string, bool) {
	name, ok := c.expr.(sqlgen.Column)
	return string(name), ok
}

// relation is a query being built: a source, the filters on it, and the columns computed of it. Operators change
// it in place as long as SQL lets them share one SELECT, and wrap it into a subquery where it does not. Every
// column of every source in a statement has a name of its own, so that names stay valid through wraps.
type relation struct {
	columns []column
	from    sqlgen.Source
	where   []sqlgen.Expr
	// order sorts the rows; its keys are columns of the source, carried along though no result column may show
	// them. It is written where it matters: at the end, at take, in windows and in lists.
	order []sqlgen.Order
	// serialized: the order of the rows is meant, by sort or otherwise.
	serialized bool
	// stable: the order is that of rows written out in the query, and is kept where Kusto's answer shows it though
	// it promises none: among groups, in lists, among equal rows of a sort. Stored rows have no such order.
	stable bool
	// ingestion is the source's column of the row's ingestion time, if the rows are still those of one table.
	ingestion string
	// open: columns are not all known (evaluate, externals of other schemas); any name is accepted.
	open bool
	// items is the source's column of property bags whose members are columns too, of an open relation.
	items string
	// scalar: the relation is the value of an expression, not a table.
	scalar bool
	// carried are columns of the source that only the SQL sees, alive until the operator at work ends.
	carried []string
	table   string // name of the table or view, for union withsource and search
}

func (r *relation) schema() []schema.Column {
	list := make([]schema.Column, len(r.columns))
	for i, c := range r.columns {
		list[i] = schema.Column{Name: c.name, Type: c.typ}
	}
	return list
}

func (r *relation) index(name string) int {
	for i := range r.columns {
		if r.columns[i].name == name {
			return i
		}
	}
	return -1
}

func (r *relation) names() []string {
	list := make([]string, len(r.columns))
	for i, c := range r.columns {
		list[i] = c.name
	}
	return list
}

// has tells whether a name is taken.
func (r *relation) has(name string) bool { return r.index(name) >= 0 }

// fresh gives a name that no source of the statement has used; SQL does not tell cases apart.
func (b *binder) fresh(name string) string {
	key := strings.ToLower(name)
	n := b.aliases[key]
	b.aliases[key] = n + 1
	if n == 0 {
		return name
	}
	for {
		candidate := name + "_" + strconv.Itoa(n+1)
		k := strings.ToLower(candidate)
		if b.aliases[k] == 0 {
			b.aliases[k] = 1
			return candidate
		}
		n++
	}
}

// wrap closes the SELECT: every column becomes a plain column of a new source.
func (b *binder) wrap(r *relation) {
	r.from = b.selection(r)
	r.where = nil
}

// selection gives the relation as a SELECT, without its order, and makes its columns plain.
func (b *binder) selection(r *relation) *sqlgen.Select {
	s := &sqlgen.Select{From: r.from, Where: r.where}
	given := map[string]bool{}
	for i := range r.columns {
		c := &r.columns[i]
		alias, ok := c.plain()
		if !ok || given[alias] {
			alias = b.fresh(c.name)
		}
		given[alias] = true
		s.Items = append(s.Items, sqlgen.Item{Expr: c.expr, Alias: alias})
		c.expr = sqlgen.Column(alias)
	}
	carry := func(alias string) {
		if alias != "" && !given[alias] {
			given[alias] = true
			s.Items = append(s.Items, sqlgen.Item{Expr: sqlgen.Column(alias), Alias: alias})
		}
	}
	for _, key := range r.order {
		if alias, ok := key.Expr.(sqlgen.Column); ok {
			carry(string(alias))
		}
	}
	carry(r.ingestion)
	carry(r.items)
	for _, alias := range r.carried {
		carry(alias)
	}
	for _, c := range r.columns {
		carry(c.raw)
	}
	if len(s.Items) == 0 { // a row without columns is still a row
		s.Items = append(s.Items, sqlgen.Item{Expr: sqlgen.Call{Template: "1"}, Alias: b.fresh("row")})
	}
	return s
}

// finish gives the whole query, sorted.
func (b *binder) finish(r *relation) *sqlgen.Select {
	order := r.order
	for _, key := range order {
		if alias, ok := key.Expr.(sqlgen.Column); ok && !r.shows(string(alias)) {
			// The key is not in the result: sort outside of a subquery that has it.
			b.wrap(r)
			s := &sqlgen.Select{From: r.from, OrderBy: order}
			for _, c := range r.columns {
				alias, _ := c.plain()
				s.Items = append(s.Items, sqlgen.Item{Expr: c.expr, Alias: alias})
			}
			return s
		}
	}
	r.order, r.ingestion, r.items = nil, "", ""
	for i := range r.columns {
		r.columns[i].raw = ""
	}
	if s := r.asIs(); s != nil {
		s.OrderBy = order
		return s
	}
	s := b.selection(r)
	s.OrderBy = order
	return s
}

// asIs gives the relation's source if that is a SELECT of just the relation's columns, or nil.
func (r *relation) asIs() *sqlgen.Select {
	from, ok := r.from.(*sqlgen.Select)
	if !ok || len(r.where) > 0 || len(from.Items) != len(r.columns) || from.Limit != nil || len(from.OrderBy) > 0 {
		return nil
	}
	for i, c := range r.columns {
		if alias, ok := c.plain(); !ok || alias != from.Items[i].Alias {
			return nil
		}
	}
	s := *from
	return &s
}

func (r *relation) shows(alias string) bool {
	for _, c := range r.columns {
		if name, ok := c.plain(); ok && name == alias {
			return true
		}
	}
	return false
}

// ordered gives the relation as a SELECT with its order written out.
func (b *binder) ordered(r *relation) *sqlgen.Select {
	s := b.selection(r)
	s.OrderBy = r.order
	return s
}

// copyOf gives a relation that reads the same rows again, under names of its own.
func (b *binder) copyOf(r *relation) *relation {
	s := b.selection(r)
	r.from, r.where = s, nil
	c := &relation{serialized: r.serialized, stable: r.stable, open: r.open, scalar: r.scalar, table: r.table}
	outer := &sqlgen.Select{From: s}
	renamed := map[string]string{}
	rename := func(alias string) string {
		if n, ok := renamed[alias]; ok {
			return n
		}
		n := b.fresh(alias)
		renamed[alias] = n
		outer.Items = append(outer.Items, sqlgen.Item{Expr: sqlgen.Column(alias), Alias: n})
		return n
	}
	for _, col := range r.columns {
		alias, _ := col.plain()
		n := rename(alias)
		c.columns = append(c.columns, column{name: col.name, typ: col.typ, expr: sqlgen.Column(n), null: col.null, value: col.value})
	}
	for _, key := range r.order {
		if alias, ok := key.Expr.(sqlgen.Column); ok {
			key.Expr = sqlgen.Column(rename(string(alias)))
		}
		c.order = append(c.order, key)
	}
	if r.ingestion != "" {
		c.ingestion = rename(r.ingestion)
	}
	if r.items != "" {
		c.items = rename(r.items)
	}
	c.from = outer
	return c
}

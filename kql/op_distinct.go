package kql

import (
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/kql/sqlgen"
)

// distinctOp keeps one row of each combination of values.
type distinctOp struct {
	Span
	Columns []namedExpr
}

func distinctDecl() *declaration {
	return &declaration{name: "distinct", form: "distinct column, ...", supported: true, doc: "Gives the different combinations of values.",
		example: "range x from 1 to 4 step 1 | distinct x % 2",
		parse: func(p *parser, _ string, at Span) operator {
			p.parameters()
			list := p.namedList()
			return &distinctOp{p.since(at.Start), list}
		}}
}

func (o *distinctOp) span() Span { return o.Span }

func (o *distinctOp) print(p *printer) {
	p.word("distinct")
	p.namedList(o.Columns)
}

func (o *distinctOp) bind(b *binder, in *relation) *relation {
	b.rowLocal = false
	b.settleStable(in)
	list := b.columns(o.Columns, "Column", func() []column { return in.columns })
	out := &relation{columns: b.unique(list, "Column", 1), from: in.from, where: in.where, open: in.open}
	for i := range out.columns {
		out.columns[i].raw = ""
	}
	if in.stable && len(in.order) == 1 {
		keys := b.plainKeys(out)
		s := b.selection(out)
		s.GroupBy = keys
		b.firstSeen(in, out, s)
		out.from, out.where = s, nil
		return out
	}
	s := b.selection(out)
	s.Distinct = true
	out.from, out.where = s, nil
	return out
}

// plainKeys gives the expressions of all columns.
func (b *binder) plainKeys(r *relation) []sqlgen.Expr {
	var keys []sqlgen.Expr
	for _, c := range r.columns {
		keys = append(keys, c.expr)
	}
	return keys
}

// countOp counts the rows.
type countOp struct{ Span }

func countDecl() *declaration {
	return &declaration{name: "count", form: "count", supported: true, doc: "Counts the rows.", example: "range x from 1 to 4 step 1 | count",
		parse: func(_ *parser, _ string, at Span) operator { return &countOp{at} }}
}

func (o *countOp) span() Span { return o.Span }

func (o *countOp) print(p *printer) { p.word("count") }

func (o *countOp) bind(b *binder, in *relation) *relation {
	b.rowLocal = false
	out := &relation{columns: []column{{name: "Count", typ: schema.Long, expr: sqlgen.Call{Template: "count(*)"}}}, from: in.from, where: in.where}
	b.wrap(out)
	return out
}

// serializeOp says that the order of the rows is meant, and may add columns.
type serializeOp struct {
	Span
	Columns []namedExpr
}

func serializeDecl() *declaration {
	return &declaration{name: "serialize", form: "serialize [name = expression, ...]", supported: true, doc: "Keeps the rows in the order they come, so that functions over neighbours may be used.",
		example: "range x from 1 to 3 step 1 | serialize n = row_number()",
		parse: func(p *parser, _ string, at Span) operator {
			o := &serializeOp{}
			if !p.is("|") && !p.is(";") && !p.is(")") && p.kind() != tokenEnd {
				o.Columns = p.namedList()
			}
			o.Span = p.since(at.Start)
			return o
		}}
}

func (o *serializeOp) span() Span { return o.Span }

func (o *serializeOp) print(p *printer) {
	p.word("serialize")
	p.namedList(o.Columns)
}

func (o *serializeOp) bind(b *binder, in *relation) *relation {
	b.rowLocal = false
	in.serialized = true
	if len(o.Columns) == 0 {
		return in
	}
	return b.extend(in, o.Columns, b.columns(o.Columns, "Column", nil))
}

// asOp names the rows at this place.
type asOp struct {
	Span
	Name nameExpr
}

func asDecl() *declaration {
	return &declaration{name: "as", form: "as name", supported: true, doc: "Names the rows at this place, for use later in the query.",
		example: "print a = 1 | as T | union T",
		parse: func(p *parser, _ string, at Span) operator {
			p.parameters()
			n := p.name("a name")
			return &asOp{p.since(at.Start), n}
		}}
}

func (o *asOp) span() Span { return o.Span }

func (o *asOp) print(p *printer) {
	p.word("as")
	p.name(o.Name)
}

func (o *asOp) bind(b *binder, in *relation) *relation {
	in.table = o.Name.Name
	c := b.copyOf(in)
	b.scope.set(o.Name.Name, &variable{rel: c, used: true})
	return in
}

// consumeOp reads the rows and gives none.
type consumeOp struct{ Span }

func consumeDecl() *declaration {
	return &declaration{name: "consume", form: "consume", doc: "Reads the rows and gives none.", example: "range x from 1 to 3 step 1 | consume",
		parse: func(p *parser, _ string, at Span) operator {
			p.parameters("decodeblocks")
			return &consumeOp{at}
		}}
}

func (o *consumeOp) span() Span { return o.Span }

func (o *consumeOp) print(p *printer) { p.word("consume") }

func (o *consumeOp) bind(b *binder, in *relation) *relation {
	b.refuse(o.Span, "the operator consume")
	in.columns = nil
	return in
}

// getschemaOp describes the columns.
type getschemaOp struct{ Span }

func getschemaDecl() *declaration {
	return &declaration{name: "getschema", form: "getschema", supported: true, doc: "Describes the columns, a row for each.", example: "print a = 1 | getschema",
		parse: func(_ *parser, _ string, at Span) operator { return &getschemaOp{at} }}
}

func (o *getschemaOp) span() Span { return o.Span }

func (o *getschemaOp) print(p *printer) { p.word("getschema") }

var systemTypes = map[schema.Type]string{schema.Bool: "System.SByte", schema.Int: "System.Int32", schema.Long: "System.Int64", schema.Real: "System.Double",
	schema.Decimal: "System.Data.SqlTypes.SqlDecimal", schema.DateTime: "System.DateTime", schema.Timespan: "System.TimeSpan", schema.GUID: "System.Guid",
	schema.String: "System.String", schema.Dynamic: "System.Object"}

func (o *getschemaOp) bind(b *binder, in *relation) *relation {
	b.rowLocal = false
	if in.open {
		b.refuse(o.Span, "getschema of columns that are not known")
	}
	names := []string{"ColumnName", "ColumnOrdinal", "DataType", "ColumnType"}
	types := []schema.Type{schema.String, schema.Long, schema.String, schema.String}
	var rows [][]sqlgen.Expr
	for i, c := range in.columns {
		rows = append(rows, []sqlgen.Expr{text(c.name), longParam(int64(i)), text(systemTypes[c.typ]), text(c.typ.String())})
	}
	return b.literalRows(names, types, rows)
}

package kql

import (
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/kql/sqlgen"
)

// joinOp puts rows of two tables together. Lookup is a join that keeps the key once.
type joinOp struct {
	Span
	Lookup bool
	Params parameters
	Right  Expr
	On     []Expr
}

func joinDecl() *declaration {
	return &declaration{name: "join", form: "join kind=innerunique|inner|leftouter|rightouter|fullouter|leftsemi|leftanti|rightsemi|rightanti (table) on column, ...", supported: true,
		doc: "Puts rows of two tables with equal keys together.", example: "print a = 1 | join kind=inner (print a = 1, b = 2) on a", parse: parseJoin(false)}
}

func lookupDecl() *declaration {
	return &declaration{name: "lookup", form: "lookup kind=leftouter|inner (table) on column, ...", supported: true, doc: "Adds columns of another table to rows with equal keys.",
		example: "print a = 1 | lookup (print a = 1, b = 2) on a", parse: parseJoin(true)}
}

func parseJoin(lookup bool) func(p *parser, word string, at Span) operator {
	return func(p *parser, _ string, at Span) operator {
		o := &joinOp{Lookup: lookup, Params: p.parameters("kind")}
		o.Right = p.postfix()
		if p.acceptWord("on") {
			for {
				o.On = append(o.On, p.expr())
				if !p.accept(",") {
					break
				}
			}
		} else if p.isWord("where") {
			p.advance()
			o.On = append(o.On, p.expr())
		} else {
			p.expected(`"on"`)
		}
		o.Span = p.since(at.Start)
		return o
	}
}

func (o *joinOp) span() Span { return o.Span }

func (o *joinOp) print(p *printer) {
	if o.Lookup {
		p.word("lookup")
	} else {
		p.word("join")
	}
	p.parameters(o.Params)
	p.operand(o.Right)
	p.word("on")
	p.list(o.On)
}

var joinKinds = map[string]string{"innerunique": "innerunique", "inner": "inner", "leftouter": "leftouter", "rightouter": "rightouter", "fullouter": "fullouter",
	"leftsemi": "leftsemi", "leftanti": "leftanti", "leftantisemi": "leftanti", "anti": "leftanti", "rightsemi": "rightsemi", "rightanti": "rightanti",
	"rightantisemi": "rightanti", "cross": "cross"}

func (o *joinOp) bind(b *binder, in *relation) *relation {
	b.rowLocal = false
	kind := o.Params.word("kind")
	if kind == "" {
		kind = map[bool]string{true: "leftouter", false: "innerunique"}[o.Lookup]
	}
	kind, ok := joinKinds[kind]
	if !ok || o.Lookup && kind != "leftouter" && kind != "inner" || kind == "cross" {
		b.fail(CodeArguments, o.Span, "", "there is no kind %q of join", o.Params.word("kind"))
		kind = "inner"
	}
	right := b.tabularArgument(o.Right)
	if right == nil {
		return nil
	}
	keys := b.joinKeys(o.On, in, right)
	out := b.join(kind, in, right, keys)
	if o.Lookup {
		o.dropKeys(out, len(in.columns), keys)
	}
	// Joined columns of equal names: the later get a number.
	taken := map[string]bool{}
	for i := range out.columns {
		c := &out.columns[i]
		c.name = uniqueName(c.name, func(s string) bool { return taken[s] })
		taken[c.name] = true
	}
	return out
}

// dropKeys leaves the right side's keys out.
func (o *joinOp) dropKeys(out *relation, left int, keys []joinKey) {
	isKey := map[string]bool{}
	for _, k := range keys {
		isKey[k.rightName] = true
	}
	kept := out.columns[:left:left]
	for _, c := range out.columns[left:] {
		if !isKey[c.name] {
			kept = append(kept, c)
		}
	}
	out.columns = kept
}

// joinKey is a pair of values that must be equal, as columns of the sides.
type joinKey struct {
	left, right sqlgen.Expr
	rightName   string
	null        bool // both may be null
}

func (b *binder) joinKeys(on []Expr, left, right *relation) []joinKey {
	var keys []joinKey
	for _, e := range on {
		keys = append(keys, b.joinCondition(e, left, right)...)
	}
	return keys
}

func (b *binder) joinCondition(e Expr, left, right *relation) []joinKey {
	switch e := e.(type) {
	case nameExpr:
		i, j := left.index(e.Name), right.index(e.Name)
		if i < 0 && !left.open {
			b.fail(CodeName, e.Span, didYouMean(e.Name, left.names()), "the left side has no column %q", e.Name)
		}
		if j < 0 && !right.open {
			b.fail(CodeName, e.Span, didYouMean(e.Name, right.names()), "the right side has no column %q", e.Name)
		}
		if i < 0 || j < 0 {
			return nil
		}
		return b.joinPair(e.Span, b.columnValue(left, i), b.columnValue(right, j), e.Name)
	case *binaryExpr:
		switch e.Op {
		case "and":
			return append(b.joinCondition(e.L, left, right), b.joinCondition(e.R, left, right)...)
		case "==":
			l, lOK := e.L.(*pathExpr)
			r, rOK := e.R.(*pathExpr)
			if lOK && rOK {
				x, xOK := l.X.(nameExpr)
				y, yOK := r.X.(nameExpr)
				if xOK && yOK {
					if x.Name == "$right" && y.Name == "$left" {
						l, r, x, y = r, l, y, x
					}
					if x.Name == "$left" && y.Name == "$right" {
						b.right = right
						row := b.row
						b.row = left
						lv, rv := b.path(l), b.path(r)
						b.right, b.row = nil, row
						return b.joinPair(e.Span, lv, rv, r.Name.Name)
					}
				}
			}
		}
	}
	b.fail(CodeSyntax, e.span(), "", "a column, or $left.a == $right.b, is expected here")
	return nil
}

func (b *binder) joinPair(at Span, l, r value, name string) []joinKey {
	if l.Type == schema.Unknown || r.Type == schema.Unknown {
		return nil
	}
	t := l.Type
	switch {
	case l.Type == r.Type:
		if t == schema.Dynamic {
			b.refuse(at, "a join on dynamic values (convert them, for example by tostring())")
		}
	case isNumeric(l.Type) && isNumeric(r.Type):
		t = widest(l.Type, r.Type)
	default:
		b.refuse(at, "a join of a %s with a %s (convert one of them)", l.Type, r.Type)
		return nil
	}
	return []joinKey{{left: b.as(l, t, at), right: b.as(r, t, at), rightName: name, null: l.Null && r.Null && t != schema.String}}
}

// condition of a join: keys equal, null equal to null.
func (b *binder) joinOn(keys []joinKey) sqlgen.Expr {
	var on sqlgen.Expr
	for _, k := range keys {
		op := "eq"
		if k.null {
			op = "same"
		}
		c := b.d.Op(op, k.left, k.right)
		if on == nil {
			on = c
		} else {
			on = b.d.Op("and", on, c)
		}
	}
	if on == nil {
		return b.d.Op("true")
	}
	return on
}

// join writes the join; the result has the columns of both sides, or of the side that a semi or anti join keeps.
func (b *binder) join(kind string, left, right *relation, keys []joinKey) *relation {
	l, r := b.selection(left), b.selection(right)
	if kind == "innerunique" {
		for _, k := range keys {
			l.DistinctOn = append(l.DistinctOn, k.left)
		}
	}
	j := &sqlgen.Join{Left: l, Right: r, On: b.joinOn(keys)}
	out := &relation{from: j, columns: append([]column(nil), left.columns...), open: left.open || right.open}
	switch kind {
	case "leftsemi", "leftanti":
		j.Kind = map[string]sqlgen.JoinKind{"leftsemi": sqlgen.SemiJoin, "leftanti": sqlgen.AntiJoin}[kind]
		out.ingestion = left.ingestion
		out.open = left.open
		return out
	case "rightsemi", "rightanti":
		j.Left, j.Right = r, l
		j.Kind = map[string]sqlgen.JoinKind{"rightsemi": sqlgen.SemiJoin, "rightanti": sqlgen.AntiJoin}[kind]
		out.columns = append([]column(nil), right.columns...)
		out.open = right.open
		return out
	}
	j.Kind = map[string]sqlgen.JoinKind{"innerunique": sqlgen.InnerJoin, "inner": sqlgen.InnerJoin, "leftouter": sqlgen.LeftJoin, "rightouter": sqlgen.RightJoin, "fullouter": sqlgen.FullJoin}[kind]
	rightColumns := append([]column(nil), right.columns...)
	if kind == "leftouter" || kind == "fullouter" {
		b.outerSide(rightColumns)
	}
	if kind == "rightouter" || kind == "fullouter" {
		b.outerSide(out.columns)
	}
	out.columns = append(out.columns, rightColumns...)
	return out
}

// outerSide: rows without a partner have nulls, and empty texts.
func (b *binder) outerSide(columns []column) {
	for i := range columns {
		c := &columns[i]
		c.raw = ""
		if c.typ == schema.String {
			c.expr = sqlgen.Call{Template: "coalesce($1, '')", Args: []sqlgen.Expr{c.expr}}
		} else {
			c.null = true
		}
	}
}

// unionOp adds the rows of other tables.
type unionOp struct {
	Span
	Params parameters
	Tables []unionTable
}

type unionTable struct {
	Expr    Expr
	Pattern pattern // a name with * in it; Expr is nil then
}

func unionDecl() *declaration {
	return &declaration{name: "union", form: "union [kind=inner|outer] [withsource=name] [isfuzzy=true] table, ...", supported: true, doc: "Puts the rows of several tables into one.",
		example: "print a = 1 | union (print a = 2)", parse: func(p *parser, _ string, at Span) operator { return p.union(at.Start) }}
}

func (p *parser) unionSource() source {
	start := p.advance().Start
	return &unionSource{p.union(start)}
}

type unionSource struct{ *unionOp }

func (p *parser) union(start int) *unionOp {
	o := &unionOp{Params: p.parameters("kind", "withsource", "with_source", "isfuzzy", "bestEffort")}
	for {
		t := unionTable{}
		if (p.kind() == tokenName && p.ahead(1).text == "*" && !p.ahead(1).spaced) || p.is("*") {
			start := p.token().Start
			for (p.kind() == tokenName || p.is("*")) && (t.Pattern.Text == "" || !p.token().spaced) {
				t.Pattern.Text += p.advance().text
			}
			t.Pattern.Span = p.since(start)
		} else {
			t.Expr = p.postfix()
		}
		o.Tables = append(o.Tables, t)
		if !p.accept(",") {
			break
		}
	}
	o.Span = p.since(start)
	return o
}

func (o *unionOp) span() Span { return o.Span }

func (o *unionOp) print(p *printer) {
	p.word("union")
	p.parameters(o.Params)
	for i, t := range o.Tables {
		if i > 0 {
			p.text(",")
		}
		if t.Expr == nil {
			p.word(t.Pattern.Text)
		} else {
			p.operand(t.Expr)
		}
	}
}

func (s *unionSource) bindSource(b *binder) *relation { return s.unionOp.bind(b, nil) }

func (o *unionOp) bind(b *binder, in *relation) *relation {
	b.rowLocal = false
	var parts []*relation
	if in != nil {
		parts = append(parts, in)
	}
	fuzzy := o.Params.word("isfuzzy") == "true"
	for _, t := range o.Tables {
		switch {
		case t.Expr == nil:
			parts = append(parts, b.matchingTables(t.Pattern)...)
		default:
			if n, ok := t.Expr.(nameExpr); ok && fuzzy && b.scope.find(n.Name) == nil && b.o.Catalog.Table(n.Name) == nil {
				continue // a table that is not there is left out
			}
			if c, ok := t.Expr.(*callExpr); ok && fuzzy && b.scope.find(c.Name.Name) == nil && !tabularFunctions[c.Name.Name] {
				continue
			}
			if n, ok := t.Expr.(nameExpr); ok {
				row := b.row
				b.row = nil
				rel := b.tableNamed(n, true)
				b.row = row
				if rel != nil {
					parts = append(parts, rel)
				}
				continue
			}
			if rel := b.tabularArgument(t.Expr); rel != nil {
				parts = append(parts, rel)
			}
		}
	}
	if len(parts) == 0 {
		if !fuzzy && b.report.errors == 0 {
			b.fail(CodeArguments, o.Span, "", "union has no tables")
		}
		if fuzzy {
			b.fail(CodeName, o.Span, "", "none of the tables of the union exists")
		}
		return nil
	}
	label := o.Params.word("withsource")
	if label == "" {
		label = o.Params.word("with_source")
	}
	return b.union(parts, label, o.Params.word("kind") == "inner")
}

func (b *binder) matchingTables(q pattern) []*relation {
	var parts []*relation
	for _, t := range b.o.Catalog.Tables {
		if q.matches(t.Name) {
			parts = append(parts, b.scan(t))
		}
	}
	if len(parts) == 0 {
		b.fail(CodeName, q.Span, "", "no table fits %q", q.Text)
	}
	return parts
}

// unionColumn is a column of a union's result.
type unionColumn struct {
	name  string
	typ   schema.Type
	parts int // how many parts have it
	null  bool
	alias string
}

// unionColumns lines the parts' columns up by name and type. A name that stands for several types becomes a column
// for each, name_type. The second result gives, for every part, the result column of each of its columns.
func unionColumns(parts []*relation) ([]*unionColumn, [][]*unionColumn) {
	type key struct {
		name string
		typ  schema.Type
	}
	var order []*unionColumn
	byKey := map[key]*unionColumn{}
	byName := map[string][]*unionColumn{}
	lined := make([][]*unionColumn, len(parts))
	for p, part := range parts {
		lined[p] = make([]*unionColumn, len(part.columns))
		for i, c := range part.columns {
			k := key{c.name, c.typ}
			u := byKey[k]
			if u == nil {
				u = &unionColumn{name: c.name, typ: c.typ}
				byKey[k] = u
				if byName[c.name] == nil {
					order = append(order, u)
				}
				byName[c.name] = append(byName[c.name], u)
			}
			lined[p][i] = u
			u.parts++
			u.null = u.null || c.null
		}
	}
	taken := map[string]bool{}
	for _, u := range order {
		if len(byName[u.name]) == 1 {
			taken[u.name] = true
		}
	}
	// The columns of one name stand together, where the first of them was.
	var out []*unionColumn
	for _, u := range order {
		same := byName[u.name]
		out = append(out, same...)
		if len(same) > 1 {
			name := u.name
			for _, v := range same {
				v.name = uniqueName(name+"_"+v.typ.String(), func(s string) bool { return taken[s] })
				taken[v.name] = true
			}
		}
	}
	return out, lined
}

// union puts the parts' rows together. Each part names only the columns that it has.
func (b *binder) union(parts []*relation, label string, inner bool) *relation {
	columns, lined := unionColumns(parts)
	out := &relation{}
	source := sqlgen.Union{}
	labelAlias := ""
	if label != "" {
		labelAlias = b.fresh(label)
		out.columns = append(out.columns, column{name: label, typ: schema.String, expr: sqlgen.Column(labelAlias)})
	}
	for _, u := range columns {
		if inner && u.parts < len(parts) {
			continue
		}
		u.alias = b.fresh(u.name)
		c := column{name: u.name, typ: u.typ, expr: sqlgen.Column(u.alias), null: u.typ != schema.String && (u.null || u.parts < len(parts))}
		if u.typ == schema.String && u.parts < len(parts) {
			c.expr = sqlgen.Call{Template: "coalesce($1, '')", Args: []sqlgen.Expr{c.expr}}
		}
		out.columns = append(out.columns, c)
	}
	for p, part := range parts {
		out.open = out.open || part.open
		s := &sqlgen.Select{}
		if label != "" {
			name := part.table
			if name == "" {
				name = "union_arg" + itoa(p)
			}
			s.Items = append(s.Items, sqlgen.Item{Expr: text(name), Alias: labelAlias})
		}
		for i, u := range lined[p] {
			if u.alias != "" {
				s.Items = append(s.Items, sqlgen.Item{Expr: b.columnValue(part, i).Expr, Alias: u.alias})
			}
		}
		if len(s.Items) == 0 {
			s.Items = append(s.Items, sqlgen.Item{Expr: sqlgen.Call{Template: "1"}, Alias: "row"})
		}
		s.From, s.Where = part.from, part.where
		source = append(source, s)
	}
	out.from = source
	return out
}

package sqlgen

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Statement is a query as text with its parameters: bool, int64, float64, string or nil.
type Statement struct {
	Text string
	Args []any
}

// MaxText bounds the text of one statement, in bytes: larger ones come only from definitions that double.
const MaxText = 1 << 20

// ErrTooLarge is returned for a statement beyond MaxText.
var ErrTooLarge = errors.New("the query is too large once its definitions are put in")

// Write turns a statement into the dialect's text.
func (d *Dialect) Write(s *Select) (Statement, error) {
	w := &writer{d: d, params: map[param]int{}}
	w.selectText(s)
	if w.tooLarge() {
		return Statement{}, ErrTooLarge
	}
	return Statement{w.b.String(), w.args}, nil
}

type writer struct {
	d      *Dialect
	b      strings.Builder
	params map[param]int // number of an equal parameter
	args   []any
	tables int
}

// param is the identity of a parameter: equal values of one kind share a number. Reals go by their bits,
// because NaN equals nothing and the two zeros differ.
type param struct {
	value any
	kind  Kind
}

func (w *writer) tooLarge() bool { return w.b.Len() > MaxText }

func (w *writer) text(s string) { w.b.WriteString(s) }

// ident writes a quoted identifier.
func (w *writer) ident(name string) {
	w.b.WriteByte('"')
	w.b.WriteString(strings.ReplaceAll(name, `"`, `""`))
	w.b.WriteByte('"')
}

func (c Column) write(w *writer) { w.ident(string(c)) }

func (p Param) write(w *writer) {
	key := param{p.Value, p.Kind}
	if f, ok := p.Value.(float64); ok {
		key.value = math.Float64bits(f)
	}
	n, ok := w.params[key]
	if !ok {
		w.args = append(w.args, p.Value)
		n = len(w.args)
		w.params[key] = n
	}
	w.text("$")
	w.text(strconv.Itoa(n))
	w.text("::")
	w.text(w.d.kinds[p.Kind])
}

func (c Call) write(w *writer) {
	if w.tooLarge() {
		return
	}
	t := c.Template
	for {
		i := strings.IndexByte(t, '$')
		if i < 0 || i+1 == len(t) {
			w.text(t)
			return
		}
		next := t[i+1]
		switch {
		case next == '*':
			w.text(t[:i])
			for j, a := range c.Args {
				if j > 0 {
					w.text(", ")
				}
				a.write(w)
			}
		case next >= '1' && next <= '9':
			w.text(t[:i])
			c.Args[next-'1'].write(w)
		default:
			w.text(t[:i+1])
			t = t[i+1:]
			continue
		}
		t = t[i+2:]
	}
}

func (c Case) write(w *writer) {
	if w.tooLarge() {
		return
	}
	w.text("CASE")
	for i := range c.When {
		w.text(" WHEN ")
		c.When[i].write(w)
		w.text(" THEN ")
		c.Then[i].write(w)
	}
	w.text(" ELSE ")
	c.Else.write(w)
	w.text(" END")
}

func (s Scalar) write(w *writer) {
	w.text("(")
	w.selectText(s.Query)
	w.text(")")
}

func (in In) write(w *writer) {
	w.text("(")
	in.X.write(w)
	w.text(" IN (")
	w.selectText(in.Query)
	w.text("))")
}

func (t Table) writeSource(w *writer) { w.ident(string(t)) }

func (s Shared) writeSource(w *writer) { w.ident(string(s)) }

func (w *writer) alias() {
	w.tables++
	w.text(" AS t")
	w.text(strconv.Itoa(w.tables))
}

func (s *Select) writeSource(w *writer) {
	w.text("(")
	w.selectText(s)
	w.text(")")
	w.alias()
}

func (u Union) writeSource(w *writer) {
	w.text("(")
	for i, s := range u {
		if i > 0 {
			w.text(" UNION ALL BY NAME ")
		}
		w.text("(")
		w.selectText(s)
		w.text(")")
	}
	w.text(")")
	w.alias()
}

func (j *Join) writeSource(w *writer) {
	j.Left.writeSource(w)
	w.text(" ")
	w.text(string(j.Kind))
	w.text(" ")
	j.Right.writeSource(w)
	if j.On != nil {
		w.text(" ON ")
		j.On.write(w)
	}
}

func (v *Values) writeSource(w *writer) {
	w.text("(VALUES ")
	for i, row := range v.Rows {
		if i > 0 {
			w.text(", ")
		}
		w.text("(")
		for k, e := range row {
			if k > 0 {
				w.text(", ")
			}
			e.write(w)
		}
		w.text(")")
	}
	w.text(")")
	w.alias()
	w.columnList(v.Columns)
}

func (w *writer) columnList(columns []string) {
	w.text("(")
	for i, c := range columns {
		if i > 0 {
			w.text(", ")
		}
		w.ident(c)
	}
	w.text(")")
}

func (f *Function) writeSource(w *writer) {
	f.Call.write(w)
	w.alias()
	w.columnList(f.Columns)
}

func (w *writer) exprs(list []Expr) {
	for i, e := range list {
		if i > 0 {
			w.text(", ")
		}
		e.write(w)
	}
}

func (w *writer) selectText(s *Select) {
	if w.tooLarge() {
		return
	}
	for i, with := range s.With {
		if i == 0 {
			w.text("WITH ")
		} else {
			w.text(", ")
		}
		w.ident(with.Name)
		w.text(" AS MATERIALIZED (")
		w.selectText(with.Query)
		w.text(") ")
	}
	w.text("SELECT ")
	switch {
	case s.Distinct:
		w.text("DISTINCT ")
	case len(s.DistinctOn) > 0:
		w.text("DISTINCT ON (")
		w.exprs(s.DistinctOn)
		w.text(") ")
	}
	for i, item := range s.Items {
		if i > 0 {
			w.text(", ")
		}
		item.Expr.write(w)
		if c, ok := item.Expr.(Column); !ok || string(c) != item.Alias {
			w.text(" AS ")
			w.ident(item.Alias)
		}
	}
	if s.From != nil {
		w.text(" FROM ")
		s.From.writeSource(w)
	}
	for i, e := range s.Where {
		if i == 0 {
			w.text(" WHERE ")
		} else {
			w.text(" AND ")
		}
		e.write(w)
	}
	if len(s.GroupBy) > 0 {
		w.text(" GROUP BY ")
		w.exprs(s.GroupBy)
	}
	if s.Having != nil {
		w.text(" HAVING ")
		s.Having.write(w)
	}
	if s.Qualify != nil {
		w.text(" QUALIFY ")
		s.Qualify.write(w)
	}
	w.orderBy(" ORDER BY ", s.OrderBy)
	if s.Limit != nil {
		w.text(" LIMIT ")
		s.Limit.write(w)
	}
}

func (w *writer) orderBy(intro string, keys []Order) {
	for i, o := range keys {
		if i == 0 {
			w.text(intro)
		} else {
			w.text(", ")
		}
		o.Expr.write(w)
		if o.Desc {
			w.text(" DESC")
		} else {
			w.text(" ASC")
		}
		if o.NullsFirst {
			w.text(" NULLS FIRST")
		} else {
			w.text(" NULLS LAST")
		}
	}
}

// Ordered is an aggregate or window call whose template has $1 .. for its arguments and $o for " ORDER BY ...".
type Ordered struct {
	Call
	Keys []Order
}

func (o Ordered) write(w *writer) {
	before, after, _ := strings.Cut(o.Template, "$o")
	Call{before, o.Args}.write(w)
	w.orderBy(" ORDER BY ", o.Keys)
	Call{after, o.Args}.write(w)
}

package sqlgen

import "strings"

// pruneLimit bounds the parts of a statement that Prune looks at; a statement beyond it is left as it is.
const pruneLimit = 50000

// Prune gives a statement in which every subquery selects only the columns that are used around it. Columns are told
// by their names, which no two sources of a statement share.
func Prune(s *Select) *Select {
	p := pruner{}
	out := p.selected(s, nil)
	if p.seen > pruneLimit {
		return s
	}
	return out
}

type pruner struct{ seen int }

// names is a set of column names; nil means all.
type names map[string]bool

func (p *pruner) selected(s *Select, wanted names) *Select {
	p.seen++
	if p.seen > pruneLimit {
		return s
	}
	out := *s
	out.With = append([]With(nil), s.With...)
	for i, w := range out.With {
		out.With[i].Query = p.selected(w.Query, nil)
	}
	if wanted != nil && !s.Distinct {
		out.Items = nil
		for _, item := range s.Items {
			if wanted[item.Alias] || multiplies(item.Expr) {
				out.Items = append(out.Items, item)
			}
		}
		if len(out.Items) == 0 {
			out.Items = s.Items[:1]
		}
	}
	inner := names{}
	for _, item := range out.Items {
		p.use(inner, item.Expr)
	}
	for _, list := range [][]Expr{s.DistinctOn, s.Where, s.GroupBy} {
		for _, e := range list {
			p.use(inner, e)
		}
	}
	p.use(inner, s.Having)
	p.use(inner, s.Qualify)
	for _, o := range s.OrderBy {
		p.use(inner, o.Expr)
	}
	p.use(inner, s.Limit)
	if s.From != nil {
		out.From = p.source(s.From, inner)
	}
	return &out
}

func (p *pruner) source(s Source, wanted names) Source {
	p.seen++
	if p.seen > pruneLimit {
		return s
	}
	switch s := s.(type) {
	case *Select:
		return p.selected(s, wanted)
	case Union:
		out := make(Union, len(s))
		for i, part := range s {
			out[i] = p.selected(part, wanted)
		}
		return out
	case *Join:
		out := *s
		p.use(wanted, s.On)
		if s.Kind == Lateral { // the right side reads the left's columns
			p.useSource(wanted, s.Right)
		}
		out.Left, out.Right = p.source(s.Left, wanted), p.source(s.Right, wanted)
		return &out
	}
	return s
}

// multiplies tells whether an item of a select list makes several rows of one.
func multiplies(e Expr) bool {
	c, ok := e.(Call)
	return ok && strings.HasPrefix(c.Template, "unnest(")
}

// use adds the columns that an expression reads.
func (p *pruner) use(set names, e Expr) {
	p.seen++
	if p.seen > pruneLimit {
		return
	}
	switch e := e.(type) {
	case Column:
		set[string(e)] = true
	case Call:
		for _, a := range e.Args {
			p.use(set, a)
		}
	case Ordered:
		for _, a := range e.Args {
			p.use(set, a)
		}
		for _, k := range e.Keys {
			p.use(set, k.Expr)
		}
	case Case:
		for i := range e.When {
			p.use(set, e.When[i])
			p.use(set, e.Then[i])
		}
		p.use(set, e.Else)
	case Scalar:
		p.useSelect(set, e.Query)
	case In:
		p.use(set, e.X)
		p.useSelect(set, e.Query)
	}
}

// useSelect adds every column that a subquery reads, its own and those of the query around it.
func (p *pruner) useSelect(set names, s *Select) {
	for _, item := range s.Items {
		p.use(set, item.Expr)
	}
	for _, list := range [][]Expr{s.DistinctOn, s.Where, s.GroupBy} {
		for _, e := range list {
			p.use(set, e)
		}
	}
	p.use(set, s.Having)
	p.use(set, s.Qualify)
	for _, o := range s.OrderBy {
		p.use(set, o.Expr)
	}
	if s.From != nil {
		p.useSource(set, s.From)
	}
}

func (p *pruner) useSource(set names, s Source) {
	p.seen++
	if p.seen > pruneLimit {
		return
	}
	switch s := s.(type) {
	case *Select:
		p.useSelect(set, s)
	case Union:
		for _, part := range s {
			p.useSelect(set, part)
		}
	case *Join:
		p.useSource(set, s.Left)
		p.useSource(set, s.Right)
		p.use(set, s.On)
	case *Function:
		p.use(set, s.Call)
	}
}

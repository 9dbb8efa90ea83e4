package kql

import (
	"regexp"
	"sort"
	"strings"
)

// projectOp computes the columns of its result.
type projectOp struct {
	Span
	Columns []namedExpr
}

func projectDecl() *declaration {
	return &declaration{name: "project", form: "project name = expression, ...", supported: true, doc: "Chooses and computes the columns of the result.",
		example: "print a = 1, b = 2 | project b, c = a + b",
		parse: func(p *parser, _ string, at Span) operator {
			o := &projectOp{}
			if !p.is("|") && !p.is(";") && !p.is(")") && p.kind() != tokenEnd {
				o.Columns = p.namedList()
			}
			o.Span = p.since(at.Start)
			return o
		}}
}

func (o *projectOp) span() Span { return o.Span }

func (o *projectOp) print(p *printer) {
	p.word("project")
	p.namedList(o.Columns)
}

func (o *projectOp) bind(b *binder, in *relation) *relation {
	list := b.columns(o.Columns, "Column", func() []column { return in.columns })
	in.columns = b.unique(list, "Column", 1)
	if b.windows {
		b.wrap(in)
	}
	in.open = false
	return in
}

// unique settles the names of a list of columns: given names must differ, others get numbers until they do.
func (b *binder) unique(list []boundColumn, stem string, from int) []column {
	taken := map[string]bool{}
	for _, c := range list {
		if c.named {
			if taken[c.name] {
				b.fail(CodeDuplicate, c.at, "", "the column %q is given twice", c.name)
			}
			taken[c.name] = true
		}
	}
	var out []column
	for _, c := range list {
		if !c.named {
			if c.fallback {
				n := from
				for taken[stem+itoa(n)] {
					n++
				}
				c.name = stem + itoa(n)
			} else {
				c.name = uniqueName(c.name, func(s string) bool { return taken[s] })
			}
			taken[c.name] = true
		}
		out = append(out, c.column)
	}
	return out
}

// pattern is a column name, maybe with * in it, and for project-reorder a sorting of what it matches.
type pattern struct {
	Span
	Text    string
	Bracket bool
	Sort    string // asc, desc, granny-asc, granny-desc
}

// patterns reads names and wildcards separated by commas.
func (p *parser) patterns(sorting bool) []pattern {
	var list []pattern
	for {
		start := p.token().Start
		q := pattern{}
		switch {
		case p.is("["):
			n := p.name("a column")
			q.Text, q.Bracket = n.Name, true
		default:
			for (p.kind() == tokenName || p.kind() == tokenNumber || p.is("*")) && (q.Text == "" || !p.token().spaced) {
				q.Text += p.advance().text
			}
			if q.Text == "" {
				p.expected("a column")
				return list
			}
		}
		if sorting && (p.isWord("asc") || p.isWord("desc") || p.isWord("granny")) {
			q.Sort, _ = p.operatorWord()
		}
		q.Span = p.since(start)
		list = append(list, q)
		if !p.accept(",") {
			return list
		}
	}
}

func (q pattern) wildcard() bool { return !q.Bracket && strings.Contains(q.Text, "*") }

// matches tells whether a name fits the pattern.
func (q pattern) matches(name string) bool {
	if !q.wildcard() {
		return name == q.Text
	}
	return wildcardMatch(q.Text, name)
}

func wildcardMatch(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	re, err := regexp.Compile("^" + strings.Join(parts, ".*") + "$")
	return err == nil && re.MatchString(name)
}

func (p *printer) patterns(list []pattern) {
	for i, q := range list {
		if i > 0 {
			p.text(",")
		}
		if q.Bracket {
			p.name(nameExpr{Name: q.Text, Bracket: true})
		} else {
			p.word(q.Text)
		}
		if q.Sort != "" {
			p.word(q.Sort)
		}
	}
}

// missing reports a pattern without a wildcard that no column fits.
func (b *binder) missingColumn(in *relation, q pattern) {
	if !q.wildcard() && !in.has(q.Text) && !in.open {
		b.fail(CodeName, q.Span, didYouMean(q.Text, in.names()), "there is no column %q", q.Text)
	}
}

// choiceOp is project-away, project-keep or project-reorder.
type choiceOp struct {
	Span
	Word     string
	Patterns []pattern
}

func choice(word, form, doc, example string, sorting bool) *declaration {
	return &declaration{name: word, form: form, supported: true, doc: doc, example: example, parse: func(p *parser, _ string, at Span) operator {
		list := p.patterns(sorting)
		return &choiceOp{p.since(at.Start), word, list}
	}}
}

func projectAwayDecl() *declaration {
	return choice("project-away", "project-away column, ...", "Leaves columns out.", "print a = 1, b = 2 | project-away b", false)
}

func projectKeepDecl() *declaration {
	return choice("project-keep", "project-keep column, ...", "Keeps columns, in the order they have.", "print a = 1, b = 2 | project-keep b", false)
}

func projectReorderDecl() *declaration {
	return choice("project-reorder", "project-reorder column, ...", "Puts columns first.", "print a = 1, b = 2 | project-reorder b", true)
}

func (o *choiceOp) span() Span { return o.Span }

func (o *choiceOp) print(p *printer) {
	p.word(o.Word)
	p.patterns(o.Patterns)
}

func (o *choiceOp) bind(b *binder, in *relation) *relation {
	for _, q := range o.Patterns {
		b.missingColumn(in, q)
	}
	var out []column
	if o.Word == "project-reorder" {
		in.columns = o.reorder(in)
		return in
	}
	for _, c := range in.columns {
		matched := false
		for _, q := range o.Patterns {
			matched = matched || q.matches(c.name)
		}
		if matched == (o.Word == "project-keep") {
			out = append(out, c)
		}
	}
	in.columns = out
	return in
}

func (o *choiceOp) reorder(in *relation) []column {
	placed := map[string]bool{}
	exact := map[string]bool{}
	for _, q := range o.Patterns {
		if !q.wildcard() {
			exact[q.Text] = true
		}
	}
	var out []column
	rest := -1
	for _, q := range o.Patterns {
		if q.Text == "*" && q.Sort == "" {
			rest = len(out)
			continue
		}
		var group []column
		for _, c := range in.columns {
			if !placed[c.name] && q.matches(c.name) && (!q.wildcard() || !exact[c.name]) {
				placed[c.name] = true
				group = append(group, c)
			}
		}
		if q.Sort != "" {
			down := strings.HasSuffix(q.Sort, "desc")
			sort.SliceStable(group, func(i, j int) bool {
				if down {
					return group[i].name > group[j].name
				}
				return group[i].name < group[j].name
			})
		}
		out = append(out, group...)
	}
	var left []column
	for _, c := range in.columns {
		if !placed[c.name] {
			left = append(left, c)
		}
	}
	if rest < 0 {
		return append(out, left...)
	}
	return append(append(append([]column(nil), out[:rest]...), left...), out[rest:]...)
}

// renameOp gives columns other names.
type renameOp struct {
	Span
	Pairs []namedExpr
}

func projectRenameDecl() *declaration {
	return &declaration{name: "project-rename", form: "project-rename new = old, ...", supported: true, doc: "Gives columns other names.",
		example: "print a = 1 | project-rename b = a",
		parse: func(p *parser, _ string, at Span) operator {
			list := p.namedList()
			return &renameOp{p.since(at.Start), list}
		}}
}

func (o *renameOp) span() Span { return o.Span }

func (o *renameOp) print(p *printer) {
	p.word("project-rename")
	p.namedList(o.Pairs)
}

func (o *renameOp) bind(b *binder, in *relation) *relation {
	names := in.names()
	for _, pair := range o.Pairs {
		old, ok := pair.Value.(nameExpr)
		if !ok || len(pair.Names) != 1 {
			b.fail(CodeSyntax, pair.Span, "", "new = old is expected here")
			continue
		}
		i := in.index(old.Name)
		if i < 0 {
			if !in.open {
				b.fail(CodeName, old.Span, didYouMean(old.Name, names), "there is no column %q", old.Name)
			}
			continue
		}
		names[i] = pair.Names[0].Name
	}
	seen := map[string]bool{}
	for i, n := range names {
		if seen[n] {
			b.fail(CodeDuplicate, o.Span, "", "the column %q is given twice", n)
		}
		seen[n] = true
		in.columns[i].name = n
	}
	return in
}

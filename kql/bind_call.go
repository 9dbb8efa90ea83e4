package kql

import (
	"fmt"
	"strings"

	"github.com/otus-project/otus/kql/function"
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/kql/sqlgen"
)

// call binds a function call: one of a let statement, an aggregate where one may stand, or one of the table.
func (b *binder) call(e *callExpr) value {
	name := e.Name.Name
	if v := b.scope.find(name); v != nil && v.function != nil {
		result, rel := b.invoke(e.Name, v, e)
		if rel != nil {
			if !rel.scalar {
				b.fail(CodeType, e.Span, "put toscalar() around it", "%s() gives a table, not a value", name)
				return unknown()
			}
			return b.columnValue(rel, 0)
		}
		return result
	}
	switch name {
	case "toscalar":
		return b.toscalar(e)
	case "column_names_of", "map", "all", "inner_nodes", "labels", "node_id":
		b.refuse(e.Span, "%s()", name)
		return unknown()
	case "iscolumnexists":
		b.refuse(e.Span, "%s()", name)
		return computed(schema.Bool, function.Nothing, false)
	}
	if b.inSummary {
		if f := function.Find(name, true); f != nil {
			return b.aggregate(e, f)
		}
	}
	f := function.Find(name, false)
	if f == nil {
		hint := didYouMean(name, append(function.Names(false), b.scope.all(func(v *variable) bool { return v.function != nil })...))
		if function.Find(name, true) != nil {
			hint = name + "() is an aggregate: it stands in summarize"
		}
		b.fail(CodeFunction, e.Name.Span, hint, "there is no function %q", name)
		for _, a := range e.Args {
			if _, ok := a.Value.(*pipeExpr); !ok {
				b.scalarArgument(a.Value)
			}
		}
		return unknown()
	}
	if f.Built != "" {
		return b.built(e, f)
	}
	return b.apply(e, f, b.arguments(e))
}

func (b *binder) scalarArgument(e Expr) value {
	if _, ok := e.(*starExpr); ok {
		return unknown()
	}
	return b.scalar(e)
}

func (b *binder) arguments(e *callExpr) []value {
	values := make([]value, len(e.Args))
	for i, a := range e.Args {
		values[i] = b.scalar(a.Value)
	}
	return values
}

// apply chooses an overload, converts the arguments and writes the call.
func (b *binder) apply(e *callExpr, f *function.Function, values []value) value {
	sig, ok := b.overload(e, f, values)
	if !ok {
		v := unknown()
		if all := f.Overloads(); len(all) > 0 {
			v.Type = b.resultType(all[0], values, e)
		}
		return v
	}
	c := &function.Call{Dialect: b.d, Name: f.Name, Now: b.now, Null: true}
	c.Result = b.resultType(sig, values, e)
	if !b.checkArguments(e, sig, values) {
		return value{Arg: function.Arg{Expr: function.Nothing, Type: c.Result, Null: true, Name: b.callName(f, values)}}
	}
	for _, v := range values {
		if v.Type == schema.Unknown && v.Literal == schema.Unknown {
			return value{Arg: function.Arg{Expr: function.Nothing, Type: c.Result, Null: true, Name: b.callName(f, values)}}
		}
	}
	if f.SQL == nil {
		b.refuse(e.Span, "%s()", f.Name)
		v := value{Arg: function.Arg{Expr: function.Nothing, Type: c.Result, Null: true, Name: b.callName(f, values)}}
		if f.Tuple != "" {
			v.tuple = b.tuple(f, values, nil)
			v.Type = v.tuple[0].typ
		}
		return v
	}
	c.Args = b.convertArguments(e, sig, values)
	if f.Fold != nil {
		if v, ok := b.fold(c, f, values); ok {
			v.Name = b.callName(f, values)
			return v
		}
	}
	sql := f.SQL(c)
	b.callProblems(e, c)
	if f.Tuple != "" {
		v := value{tuple: b.tuple(f, values, sql)}
		first := v.tuple[0]
		v.Arg = computed(first.typ, first.expr, true).Arg
		return v
	}
	return b.finishCall(c, sql, b.callName(f, values), values)
}

// tuple gives the columns of a function that fills several, from the array that its SQL gives.
func (b *binder) tuple(f *function.Function, values []value, array sqlgen.Expr) []column {
	name := ""
	if len(values) > 0 {
		name = values[0].Name
	}
	var list []column
	for i, part := range strings.Split(f.Tuple, ",") {
		suffix, typ, _ := strings.Cut(part, ":")
		t, _ := schema.ParseType(typ)
		c := column{name: f.Name + "_" + name + "_" + suffix, typ: t, expr: function.Nothing, null: true}
		if array != nil {
			element := computed(schema.Dynamic, sqlgen.Call{Template: "kql_get_index($1, $2)", Args: []sqlgen.Expr{array, longParam(int64(i))}}, true)
			c.expr = function.Convert(b.d, element.Arg, t)
		}
		list = append(list, c)
	}
	return list
}

func (b *binder) callProblems(e *callExpr, c *function.Call) {
	if c.Bad != "" {
		at := e.Span
		if c.BadArg >= 0 && c.BadArg < len(e.Args) {
			at = e.Args[c.BadArg].Value.span()
		}
		b.fail(CodeArguments, at, "", "%s(): %s", e.Name.Name, c.Bad)
	}
	if c.Refusal != "" {
		b.refuse(e.Span, "%s", c.Refusal)
	}
}

// finishCall makes a value of a written call; a text is never null.
func (b *binder) finishCall(c *function.Call, sql sqlgen.Expr, name string, values []value) value {
	if c.Result == schema.String && c.Null {
		sql = sqlgen.Call{Template: "coalesce($1, '')", Args: []sqlgen.Expr{sql}}
		c.Null = false
	}
	v := computed(c.Result, sql, c.Null)
	v.Name = name
	switch c.Name {
	case "parse_json", "todynamic", "toobject", "parsejson":
		if len(values) == 1 {
			switch {
			case values[0].Type == schema.String && !values[0].Known:
				v.Raw = values[0].Expr
			case values[0].Type == schema.Dynamic:
				v.Base, v.Path, v.Raw, v.Unchecked = values[0].Base, values[0].Path, values[0].Raw, values[0].Unchecked
			}
		}
	}
	return v
}

func (b *binder) fold(c *function.Call, f *function.Function, values []value) (value, bool) {
	list := make([]any, len(values))
	for i, v := range values {
		if !v.Known {
			return value{}, false
		}
		list[i] = v.Value
		if v.Value == nil {
			return value{}, false
		}
	}
	folded, ok := f.Fold(c, list)
	if !ok {
		return value{}, false
	}
	return constant(c.Result, folded), true
}

// callName is what an unnamed column is called that the call fills.
func (b *binder) callName(f *function.Function, values []value) string {
	first := ""
	if len(values) > 0 {
		first = values[0].Name
	}
	switch f.Naming {
	case function.FirstName:
		return first
	case function.OnlyName:
		if len(values) == 1 {
			return first
		}
	case function.PrefixedName:
		prefix := f.Prefix
		if prefix == "" {
			prefix = f.Name
		}
		return prefix + "_" + first
	}
	return ""
}

// overload finds the signature that the arguments fit.
func (b *binder) overload(e *callExpr, f *function.Function, values []value) (function.Signature, bool) {
	all := f.Overloads()
	counted := -1
	for i, s := range all {
		if !countFits(s, len(values)) {
			continue
		}
		if counted < 0 {
			counted = i
		}
		if fits(s, values) {
			return s, true
		}
	}
	if counted >= 0 {
		s := all[counted]
		for i, v := range values {
			p := paramAt(s, i, len(values))
			if !accepts(p, v) {
				b.fail(CodeType, e.Args[i].Value.span(), "", "%s() takes a %s for %s, not a %s", f.Name, typeWord(p.Type), p.Name, v.Type)
			}
		}
		return s, false
	}
	b.fail(CodeArguments, e.Span, f.Signature(), "%s() does not take %s", f.Name, plural(len(values), "argument"))
	return function.Signature{}, false
}

func typeWord(class string) string {
	switch class {
	case "array", "bag":
		return "dynamic value"
	case "stringOrDynamic", "stringOrArray":
		return "text or dynamic value"
	case "summable":
		return "number, time or duration"
	case "notDynamic", "orderable":
		return "value that is not dynamic"
	}
	return class
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

func countFits(s function.Signature, n int) bool {
	least, most := 0, 0
	for _, p := range s.Params {
		if !p.Optional {
			least++
		}
		most++
		if p.Repeated {
			most = 1 << 20
		}
	}
	return n >= least && n <= most
}

// paramAt is the parameter that the i-th argument goes to; a repeated one takes all that are left.
func paramAt(s function.Signature, i, n int) function.Parameter {
	for j, p := range s.Params {
		if p.Repeated {
			after := len(s.Params) - 1 - j
			if i >= j && i < n-after {
				return p
			}
			if i >= n-after {
				return s.Params[len(s.Params)-(n-i)]
			}
		}
	}
	if i < len(s.Params) {
		return s.Params[i]
	}
	return function.Parameter{Type: "any"}
}

func accepts(p function.Parameter, v value) bool {
	if p.Type == "type" {
		return v.Literal != schema.Unknown || v.Type == schema.Unknown
	}
	if v.Known && v.Value == nil {
		return true
	}
	return p.Accepts(v.Type)
}

func fits(s function.Signature, values []value) bool {
	for i, v := range values {
		if !accepts(paramAt(s, i, len(values)), v) {
			return false
		}
	}
	return true
}

func (b *binder) checkArguments(e *callExpr, s function.Signature, values []value) bool {
	ok := true
	for i, v := range values {
		p := paramAt(s, i, len(values))
		if p.Constant && !v.Known && v.Type != schema.Unknown {
			b.refuse(e.Args[i].Value.span(), "a value for %s of %s() that is not a constant", p.Name, e.Name.Name)
			ok = false
		}
	}
	return ok
}

// convertArguments gives every parameter its argument, converted to the parameter's type; optional ones that were
// left out get their default.
func (b *binder) convertArguments(e *callExpr, s function.Signature, values []value) []function.Arg {
	var args []function.Arg
	for i, v := range values {
		args = append(args, b.convertArgument(paramAt(s, i, len(values)), v, e.Args[i].Value.span()))
	}
	for i := len(values); i < len(s.Params); i++ {
		p := s.Params[i]
		if p.Repeated {
			continue
		}
		a := function.Arg{Absent: true, Expr: p.Default}
		if p.Default == nil {
			a.Expr = function.Nothing
		}
		a.Type, _ = schema.ParseType(p.Type)
		if p.Type == "text" {
			a.Type = schema.String
		}
		args = append(args, a)
	}
	// A trailing optional without a default is left out, so that templates see only what is there.
	for len(args) > len(values) && s.Params[len(args)-1].Default == nil {
		args = args[:len(args)-1]
	}
	return args
}

func (b *binder) convertArgument(p function.Parameter, v value, at Span) function.Arg {
	if p.Type == "text" {
		if v.Type == schema.String {
			return v.Arg
		}
		e := b.as(v, schema.String, at)
		return function.Arg{Expr: e, Type: schema.String, Name: v.Name}
	}
	t, ok := schema.ParseType(p.Type)
	if !ok || v.Type == t {
		return v.Arg
	}
	if v.Known {
		switch x := v.Value.(type) {
		case nil:
			return constant(t, nil).Arg
		case int64:
			if isInteger(v.Type) && t == schema.Real {
				return constant(t, float64(x)).Arg
			}
			if isInteger(v.Type) && isInteger(t) {
				return constant(t, x).Arg
			}
		}
	}
	return function.Arg{Expr: b.as(v, t, at), Type: t, Null: t != schema.String, Name: v.Name}
}

// resultType works out the type of a call's result.
func (b *binder) resultType(s function.Signature, values []value, e *callExpr) schema.Type {
	at := func(i int) schema.Type {
		if i < len(values) {
			return values[i].Type
		}
		return schema.Unknown
	}
	switch s.Result {
	case "param0":
		return at(0)
	case "param1":
		return at(1)
	case "promoted0":
		return longer(at(0))
	case "type":
		for _, v := range values {
			if v.Literal != schema.Unknown {
				return v.Literal
			}
		}
		return schema.String
	case "widest":
		t := schema.Unknown
		for _, v := range values {
			if isNumeric(v.Type) {
				t = widest(t, v.Type)
			}
		}
		return t
	case "common", "commonNonDynamic":
		var list []value
		for i, v := range values {
			if class := paramAt(s, i, len(values)).Type; class == "common" || class == "commonOrDynamic" {
				list = append(list, v)
			}
		}
		return b.commonType(list, e, s.Result == "commonNonDynamic")
	case "custom":
		if e != nil && e.Name.Name == "case" {
			var list []value
			for i, v := range values {
				if i%2 == 1 || i == len(values)-1 {
					list = append(list, v)
				} else if v.Type != schema.Bool && v.Type != schema.Unknown && v.Type != schema.Dynamic {
					b.fail(CodeType, e.Args[i].Value.span(), "", "a condition is expected here, not a %s", v.Type)
				}
			}
			return b.commonType(list, e, true)
		}
		return schema.Unknown
	}
	t, _ := schema.ParseType(s.Result)
	return t
}

// commonType is the type that several values share: equal, or numbers of which the widest holds all. Beside others,
// dynamic values count for nothing if skip is set.
func (b *binder) commonType(values []value, e *callExpr, skip bool) schema.Type {
	t, first := schema.Unknown, schema.Unknown
	for _, v := range values {
		if first == schema.Unknown {
			first = v.Type
		}
		if v.Type == schema.Unknown || skip && v.Type == schema.Dynamic {
			continue
		}
		switch {
		case t == schema.Unknown:
			t = v.Type
		case t == v.Type:
		case isNumeric(t) && isNumeric(v.Type):
			t = widest(t, v.Type)
		case t == schema.Dynamic:
			t = v.Type
		case v.Type == schema.Dynamic:
		default:
			b.fail(CodeType, e.Span, "convert them to one type", "the values of %s() are of different types: %s and %s", e.Name.Name, t, v.Type)
			return t
		}
	}
	if t == schema.Unknown {
		return first
	}
	return t
}

// toscalar binds the first value of a query's only row.
func (b *binder) toscalar(e *callExpr) value {
	if len(e.Args) != 1 {
		b.fail(CodeArguments, e.Span, "toscalar(query)", "toscalar() takes one query")
		return unknown()
	}
	row, right, summary := b.row, b.right, b.inSummary
	b.row, b.right, b.inSummary = nil, nil, false
	v, rel := b.any(e.Args[0].Value)
	b.row, b.right, b.inSummary = row, right, summary
	if rel == nil {
		return v
	}
	b.rowLocal = false
	if len(rel.columns) == 0 {
		return unknown()
	}
	first := rel.columns[0]
	if len(rel.columns) > 1 {
		rel.columns = rel.columns[:1]
	}
	s := b.finish(rel)
	s.Limit = sqlgen.Call{Template: "1"}
	result := computed(first.typ, sqlgen.Scalar{Query: s}, first.typ != schema.String)
	if first.typ == schema.String {
		result.Expr = sqlgen.Call{Template: "coalesce($1, '')", Args: []sqlgen.Expr{result.Expr}}
	}
	return result
}

// built binds the functions that need to know the row.
func (b *binder) built(e *callExpr, f *function.Function) value {
	switch f.Built {
	case "column_ifexists":
		return b.columnIfExists(e)
	case "ingestion_time":
		return b.ingestionTime(e)
	case "pack_array":
		return b.packArray(e)
	case "pack_all", "bag_pack_columns":
		return b.packColumns(e, f.Built)
	}
	return b.window(e, f)
}

func (b *binder) columnIfExists(e *callExpr) value {
	if len(e.Args) != 2 {
		b.fail(CodeArguments, e.Span, "column_ifexists(name, default)", "%s() takes a name and a value", e.Name.Name)
		return unknown()
	}
	name := b.scalar(e.Args[0].Value)
	s, ok := name.Value.(string)
	if !ok || !name.Known {
		b.fail(CodeArguments, e.Args[0].Value.span(), "", "the name of the column must be a constant")
		return unknown()
	}
	if b.row != nil {
		if i := b.row.index(s); i >= 0 {
			v := b.columnValue(b.row, i)
			v.Name = s
			return v
		}
	}
	v := b.scalar(e.Args[1].Value)
	v.Name = ""
	return v
}

func (b *binder) ingestionTime(e *callExpr) value {
	if b.row == nil || b.row.ingestion == "" {
		b.refuse(e.Span, "ingestion_time() where rows are not those of one table")
		return computed(schema.DateTime, function.Nothing, true)
	}
	return named(computed(schema.DateTime, sqlgen.Column(b.row.ingestion), true), "$IngestionTime")
}

func (b *binder) packArray(e *callExpr) value {
	var parts []sqlgen.Expr
	for _, a := range e.Args {
		if _, ok := a.Value.(*starExpr); ok && b.row != nil {
			for i := range b.row.columns {
				parts = append(parts, function.JSON(b.d, b.columnValue(b.row, i).Arg))
			}
			continue
		}
		v := b.scalar(a.Value)
		if v.Type == schema.Unknown {
			return computed(schema.Dynamic, function.Nothing, true)
		}
		parts = append(parts, function.JSON(b.d, v.Arg))
	}
	return computed(schema.Dynamic, function.List(parts), false)
}

func (b *binder) packColumns(e *callExpr, what string) value {
	var parts []sqlgen.Expr
	template := "kql_bag_pack($1)"
	add := func(name string, v value) {
		parts = append(parts, function.JSON(b.d, constant(schema.String, name).Arg), function.JSON(b.d, v.Arg))
	}
	if what == "bag_pack_columns" {
		for _, a := range e.Args {
			v := b.scalar(a.Value)
			if v.Type == schema.Unknown {
				return computed(schema.Dynamic, function.Nothing, true)
			}
			add(v.Name, v)
		}
		return computed(schema.Dynamic, sqlgen.Call{Template: template, Args: []sqlgen.Expr{function.List(parts)}}, false)
	}
	if len(e.Args) > 0 {
		v := b.scalar(e.Args[0].Value)
		if ignore, ok := v.Value.(bool); ok && ignore {
			template = "kql_bag_pack_filled($1)"
		}
	}
	if b.row != nil {
		if b.row.open {
			b.refuse(e.Span, "pack_all() of columns that are not known")
		}
		for i := range b.row.columns {
			add(b.row.columns[i].name, b.columnValue(b.row, i))
		}
	}
	return computed(schema.Dynamic, sqlgen.Call{Template: template, Args: []sqlgen.Expr{function.List(parts)}}, false)
}

// aggregate binds a call of an aggregate inside summarize. Its arguments are of single rows.
func (b *binder) aggregate(e *callExpr, f *function.Function) value {
	if f.Built != "" {
		return b.builtAggregate(e, f)
	}
	b.inSummary = false
	values := b.arguments(e)
	b.inSummary = true
	sig, ok := b.overload(e, f, values)
	name := b.callName(f, values)
	result := schema.Unknown
	if ok {
		result = b.resultType(sig, values, e)
	}
	nothing := value{Arg: function.Arg{Expr: function.Nothing, Type: result, Null: true, Name: name}}
	if !ok {
		return nothing
	}
	for _, v := range values {
		if v.Type == schema.Unknown {
			return nothing
		}
	}
	if f.SQL == nil {
		b.refuse(e.Span, "%s()", f.Name)
		return nothing
	}
	c := &function.Call{Dialect: b.d, Name: f.Name, Now: b.now, Null: true, Result: result, Args: b.convertArguments(e, sig, values)}
	c.Order = b.row.order
	sql := f.SQL(c)
	b.callProblems(e, c)
	return b.finishCall(c, sql, name, nil)
}

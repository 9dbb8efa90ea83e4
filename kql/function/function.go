// Package function declares the functions of the language, one entry each: name, overloads, what nulls do, one
// sentence, an example, and the SQL. The compiler, the editor's completion, the reference pages and the schema
// endpoint all read these entries; there is no second list.
package function

import (
	"sort"
	"strings"
	"sync"

	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/kql/sqlgen"
)

// Kind says where a function may stand.
type Kind string

// The kinds.
const (
	Scalar    Kind = "scalar"
	Aggregate Kind = "aggregate"
	Window    Kind = "window"
)

// Naming says how a column is called that a call of the function fills and that was given no name.
type Naming uint8

// The namings.
const (
	NoName       Naming = iota // Column1, print_0
	FirstName                  // the name of the first argument
	PrefixedName               // the function's prefix, an underscore, and that name
	OnlyName                   // the argument's name if there is but one
)

// Function is one declaration.
type Function struct {
	Name string
	Kind Kind
	// Signatures in the notation of parseSignatures, separated by ";".
	Signatures string
	Naming     Naming
	Prefix     string // of PrefixedName; the function's name if empty
	Hidden     bool   // an old spelling: works, is not offered
	Doc        string // one sentence
	Example    string // an expression or query that shows it
	// SQL writes a call. Nil for what the compiler itself expands (Built) and for what is refused.
	SQL func(c *Call) sqlgen.Expr
	// Built names the compiler's own expansion.
	Built string
	// Tuple lists the columns that a call fills, "name:type,...", after the function's name and its argument's. SQL
	// then gives an array of their values.
	Tuple string
	// Fold computes a call whose arguments are all constants.
	Fold func(c *Call, values []any) (any, bool)

	once     sync.Once
	overload []Signature
}

// Parameter of a signature.
type Parameter struct {
	Name     string
	Type     string // a scalar type or a class such as number; see Accepts
	Optional bool
	Repeated bool // may occur again, and if Optional not at all
	Constant bool
	Default  sqlgen.Expr // of an optional parameter, when its SQL needs one
}

// Signature is one overload.
type Signature struct {
	Params []Parameter
	Result string // a type or a rule: param0, promoted0, widest, common, type, custom
}

// Overloads gives the parsed signatures.
func (f *Function) Overloads() []Signature {
	f.once.Do(func() {
		for s := range strings.SplitSeq(f.Signatures, ";") {
			f.overload = append(f.overload, parseSignature(strings.TrimSpace(s)))
		}
	})
	return f.overload
}

// Supported tells whether this engine runs the function.
func (f *Function) Supported() bool { return f.SQL != nil || f.Built != "" }

// Signature shows the first overload as a person writes it: name(a, b, [c]).
func (f *Function) Signature() string {
	var b strings.Builder
	b.WriteString(f.Name)
	b.WriteByte('(')
	for i, p := range f.Overloads()[0].Params {
		if i > 0 {
			b.WriteString(", ")
		}
		name := p.Name
		if p.Repeated {
			name += ", ..."
		}
		if p.Optional {
			name = "[" + name + "]"
		}
		b.WriteString(name)
	}
	b.WriteByte(')')
	return b.String()
}

// parseSignature reads "name:type, name:type? -> result". After a type: ? is optional, * any number, + at least
// one, ! a constant, =value an optional one whose SQL needs a value.
func parseSignature(s string) Signature {
	params, result, _ := strings.Cut(s, "->")
	sig := Signature{Result: strings.TrimSpace(result)}
	for part := range strings.SplitSeq(params, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		p := Parameter{}
		name, typ, _ := strings.Cut(part, ":")
		typ, value, hasDefault := strings.Cut(typ, "=")
		for typ != "" {
			switch typ[len(typ)-1] {
			case '?':
				p.Optional = true
			case '*':
				p.Optional, p.Repeated = true, true
			case '+':
				p.Repeated = true
			case '!':
				p.Constant = true
			default:
				p.Name, p.Type = name, typ
				typ = ""
				continue
			}
			typ = typ[:len(typ)-1]
		}
		if hasDefault {
			p.Optional = true
			p.Default = sqlgen.Call{Template: value}
		}
		sig.Params = append(sig.Params, p)
	}
	return sig
}

// Accepts tells whether a parameter of that class takes a value of type t.
func (p Parameter) Accepts(t schema.Type) bool {
	if t == schema.Unknown {
		return true
	}
	switch p.Type {
	case "scalar", "text", "common", "commonOrDynamic", "any":
		return true
	case "number":
		return isNumber(t) || t == schema.Dynamic
	case "integer":
		return t == schema.Int || t == schema.Long || t == schema.Dynamic
	case "summable":
		return isNumber(t) || t == schema.Timespan || t == schema.DateTime
	case "orderable", "notDynamic":
		return t != schema.Dynamic
	case "array", "bag":
		return t == schema.Dynamic
	case "stringOrDynamic", "stringOrArray":
		return t == schema.String || t == schema.Dynamic
	case "integerOrArray":
		return t == schema.Int || t == schema.Long || t == schema.Dynamic
	case "numberOrBool":
		return isNumber(t) || t == schema.Bool
	case "real":
		return isNumber(t) || t == schema.Dynamic
	case "long", "int":
		return t == schema.Int || t == schema.Long || t == schema.Dynamic
	case "decimal":
		return t == schema.Decimal
	case "string":
		return t == schema.String || t == schema.Dynamic
	}
	want, ok := schema.ParseType(p.Type)
	return ok && (want == t || t == schema.Dynamic)
}

func isNumber(t schema.Type) bool {
	return t == schema.Int || t == schema.Long || t == schema.Real || t == schema.Decimal
}

// Arg is a bound argument.
type Arg struct {
	Expr sqlgen.Expr
	Type schema.Type
	Null bool // may be null
	// Known and Value hold a constant: bool, int64, float64, string, or nil for null.
	Known bool
	Value any
	Name  string // the name a column filled by the argument alone would have
	// Literal is the type of a typeof() argument.
	Literal schema.Type
	Absent  bool
	// Base and Path hold a value that is read out of JSON text, so that reading on or as text costs one call:
	// the text, and the path in it.
	Base      sqlgen.Expr
	Path      string
	Unchecked bool // Base may be any text
	// Raw is JSON text not yet made canonical, of a call of parse_json.
	Raw sqlgen.Expr
}

// Call is a call being written as SQL.
type Call struct {
	Dialect *sqlgen.Dialect
	Name    string
	Args    []Arg
	Result  schema.Type
	Now     int64 // the query's now(), ticks since 1970
	// Order is how the rows that an aggregate reads are sorted, if they are.
	Order []sqlgen.Order
	// Null tells whether the result may be null; the writer may lower it.
	Null bool
	// Refusal, once set, is why the call cannot be run; Bad is what is wrong with it.
	Refusal, Bad string
	BadArg       int
}

// Op writes an operation of the dialect.
func (c *Call) Op(name string, args ...sqlgen.Expr) sqlgen.Expr { return c.Dialect.Op(name, args...) }

// Refuse says that this call is not supported.
func (c *Call) Refuse(why string) sqlgen.Expr {
	c.Refusal = why
	return Nothing
}

// Fail says that this call is wrong.
func (c *Call) Fail(arg int, why string) sqlgen.Expr {
	c.Bad, c.BadArg = why, arg
	return Nothing
}

// Nothing stands where no SQL could be written.
var Nothing = sqlgen.Param{Kind: sqlgen.Long}

// Text gives an argument as a string that is never null.
func (c *Call) Text(i int) sqlgen.Expr { return Convert(c.Dialect, c.Args[i], schema.String) }

// As gives an argument as another type.
func (c *Call) As(i int, t schema.Type) sqlgen.Expr { return Convert(c.Dialect, c.Args[i], t) }

// String gives a constant string argument.
func (c *Call) String(i int) (string, bool) {
	if i >= len(c.Args) || !c.Args[i].Known {
		return "", false
	}
	s, ok := c.Args[i].Value.(string)
	return s, ok
}

// Integer gives a constant integer argument.
func (c *Call) Integer(i int) (int64, bool) {
	if i >= len(c.Args) || !c.Args[i].Known {
		return 0, false
	}
	n, ok := c.Args[i].Value.(int64)
	return n, ok
}

// List gives arguments from the i-th on as one JSON array.
func (c *Call) List(i int) sqlgen.Expr {
	parts := make([]sqlgen.Expr, 0, len(c.Args))
	for ; i < len(c.Args); i++ {
		if !c.Args[i].Absent {
			parts = append(parts, JSON(c.Dialect, c.Args[i]))
		}
	}
	return List(parts)
}

// List makes a JSON array of JSON texts.
func List(parts []sqlgen.Expr) sqlgen.Expr {
	template := "concat('[', "
	return sqlgen.Call{Template: template + "concat_ws(',', $*), ']')", Args: parts}
}

// duck writes a template of DuckDB's over the converted arguments; the result is null if an argument is.
func duck(template string) func(*Call) sqlgen.Expr {
	return func(c *Call) sqlgen.Expr {
		if c.Dialect.Name != sqlgen.DuckDB.Name {
			return c.Refuse(c.Name + "() has no SQL for " + c.Dialect.Name)
		}
		args := make([]sqlgen.Expr, len(c.Args))
		c.Null = false
		for i, a := range c.Args {
			args[i] = a.Expr
			c.Null = c.Null || a.Null
		}
		return sqlgen.Call{Template: template, Args: args}
	}
}

// duckNull is duck for calls that may be null whatever the arguments.
func duckNull(template string) func(*Call) sqlgen.Expr {
	f := duck(template)
	return func(c *Call) sqlgen.Expr {
		e := f(c)
		c.Null = true
		return e
	}
}

// All lists every function, sorted by kind and name.
func All() []*Function { return table().all }

// Find gives the function of that name and kind class: aggregates are looked for apart.
func Find(name string, aggregate bool) *Function {
	if aggregate {
		return table().aggregates[name]
	}
	return table().scalars[name]
}

// Names lists what may be offered, of one class.
func Names(aggregate bool) []string {
	var names []string
	for _, f := range All() {
		if (f.Kind == Aggregate) == aggregate && !f.Hidden {
			names = append(names, f.Name)
		}
	}
	return names
}

type tables struct {
	all                 []*Function
	scalars, aggregates map[string]*Function
}

var table = sync.OnceValue(func() tables {
	t := tables{scalars: map[string]*Function{}, aggregates: map[string]*Function{}}
	for _, list := range [][]*Function{conversionFunctions(), textFunctions(), patternFunctions(), mathFunctions(), timeFunctions(), logicFunctions(),
		dynamicFunctions(), addressFunctions(), codingFunctions(), seriesFunctions(), windowFunctions(), contextFunctions(), boundFunctions()} {
		for _, f := range list {
			if f.Kind == "" {
				f.Kind = Scalar
			}
			t.scalars[f.Name] = f
			t.all = append(t.all, f)
		}
	}
	for _, f := range aggregates() {
		f.Kind = Aggregate
		t.aggregates[f.Name] = f
		t.all = append(t.all, f)
	}
	sort.SliceStable(t.all, func(i, j int) bool { return t.all[i].Name < t.all[j].Name })
	return t
})

// Package sqlgen is the SQL that the KQL compiler writes: a small tree of expressions and statements, and the
// dialects that turn it into text. Values never become part of the text: they are numbered parameters. What a
// store can say differently is an operation with a name; a dialect maps the name to its own words.
package sqlgen

// Expr is an SQL expression.
type Expr interface{ write(w *writer) }

// Kind is the physical type of a parameter or cast.
type Kind uint8

// Physical types. Datetime and timespan travel as Long (ticks of 100 ns), dynamic, guid and decimal as Text.
const (
	Bool Kind = iota
	Int
	Long
	Real
	Text
)

// Column names a column of the sources in scope.
type Column string

// Param is a value: bool, int64, float64 or string, or nil for the null of its kind.
type Param struct {
	Value any
	Kind  Kind
}

// Call is a template with arguments: $1 to $9 stand for one, $* for all of them with commas between.
type Call struct {
	Template string
	Args     []Expr
}

// Case is CASE WHEN When[0] THEN Then[0] ... ELSE Else END.
type Case struct {
	When, Then []Expr
	Else       Expr
}

// Scalar is a subquery of one column used as a value.
type Scalar struct{ Query *Select }

// In tells whether X is one of the values of a one-column query.
type In struct {
	X     Expr
	Query *Select
}

// Item is a column of a select list.
type Item struct {
	Expr  Expr
	Alias string
}

// Order is one key of ORDER BY.
type Order struct {
	Expr       Expr
	Desc       bool
	NullsFirst bool
}

// Source is what FROM reads.
type Source interface{ writeSource(w *writer) }

// Table is a stored table.
type Table string

// Union is UNION ALL of its parts. Their columns correspond by name; a part is null where it lacks one.
type Union []*Select

// JoinKind says which rows of a join remain.
type JoinKind string

// The joins.
const (
	InnerJoin JoinKind = "INNER JOIN"
	LeftJoin  JoinKind = "LEFT JOIN"
	RightJoin JoinKind = "RIGHT JOIN"
	FullJoin  JoinKind = "FULL JOIN"
	SemiJoin  JoinKind = "SEMI JOIN"
	AntiJoin  JoinKind = "ANTI JOIN"
	CrossJoin JoinKind = "CROSS JOIN"
	Lateral   JoinKind = "CROSS JOIN LATERAL"
)

// Join joins two sources; On is nil for CrossJoin and Lateral.
type Join struct {
	Kind        JoinKind
	Left, Right Source
	On          Expr
}

// Values is a list of literal rows.
type Values struct {
	Columns []string
	Rows    [][]Expr
}

// Function is a table function with named result columns.
type Function struct {
	Call    Expr
	Columns []string
}

// Shared is a named query that the statement computes once; Select.With defines it.
type Shared string

// Select is a SELECT statement; as a Source it is a subquery.
type Select struct {
	With       []With
	Distinct   bool
	DistinctOn []Expr
	Items      []Item
	From       Source // nil: one row
	Where      []Expr
	GroupBy    []Expr
	Having     Expr
	Qualify    Expr
	OrderBy    []Order
	Limit      Expr
}

// With is a query computed once.
type With struct {
	Name  string
	Query *Select
}

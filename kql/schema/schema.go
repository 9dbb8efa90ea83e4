// Package schema holds what the compiler must know of the tables: names, columns and KQL types.
package schema

// Type is a KQL scalar type.
type Type uint8

// The scalar types. Unknown is the type of an expression that failed to bind; it silences follow-up errors.
const (
	Unknown Type = iota
	Bool
	Int
	Long
	Real
	Decimal
	DateTime
	Timespan
	GUID
	String
	Dynamic
)

var names = [...]string{"unknown", "bool", "int", "long", "real", "decimal", "datetime", "timespan", "guid", "string", "dynamic"}

// String gives the type's KQL name.
func (t Type) String() string { return names[t] }

// ParseType reads a KQL type name, the aliases of the language among them; ok is false for any other word.
func ParseType(name string) (t Type, ok bool) {
	switch name {
	case "bool", "boolean":
		return Bool, true
	case "int", "int32":
		return Int, true
	case "long", "int64":
		return Long, true
	case "real", "double":
		return Real, true
	case "decimal":
		return Decimal, true
	case "datetime", "date":
		return DateTime, true
	case "timespan", "time":
		return Timespan, true
	case "guid", "uuid", "uniqueid":
		return GUID, true
	case "string":
		return String, true
	case "dynamic":
		return Dynamic, true
	}
	return Unknown, false
}

// Column is a named column of a table or result.
type Column struct {
	Name        string
	Type        Type
	Description string // one sentence; empty for results
}

// Table is a log table.
type Table struct {
	Name        string
	Description string
	Solutions   []string // solutions it is listed under
	Columns     []Column
}

// Column returns the column of that exact name.
func (t *Table) Column(name string) (Column, bool) {
	for _, c := range t.Columns {
		if c.Name == name {
			return c, true
		}
	}
	return Column{}, false
}

// Catalog is the set of tables a query may name.
type Catalog struct {
	Tables []*Table
}

// Table returns the table of that exact name, or nil.
func (c *Catalog) Table(name string) *Table {
	for _, t := range c.Tables {
		if t.Name == name {
			return t
		}
	}
	return nil
}

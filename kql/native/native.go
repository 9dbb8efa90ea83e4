// Package native holds the scalar functions that SQL cannot say: pure Go, one value in, one value out. The log
// store registers them under their names; the compiler calls them by those names.
package native

// Kind is the physical type of an argument or result in the store.
type Kind uint8

// Physical kinds. Datetime and timespan are Long (ticks of 100 ns), dynamic and guid are Text.
const (
	Bool Kind = iota
	Int
	Long
	Real
	Text
)

// Value is one argument or result. Only the field of its kind is meaningful, and only if Null is false.
type Value struct {
	Null bool
	B    bool
	I    int64 // Int and Long
	F    float64
	S    string
}

// Function is one native scalar function.
type Function struct {
	Name   string // SQL name, "kql_" first
	Params []Kind
	Result Kind
	// Eval computes one row. Nulls are passed in. It must not panic, keep args, or depend on anything but args;
	// it may be called from several goroutines.
	Eval func(args []Value) Value
}

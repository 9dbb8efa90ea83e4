package duckdb

import (
	"fmt"
	"unsafe"

	bindings "github.com/duckdb/duckdb-go-bindings"
)

// Appender adds rows to one table within the connection's open transaction. It fills chunks column by column,
// the fastest way in. Serve it from one goroutine; Flush before the commit, Close always.
type Appender struct {
	raw     bindings.Appender
	table   string
	columns []string
	types   []bindings.Type
	chunk   bindings.DataChunk
	rows    [][]any
	text    packer
}

// NewAppender opens an appender on the named columns of a table; the other columns become NULL or their
// default.
func (c *Conn) NewAppender(table string, columns []string) (*Appender, error) {
	a := &Appender{table: table, columns: columns}
	if bindings.AppenderCreate(c.raw, "", table, &a.raw) == bindings.StateError {
		message := bindings.AppenderError(a.raw)
		a.Close()
		return nil, fmt.Errorf("append to table %q: %w", table, newError(bindings.ErrorTypeInvalid, message))
	}
	for _, column := range columns {
		if bindings.AppenderAddColumn(a.raw, column) == bindings.StateError {
			err := fmt.Errorf("append to table %q, column %q: %w", table, column, a.lastError())
			a.Close()
			return nil, err
		}
	}
	types := make([]bindings.LogicalType, len(columns))
	a.types = make([]bindings.Type, len(columns))
	for i := range columns {
		types[i] = bindings.AppenderColumnType(a.raw, bindings.IdxT(i))
		a.types[i] = bindings.GetTypeId(types[i])
	}
	a.chunk = bindings.CreateDataChunk(types)
	for i := range types {
		bindings.DestroyLogicalType(&types[i])
	}
	return a, nil
}

func (a *Appender) lastError() error {
	return newError(bindings.ErrorTypeInvalid, bindings.AppenderError(a.raw))
}

// Append adds one row, its values in the order of the appender's columns: nil, bool, int32, int64, float64 or
// string as the column's type asks. The row is kept until the next flush and must not be changed.
func (a *Appender) Append(row []any) error {
	if len(row) != len(a.columns) {
		return fmt.Errorf("append to table %q: row has %d values, want %d", a.table, len(row), len(a.columns))
	}
	a.rows = append(a.rows, row)
	if len(a.rows) == int(bindings.VectorSize()) {
		return a.flushChunk()
	}
	return nil
}

func (a *Appender) flushChunk() error {
	if len(a.rows) == 0 {
		return nil
	}
	bindings.DataChunkReset(a.chunk)
	for i := range a.columns {
		if err := a.fill(i); err != nil {
			return err
		}
	}
	bindings.DataChunkSetSize(a.chunk, bindings.IdxT(len(a.rows)))
	if bindings.AppendDataChunk(a.raw, a.chunk) == bindings.StateError {
		return fmt.Errorf("append to table %q: %w", a.table, a.lastError())
	}
	clear(a.rows)
	a.rows = a.rows[:0]
	return nil
}

func (a *Appender) fill(column int) error {
	v := bindings.DataChunkGetVector(a.chunk, bindings.IdxT(column))
	data := bindings.VectorGetData(v)
	var validity unsafe.Pointer
	ok := true
	a.text.reset()
	for i, row := range a.rows {
		value := row[column]
		if value == nil {
			if validity == nil {
				bindings.VectorEnsureValidityWritable(v)
				validity = bindings.VectorGetValidity(v)
			}
			setNull(validity, i)
			a.text.add("")
			continue
		}
		switch a.types[column] {
		case bindings.TypeBoolean:
			var b bool
			if b, ok = value.(bool); ok {
				*(*bool)(unsafe.Add(data, i)) = b
			}
		case bindings.TypeInteger:
			var n int32
			if n, ok = value.(int32); ok {
				*(*int32)(unsafe.Add(data, i*4)) = n
			}
		case bindings.TypeBigInt:
			var n int64
			if n, ok = value.(int64); ok {
				*(*int64)(unsafe.Add(data, i*8)) = n
			}
		case bindings.TypeDouble:
			var f float64
			if f, ok = value.(float64); ok {
				*(*float64)(unsafe.Add(data, i*8)) = f
			}
		case bindings.TypeVarchar:
			var s string
			if s, ok = value.(string); ok {
				a.text.add(s)
			}
		default:
			ok = false
		}
		if !ok {
			return fmt.Errorf("append to table %q, column %q: cannot store a %T", a.table, a.columns[column], value)
		}
	}
	if a.types[column] == bindings.TypeVarchar {
		a.text.assign(v.Ptr, validity)
	}
	return nil
}

// setNull marks a row of a writable validity mask as null.
func setNull(validity unsafe.Pointer, row int) {
	*(*uint64)(unsafe.Add(validity, row/64*8)) &^= 1 << (row % 64)
}

// Flush writes what was appended into the transaction.
func (a *Appender) Flush() error {
	if err := a.flushChunk(); err != nil {
		return err
	}
	if bindings.AppenderFlush(a.raw) == bindings.StateError {
		return fmt.Errorf("append to table %q: %w", a.table, a.lastError())
	}
	return nil
}

// Close frees the appender; rows not flushed are dropped.
func (a *Appender) Close() {
	if a.raw.Ptr == nil {
		return
	}
	bindings.DestroyDataChunk(&a.chunk)
	bindings.AppenderClear(a.raw)
	bindings.AppenderDestroy(&a.raw)
}

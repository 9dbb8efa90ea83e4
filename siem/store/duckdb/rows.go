package duckdb

import (
	"context"
	"fmt"
	"unsafe"

	bindings "github.com/duckdb/duckdb-go-bindings"
)

// Type is the physical type of a result column, as far as this driver reads it.
type Type uint8

// The types. Every integer type is read as int64, floats as float64.
const (
	Bool Type = iota + 1
	Integer
	Float
	Text
)

// Column names a result column.
type Column struct {
	Name string
	Type Type
}

// Rows is the running result of a query, to be read by one goroutine and closed.
type Rows struct {
	ctx       context.Context // of the query, whose life is that of these rows
	conn      *Conn
	stop      func()
	release   func()
	result    bindings.Result
	hasResult bool

	columns []Column
	physics []bindings.Type
	chunk   bindings.DataChunk
	vectors []vector
	size    int
	next    int
	current int
	done    bool
	closed  bool
	err     error
}

// vector is a column of the current chunk: memory of DuckDB's, valid until the next chunk.
type vector struct {
	data     unsafe.Pointer
	validity unsafe.Pointer // nil: all valid
}

func (v vector) null(row int) bool {
	if v.validity == nil {
		return false
	}
	word := *(*uint64)(unsafe.Add(v.validity, row/64*8))
	return word&(1<<(row%64)) == 0
}

func at[T any](data unsafe.Pointer, row int) T {
	var zero T
	return *(*T)(unsafe.Add(data, row*int(unsafe.Sizeof(zero))))
}

// text copies the string at row out of DuckDB's memory. A string is 16 bytes: its length, then either up to
// twelve bytes of it, or four bytes and the address of all.
func text(data unsafe.Pointer, row int) string {
	p := unsafe.Add(data, row*16)
	length := int(*(*uint32)(p))
	if length == 0 {
		return ""
	}
	if length <= 12 {
		return string(unsafe.Slice((*byte)(unsafe.Add(p, 4)), length))
	}
	return string(unsafe.Slice(*(**byte)(unsafe.Add(p, 8)), length))
}

func (r *Rows) resultError() error {
	return newError(bindings.ResultErrorType(&r.result), bindings.ResultError(&r.result))
}

func (r *Rows) describe() error {
	n := int(bindings.ColumnCount(&r.result))
	r.columns = make([]Column, n)
	r.physics = make([]bindings.Type, n)
	r.vectors = make([]vector, n)
	for i := range n {
		t := bindings.ColumnType(&r.result, bindings.IdxT(i))
		column := Column{Name: bindings.ColumnName(&r.result, bindings.IdxT(i))}
		switch t {
		case bindings.TypeBoolean:
			column.Type = Bool
		case bindings.TypeTinyInt, bindings.TypeSmallInt, bindings.TypeInteger, bindings.TypeBigInt,
			bindings.TypeUTinyInt, bindings.TypeUSmallInt, bindings.TypeUInteger, bindings.TypeUBigInt, bindings.TypeHugeInt:
			column.Type = Integer
		case bindings.TypeFloat, bindings.TypeDouble:
			column.Type = Float
		case bindings.TypeVarchar:
			column.Type = Text
		default:
			return fmt.Errorf("duckdb: column %q has a type that must be cast before it can be read (%s)",
				column.Name, typeName(&r.result, i))
		}
		r.columns[i], r.physics[i] = column, t
	}
	return nil
}

func typeName(result *bindings.Result, column int) string {
	t := bindings.ColumnLogicalType(result, bindings.IdxT(column))
	defer bindings.DestroyLogicalType(&t)
	switch bindings.GetTypeId(t) {
	case bindings.TypeDecimal:
		return "DECIMAL"
	case bindings.TypeList:
		return "LIST"
	case bindings.TypeStruct:
		return "STRUCT"
	case bindings.TypeMap:
		return "MAP"
	case bindings.TypeTimestamp:
		return "TIMESTAMP"
	case bindings.TypeTimestampTZ:
		return "TIMESTAMP WITH TIME ZONE"
	case bindings.TypeInterval:
		return "INTERVAL"
	case bindings.TypeUUID:
		return "UUID"
	case bindings.TypeBlob:
		return "BLOB"
	case bindings.TypeSQLNull:
		return "NULL"
	}
	return fmt.Sprintf("type %d", bindings.GetTypeId(t))
}

// Columns describes the result. The caller must not change it.
func (r *Rows) Columns() []Column { return r.columns }

// Next moves to the next row; false at the end, on an error or when the context ended.
func (r *Rows) Next() bool {
	if r.done || r.closed {
		return false
	}
	for r.next >= r.size {
		if !r.fetch() {
			r.done = true
			return false
		}
	}
	r.current = r.next
	r.next++
	return true
}

func (r *Rows) fetch() bool {
	bindings.DestroyDataChunk(&r.chunk)
	if err := r.ctx.Err(); err != nil {
		r.err = err
		return false
	}
	r.chunk = bindings.FetchChunk(r.result)
	if r.chunk.Ptr == nil {
		if message := bindings.ResultError(&r.result); message != "" {
			r.err = r.resultError()
			if err := r.ctx.Err(); err != nil {
				r.err = err
			}
		}
		return false
	}
	r.size, r.next = int(bindings.DataChunkGetSize(r.chunk)), 0
	for i := range r.vectors {
		v := bindings.DataChunkGetVector(r.chunk, bindings.IdxT(i))
		r.vectors[i] = vector{data: bindings.VectorGetData(v), validity: bindings.VectorGetValidity(v)}
	}
	return r.size > 0
}

// Row returns the current row in a slice of its own: nil, bool, int64, float64 or string per column.
func (r *Rows) Row() []any {
	row := make([]any, len(r.columns))
	for i := range row {
		row[i] = r.value(i)
	}
	return row
}

// value reads one cell. An integer beyond 64 bits has no Go value here: it is set as the rows' error.
func (r *Rows) value(column int) any {
	v, row := r.vectors[column], r.current
	if v.null(row) {
		return nil
	}
	switch r.physics[column] {
	case bindings.TypeBoolean:
		return at[uint8](v.data, row) != 0
	case bindings.TypeTinyInt:
		return int64(at[int8](v.data, row))
	case bindings.TypeSmallInt:
		return int64(at[int16](v.data, row))
	case bindings.TypeInteger:
		return int64(at[int32](v.data, row))
	case bindings.TypeBigInt:
		return at[int64](v.data, row)
	case bindings.TypeUTinyInt:
		return int64(at[uint8](v.data, row))
	case bindings.TypeUSmallInt:
		return int64(at[uint16](v.data, row))
	case bindings.TypeUInteger:
		return int64(at[uint32](v.data, row))
	case bindings.TypeUBigInt:
		return r.narrow(column, at[uint64](v.data, row), 0)
	case bindings.TypeHugeInt:
		huge := at[[2]uint64](v.data, row) // lower half first
		return r.narrow(column, huge[0], int64(huge[1]))
	case bindings.TypeFloat:
		return float64(at[float32](v.data, row))
	case bindings.TypeDouble:
		return at[float64](v.data, row)
	default: // describe admits nothing else
		return text(v.data, row)
	}
}

func (r *Rows) narrow(column int, lower uint64, upper int64) any {
	if n := int64(lower); (upper == 0 && n >= 0) || (upper == -1 && n < 0) {
		return n
	}
	r.err = fmt.Errorf("duckdb: column %q holds an integer beyond 64 bits", r.columns[column].Name)
	r.done = true
	return nil
}

// Err tells why Next returned false; nil at a regular end.
func (r *Rows) Err() error { return r.err }

// Close ends the query and frees its memory. It may be called twice.
func (r *Rows) Close() {
	if r.closed {
		return
	}
	r.closed = true
	bindings.DestroyDataChunk(&r.chunk)
	if r.hasResult {
		bindings.DestroyResult(&r.result)
	}
	r.stop()
	if r.release != nil {
		r.release()
	}
}

// All reads the rest of the rows and closes them. For small results.
func (r *Rows) All() ([][]any, error) {
	defer r.Close()
	var rows [][]any
	for r.Next() {
		rows = append(rows, r.Row())
	}
	return rows, r.Err()
}

package duckdb

/*
#include <stdlib.h>
#include "bridge.h"
*/
import "C"

import (
	"fmt"
	"runtime/cgo"
	"sync"
	"unsafe"

	bindings "github.com/duckdb/duckdb-go-bindings"

	"github.com/otus-project/otus/kql/native"
)

// RegisterNative makes Go functions callable in SQL, on every connection of the database, now and later.
// Functions of one name and different parameters are overloads. DuckDB may call them from several threads
// at once, and folds calls with constant arguments, so they must be pure. A panic inside one ends the query with
// an error, never the program.
func (d *DB) RegisterNative(functions ...native.Function) error {
	var names []string
	overloads := make(map[string][]native.Function)
	for _, f := range functions {
		if len(overloads[f.Name]) == 0 {
			names = append(names, f.Name)
		}
		overloads[f.Name] = append(overloads[f.Name], f)
	}
	for _, name := range names {
		if err := d.registerSet(name, overloads[name]); err != nil {
			return err
		}
	}
	return nil
}

func (d *DB) registerSet(name string, functions []native.Function) error {
	set := bindings.CreateScalarFunctionSet(name)
	defer bindings.DestroyScalarFunctionSet(&set)
	for _, f := range functions {
		if f.Eval == nil {
			return fmt.Errorf("register function %q: no Eval", name)
		}
		function := newScalar(f)
		state := bindings.AddScalarFunctionToSet(set, function)
		bindings.DestroyScalarFunction(&function)
		if state == bindings.StateError {
			return fmt.Errorf("register function %q: two overloads with equal parameters", name)
		}
	}
	if bindings.RegisterScalarFunctionSet(d.writer.raw, set) == bindings.StateError {
		return fmt.Errorf("register function %q: refused by duckdb", name)
	}
	return nil
}

func newScalar(f native.Function) bindings.ScalarFunction {
	function := bindings.CreateScalarFunction()
	bindings.ScalarFunctionSetName(function, f.Name)
	for _, p := range f.Params {
		t := bindings.CreateLogicalType(physical(p))
		bindings.ScalarFunctionAddParameter(function, t)
		bindings.DestroyLogicalType(&t)
	}
	result := bindings.CreateLogicalType(physical(f.Result))
	bindings.ScalarFunctionSetReturnType(function, result)
	bindings.DestroyLogicalType(&result)
	bindings.ScalarFunctionSetSpecialHandling(function) // nulls come in
	bindings.ScalarFunctionSetFunction(function, C.otus_scalar_callback())
	// The handle travels in C memory, which DuckDB gives back by the delete callback.
	extra := C.malloc(C.size_t(unsafe.Sizeof(cgo.Handle(0))))
	*(*cgo.Handle)(extra) = cgo.NewHandle(&f)
	bindings.ScalarFunctionSetExtraInfo(function, extra, C.otus_delete_callback())
	return function
}

func physical(k native.Kind) bindings.Type {
	switch k {
	case native.Bool:
		return bindings.TypeBoolean
	case native.Int:
		return bindings.TypeInteger
	case native.Long:
		return bindings.TypeBigInt
	case native.Real:
		return bindings.TypeDouble
	default:
		return bindings.TypeVarchar
	}
}

//export otusDelete
func otusDelete(extra unsafe.Pointer) {
	(*(*cgo.Handle)(extra)).Delete()
	C.free(extra)
}

//export otusScalar
func otusScalar(info, input, output unsafe.Pointer) {
	function := bindings.FunctionInfo{Ptr: info}
	defer func() {
		if p := recover(); p != nil {
			bindings.ScalarFunctionSetError(function, fmt.Sprintf("native function panicked: %v", p))
		}
	}()
	handle := *(*cgo.Handle)(bindings.ScalarFunctionGetExtraInfo(function))
	evalChunk(handle.Value().(*native.Function), bindings.DataChunk{Ptr: input}, bindings.Vector{Ptr: output})
}

var packers = sync.Pool{New: func() any { return new(packer) }}

// evalChunk computes the function for every row of a chunk. DuckDB also hands over whole dictionaries, with
// rows that no table row refers to; a null row may hold garbage, so validity is read before any value.
func evalChunk(f *native.Function, chunk bindings.DataChunk, output bindings.Vector) {
	size := int(bindings.DataChunkGetSize(chunk))
	inputs := make([]vector, len(f.Params))
	for i := range inputs {
		v := bindings.DataChunkGetVector(chunk, bindings.IdxT(i))
		inputs[i] = vector{data: bindings.VectorGetData(v), validity: bindings.VectorGetValidity(v)}
	}
	data := bindings.VectorGetData(output)
	var validity unsafe.Pointer
	strings := packers.Get().(*packer)
	defer packers.Put(strings)
	strings.reset()
	args := make([]native.Value, len(inputs))
	for row := range size {
		for i, in := range inputs {
			args[i] = argument(f.Params[i], in, row)
		}
		value := f.Eval(args)
		if value.Null {
			if validity == nil {
				bindings.VectorEnsureValidityWritable(output)
				validity = bindings.VectorGetValidity(output)
			}
			setNull(validity, row)
			strings.add("")
			continue
		}
		switch f.Result {
		case native.Bool:
			*(*bool)(unsafe.Add(data, row)) = value.B
		case native.Int:
			*(*int32)(unsafe.Add(data, row*4)) = int32(value.I)
		case native.Long:
			*(*int64)(unsafe.Add(data, row*8)) = value.I
		case native.Real:
			*(*float64)(unsafe.Add(data, row*8)) = value.F
		default:
			strings.add(value.S)
		}
	}
	if f.Result == native.Text {
		strings.assign(output.Ptr, validity)
	}
}

func argument(kind native.Kind, in vector, row int) native.Value {
	if in.null(row) {
		return native.Value{Null: true}
	}
	switch kind {
	case native.Bool:
		return native.Value{B: at[uint8](in.data, row) != 0}
	case native.Int:
		return native.Value{I: int64(at[int32](in.data, row))}
	case native.Long:
		return native.Value{I: at[int64](in.data, row)}
	case native.Real:
		return native.Value{F: at[float64](in.data, row)}
	default:
		return native.Value{S: text(in.data, row)}
	}
}

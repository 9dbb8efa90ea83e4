package duckdb

import (
	"errors"
	"strings"

	bindings "github.com/duckdb/duckdb-go-bindings"

	"github.com/otus-project/otus/siem/store"
)

// Errors callers branch on, by errors.Is. The first three are the contract's.
var (
	ErrClosed      = store.ErrClosed
	ErrLocked      = store.ErrLocked
	ErrOutOfMemory = store.ErrOutOfMemory
	ErrInterrupted = errors.New("query interrupted")
)

// Error is what DuckDB said. Message is DuckDB's own text.
type Error struct {
	Kind    error // one of the Err values above, or nil
	Message string
}

func (e *Error) Error() string { return "duckdb: " + e.Message }

// Unwrap gives the kind.
func (e *Error) Unwrap() error { return e.Kind }

func newError(t bindings.ErrorType, message string) *Error {
	e := &Error{Message: message}
	switch {
	case t == bindings.ErrorTypeInterrupt || strings.HasPrefix(message, "INTERRUPT"):
		e.Kind = ErrInterrupted
	case t == bindings.ErrorTypeOutOfMemory || strings.HasPrefix(message, "Out of Memory"):
		e.Kind = ErrOutOfMemory
	case strings.Contains(message, "Could not set lock on file"):
		e.Kind = ErrLocked
	}
	return e
}

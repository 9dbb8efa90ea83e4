package duckdb

/*
#include "bridge.h"
*/
import "C"

import (
	"strings"
	"unicode/utf8"
	"unsafe"
)

// packer gathers the strings of one column so that one call into C assigns them all.
type packer struct {
	bytes []byte
	ends  []uint64
}

func (p *packer) reset() {
	// A column of huge texts must not keep its buffer for ever.
	if cap(p.bytes) > 4<<20 {
		p.bytes = nil
	}
	p.bytes, p.ends = p.bytes[:0], p.ends[:0]
}

// add appends one string. DuckDB trusts us that text is UTF-8, so other bytes become U+FFFD here.
func (p *packer) add(s string) {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	p.bytes = append(p.bytes, s...)
	p.ends = append(p.ends, uint64(len(p.bytes)))
}

// assign copies the strings into the vector, leaving out the rows that validity marks as null.
func (p *packer) assign(vector, validity unsafe.Pointer) {
	if len(p.ends) == 0 {
		return
	}
	p.bytes = append(p.bytes, 0) // so that there is a first byte
	C.otus_assign_text(vector, (*C.char)(unsafe.Pointer(&p.bytes[0])), (*C.uint64_t)(unsafe.Pointer(&p.ends[0])),
		C.uint64_t(len(p.ends)), (*C.uint64_t)(validity))
}

package dnp3

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/otus-project/otus/sensor/dissect"
)

// header is one object header (clause 4.2.2.7).
type header struct {
	group, variation uint8
	prefix           int // bytes of the index or size before each object
	sized            bool
	start, count     uint32
	all              bool // no range: all objects
}

// walk reads all object headers and, where they come with values, steps over the values. It stops without a fault
// at an object whose size is not known.
func (w *walker) walk() {
	for n := 0; w.fault == nil && w.rest() > 0; n++ {
		if n == maxHeaders {
			w.fail(w.at, fmt.Sprintf("more than %d object headers", maxHeaders), false)
			return
		}
		h, ok := w.header()
		if !ok {
			return
		}
		if len(w.groups) < dissect.MaxTargets {
			w.groups = append(w.groups, h.group)
		}
		if h.group == 60 && h.variation == 1 {
			w.class0 = true
		}
		if !w.objects(h) {
			return
		}
	}
}

func (w *walker) header() (header, bool) {
	if !w.need(3, "object header") {
		return header{}, false
	}
	at := w.at
	h := header{group: w.b[at], variation: w.b[at+1]}
	qualifier := w.b[at+2]
	w.at += 3
	switch qualifier >> 4 & 7 {
	case 0:
	case 1, 2, 3:
		h.prefix = 1 << (qualifier>>4&7 - 1)
	case 4, 5, 6:
		h.prefix, h.sized = 1<<(qualifier>>4&7-4), true
	default:
		w.fail(at+2, fmt.Sprintf("qualifier 0x%02x: prefix code is reserved", qualifier), false)
		return h, false
	}
	if qualifier&0x80 != 0 {
		w.fail(at+2, fmt.Sprintf("qualifier 0x%02x: bit 7 is reserved", qualifier), false)
		return h, false
	}
	code := int(qualifier & 0x0f)
	switch code {
	case 0, 1, 2, 3, 4, 5:
		size := 1 << (code % 3)
		start, _ := w.uint(size, "range")
		stop, ok := w.uint(size, "range")
		if !ok {
			return h, false
		}
		if stop < start {
			w.fail(at+3, fmt.Sprintf("range %d to %d ends before it starts", start, stop), false)
			return h, false
		}
		h.start, h.count = start, stop-start+1
		if h.count == 0 { // 0 to 2^32-1
			h.count = ^uint32(0)
		}
	case 6:
		h.all = true
	case 7, 8, 9:
		count, ok := w.uint(1<<(code-7), "count")
		if !ok {
			return h, false
		}
		h.count = count
	case 11:
		count, ok := w.uint(1, "count")
		if !ok {
			return h, false
		}
		h.count = count
	default:
		w.fail(at+2, fmt.Sprintf("qualifier 0x%02x: range code is reserved", qualifier), false)
		return h, false
	}
	return h, true
}

// objects steps over what follows a header and tells the targets. It reports whether the walk can go on.
func (w *walker) objects(h header) bool {
	space := fmt.Sprintf("group %d variation %d", h.group, h.variation)
	if h.all {
		w.target(dissect.Target{Space: space})
		return true
	}
	if h.sized {
		return w.sizedObjects(h, space)
	}
	bits := 0
	if w.data {
		if h.group == 0 {
			return w.attributes(h)
		}
		if bits = objectBits(h.group, h.variation); bits == 0 {
			w.target(dissect.Target{Space: space, Start: h.start, Count: h.count})
			return false
		}
	}
	if h.prefix == 0 {
		total := (uint64(bits)*uint64(h.count) + 7) / 8
		if total > uint64(w.rest()) {
			w.need(int(min(total, 1<<30)), fmt.Sprintf("%d objects of %s", h.count, space))
			return false
		}
		value := ""
		if h.count == 1 && w.data {
			value = describe(h.group, h.variation, w.b[w.at:w.at+int(total)])
		}
		w.target(dissect.Target{Space: space, Start: h.start, Count: h.count, Value: value})
		w.at += int(total)
		return true
	}
	size := (bits + 7) / 8
	for i := uint32(0); i < h.count; i++ {
		if !w.need(h.prefix+size, fmt.Sprintf("object %d of %d of %s", uint64(i)+1, h.count, space)) {
			return false
		}
		index, _ := w.uint(h.prefix, "index")
		w.target(dissect.Target{Space: space, Start: index, Count: 1, Value: describe(h.group, h.variation, w.b[w.at:w.at+size])})
		w.at += size
	}
	return true
}

func (w *walker) target(t dissect.Target) {
	if len(w.m.Targets) < dissect.MaxTargets {
		w.m.Targets = append(w.m.Targets, t)
	}
}

// sizedObjects reads objects that carry their own size: files and authentication.
func (w *walker) sizedObjects(h header, space string) bool {
	for i := uint32(0); i < h.count; i++ {
		size, ok := w.uint(h.prefix, "object size")
		if !ok {
			return false
		}
		if uint64(size) > uint64(w.rest()) {
			w.need(int(min(size, 1<<30)), fmt.Sprintf("%d bytes of %s", size, space))
			return false
		}
		body := w.b[w.at : w.at+int(size)]
		w.at += int(size)
		switch h.group {
		case 70:
			w.file(h.variation, body)
		case 120:
			w.authentication(h.variation, body)
		default:
			w.target(dissect.Target{Space: space, Count: 1})
		}
	}
	return true
}

// file reads group 70 (annex A.25): variation 3 is the open or delete command with the name, 7 a file descriptor.
func (w *walker) file(variation uint8, b []byte) {
	offset, size := 0, 0
	switch {
	case variation == 3 && len(b) >= 26:
		offset, size = int(binary.LittleEndian.Uint16(b)), int(binary.LittleEndian.Uint16(b[2:]))
		w.fileMode = binary.LittleEndian.Uint16(b[20:])
	case variation == 7 && len(b) >= 20:
		offset, size = int(binary.LittleEndian.Uint16(b)), int(binary.LittleEndian.Uint16(b[2:]))
	}
	t := dissect.Target{Space: "file", Count: 1}
	if name := within(b, offset, size); name != "" && len(w.m.Names) < dissect.MaxTargets {
		w.m.Names = append(w.m.Names, name)
		t.Value = name
	}
	w.target(t)
}

func within(b []byte, offset, size int) string {
	if size == 0 || offset > len(b) || size > len(b)-offset {
		return ""
	}
	return text(b[offset : offset+size])
}

// text gives the leading printable ASCII of b.
func text(b []byte) string {
	n := 0
	for n < len(b) && b[n] >= 0x20 && b[n] < 0x7f {
		n++
	}
	return string(b[:n])
}

// authentication reads group 120: variation 7 reports an error, 10 to 13 change users and update keys.
func (w *walker) authentication(variation uint8, b []byte) {
	w.target(dissect.Target{Space: fmt.Sprintf("group 120 variation %d", variation), Count: 1})
	switch variation {
	case 7:
		w.authError = true
		if len(b) >= 9 {
			w.m.Exception, w.m.ExceptionName = int(b[8]), fmt.Sprintf("authentication error %d", b[8])
		}
	case 10, 11, 12, 13:
		w.keyChange = true
	}
}

// attributes reads device attributes, group 0: a type, a length, a value; the variation says which one.
func (w *walker) attributes(h header) bool {
	for i := uint32(0); i < h.count; i++ {
		if !w.need(h.prefix+2, "device attribute") {
			return false
		}
		w.at += h.prefix
		kind, size := w.b[w.at], int(w.b[w.at+1])
		w.at += 2
		if !w.need(size, "device attribute") {
			return false
		}
		value := w.b[w.at : w.at+size]
		w.at += size
		w.target(dissect.Target{Space: fmt.Sprintf("group 0 variation %d", h.variation), Count: 1})
		if kind != 1 || w.m.Kind == dissect.Request { // 1: visible string
			continue
		}
		if fill, ok := attributeFacts[h.variation]; ok && text(value) != "" {
			w.m.Identity = append(w.m.Identity, fact(w.m, fill, text(value)))
		}
	}
	return true
}

var attributeFacts = map[uint8]dissect.FactKind{
	242: dissect.FactFirmware, 247: dissect.FactName, 248: dissect.FactSerial, 250: dissect.FactModel, 252: dissect.FactVendor,
}

// describe prints the value of the objects that command something.
func describe(group, variation uint8, b []byte) string {
	switch {
	case group == 12 && variation == 1 && len(b) == 11:
		return fmt.Sprintf("%s x%d on %dms off %dms", controlName(b[0]), b[1],
			binary.LittleEndian.Uint32(b[2:]), binary.LittleEndian.Uint32(b[6:]))
	case group == 41 && variation == 1 && len(b) == 5:
		return fmt.Sprint(int32(binary.LittleEndian.Uint32(b)))
	case group == 41 && variation == 2 && len(b) == 3:
		return fmt.Sprint(int16(binary.LittleEndian.Uint16(b)))
	case group == 41 && variation == 3 && len(b) == 5:
		return fmt.Sprint(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	case group == 41 && variation == 4 && len(b) == 9:
		return fmt.Sprint(math.Float64frombits(binary.LittleEndian.Uint64(b)))
	case group == 80 && len(b) == 1, group == 10 && variation == 1 && len(b) == 1:
		return fmt.Sprint(b[0] & 1)
	}
	return ""
}

// controlName names the control code of a control relay output block (A.8.1).
func controlName(code uint8) string {
	operation := [...]string{"nul", "pulse on", "pulse off", "latch on", "latch off"}
	name := fmt.Sprintf("operation %d", code&0x0f)
	if int(code&0x0f) < len(operation) {
		name = operation[code&0x0f]
	}
	switch code >> 6 {
	case 1:
		return "close " + name
	case 2:
		return "trip " + name
	}
	return name
}

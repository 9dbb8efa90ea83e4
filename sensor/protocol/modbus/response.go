package modbus

import (
	"fmt"

	"github.com/otus-project/otus/sensor/dissect"
)

// readResponse fills m from the body of a normal response; pending is its request, nil where it was not seen.
func readResponse(m *dissect.Message, r *reader, pending *Pending) {
	switch m.Code {
	case 1, 2, 3, 4, 23:
		data, ok := r.counted("values")
		if ok && m.Code >= 3 && len(data)%2 != 0 {
			r.fail(1, fmt.Sprintf("byte count %d is odd in a response of registers", len(data)))
		}
	case 5, 6:
		m.Targets = nil
		readSingle(m, r)
	case 15, 16:
		start, _ := r.u16("starting address")
		if count, ok := r.u16("quantity"); ok {
			m.Targets = nil
			target(m, space(m.Code), uint32(start), uint32(count), "")
		}
	case 7:
		r.u8("exception status")
	case codeDiagnostics:
		if sub, ok := r.u16("sub-function"); ok {
			m.Subcode = int(sub)
			m.Operation = operation(m.Code, m.Subcode)
			m.CodeName = diagnosticName(m.Subcode)
		}
	case 11:
		r.take(4, "status and event count")
	case 12, 20, 21:
		r.counted("data")
	case 17:
		readServerID(m, r)
	case 22:
		r.take(6, "address and masks")
	case 24:
		n, _ := r.u16("byte count")
		r.take(int(n), "fifo values")
	case codeEncap:
		readEncapResponse(m, r)
	case codeUMAS:
		readUMASResponse(m, r, pending)
	}
}

// readServerID reads function 17 (6.13): after the count come a server id, a run indicator of 0x00 or 0xff and
// additional data, all as the device likes. The printable text in it is taken as the model.
func readServerID(m *dissect.Message, r *reader) {
	data, _ := r.counted("server id")
	text := longestText(data)
	if len(text) >= 4 {
		fact(m, dissect.FactModel, text)
	}
}

// objects of the device identification (6.21).
const (
	objectVendor = iota
	objectProductCode
	objectRevision
	objectVendorURL
	objectProductName
	objectModelName
	objectApplication
)

func readEncapResponse(m *dissect.Message, r *reader) {
	mei, ok := r.u8("mei type")
	if !ok {
		return
	}
	m.Subcode = int(mei)
	if mei != meiIdentity {
		return
	}
	m.CodeName, m.Operation = "read device identification", dissect.OpDiscovery
	head, ok := r.take(5, "identification header")
	if !ok {
		return
	}
	var model [3]string // model name, product name, product code: the first that is told counts
	for i := 0; i < int(head[4]); i++ {
		id, _ := r.u8("object id")
		n, _ := r.u8("object length")
		value, ok := r.take(int(n), "object value")
		if !ok {
			break
		}
		text := printable(value)
		switch id {
		case objectVendor:
			fact(m, dissect.FactVendor, text)
		case objectRevision:
			fact(m, dissect.FactFirmware, text)
		case objectModelName:
			model[0] = text
		case objectProductName:
			model[1] = text
		case objectProductCode:
			model[2] = text
		case objectApplication:
			fact(m, dissect.FactName, text)
		}
	}
	for _, text := range model {
		if text != "" {
			fact(m, dissect.FactModel, text)
			break
		}
	}
}

func fact(m *dissect.Message, kind dissect.FactKind, value string) {
	if value != "" {
		m.Identity = append(m.Identity, dissect.Fact{Server: true, Kind: kind, Value: value})
	}
}

// printable gives the text of b up to its first zero byte, without the rest where it is not ASCII.
func printable(b []byte) string {
	start, end := 0, 0
	for end < len(b) && b[end] >= 0x20 && b[end] < 0x7f {
		end++
	}
	for start < end && b[start] == ' ' {
		start++
	}
	for end > start && b[end-1] == ' ' {
		end--
	}
	return string(b[start:end])
}

// longestText gives the longest run of printable ASCII.
func longestText(b []byte) string {
	best := ""
	for i := 0; i < len(b); {
		run := i
		for run < len(b) && b[run] >= 0x20 && b[run] < 0x7f {
			run++
		}
		if run-i > len(best) {
			best = printable(b[i:run])
		}
		i = run + 1
	}
	return best
}

package modbus

import (
	"fmt"

	"github.com/otus-project/otus/sensor/dissect"
)

const (
	codeDiagnostics = 8
	codeEncap       = 43 // encapsulated interface transport
	codeUMAS        = 90 // reserved by the specification; Schneider's UMAS in the field
	meiCANopen      = 13
	meiIdentity     = 14
)

// Code is one function code for documentation and naming.
type Code struct {
	Code      int
	Name      string
	Operation dissect.Operation
}

// Codes lists the public function codes (Modbus application protocol v1.1b3, 5.1 and 6) and UMAS.
var Codes = []Code{
	{1, "read coils", dissect.OpRead},
	{2, "read discrete inputs", dissect.OpRead},
	{3, "read holding registers", dissect.OpRead},
	{4, "read input registers", dissect.OpRead},
	{5, "write single coil", dissect.OpWrite},
	{6, "write single register", dissect.OpWrite},
	{7, "read exception status", dissect.OpDiagnostics},
	{codeDiagnostics, "diagnostics", dissect.OpDiagnostics},
	{11, "get comm event counter", dissect.OpDiagnostics},
	{12, "get comm event log", dissect.OpDiagnostics},
	{15, "write multiple coils", dissect.OpWrite},
	{16, "write multiple registers", dissect.OpWrite},
	{17, "report server id", dissect.OpDiscovery},
	{20, "read file record", dissect.OpFileRead},
	{21, "write file record", dissect.OpFileWrite},
	{22, "mask write register", dissect.OpWrite},
	{23, "read/write multiple registers", dissect.OpWrite},
	{24, "read fifo queue", dissect.OpRead},
	{codeEncap, "encapsulated interface transport", dissect.OpNone},
	{codeUMAS, "umas", dissect.OpNone},
}

var codeByNumber = func() (table [128]*Code) {
	for i := range Codes {
		table[Codes[i].Code] = &Codes[i]
	}
	return table
}()

func name(code int) string {
	if code < 0 || code > 127 || codeByNumber[code] == nil {
		return ""
	}
	return codeByNumber[code].Name
}

// operation maps a function code, and for diagnostics the sub-function, to the shared vocabulary.
func operation(code, sub int) dissect.Operation {
	if code == codeDiagnostics {
		switch sub {
		case 1: // restart communications option: the port is initialised anew
			return dissect.OpReset
		case 4: // force listen only mode: the device stops answering
			return dissect.OpStop
		}
	}
	if code < 0 || code > 127 || codeByNumber[code] == nil {
		return dissect.OpNone
	}
	return codeByNumber[code].Operation
}

// reserved lists annex A of the application protocol: codes that legacy products hold. 90 is left out, for in the field
// it is UMAS; 43 and 8 are reserved by their second level only, see reservedSub.
func reserved(code int) bool {
	switch code {
	case 9, 10, 13, 14, 41, 42, 91, 125, 126, 127:
		return true
	}
	return false
}

// reservedSub tells the reserved second levels of the diagnostics (6.8) and encapsulated interface (6.19) functions.
func reservedSub(code, sub int) bool {
	switch code {
	case codeDiagnostics:
		return sub >= 5 && sub <= 9 || sub == 19 || sub >= 21
	case codeEncap:
		return sub != meiCANopen && sub != meiIdentity
	}
	return false
}

var diagnosticNames = map[int]string{
	0: "return query data", 1: "restart communications option", 2: "return diagnostic register",
	3: "change ascii input delimiter", 4: "force listen only mode", 10: "clear counters and diagnostic register",
	11: "return bus message count", 12: "return bus communication error count",
	13: "return bus exception error count", 14: "return server message count",
	15: "return server no response count", 16: "return server nak count", 17: "return server busy count",
	18: "return bus character overrun count", 20: "clear overrun counter and flag",
}

// Exceptions names the exception codes (7 and 9 are not used; table in clause 7).
var Exceptions = map[int]string{
	1: "illegal function", 2: "illegal data address", 3: "illegal data value", 4: "server device failure",
	5: "acknowledge", 6: "server device busy", 7: "negative acknowledge", 8: "memory parity error",
	10: "gateway path unavailable", 11: "gateway target device failed to respond",
}

func exceptionName(code int) string {
	if n, ok := Exceptions[code]; ok {
		return n
	}
	return fmt.Sprintf("exception %d", code)
}

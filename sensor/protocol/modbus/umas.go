package modbus

import (
	"fmt"

	"github.com/otus-project/otus/sensor/dissect"
)

// UMAS is Schneider Electric's programming protocol inside function 90: a session byte, then a request code; in
// answers 0xfe (done) or 0xfd (refused) stands in the code's place. There is no public specification: the table holds
// what analyses of the protocol agree on.

const (
	umasDone    = 0xfe
	umasRefused = 0xfd
)

// UMASCodes lists the known UMAS request codes.
var UMASCodes = []Code{
	{0x01, "umas: open communication", dissect.OpSession},
	{0x02, "umas: read controller identity", dissect.OpDiscovery},
	{0x03, "umas: read project information", dissect.OpConfigRead},
	{0x04, "umas: read controller status", dissect.OpDiagnostics},
	{0x06, "umas: read memory card information", dissect.OpDiagnostics},
	{0x0a, "umas: echo", dissect.OpDiagnostics},
	{0x10, "umas: take reservation", dissect.OpSession},
	{0x11, "umas: release reservation", dissect.OpSession},
	{0x12, "umas: keep reservation", dissect.OpSession},
	{0x20, "umas: read memory block", dissect.OpRead},
	{0x21, "umas: write memory block", dissect.OpWrite},
	{0x22, "umas: read variables", dissect.OpRead},
	{0x23, "umas: write variables", dissect.OpWrite},
	{0x24, "umas: read coils and registers", dissect.OpRead},
	{0x25, "umas: write coils and registers", dissect.OpWrite},
	{0x26, "umas: read data dictionary", dissect.OpConfigRead},
	{0x30, "umas: begin transfer to controller", dissect.OpProgramDownload},
	{0x31, "umas: block to controller", dissect.OpProgramDownload},
	{0x32, "umas: end transfer to controller", dissect.OpProgramDownload},
	{0x33, "umas: begin transfer from controller", dissect.OpProgramUpload},
	{0x34, "umas: block from controller", dissect.OpProgramUpload},
	{0x35, "umas: end transfer from controller", dissect.OpProgramUpload},
	{0x36, "umas: backup", dissect.OpConfigWrite},
	{0x39, "umas: read ethernet master data", dissect.OpRead},
	{0x40, "umas: start", dissect.OpStart},
	{0x41, "umas: stop", dissect.OpStop},
	{0x50, "umas: monitor", dissect.OpRead},
	{0x58, "umas: check controller", dissect.OpDiagnostics},
	{0x70, "umas: read io object", dissect.OpRead},
	{0x71, "umas: write io object", dissect.OpWrite},
	{0x73, "umas: get module status", dissect.OpDiagnostics},
}

var umasByNumber = func() (table [256]*Code) {
	for i := range UMASCodes {
		table[UMASCodes[i].Code] = &UMASCodes[i]
	}
	return table
}()

func umasName(code int) string {
	if c := umasByNumber[code&0xff]; c != nil {
		return c.Name
	}
	return fmt.Sprintf("umas: request 0x%02x", code)
}

func readUMASRequest(m *dissect.Message, r *reader) {
	b, ok := r.take(2, "umas session and request code")
	if !ok {
		return
	}
	code := int(b[1])
	m.Subcode, m.CodeName = code, umasName(code)
	if c := umasByNumber[code]; c != nil {
		m.Operation = c.Operation
	}
	m.Counters = append(m.Counters, dissect.Counter{Name: "umas_req", Key: fmt.Sprintf("0x%02x", code)})
	if code == 0x10 && r.rest() > 5 {
		// Four bytes of session id and a length stand before the client's name.
		if n := int(r.b[r.at+4]); n <= r.rest()-5 {
			if text := printable(r.b[r.at+5 : r.at+5+n]); text != "" {
				m.Names = append(m.Names, text)
			}
		}
	}
}

func readUMASResponse(m *dissect.Message, r *reader, pending *Pending) {
	b, ok := r.take(2, "umas session and result")
	if !ok {
		return
	}
	result := int(b[1])
	m.Counters = append(m.Counters, dissect.Counter{Name: "umas_rsp", Key: fmt.Sprintf("0x%02x", result)})
	if pending == nil {
		return
	}
	m.CodeName = umasName(pending.Subcode)
	if result == umasRefused {
		m.CodeName += " (refused)"
	}
	if pending.Subcode == 0x02 && result == umasDone {
		readUMASIdentity(m, r.b[r.at:])
	}
}

// readUMASIdentity reads the controller's identity: the firmware of its communication part as two pairs of hexadecimal
// digits at 8, low pair first, and its name with a length before it at 22.
func readUMASIdentity(m *dissect.Message, b []byte) {
	const at = 22
	if len(b) <= at {
		return
	}
	n := int(b[at])
	if n > len(b)-at-1 {
		return
	}
	model := printable(b[at+1 : at+1+n])
	if model == "" {
		return
	}
	fact(m, dissect.FactVendor, "Schneider Electric")
	fact(m, dissect.FactModel, model)
	fact(m, dissect.FactFirmware, fmt.Sprintf("%x.%02x", b[9], b[8]))
	fact(m, dissect.FactType, "PLC")
}

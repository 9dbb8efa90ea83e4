package dnp3

import (
	"github.com/otus-project/otus/sensor/dissect"
)

// Application function codes used by name (table 4-2).
const (
	fnConfirm       = 0
	fnRead          = 1
	fnWrite         = 2
	fnFreezeFirst   = 7
	fnFreezeLast    = 12
	fnInitData      = 15
	fnSaveConfig    = 19
	fnAssignClass   = 22
	fnOpenFile      = 25
	fnAuthRequest   = 32
	fnAuthNoAck     = 33
	fnResponse      = 129
	fnUnsolicited   = 130
	fnAuthResponse  = 131
	maxRequest      = 33
	broadcastLowest = 0xfffd
)

// Code is one function code for documentation and naming.
type Code struct {
	Code      int
	Name      string
	Operation dissect.Operation
}

// Codes lists the application functions. A write's operation depends on what is written, see writeOperation; a
// response carries its request's.
var Codes = []Code{
	{fnConfirm, "confirm", dissect.OpSession},
	{fnRead, "read", dissect.OpRead},
	{fnWrite, "write", dissect.OpWrite},
	{3, "select", dissect.OpControl},
	{4, "operate", dissect.OpControl},
	{5, "direct operate", dissect.OpControl},
	{6, "direct operate, no acknowledgement", dissect.OpControl},
	{7, "immediate freeze", dissect.OpWrite},
	{8, "immediate freeze, no acknowledgement", dissect.OpWrite},
	{9, "freeze and clear", dissect.OpWrite},
	{10, "freeze and clear, no acknowledgement", dissect.OpWrite},
	{11, "freeze at time", dissect.OpWrite},
	{12, "freeze at time, no acknowledgement", dissect.OpWrite},
	{13, "cold restart", dissect.OpReset},
	{14, "warm restart", dissect.OpReset},
	{fnInitData, "initialize data", dissect.OpConfigWrite},
	{16, "initialize application", dissect.OpModeChange},
	{17, "start application", dissect.OpStart},
	{18, "stop application", dissect.OpStop},
	{fnSaveConfig, "save configuration", dissect.OpConfigWrite},
	// Which events an outstation may send by itself is a setting of the conversation, not of the process or the
	// program: a write, not a configuration write.
	{20, "enable unsolicited", dissect.OpWrite},
	{21, "disable unsolicited", dissect.OpWrite},
	{fnAssignClass, "assign class", dissect.OpConfigWrite},
	{23, "delay measurement", dissect.OpDiagnostics},
	{24, "record current time", dissect.OpTimeSet},
	{fnOpenFile, "open file", dissect.OpFileRead},
	{26, "close file", dissect.OpSession},
	{27, "delete file", dissect.OpFileDelete},
	{28, "get file information", dissect.OpFileRead},
	{29, "authenticate file", dissect.OpLogin},
	{30, "abort file", dissect.OpSession},
	{31, "activate configuration", dissect.OpConfigWrite},
	{fnAuthRequest, "authentication request", dissect.OpLogin},
	{fnAuthNoAck, "authentication request, no acknowledgement", dissect.OpLogin},
	{fnResponse, "response", dissect.OpNone},
	{fnUnsolicited, "unsolicited response", dissect.OpRead},
	{fnAuthResponse, "authentication response", dissect.OpLogin},
}

var codeByNumber = func() (table [256]*Code) {
	for i := range Codes {
		table[Codes[i].Code] = &Codes[i]
	}
	return table
}()

// linkName names a link function (tables 9-1 and 9-2), "" for a reserved one.
func linkName(primary bool, function int) string {
	if primary {
		switch function {
		case 0:
			return "reset link states"
		case 2:
			return "test link states"
		case 3:
			return "confirmed user data"
		case 4:
			return "unconfirmed user data"
		case 9:
			return "request link status"
		}
		return ""
	}
	switch function {
	case 0:
		return "acknowledge"
	case 1:
		return "negative acknowledge"
	case 11:
		return "link status"
	case 15:
		return "link not supported"
	}
	return ""
}

// objectBits gives the size in bits of one object of a group and variation (annex A of the object library), 0
// where it is not fixed or not known.
func objectBits(group, variation uint8) int {
	switch group {
	case 110, 111, 112, 113: // octet strings and virtual terminals: the variation is the length
		return 8 * int(variation)
	}
	sizes, ok := objectSizes[group]
	if !ok || variation == 0 || int(variation) > len(sizes) {
		return 0
	}
	return sizes[variation-1]
}

// objectSizes lists sizes in bits by group, from variation 1 on.
var objectSizes = map[uint8][]int{
	1:   {1, 8},
	2:   {8, 56, 24},
	3:   {2, 8},
	4:   {8, 56, 24},
	10:  {1, 8},
	11:  {8, 56},
	12:  {88, 88, 1},
	13:  {8, 56},
	20:  {40, 24, 40, 24, 32, 16, 32, 16},
	21:  {40, 24, 40, 24, 88, 72, 88, 72, 32, 16, 32, 16},
	22:  {40, 24, 40, 24, 88, 72, 88, 72},
	23:  {40, 24, 40, 24, 88, 72, 88, 72},
	30:  {40, 24, 32, 16, 40, 72},
	31:  {40, 24, 88, 72, 32, 16, 40, 72},
	32:  {40, 24, 88, 72, 40, 72, 88, 120},
	33:  {40, 24, 88, 72, 40, 72, 88, 120},
	34:  {16, 32, 32},
	40:  {40, 24, 40, 72},
	41:  {40, 24, 40, 72},
	42:  {40, 24, 88, 72, 40, 72, 88, 120},
	43:  {40, 24, 88, 72, 40, 72, 88, 120},
	50:  {48, 80, 48, 88},
	51:  {48, 48},
	52:  {16, 16},
	80:  {1},
	101: {16, 32, 64},
	102: {8},
}

package s7comm

import (
	"fmt"

	"github.com/otus-project/otus/sensor/dissect"
)

// Job functions used by name. There is no public specification of S7 communication; the tables hold what public
// analyses agree on and captures confirm.
const (
	fnRead            = 0x04
	fnWrite           = 0x05
	fnRequestDownload = 0x1a
	fnDownloadBlock   = 0x1b
	fnDownloadEnded   = 0x1c
	fnStartUpload     = 0x1d
	fnPIService       = 0x28
	fnStop            = 0x29
)

// Code is one function code for documentation and naming.
type Code struct {
	Code      int
	Subcode   int // -1 where there is none
	Name      string
	Operation dissect.Operation
}

// Jobs lists the functions of jobs. Download is seen from the workstation: blocks go to the controller, although
// the controller asks for them with jobs of its own.
var Jobs = []Code{
	{0x00, -1, "cpu services", dissect.OpDiagnostics},
	{fnRead, -1, "read variable", dissect.OpRead},
	{fnWrite, -1, "write variable", dissect.OpWrite},
	{fnRequestDownload, -1, "request download", dissect.OpProgramDownload},
	{fnDownloadBlock, -1, "download block", dissect.OpProgramDownload},
	{fnDownloadEnded, -1, "download ended", dissect.OpProgramDownload},
	{fnStartUpload, -1, "start upload", dissect.OpProgramUpload},
	{0x1e, -1, "upload", dissect.OpProgramUpload},
	{0x1f, -1, "end upload", dissect.OpProgramUpload},
	{fnPIService, -1, "pi service", dissect.OpControl},
	{fnStop, -1, "plc stop", dissect.OpStop},
	{0xf0, -1, "setup communication", dissect.OpSession},
}

var jobByNumber = func() (table [256]*Code) {
	for i := range Jobs {
		table[Jobs[i].Code] = &Jobs[i]
	}
	return table
}()

func jobName(code int) string {
	if code >= 0 && code < 256 && jobByNumber[code] != nil {
		return jobByNumber[code].Name
	}
	return fmt.Sprintf("function 0x%02x", code)
}

func jobOperation(code int) dissect.Operation {
	if code >= 0 && code < 256 && jobByNumber[code] != nil {
		return jobByNumber[code].Operation
	}
	return dissect.OpNone
}

// serviceOperation says what a program invocation service does.
func serviceOperation(name string) dissect.Operation {
	switch name {
	case "P_PROGRAM": // start, the argument says how
		return dissect.OpStart
	case "_INSE", "_INS2": // link downloaded blocks into the program
		return dissect.OpProgramDownload
	case "_DELE":
		return dissect.OpProgramDelete
	case "_MODU", "_GARB": // copy RAM to ROM, compress the memory
		return dissect.OpConfigWrite
	}
	return dissect.OpControl
}

// Function groups of userdata.
const (
	groupMode     = 0
	groupTest     = 1
	groupCyclic   = 2
	groupBlock    = 3
	groupCPU      = 4
	groupSecurity = 5
	groupTime     = 7
	groupNC       = 15
)

var groupNames = map[int]string{
	groupMode: "mode transition", groupTest: "programmer commands", groupCyclic: "cyclic services", groupBlock: "block functions",
	groupCPU: "cpu functions", groupSecurity: "security", 6: "pbc", groupTime: "time functions", groupNC: "nc programming",
}

// Userdata lists the functions of the groups. Listing blocks and reading status lists change nothing and open every
// engineering session: they are reads and diagnostics, not reads of a configuration.
var Userdata = []Code{
	{groupTest, 0x01, "block status", dissect.OpDiagnostics},
	{groupTest, 0x02, "variable status", dissect.OpRead},
	{groupTest, 0x03, "output istack", dissect.OpDiagnostics},
	{groupTest, 0x04, "output bstack", dissect.OpDiagnostics},
	{groupTest, 0x05, "output lstack", dissect.OpDiagnostics},
	{groupTest, 0x06, "time measurement", dissect.OpDiagnostics},
	{groupTest, 0x07, "force selection", dissect.OpDiagnostics},
	{groupTest, 0x08, "modify variable", dissect.OpWrite},
	{groupTest, 0x09, "force", dissect.OpControl},
	{groupTest, 0x0a, "breakpoint", dissect.OpModeChange},
	{groupTest, 0x0b, "exit hold", dissect.OpStart},
	{groupTest, 0x0c, "memory reset", dissect.OpReset},
	{groupTest, 0x0d, "disable job", dissect.OpDiagnostics},
	{groupTest, 0x0e, "enable job", dissect.OpDiagnostics},
	{groupTest, 0x0f, "delete job", dissect.OpDiagnostics},
	{groupTest, 0x10, "read job list", dissect.OpDiagnostics},
	{groupTest, 0x11, "read job", dissect.OpDiagnostics},
	{groupTest, 0x12, "replace job", dissect.OpDiagnostics},
	{groupTest, 0x13, "block status", dissect.OpDiagnostics},
	{groupTest, 0x16, "flash led", dissect.OpDiagnostics},
	{groupCyclic, 0x01, "cyclic transfer", dissect.OpRead},
	{groupCyclic, 0x04, "unsubscribe", dissect.OpRead},
	{groupCyclic, 0x05, "change driven transfer", dissect.OpRead},
	{groupCyclic, 0x07, "change driven transfer modify", dissect.OpRead},
	{groupBlock, 0x01, "list blocks", dissect.OpRead},
	{groupBlock, 0x02, "list blocks of type", dissect.OpRead},
	{groupBlock, 0x03, "get block info", dissect.OpRead},
	{groupCPU, 0x01, "read szl", dissect.OpDiagnostics},
	{groupCPU, 0x02, "message service", dissect.OpDiagnostics},
	{groupCPU, 0x03, "diagnostic message", dissect.OpDiagnostics},
	{groupCPU, 0x05, "alarm indication", dissect.OpDiagnostics},
	{groupCPU, 0x06, "notify indication", dissect.OpDiagnostics},
	{groupCPU, 0x07, "alarm lock", dissect.OpWrite},
	{groupCPU, 0x08, "alarm unlock", dissect.OpWrite},
	{groupCPU, 0x0b, "alarm acknowledge", dissect.OpWrite},
	{groupCPU, 0x0c, "alarm acknowledge indication", dissect.OpDiagnostics},
	{groupCPU, 0x0d, "alarm lock indication", dissect.OpDiagnostics},
	{groupCPU, 0x0e, "alarm unlock indication", dissect.OpDiagnostics},
	{groupCPU, 0x11, "alarm sq indication", dissect.OpDiagnostics},
	{groupCPU, 0x12, "alarm s indication", dissect.OpDiagnostics},
	{groupCPU, 0x13, "alarm query", dissect.OpDiagnostics},
	{groupCPU, 0x16, "notify8 indication", dissect.OpDiagnostics},
	{groupSecurity, 0x01, "plc password", dissect.OpLogin},
	{groupSecurity, 0x02, "clear password", dissect.OpSession},
	{groupTime, 0x01, "read clock", dissect.OpRead},
	{groupTime, 0x02, "set clock", dissect.OpTimeSet},
	{groupTime, 0x03, "read clock following", dissect.OpRead},
	{groupTime, 0x04, "set clock", dissect.OpTimeSet},
	{groupNC, 0x01, "request download", dissect.OpProgramDownload},
	{groupNC, 0x02, "download block", dissect.OpProgramDownload},
	{groupNC, 0x03, "continue download", dissect.OpProgramDownload},
	{groupNC, 0x04, "download ended", dissect.OpProgramDownload},
	{groupNC, 0x06, "start upload", dissect.OpProgramUpload},
	{groupNC, 0x07, "upload", dissect.OpProgramUpload},
	{groupNC, 0x08, "continue upload", dissect.OpProgramUpload},
}

var userdataByNumber = func() map[[2]int]*Code {
	table := make(map[[2]int]*Code, len(Userdata))
	for i := range Userdata {
		table[[2]int{Userdata[i].Code, Userdata[i].Subcode}] = &Userdata[i]
	}
	return table
}()

// modes a controller reports after a transition.
var modes = map[int]string{
	0: "stop", 1: "warm restart", 2: "run", 3: "hot restart", 4: "hold", 6: "cold restart", 9: "redundant run", 11: "link-up", 12: "update",
}

func userdataName(group, function int) string {
	if group == groupMode {
		if mode, ok := modes[function]; ok {
			return "mode transition: " + mode
		}
		return fmt.Sprintf("mode transition: mode %d", function)
	}
	name, ok := groupNames[group]
	if !ok {
		name = fmt.Sprintf("group %d", group)
	}
	if c := userdataByNumber[[2]int{group, function}]; c != nil {
		return name + ": " + c.Name
	}
	return fmt.Sprintf("%s: function %d", name, function)
}

func userdataOperation(group, function int) dissect.Operation {
	if group == groupMode {
		return dissect.OpModeChange
	}
	if c := userdataByNumber[[2]int{group, function}]; c != nil {
		return c.Operation
	}
	if group == 6 {
		return dissect.OpWrite
	}
	return dissect.OpNone
}

func areaName(area uint8) string {
	switch area {
	case 0x81:
		return "input"
	case 0x82:
		return "output"
	case 0x83:
		return "marker"
	case 0x84:
		return "DB"
	case 0x85:
		return "DI"
	case 0x86:
		return "local"
	case 0x80:
		return "peripheral"
	case 0x1c:
		return "counter"
	case 0x1d:
		return "timer"
	}
	return fmt.Sprintf("area 0x%02x", area)
}

func blockType(code string) string {
	switch code {
	case "08":
		return "OB"
	case "0A":
		return "DB"
	case "0B":
		return "SDB"
	case "0C":
		return "FC"
	case "0D":
		return "SFC"
	case "0E":
		return "FB"
	case "0F":
		return "SFB"
	}
	return fmt.Sprintf("block type %q ", code)
}

// itemError names the return code of one item.
func itemError(code uint8) string {
	switch code {
	case 0x00:
		return "reserved"
	case 0x01:
		return "hardware error"
	case 0x03:
		return "access not allowed"
	case 0x05:
		return "invalid address"
	case 0x06:
		return "data type not supported"
	case 0x07:
		return "data type inconsistent"
	case 0x0a:
		return "object does not exist"
	}
	return fmt.Sprintf("return code 0x%02x", code)
}

// errorName names the error class of a refusal and gives the code.
func errorName(code int) string {
	class := map[int]string{
		0x81: "application relationship", 0x82: "object definition", 0x83: "no resources", 0x84: "service processing",
		0x85: "supplies", 0x87: "access", 0xd0: "protocol", 0xd2: "block", 0xd4: "status list", 0xd6: "protection",
	}[code>>8]
	if class == "" {
		return fmt.Sprintf("error 0x%04x", code)
	}
	return fmt.Sprintf("%s error 0x%04x", class, code)
}

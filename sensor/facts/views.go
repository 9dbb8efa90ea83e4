package facts

import (
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/otus-project/otus/sensor/dissect"
)

// view is how tshark finds and frames one protocol, and what is counted of it.
type view struct {
	id       string
	protocol *dissect.Protocol
	port     uint16
	port2    uint16 // a second one, of UDP
	tcp, udp bool
	// accepts says whether tshark's dissector takes these bytes for its own; checked: it asks before every unit.
	accepts func(b []byte) bool
	checked bool
	// length gives the bytes of the unit at the front, 0 where the header is not whole, -1 where no unit follows.
	length func(b []byte) int
	// unit counts from the raw unit, message from what the parser made of it.
	unit    func(c *Collector, at place, frame uint64, b []byte)
	message func(c *Collector, m *dissect.Message, frame uint64)
}

func nonEmpty(b []byte) bool { return len(b) > 0 }

func views() []*view {
	return []*view{
		{
			id: "modbus", port: 502, tcp: true, udp: true,
			accepts: func(b []byte) bool {
				return len(b) >= 8 && binary.BigEndian.Uint16(b[2:]) == 0 && binary.BigEndian.Uint16(b[4:]) >= 2
			},
			length: func(b []byte) int {
				if len(b) < 6 {
					return 0
				}
				return 6 + int(binary.BigEndian.Uint16(b[4:]))
			},
			message: modbusMessage,
		},
		{
			id: "s7comm", port: 102, tcp: true, accepts: nonEmpty, checked: true,
			length: func(b []byte) int {
				switch {
				case b[0] != 3:
					return -1
				case len(b) < 4:
					return 0
				}
				if n := int(binary.BigEndian.Uint16(b[2:])); n >= 4 {
					return n
				}
				return -1
			},
			message: s7Message,
		},
		{
			id: "dnp3", port: 20000, tcp: true, udp: true,
			accepts: func(b []byte) bool { return b[0] == 0x05 && (len(b) == 1 || b[1] == 0x64) },
			length: func(b []byte) int {
				if len(b) < 10 {
					return 0
				}
				user := int(b[2]) - 5
				if user < 0 {
					return -1
				}
				return 10 + user + 2*((user+15)/16)
			},
			unit:    dnp3Unit,
			message: dnp3Message,
		},
		{id: "dhcp", port: 67, port2: 68, udp: true, accepts: nonEmpty, length: whole, message: dhcpMessage},
		{
			id: "dns", port: 53, tcp: true, udp: true, accepts: nonEmpty, message: dnsMessage,
			length: func(b []byte) int { // over TCP (RFC 1035, 4.2.2)
				if len(b) < 2 {
					return 0
				}
				return 2 + int(binary.BigEndian.Uint16(b))
			},
		},
	}
}

func whole(b []byte) int { return len(b) }

func modbusMessage(c *Collector, m *dissect.Message, frame uint64) {
	if m.Code < 0 {
		return
	}
	c.frame("modbus", frame)
	code := strconv.Itoa(m.Code)
	if m.Direction == dissect.FromClient {
		c.count("modbus_req_fc", code)
		switch m.Code {
		case 5, 6, 15, 16, 21, 22, 23:
			c.notable["modbus_write_reqs"]++
		case 8:
			c.notable["modbus_diag_reqs"]++
		case 17:
			c.notable["modbus_report_server_id_reqs"]++
		case 43:
			c.notable["modbus_read_devid_reqs"]++
		}
	} else {
		c.count("modbus_rsp_fc", code)
	}
	if m.Exception != 0 {
		c.count("modbus_exceptions", strconv.Itoa(m.Exception))
	}
	c.count("modbus_units", m.Unit)
	if modbusCut(m) {
		c.frame("malformed", frame)
	}
	for _, x := range m.Counters {
		switch x.Name {
		case "diag_req":
			c.count("modbus_diag_req", x.Key)
		case "umas_req", "umas_rsp":
			c.count(x.Name, x.Key)
			if name := umasNotable[x.Key]; name != "" && x.Name == "umas_req" {
				c.notable[name]++
			}
		}
	}
}

// modbusFields are the bytes behind the function code that tshark reads without asking whether they are there, of
// requests and of responses; what a byte count announces it does ask for.
var modbusFields = [2]map[int]int{
	{1: 4, 2: 4, 3: 4, 4: 4, 5: 4, 6: 2, 8: 2, 15: 5, 16: 5, 20: 1, 22: 6, 23: 9, 24: 2},
	{1: 1, 2: 1, 3: 1, 4: 1, 5: 4, 6: 2, 8: 2, 11: 4, 12: 7, 15: 4, 16: 4, 20: 1, 22: 6, 23: 1, 24: 4},
}

// modbusCut says whether tshark runs out of bytes within a message.
func modbusCut(m *dissect.Message) bool {
	switch {
	case m.Exception != 0:
		return false
	case m.Code == 21: // without a byte count it reads no sub-request
		return m.Malformed != nil && !strings.HasPrefix(m.Malformed.Rule, "byte count 0 ")
	case m.Code == 43:
		return cut(m)
	}
	const header = 8 // MBAP and the function code
	return m.Size-header < modbusFields[m.Direction&1][m.Code]
}

// cut says that a parser ran out of bytes within a message.
func cut(m *dissect.Message) bool {
	for _, x := range m.Counters {
		if x.Name == "cut" {
			return true
		}
	}
	return false
}

var umasNotable = map[string]string{
	"0x10": "umas_0x10_take_plc_reservation", "0x30": "umas_0x30_init_transfer_to_plc", "0x31": "umas_0x31_block_to_plc",
	"0x33": "umas_0x33_init_transfer_from_plc", "0x34": "umas_0x34_block_from_plc",
	"0x40": "umas_0x40_start_plc", "0x41": "umas_0x41_stop_plc",
}

func s7Message(c *Collector, m *dissect.Message, frame uint64) {
	for _, x := range m.Counters {
		switch x.Name {
		case "s7_rosctr":
			c.frame("s7comm", frame)
		case "s7_func":
			if name := s7Notable[x.Key]; name != "" {
				c.notable[name]++
			}
		case "cut":
			c.frame("malformed", frame)
			continue
		case "s7_userdata", "s7_pi_service":
		default:
			continue
		}
		c.count(x.Name, x.Key)
	}
}

var s7Notable = map[string]string{
	"job/0x05": "s7_write_var", "job/0x1a": "s7_request_download", "job/0x1d": "s7_start_upload", "job/0x28": "s7_pi_service",
	"job/0x29": "s7_plc_stop",
}

// dnp3Unit counts a link frame and the fragment that it completes by tshark's way of putting segments together.
func dnp3Unit(c *Collector, at place, frame uint64, b []byte) {
	c.frame("dnp3", frame)
	name := "dnp3_link_sec"
	if b[3]&0x40 != 0 {
		name = "dnp3_link_pri"
	}
	function := b[3] & 0x0f
	c.count(name, strconv.Itoa(int(function)))
	c.count("dnp3_addrs", strconv.Itoa(int(binary.LittleEndian.Uint16(b[4:]))))
	c.count("dnp3_addrs", strconv.Itoa(int(binary.LittleEndian.Uint16(b[6:]))))
	if b[3]&0x40 == 0 || function != 3 && function != 4 {
		return
	}
	var user []byte
	for rest := b[10:]; len(rest) > 2; {
		n := min(16, len(rest)-2)
		user = append(user, rest[:n]...)
		rest = rest[n+2:]
	}
	if len(user) == 0 {
		return
	}
	at.id = int(user[0] & 0x3f)
	whole, ok := c.fragments.add(at, user[0]&0x40 != 0, user[0]&0x80 != 0, user[1:], frame)
	if !ok || len(whole) < 2 {
		return
	}
	c.count("dnp3_app_func", strconv.Itoa(int(whole[1])))
	if name := dnp3Notable[int(whole[1])]; name != "" {
		c.notable[name]++
	}
}

// dnp3Message counts fragments that end too early, of the functions whose objects tshark reads. In those of a
// request it reads the first object header without asking.
func dnp3Message(c *Collector, m *dissect.Message, frame uint64) {
	if m.Layer != "app" {
		return
	}
	switch code := m.Code; {
	case code >= 1 && code <= 10, code == 20, code == 21, code >= 25 && code <= 27:
		if cut(m) || len(m.Targets) == 0 && m.Malformed == nil {
			c.frame("malformed", frame)
		}
	case code == 129, code == 130:
		if cut(m) {
			c.frame("malformed", frame)
		}
	}
}

var dnp3Notable = map[int]string{
	2: "dnp3_write", 3: "dnp3_select", 4: "dnp3_operate", 5: "dnp3_direct_operate", 6: "dnp3_direct_operate_nr",
	13: "dnp3_cold_restart", 14: "dnp3_warm_restart", 15: "dnp3_init_data", 16: "dnp3_init_app", 17: "dnp3_start_app",
	18: "dnp3_stop_app", 19: "dnp3_save_config", 20: "dnp3_enable_unsol", 21: "dnp3_disable_unsol", 24: "dnp3_record_time",
	25: "dnp3_open_file", 26: "dnp3_close_file", 27: "dnp3_delete_file", 32: "dnp3_auth_req",
}

func dhcpMessage(c *Collector, m *dissect.Message, frame uint64) {
	if m.Malformed != nil && m.Code <= 0 {
		return
	}
	c.frame("dhcp", frame)
	if m.Code > 0 {
		c.count("dhcp_dhcp", strconv.Itoa(m.Code))
	}
}

func dnsMessage(c *Collector, m *dissect.Message, frame uint64) {
	c.frame("dns", frame)
	for _, name := range m.Names {
		c.count("dns_name", name)
	}
}

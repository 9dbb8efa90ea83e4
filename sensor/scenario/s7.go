package scenario

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"net/netip"
)

var (
	addrZero = netip.AddrFrom4([4]byte{})
	addrAll  = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)

// ROSCTR values of S7 communication.
const (
	s7Job      = 1
	s7Ack      = 2
	s7AckData  = 3
	s7Userdata = 7
)

// s7: read DBn | write DBn | stop | start | insert | delete | download | upload | password | clock |
// compress | order VERSION
func (w *world) s7(c *talk, words []string) error {
	if !c.ready {
		c.ready = true
		c.Exchange(cotpConnect(0xe0, 0, 1), cotpConnect(0xd0, 1, 2))
		setup := []byte{0xf0, 0, 0, 1, 0, 1, 1, 0xe0}
		w.s7Exchange(c, words, s7Job, setup, nil, s7AckData, setup, nil)
	}
	switch words[0] {
	case "read", "write":
		return w.s7Variable(c, words)
	case "stop":
		w.s7Exchange(c, words, s7Job, append([]byte{0x29, 0, 0, 0, 0, 0, 9}, "P_PROGRAM"...), nil, s7AckData, []byte{0x29}, nil)
	case "start":
		w.s7Exchange(c, words, s7Job, s7Service("P_PROGRAM", ""), nil, s7AckData, []byte{0x28}, nil)
	case "insert":
		w.s7Exchange(c, words, s7Job, s7Service("_INSE", "\x01\x000800001P"), nil, s7AckData, []byte{0x28}, nil)
	case "delete":
		w.s7Exchange(c, words, s7Job, s7Service("_DELE", "\x01\x000800001P"), nil, s7AckData, []byte{0x28}, nil)
	case "compress":
		w.s7Exchange(c, words, s7Job, s7Service("_GARB", ""), nil, s7AckData, []byte{0x28}, nil)
	case "download":
		request := append([]byte{0x1a, 0, 1, 0, 0, 0, 0, 0, 9}, "_0800001P"...)
		w.s7Exchange(c, words, s7Job, append(request, "\x0d1000160000120"...), nil, s7AckData, []byte{0x1a}, nil)
	case "upload":
		request := append([]byte{0x1d, 0, 0, 0, 0, 0, 0, 0, 9}, "_0800001A"...)
		w.s7Exchange(c, words, s7Job, request, nil, s7AckData, []byte{0x1d, 0, 1, 0, 0, 0, 0, 7, 7, '0', '0', '0', '0', '1', '6', '0'}, nil)
	case "password":
		w.s7Userdata(c, words, 5, 1, s7Item([]byte{0x64, 0x64, 0x75, 0x75, 0x64, 0x64, 0x75, 0x75}), []byte{0x0a, 0, 0, 0})
	case "clock":
		w.s7Userdata(c, words, 7, 1, []byte{0x0a, 0, 0, 0}, s7Item([]byte{0, 0x19, 0x25, 0x03, 0x03, 8, 0, 0, 0, 2}))
	case "order":
		return w.s7Order(c, words)
	default:
		return fmt.Errorf("s7 %q is not known", words[0])
	}
	return nil
}

func cotpConnect(kind byte, to, from uint16) []byte {
	pdu := []byte{17, kind, byte(to >> 8), byte(to), byte(from >> 8), byte(from), 0, 0xc1, 2, 1, 0, 0xc2, 2, 1, 2, 0xc0, 1, 10}
	return tpkt(pdu)
}

func tpkt(pdu []byte) []byte {
	out := binary.BigEndian.AppendUint16([]byte{3, 0}, uint16(len(pdu)+4))
	return append(out, pdu...)
}

// s7PDU is one S7 message in COTP data in TPKT.
func s7PDU(kind byte, reference uint16, parameter, data []byte) []byte {
	out := []byte{2, 0xf0, 0x80, 0x32, kind, 0, 0}
	out = binary.BigEndian.AppendUint16(out, reference)
	out = binary.BigEndian.AppendUint16(out, uint16(len(parameter)))
	out = binary.BigEndian.AppendUint16(out, uint16(len(data)))
	if kind == s7Ack || kind == s7AckData {
		out = append(out, 0, 0)
	}
	return tpkt(append(append(out, parameter...), data...))
}

func (w *world) s7Exchange(c *talk, words []string, kind byte, parameter, data []byte, answerKind byte, answerParameter, answerData []byte) {
	c.reference++
	answered(c, words, s7PDU(kind, c.reference, parameter, data), s7PDU(answerKind, c.reference, answerParameter, answerData))
}

func s7Service(name, argument string) []byte {
	out := []byte{0x28, 0, 0, 0, 0, 0, 0, 0xfd}
	out = binary.BigEndian.AppendUint16(out, uint16(len(argument)))
	out = append(out, argument...)
	return append(append(out, byte(len(name))), name...)
}

// s7Variable reads or writes two bytes of a data block.
func (w *world) s7Variable(c *talk, words []string) error {
	number, err := strconv.Atoi(strings.TrimPrefix(words[1], "DB"))
	if err != nil {
		return err
	}
	item := []byte{0x12, 10, 0x10, 2, 0, 2, byte(number >> 8), byte(number), 0x84, 0, 0, 0}
	if words[0] == "read" {
		w.s7Exchange(c, words, s7Job, append([]byte{4, 1}, item...), nil, s7AckData, []byte{4, 1}, []byte{0xff, 4, 0, 16, 0, 1})
		return nil
	}
	w.s7Exchange(c, words, s7Job, append([]byte{5, 1}, item...), []byte{0, 4, 0, 16, 0, 1}, s7AckData, []byte{5, 1}, []byte{0xff})
	return nil
}

func s7Item(data []byte) []byte {
	return append([]byte{0xff, 9, byte(len(data) >> 8), byte(len(data))}, data...)
}

func (w *world) s7Userdata(c *talk, words []string, group, function byte, request, response []byte) {
	ask := []byte{0, 1, 0x12, 4, 0x11, 0x40 | group, function, 0}
	tell := []byte{0, 1, 0x12, 8, 0x12, 0x80 | group, function, 1, 0, 0, 0, 0}
	w.s7Exchange(c, words, s7Userdata, ask, request, s7Userdata, tell, response)
}

// s7Order reads the module identification (SZL 0011), answered with that firmware version, such as V3.2.1.
func (w *world) s7Order(c *talk, words []string) error {
	var version [3]byte
	for n, word := range strings.Split(strings.TrimPrefix(words[1], "V"), ".") {
		v, err := strconv.ParseUint(word, 10, 8)
		if err != nil || n >= len(version) {
			return fmt.Errorf("version %q is not Va.b.c", words[1])
		}
		version[n] = byte(v)
	}
	list := []byte{0, 0x11, 0, 0, 0, 28, 0, 2}
	module := append([]byte{0, 1}, "6ES7 315-2EH14-0AB0 "...)
	list = append(list, append(module, 0, 0xc0, 0, 1, 0, 0)...)
	firmware := append([]byte{0, 7}, slices.Repeat([]byte{' '}, 20)...)
	list = append(list, append(firmware, 0, 0, 'V', version[0], version[1], version[2])...)
	w.s7Userdata(c, words, 4, 1, s7Item([]byte{0, 0x11, 0, 0}), s7Item(list))
	return nil
}

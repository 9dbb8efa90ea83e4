package scenario

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/otus-project/otus/simulate/wire"
)

// ports of the protocols that stay on one connection.
var ports = map[string]int{"modbus": 502, "dnp3": 20000, "s7": 102}

// talk is an open conversation of two hosts on one port.
type talk struct {
	*wire.Conversation
	transaction uint16 // Modbus
	sequence    uint8  // DNP3
	reference   uint16 // S7
	ready       bool   // the protocol's own opening is done
}

// traffic does "CLIENT > SERVER what ...", or "HOST what ...".
func (w *world) traffic(words []string) error {
	client, err := w.host(words[0])
	if err != nil {
		return err
	}
	if len(words) >= 3 && words[1] != ">" {
		return w.alone(client, words[1], words[2:])
	}
	if len(words) < 4 {
		return fmt.Errorf("want: CLIENT > SERVER what")
	}
	server, err := w.host(words[2])
	if err != nil {
		return err
	}
	key := words[0] + ">" + words[2]
	what, rest := words[3], words[4:]
	if standard, ok := ports[what]; ok {
		p, err := optionNumber(rest, "on", standard)
		if err != nil {
			return err
		}
		c := w.dial(key, client, server, uint16(p))
		switch what {
		case "modbus":
			return w.modbus(c, rest)
		case "dnp3":
			return w.dnp3(c, rest)
		}
		return w.s7(c, rest)
	}
	switch what {
	case "dns":
		return w.dns(client, server, rest)
	case "dnstcp":
		return w.dnsOverTCP(w.dial(key, client, server, 53), rest)
	case "arp":
		w.wire.ARP(client, server, slices.Contains(rest, "answered"))
	case "ping":
		w.wire.Ping(client, server, !slices.Contains(rest, "unanswered"))
	case "syn":
		return w.syn(client, server, rest)
	case "connect":
		return w.connect(client, server, rest)
	case "udp":
		return w.udp(client, server, rest)
	case "send", "answer":
		return w.send(key, client, server, what, rest)
	case "close":
		for name, talk := range w.talks {
			if strings.HasPrefix(name, key+" ") {
				talk.Close()
				delete(w.talks, name)
			}
		}
	default:
		return fmt.Errorf("%q is not known", what)
	}
	return nil
}

func (w *world) alone(host wire.Host, what string, rest []string) error {
	if what == "dhcp" {
		return w.dhcp(host, rest)
	}
	return fmt.Errorf("%q is not known", what)
}

// dial returns the open conversation of the pair on that port, opening it the first time.
func (w *world) dial(key string, client, server wire.Host, port uint16) *talk {
	key += " " + strconv.Itoa(int(port))
	c, ok := w.talks[key]
	if !ok {
		c = &talk{Conversation: w.wire.Dial(client, server, port)}
		w.talks[key] = c
	}
	return c
}

func port(words []string) (uint16, error) {
	if len(words) == 0 {
		return 0, fmt.Errorf("want a port")
	}
	n, err := strconv.ParseUint(words[0], 10, 16)
	return uint16(n), err
}

// syn: PORT [refused]: an attempt that is refused or not answered.
func (w *world) syn(client, server wire.Host, words []string) error {
	p, err := port(words)
	if err == nil {
		w.wire.Syn(client, server, p, slices.Contains(words, "refused"))
	}
	return err
}

// connect: PORT: opens a connection and closes it.
func (w *world) connect(client, server wire.Host, words []string) error {
	p, err := port(words)
	if err == nil {
		w.wire.Dial(client, server, p).Close()
	}
	return err
}

// udp: PORT [text...] [hex BYTES]
func (w *world) udp(client, server wire.Host, words []string) error {
	p, err := port(words)
	if err != nil {
		return err
	}
	data, err := bytesOf(words[1:])
	w.wire.UDP(client, 40000, server, p, data)
	return err
}

// send and answer: PORT text... or PORT hex BYTES: payload on a TCP connection.
func (w *world) send(key string, client, server wire.Host, what string, words []string) error {
	p, err := port(words)
	if err != nil {
		return err
	}
	data, err := bytesOf(words[1:])
	c := w.dial(key, client, server, p)
	if what == "send" {
		c.Request(data)
	} else {
		c.Response(data)
	}
	return err
}

func bytesOf(words []string) ([]byte, error) {
	if len(words) > 0 && words[0] == "hex" {
		return hex.DecodeString(strings.Join(words[1:], ""))
	}
	return []byte(strings.Join(words, " ")), nil
}

// answered sends the request and, unless the words say otherwise, the response.
func answered(c *talk, words []string, request, response []byte) {
	if slices.Contains(words, "unanswered") {
		c.Request(request)
		return
	}
	c.Exchange(request, response)
}

// option returns the word behind name, or fallback.
func option(words []string, name, fallback string) string {
	if at := slices.Index(words, name); at >= 0 && at+1 < len(words) {
		return words[at+1]
	}
	return fallback
}

func optionNumber(words []string, name string, fallback int) (int, error) {
	return strconv.Atoi(option(words, name, strconv.Itoa(fallback)))
}

// modbus: CODE [START COUNT-OR-VALUE] [unit N] [refused N] [unanswered], or identify VERSION, or hex BYTES (a PDU),
// or exception N: an exception sent by the client.
func (w *world) modbus(c *talk, words []string) error {
	unit, err := optionNumber(words, "unit", 1)
	if err != nil {
		return err
	}
	refused, err := optionNumber(words, "refused", 0)
	if err != nil {
		return err
	}
	var request, response []byte
	switch words[0] {
	case "identify":
		request = []byte{43, 14, 1, 0}
		response = []byte{43, 14, 1, 1, 0, 0, 3}
		for n, text := range []string{"Otus Works", "PLC-1", words[1]} {
			response = append(append(response, byte(n), byte(len(text))), text...)
		}
	case "hex":
		if request, err = hex.DecodeString(words[1]); err != nil {
			return err
		}
		response = request
	case "exception":
		c.transaction++
		c.Request(mbap(c.transaction, unit, []byte{0x83, 2}))
		return nil
	default:
		if request, response, err = modbusPDU(words); err != nil {
			return err
		}
	}
	if refused > 0 {
		response = []byte{request[0] | 0x80, byte(refused)}
	}
	c.transaction++
	answered(c, words, mbap(c.transaction, unit, request), mbap(c.transaction, unit, response))
	return nil
}

// mbap is the header of Modbus on TCP with the PDU behind it.
func mbap(transaction uint16, unit int, pdu []byte) []byte {
	out := binary.BigEndian.AppendUint16(nil, transaction)
	out = binary.BigEndian.AppendUint16(out, 0)
	out = binary.BigEndian.AppendUint16(out, uint16(len(pdu)+1))
	return append(append(out, byte(unit)), pdu...)
}

func modbusPDU(words []string) (request, response []byte, err error) {
	code, err := strconv.Atoi(words[0])
	if err != nil {
		return nil, nil, err
	}
	request = []byte{byte(code)}
	var values [2]int
	given := 0
	for n := range values {
		if len(words) > n+1 {
			if v, err := strconv.Atoi(words[n+1]); err == nil {
				values[n], given = v, n+1
			} else {
				break
			}
		}
	}
	if given == 0 {
		return request, request, nil
	}
	request = binary.BigEndian.AppendUint16(request, uint16(values[0]))
	request = binary.BigEndian.AppendUint16(request, uint16(values[1]))
	switch code {
	case 1, 2:
		n := (values[1] + 7) / 8
		response = append([]byte{byte(code), byte(n)}, make([]byte, n)...)
	case 3, 4:
		response = append([]byte{byte(code), byte(2 * values[1])}, make([]byte, 2*values[1])...)
	case 16:
		response = slices.Clone(request)
		request = append(append(request, byte(2*values[1])), make([]byte, 2*values[1])...)
	default:
		response = request
	}
	return request, response, nil
}

// dnp3 station addresses of all scripts.
const (
	dnp3Master     = 1
	dnp3Outstation = 10
)

// dnp3: FUNCTION [objects HEX] [iin HEX] [confirm] [unanswered], or unsolicited [iin HEX], or malformed.
func (w *world) dnp3(c *talk, words []string) error {
	iin, err := hex.DecodeString(option(words, "iin", "0000"))
	if err != nil {
		return err
	}
	if words[0] == "unsolicited" {
		c.sequence++
		c.Response(dnp3Frame(false, c.sequence, append([]byte{0xf0 | c.sequence&0x0f, 130}, iin...)))
		return nil
	}
	code, err := strconv.Atoi(words[0])
	if err != nil {
		return err
	}
	objects, err := hex.DecodeString(option(words, "objects", ""))
	if err != nil {
		return err
	}
	answer, err := hex.DecodeString(option(words, "answer", ""))
	if err != nil {
		return err
	}
	c.sequence++
	control := 0xc0 | c.sequence&0x0f
	if slices.Contains(words, "confirm") {
		control |= 0x20
	}
	request := dnp3Frame(true, c.sequence, append([]byte{control, byte(code)}, objects...))
	responseCode := byte(129)
	if slices.Contains(words, "challenge-error") {
		responseCode = 131
	}
	response := dnp3Frame(false, c.sequence, append(append([]byte{0xc0 | c.sequence&0x0f, responseCode}, iin...), answer...))
	answered(c, words, request, response)
	return nil
}

// dnp3Frame is a link frame (IEEE 1815 clause 9.2.4) with one transport segment.
func dnp3Frame(fromMaster bool, sequence uint8, application []byte) []byte {
	user := append([]byte{0xc0 | sequence&0x3f}, application...)
	control, to, from := byte(0x44), uint16(dnp3Master), uint16(dnp3Outstation)
	if fromMaster {
		control, to, from = 0xc4, dnp3Outstation, dnp3Master
	}
	out := []byte{0x05, 0x64, byte(5 + len(user)), control}
	out = binary.LittleEndian.AppendUint16(out, to)
	out = binary.LittleEndian.AppendUint16(out, from)
	out = binary.LittleEndian.AppendUint16(out, dnp3CRC(out))
	for len(user) > 0 {
		n := min(16, len(user))
		out = append(out, user[:n]...)
		out = binary.LittleEndian.AppendUint16(out, dnp3CRC(user[:n]))
		user = user[n:]
	}
	return out
}

// dnp3CRC is CRC-16/DNP, bit by bit.
func dnp3CRC(b []byte) uint16 {
	var c uint16
	for _, x := range b {
		c ^= uint16(x)
		for range 8 {
			if c&1 == 1 {
				c = c>>1 ^ 0xa6bc
			} else {
				c >>= 1
			}
		}
	}
	return ^c
}

// dns: ask NAME [nxdomain] [answer ADDRESS] [unanswered]
func (w *world) dns(client, server wire.Host, words []string) error {
	if len(words) < 2 || words[0] != "ask" {
		return fmt.Errorf("want: dns ask NAME")
	}
	w.frameID++
	query := dnsMessage(w.frameID, 0x0100, words[1])
	source := uint16(30000 + w.frameID%20000)
	w.wire.UDP(client, source, server, 53, query)
	w.wire.Wait(time.Millisecond)
	switch {
	case slices.Contains(words, "unanswered"):
	case slices.Contains(words, "nxdomain"):
		w.wire.UDP(server, 53, client, source, dnsMessage(w.frameID, 0x8183, words[1]))
	default:
		w.wire.UDP(server, 53, client, source, dnsMessage(w.frameID, 0x8180, words[1]))
	}
	return nil
}

func dnsMessage(id, flags uint16, name string) []byte {
	out := binary.BigEndian.AppendUint16(nil, id)
	out = binary.BigEndian.AppendUint16(out, flags)
	out = append(out, 0, 1, 0, 0, 0, 0, 0, 0)
	for _, label := range strings.Split(name, ".") {
		out = append(append(out, byte(len(label))), label...)
	}
	return append(out, 0, 0, 1, 0, 1)
}

// dnsOverTCP: NAME SIZE: asks over TCP, and is answered by a text of that many bytes.
func (w *world) dnsOverTCP(c *talk, words []string) error {
	if len(words) < 2 {
		return fmt.Errorf("want: dnstcp NAME SIZE")
	}
	size, err := strconv.Atoi(words[1])
	if err != nil {
		return err
	}
	w.frameID++
	framed := func(message []byte) []byte {
		return append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...)
	}
	answer := dnsMessage(w.frameID, 0x8180, words[0])
	answer[7] = 1
	answer = append(answer, 0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60, byte(size>>8), byte(size))
	c.Exchange(framed(dnsMessage(w.frameID, 0x0100, words[0])), framed(append(answer, make([]byte, size)...)))
	return nil
}

// dhcp: discover, request, ack or nak, by the station whose hardware address the client has.
func (w *world) dhcp(host wire.Host, words []string) error {
	kind := map[string]byte{"discover": 1, "request": 3, "ack": 5, "nak": 6}[words[0]]
	if kind == 0 {
		return fmt.Errorf("dhcp %q is not known", words[0])
	}
	nobody, all := host, host
	nobody.Addr, all.Addr, all.MAC = addrZero, addrAll, wire.Broadcast
	message := make([]byte, 236, 300)
	message[0], message[1], message[2] = 1, 1, 6
	copy(message[28:], host.MAC)
	if kind >= 5 {
		message[0] = 2
		if kind == 5 {
			copy(message[16:], host.Addr.AsSlice())
		}
	}
	message = append(message, 0x63, 0x82, 0x53, 0x63, 53, 1, kind, 255)
	if kind < 5 {
		w.wire.UDP(nobody, 68, all, 67, message)
		return nil
	}
	server, err := w.host("10.0.0.254")
	w.wire.UDP(server, 67, all, 68, message)
	return err
}

package dns

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/otus-project/otus/sensor/dissect"
)

const (
	maxName  = 255 // RFC 1035 clause 2.3.4
	maxJumps = 32
)

// Record types (IANA "Domain Name System Parameters").
const (
	typeA    = 1
	typePTR  = 12
	typeAAAA = 28
	typeOPT  = 41
)

var kinds = map[uint16]string{
	typeA: "A", 2: "NS", 5: "CNAME", 6: "SOA", typePTR: "PTR", 13: "HINFO", 15: "MX", 16: "TXT", typeAAAA: "AAAA",
	33: "SRV", 35: "NAPTR", typeOPT: "OPT", 43: "DS", 47: "NSEC", 48: "DNSKEY", 52: "TLSA", 64: "SVCB", 65: "HTTPS",
	251: "IXFR", 252: "AXFR", 255: "ANY",
}

// reader walks a message. After a false the fault says which rule was broken at at.
type reader struct {
	data  []byte
	at    int
	fault string
}

type question struct {
	name  string
	kind  uint16
	class uint16
}

type resource struct {
	name  string
	kind  uint16
	class uint16
	from  int // of the data within the message
	to    int
}

func (r *reader) question() (q question, ok bool) {
	if q.name, ok = r.name(); !ok {
		return q, false
	}
	if len(r.data)-r.at < 4 {
		r.fault = "question is cut short"
		return q, false
	}
	q.kind, q.class = binary.BigEndian.Uint16(r.data[r.at:]), binary.BigEndian.Uint16(r.data[r.at+2:])
	r.at += 4
	return q, true
}

func (r *reader) record() (v resource, ok bool) {
	if v.name, ok = r.name(); !ok {
		return v, false
	}
	if len(r.data)-r.at < 10 {
		r.fault = "record is cut short"
		return v, false
	}
	v.kind, v.class = binary.BigEndian.Uint16(r.data[r.at:]), binary.BigEndian.Uint16(r.data[r.at+2:])
	size := int(binary.BigEndian.Uint16(r.data[r.at+8:]))
	r.at += 10
	if size > len(r.data)-r.at {
		r.fault = "record data exceeds the message"
		return v, false
	}
	v.from, v.to = r.at, r.at+size
	r.at = v.to
	return v, true
}

// name reads a name at r.at (RFC 1035 clause 4.1.4). A pointer must lead to an earlier byte than all before it did, so
// that no loop is possible.
func (r *reader) name() (string, bool) {
	var b strings.Builder
	at, end, jumps, lowest := r.at, -1, 0, r.at
	for {
		if at >= len(r.data) {
			r.fault = "name exceeds the message"
			return "", false
		}
		size := int(r.data[at])
		switch {
		case size == 0:
			if end < 0 {
				end = at + 1
			}
			r.at = end
			return b.String(), true
		case size&0xc0 == 0xc0:
			if at+1 >= len(r.data) {
				r.fault = "name exceeds the message"
				return "", false
			}
			target := int(binary.BigEndian.Uint16(r.data[at:])) & 0x3fff
			if end < 0 {
				end = at + 2
			}
			jumps++
			if target >= lowest || jumps > maxJumps {
				r.fault = "compression pointer does not lead back"
				return "", false
			}
			at, lowest = target, target
			continue
		case size&0xc0 != 0:
			r.fault = "label type is unknown"
			return "", false
		case at+1+size > len(r.data):
			r.fault = "name exceeds the message"
			return "", false
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		label(&b, r.data[at+1:at+1+size])
		if b.Len() > 4*maxName { // an escaped byte takes four
			r.fault = "name is longer than 255 bytes"
			return "", false
		}
		at += 1 + size
	}
}

// label prints as master files do (RFC 1035 clause 5.1): dots and what cannot be printed are escaped. Bytes of UTF-8, which
// mDNS allows, are escaped too.
func label(b *strings.Builder, text []byte) {
	for _, c := range text {
		switch {
		case c == '.' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(b, `\%03d`, c)
		default:
			b.WriteByte(c)
		}
	}
}

// address gives the address a record ties to a name: A, AAAA, and PTR below the reverse zones.
func (v *resource) address(r *reader) (netip.Addr, string) {
	data := r.data[v.from:v.to]
	switch {
	case v.class&0x7fff != 1: // mDNS uses the upper bit (RFC 6762 clause 10.2)
	case v.kind == typeA && len(data) == 4:
		return netip.AddrFrom4([4]byte(data)), v.name
	case v.kind == typeAAAA && len(data) == 16:
		return netip.AddrFrom16([16]byte(data)), v.name
	case v.kind == typePTR:
		addr := reverse(v.name)
		if !addr.IsValid() {
			break
		}
		inner := reader{data: r.data[:v.to], at: v.from}
		if name, ok := inner.name(); ok {
			return addr, name
		}
	}
	return netip.Addr{}, ""
}

// reverse reads 5.0.0.10.in-addr.arpa as 10.0.0.5, and the nibbles of ip6.arpa likewise.
func reverse(name string) netip.Addr {
	name = strings.ToLower(name)
	if digits, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		parts := strings.Split(digits, ".")
		if len(parts) != 4 {
			return netip.Addr{}
		}
		addr, err := netip.ParseAddr(parts[3] + "." + parts[2] + "." + parts[1] + "." + parts[0])
		if err != nil {
			return netip.Addr{}
		}
		return addr
	}
	nibbles, ok := strings.CutSuffix(name, ".ip6.arpa")
	if !ok || len(nibbles) != 63 {
		return netip.Addr{}
	}
	var text strings.Builder
	for i := 62; i >= 0; i -= 2 {
		text.WriteByte(nibbles[i])
		if i%8 == 0 && i > 0 {
			text.WriteByte(':')
		}
	}
	addr, err := netip.ParseAddr(text.String())
	if err != nil {
		return netip.Addr{}
	}
	return addr
}

// detectUDP believes a datagram that is a DNS message to its last byte.
func detectUDP(p dissect.Probe) dissect.Verdict {
	data, swap := p.Forward, false
	if len(data) == 0 {
		data, swap = p.Backward, true
	}
	if !plausible(data) {
		return dissect.Verdict{}
	}
	v := dissect.Verdict{Match: dissect.Weak, Swap: swap != (binary.BigEndian.Uint16(data[2:])&flagResponse != 0)}
	if len(data) >= dissect.MaxProbe || exact(data) {
		v.Match = dissect.Strong
	}
	return v
}

// detectTCP is detectUDP behind the length.
func detectTCP(p dissect.Probe) dissect.Verdict {
	data, swap := p.Forward, false
	if len(data) == 0 {
		data, swap = p.Backward, true
	}
	if len(data) < 2+headerSize {
		return dissect.Verdict{Match: dissect.More}
	}
	size := int(binary.BigEndian.Uint16(data))
	message := data[2:]
	if size < headerSize || !plausible(message) {
		return dissect.Verdict{}
	}
	v := dissect.Verdict{Match: dissect.Weak, Swap: swap != (binary.BigEndian.Uint16(message[2:])&flagResponse != 0)}
	switch {
	case len(message) >= size && exact(message[:size]):
		v.Match = dissect.Strong
	case len(message) < size && len(data) < dissect.MaxProbe:
		v.Match = dissect.More
	}
	return v
}

// plausible judges a header: a known opcode, the reserved bit clear (RFC 1035 clause 4.1.1), some but few records.
func plausible(data []byte) bool {
	if len(data) < headerSize {
		return false
	}
	flags := binary.BigEndian.Uint16(data[2:])
	if opcodes[int(flags>>11)&0xf] == "" || flags&0x0040 != 0 {
		return false
	}
	if flags&flagResponse == 0 && flags&rcodeMask != 0 {
		return false
	}
	total := 0
	for i := 4; i < headerSize; i += 2 {
		total += int(binary.BigEndian.Uint16(data[i:]))
	}
	return total > 0 && total <= maxRecords && binary.BigEndian.Uint16(data[4:]) <= 64
}

// exact reports whether data is one message to its last byte, with known classes.
func exact(data []byte) bool {
	r := reader{data: data, at: headerSize}
	for range binary.BigEndian.Uint16(data[4:]) {
		q, ok := r.question()
		if !ok || !class(q.class) {
			return false
		}
	}
	records := int(binary.BigEndian.Uint16(data[6:])) + int(binary.BigEndian.Uint16(data[8:])) + int(binary.BigEndian.Uint16(data[10:]))
	for range records {
		v, ok := r.record()
		if !ok || v.kind != typeOPT && !class(v.class) { // OPT keeps a size there (RFC 6891)
			return false
		}
	}
	return r.at == len(data)
}

func class(c uint16) bool {
	switch c & 0x7fff {
	case 1, 3, 4, 254, 255: // IN, CH, HS, NONE, ANY; the upper bit is mDNS's
		return true
	}
	return false
}

package native

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// parseIPv4 reads an address with an optional prefix length; 32 without one.
func parseIPv4(s string) (ip uint32, bits int, ok bool) {
	s = strings.TrimSpace(s)
	host, prefix, has := strings.Cut(s, "/")
	bits = 32
	if has {
		n, err := strconv.Atoi(prefix)
		if err != nil || n < 0 || n > 32 {
			return 0, 0, false
		}
		bits = n
	}
	parts := strings.Split(host, ".")
	if len(parts) != 4 {
		return 0, 0, false
	}
	for _, part := range parts {
		n, ok := digits(part, 3)
		if !ok || n > 255 {
			return 0, 0, false
		}
		ip = ip<<8 | uint32(n)
	}
	return ip, bits, true
}

func mask(bits int) uint32 {
	if bits <= 0 {
		return 0
	}
	return ^uint32(0) << (32 - bits)
}

func formatIPv4(ip uint32) string {
	return fmt.Sprintf("%d.%d.%d.%d", ip>>24, ip>>16&255, ip>>8&255, ip&255)
}

// inRangeIPv4 tells whether the address lies in the network.
func inRangeIPv4(ip, network string) (in, ok bool) {
	a, _, ok1 := parseIPv4(ip)
	b, bits, ok2 := parseIPv4(network)
	return a&mask(bits) == b&mask(bits), ok1 && ok2
}

// parseIPv6 reads an IPv6 or IPv4 address with an optional prefix length as 128 bits.
func parseIPv6(s string) (addr netip.Addr, bits int, ok bool) {
	host, prefix, has := strings.Cut(strings.TrimSpace(s), "/")
	a, err := netip.ParseAddr(host)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, 0, false
	}
	bits = 128
	if has {
		n, err := strconv.Atoi(prefix)
		if err != nil || n < 0 || n > 128 || a.Is4() && n > 32 {
			return netip.Addr{}, 0, false
		}
		bits = n
		if a.Is4() {
			bits += 96
		}
	}
	return netip.AddrFrom16(a.As16()), bits, true
}

func maskIPv6(a netip.Addr, bits int) netip.Addr {
	b := a.As16()
	for i := range b {
		switch left := bits - i*8; {
		case left <= 0:
			b[i] = 0
		case left < 8:
			b[i] &= ^byte(0) << (8 - left)
		}
	}
	return netip.AddrFrom16(b)
}

var privateRanges = []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"}

func addresses() []Function {
	return []Function{
		of("parse_ipv4", "t:l", func(a []Value) Value {
			ip, bits, ok := parseIPv4(a[0].S)
			return orNull(long, int64(ip&mask(bits)), ok)
		}),
		of("parse_ipv4_mask", "tl:l", func(a []Value) Value {
			ip, bits, ok := parseIPv4(a[0].S)
			return orNull(long, int64(ip&mask(min(bits, int(a[1].I)))), ok && a[1].I >= 0 && a[1].I <= 32)
		}),
		of("ipv4_is_private", "t:b", func(a []Value) Value {
			ip, bits, ok := parseIPv4(a[0].S)
			if !ok {
				return null
			}
			for _, r := range privateRanges {
				network, size, _ := parseIPv4(r)
				if bits >= size && ip&mask(size) == network {
					return truth(true)
				}
			}
			return truth(false)
		}),
		of("ipv4_is_in_range", "tt:b", func(a []Value) Value { in, ok := inRangeIPv4(a[0].S, a[1].S); return orNull(truth, in, ok) }),
		of("ipv4_is_in_any_range", "tt:b", func(a []Value) Value {
			list, ok := parseJSON(a[1].S)
			if _, _, good := parseIPv4(a[0].S); !ok || !good || list.kind != jsonArray {
				return null
			}
			for _, r := range list.items {
				if in, ok := inRangeIPv4(a[0].S, r.plain()); in && ok {
					return truth(true)
				}
			}
			return truth(false)
		}),
		of("ipv4_compare", "ttl:l", func(a []Value) Value {
			x, xb, ok1 := parseIPv4(a[0].S)
			y, yb, ok2 := parseIPv4(a[1].S)
			if !ok1 || !ok2 || a[2].I < 0 || a[2].I > 32 {
				return null
			}
			m := mask(min(xb, yb, int(a[2].I)))
			switch x, y = x&m, y&m; {
			case x < y:
				return long(-1)
			case x > y:
				return long(1)
			}
			return long(0)
		}),
		of("ipv4_netmask_suffix", "t:l", func(a []Value) Value { _, bits, ok := parseIPv4(a[0].S); return orNull(long, int64(bits), ok) }),
		of("format_ipv4", "tl:t", func(a []Value) Value {
			ip, bits, ok := parseIPv4(a[0].S)
			if n, isNumber := ParseLong(a[0].S); isNumber && n >= 0 && n <= 1<<32-1 {
				ip, bits, ok = uint32(n), 32, true
			}
			if !ok || a[1].I < 0 || a[1].I > 32 {
				return text("")
			}
			return text(formatIPv4(ip & mask(min(bits, int(a[1].I)))))
		}),
		of("format_ipv4_mask", "tl:t", func(a []Value) Value {
			ip, bits, ok := parseIPv4(a[0].S)
			if n, isNumber := ParseLong(a[0].S); isNumber && n >= 0 && n <= 1<<32-1 {
				ip, bits, ok = uint32(n), 32, true
			}
			if !ok || a[1].I < 0 || a[1].I > 32 {
				return text("")
			}
			bits = min(bits, int(a[1].I))
			return text(formatIPv4(ip&mask(bits)) + "/" + strconv.Itoa(bits))
		}),
		of("has_ipv4", "ttb:b", func(a []Value) Value { return truth(hasIPv4(a[0].S, a[1].S, a[2].B)) }),
		of("has_any_ipv4", "ttb:b", func(a []Value) Value {
			list, ok := parseJSON(a[1].S)
			if !ok || list.kind != jsonArray {
				return truth(false)
			}
			for _, ip := range list.items {
				if hasIPv4(a[0].S, ip.plain(), a[2].B) {
					return truth(true)
				}
			}
			return truth(false)
		}),
		of("ipv6_compare", "ttl:l", func(a []Value) Value {
			x, xb, ok1 := parseIPv6(a[0].S)
			y, yb, ok2 := parseIPv6(a[1].S)
			if !ok1 || !ok2 || a[2].I < 0 || a[2].I > 128 {
				return null
			}
			bits := min(xb, yb, int(a[2].I))
			return long(int64(maskIPv6(x, bits).Compare(maskIPv6(y, bits))))
		}),
		of("ipv6_is_in_range", "tt:b", func(a []Value) Value {
			x, _, ok1 := parseIPv6(a[0].S)
			y, bits, ok2 := parseIPv6(a[1].S)
			return orNull(truth, ok1 && ok2 && maskIPv6(x, bits) == maskIPv6(y, bits), ok1 && ok2)
		}),
		of("ipv6_is_in_any_range", "tt:b", func(a []Value) Value {
			list, ok := parseJSON(a[1].S)
			x, _, good := parseIPv6(a[0].S)
			if !ok || !good || list.kind != jsonArray {
				return null
			}
			for _, r := range list.items {
				if y, bits, ok := parseIPv6(r.plain()); ok && maskIPv6(x, bits) == maskIPv6(y, bits) {
					return truth(true)
				}
			}
			return truth(false)
		}),
		of("parse_ipv6", "tl:t", func(a []Value) Value {
			x, bits, ok := parseIPv6(a[0].S)
			if !ok || a[1].I < 0 || a[1].I > 128 {
				return text("")
			}
			return text(expandIPv6(maskIPv6(x, min(bits, int(a[1].I)))))
		}),
	}
}

// hasIPv4 looks for an address, or with prefix for the beginning of one, that no letter, digit or dot touches.
func hasIPv4(s, ip string, prefix bool) bool {
	if prefix {
		if !strings.HasSuffix(ip, ".") && strings.Count(ip, ".") != 3 {
			return false
		}
	} else if _, _, ok := parseIPv4(ip); !ok || strings.Contains(ip, "/") {
		return false
	}
	for at := 0; ; {
		i := strings.Index(s[at:], ip)
		if i < 0 {
			return false
		}
		i += at
		end := i
		for end < len(s) && (s[end] >= '0' && s[end] <= '9' || s[end] == '.') {
			end++
		}
		word := strings.TrimRight(s[i:end], ".")
		_, _, whole := parseIPv4(word)
		if (i == 0 || !isAddressByte(s[i-1])) && (end == len(s) || !isAddressByte(s[end])) && whole && (prefix || word == ip) {
			return true
		}
		at = i + 1
	}
}

func isAddressByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '.'
}

// expandIPv6 writes all eight groups with four digits.
func expandIPv6(a netip.Addr) string {
	b := a.As16()
	groups := make([]string, 8)
	for i := range groups {
		groups[i] = fmt.Sprintf("%02x%02x", b[2*i], b[2*i+1])
	}
	return strings.Join(groups, ":")
}

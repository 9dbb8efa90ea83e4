package native

import (
	"crypto/md5"  //nolint:gosec // hash_md5 is a function of the language
	"crypto/sha1" //nolint:gosec // hash_sha1 likewise
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"strconv"
	"strings"
	"unicode/utf8"
)

func encodings() []Function {
	each := func(name string, f func(string) Value) Function {
		return of(name, "t:t", func(a []Value) Value { return f(a[0].S) })
	}
	return []Function{
		each("base64_encode", func(s string) Value { return text(base64.StdEncoding.EncodeToString([]byte(s))) }),
		each("base64_decode", func(s string) Value {
			b, ok := decodeBase64(s)
			return orNull(text, string(b), ok && utf8.Valid(b))
		}),
		each("base64_decode_array", func(s string) Value {
			b, ok := decodeBase64(s)
			if !ok {
				return null
			}
			items := make([]node, len(b))
			for i, c := range b {
				items[i] = longNode(int64(c))
			}
			return text(arrayNode(items).text())
		}),
		each("hash_md5", func(s string) Value { h := md5.Sum([]byte(s)); return text(hex.EncodeToString(h[:])) }),   //nolint:gosec // see above
		each("hash_sha1", func(s string) Value { h := sha1.Sum([]byte(s)); return text(hex.EncodeToString(h[:])) }), //nolint:gosec // see above
		each("hash_sha256", func(s string) Value { h := sha256.Sum256([]byte(s)); return text(hex.EncodeToString(h[:])) }),
		of("hash", "t:l", func(a []Value) Value { return long(int64(xxhash64([]byte(a[0].S)))) }),
		of("hash_long", "l:l", func(a []Value) Value {
			return long(int64(xxhash64(binary.LittleEndian.AppendUint64(nil, uint64(a[0].I)))))
		}),
		each("url_encode", func(s string) Value { return text(urlEncode(s, true)) }),
		each("url_encode_component", func(s string) Value { return text(urlEncode(s, false)) }),
		each("url_decode", func(s string) Value { return text(urlDecode(s)) }),
		of("tohex", "ll:t", func(a []Value) Value {
			s := strconv.FormatUint(uint64(a[0].I), 16)
			if n := int(a[1].I); n > len(s) && n <= 64 {
				s = strings.Repeat("0", n-len(s)) + s
			}
			return text(s)
		}),
	}
}

func decodeBase64(s string) ([]byte, bool) {
	s = strings.TrimSpace(s)
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		b, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "="))
	}
	return b, err == nil
}

func urlEncode(s string, plus bool) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.!*()", c) >= 0:
			b.WriteByte(c)
		case c == ' ' && plus:
			b.WriteByte('+')
		default:
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	return b.String()
}

// urlDecode leaves what is not an escape as it stands.
func urlDecode(s string) string {
	var b []byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			b = append(b, ' ')
		case c == '%' && i+2 < len(s):
			if v, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b = append(b, byte(v))
				i += 2
				continue
			}
			b = append(b, c)
		default:
			b = append(b, c)
		}
	}
	return strings.ToValidUTF8(string(b), "\uFFFD")
}

// xxhash64 is the XXH64 hash with seed 0, the public algorithm by Yann Collet.
func xxhash64(b []byte) uint64 {
	const p1, p2, p3, p4, p5 = 11400714785074694791, 14029467366897019727, 1609587929392839161, 9650029242287828579, 2870177450012600261
	round := func(acc, input uint64) uint64 { return bits.RotateLeft64(acc+input*p2, 31) * p1 }
	merge := func(acc, v uint64) uint64 { return (acc^round(0, v))*p1 + p4 }
	size := uint64(len(b))
	var h uint64
	if size >= 32 {
		one, two := uint64(p1), uint64(p2)
		v := [4]uint64{one + two, two, 0, -one}
		for len(b) >= 32 {
			for i := range v {
				v[i] = round(v[i], binary.LittleEndian.Uint64(b[i*8:]))
			}
			b = b[32:]
		}
		h = bits.RotateLeft64(v[0], 1) + bits.RotateLeft64(v[1], 7) + bits.RotateLeft64(v[2], 12) + bits.RotateLeft64(v[3], 18)
		for _, x := range v {
			h = merge(h, x)
		}
	} else {
		h = p5
	}
	h += size
	for ; len(b) >= 8; b = b[8:] {
		h = bits.RotateLeft64(h^round(0, binary.LittleEndian.Uint64(b)), 27)*p1 + p4
	}
	if len(b) >= 4 {
		h = bits.RotateLeft64(h^uint64(binary.LittleEndian.Uint32(b))*p1, 23)*p2 + p3
		b = b[4:]
	}
	for _, c := range b {
		h = bits.RotateLeft64(h^uint64(c)*p5, 11) * p1
	}
	h ^= h >> 33
	h *= p2
	h ^= h >> 29
	h *= p3
	return h ^ h>>32
}

package simulate

import (
	"encoding/binary"
	"strings"
)

// modbus frames a Modbus/TCP message: MBAP header, unit, function and data.
func modbus(transaction uint16, unit, function byte, data ...byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, transaction)
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(2+len(data)))
	return append(append(b, unit, function), data...)
}

// words prints 16-bit values big-endian.
func words(values ...uint16) []byte {
	var b []byte
	for _, v := range values {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return b
}

// modbusIdentification answers function 43/14 (read device identification, basic) with the three objects.
func modbusIdentification(transaction uint16, unit byte, vendor, product, revision string) []byte {
	data := []byte{14, 1, 1, 0, 0, 3}
	for i, value := range []string{vendor, product, revision} {
		data = append(append(data, byte(i), byte(len(value))), value...)
	}
	return modbus(transaction, unit, 43, data...)
}

// tpkt frames COTP bytes for ISO on TCP (RFC 1006).
func tpkt(cotp []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{3, 0}, uint16(4+len(cotp))), cotp...)
}

// cotpConnect and cotpConfirm open the ISO transport to rack 0, slot 2.
func cotpConnect() []byte {
	return tpkt([]byte{17, 0xe0, 0, 0, 0, 1, 0, 0xc0, 1, 10, 0xc1, 2, 1, 0, 0xc2, 2, 1, 2})
}

func cotpConfirm() []byte {
	return tpkt([]byte{17, 0xd0, 0, 1, 0, 7, 0, 0xc0, 1, 10, 0xc1, 2, 1, 0, 0xc2, 2, 1, 2})
}

// s7 frames an S7 message; kind is ROSCTR (1 job, 3 answer, 7 userdata).
func s7(kind byte, reference uint16, parameter, data []byte) []byte {
	b := []byte{2, 0xf0, 0x80, 0x32, kind, 0, 0}
	b = binary.BigEndian.AppendUint16(b, reference)
	b = binary.BigEndian.AppendUint16(b, uint16(len(parameter)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	if kind == 3 {
		b = append(b, 0, 0)
	}
	return tpkt(append(append(b, parameter...), data...))
}

// s7Setup is the parameter of setup communication, job and answer alike.
func s7Setup() []byte { return []byte{0xf0, 0, 0, 1, 0, 1, 1, 0xe0} }

// s7Address names bytes of a data block, as an item of read and write.
func s7Address(block, start, count uint16) []byte {
	b := []byte{0x12, 10, 0x10, 2}
	b = binary.BigEndian.AppendUint16(b, count)
	b = binary.BigEndian.AppendUint16(b, block)
	bit := uint32(start) * 8
	return append(b, 0x84, byte(bit>>16), byte(bit>>8), byte(bit))
}

// s7Values carries values as the data of a read's answer (result 0xff) or a write (result 0).
func s7Values(result byte, values []byte) []byte {
	b := []byte{result, 4}
	b = binary.BigEndian.AppendUint16(b, uint16(len(values)*8))
	return append(b, values...)
}

// s7Stop is the parameter of the PLC stop job.
func s7Stop() []byte {
	return append([]byte{0x29, 0, 0, 0, 0, 0, 9}, "P_PROGRAM"...)
}

// s7StartUpload asks for a block, such as "_0800001P" for OB 1.
func s7StartUpload(block string) []byte {
	return append([]byte{0x1d, 0, 0, 0, 0, 0, 0, 0, byte(len(block))}, block...)
}

// s7UserRequest is the parameter of a userdata request of that group and subfunction.
func s7UserRequest(group, subfunction byte) []byte {
	return []byte{0, 1, 0x12, 4, 0x11, 0x40 | group, subfunction, 0}
}

// s7UserAnswer is the parameter of its answer.
func s7UserAnswer(group, subfunction byte) []byte {
	return []byte{0, 1, 0x12, 8, 0x12, 0x80 | group, subfunction, 1, 0, 0, 0, 0}
}

// s7SZL answers SZL 0x0011, module identification: order number and firmware.
func s7SZL(order string, major, minor, patch byte) []byte {
	record := func(index uint16, text string, last []byte) []byte {
		b := binary.BigEndian.AppendUint16(nil, index)
		b = append(b, text...)
		b = append(b, strings.Repeat(" ", 20-len(text))...)
		b = append(b, 0, 0)
		return append(b, last...)
	}
	list := append([]byte{0, 0x11, 0, 0}, words(28, 2)...)
	list = append(list, record(1, order, []byte{0, 1, 0, 1})...)
	list = append(list, record(7, "", []byte{'V', major, minor, patch})...)
	return append(binary.BigEndian.AppendUint16([]byte{0xff, 9}, uint16(len(list))), list...)
}

// dnp3 frames an application fragment: link header and data blocks with their CRCs, one transport segment.
func dnp3(fromMaster bool, destination, source uint16, application []byte) []byte {
	control := byte(0x44)
	if fromMaster {
		control = 0xc4
	}
	user := append([]byte{0xc0}, application...)
	header := []byte{0x05, 0x64, byte(5 + len(user)), control}
	header = binary.LittleEndian.AppendUint16(header, destination)
	header = binary.LittleEndian.AppendUint16(header, source)
	out := binary.LittleEndian.AppendUint16(header, dnp3CRC(header))
	for len(user) > 0 {
		n := min(16, len(user))
		out = append(out, user[:n]...)
		out = binary.LittleEndian.AppendUint16(out, dnp3CRC(user[:n]))
		user = user[n:]
	}
	return out
}

// dnp3CRC is the link layer's check: polynomial 0x3d65, reflected, complemented (IEEE 1815-2012, clause 9.2.4.3).
func dnp3CRC(b []byte) uint16 {
	var crc uint16
	for _, x := range b {
		crc ^= uint16(x)
		for range 8 {
			if crc&1 == 1 {
				crc = crc>>1 ^ 0xa6bc
			} else {
				crc >>= 1
			}
		}
	}
	return ^crc
}

// dnsQuery asks for the address of name; dnsAnswer gives it.
func dnsQuery(id uint16, name string) []byte {
	b := words(id, 0x0100, 1, 0, 0, 0)
	return append(append(b, dnsName(name)...), 0, 1, 0, 1)
}

func dnsAnswer(id uint16, name string, address [4]byte) []byte {
	b := words(id, 0x8180, 1, 1, 0, 0)
	b = append(append(b, dnsName(name)...), 0, 1, 0, 1)
	b = append(b, 0xc0, 12, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4)
	return append(b, address[:]...)
}

func dnsName(name string) []byte {
	var b []byte
	for _, label := range strings.Split(name, ".") {
		b = append(append(b, byte(len(label))), label...)
	}
	return append(b, 0)
}

// dhcpMessage is a DHCP message of that type (1 discover .. 5 ack) for a client with that name.
func dhcpMessage(kind byte, transaction uint32, mac []byte, client, your [4]byte, name string) []byte {
	b := make([]byte, 236)
	b[0], b[1], b[2] = 1, 1, 6
	if kind == 2 || kind == 5 {
		b[0] = 2
	}
	binary.BigEndian.PutUint32(b[4:], transaction)
	copy(b[12:], client[:])
	copy(b[16:], your[:])
	copy(b[28:], mac)
	b = append(b, 99, 130, 83, 99, 53, 1, kind)
	if name != "" {
		b = append(append(b, 12, byte(len(name))), name...)
	}
	return append(b, 255)
}

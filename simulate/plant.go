// Package simulate writes captures of a plant that never existed: Harrow Vale, a small water works with
// four controllers, two operator stations, a historian, an engineering station and a telemetry master. The benign
// part is what a sensor learns from; the attack goes through the works in steps. Equal seeds and start times give
// equal bytes.
package simulate

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/otus-project/otus/simulate/wire"
)

// Plant is the works. The zero value is not usable; call New.
type Plant struct {
	random *rand.Rand

	intake, dosing, filter, reservoir wire.Host // controllers
	hmi1, hmi2, historian             wire.Host
	engineering, telemetry, services  wire.Host
	laptop                            wire.Host // not part of the plant: the attacker's

	transaction uint16
	links       map[string]*wire.Conversation
	sequence    byte // DNP3 application sequence
	dose        uint16
}

// New makes the plant; seed varies values and small delays.
func New(seed uint64) *Plant {
	return &Plant{
		random:      rand.New(rand.NewPCG(seed, 0x07)),
		intake:      wire.NewHost("10.20.10.11", "00:80:f4:11:20:01"),
		dosing:      wire.NewHost("10.20.10.22", "00:80:f4:11:20:02"),
		filter:      wire.NewHost("10.20.10.33", "00:1b:1b:33:10:03"),
		reservoir:   wire.NewHost("10.20.10.44", "00:30:a7:44:10:04"),
		hmi1:        wire.NewHost("10.20.20.21", "00:d0:c9:21:20:01"),
		hmi2:        wire.NewHost("10.20.20.22", "00:d0:c9:22:20:02"),
		historian:   wire.NewHost("10.20.20.35", "00:14:22:35:20:03"),
		engineering: wire.NewHost("10.20.20.41", "00:14:22:41:20:04"),
		telemetry:   wire.NewHost("10.20.20.51", "00:14:22:51:20:05"),
		services:    wire.NewHost("10.20.20.5", "00:50:56:05:20:06"),
		laptop:      wire.NewHost("10.20.20.99", "00:1a:4b:99:20:99"),
		links:       map[string]*wire.Conversation{},
		dose:        120,
	}
}

// LearningCycle is the time between two rounds of polling in Learn.
const LearningCycle = 5 * time.Minute

// Learn records benign days, ending at end: polling rounds, the operators' daily writes, the weekly look of the
// engineering station, name lookups, leases and ARP.
func (p *Plant) Learn(r *wire.Recorder, end time.Time, days int) {
	start := end.Add(-time.Duration(days) * 24 * time.Hour)
	clear(p.links)
	round := 0
	for at := start; at.Before(end); at = at.Add(LearningCycle) {
		r.Now = at.Add(time.Duration(p.random.IntN(400)) * time.Millisecond)
		ofDay := at.Sub(start) % (24 * time.Hour)
		if ofDay == 0 {
			p.daily(r)
		}
		if ofDay == 8*time.Hour || ofDay == 20*time.Hour {
			p.shift(r)
		}
		if at.Sub(start)%(7*24*time.Hour) == 10*time.Hour {
			p.inspect(r)
		}
		if round%12 == 0 {
			p.hourly(r)
		}
		p.poll(r)
		round++
	}
}

// daily opens the day's connections and renews leases and addresses.
func (p *Plant) daily(r *wire.Recorder) {
	for _, name := range []string{"hmi1-intake", "hmi1-dosing", "hist-intake", "hist-dosing", "hmi2-filter", "hist-filter", "scada-reservoir"} {
		if c := p.links[name]; c != nil {
			c.Close()
		}
		delete(p.links, name)
	}
	for _, h := range []wire.Host{p.hmi1, p.hmi2, p.historian, p.engineering, p.telemetry} {
		r.ARP(h, p.services, true)
	}
	var none [4]byte
	for _, lease := range []struct {
		host wire.Host
		name string
	}{{p.hmi1, "HMI-01"}, {p.hmi2, "HMI-02"}, {p.historian, "HIST-01"}, {p.engineering, "EWS-02"}, {p.telemetry, "SCADA-01"}} {
		id := p.random.Uint32()
		r.UDP(lease.host, 68, p.services, 67, dhcpMessage(3, id, lease.host.MAC, lease.host.Addr.As4(), none, lease.name))
		r.UDP(p.services, 67, lease.host, 68, dhcpMessage(5, id, lease.host.MAC, lease.host.Addr.As4(), lease.host.Addr.As4(), ""))
	}
}

// hourly is the telemetry master's integrity poll, its ping, and the name lookups.
func (p *Plant) hourly(r *wire.Recorder) {
	p.dnp3Exchange(r, 1, []byte{60, 2, 6, 60, 3, 6, 60, 4, 6, 60, 1, 6}, p.measurements())
	r.Ping(p.telemetry, p.reservoir, true)
	for _, q := range []struct {
		host wire.Host
		name string
		addr [4]byte
	}{
		{p.hmi1, "hist.harrowvale.example", p.historian.Addr.As4()},
		{p.hmi2, "hist.harrowvale.example", p.historian.Addr.As4()},
		{p.historian, "time.harrowvale.example", p.services.Addr.As4()},
		{p.engineering, "time.harrowvale.example", p.services.Addr.As4()},
	} {
		p.lookup(r, q.host, q.name, q.addr)
	}
}

func (p *Plant) lookup(r *wire.Recorder, host wire.Host, name string, address [4]byte) {
	id := uint16(p.random.Uint32())
	port := 49152 + uint16(p.random.IntN(8192))
	r.UDP(host, port, p.services, 53, dnsQuery(id, name))
	r.Wait(time.Millisecond)
	r.UDP(p.services, 53, host, port, dnsAnswer(id, name, address))
}

// poll is one round of reading by operator stations, historian and telemetry.
func (p *Plant) poll(r *wire.Recorder) {
	p.modbusRead(r, "hmi1-intake", p.hmi1, p.intake, 3, 0, 20)
	p.modbusRead(r, "hmi1-dosing", p.hmi1, p.dosing, 3, 0, 30)
	p.modbusRead(r, "hist-intake", p.historian, p.intake, 4, 0, 16)
	p.modbusRead(r, "hist-dosing", p.historian, p.dosing, 4, 0, 16)
	p.s7Read(r, "hmi2-filter", p.hmi2, 10, 0, 32)
	p.s7Read(r, "hist-filter", p.historian, 11, 0, 64)
	p.dnp3Exchange(r, 1, []byte{60, 2, 6}, nil)
}

// shift is what operators do at a change of shift: set the chlorine dose, adjust a filter, work a valve.
func (p *Plant) shift(r *wire.Recorder) {
	p.dose = 110 + uint16(p.random.IntN(30))
	p.modbusWrite(r, "hmi1-dosing", p.hmi1, p.dosing, 12, p.dose)
	p.s7Write(r, "hmi2-filter", p.hmi2, 10, 4, words(uint16(p.random.IntN(500))))
	crob := append([]byte{12, 1, 0x28, 1, 0, 3, 0}, relay()...)
	p.dnp3Exchange(r, 3, crob, crob)
	p.dnp3Exchange(r, 4, crob, crob)
}

// relay is a control relay output block: latch on, once, with status success (IEEE 1815-2012, A.8).
func relay() []byte { return []byte{3, 1, 0xe8, 3, 0, 0, 0, 0, 0, 0, 0} }

// inspect is the weekly look of the engineering station: who are you, of the two makes of controller.
func (p *Plant) inspect(r *wire.Recorder) {
	for _, plc := range []struct {
		host    wire.Host
		product string
	}{{p.intake, "BMX P34 2020"}, {p.dosing, "BMX P34 2030"}} {
		c := r.Dial(p.engineering, plc.host, 502)
		p.transaction++
		c.Exchange(modbus(p.transaction, 1, 43, 14, 1, 0),
			modbusIdentification(p.transaction, 1, "Schneider Electric", plc.product, "v3.40"))
		c.Close()
	}
	c := p.s7Connect(r, p.engineering, p.filter)
	c.Exchange(s7(7, 2, s7UserRequest(4, 1), []byte{0xff, 9, 0, 4, 0, 0x11, 0, 0}),
		s7(7, 2, s7UserAnswer(4, 1), s7SZL("6ES7 315-2EH14-0AB0", 3, 2, 6)))
	c.Close()
}

func (p *Plant) modbusLink(r *wire.Recorder, link string, client, server wire.Host) *wire.Conversation {
	if p.links[link] == nil {
		p.links[link] = r.Dial(client, server, 502)
	}
	return p.links[link]
}

func (p *Plant) modbusRead(r *wire.Recorder, link string, client, server wire.Host, function byte, start, count uint16) {
	c := p.modbusLink(r, link, client, server)
	p.transaction++
	answer := []byte{byte(2 * count)}
	for range count {
		answer = binary.BigEndian.AppendUint16(answer, uint16(p.random.IntN(1000)))
	}
	c.Exchange(modbus(p.transaction, 1, function, words(start, count)...), modbus(p.transaction, 1, function, answer...))
}

func (p *Plant) modbusWrite(r *wire.Recorder, link string, client, server wire.Host, register, value uint16) {
	c := p.modbusLink(r, link, client, server)
	p.transaction++
	m := modbus(p.transaction, 1, 6, words(register, value)...)
	c.Exchange(m, m)
}

func (p *Plant) s7Connect(r *wire.Recorder, client, server wire.Host) *wire.Conversation {
	c := r.Dial(client, server, 102)
	c.Exchange(cotpConnect(), cotpConfirm())
	c.Exchange(s7(1, 1, s7Setup(), nil), s7(3, 1, s7Setup(), nil))
	return c
}

func (p *Plant) s7Link(r *wire.Recorder, link string, client wire.Host) *wire.Conversation {
	if p.links[link] == nil {
		p.links[link] = p.s7Connect(r, client, p.filter)
	}
	return p.links[link]
}

func (p *Plant) s7Read(r *wire.Recorder, link string, client wire.Host, block, start, count uint16) {
	c := p.s7Link(r, link, client)
	p.transaction++
	values := make([]byte, count)
	for i := range values {
		values[i] = byte(p.random.Uint32())
	}
	c.Exchange(s7(1, p.transaction, append([]byte{4, 1}, s7Address(block, start, count)...), nil),
		s7(3, p.transaction, []byte{4, 1}, s7Values(0xff, values)))
}

func (p *Plant) s7Write(r *wire.Recorder, link string, client wire.Host, block, start uint16, values []byte) {
	c := p.s7Link(r, link, client)
	p.transaction++
	c.Exchange(s7(1, p.transaction, append([]byte{5, 1}, s7Address(block, start, uint16(len(values)))...), s7Values(0, values)),
		s7(3, p.transaction, []byte{5, 1}, []byte{0xff}))
}

// The telemetry master is DNP3 address 1, the reservoir's outstation 10.
const dnp3Master, dnp3Outstation = 1, 10

func (p *Plant) dnp3Exchange(r *wire.Recorder, function byte, request, answer []byte) {
	if p.links["scada-reservoir"] == nil {
		p.links["scada-reservoir"] = r.Dial(p.telemetry, p.reservoir, 20000)
	}
	p.sequence = (p.sequence + 1) % 16
	p.links["scada-reservoir"].Exchange(
		dnp3(true, dnp3Outstation, dnp3Master, append([]byte{0xc0 | p.sequence, function}, request...)),
		dnp3(false, dnp3Master, dnp3Outstation, append([]byte{0xc0 | p.sequence, 129, 0, 0}, answer...)))
}

// measurements is group 30 variation 2: four 16-bit analog inputs with flags.
func (p *Plant) measurements() []byte {
	b := []byte{30, 2, 0, 0, 3}
	for range 4 {
		b = append(b, 1)
		b = binary.LittleEndian.AppendUint16(b, uint16(p.random.IntN(4000)))
	}
	return b
}

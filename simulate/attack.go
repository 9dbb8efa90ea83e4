package simulate

import (
	"fmt"
	"time"

	"github.com/otus-project/otus/simulate/wire"
)

// AttackLength is the time from the first to the last step of Attack; polling goes on a little longer.
const AttackLength = 72 * time.Second

// MaliciousDomain is what the infected historian asks for; its parent stands on the shipped indicator list and, as a name
// under .example (RFC 2606), exists nowhere.
const MaliciousDomain = "update.malware.example"

// Step is one move of the attack.
type Step struct {
	At    time.Duration // after the start
	Title string
	play  func(*Plant, *wire.Recorder)
}

// Steps is the story in order: a stranger plugs in, looks around, changes the chlorine dose, takes a controller's
// program, stops it, and restarts the reservoir's outstation.
func Steps() []Step {
	return []Step{
		{2 * time.Second, "an unknown laptop appears beside the operator stations", (*Plant).arrive},
		{6 * time.Second, "it sweeps the controllers' addresses", (*Plant).sweep},
		{16 * time.Second, "it tries the ports of the dosing controller", (*Plant).tryPorts},
		{22 * time.Second, "it asks the dosing controller who it is", (*Plant).identify},
		{28 * time.Second, "it writes a chlorine dose of 8.50 mg/L", (*Plant).poison},
		{34 * time.Second, "it reads registers that do not exist", (*Plant).grope},
		{42 * time.Second, "the engineering station takes the filter controller's program", (*Plant).steal},
		{48 * time.Second, "the engineering station stops the filter controller", (*Plant).stop},
		{56 * time.Second, "the historian asks for a domain on the threat list", (*Plant).callHome},
		{62 * time.Second, "the laptop restarts the reservoir's outstation", (*Plant).restart},
		{70 * time.Second, "the laptop leaves a test file on the historian", (*Plant).drop},
	}
}

// Attack records the attack beginning at start, over polling that goes on until 20 s after the last step.
func (p *Plant) Attack(r *wire.Recorder, start time.Time) {
	clear(p.links)
	steps := Steps()
	for at := time.Duration(0); at <= AttackLength+20*time.Second; at += time.Second {
		r.Now = later(r.Now, start.Add(at))
		if at%(2*time.Second) == 0 {
			p.poll(r)
		}
		for len(steps) > 0 && steps[0].At == at {
			r.Now = later(r.Now, start.Add(at+300*time.Millisecond))
			steps[0].play(p, r)
			steps = steps[1:]
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (p *Plant) arrive(r *wire.Recorder) {
	r.ARP(p.laptop, p.services, true)
	r.Ping(p.laptop, p.services, true)
	r.ARP(p.laptop, p.dosing, true)
}

func (p *Plant) sweep(r *wire.Recorder) {
	live := map[int]wire.Host{11: p.intake, 22: p.dosing}
	for i := 1; i <= 60; i++ {
		target := wire.NewHost(fmt.Sprintf("10.20.10.%d", i), "")
		if host, ok := live[i]; ok {
			r.Dial(p.laptop, host, 502).Reset()
		} else {
			r.Syn(p.laptop, target, 502, false)
		}
		r.Wait(40 * time.Millisecond)
	}
}

func (p *Plant) tryPorts(r *wire.Recorder) {
	for port := uint16(20); port < 55; port++ {
		r.Syn(p.laptop, p.dosing, port, true)
		r.Wait(30 * time.Millisecond)
	}
}

func (p *Plant) identify(r *wire.Recorder) {
	c := r.Dial(p.laptop, p.dosing, 502)
	p.links["laptop"] = c
	c.Exchange(modbus(1, 1, 43, 14, 1, 0), modbusIdentification(1, 1, "Schneider Electric", "BMX P34 2030", "v3.40"))
	p.modbusRead(r, "laptop", p.laptop, p.dosing, 3, 0, 30)
}

// poison writes register 12, the dose in hundredths of mg/L, and a block no one ever touched.
func (p *Plant) poison(r *wire.Recorder) {
	c := p.modbusLink(r, "laptop", p.laptop, p.dosing)
	c.Exchange(modbus(2, 1, 16, append(words(12, 1), append([]byte{2}, words(850)...)...)...), modbus(2, 1, 16, words(12, 1)...))
	c.Exchange(modbus(3, 1, 16, append(words(400, 2), append([]byte{4}, words(1, 0)...)...)...), modbus(3, 1, 16, words(400, 2)...))
}

func (p *Plant) grope(r *wire.Recorder) {
	c := p.modbusLink(r, "laptop", p.laptop, p.dosing)
	for i := uint16(0); i < 4; i++ {
		c.Exchange(modbus(10+i, 1, 3, words(9000+100*i, 10)...), modbus(10+i, 1, 0x83, 2))
		r.Wait(200 * time.Millisecond)
	}
}

func (p *Plant) steal(r *wire.Recorder) {
	c := p.s7Connect(r, p.engineering, p.filter)
	p.links["ews-filter"] = c
	c.Exchange(s7(1, 10, s7StartUpload("_0800001P"), nil), s7(3, 10, []byte{0x1d, 0, 1, 0, 0, 0, 0, 7, 7, '0', '0', '0', '0', '1', '2', '8'}, nil))
	block := make([]byte, 128)
	for i := range block {
		block[i] = byte(p.random.Uint32())
	}
	c.Exchange(s7(1, 11, []byte{0x1e, 0, 0, 0, 0, 0, 0, 7}, nil),
		s7(3, 11, []byte{0x1e, 0}, append([]byte{0, 128, 0, 0xfb}, block...)))
	c.Exchange(s7(1, 12, []byte{0x1f, 0, 0, 0, 0, 0, 0, 7}, nil), s7(3, 12, []byte{0x1f}, nil))
}

func (p *Plant) stop(r *wire.Recorder) {
	p.links["ews-filter"].Exchange(s7(1, 13, s7Stop(), nil), s7(3, 13, []byte{0x29}, nil))
}

func (p *Plant) callHome(r *wire.Recorder) {
	p.lookup(r, p.historian, MaliciousDomain, [4]byte{192, 0, 2, 66})
}

// restart is a cold restart of the outstation; it answers with the delay until it is back, and its next answer has
// the restart indication (IIN 1.7).
func (p *Plant) restart(r *wire.Recorder) {
	c := r.Dial(p.laptop, p.reservoir, 20000)
	c.Exchange(dnp3(true, dnp3Outstation, dnp3Master, []byte{0xc1, 13}),
		dnp3(false, dnp3Master, dnp3Outstation, []byte{0xc1, 129, 0, 0, 52, 1, 7, 1, 3, 0}))
	r.Wait(3 * time.Second)
	c.Exchange(dnp3(true, dnp3Outstation, dnp3Master, []byte{0xc2, 1, 60, 2, 6}),
		dnp3(false, dnp3Master, dnp3Outstation, []byte{0xc2, 129, 0x80, 0}))
}

// eicar is the anti-virus test string of eicar.org, cut so that this source file is not taken for one.
func eicar() string {
	return `X5O!P%@AP[4\PZX54(P^)7CC)7}` + `$EICAR-STANDARD-` + `ANTIVIRUS-TEST-FILE!$H+H*`
}

func (p *Plant) drop(r *wire.Recorder) {
	c := r.Dial(p.laptop, p.historian, 80)
	body := eicar()
	c.Exchange([]byte(fmt.Sprintf("PUT /upload/report.txt HTTP/1.1\r\nHost: 10.20.20.35\r\nContent-Length: %d\r\n\r\n%s", len(body), body)),
		[]byte("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"))
	c.Close()
}

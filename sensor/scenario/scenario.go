// Package scenario plays scripts that a person can read: stations talk, byte for byte as on a wire, to one sensor's
// stages, and the script says which alert must come. Each script holds two runs that differ in one fact: lines that
// begin with "fires:" are played in the first only, lines that begin with "silent:" in the second only.
//
//	# A controller refuses a request.
//	mode learning
//	fires:  10.0.0.1 > 10.0.0.2 modbus 3 0 10 refused 2
//	silent: 10.0.0.1 > 10.0.0.2 modbus 3 0 10
//	expect 10.0.0.2 > 10.0.0.1
//
// The file's name is the id of the alert type. README.md lists what lines can say.
package scenario

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor/detect"
	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/packet"
	"github.com/otus-project/otus/sensor/stage"
	"github.com/otus-project/otus/simulate/wire"
)

// Plugins are what the stages run with.
type Plugins struct {
	Protocols []*dissect.Protocol
	Engines   []*detect.Engine
}

// Engine plays all scripts in the folder as sub-tests and demands one for every type of the engine.
func Engine(t *testing.T, dir string, e *detect.Engine, p Plugins) {
	scripts := map[string]bool{}
	paths, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		id := strings.TrimSuffix(filepath.Base(path), ".txt")
		scripts[id] = true
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(e.Types, func(x detect.Type) bool { return x.ID == id }) {
			t.Errorf("%s: the engine has no type of that name", path)
			continue
		}
		t.Run(id, func(t *testing.T) { Play(t, id, string(text), p) })
	}
	for _, typ := range e.Types {
		if !scripts[typ.ID] {
			t.Errorf("alert type %q (%s) has no scenario", typ.ID, typ.Title)
		}
	}
}

// Play plays both runs of a script and judges them.
func Play(t *testing.T, id, text string, p Plugins) {
	t.Helper()
	if !strings.Contains(text, "fires:") && !strings.Contains(text, "silent:") {
		t.Error("the script has no line that differs between its runs")
	}
	for _, fires := range []bool{true, false} {
		w := newWorld(t, id, fires, p)
		if err := w.script(text); err != nil {
			t.Fatalf("%s: %v", w.name(), err)
		}
		w.finish()
		w.judge()
	}
}

// start is the time of every script: a Monday morning.
var start = time.Date(2025, 3, 3, 8, 0, 0, 0, time.UTC)

// world is one run.
type world struct {
	t       *testing.T
	id      string
	fires   bool
	plugins Plugins
	stage   *stage.Stage
	options stage.Options
	wire    *wire.Recorder
	frame   uint64
	hosts   map[string]wire.Host
	talks   map[string]*talk
	expect  []string
	also    []string
	count   int
	frameID uint16
	alerts  []event.Alert // every row
	rows    []string      // of all kinds, as on the wire
	// restart stores and restores the stage after every so many frames; 0 never.
	restart int
}

// Rows plays the firing run of a script, restarting the stage after every so many frames (0: never), and returns all rows
// it emits as JSON.
func Rows(t *testing.T, id, text string, p Plugins, restart int) []string {
	t.Helper()
	w := newWorld(t, id, true, p)
	w.restart = restart
	if err := w.script(text); err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	w.finish()
	return w.rows
}

func newWorld(t *testing.T, id string, fires bool, p Plugins) *world {
	w := &world{t: t, id: id, fires: fires, plugins: p, wire: wire.NewRecorder(start), hosts: map[string]wire.Host{}, talks: map[string]*talk{}}
	w.options = stage.Options{
		SensorID: "scenario", SensorName: "scenario", Protocols: p.Protocols, Engines: p.Engines,
		Types: map[string]bool{id: true},
		Alert: func(a event.Alert) {
			w.alerts = append(w.alerts, a)
			w.row(a)
		},
		Device:        func(d event.Device) { w.row(d) },
		Connection:    func(c event.Connection) { w.row(c) },
		ProtocolEvent: func(e event.ProtocolEvent) { w.row(e) },
		OnPanic:       func(plugin string, value any) { t.Errorf("%s: plug-in %s failed: %v", w.name(), plugin, value) },
	}
	return w
}

func (w *world) row(row any) {
	data, err := json.Marshal(row)
	if err != nil {
		w.t.Fatalf("encode row: %v", err)
	}
	w.rows = append(w.rows, string(data))
}

func (w *world) name() string {
	if w.fires {
		return "firing run"
	}
	return "silent run"
}

// running starts the stage with the first line that needs it, after the settings.
func (w *world) running() *stage.Stage {
	if w.stage == nil {
		w.stage = stage.New(w.options)
	}
	return w.stage
}

func (w *world) script(text string) error {
	for n, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "fires:"); ok {
			if !w.fires {
				continue
			}
			line = strings.TrimSpace(rest)
		}
		if rest, ok := strings.CutPrefix(line, "silent:"); ok {
			if w.fires {
				continue
			}
			line = strings.TrimSpace(rest)
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := w.line(line); err != nil {
			return fmt.Errorf("line %d: %q: %w", n+1, line, err)
		}
		w.deliver()
	}
	return nil
}

// line does one line of a script.
func (w *world) line(line string) error {
	words := strings.Fields(line)
	rest := words[1:]
	switch words[0] {
	case "expect":
		w.expect = rest
		return nil
	case "also":
		w.also = append(w.also, rest...)
		return nil
	case "count":
		return number(rest, &w.count)
	case "enable":
		for _, id := range rest {
			w.options.Types[id] = true
		}
		return nil
	case "subnet":
		for _, word := range rest {
			prefix, err := netip.ParsePrefix(word)
			if err != nil {
				return err
			}
			w.options.OTSubnets = append(w.options.OTSubnets, prefix)
		}
		return nil
	case "mode":
		w.running().SetMode(event.SensorMode(rest[0]))
		return nil
	case "host":
		return w.named(rest)
	case "wait":
		d, err := time.ParseDuration(rest[0])
		w.wire.Wait(d)
		return err
	case "idle":
		return w.idle(rest[0])
	case "end":
		w.running().Flush(w.wire.Now)
		return nil
	case "repeat":
		return w.repeat(line)
	case "command":
		return w.command(rest)
	}
	return w.traffic(words)
}

func number(words []string, into *int) (err error) {
	if len(words) != 1 {
		return fmt.Errorf("want one number")
	}
	*into, err = strconv.Atoi(words[0])
	return err
}

// named gives a host a name, an address, and a hardware address if there is a third word.
func (w *world) named(words []string) error {
	if len(words) < 2 {
		return fmt.Errorf("want a name and an address")
	}
	mac := ""
	if len(words) > 2 {
		mac = words[2]
	}
	w.hosts[words[0]] = wire.NewHost(words[1], mac)
	return nil
}

func (w *world) host(word string) (wire.Host, error) {
	if h, ok := w.hosts[word]; ok {
		return h, nil
	}
	addr, err := netip.ParseAddr(word)
	if err != nil {
		return wire.Host{}, fmt.Errorf("%q is neither a named host nor an address", word)
	}
	h := wire.NewHost(word, "")
	if addr.IsMulticast() || addr.As16()[12] == 255 && addr.Is4() {
		h.MAC = wire.Broadcast
	}
	w.hosts[word] = h
	return h, nil
}

// idle lets time pass without frames, as a live sensor does: a tick every second.
func (w *world) idle(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return err
	}
	for end := w.wire.Now.Add(d); w.wire.Now.Before(end); {
		w.wire.Wait(time.Second)
		w.running().Tick(w.wire.Now)
	}
	return nil
}

// repeat does "repeat N [every D]: line", with {n} counting from 1.
func (w *world) repeat(line string) error {
	head, body, ok := strings.Cut(line, ":")
	words := strings.Fields(head)
	if !ok || len(words) < 2 {
		return fmt.Errorf("want: repeat N [every D]: line")
	}
	times, err := strconv.Atoi(words[1])
	if err != nil {
		return err
	}
	var pause time.Duration
	if len(words) == 4 && words[2] == "every" {
		if pause, err = time.ParseDuration(words[3]); err != nil {
			return err
		}
	}
	for n := 1; n <= times; n++ {
		if err := w.line(strings.ReplaceAll(strings.TrimSpace(body), "{n}", strconv.Itoa(n))); err != nil {
			return err
		}
		w.deliver()
		w.wire.Wait(pause)
	}
	return nil
}

// command gives a command about the newest alert of the script's type.
func (w *world) command(words []string) error {
	var id string
	for _, a := range w.alerts {
		if a.Type == w.id {
			id = a.ID
		}
	}
	if id == "" {
		return nil // the silent run has none
	}
	w.running().Command(event.Command{Action: event.Action(words[0]), AlertID: id, Time: w.wire.Now})
	return nil
}

// deliver hands what was put on the wire to the stage.
func (w *world) deliver() {
	for _, f := range w.wire.Frames {
		w.frame++
		w.running().Frame(&packet.Frame{Index: w.frame, Time: f.Time, Link: packet.LinkEthernet, Data: f.Data, Length: len(f.Data)})
		if w.restart > 0 && w.frame%uint64(w.restart) == 0 {
			w.restarted()
		}
	}
	w.wire.Frames = w.wire.Frames[:0]
}

// restarted goes on with a new stage from the old one's snapshot.
func (w *world) restarted() {
	state, err := w.stage.Snapshot()
	if err != nil {
		w.t.Fatalf("store stage: %v", err)
	}
	w.stage = stage.New(w.options)
	if err := w.stage.Restore(state); err != nil {
		w.t.Fatalf("restore stage: %v", err)
	}
}

func (w *world) finish() {
	w.running().Flush(w.wire.Now)
	if n := w.stage.Counters().PluginFailures; n > 0 {
		w.t.Errorf("%s: %d failures of plug-ins", w.name(), n)
	}
}

// judge compares the alerts with what the script says.
func (w *world) judge() {
	t, ids, matched := w.t, map[string]bool{}, false
	var seen []string
	for _, a := range w.alerts {
		from, to := address(a.Source), address(a.Destination)
		seen = append(seen, strings.TrimSpace(a.Type+" "+from+" > "+to))
		if strings.Contains(a.Description, "{") || strings.Contains(a.Description, "unknown") {
			t.Errorf("%s: %s describes itself as %q", w.name(), a.Type, a.Description)
		}
		if a.Type != w.id {
			if !slices.Contains(w.also, a.Type) {
				t.Errorf("%s: raised %s (%s > %s, %s), which the script does not allow", w.name(), a.Type, from, to, a.Description)
			}
			continue
		}
		ids[a.ID] = true
		switch len(w.expect) {
		case 0:
			matched = true
		case 1:
			matched = matched || w.is(w.expect[0], from)
		default:
			matched = matched || w.is(w.expect[0], from) && w.is(w.expect[2], to)
		}
	}
	switch {
	case !w.fires && len(ids) > 0:
		t.Errorf("silent run: raised %s all the same", w.id)
	case w.fires && len(ids) == 0:
		t.Errorf("firing run: did not raise %s; raised %q", w.id, seen)
	case w.fires && !matched:
		t.Errorf("firing run: raised %q, want %s on %s", seen, w.id, strings.Join(w.expect, " "))
	case w.fires && w.count > 0 && len(ids) != w.count:
		t.Errorf("firing run: %d alerts, want %d", len(ids), w.count)
	}
}

func (w *world) is(word, address string) bool {
	if h, ok := w.hosts[word]; ok {
		return h.Addr.String() == address || h.MAC.String() == address
	}
	return word == address
}

func address(e *event.Endpoint) string {
	if e == nil {
		return ""
	}
	return e.Address
}

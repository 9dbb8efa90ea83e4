package stage_test

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/internal/sharedtest"
	"github.com/otus-project/otus/sensor/capture"
	"github.com/otus-project/otus/sensor/engine"
	"github.com/otus-project/otus/sensor/protocol"
	"github.com/otus-project/otus/sensor/stage"
)

// What the expectations about office protocols ask to be marked as OT: private ranges, and all where a note speaks
// of public addresses.
var (
	private    = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("fc00::/7")}
	everywhere = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
)

// officeFolders hold captures without an OT protocol.
var officeFolders = []string{"arp", "dhcp", "dns", "ftp", "http", "lldp", "rdp", "scan", "smb", "snmp", "ssh", "telnet", "tls"}

// feed runs a capture through the stage, to its end.
func feed(t *testing.T, s *stage.Stage, path string) {
	t.Helper()
	files, err := capture.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	for {
		f, err := files.Next()
		var damage *capture.DamageError
		if errors.Is(err, io.EOF) || errors.As(err, &damage) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		s.Frame(f)
	}
	s.Flush(s.Now())
}

// TestCapturesRaiseWhatIsExpected judges by the table that came with the captures: each expected title at least once, and
// nothing but expected and allowed ones in the engines named. Expectations about protocols that have no plug-in
// yet count only for what must not come.
func TestCapturesRaiseWhatIsExpected(t *testing.T) {
	rows := sharedtest.Table(t, filepath.Join("pcaps", "EXPECTED.csv"))
	known := map[string]bool{}
	for _, p := range protocol.All {
		known[p.ID] = true
	}
	titles := map[string]bool{}
	for _, e := range engine.All {
		for _, typ := range e.Types {
			titles[typ.Title] = true
		}
	}
	met, partly, missing := 0, 0, map[string]int{}
	for _, row := range rows {
		folder, _, _ := strings.Cut(row["file"], "/")
		t.Run(row["file"]+"/"+row["mode"], func(t *testing.T) {
			got, pairs := raise(t, row, folder, nil)
			for title := range got {
				if !allowed(row, title, got[title]) {
					t.Errorf("raised %q (%s), which is neither expected nor allowed: %v", title, got[title], pairs[title])
				}
			}
			whole := true
			for _, title := range list(row["expected_titles"]) {
				if _, raised := got[title]; raised {
					continue
				}
				whole = false
				if titles[title] && known[folder] {
					t.Errorf("did not raise %q (evidence: %s)", title, row["evidence"])
				} else {
					missing[title]++
				}
			}
			if want, ok := strings.CutPrefix(row["min_counts"], "Modbus Exception=2 pairs"); ok && len(pairs["Modbus Exception"]) < 2 {
				t.Errorf("Modbus Exception between %v, want two pairs%s", pairs["Modbus Exception"], want)
			}
			if whole && !t.Failed() {
				met++
			} else if !t.Failed() {
				partly++
			}
		})
	}
	t.Logf("%d of %d rows met whole, %d but for titles or protocols that come later", met, len(rows), partly)
	var later []string
	for title, n := range missing {
		later = append(later, fmt.Sprintf("%d %s", n, title))
	}
	sort.Strings(later)
	t.Logf("not raised yet:\n  %s", strings.Join(later, "\n  "))
}

func list(text string) []string {
	var out []string
	for _, word := range strings.Split(text, ";") {
		if word = strings.TrimSpace(word); word != "" {
			out = append(out, word)
		}
	}
	return out
}

func allowed(row map[string]string, title string, engine event.Engine) bool {
	return slices.Contains(list(row["expected_titles"]), title) || slices.Contains(list(row["allowed_titles"]), title) ||
		!slices.Contains(list(row["forbidden_titles_engines"]), string(engine))
}

// TestTypesOffByDefaultComeWhenSwitchedOn switches every type on and demands those that the table's notes promise then.
func TestTypesOffByDefaultComeWhenSwitchedOn(t *testing.T) {
	titles, all := map[string]bool{}, map[string]bool{}
	for _, e := range engine.All {
		for _, typ := range e.Types {
			titles[typ.Title], all[typ.ID] = true, true
		}
	}
	known := map[string]bool{"scan": true, "arp": true} // captures of office traffic that needs no plug-in
	for _, p := range protocol.All {
		known[p.ID] = true
	}
	judged := 0
	for _, row := range sharedtest.Table(t, filepath.Join("pcaps", "EXPECTED.csv")) {
		_, promised, ok := strings.Cut(row["note"], "if_enabled=")
		folder, _, _ := strings.Cut(row["file"], "/")
		if !ok || !known[folder] {
			continue
		}
		promised, _, _ = strings.Cut(promised, " (off by default")
		t.Run(row["file"], func(t *testing.T) {
			got, _ := raise(t, row, folder, all)
			for _, title := range list(promised) {
				if _, raised := got[title]; titles[title] && !raised {
					t.Errorf("did not raise %q", title)
				}
				judged++
			}
		})
	}
	if judged == 0 {
		t.Error("no row promises anything")
	}
}

// raise runs one row and returns the titles raised with their engines, and the pairs of each.
func raise(t *testing.T, row map[string]string, folder string, types map[string]bool) (map[string]event.Engine, map[string][]string) {
	t.Helper()
	raised, pairs := map[string]event.Engine{}, map[string][]string{}
	recording := true
	o := stage.Options{SensorID: "expected", SensorName: "expected", Mode: event.ModeLearning, Protocols: protocol.All, Engines: engine.All, Types: types,
		OnPanic: func(plugin string, value any) { t.Errorf("plug-in %s failed: %v", plugin, value) },
		Alert: func(a event.Alert) {
			if !recording || a.Revision != 1 {
				return
			}
			raised[a.Title] = a.Engine
			pair := ""
			if a.Source != nil {
				pair = a.Source.Address
			}
			if a.Destination != nil {
				pair += ">" + a.Destination.Address
			}
			pairs[a.Title] = append(pairs[a.Title], pair)
			if os.Getenv("OTUS_SHOW") != "" {
				t.Logf("%s | %s | %s | frame %d | %s", a.Engine, a.Title, pair, a.Frame, a.Description)
			}
		}}
	if slices.Contains(officeFolders, folder) {
		o.OTSubnets = private
		if strings.Contains(row["note"], "public addresses") {
			o.OTSubnets = everywhere
		}
	}
	mode, base, _ := strings.Cut(row["mode"], ":")
	if mode == "operational-empty-baseline" {
		o.Mode = event.ModeOperational
	}
	s := stage.New(o)
	if mode == "operational-after" {
		recording = false
		feed(t, s, sharedtest.Capture(t, base))
		recording = true
		// The alerts of the learned file stay open; what the second file raises must be told anew.
		for _, a := range s.Alerts() {
			s.Command(event.Command{Action: event.ActionClose, AlertID: a.ID})
		}
		s.Rewind()
		s.SetMode(event.ModeOperational)
	}
	feed(t, s, sharedtest.Capture(t, row["file"]))
	return raised, pairs
}

package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/otus-project/otus/internal/sharedtest"
	"github.com/otus-project/otus/sensor/engine"
)

// captureName is a capture's name as the tables that came with the captures write it.
func captureName(path string) string {
	return filepath.Base(filepath.Dir(path)) + "/" + filepath.Base(path)
}

// parallel runs each of those subtests, at most so many at a time, and waits for all.
func parallel(t *testing.T, most int, names []string, test func(t *testing.T, name string)) {
	slots := make(chan struct{}, most)
	t.Run("each", func(t *testing.T) {
		for _, name := range names {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				slots <- struct{}{}
				defer func() { <-slots }()
				test(t, name)
			})
		}
	})
}

// TestReplayOfEveryCaptureEndsWithZero takes each capture through the whole chain, connected, in a data folder of its own.
func TestReplayOfEveryCaptureEndsWithZero(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	var names []string
	for _, path := range sharedtest.Captures(t) {
		names = append(names, captureName(path))
	}
	parallel(t, 2, names, func(t *testing.T, name string) {
		_, errs, code := otus(t, "up", "--data", t.TempDir(), "--replay", sharedtest.Capture(t, name), "--connect", "--exit-when-done",
			"--listen", "", "--tls-listen", "")
		if code != 0 {
			t.Errorf("exit %d: %s", code, errs)
		}
		for _, line := range strings.Split(errs, "\n") {
			if strings.Contains(line, "level=") && !strings.Contains(line, "the file ends after") { // some captures are cut short
				t.Errorf("it complained: %s", line)
			}
		}
	})
	t.Logf("%d captures", len(names))
}

// TestFactsOfAnalyzeEqualThoseOfTshark compares key by key with what tshark counted in the same files.
func TestFactsOfAnalyzeEqualThoseOfTshark(t *testing.T) {
	const column = "facts_tshark_4_0_17"
	files, keys := 0, map[string]int{}
	for _, row := range sharedtest.Manifest(t) {
		if !slices.Contains([]string{"modbus", "s7comm", "dnp3", "umas"}, row["protocol"]) {
			continue
		}
		t.Run(row["file"], func(t *testing.T) {
			out, errs, code := otus(t, "analyze", "--output", "json", sharedtest.Capture(t, row["file"]))
			if code != 0 {
				t.Fatalf("exit %d: %s", code, errs)
			}
			var got struct{ Facts map[string]any }
			decode(t, out, &got)
			var want map[string]any
			decode(t, row[column], &want)
			files++
			for key, value := range want {
				keys[key]++
				if !reflect.DeepEqual(got.Facts[key], value) {
					t.Errorf("%s is %s, want %s", key, text(got.Facts[key]), text(value))
				}
			}
			for key := range got.Facts {
				if _, there := want[key]; !there {
					t.Errorf("%s is a fact that tshark did not count: %s", key, text(got.Facts[key]))
				}
			}
		})
	}
	if files < 40 {
		t.Errorf("compared %d files, want all of four protocols", files)
	}
	t.Logf("%d files, %d different keys", files, len(keys))
}

func text(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// Which subnets the expectations about captures without an OT protocol ask to be marked as OT.
var (
	officeFolders = []string{"arp", "dhcp", "dns", "scan"}
	privateRanges = []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"}
	everywhere    = []string{"0.0.0.0/0", "::/0"}
)

// analyzeAs gives the arguments of analyze for a row of EXPECTED.csv.
func analyzeAs(t *testing.T, row map[string]string) []string {
	t.Helper()
	args := []string{"analyze", "--output", "json"}
	mode, learnt, _ := strings.Cut(row["mode"], ":")
	switch mode {
	case "analyze-default":
	case "operational-empty-baseline":
		args = append(args, "--mode", "operational")
	case "operational-after":
		args = append(args, "--learn", sharedtest.Capture(t, learnt))
	default:
		t.Fatalf("a mode nobody knows: %q", row["mode"])
	}
	folder, _, _ := strings.Cut(row["file"], "/")
	if slices.Contains(officeFolders, folder) {
		subnets := privateRanges
		if strings.Contains(row["note"], "public addresses") {
			subnets = everywhere
		}
		for _, subnet := range subnets {
			args = append(args, "--ot-subnet", subnet)
		}
	}
	return append(args, sharedtest.Capture(t, row["file"]))
}

// TestAnalyzeRaisesWhatIsExpected judges what analyze prints by the table that came with the captures: each expected
// title at least once, and in the engines it names nothing but expected and allowed ones. An expected title that no
// engine knows yet is counted, and must not be known.
func TestAnalyzeRaisesWhatIsExpected(t *testing.T) {
	known := map[string]bool{}
	for _, title := range typeTitles() {
		known[title] = true
	}
	rows, later := 0, map[string]int{}
	for _, row := range sharedtest.Table(t, filepath.Join("pcaps", "EXPECTED.csv")) {
		folder, _, _ := strings.Cut(row["file"], "/")
		if !slices.Contains([]string{"modbus", "s7comm", "dnp3", "umas", "arp", "dhcp", "dns", "scan"}, folder) {
			continue
		}
		t.Run(row["file"]+"/"+row["mode"], func(t *testing.T) {
			rows++
			out, errs, code := otus(t, analyzeAs(t, row)...)
			if code != 0 {
				t.Fatalf("exit %d: %s", code, errs)
			}
			var got struct {
				Alerts []struct{ AlertName, ProductComponentName, ProviderName, VendorOriginalId string } //nolint:revive // columns
			}
			decode(t, out, &got)
			raised := map[string]bool{}
			expected := titles(row["expected_titles"])
			may := append(titles(row["allowed_titles"]), expected...)
			for _, a := range got.Alerts {
				raised[a.AlertName] = true
				if a.ProviderName != "IoTSecurity" || a.VendorOriginalId == "" {
					t.Errorf("%q is no row of a sensor's alert: %+v", a.AlertName, a)
				}
				if !slices.Contains(may, a.AlertName) && slices.Contains(titles(row["forbidden_titles_engines"]), a.ProductComponentName) {
					t.Errorf("raised %q (%s), neither expected nor allowed", a.AlertName, a.ProductComponentName)
				}
			}
			for _, title := range expected {
				switch {
				case raised[title]:
				case known[title]:
					t.Errorf("did not raise %q; the evidence: %s", title, row["evidence"])
				default:
					later[title]++
				}
			}
		})
	}
	if rows < 60 {
		t.Errorf("judged %d rows, want all of eight folders", rows)
	}
	var names []string
	for title, n := range later {
		names = append(names, fmt.Sprintf("%d× %s", n, title))
	}
	sort.Strings(names)
	t.Logf("%d rows; expected of no type yet: %s", rows, strings.Join(names, ", "))
}

func titles(list string) []string {
	var out []string
	for _, title := range strings.Split(list, ";") {
		if title = strings.TrimSpace(title); title != "" {
			out = append(out, title)
		}
	}
	return out
}

// typeTitles are the titles of all alert types there are.
func typeTitles() []string {
	var all []string
	for _, e := range engine.All {
		for _, typ := range e.Types {
			all = append(all, typ.Title)
		}
	}
	return all
}

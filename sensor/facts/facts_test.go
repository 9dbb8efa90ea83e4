package facts

import (
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/otus-project/otus/internal/sharedtest"
	"github.com/otus-project/otus/sensor/capture"
	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/packet"
	"github.com/otus-project/otus/sensor/protocol/dhcp"
	"github.com/otus-project/otus/sensor/protocol/dnp3"
	"github.com/otus-project/otus/sensor/protocol/dns"
	"github.com/otus-project/otus/sensor/protocol/modbus"
	"github.com/otus-project/otus/sensor/protocol/s7comm"
)

var protocols = []*dissect.Protocol{modbus.Protocol, s7comm.Protocol, dnp3.Protocol, dhcp.Protocol, dns.Protocol}

// read gives the frames of a capture. Damage at its end is left out.
func read(t testing.TB, path string) []packet.Frame {
	t.Helper()
	files, err := capture.Open(path)
	if err != nil {
		t.Fatalf("open %s: %v", path, err)
	}
	defer files.Close()
	var frames []packet.Frame
	for {
		f, err := files.Next()
		var damage *capture.DamageError
		if errors.Is(err, io.EOF) || errors.As(err, &damage) {
			return frames
		}
		if err != nil {
			t.Fatalf("read %s: %v", path, err)
		}
		frame := *f
		frame.Data = append([]byte(nil), f.Data...)
		frames = append(frames, frame)
	}
}

// collect counts one capture.
func collect(t testing.TB, path string) map[string]any {
	t.Helper()
	c := New(protocols)
	frames := read(t, path)
	for i := range frames {
		c.Frame(&frames[i])
	}
	return c.Facts()
}

// otherwise names the captures where tshark recognises DNS on a port of its own choice.
func otherwise(file, key string) bool {
	return file == "opcua/open62541_client-server_mainloop.pcapng" && strings.HasPrefix(key, "dns_")
}

// ours are the keys this package answers for; others of the manifest belong to protocols that come later.
func ours(key string) bool {
	switch key {
	case "ips_src", "ips_all", "macs_src", "mac_list", "tcp_conns", "udp_flows", "ip_list", "ip_list_first14":
		return true
	}
	for _, prefix := range []string{"modbus_", "umas_", "s7comm_", "s7_", "dnp3_", "arp_", "dhcp_", "dns_"} {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// TestManifest compares every capture's facts with tshark's, key by key. Captures of the three protocols must agree
// in all keys, others in the keys that are ours.
func TestManifest(t *testing.T) {
	compared := 0
	for _, row := range sharedtest.Manifest(t) {
		folder, _, _ := strings.Cut(row["file"], "/")
		all := folder == "modbus" || folder == "s7comm" || folder == "dnp3" || folder == "umas" ||
			folder == "arp" || folder == "dhcp" || folder == "dns"
		t.Run(row["file"], func(t *testing.T) {
			var want map[string]any
			if err := json.Unmarshal([]byte(row["facts_tshark_4_0_17"]), &want); err != nil {
				t.Fatalf("manifest: %v", err)
			}
			got := normal(t, collect(t, sharedtest.Capture(t, filepath.ToSlash(row["file"]))))
			for key := range want {
				if all || ours(key) && !otherwise(row["file"], key) {
					compared++
					if g, w := text(t, got[key]), text(t, want[key]); g != w {
						t.Errorf("%s = %s, want %s", key, g, w)
					}
				}
			}
			for key := range got {
				if _, ok := want[key]; !ok && (all || ours(key)) {
					t.Errorf("%s = %s, tshark has none", key, text(t, got[key]))
				}
			}
		})
	}
	if compared < 800 {
		t.Errorf("compared %d facts only", compared)
	}
}

func normal(t *testing.T, facts map[string]any) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal([]byte(text(t, facts)), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

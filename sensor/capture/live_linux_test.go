package capture_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/otus-project/otus/sensor/capture"
	"github.com/otus-project/otus/sensor/packet"
)

func openLoopback(t *testing.T) *capture.Live {
	t.Helper()
	live, err := capture.OpenLive("lo", capture.LiveOptions{After: 41})
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		t.Skipf("skipped: live capture needs CAP_NET_RAW: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { live.Close() })
	return live
}

// TestLiveOnLoopback sends datagrams to itself and finds each once, in order, with its time.
func TestLiveOnLoopback(t *testing.T) {
	live := openLoopback(t)
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := net.Dial("udp4", server.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const count = 200
	before := time.Now()
	marker := []byte("otus live capture test ")
	for i := range count {
		if _, err := fmt.Fprintf(client, "%s%d", marker, i); err != nil {
			t.Fatal(err)
		}
	}
	decoder := packet.NewDecoder()
	found, last := 0, uint64(41)
	deadline := time.Now().Add(10 * time.Second)
	for found < count && time.Now().Before(deadline) {
		f, err := live.Read(100 * time.Millisecond)
		if errors.Is(err, capture.ErrTimeout) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if f.Index != last+1 {
			t.Fatalf("frame %d follows frame %d", f.Index, last)
		}
		last = f.Index
		p := decoder.Decode(f)
		if !bytes.HasPrefix(p.Payload, marker) {
			continue
		}
		if want := fmt.Sprintf("%s%d", marker, found); string(p.Payload) != want {
			t.Fatalf("got %q, want %q", p.Payload, want)
		}
		if f.Time.Before(before.Add(-time.Second)) || f.Time.After(time.Now().Add(time.Second)) {
			t.Errorf("frame time %v is not now", f.Time)
		}
		found++
	}
	if found != count {
		t.Errorf("found %d of %d datagrams, kernel dropped %d", found, count, live.Dropped())
	}
}

// TestLiveTimesOut: a silent wire must not keep the sensor from its ticks.
func TestLiveTimesOut(t *testing.T) {
	live := openLoopback(t)
	deadline := time.Now().Add(5 * time.Second)
	for time.Now().Before(deadline) { // other tests may talk over the loopback
		if _, err := live.Read(time.Millisecond); errors.Is(err, capture.ErrTimeout) {
			return
		}
	}
	t.Error("no timeout within 5 s")
}

func TestLiveRefusesUnknownInterface(t *testing.T) {
	if _, err := capture.OpenLive("no-such-if0", capture.LiveOptions{}); err == nil || !strings.Contains(err.Error(), "no-such-if0") {
		t.Errorf("got %v", err)
	}
}

// TestLiveHasNoWayToSend reads the source: the capture socket must never be written to.
func TestLiveHasNoWayToSend(t *testing.T) {
	_, file, _, _ := runtime.Caller(0)
	source, err := os.ReadFile(filepath.Join(filepath.Dir(file), "live_linux.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, call := range []string{"unix.Write", "unix.Send", "unix.Pwrite", "PACKET_TX_RING", "os.NewFile"} {
		if bytes.Contains(source, []byte(call)) {
			t.Errorf("live_linux.go uses %s", call)
		}
	}
}

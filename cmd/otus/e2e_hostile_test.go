package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

// hostile is a capture that somebody has spoiled.
type hostile struct {
	name string
	data []byte
	// saysWhere: it must be reported as damaged, with the place.
	saysWhere bool
}

// Layout of the classic capture format, as the simulator writes it.
const (
	fileHeader   = 24
	recordHeader = 16
)

// records finds where the records of a whole capture begin.
func records(t testing.TB, data []byte) []int {
	t.Helper()
	var starts []int
	for at := fileHeader; at < len(data); {
		starts = append(starts, at)
		at += recordHeader + int(binary.LittleEndian.Uint32(data[at+8:]))
	}
	if len(starts) < 100 {
		t.Fatalf("%d records in %d bytes", len(starts), len(data))
	}
	return starts
}

// spoil makes many variants of a capture; equal captures give equal variants.
func spoil(t testing.TB, whole []byte) []hostile {
	t.Helper()
	random := rand.New(rand.NewPCG(7, 7))
	starts := records(t, whole)
	boundary := map[int]bool{fileHeader: true, len(whole): true}
	for _, at := range starts {
		boundary[at] = true
	}
	var all []hostile
	cut := func(n int) {
		all = append(all, hostile{fmt.Sprintf("cut to %d bytes", n), whole[:n], !boundary[n]})
	}
	for n := range 3 * recordHeader { // every byte of the file's and the first record's header
		cut(n)
	}
	for range 120 {
		cut(random.IntN(len(whole)))
	}
	change := func(name string, saysWhere bool, do func(data []byte)) {
		data := bytes.Clone(whole)
		do(data)
		all = append(all, hostile{name, data, saysWhere})
	}
	for i := range 60 { // lying length fields of records
		at := starts[random.IntN(len(starts))]
		length := []uint32{0, 1, 13, 0xffff, 0x7fffffff, 0xffffffff, 0x80000000, random.Uint32()}[i%8]
		field := []int{8, 12}[i/8%2]
		change(fmt.Sprintf("record at %d: length field %d is %#x", at, field, length), false, func(data []byte) {
			binary.LittleEndian.PutUint32(data[at+field:], length)
		})
	}
	for range 160 { // lying lengths, types and flags within frames: the first 80 bytes hold all headers up to the application's
		at := starts[random.IntN(len(starts))]
		size := int(binary.LittleEndian.Uint32(whole[at+8:]))
		offset := random.IntN(min(size, 80))
		value := []byte{0, 1, 0x7f, 0x80, 0xff, byte(random.UintN(256))}[random.IntN(6)]
		change(fmt.Sprintf("frame at %d: byte %d is %#x", at, offset, value), false, func(data []byte) { data[at+recordHeader+offset] = value })
	}
	for i := range 40 { // many bytes anywhere
		change(fmt.Sprintf("noise %d", i), false, func(data []byte) {
			for range 1 << (i % 14) {
				data[random.IntN(len(data))] = byte(random.UintN(256))
			}
		})
	}
	for i := range 20 { // every frame's payload is noise beneath true headers
		change(fmt.Sprintf("payload noise %d", i), false, func(data []byte) {
			for _, at := range starts {
				size := int(binary.LittleEndian.Uint32(data[at+8:]))
				for k := 54; k < size; k++ {
					data[at+recordHeader+k] = byte(random.UintN(256))
				}
			}
		})
	}
	for i := range 10 { // nothing but noise, also behind a true beginning
		noise := make([]byte, 1<<(i+6))
		for k := range noise {
			noise[k] = byte(random.UintN(256))
		}
		all = append(all, hostile{fmt.Sprintf("only noise %d", i), noise, false},
			hostile{fmt.Sprintf("header and noise %d", i), append(bytes.Clone(whole[:fileHeader]), noise...), false})
	}
	all = append(all, hostile{"nothing", nil, true}, hostile{"zeros", make([]byte, 4096), true},
		hostile{"header and zeros", append(bytes.Clone(whole[:fileHeader]), make([]byte, 1<<20)...), false})
	return all
}

// place is how damage is told: where in the file.
var place = regexp.MustCompile(`at byte \d+|byte \d+|offset \d+`)

// TestHostileCaptures lets analyze read spoilt captures: it ends in time, in order or with an error that names the file
// and the place.
func TestHostileCaptures(t *testing.T) {
	_, attack := plantCaptures(t, 0)
	whole, err := os.ReadFile(attack)
	if err != nil {
		t.Fatal(err)
	}
	variants := spoil(t, whole)
	dir := t.TempDir()
	refused := 0
	for i, v := range variants {
		path := filepath.Join(dir, fmt.Sprintf("hostile-%d.pcap", i))
		if err := os.WriteFile(path, v.data, 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"analyze", "--output", "json", path}
		if i%2 == 1 {
			args = []string{"analyze", "--mode", "operational", "--output", "json", path}
		}
		out, errs, code := within(t, v.name, args...)
		switch {
		case code == 0:
			var report struct {
				Capture struct {
					Packets uint64
					Damage  []string
				}
			}
			decode(t, out, &report)
			if v.saysWhere && len(report.Capture.Damage) == 0 {
				t.Errorf("%s: nothing is said of the damage", v.name)
			}
			for _, damage := range report.Capture.Damage {
				if !strings.Contains(damage, path) || !place.MatchString(damage) {
					t.Errorf("%s: %q does not name file and place", v.name, damage)
				}
			}
		case code == exitUsage:
			refused++
			if !strings.Contains(errs, path) || !place.MatchString(errs) {
				t.Errorf("%s: %q does not name file and place", v.name, errs)
			}
		default:
			t.Errorf("%s: exit %d: %s", v.name, code, errs)
		}
		os.Remove(path)
	}
	t.Logf("%d variants, %d refused", len(variants), refused)
	if len(variants) < 300 || refused == 0 || refused > len(variants)/2 {
		t.Errorf("%d of %d variants refused: they do not try what they should", refused, len(variants))
	}
}

// within runs a command in this process for at most half a minute.
func within(t *testing.T, name string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	type result struct {
		out, errs string
		code      int
	}
	done := make(chan result, 1)
	go func() {
		var out, errs bytes.Buffer
		defer func() {
			if value := recover(); value != nil {
				done <- result{"", fmt.Sprintf("panic: %v\n%s", value, debug.Stack()), -1}
			}
		}()
		code := run(ctx, environment{in: strings.NewReader(""), out: &out, err: &errs, now: time.Now}, args)
		done <- result{out.String(), errs.String(), code}
	}()
	select {
	case r := <-done:
		return r.out, r.errs, r.code
	case <-time.After(45 * time.Second):
		t.Fatalf("%s: otus %s does not end", name, args[0])
		return "", "", 0
	}
}

// TestHostileCapturesThroughTheChain lets the whole program read a few of them, one after the other.
func TestHostileCapturesThroughTheChain(t *testing.T) {
	_, attack := plantCaptures(t, 0)
	whole, err := os.ReadFile(attack)
	if err != nil {
		t.Fatal(err)
	}
	variants := spoil(t, whole)
	dir, data := t.TempDir(), t.TempDir()
	for i := 0; i < len(variants); i += 29 {
		v := variants[i]
		path := filepath.Join(dir, fmt.Sprintf("hostile-%d.pcap", i))
		if err := os.WriteFile(path, v.data, 0o600); err != nil {
			t.Fatal(err)
		}
		out, errs, code := within(t, v.name, "up", "--data", data, "--replay", path, "--mode", "operational", "--connect", "--exit-when-done",
			"--listen", "", "--tls-listen", "", "--at", "2026-03-01T12:00:00Z")
		if code != 0 && (code != exitUsage || !strings.Contains(errs, path) || !place.MatchString(errs)) {
			t.Errorf("%s: exit %d: %s%s", v.name, code, out, errs)
		}
		if strings.Contains(errs, "panic") {
			t.Errorf("%s: %s", v.name, errs)
		}
	}
	if out, errs, code := otus(t, "query", "--data", data, "--output", "csv", "SecurityAlert | count"); code != 0 {
		t.Errorf("the tables afterwards: exit %d: %s%s", code, out, errs)
	}
}

package spool

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/otus-project/otus/event"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// record gives the record of a sequence: every tenth an alert, the others health rows of differing length.
func record(sequence uint64) event.Record {
	when := start.Add(time.Duration(sequence) * time.Second)
	if sequence%10 == 0 {
		return event.Record{Sequence: sequence, Kind: event.KindAlert, Alert: &event.Alert{ID: fmt.Sprint("alert-", sequence), Revision: 1, LastActivity: when}}
	}
	return event.Record{Sequence: sequence, Kind: event.KindHealth, Health: &event.Health{Time: when, Reason: strings.Repeat("x", int(sequence%50))}}
}

func records(from, to uint64) []event.Record {
	var out []event.Record
	for n := from; n <= to; n++ {
		out = append(out, record(n))
	}
	return out
}

func open(t testing.TB, o Options) *Spool {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func appendAll(t testing.TB, s *Spool, rs []event.Record) {
	t.Helper()
	if err := s.Append(rs); err != nil {
		t.Fatalf("append %d..%d: %v", rs[0].Sequence, rs[len(rs)-1].Sequence, err)
	}
}

func readAll(t testing.TB, s *Spool, from uint64) []event.Record {
	t.Helper()
	rs, err := s.ReadFrom(from, 1<<30, 1<<30)
	if err != nil {
		t.Fatalf("read from %d: %v", from, err)
	}
	return rs
}

func want(t testing.TB, got, want []event.Record) {
	t.Helper()
	if len(want) == 0 && len(got) == 0 {
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("records differ (-want +got):\n%s", diff)
	}
}

func TestAppendedRecordsSurviveReopen(t *testing.T) {
	o := Options{Dir: t.TempDir(), SegmentBytes: 2000}
	s := open(t, o)
	for n := uint64(1); n <= 300; n += 7 {
		appendAll(t, s, records(n, n+6))
	}
	last := s.LastSequence()
	if last != 301 {
		t.Fatalf("last sequence: got %d, want 301", last)
	}
	want(t, readAll(t, s, 1), records(1, last))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, o)
	if s.LastSequence() != last {
		t.Fatalf("last sequence after reopening: got %d, want %d", s.LastSequence(), last)
	}
	for _, from := range []uint64{1, 2, 63, 64, 65, 150, last, last + 1} {
		want(t, readAll(t, s, from), records(from, last))
	}
	appendAll(t, s, records(302, 310))
	want(t, readAll(t, s, 295), records(295, 310))
}

func TestReadFromKeepsItsBounds(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), SegmentBytes: 2000})
	appendAll(t, s, records(1, 100))
	got, err := s.ReadFrom(5, 10, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	want(t, got, records(5, 14))
	got, err = s.ReadFrom(5, 10, 1)
	if err != nil {
		t.Fatal(err)
	}
	want(t, got, records(5, 5))
}

func TestAppendAgainIsNoChange(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), SegmentBytes: 2000})
	appendAll(t, s, records(1, 100))
	before := s.Stats()
	appendAll(t, s, records(20, 90))
	if got := s.Stats(); got != before {
		t.Errorf("appending stored records changed the spool: %+v, before %+v", got, before)
	}
	appendAll(t, s, records(90, 120))
	want(t, readAll(t, s, 1), records(1, 120))
}

func TestAppendAgainWithOtherBytesKeepsTheFirst(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), SegmentBytes: 2000})
	appendAll(t, s, records(1, 100))
	again := records(50, 110)
	again[3].Health.Reason = "other"
	again[9].Health.Reason = "other"
	var conflict *ConflictError
	if err := s.Append(again); !errors.As(err, &conflict) {
		t.Fatalf("append with other bytes: got %v, want a ConflictError", err)
	}
	if conflict.Sequence != 53 || conflict.Count != 2 || s.Stats().Conflicts != 2 {
		t.Errorf("conflict: got %+v and %d counted, want sequence 53 and 2", conflict, s.Stats().Conflicts)
	}
	want(t, readAll(t, s, 1), records(1, 110))
}

func TestAppendRefuses(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	appendAll(t, s, records(1, 10))
	invalid := record(11)
	invalid.Kind = event.KindAlert
	huge := record(11)
	huge.Health.Reason = strings.Repeat("x", MaxRecordBytes)
	for name, rs := range map[string][]event.Record{
		"a gap after the stored":  records(12, 13),
		"a gap inside":            {record(11), record(13)},
		"going backwards":         {record(11), record(10)},
		"a record of wrong kind":  {invalid},
		"a record beyond the max": {huge},
	} {
		if err := s.Append(rs); err == nil {
			t.Errorf("append with %s: no error", name)
		}
	}
	want(t, readAll(t, s, 1), records(1, 10))
}

func TestAcknowledgeDeletesWholeSegments(t *testing.T) {
	o := Options{Dir: t.TempDir(), SegmentBytes: 2000}
	s := open(t, o)
	for n := uint64(1); n <= 400; n++ {
		appendAll(t, s, records(n, n))
	}
	if err := s.Acknowledge(200); err != nil {
		t.Fatal(err)
	}
	stats := s.Stats()
	if stats.First == 1 || stats.First > 201 || stats.Waiting != 200 {
		t.Errorf("after acknowledging 200 of 400: %+v", stats)
	}
	want(t, readAll(t, s, 201), records(201, 400))
	if err := s.Acknowledge(1 << 60); err != nil {
		t.Fatal(err)
	}
	if stats := s.Stats(); stats.Segments != 1 || stats.Waiting != 0 {
		t.Errorf("after acknowledging everything: %+v", stats)
	}
	s.Close()
	s = open(t, o)
	if s.LastSequence() != 400 {
		t.Errorf("last sequence after acknowledging everything and reopening: got %d, want 400", s.LastSequence())
	}
	appendAll(t, s, records(1, 50)) // long acknowledged: nothing to compare with, nothing to store
	appendAll(t, s, records(401, 410))
	want(t, readAll(t, s, 401), records(401, 410))
}

// The file is cut at every byte of its last records: what is sound stays, the rest can be appended again.
func TestTornTailIsCutAtOpen(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	appendAll(t, s, records(1, 5))
	s.Close()
	path := filepath.Join(dir, fmt.Sprintf("%020d.seg", 1))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := len(whole); cut >= 0; cut-- {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		checkTorn(t, dir, cut)
	}
	for flip := len(magic); flip < len(whole); flip++ {
		torn := append([]byte(nil), whole...)
		torn[flip] ^= 0x40
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		checkTorn(t, dir, flip)
	}
	zeroes := append(append([]byte(nil), whole...), make([]byte, 4096)...)
	if err := os.WriteFile(path, zeroes, 0o600); err != nil {
		t.Fatal(err)
	}
	checkTorn(t, dir, len(zeroes))
}

func checkTorn(t *testing.T, dir string, at int) {
	t.Helper()
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatalf("open, torn at %d: %v", at, err)
	}
	defer s.Close()
	last := s.LastSequence()
	want(t, readAll(t, s, 1), records(1, last))
	appendAll(t, s, records(max(last, 1), 6))
	want(t, readAll(t, s, 1), records(1, 6))
}

func TestForeignFilesAreRefused(t *testing.T) {
	for name, content := range map[string]string{
		fmt.Sprintf("%020d.seg", 1): "something else entirely",
		"notes.seg":                 magic,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(Options{Dir: dir}); err == nil {
			s.Close()
			t.Errorf("open with a file %q: no error", name)
		}
	}
}

func TestGapIsTakenOnlyAfterOpen(t *testing.T) {
	o := Options{Dir: t.TempDir()}
	s := open(t, o)
	appendAll(t, s, records(1, 10))
	s.Close()
	s = open(t, o)
	appendAll(t, s, records(15, 20))
	if got := s.Stats().Dropped; got != 4 {
		t.Errorf("dropped: got %d, want 4", got)
	}
	want(t, readAll(t, s, 1), append(records(1, 10), records(15, 20)...))
	if err := s.Append(records(25, 26)); err == nil {
		t.Error("a second gap was taken")
	}
}

func TestFullSpoolKeepsAlertsLongest(t *testing.T) {
	o := Options{Dir: t.TempDir(), SegmentBytes: 4000, MaxBytes: 40_000}
	s := open(t, o)
	const last = 500
	for n := uint64(1); n <= last; n += 5 {
		appendAll(t, s, records(n, n+4))
		if got := s.Stats().Bytes; got > o.MaxBytes {
			t.Fatalf("after %d records: %d bytes on disk, more than %d", n, got, o.MaxBytes)
		}
	}
	check := func() {
		t.Helper()
		got := readAll(t, s, 1)
		alerts := 0
		for _, r := range got {
			if r.Kind == event.KindAlert {
				alerts++
			}
			if diff := cmp.Diff(record(r.Sequence), r); diff != "" {
				t.Fatalf("record %d differs: %s", r.Sequence, diff)
			}
		}
		if alerts != last/10 {
			t.Errorf("alerts kept: got %d, want %d", alerts, last/10)
		}
		if len(got) == last {
			t.Error("nothing was given up, the test shows nothing")
		}
	}
	check()
	if got, gone := len(readAll(t, s, 1)), s.Stats().Dropped; uint64(got)+gone != last {
		t.Errorf("%d records kept and %d counted as dropped do not make %d", got, gone, last)
	}
	s.Close()
	s = open(t, o)
	check()

	// Far beyond what thinning can give, whole segments go, the oldest first.
	for n := uint64(last + 1); n <= 20*last; n += 5 {
		appendAll(t, s, records(n, n+4))
	}
	got := readAll(t, s, 1)
	if s.Stats().Bytes > o.MaxBytes || got[0].Sequence == 10 || got[len(got)-1].Sequence != 20*last {
		t.Errorf("after 20 times the room: %+v, sequences %d to %d", s.Stats(), got[0].Sequence, got[len(got)-1].Sequence)
	}
}

func TestDamagedSealedSegmentLosesOnlyItself(t *testing.T) {
	o := Options{Dir: t.TempDir(), SegmentBytes: 2000}
	s := open(t, o)
	for n := uint64(1); n <= 100; n++ {
		appendAll(t, s, records(n, n))
	}
	s.Close()
	path := filepath.Join(o.Dir, fmt.Sprintf("%020d.seg", 1))
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, o)
	got := readAll(t, s, 1)
	if len(got) == 100 || len(got) < 80 || got[len(got)-1].Sequence != 100 || s.Stats().Damaged == 0 {
		t.Errorf("got %d records up to %d, damaged %d", len(got), got[len(got)-1].Sequence, s.Stats().Damaged)
	}
}

func TestAppendedIsSignalled(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	select {
	case <-s.Appended():
		t.Error("signal from an empty spool")
	default:
	}
	appendAll(t, s, records(1, 3))
	appendAll(t, s, records(4, 6))
	select {
	case <-s.Appended():
	default:
		t.Error("no signal after Append")
	}
}

func FuzzSegment(f *testing.F) {
	var sound []byte
	for _, r := range records(1, 12) {
		body, err := r.Encode()
		if err != nil {
			f.Fatal(err)
		}
		sound = appendFrame(sound, frame{r.Sequence, kindCodes[r.Kind], body})
	}
	f.Add(sound)
	f.Add(sound[:len(sound)-3])
	f.Add(append(append([]byte(nil), sound...), make([]byte, 100)...))
	f.Add([]byte("\x00\x00\x00\x00\xff\xff\xff\xff\x01\x00\x00\x00\x00\x00\x00\x00\x01"))
	f.Add([]byte("OTUS"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, content []byte) {
		frames := newFrameReader(bytes.NewReader(content), 0, int64(len(content)), 0)
		var again []byte
		for {
			fr, err := frames.next()
			if err != nil {
				break
			}
			again = appendFrame(again, fr)
		}
		if !bytes.Equal(again, content[:frames.offset]) {
			t.Fatalf("the %d bytes taken as frames are written back as %d other bytes", frames.offset, len(again))
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	for _, group := range []int{1, 100, 500} {
		b.Run(fmt.Sprintf("group%d", group), func(b *testing.B) {
			s := open(b, Options{Dir: b.TempDir()})
			next := uint64(1)
			for b.Loop() {
				appendAll(b, s, records(next, next+uint64(group)-1))
				next += uint64(group)
			}
			b.ReportMetric(float64(next-1)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

func BenchmarkRead(b *testing.B) {
	s := open(b, Options{Dir: b.TempDir()})
	for n := uint64(1); n <= 50_000; n += 1000 {
		appendAll(b, s, records(n, n+999))
	}
	read := 0
	for b.Loop() {
		for next := uint64(1); next <= 50_000; next += 500 {
			rs, err := s.ReadFrom(next, 500, 1<<20)
			if err != nil || len(rs) != 500 {
				b.Fatalf("read %d: %d records, %v", next, len(rs), err)
			}
			read += len(rs)
		}
	}
	b.ReportMetric(float64(read)/b.Elapsed().Seconds(), "records/s")
}

package simulate

import (
	"bytes"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/otus-project/otus/simulate/wire"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func record(seed uint64) []byte {
	p := New(seed)
	r := wire.NewRecorder(noon)
	p.Learn(r, noon, 2)
	p.Attack(r, noon)
	var out bytes.Buffer
	if _, err := r.WriteTo(&out); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func TestSameSeedSameBytes(t *testing.T) {
	first, again := sha256.Sum256(record(1)), sha256.Sum256(record(1))
	if first != again {
		t.Error("two recordings of seed 1 differ")
	}
	if first == sha256.Sum256(record(2)) {
		t.Error("seed 1 and seed 2 gave the same bytes")
	}
}

func TestTimesNeverGoBack(t *testing.T) {
	p := New(3)
	r := wire.NewRecorder(noon)
	p.Learn(r, noon, 14)
	if last := r.Frames[len(r.Frames)-1].Time; last.After(noon) {
		t.Errorf("learning ends at %v, after %v", last, noon)
	}
	p.Attack(r, noon)
	for i := 1; i < len(r.Frames); i++ {
		if r.Frames[i].Time.Before(r.Frames[i-1].Time) {
			t.Fatalf("frame %d at %v comes before frame %d at %v", i, r.Frames[i].Time, i-1, r.Frames[i-1].Time)
		}
	}
	span := r.Frames[len(r.Frames)-1].Time.Sub(noon)
	if span < AttackLength || span > AttackLength+time.Minute {
		t.Errorf("attack lasts %v, want a little more than %v", span, AttackLength)
	}
	t.Logf("%d frames", len(r.Frames))
}

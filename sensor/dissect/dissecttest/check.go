package dissecttest

import (
	"bytes"
	"math/rand"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/packet"
)

// Run gives all that a runner of o reports for the frames, with Flush at the end. every > 0 stores the runner after each
// every-th frame and goes on with a fresh one restored from it.
func Run(t testing.TB, frames []packet.Frame, o dissect.Options, every int) string {
	t.Helper()
	r := dissect.NewRunner(o)
	h := &Recorder{}
	for i := range frames {
		r.Frame(&frames[i], h)
		if every > 0 && (i+1)%every == 0 {
			r = again(t, r, o)
		}
	}
	r.Flush(h)
	return h.Text.String()
}

func again(t testing.TB, r *dissect.Runner, o dissect.Options) *dissect.Runner {
	t.Helper()
	state, err := r.Snapshot()
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	fresh := dissect.NewRunner(o)
	if err := fresh.Restore(state); err != nil {
		t.Fatalf("restore: %v\n%s", err, state)
	}
	twice, err := fresh.Snapshot()
	if err != nil {
		t.Fatalf("snapshot after restore: %v", err)
	}
	if !bytes.Equal(state, twice) {
		t.Fatalf("a restored runner stores another state (-before +after):\n%s", cmp.Diff(string(state), string(twice)))
	}
	return fresh
}

// CheckRestore demands that storing and restoring after every k-th frame, for each k given, changes nothing.
func CheckRestore(t testing.TB, frames []packet.Frame, o dissect.Options, every ...int) {
	t.Helper()
	want := Run(t, frames, o, 0)
	if again := Run(t, frames, o, 0); again != want {
		t.Fatalf("two equal runs differ:\n%s", cmp.Diff(want, again))
	}
	for _, k := range every {
		if got := Run(t, frames, o, k); got != want {
			t.Errorf("restored after every %d frames (-straight +restored):\n%s", k, cmp.Diff(want, got))
		}
	}
}

// CheckHostile runs damaged copies of the frames: each frame cut at every byte, with every byte replaced by extreme
// values, and with seeded random damage. A panic of a plug-in fails the test through the options.
func CheckHostile(t testing.TB, frames []packet.Frame, o dissect.Options) {
	t.Helper()
	h := &Recorder{Quiet: true}
	run := func(at int, data []byte, length int) {
		r := dissect.NewRunner(o)
		for i := range frames {
			f := frames[i]
			if i == at {
				f.Data, f.Length = data, length
			}
			r.Frame(&f, h)
		}
		r.Flush(h)
		h.Text.Reset()
	}
	for at := range frames {
		data := frames[at].Data
		for n := range data {
			run(at, data[:n], n)
			run(at, data[:n], len(data))
			for _, value := range []byte{0x00, 0x7f, 0x80, 0xff} {
				damaged := bytes.Clone(data)
				damaged[n] = value
				run(at, damaged, len(damaged))
			}
		}
	}
	random := rand.New(rand.NewSource(1))
	for range 2000 {
		at := random.Intn(len(frames))
		damaged := bytes.Clone(frames[at].Data)
		for range 1 + random.Intn(8) {
			damaged[random.Intn(len(damaged))] = byte(random.Intn(256))
		}
		run(at, damaged, len(damaged))
	}
}

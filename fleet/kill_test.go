package fleet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/otus-project/otus/event"
)

// TestMain turns the test binary into the fleet that TestKill kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv("OTUS_TEST_FLEET"); dir != "" {
		if err := ingestUntilKilled(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// ingestUntilKilled sends batches for ever, like a sensor that knows nothing: each begins some records before the
// last answer. It prints what each answer says is durable, and gives commands in between.
func ingestUntilKilled(dir string) error {
	ctx := context.Background()
	f, err := Open(ctx, Options{Dir: dir})
	if err != nil {
		return err
	}
	s, err := f.Local(ctx)
	if err != nil {
		return err
	}
	ack, err := f.Ingest(ctx, event.Batch{SensorID: s.ID})
	if err != nil {
		return err
	}
	for round := 0; ; round++ {
		first := (ack.Sequence/mixedRecords)*mixedRecords + 1
		first -= min(first-1, mixedRecords) // send the last one again
		b := event.Batch{SensorID: s.ID}
		for range 1 + round%5 {
			b.Records = append(b.Records, mixed(s.ID, first+uint64(len(b.Records))).Records...)
		}
		if ack, err = f.Ingest(ctx, b); err != nil {
			return err
		}
		if round%3 == 0 {
			alert := b.Records[2].Alert.ID
			if err := f.Command(ctx, "close "+alert, alert, event.ActionClose, "ann", start); err != nil {
				return err
			}
		}
		fmt.Println(ack.Sequence)
	}
}

func TestKill(t *testing.T) {
	dir := t.TempDir()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	rounds := 10
	if testing.Short() {
		rounds = 2
	}
	for round := 0; round < rounds; round++ {
		durable := killOnce(t, dir, time.Duration(random.IntN(80_000))*time.Microsecond)
		r := newRig(t, Options{Dir: dir})
		s := r.local()
		cursor := uint64(r.count(`SELECT cursor FROM sensor`))
		if cursor < durable || durable == 0 {
			t.Fatalf("round %d: cursor %d, but %d was acknowledged", round, cursor, durable)
		}
		next := uint64(1)
		for _, e := range r.read(s.SubscriptionID, 0) {
			if next%mixedRecords == 4 { // the capture
				next++
			}
			if e.Record.Sequence != next {
				t.Fatalf("round %d: position %d holds record %d, want %d", round, e.Position, e.Record.Sequence, next)
			}
			next++
		}
		if next%mixedRecords == 4 {
			next++
		}
		if next != cursor+1 {
			t.Fatalf("round %d: the stream ends before %d, the cursor is %d", round, next, cursor)
		}
		r.check()
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// killOnce starts a fleet, kills it some time after its first answer, and gives the last sequence it acknowledged.
func killOnce(t *testing.T, dir string, after time.Duration) (durable uint64) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(self)
	child.Env = append(os.Environ(), "OTUS_TEST_FLEET="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan uint64)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			if n, err := strconv.ParseUint(scanner.Text(), 10, 64); err == nil {
				lines <- n
			}
		}
	}()
	var kill <-chan time.Time
	for open := true; open; {
		select {
		case n, ok := <-lines:
			if open = ok; ok {
				durable = n
				if kill == nil {
					kill = time.After(after)
				}
			}
		case <-kill:
			if err := child.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
			kill = make(chan time.Time)
		}
	}
	child.Wait()
	return durable
}

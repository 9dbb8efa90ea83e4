package detect

import (
	"time"

	"github.com/otus-project/otus/internal/lru"
	"github.com/otus-project/otus/sensor/dissect"
)

// Rate counts events per key in a sliding window. Its exported fields are its state; it is made by NewRate and
// keeps at most a fixed number of keys and of times per key.
type Rate struct {
	Keys   *lru.Table[string, *Times]
	limit  int
	window time.Duration
}

// Times are the newest events of one key, oldest first.
type Times struct {
	At []int64 `json:"at"` // Unix nanoseconds
}

// NewRate counts up to limit events within window, for at most keys keys.
func NewRate(limit int, window time.Duration, keys int) *Rate {
	return &Rate{Keys: lru.New[string, *Times](keys), limit: limit, window: window}
}

// Add counts an event and reports whether the limit is reached: limit events, this one among them, within window.
// The times of one key must not run backwards.
func (r *Rate) Add(key string, now time.Time) bool {
	t, ok := r.Keys.Get(key)
	if !ok {
		t = &Times{}
		r.Keys.Put(key, t)
	}
	if len(t.At) >= r.limit {
		copy(t.At, t.At[1:])
		t.At = t.At[:r.limit-1]
	}
	t.At = append(t.At, now.UnixNano())
	return len(t.At) == r.limit && now.UnixNano()-t.At[0] <= int64(r.window)
}

// Forget drops what was counted for key.
func (r *Rate) Forget(key string) { r.Keys.Delete(key) }

// Spread counts distinct things per key in a sliding window, such as the addresses one host tried.
type Spread struct {
	Keys   *lru.Table[string, *Things]
	limit  int
	window time.Duration
}

// Things are the newest distinct things of one key, oldest first.
type Things struct {
	Names []string `json:"names"`
	At    []int64  `json:"at"`
}

// NewSpread counts up to limit distinct things within window, for at most keys keys.
func NewSpread(limit int, window time.Duration, keys int) *Spread {
	return &Spread{Keys: lru.New[string, *Things](keys), limit: limit, window: window}
}

// Add counts a thing; a thing seen before only becomes newer. It reports whether the limit is reached.
func (s *Spread) Add(key, thing string, now time.Time) bool {
	t, ok := s.Keys.Get(key)
	if !ok {
		t = &Things{}
		s.Keys.Put(key, t)
	}
	t.remove(thing)
	if len(t.Names) >= s.limit {
		t.cut(len(t.Names) - s.limit + 1)
	}
	t.Names, t.At = append(t.Names, thing), append(t.At, now.UnixNano())
	return len(t.Names) == s.limit && now.UnixNano()-t.At[0] <= int64(s.window)
}

// Remove takes a thing back: it turned out not to count.
func (s *Spread) Remove(key, thing string) {
	if t, ok := s.Keys.Peek(key); ok {
		t.remove(thing)
	}
}

// Forget drops what was counted for key.
func (s *Spread) Forget(key string) { s.Keys.Delete(key) }

func (t *Things) remove(thing string) {
	for n, name := range t.Names {
		if name == thing {
			t.Names = append(t.Names[:n], t.Names[n+1:]...)
			t.At = append(t.At[:n], t.At[n+1:]...)
			return
		}
	}
}

func (t *Things) cut(n int) {
	t.Names = append(t.Names[:0], t.Names[n:]...)
	t.At = append(t.At[:0], t.At[n:]...)
}

// Edges tells when a condition that lasts begins: such as an indication that a station repeats in every answer
// until somebody clears it.
type Edges struct {
	Set *lru.Table[string, bool] `json:"set"`
}

// NewEdges watches at most keys conditions.
func NewEdges(keys int) *Edges { return &Edges{Set: lru.New[string, bool](keys)} }

// Rises records whether the condition holds now and reports whether it did not before.
func (e *Edges) Rises(key string, holds bool) bool {
	before, known := e.Set.Get(key)
	if holds != before || !known && holds {
		e.Set.Put(key, holds)
	}
	return holds && !before
}

// StationKey names the station that sent m: its address and unit.
func StationKey(m *dissect.Message) string { return Address(m.From()) + " unit " + m.Unit }

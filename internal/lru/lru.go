// Package lru is a bounded table that forgets the entry unused for longest. Its state is plain data: it
// marshals to JSON as the list of its entries, oldest use first, so that a restored table forgets in the same order.
package lru

import (
	"container/list"
	"encoding/json"
	"fmt"
	"iter"
)

// Table maps keys to values, at most a fixed number of them. The zero value is not usable; see New. It is
// not safe for concurrent use.
type Table[K comparable, V any] struct {
	max     int
	order   *list.List // of *entry[K, V], oldest use first
	entries map[K]*list.Element
	evicted uint64
}

type entry[K comparable, V any] struct {
	Key   K `json:"k"`
	Value V `json:"v"`
}

// New makes a table of at most max entries; max must be positive.
func New[K comparable, V any](max int) *Table[K, V] {
	return &Table[K, V]{max: max, order: list.New(), entries: map[K]*list.Element{}}
}

// Get returns the value of key and counts as a use.
func (t *Table[K, V]) Get(key K) (V, bool) {
	element, ok := t.entries[key]
	if !ok {
		var zero V
		return zero, false
	}
	t.order.MoveToBack(element)
	return element.Value.(*entry[K, V]).Value, true
}

// Peek returns the value of key without counting as a use.
func (t *Table[K, V]) Peek(key K) (V, bool) {
	element, ok := t.entries[key]
	if !ok {
		var zero V
		return zero, false
	}
	return element.Value.(*entry[K, V]).Value, true
}

// Put sets the value of key, counts as a use, and returns the entry that had to leave for lack of room.
func (t *Table[K, V]) Put(key K, value V) (dropped K, droppedValue V, wasDropped bool) {
	if element, ok := t.entries[key]; ok {
		element.Value.(*entry[K, V]).Value = value
		t.order.MoveToBack(element)
		return dropped, droppedValue, false
	}
	if len(t.entries) >= t.max {
		oldest := t.order.Remove(t.order.Front()).(*entry[K, V])
		delete(t.entries, oldest.Key)
		t.evicted++
		dropped, droppedValue, wasDropped = oldest.Key, oldest.Value, true
	}
	t.entries[key] = t.order.PushBack(&entry[K, V]{key, value})
	return dropped, droppedValue, wasDropped
}

// Delete removes key; removing an absent key does nothing.
func (t *Table[K, V]) Delete(key K) {
	if element, ok := t.entries[key]; ok {
		t.order.Remove(element)
		delete(t.entries, key)
	}
}

// Len is the number of entries, Evicted how many had to leave for lack of room since the table was made.
func (t *Table[K, V]) Len() int        { return len(t.entries) }
func (t *Table[K, V]) Evicted() uint64 { return t.evicted }

// All walks the entries, oldest use first. The table must not change meanwhile, save that the walker may delete the
// entry it was just given.
func (t *Table[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for element := t.order.Front(); element != nil; {
			next := element.Next()
			e := element.Value.(*entry[K, V])
			if !yield(e.Key, e.Value) {
				return
			}
			element = next
		}
	}
}

type state[K comparable, V any] struct {
	Evicted uint64         `json:"evicted,omitempty"`
	Entries []*entry[K, V] `json:"entries"`
}

// MarshalJSON writes the entries, oldest use first.
func (t *Table[K, V]) MarshalJSON() ([]byte, error) {
	s := state[K, V]{Evicted: t.evicted, Entries: make([]*entry[K, V], 0, len(t.entries))}
	for element := t.order.Front(); element != nil; element = element.Next() {
		s.Entries = append(s.Entries, element.Value.(*entry[K, V]))
	}
	return json.Marshal(s)
}

// UnmarshalJSON replaces the entries of a table made by New, whose bound stays.
func (t *Table[K, V]) UnmarshalJSON(data []byte) error {
	var s state[K, V]
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("read table: %w", err)
	}
	if t.max == 0 {
		return fmt.Errorf("read table: made without a bound")
	}
	t.order.Init()
	clear(t.entries)
	for _, e := range s.Entries {
		t.Put(e.Key, e.Value)
	}
	t.evicted = s.Evicted
	return nil
}

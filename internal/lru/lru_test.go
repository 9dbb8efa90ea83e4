package lru

import (
	"encoding/json"
	"testing"
)

func TestForgetsTheLongestUnused(t *testing.T) {
	table := New[string, int](2)
	table.Put("a", 1)
	table.Put("b", 2)
	table.Get("a")
	key, value, dropped := table.Put("c", 3)
	if !dropped || key != "b" || value != 2 {
		t.Errorf("dropped %q %d %t, want b 2 true", key, value, dropped)
	}
	if _, ok := table.Peek("a"); !ok || table.Len() != 2 || table.Evicted() != 1 {
		t.Errorf("after one eviction: len %d, evicted %d, a kept %t", table.Len(), table.Evicted(), ok)
	}
}

func TestRestoredTableForgetsInTheSameOrder(t *testing.T) {
	type key struct{ A, B int }
	first := New[key, string](3)
	first.Put(key{1, 1}, "x")
	first.Put(key{2, 1}, "y")
	first.Put(key{3, 1}, "z")
	first.Get(key{1, 1})
	data, err := json.Marshal(first)
	if err != nil {
		t.Fatal(err)
	}
	second := New[key, string](3)
	if err := json.Unmarshal(data, second); err != nil {
		t.Fatal(err)
	}
	a, _, _ := first.Put(key{4, 1}, "w")
	b, _, _ := second.Put(key{4, 1}, "w")
	if a != b || a != (key{2, 1}) {
		t.Errorf("dropped %v and %v, want {2 1} from both", a, b)
	}
	again, _ := json.Marshal(second)
	want, _ := json.Marshal(first)
	if string(again) != string(want) {
		t.Errorf("states differ: %s and %s", again, want)
	}
}

func TestWalkerMayDelete(t *testing.T) {
	table := New[int, int](9)
	for i := range 5 {
		table.Put(i, i)
	}
	for k := range table.All() {
		table.Delete(k)
	}
	if table.Len() != 0 {
		t.Errorf("len %d after deleting all, want 0", table.Len())
	}
}

package native

import (
	"strings"
)

// dynamics are the functions on arrays and property bags. Several arguments come as one JSON array.
func dynamics() []Function {
	on := func(name, params string, f func(n node, a []Value) Value) Function {
		return of(name, params, func(a []Value) Value {
			n, ok := parseJSON(a[0].S)
			if !ok {
				return null
			}
			return f(n, a)
		})
	}
	array := func(name, params string, f func(n node, a []Value) Value) Function {
		return on(name, params, func(n node, a []Value) Value {
			if n.kind != jsonArray {
				return null
			}
			return f(n, a)
		})
	}
	give := func(items []node) Value { return text(arrayNode(items).text()) }
	return []Function{
		array("array_length", "t:l", func(n node, a []Value) Value { return long(int64(len(n.items))) }),
		array("array_concat", "t:t", func(n node, a []Value) Value {
			var out []node
			for _, part := range n.items {
				switch part.kind {
				case jsonArray:
					out = append(out, part.items...)
				case jsonNull:
				default:
					return null
				}
			}
			return give(out)
		}),
		array("array_slice", "tll:t", func(n node, a []Value) Value {
			size := int64(len(n.items))
			start, end := a[1].I, a[2].I
			if start < 0 {
				start = max(start+size, 0)
			}
			if end < 0 {
				end += size
			}
			end = min(end, size-1)
			if start > end {
				return give(nil)
			}
			return give(n.items[start : end+1])
		}),
		array("array_reverse", "t:t", func(n node, a []Value) Value {
			out := make([]node, len(n.items))
			for i, item := range n.items {
				out[len(out)-1-i] = item
			}
			return give(out)
		}),
		array("array_rotate", "tl:t", func(n node, a []Value) Value {
			size := int64(len(n.items))
			if size == 0 {
				return give(nil)
			}
			out := make([]node, size)
			for i := range n.items {
				m, _ := modulo(int64(i)+a[1].I, size)
				out[i] = n.items[m]
			}
			return give(out)
		}),
		array("array_shift", "tlt:t", func(n node, a []Value) Value {
			fill, ok := parseJSON(a[2].S)
			if !ok {
				return null
			}
			out := make([]node, len(n.items))
			for i := range out {
				out[i] = fill
				if j := int64(i) + a[1].I; j >= 0 && j < int64(len(n.items)) {
					out[i] = n.items[j]
				}
			}
			return give(out)
		}),
		array("array_sum", "t:r", func(n node, a []Value) Value {
			sum := 0.0
			for _, item := range n.items {
				if f, ok := item.number(); ok && item.kind != jsonBool {
					sum += f
				} else if item.kind != jsonNull && item.kind != jsonBool {
					return null
				}
			}
			if len(n.items) == 0 {
				return null
			}
			return real(sum)
		}),
		array("array_sort", "tb:t", func(n node, a []Value) Value {
			index := sequence(len(n.items))
			sortNodes(n.items, index, a[1].B)
			out := make([]node, len(index))
			for i, j := range index {
				out[i] = n.items[j]
			}
			return give(out)
		}),
		array("array_index_of", "ttll:l", func(n node, a []Value) Value {
			size := int64(len(n.items))
			start := a[2].I
			if start < 0 {
				start = max(start+size, 0)
			}
			end := size
			if a[3].I >= 0 {
				end = min(start+a[3].I, size)
			}
			for i := start; i < end; i++ {
				if n.items[i].text() == a[1].S {
					return long(i)
				}
			}
			return long(-1)
		}),
		array("array_split", "tt:t", func(n node, a []Value) Value {
			at, ok := parseJSON(a[1].S)
			if !ok {
				return null
			}
			cuts := at.items
			if at.kind != jsonArray {
				cuts = []node{at}
			}
			var out []node
			from := int64(0)
			size := int64(len(n.items))
			for _, c := range cuts {
				i, ok := c.long()
				if !ok {
					return null
				}
				if i < 0 {
					i += size
				}
				i = min(max(i, from), size)
				out = append(out, arrayNode(n.items[from:i]))
				from = i
			}
			return give(append(out, arrayNode(n.items[from:])))
		}),
		array("array_iff", "ttt:t", func(n node, a []Value) Value {
			yes, ok1 := parseJSON(a[1].S)
			no, ok2 := parseJSON(a[2].S)
			if !ok1 || !ok2 {
				return null
			}
			pick := func(v node, i int) node {
				if v.kind != jsonArray {
					return v
				}
				if i < len(v.items) {
					return v.items[i]
				}
				return node{}
			}
			out := make([]node, len(n.items))
			for i, c := range n.items {
				if c.kind == jsonBool || c.kind == jsonLong || c.kind == jsonReal {
					if f, _ := c.number(); f != 0 {
						out[i] = pick(yes, i)
					} else {
						out[i] = pick(no, i)
					}
				}
			}
			return give(out)
		}),
		array("strcat_array", "tt:t", func(n node, a []Value) Value {
			parts := make([]string, len(n.items))
			for i, item := range n.items {
				parts[i] = item.plain()
			}
			return text(strings.Join(parts, a[1].S))
		}),
		array("zip", "t:t", func(n node, a []Value) Value {
			size := 0
			for _, part := range n.items {
				if part.kind != jsonArray {
					return null
				}
				size = max(size, len(part.items))
			}
			out := make([]node, size)
			for i := range out {
				row := make([]node, len(n.items))
				for j, part := range n.items {
					if i < len(part.items) {
						row[j] = part.items[i]
					}
				}
				out[i] = arrayNode(row)
			}
			return give(out)
		}),
		array("set", "t:t", func(n node, a []Value) Value { return give(distinct(n.items)) }),
		array("set_union", "t:t", func(n node, a []Value) Value {
			var all []node
			for _, part := range n.items {
				if part.kind != jsonArray {
					return null
				}
				all = append(all, part.items...)
			}
			return give(distinct(all))
		}),
		array("set_intersect", "t:t", func(n node, a []Value) Value { return combine(n.items, true) }),
		array("set_difference", "t:t", func(n node, a []Value) Value { return combine(n.items, false) }),
		array("set_has_element", "tt:b", func(n node, a []Value) Value {
			for _, item := range n.items {
				if item.text() == a[1].S {
					return truth(true)
				}
			}
			return truth(false)
		}),
		array("jaccard", "t:r", func(n node, a []Value) Value {
			if len(n.items) != 2 || n.items[0].kind != jsonArray || n.items[1].kind != jsonArray {
				return null
			}
			x, y := distinct(n.items[0].items), distinct(n.items[1].items)
			union := distinct(append(append([]node{}, x...), y...))
			if len(union) == 0 {
				return null
			}
			return real(float64(len(x)+len(y)-len(union)) / float64(len(union)))
		}),
		array("bag_merge", "t:t", func(n node, a []Value) Value {
			out := node{kind: jsonObject}
			any := false
			for _, part := range n.items {
				if part.kind != jsonObject {
					continue
				}
				any = true
				for i, k := range part.keys {
					if _, taken := out.get(k); !taken {
						out.set(k, part.items[i])
					}
				}
			}
			return orNull(text, out.text(), any)
		}),
		array("bag_pack", "t:t", func(n node, a []Value) Value {
			out := node{kind: jsonObject}
			for i := 0; i+1 < len(n.items); i += 2 {
				out.set(n.items[i].plain(), n.items[i+1])
			}
			return text(out.text())
		}),
		array("bag_pack_filled", "t:t", func(n node, a []Value) Value {
			out := node{kind: jsonObject}
			for i := 0; i+1 < len(n.items); i += 2 {
				if v := n.items[i+1]; v.kind != jsonNull && !(v.kind == jsonString && v.s == "") {
					out.set(n.items[i].plain(), v)
				}
			}
			return text(out.text())
		}),
		on("bag_keys", "t:t", func(n node, a []Value) Value {
			if n.kind != jsonObject {
				return null
			}
			out := make([]node, len(n.keys))
			for i, k := range n.keys {
				out[i] = stringNode(k)
			}
			return give(out)
		}),
		on("bag_has_key", "tt:b", func(n node, a []Value) Value {
			if n.kind != jsonObject {
				return null
			}
			_, ok := n.get(a[1].S)
			return truth(ok)
		}),
		on("bag_remove_keys", "tt:t", func(n node, a []Value) Value {
			keys, ok := parseJSON(a[1].S)
			if !ok || keys.kind != jsonArray || n.kind != jsonObject {
				return null
			}
			for _, k := range keys.items {
				n = without(n, keyPath(k.plain()))
			}
			return text(n.text())
		}),
		on("bag_set_key", "ttt:t", func(n node, a []Value) Value {
			v, ok := parseJSON(a[2].S)
			if !ok || n.kind != jsonObject {
				return null
			}
			return text(with(n, keyPath(a[1].S), v).text())
		}),
		array("bag_zip", "tt:t", func(n node, a []Value) Value {
			values, ok := parseJSON(a[1].S)
			if !ok || values.kind != jsonArray {
				return null
			}
			out := node{kind: jsonObject}
			for i, k := range n.items {
				v := node{}
				if i < len(values.items) {
					v = values.items[i]
				}
				if k.kind == jsonString {
					out.set(k.s, v)
				}
			}
			return text(out.text())
		}),
		on("get_key", "tt:t", func(n node, a []Value) Value {
			v, ok := n.get(a[1].S)
			return orNull(text, v.text(), ok && v.kind != jsonNull)
		}),
		on("get_index", "tl:t", func(n node, a []Value) Value {
			i := a[1].I
			if n.kind != jsonArray {
				return null
			}
			if i < 0 {
				i += int64(len(n.items))
			}
			if i < 0 || i >= int64(len(n.items)) || n.items[i].kind == jsonNull {
				return null
			}
			return text(n.items[i].text())
		}),
		withNulls("expand", "tb:t", func(a []Value) Value {
			if a[0].Null {
				return text("[null]")
			}
			n, ok := parseJSON(a[0].S)
			if !ok {
				return text("[null]")
			}
			switch n.kind {
			case jsonArray:
				return a[0]
			case jsonObject:
				out := make([]node, len(n.keys))
				for i, k := range n.keys {
					if a[1].B {
						out[i] = arrayNode([]node{stringNode(k), n.items[i]})
					} else {
						out[i] = node{kind: jsonObject, keys: n.keys[i : i+1], items: n.items[i : i+1]}
					}
				}
				return give(out)
			}
			return give([]node{n})
		}),
		of("range", "lll:t", func(a []Value) Value {
			if a[2].I == 0 {
				return null
			}
			var out []node
			for v := a[0].I; (a[2].I > 0 && v <= a[1].I || a[2].I < 0 && v >= a[1].I) && len(out) < 1048576; v += a[2].I {
				out = append(out, longNode(v))
			}
			return give(out)
		}),
		of("range_real", "rrr:t", func(a []Value) Value {
			if a[2].F == 0 {
				return null
			}
			var out []node
			for i := 0; len(out) < 1048576; i++ {
				v := a[0].F + float64(i)*a[2].F
				if a[2].F > 0 && v > a[1].F || a[2].F < 0 && v < a[1].F || v != v {
					break
				}
				out = append(out, realNode(v))
			}
			return give(out)
		}),
		of("range_time", "lllb:t", func(a []Value) Value {
			if a[2].I == 0 {
				return null
			}
			var out []node
			for v := a[0].I; (a[2].I > 0 && v <= a[1].I || a[2].I < 0 && v >= a[1].I) && len(out) < 1048576; v += a[2].I {
				if a[3].B {
					out = append(out, stringNode(FormatDatetime(v)))
				} else {
					out = append(out, stringNode(FormatTimespan(v)))
				}
			}
			return give(out)
		}),
		of("repeat", "tl:t", func(a []Value) Value {
			n, ok := parseJSON(a[0].S)
			if !ok || a[1].I > 1048576 {
				return null
			}
			out := make([]node, max(a[1].I, 0))
			for i := range out {
				out[i] = n
			}
			return give(out)
		}),
	}
}

func sequence(n int) []int {
	index := make([]int, n)
	for i := range index {
		index[i] = i
	}
	return index
}

// distinct keeps the first of equal values.
func distinct(items []node) []node {
	seen := make(map[string]bool, len(items))
	var out []node
	for _, n := range items {
		if key := n.text(); !seen[key] {
			seen[key] = true
			out = append(out, n)
		}
	}
	return out
}

// combine keeps the values of the first set that all others have, or that none has.
func combine(sets []node, keep bool) Value {
	for _, s := range sets {
		if s.kind != jsonArray {
			return null
		}
	}
	out := distinct(sets[0].items)
	for _, s := range sets[1:] {
		has := make(map[string]bool, len(s.items))
		for _, n := range s.items {
			has[n.text()] = true
		}
		var rest []node
		for _, n := range out {
			if has[n.text()] == keep {
				rest = append(rest, n)
			}
		}
		out = rest
	}
	return text(arrayNode(out).text())
}

// keyPath reads a key, or a path that begins with $. .
func keyPath(s string) []string {
	if rest, ok := strings.CutPrefix(s, "$."); ok {
		return strings.Split(rest, ".")
	}
	return []string{s}
}

func without(n node, path []string) node {
	out := node{kind: jsonObject}
	for i, k := range n.keys {
		switch {
		case k != path[0]:
			out.set(k, n.items[i])
		case len(path) > 1 && n.items[i].kind == jsonObject:
			out.set(k, without(n.items[i], path[1:]))
		case len(path) > 1:
			out.set(k, n.items[i])
		}
	}
	return out
}

func with(n node, path []string, v node) node {
	if len(path) > 1 {
		inner, _ := n.get(path[0])
		if inner.kind != jsonObject {
			inner = node{kind: jsonObject}
		}
		v = with(inner, path[1:], v)
	}
	out := node{kind: jsonObject, keys: append([]string{}, n.keys...), items: append([]node{}, n.items...)}
	if _, there := out.get(path[0]); there && len(path) == 1 {
		out = without(out, path)
	}
	out.set(path[0], v)
	return out
}

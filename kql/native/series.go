package native

import (
	"math"
)

// series are the functions on arrays of numbers. A missing value is a null.
func series() []Function {
	array := func(name, params string, f func(items []node, a []Value) Value) Function {
		return of(name, params, func(a []Value) Value {
			n, ok := parseJSON(a[0].S)
			if !ok || n.kind != jsonArray {
				return null
			}
			return f(n.items, a)
		})
	}
	give := func(items []node) Value { return text(arrayNode(items).text()) }
	return []Function{
		array("series_fill_forward", "t:t", func(items []node, a []Value) Value {
			last := node{}
			for i, n := range items {
				if n.kind == jsonNull {
					items[i] = last
				} else {
					last = n
				}
			}
			return give(items)
		}),
		array("series_fill_backward", "t:t", func(items []node, a []Value) Value {
			last := node{}
			for i := len(items) - 1; i >= 0; i-- {
				if items[i].kind == jsonNull {
					items[i] = last
				} else {
					last = items[i]
				}
			}
			return give(items)
		}),
		array("series_fill_const", "tt:t", func(items []node, a []Value) Value {
			fill, ok := parseJSON(a[1].S)
			if !ok {
				return null
			}
			for i, n := range items {
				if n.kind == jsonNull {
					items[i] = fill
				}
			}
			return give(items)
		}),
		array("series_fill_linear", "t:t", func(items []node, a []Value) Value { return give(fillLinear(items)) }),
		array("series_map", "tt:t", func(items []node, a []Value) Value {
			f, ok := seriesMaps[a[1].S]
			if !ok {
				return null
			}
			out := make([]node, len(items))
			for i, n := range items {
				if x, ok := n.number(); ok {
					out[i] = realNode(f(x))
				}
			}
			return give(out)
		}),
		array("series_abs", "t:t", func(items []node, a []Value) Value {
			out := make([]node, len(items))
			integers := allLong(items)
			for i, n := range items {
				if x, ok := n.number(); ok {
					out[i] = realNode(math.Abs(x))
					if integers {
						out[i] = longNode(int64(math.Abs(x)))
					}
				}
			}
			return give(out)
		}),
		array("series_combine", "ttt:t", func(items []node, a []Value) Value {
			other, ok := parseJSON(a[1].S)
			if !ok || other.kind != jsonArray {
				return null
			}
			return seriesCombine(items, other.items, a[2].S)
		}),
		array("series_sum", "t:r", func(items []node, a []Value) Value {
			sum := 0.0
			for _, n := range items {
				x, _ := n.number()
				sum += x
			}
			return real(sum)
		}),
		array("series_product", "t:r", func(items []node, a []Value) Value {
			product := 1.0
			for _, n := range items {
				if x, ok := n.number(); ok {
					product *= x
				}
			}
			return real(product)
		}),
		array("series_magnitude", "t:r", func(items []node, a []Value) Value {
			sum := 0.0
			for _, n := range items {
				x, _ := n.number()
				sum += x * x
			}
			return real(math.Sqrt(sum))
		}),
		array("series_dot_product", "tt:r", func(items []node, a []Value) Value {
			other, ok := parseJSON(a[1].S)
			if !ok || other.kind != jsonArray || len(other.items) != len(items) {
				return null
			}
			sum := 0.0
			for i := range items {
				x, ok1 := items[i].number()
				y, ok2 := other.items[i].number()
				if !ok1 || !ok2 {
					return null
				}
				sum += x * y
			}
			return real(sum)
		}),
		array("series_stats", "t:t", func(items []node, a []Value) Value {
			xs, index := finiteNumbers(items)
			if len(xs) == 0 {
				return null
			}
			low, high, sum := 0, 0, 0.0
			for i, x := range xs {
				if x < xs[low] {
					low = i
				}
				if x > xs[high] {
					high = i
				}
				sum += x
			}
			mean := sum / float64(len(xs))
			squares := 0.0
			for _, x := range xs {
				squares += (x - mean) * (x - mean)
			}
			variance := 0.0
			if len(xs) > 1 {
				variance = squares / float64(len(xs)-1)
			}
			return give([]node{realNode(xs[low]), longNode(int64(index[low])), realNode(xs[high]), longNode(int64(index[high])), realNode(mean), realNode(math.Sqrt(variance)), realNode(variance)})
		}),
		array("series_fit_line", "t:t", func(items []node, a []Value) Value { return fitLine(items) }),
		array("series_pearson", "tt:r", func(items []node, a []Value) Value {
			other, ok := parseJSON(a[1].S)
			if !ok || other.kind != jsonArray || len(other.items) != len(items) || len(items) == 0 {
				return null
			}
			var sx, sy, sxx, syy, sxy float64
			for i := range items {
				x, ok1 := items[i].number()
				y, ok2 := other.items[i].number()
				if !ok1 || !ok2 {
					return null
				}
				sx, sy, sxx, syy, sxy = sx+x, sy+y, sxx+x*x, syy+y*y, sxy+x*y
			}
			n := float64(len(items))
			return real((n*sxy - sx*sy) / math.Sqrt((n*sxx-sx*sx)*(n*syy-sy*sy)))
		}),
		array("series_iir", "ttt:t", func(items []node, a []Value) Value {
			b, ok1 := numbers(a[1].S)
			c, ok2 := numbers(a[2].S)
			if !ok1 || !ok2 || len(c) == 0 || c[0] == 0 || len(b) == 0 {
				return null
			}
			y := make([]float64, len(items))
			out := make([]node, len(items))
			for i := range items {
				sum := 0.0
				for j, f := range b {
					if i >= j {
						x, _ := items[i-j].number()
						sum += f * x
					}
				}
				for j, f := range c[1:] {
					if i > j {
						sum -= f * y[i-j-1]
					}
				}
				y[i] = sum / c[0]
				out[i] = realNode(y[i])
			}
			return give(out)
		}),
	}
}

func numbers(s string) ([]float64, bool) {
	n, ok := parseJSON(s)
	if !ok || n.kind != jsonArray {
		return nil, false
	}
	out := make([]float64, len(n.items))
	for i, item := range n.items {
		if out[i], ok = item.number(); !ok {
			return nil, false
		}
	}
	return out, true
}

func allLong(items []node) bool {
	for _, n := range items {
		if n.kind != jsonLong && n.kind != jsonNull {
			return false
		}
	}
	return true
}

func fillLinear(items []node) []node {
	integers := allLong(items)
	previous := -1
	for i := 0; i <= len(items); i++ {
		if i < len(items) && items[i].kind == jsonNull {
			continue
		}
		switch {
		case previous < 0 && i < len(items):
			for j := range i {
				items[j] = items[i]
			}
		case previous >= 0 && i == len(items):
			for j := previous + 1; j < i; j++ {
				items[j] = items[previous]
			}
		case previous >= 0 && i > previous+1:
			x, _ := items[previous].number()
			y, _ := items[i].number()
			for j := previous + 1; j < i; j++ {
				v := x + (y-x)*float64(j-previous)/float64(i-previous)
				items[j] = realNode(v)
				if integers {
					items[j] = longNode(int64(math.Round(v)))
				}
			}
		}
		previous = i
	}
	return items
}

var seriesMaps = map[string]func(float64) float64{"exp": math.Exp, "sin": math.Sin, "cos": math.Cos, "tan": math.Tan, "asin": math.Asin,
	"acos": math.Acos, "atan": math.Atan, "log": math.Log, "floor": math.Floor, "ceiling": math.Ceil,
	"sign": func(x float64) float64 {
		switch {
		case x > 0:
			return 1
		case x < 0:
			return -1
		}
		return 0
	}}

// seriesCombine applies an operation to elements of two arrays; beyond the shorter one the result is null.
func seriesCombine(xs, ys []node, op string) Value {
	out := make([]node, max(len(xs), len(ys)))
	integers := allLong(xs) && allLong(ys)
	for i := range out {
		if i >= len(xs) || i >= len(ys) {
			continue
		}
		x, ok1 := xs[i].number()
		y, ok2 := ys[i].number()
		if !ok1 || !ok2 {
			continue
		}
		var v float64
		switch op {
		case "add":
			v = x + y
		case "subtract":
			v = x - y
		case "multiply":
			v = x * y
		case "divide":
			v = x / y
		case "pow":
			v = math.Pow(x, y)
		case "greater":
			out[i] = boolNode(x > y)
			continue
		case "greater_equals":
			out[i] = boolNode(x >= y)
			continue
		case "less":
			out[i] = boolNode(x < y)
			continue
		case "less_equals":
			out[i] = boolNode(x <= y)
			continue
		case "equals":
			out[i] = boolNode(x == y)
			continue
		case "not_equals":
			out[i] = boolNode(x != y)
			continue
		default:
			return null
		}
		out[i] = realNode(v)
		if integers && op != "divide" && op != "pow" {
			out[i] = longNode(int64(v))
		}
	}
	return text(arrayNode(out).text())
}

// finiteNumbers gives the numbers of a series and their places.
func finiteNumbers(items []node) (xs []float64, index []int) {
	for i, n := range items {
		if x, ok := n.number(); ok && !math.IsNaN(x) && !math.IsInf(x, 0) {
			xs = append(xs, x)
			index = append(index, i)
		}
	}
	return xs, index
}

// fitLine gives the least-squares line over the places 0, 1, 2 ...: how much of the variance it explains, its slope,
// the variances of the series and of what is left, where it meets the axis, and its points.
func fitLine(items []node) Value {
	ys, index := finiteNumbers(items)
	n := float64(len(ys))
	if n < 2 {
		return null
	}
	var mx, my float64
	for i, y := range ys {
		mx += float64(index[i])
		my += y
	}
	mx, my = mx/n, my/n
	var sxx, sxy, syy float64
	for i, y := range ys {
		dx, dy := float64(index[i])-mx, y-my
		sxx, sxy, syy = sxx+dx*dx, sxy+dx*dy, syy+dy*dy
	}
	slope := sxy / sxx
	interception := my - slope*mx
	rest := 0.0
	for i, y := range ys {
		d := y - interception - slope*float64(index[i])
		rest += d * d
	}
	square := 1.0
	if syy != 0 {
		square = 1 - rest/syy
	}
	line := make([]node, len(items))
	for i := range line {
		line[i] = realNode(interception + slope*float64(i))
	}
	out := []node{realNode(square), realNode(slope), realNode(syy / (n - 1)), realNode(rest / (n - 1)), realNode(interception), arrayNode(line)}
	return text(arrayNode(out).text())
}

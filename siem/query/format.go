package query

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/otus-project/otus/kql/native"
	"github.com/otus-project/otus/siem/store"
)

// Text gives a value of a Result as people and CSV files see it; null is empty.
func Text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return native.FormatReal(v)
	case string:
		return v
	case time.Time:
		ticks, _ := store.Ticks(v)
		return native.FormatDatetime(ticks)
	case time.Duration:
		return native.FormatTimespan(int64(v / 100))
	case json.RawMessage:
		return string(v)
	}
	return fmt.Sprint(v)
}

// JSON gives a value of a Result as a value for JSON: datetime and timespan are text, dynamic is itself, reals that
// JSON has no number for are text.
func JSON(v any) any {
	switch v := v.(type) {
	case time.Time, time.Duration:
		return Text(v)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return Text(v)
		}
	}
	return v
}

// maxCell is how many characters of a cell the table shows.
const maxCell = 80

// WriteTable prints a result for a terminal: aligned columns, long cells cut, numbers to the right.
func WriteTable(w io.Writer, r *Result) error {
	widths := make([]int, len(r.Columns))
	right := make([]bool, len(r.Columns))
	for i, c := range r.Columns {
		widths[i] = utf8.RuneCountInString(c.Name)
	}
	cells := make([][]string, len(r.Rows))
	for n, row := range r.Rows {
		cells[n] = make([]string, len(row))
		for i, v := range row {
			cell := oneLine(Text(v))
			cells[n][i] = cell
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
			switch v.(type) {
			case int64, float64:
				right[i] = true
			}
		}
	}
	var b bytes.Buffer
	line := func(get func(i int) string, alignRight bool) {
		start := b.Len()
		for i := range r.Columns {
			if i > 0 {
				b.WriteString("  ")
			}
			text := get(i)
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text))
			if alignRight && right[i] {
				b.WriteString(pad + text)
			} else {
				b.WriteString(text + pad)
			}
		}
		trimmed := bytes.TrimRight(b.Bytes()[start:], " ")
		b.Truncate(start + len(trimmed))
		b.WriteByte('\n')
	}
	line(func(i int) string { return r.Columns[i].Name }, true)
	line(func(i int) string { return strings.Repeat("-", widths[i]) }, false)
	for _, row := range cells {
		line(func(i int) string { return row[i] }, true)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// oneLine cuts a cell, and shows what a terminal would obey as a space.
func oneLine(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n == maxCell-1 && utf8.RuneCountInString(s) > maxCell {
			b.WriteRune('…')
			break
		}
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			r = ' '
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}

// WriteJSON prints a result as a JSON array of one object per row, keys in the order of the columns.
func WriteJSON(w io.Writer, r *Result) error {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	b.WriteByte('[')
	for n, row := range r.Rows {
		if n > 0 {
			b.WriteByte(',')
		}
		b.WriteString("\n{")
		for i, v := range row {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(native.JSONString(r.Columns[i].Name))
			b.WriteByte(':')
			if err := encoder.Encode(JSON(v)); err != nil {
				return fmt.Errorf("column %q: %w", r.Columns[i].Name, err)
			}
			b.Truncate(b.Len() - 1) // the encoder's line end
		}
		b.WriteByte('}')
		if b.Len() > 1<<20 {
			if _, err := b.WriteTo(w); err != nil {
				return err
			}
		}
	}
	b.WriteString("\n]\n")
	_, err := b.WriteTo(w)
	return err
}

// WriteCSV prints a result as CSV (RFC 4180) with a head line.
func WriteCSV(w io.Writer, r *Result) error {
	out := csv.NewWriter(w)
	record := make([]string, len(r.Columns))
	for i, c := range r.Columns {
		record[i] = c.Name
	}
	if err := out.Write(record); err != nil {
		return err
	}
	for _, row := range r.Rows {
		for i, v := range row {
			record[i] = Text(v)
		}
		if err := out.Write(record); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

package store

import (
	"fmt"
	"sort"
)

// Prepared is a batch in stored form, ready to be appended. It is made by Prepare and never changed.
type Prepared struct {
	Sender   string
	Sequence uint64
	Tables   []PreparedTable // sorted by name, none empty
}

// PreparedTable holds the rows of one table, in the batch's order.
type PreparedTable struct {
	Table *Table
	Rows  []PreparedRow
}

// PreparedRow has a row's values in the order of the table's columns, in physical form: nil, bool, int32, int64,
// float64 or string.
type PreparedRow struct {
	Values []any
	// Key is nil for a row without one.
	Key *Key
	// Again replaces values, by column index, where the row is not the first of its Key.
	Again map[int]any
}

// Resolve gives the row's values; first says whether it is the first of its Key.
func (r *PreparedRow) Resolve(first bool) []any {
	if first || len(r.Again) == 0 {
		return r.Values
	}
	values := append([]any(nil), r.Values...)
	for i, v := range r.Again {
		values[i] = v
	}
	return values
}

// Prepare is the pure part of Store.Prepare, over tables by name.
func Prepare(tables map[string]*Table, b Batch) (*Prepared, error) {
	p := &Prepared{Sender: b.Sender, Sequence: b.Sequence}
	if b.Sender == "" {
		return nil, fmt.Errorf("batch %d: no sender", b.Sequence)
	}
	for name, rows := range b.Rows {
		t := tables[name]
		if t == nil {
			return nil, fmt.Errorf("batch %d of %q: there is no table %q", b.Sequence, b.Sender, name)
		}
		if len(rows) == 0 {
			continue
		}
		prepared := PreparedTable{Table: t, Rows: make([]PreparedRow, len(rows))}
		for i, row := range rows {
			var err error
			if prepared.Rows[i], err = t.prepare(i, row); err != nil {
				return nil, fmt.Errorf("batch %d of %q: %w", b.Sequence, b.Sender, err)
			}
		}
		p.Tables = append(p.Tables, prepared)
	}
	sort.Slice(p.Tables, func(i, j int) bool { return p.Tables[i].Table.Name < p.Tables[j].Table.Name })
	return p, nil
}

func (t *Table) prepare(index int, row Row) (PreparedRow, error) {
	p := PreparedRow{Values: make([]any, len(t.Columns))}
	used := 0
	if key, ok := row[KeyColumn]; ok {
		k, ok := key.(Key)
		if !ok || k.ID == "" {
			return p, &ValueError{Table: t.Name, Row: index, Column: KeyColumn, Value: show(key), Reason: "want a Key with an ID"}
		}
		p.Key = &k
		used++
	}
	for i, c := range t.Columns {
		v, ok := row[c.Name]
		if ok {
			used++
		}
		if choice, ok := v.(IfFirst); ok {
			if p.Key == nil {
				return p, &ValueError{Table: t.Name, Row: index, Column: c.Name, Value: show(v), Reason: "want a Key in the row"}
			}
			again, reason := convert(c.Type, choice.Again)
			if reason != "" {
				return p, &ValueError{Table: t.Name, Row: index, Column: c.Name, Value: show(choice.Again), Reason: reason}
			}
			if p.Again == nil {
				p.Again = make(map[int]any)
			}
			p.Again[i] = again
			v = choice.First
		}
		physical, reason := convert(c.Type, v)
		if reason != "" {
			return p, &ValueError{Table: t.Name, Row: index, Column: c.Name, Value: show(v), Reason: reason}
		}
		p.Values[i] = physical
	}
	if used < len(row) {
		return p, t.unknown(index, row)
	}
	return p, nil
}

package state

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

// Row is a log row: column name to Go value (string, bool, int, int32, int64, float64, time.Time,
// time.Duration, json.RawMessage for dynamic, nil for null), as the log store takes it.
type Row = map[string]any

// Append adds log rows to the transaction. They reach the log store after the commit, all rows of one transaction
// at once, in the order of transactions.
func (tx *Tx) Append(table string, rows ...Row) {
	if tx.outbox == nil {
		tx.outbox = map[string][]Row{}
	}
	tx.outbox[table] = append(tx.outbox[table], rows...)
	tx.rows += len(rows)
}

func (tx *Tx) flush(ctx context.Context) error {
	if tx.rows == 0 {
		return nil
	}
	body, err := encodeRows(tx.outbox)
	if err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO outbox (rows, body) VALUES (?, ?)`, tx.rows, body); err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	return nil
}

// cell is one value on its way through the outbox. JSON alone would forget whether a number was an int32, a
// time or a span, so the kind travels with it.
type cell struct {
	Kind  string          `json:"k"`
	Value json.RawMessage `json:"v"`
}

func encodeRows(tables map[string][]Row) ([]byte, error) {
	out := make(map[string][]map[string]cell, len(tables))
	for table, rows := range tables {
		for _, row := range rows {
			cells := make(map[string]cell, len(row))
			for column, value := range row {
				c, err := encodeCell(value)
				if err != nil {
					return nil, fmt.Errorf("%s.%s: %w", table, column, err)
				}
				cells[column] = c
			}
			out[table] = append(out[table], cells)
		}
	}
	return json.Marshal(out)
}

func encodeCell(value any) (cell, error) {
	integer := func(kind string, n int64) (cell, error) {
		return cell{kind, strconv.AppendInt(nil, n, 10)}, nil
	}
	switch v := value.(type) {
	case nil:
		return cell{"null", json.RawMessage("null")}, nil
	case string:
		text, err := json.Marshal(v)
		return cell{"string", text}, err
	case bool:
		return cell{"bool", strconv.AppendBool(nil, v)}, nil
	case int:
		return integer("long", int64(v))
	case int32:
		return integer("int", int64(v))
	case int64:
		return integer("long", v)
	case float64:
		return integer("real", int64(math.Float64bits(v))) // bits: NaN and infinities have no JSON form
	case time.Time:
		return integer("datetime", Ticks(v))
	case time.Duration:
		return integer("timespan", int64(v))
	case json.RawMessage:
		var compact bytes.Buffer
		if err := json.Compact(&compact, v); err != nil {
			return cell{}, fmt.Errorf("dynamic value: %w", err)
		}
		return cell{"dynamic", compact.Bytes()}, nil
	}
	return cell{}, fmt.Errorf("a log row cannot hold a %T", value)
}

func decodeRows(body []byte) (map[string][]Row, error) {
	var in map[string][]map[string]cell
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, err
	}
	tables := make(map[string][]Row, len(in))
	for table, rows := range in {
		for _, cells := range rows {
			row := make(Row, len(cells))
			for column, c := range cells {
				value, err := c.decode()
				if err != nil {
					return nil, fmt.Errorf("%s.%s: %w", table, column, err)
				}
				row[column] = value
			}
			tables[table] = append(tables[table], row)
		}
	}
	return tables, nil
}

func (c cell) decode() (any, error) {
	switch c.Kind {
	case "null":
		return nil, nil
	case "string":
		var s string
		err := json.Unmarshal(c.Value, &s)
		return s, err
	case "bool":
		return strconv.ParseBool(string(c.Value))
	case "dynamic":
		return c.Value, nil
	}
	n, err := strconv.ParseInt(string(c.Value), 10, 64)
	if err != nil {
		return nil, err
	}
	switch c.Kind {
	case "int":
		return int32(n), nil
	case "long":
		return n, nil
	case "real":
		return math.Float64frombits(uint64(n)), nil
	case "datetime":
		return Time(n), nil
	case "timespan":
		return time.Duration(n), nil
	}
	return nil, fmt.Errorf("unknown kind %q", c.Kind)
}

// Command kqlcases runs or binds files of KQL queries, a JSON line for each, so that anyone can score the engine:
//
//	kqlcases run CASES.jsonl > results.jsonl
//	kqlcases bind --schema schema.json QUERIES.jsonl > columns.jsonl
//
// A line of CASES.jsonl has "query"; its answer is {"ok","columns","rows","err"}. A line of QUERIES.jsonl has "id"
// and "query"; its answer is {"id","ok","columns":[[name,type]],"err"}. The schema is {"tables":{name:[[column,type]]}}.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"time"

	"github.com/otus-project/otus/kql"
	"github.com/otus-project/otus/kql/native"
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/siem/store/duckdb"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, time.Now()); err != nil {
		fmt.Fprintln(os.Stderr, "kqlcases:", err)
		os.Exit(1)
	}
}

const usage = "usage: kqlcases run CASES.jsonl | kqlcases bind --schema SCHEMA.json QUERIES.jsonl"

func run(args []string, out io.Writer, now time.Time) error {
	w := bufio.NewWriter(out)
	defer w.Flush()
	switch {
	case len(args) == 2 && args[0] == "run":
		return runCases(args[1], w, now)
	case len(args) == 4 && args[0] == "bind" && args[1] == "--schema":
		return bindQueries(args[2], args[3], w, now)
	}
	return errors.New(usage)
}

// lines calls f with every line of a file of JSON lines.
func lines(path string, f func(line []byte) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	s := bufio.NewScanner(file)
	s.Buffer(make([]byte, 64<<10), 16<<20)
	for n := 1; s.Scan(); n++ {
		if len(s.Bytes()) == 0 {
			continue
		}
		if err := f(s.Bytes()); err != nil {
			return fmt.Errorf("%s line %d: %w", path, n, err)
		}
	}
	return s.Err()
}

type result struct {
	OK      bool     `json:"ok"`
	Columns []string `json:"columns"`
	Rows    [][]any  `json:"rows"`
	Err     string   `json:"err,omitempty"`
}

// queryTime bounds one query.
const queryTime = 20 * time.Second

func runCases(path string, w io.Writer, now time.Time) error {
	db, err := duckdb.Open("", duckdb.Options{MemoryLimit: 1 << 30})
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.RegisterNative(kql.Natives()...); err != nil {
		return err
	}
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	return lines(path, func(line []byte) error {
		var c struct {
			Query string `json:"query"`
		}
		if err := json.Unmarshal(line, &c); err != nil {
			return err
		}
		r, err := answer(db, c.Query, now)
		if err != nil {
			r = result{Err: err.Error()}
		}
		if r.Columns == nil {
			r.Columns = []string{}
		}
		if r.Rows == nil {
			r.Rows = [][]any{}
		}
		return out.Encode(r)
	})
}

func answer(db *duckdb.DB, text string, now time.Time) (result, error) {
	q, err := kql.Compile(text, kql.Options{Now: now})
	if err != nil {
		return result{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), queryTime)
	defer cancel()
	rows, err := db.Query(ctx, q.SQL, q.Args...)
	if err != nil {
		return result{}, err
	}
	defer rows.Close()
	r := result{OK: true}
	for _, c := range q.Columns {
		r.Columns = append(r.Columns, c.Name)
	}
	for rows.Next() {
		row := make([]any, len(q.Columns))
		for i, v := range rows.Row() {
			row[i] = cell(q.Columns[i].Type, v)
		}
		r.Rows = append(r.Rows, row)
	}
	return r, rows.Err()
}

// cell gives a value of the store as JSON has it.
func cell(t schema.Type, v any) any {
	switch v := v.(type) {
	case int64:
		switch t {
		case schema.DateTime:
			return native.FormatDatetime(v)
		case schema.Timespan:
			return native.FormatTimespan(v)
		}
		return json.RawMessage(native.FormatLong(v))
	case float64:
		return json.RawMessage(native.RealJSON(v))
	case string:
		if t == schema.Dynamic {
			return json.RawMessage(v)
		}
		return v
	}
	return v
}

type bound struct {
	ID      string      `json:"id"`
	OK      bool        `json:"ok"`
	Columns [][2]string `json:"columns"`
	Err     string      `json:"err,omitempty"`
}

func bindQueries(schemaPath, path string, w io.Writer, now time.Time) error {
	catalog, err := readSchema(schemaPath)
	if err != nil {
		return err
	}
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	return lines(path, func(line []byte) error {
		var c struct {
			ID    string `json:"id"`
			Query string `json:"query"`
		}
		if err := json.Unmarshal(line, &c); err != nil {
			return err
		}
		b := bound{ID: c.ID, Columns: [][2]string{}}
		columns, err := kql.Bind(c.Query, kql.Options{Catalog: catalog, Now: now})
		if err != nil {
			b.Err = err.Error()
			return out.Encode(b)
		}
		b.OK = true
		for _, c := range columns {
			b.Columns = append(b.Columns, [2]string{c.Name, c.Type.String()})
		}
		return out.Encode(b)
	})
}

func readSchema(path string) (*schema.Catalog, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var s struct {
		Tables map[string][][2]string `json:"tables"`
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("read schema %q: %w", path, err)
	}
	c := &schema.Catalog{}
	for name, columns := range s.Tables {
		t := &schema.Table{Name: name}
		for _, col := range columns {
			typ, ok := schema.ParseType(col[1])
			if !ok {
				return nil, fmt.Errorf("read schema %q: column %s.%s has unknown type %q", path, name, col[0], col[1])
			}
			t.Columns = append(t.Columns, schema.Column{Name: col[0], Type: typ})
		}
		c.Tables = append(c.Tables, t)
	}
	sort.Slice(c.Tables, func(i, j int) bool { return c.Tables[i].Name < c.Tables[j].Name })
	return c, nil
}

package kql_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/otus-project/otus/kql"
	"github.com/otus-project/otus/siem/store/duckdb"
)

// TestCorpusRuns runs every real query that compiles against empty tables: the store must understand all SQL that
// the compiler writes.
func TestCorpusRuns(t *testing.T) {
	catalog := corpusCatalog(t)
	db := openStore(t)
	ctx := context.Background()
	made := map[string]error{}
	make := func(name string) error {
		var columns []string
		for _, c := range catalog.Table(name).Columns {
			p := physical[c.Type]
			if p == "" {
				p = "VARCHAR"
			}
			columns = append(columns, fmt.Sprintf("%q %s", c.Name, p))
		}
		columns = append(columns, `"_IngestSeq" BIGINT`, `"_IngestionTime" BIGINT`)
		return db.WriteConn(ctx, func(c *duckdb.Conn) error {
			_, err := c.Exec(ctx, fmt.Sprintf("CREATE TABLE %q (%s)", name, strings.Join(columns, ", ")))
			return err
		})
	}
	create := func(name string) error {
		err, done := made[name]
		if !done {
			err = make(name)
			made[name] = err
		}
		return err
	}
	compiled, ran := 0, 0
	refused := map[string]int{}
	for _, q := range readLines[struct{ ID, Query string }](t, "corpus.dev.jsonl") {
		c, err := kql.Compile(q.Query, kql.Options{Catalog: catalog, Now: caseNow})
		if err != nil {
			if _, why, ok := strings.Cut(err.Error(), ": "); ok {
				why, _, _ = strings.Cut(why, "; and")
				refused[why]++
			}
			continue
		}
		compiled++
		if len(c.Tables) > 100 {
			continue // a union of everything
		}
		bad := false
		for _, name := range c.Tables {
			if err := create(name); err != nil {
				bad = true // a table whose columns differ in case only, which the store does not have
			}
		}
		if bad {
			continue
		}
		ran++
		if err := runEmpty(db, c); err != nil {
			t.Errorf("%s: %v\n%s\n%s", q.ID, err, q.Query, readableSQL(c))
		}
	}
	t.Logf("%d queries compile, %d of them ran", compiled, ran)
	for why, n := range refused {
		if n >= 3 {
			t.Logf("refused %d times: %s", n, why)
		}
	}
}

func runEmpty(db *duckdb.DB, q *kql.Query) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	rows, err := db.Query(ctx, q.SQL, q.Args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
	}
	return rows.Err()
}

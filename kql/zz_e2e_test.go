package kql_test

import (
	"testing"
	"time"

	"github.com/otus-project/otus/content"
	"github.com/otus-project/otus/kql"
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/siem/store"
)

func TestZZ(t *testing.T) {
	tables, err := store.LoadTables(content.FS())
	if err != nil {
		t.Fatal(err)
	}
	_ = schema.Long
	_ = tables
	q, err := kql.Compile(`SecurityAlert | summarize arg_max(tolong(parse_json(ExtendedProperties).Revision), Status) by VendorOriginalId`, kql.Options{Catalog: tables, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(q.SQL)
}

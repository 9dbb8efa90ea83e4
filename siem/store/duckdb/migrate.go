package duckdb

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/siem/store"
)

// version is the form of the file: the internal tables and how values are stored. It grows when a program
// of today could not read tomorrow's file.
const version = 1

// internalTables carry the store's own state. _column has the declared KQL types, which the physical types do not
// tell apart; of _sender, to which rows are only added, the highest sequence holds.
var internalTables = []string{
	"CREATE TABLE IF NOT EXISTS _meta (name VARCHAR NOT NULL, value VARCHAR NOT NULL)",
	"CREATE TABLE IF NOT EXISTS _column (table_name VARCHAR NOT NULL, column_name VARCHAR NOT NULL, type VARCHAR NOT NULL)",
	"CREATE TABLE IF NOT EXISTS _sender (sender VARCHAR NOT NULL, sequence BIGINT NOT NULL, rows BIGINT NOT NULL, last_rows BIGINT, ingest_seq BIGINT NOT NULL)",
	"CREATE TABLE IF NOT EXISTS _key (table_name VARCHAR NOT NULL, id VARCHAR NOT NULL, revision BIGINT NOT NULL, time BIGINT NOT NULL)",
}

// migrate brings the file to the declared tables, in one transaction.
func (s *Store) migrate(ctx context.Context) error {
	return s.db.Write(ctx, func(c *Conn) error {
		for _, sql := range internalTables {
			if _, err := c.Exec(ctx, sql); err != nil {
				return err
			}
		}
		if err := checkVersion(ctx, c); err != nil {
			return err
		}
		stored, err := readColumns(ctx, c)
		if err != nil {
			return err
		}
		for name := range stored {
			if s.byName[name] == nil {
				return fmt.Errorf("table %q is in the file but not declared: the file was written by a newer program, or its declaration was removed", name)
			}
		}
		for _, t := range s.tables {
			if err := migrateTable(ctx, c, t, stored[t.Name]); err != nil {
				return fmt.Errorf("table %q: %w", t.Name, err)
			}
		}
		return nil
	})
}

func checkVersion(ctx context.Context, c *Conn) error {
	rows, err := c.Query(ctx, "SELECT value FROM _meta WHERE name = 'version'")
	if err != nil {
		return err
	}
	all, err := rows.All()
	if err != nil {
		return err
	}
	if len(all) == 0 {
		_, err := c.Exec(ctx, "INSERT INTO _meta VALUES ('version', ?)", strconv.Itoa(version))
		return err
	}
	got, err := strconv.Atoi(all[0][0].(string))
	if err != nil {
		return fmt.Errorf("read version of the file: %w", err)
	}
	if got > version {
		return fmt.Errorf("the file has version %d, written by a newer program; this one reads up to %d", got, version)
	}
	return nil
}

// readColumns gives the KQL types as stored, by table and column.
func readColumns(ctx context.Context, c *Conn) (map[string]map[string]string, error) {
	rows, err := c.Query(ctx, "SELECT table_name, column_name, type FROM _column")
	if err != nil {
		return nil, err
	}
	all, err := rows.All()
	if err != nil {
		return nil, err
	}
	stored := make(map[string]map[string]string)
	for _, row := range all {
		table := row[0].(string)
		if stored[table] == nil {
			stored[table] = make(map[string]string)
		}
		stored[table][row[1].(string)] = row[2].(string)
	}
	return stored, nil
}

func migrateTable(ctx context.Context, c *Conn, t *store.Table, stored map[string]string) error {
	if stored == nil {
		var columns []string
		for _, column := range t.Columns {
			columns = append(columns, definition(column))
		}
		columns = append(columns, quote(store.IngestSeqColumn)+" BIGINT", quote(store.IngestionTimeColumn)+" BIGINT")
		if _, err := c.Exec(ctx, "CREATE TABLE "+quote(t.Name)+" ("+strings.Join(columns, ", ")+")"); err != nil {
			return err
		}
		return recordColumns(ctx, c, t.Name, t.Columns)
	}
	for _, name := range sortedKeys(stored) {
		kind, ok := t.ColumnType(name)
		if !ok {
			return fmt.Errorf("column %q is in the file but not declared: the file was written by a newer program, or the column was removed", name)
		}
		if kind.String() != stored[name] {
			return fmt.Errorf("column %q is %s in the file but declared as %s; a column's type never changes", name, stored[name], kind)
		}
	}
	var added []schema.Column
	for _, column := range t.Columns {
		if _, ok := stored[column.Name]; ok {
			continue
		}
		if _, err := c.Exec(ctx, "ALTER TABLE "+quote(t.Name)+" ADD COLUMN "+definition(column)); err != nil {
			return fmt.Errorf("add column %q: %w", column.Name, err)
		}
		added = append(added, column)
	}
	return recordColumns(ctx, c, t.Name, added)
}

func recordColumns(ctx context.Context, c *Conn, table string, columns []schema.Column) error {
	a, err := c.NewAppender("_column", []string{"table_name", "column_name", "type"})
	if err != nil {
		return err
	}
	defer a.Close()
	for _, column := range columns {
		if err := a.Append([]any{table, column.Name, column.Type.String()}); err != nil {
			return err
		}
	}
	return a.Flush()
}

// definition is a column in SQL. A string is never null, so rows older than the column read it as empty.
func definition(c schema.Column) string {
	sql := quote(c.Name) + " " + physicalName(c.Type)
	if c.Type == schema.String {
		sql += " DEFAULT ''"
	}
	return sql
}

func physicalName(t schema.Type) string {
	switch store.KindOf(t) {
	case store.Boolean:
		return "BOOLEAN"
	case store.Integer32:
		return "INTEGER"
	case store.Integer64:
		return "BIGINT"
	case store.Double:
		return "DOUBLE"
	default:
		return "VARCHAR"
	}
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

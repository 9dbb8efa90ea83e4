package store

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/otus-project/otus/kql/schema"
)

// Table is a table as declared: what queries see, and how long rows stay.
type Table struct {
	schema.Table
	// Retention counts from ingestion; 0 keeps rows for ever.
	Retention time.Duration
	types     map[string]schema.Type
}

// ColumnType gives the KQL type of a declared column.
func (t *Table) ColumnType(name string) (schema.Type, bool) {
	kind, ok := t.types[name]
	return kind, ok
}

// file is the YAML form of a table.
type file struct {
	Name        string   `yaml:"name"`
	Description string   `yaml:"description"`
	Solutions   []string `yaml:"solutions"`
	Retention   string   `yaml:"retention"`
	Columns     []struct {
		Name        string `yaml:"name"`
		Type        string `yaml:"type"`
		Description string `yaml:"description"`
	} `yaml:"columns"`
}

// LoadTables reads every tables/*.yaml of a content folder, sorted by table name. Its error names the file.
func LoadTables(content fs.FS) ([]*Table, error) {
	names, err := fs.Glob(content, "tables/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	var tables []*Table
	from := make(map[string]string)
	for _, name := range names {
		b, err := fs.ReadFile(content, name)
		if err != nil {
			return nil, fmt.Errorf("read table: %w", err)
		}
		t, err := parseTable(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if other := from[strings.ToLower(t.Name)]; other != "" {
			return nil, fmt.Errorf("%s: table %q is declared in %s already", name, t.Name, path.Base(other))
		}
		from[strings.ToLower(t.Name)] = name
		tables = append(tables, t)
	}
	sort.Slice(tables, func(i, j int) bool { return tables[i].Name < tables[j].Name })
	return tables, nil
}

var (
	tableName  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,62}$`)
	columnName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,44}$`)
)

// maxColumns bounds a table; Log Analytics allows 500.
const maxColumns = 500

func parseTable(b []byte) (*Table, error) {
	var f file
	if err := yaml.UnmarshalWithOptions(b, &f, yaml.Strict()); err != nil {
		return nil, err
	}
	if !tableName.MatchString(f.Name) {
		return nil, fmt.Errorf("name: %q is not a table name", f.Name)
	}
	if f.Description == "" || len(f.Solutions) == 0 {
		return nil, fmt.Errorf("table %q needs a description and at least one solution", f.Name)
	}
	t := &Table{types: make(map[string]schema.Type)}
	t.Name, t.Description, t.Solutions = f.Name, f.Description, f.Solutions
	var err error
	if t.Retention, err = parseRetention(f.Retention); err != nil {
		return nil, err
	}
	if len(f.Columns) > maxColumns {
		return nil, fmt.Errorf("columns: %d, more than %d", len(f.Columns), maxColumns)
	}
	seen := make(map[string]bool)
	for _, c := range f.Columns {
		kind, ok := schema.ParseType(c.Type)
		switch {
		case !columnName.MatchString(c.Name):
			return nil, fmt.Errorf("columns: %q is not a column name (a letter, then letters, digits and _, at most 45)", c.Name)
		case seen[strings.ToLower(c.Name)]:
			return nil, fmt.Errorf("column %q: declared twice", c.Name)
		case !ok:
			return nil, fmt.Errorf("column %q: unknown type %q", c.Name, c.Type)
		case c.Description == "":
			return nil, fmt.Errorf("column %q: needs a description", c.Name)
		}
		seen[strings.ToLower(c.Name)] = true
		t.types[c.Name] = kind
		t.Columns = append(t.Columns, schema.Column{Name: c.Name, Type: kind, Description: c.Description})
	}
	for name, want := range map[string]schema.Type{"TimeGenerated": schema.DateTime, "TenantId": schema.String, "Type": schema.String} {
		if got, ok := t.types[name]; !ok || got != want {
			return nil, fmt.Errorf("column %q: every table has it, of type %s", name, want)
		}
	}
	return t, nil
}

// parseRetention reads "90d"; "forever" is 0.
func parseRetention(s string) (time.Duration, error) {
	if s == "forever" {
		return 0, nil
	}
	days, err := strconv.Atoi(strings.TrimSuffix(s, "d"))
	if err != nil || !strings.HasSuffix(s, "d") || days < 1 || days > 36500 {
		return 0, fmt.Errorf("retention: %q is not a number of days such as 90d, nor forever", s)
	}
	return time.Duration(days) * 24 * time.Hour, nil
}

// Catalog makes the compiler's view of the tables.
func Catalog(tables []*Table) *schema.Catalog {
	c := &schema.Catalog{}
	for _, t := range tables {
		c.Tables = append(c.Tables, &t.Table)
	}
	return c
}

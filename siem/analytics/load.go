package analytics

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/otus-project/otus/kql"
	"github.com/otus-project/otus/kql/schema"
)

// DefaultIncidentRule is the id of the shipped rule that opens an incident for each alert of a sensor. The connector's
// "create incidents" switch is this rule's.
const DefaultIncidentRule = "6f4f4b0e-5d3b-5f6e-9b61-0a4a4a0f2c11"

// loaded is a rule ready to run.
type loaded struct {
	*Rule
	source string // "content" or "user"
	file   string
	// tables are the log tables its query reads.
	tables []string
	// atIngest says that each new row decides by itself, so that the rule runs when rows arrive.
	atIngest bool
}

func (l *loaded) provider() string {
	if l.source == "user" {
		return providerUser
	}
	return providerContent
}

// load parses a rule and compiles its query. id stands in where the text names none. The error is FileErrors.
func load(file, id string, data []byte, catalog *schema.Catalog, source string) (*loaded, error) {
	r, err := parse(file, data, id)
	if err != nil {
		return nil, err
	}
	l := &loaded{Rule: r, source: source, file: file}
	if r.Kind == KindIncidentCreation {
		l.tables, l.atIngest = []string{"SecurityAlert"}, true
		return l, nil
	}
	q, err := kql.Compile(r.Query, kql.Options{Catalog: catalog})
	if err != nil {
		return nil, newChecker(file, data).queryFaults(err)
	}
	if err := l.checkColumns(file, data, q.Columns); err != nil {
		return nil, err
	}
	l.tables = slices.Sorted(slices.Values(q.Tables))
	l.atIngest = q.RowLocal && r.anyRow()
	if _, err := kql.Compile(l.guarded([]string{l.ID}), kql.Options{Catalog: catalog}); err != nil {
		return nil, FileErrors{{file, 1, 1, "the query cannot be kept from reading the rule's own rows: " + err.Error()}}
	}
	return l, nil
}

func (l *loaded) checkColumns(file string, data []byte, columns []schema.Column) error {
	var faults FileErrors
	var c *checker
	for _, use := range l.columnsUsed() {
		if slices.ContainsFunc(columns, func(have schema.Column) bool { return have.Name == use.column }) {
			continue
		}
		if c == nil {
			c = newChecker(file, data)
		}
		line, column := c.place(use.path)
		faults = append(faults, &FileError{file, line, column, fmt.Sprintf("the query's result has no column %q", use.column)})
	}
	if faults == nil {
		return nil
	}
	slices.SortStableFunc(faults, func(a, b *FileError) int { return a.Line*10000 + a.Column - b.Line*10000 - b.Column })
	return faults
}

// chained reports that the rule reads what rules made: incidents, or alerts of rules, which it sees only if its query
// names their provider. What chained rules make, chained rules do not see; so no rule ever feeds itself, not even by way
// of others, and one event is not counted again for each rule that found it.
func (l *loaded) chained() bool {
	return slices.Contains(l.tables, "SecurityIncident") ||
		slices.Contains(l.tables, "SecurityAlert") && (strings.Contains(l.Query, providerContent) || strings.Contains(l.Query, providerUser))
}

// chainMark stands in the ExtendedProperties of alerts that chained rules made.
const chainMark = `"Rule Level":"2"`

// guarded puts filters before the query that keep rows of rules away from it. fromIncidents lists the rules that
// read SecurityIncident, this one among them if it does.
func (l *loaded) guarded(fromIncidents []string) string {
	var b strings.Builder
	for _, table := range l.tables {
		switch {
		case table == "SecurityAlert" && l.chained():
			fmt.Fprintf(&b, "let SecurityAlert = SecurityAlert | where AlertType != %s and not(ExtendedProperties contains %s); ", kqlString(l.ID), kqlString(chainMark))
		case table == "SecurityAlert":
			fmt.Fprintf(&b, "let SecurityAlert = SecurityAlert | where ProviderName !in (%s, %s); ", kqlString(providerContent), kqlString(providerUser))
		case table == "SecurityIncident":
			b.WriteString("let SecurityIncident = SecurityIncident | where true")
			for _, id := range fromIncidents {
				fmt.Fprintf(&b, " and not(tostring(RelatedAnalyticRuleIds) contains %s)", kqlString(jsonText(id)))
			}
			b.WriteString("; ")
		}
	}
	return b.String() + l.Query
}

func kqlString(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(text) + `"`
}

// loadContent reads all rules of a folder tree, such as content/rules. All faults of all files come together.
func loadContent(files fs.FS, catalog *schema.Catalog) ([]*loaded, error) {
	var all []*loaded
	var faults []error
	ids := map[string]string{}
	err := fs.WalkDir(files, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(p) != ".yaml" {
			return err
		}
		data, err := fs.ReadFile(files, p)
		if err != nil {
			return err
		}
		l, err := load(p, "", data, catalog, "content")
		if err != nil {
			faults = append(faults, err)
			return nil
		}
		if other, taken := ids[l.ID]; taken {
			faults = append(faults, FileErrors{{p, 1, 1, fmt.Sprintf("id %s is taken by %s", l.ID, other)}})
		}
		ids[l.ID] = p
		all = append(all, l)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("read rules: %w", errors.Join(faults...))
	}
	return all, nil
}

func plainJSON(v any) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimRight(b.String(), "\n"), nil
}

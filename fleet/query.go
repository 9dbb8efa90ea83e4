package fleet

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// Page bounds: what a list gives when nothing is asked for, and at most.
const (
	defaultLimit = 50
	maxLimit     = 1000
	maxFacet     = 100 // values shown of one facet, the most frequent
)

// Facets count, for each filter of a list, how many rows each of its values would give with the other filters as
// they are.
type Facets map[string]map[string]int

// condition is one part of a WHERE, put together from fixed texts; values travel as arguments.
type condition struct {
	facet string // the facet it belongs to, "" for none
	text  string
	args  []any
}

// in gives the condition that expression is one of values; nothing when there are none.
func in(facet, expression string, values []string) []condition {
	if len(values) == 0 {
		return nil
	}
	c := condition{facet: facet, text: expression + " IN (?" + strings.Repeat(", ?", len(values)-1) + ")"}
	for _, v := range values {
		c.args = append(c.args, v)
	}
	return []condition{c}
}

// containing gives the condition that a row's search text holds every word of q. The rows are looked for once here,
// because a page asks several times with the same condition.
func containing(ctx context.Context, q querier, table, words string) ([]condition, error) {
	var text strings.Builder
	var args []any
	for _, word := range strings.Fields(strings.ToLower(words)) {
		text.WriteString(" AND instr(search, ?) > 0")
		args = append(args, word)
	}
	if len(args) == 0 {
		return nil, nil
	}
	var rows string
	err := q.QueryRowContext(ctx, "SELECT json_group_array(rowid) FROM "+table+" WHERE TRUE"+text.String(), args...).Scan(&rows)
	if err != nil {
		return nil, fmt.Errorf("search: %w", err)
	}
	return []condition{{text: table + ".rowid IN (SELECT value FROM json_each(?))", args: []any{rows}}}, nil
}

// where puts conditions together, without those of one facet.
func where(conditions []condition, except string) (text string, args []any) {
	parts := []string{"TRUE"}
	for _, c := range conditions {
		if except != "" && c.facet == except {
			continue
		}
		parts = append(parts, c.text)
		args = append(args, c.args...)
	}
	return " WHERE " + strings.Join(parts, " AND "), args
}

// facet counts the rows of from for each value of expression.
func facet(ctx context.Context, q querier, name, expression, from string, conditions []condition) (map[string]int, error) {
	text, args := where(conditions, name)
	rows, err := q.QueryContext(ctx, "SELECT "+expression+" AS value, count(*) AS n FROM "+from+text+" GROUP BY value ORDER BY n DESC, value LIMIT ?", append(args, maxFacet)...)
	if err != nil {
		return nil, fmt.Errorf("count %s: %w", name, err)
	}
	defer rows.Close()
	counts := map[string]int{}
	for rows.Next() {
		var value sql.NullString
		var n int
		if err := rows.Scan(&value, &n); err != nil {
			return nil, fmt.Errorf("count %s: %w", name, err)
		}
		counts[value.String] = n
	}
	return counts, rows.Err()
}

// order turns a sort such as "-lastActivity" into an ORDER BY of a known column.
func order(sort, fallback string, columns map[string]string) (string, error) {
	if sort == "" {
		sort = fallback
	}
	name, descending := strings.CutPrefix(sort, "-")
	column, known := columns[name]
	if !known {
		return "", fmt.Errorf("%w: sort by %q", ErrInvalid, name)
	}
	if descending {
		return " ORDER BY " + column + " DESC", nil
	}
	return " ORDER BY " + column, nil
}

func bounds(limit, offset int) (int, int) {
	if limit <= 0 {
		limit = defaultLimit
	}
	return min(limit, maxLimit), max(offset, 0)
}

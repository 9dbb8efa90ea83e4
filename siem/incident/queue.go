package incident

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/otus-project/otus/siem/state"
)

// Filter says which incidents a queue shows. Empty lists do not filter.
type Filter struct {
	Status   []string
	Severity []string
	Engine   []string
	Owner    []string // names; "" stands for no owner
	// Text must occur, word by word, somewhere in the incident: its number, title, devices, addresses, alert ids.
	Text string
	// Sort is a field of Incident, with "-" before it for descending. Default "-createdTime".
	Sort   string
	Limit  int // default 50, at most 1000
	Offset int
}

// Page is one page of a queue. Facets count the values of each filter under all other filters.
type Page struct {
	Items  []Incident                `json:"items"`
	Total  int                       `json:"total"`
	Facets map[string]map[string]int `json:"facets" doc:"status, severity, engine and owner, each with its values and counts"`
}

// sortable maps what a client may sort by to what the database sorts by.
var sortable = map[string]string{
	"number": "number", "title": "title COLLATE NOCASE", "severity": "severity_rank", "createdTime": "created",
	"status":           "CASE status WHEN 'New' THEN 0 WHEN 'Active' THEN 1 ELSE 2 END",
	"lastModifiedTime": "modified", "firstActivityTime": "first_activity", "lastActivityTime": "last_activity",
	"owner": "owner_name COLLATE NOCASE", "engine": "engine", "alertsCount": "alerts", "protocol": "protocol",
	"sensor": "sensor", "site": "site",
}

// facets are the filters whose values are counted, by their column.
var facets = []struct{ name, column string }{
	{"status", "status"}, {"severity", "severity"}, {"engine", "engine"}, {"owner", "owner_name"},
}

func (f *Filter) values(facet string) []string {
	return map[string][]string{"status": f.Status, "severity": f.Severity, "engine": f.Engine, "owner": f.Owner}[facet]
}

// where builds the condition of all filters but one.
func (f *Filter) where(workspace, but string) (string, []any) {
	cond, args := "workspace = ?", []any{workspace}
	for _, facet := range facets {
		values := f.values(facet.name)
		if facet.name == but || len(values) == 0 {
			continue
		}
		cond += " AND " + facet.column + " IN (" + strings.TrimSuffix(strings.Repeat("?, ", len(values)), ", ") + ")"
		for _, v := range values {
			args = append(args, v)
		}
	}
	for n, word := range strings.Fields(strings.ToLower(f.Text)) {
		if n == 10 {
			break // more words find nothing more precisely
		}
		cond += ` AND search LIKE ? ESCAPE '\'`
		args = append(args, "%"+strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(word)+"%")
	}
	return cond, args
}

// List gives one page of the queue with its total and facets, all as of one moment.
func (s *Service) List(ctx context.Context, f Filter) (*Page, error) {
	if f.Sort == "" {
		f.Sort = "-createdTime"
	}
	order, ok := sortable[strings.TrimPrefix(f.Sort, "-")]
	if !ok {
		return nil, &Invalid{"sort", fmt.Sprintf("cannot sort by %q", f.Sort)}
	}
	direction := "ASC"
	if strings.HasPrefix(f.Sort, "-") {
		direction = "DESC"
	}
	if f.Limit <= 0 {
		f.Limit = 50
	}
	f.Limit = min(f.Limit, 1000)
	page := &Page{Items: []Incident{}, Facets: map[string]map[string]int{}}
	err := s.db.Read(ctx, func(ctx context.Context, q state.Querier) error {
		cond, args := f.where(s.ws.ID, "")
		if err := q.QueryRowContext(ctx, `SELECT count(*) FROM incident WHERE `+cond, args...).Scan(&page.Total); err != nil {
			return err
		}
		rows, err := q.QueryContext(ctx, `SELECT `+columns+` FROM incident WHERE `+cond+
			` ORDER BY `+order+` `+direction+`, number DESC LIMIT ? OFFSET ?`, append(slices.Clone(args), f.Limit, max(f.Offset, 0))...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			i, err := scan(rows.Scan)
			if err != nil {
				return err
			}
			page.Items = append(page.Items, i)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		for _, facet := range facets {
			if page.Facets[facet.name], err = s.count(ctx, q, f, facet.name, facet.column); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list incidents: %w", err)
	}
	return page, nil
}

func (s *Service) count(ctx context.Context, q state.Querier, f Filter, facet, column string) (map[string]int, error) {
	cond, args := f.where(s.ws.ID, facet)
	return counts(ctx, q, `SELECT `+column+`, count(*) FROM incident WHERE `+cond+` GROUP BY 1 ORDER BY 2 DESC LIMIT 100`, args...)
}

func counts(ctx context.Context, q state.Querier, query string, args ...any) (map[string]int, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	type pair struct {
		value string
		n     int
	}
	pairs, err := state.Scan(rows, func(p *pair) []any { return []any{&p.value, &p.n} })
	if err != nil {
		return nil, err
	}
	all := make(map[string]int, len(pairs))
	for _, p := range pairs {
		all[p.value] = p.n
	}
	return all, nil
}

// searchText is what the queue's search looks in, in lower case.
func (i *Incident) searchText() string {
	words := []string{
		"#" + strconv.FormatInt(i.Number, 10), i.ID, i.Title, i.Description, i.Severity, i.Status, i.Classification, i.Engine,
		i.Protocol, i.Sensor, i.Site, i.Zone, i.SourceDevice, i.DestinationDevice,
	}
	if i.Owner != nil {
		words = append(words, i.Owner.Name, i.Owner.Email)
	}
	for _, list := range [][]string{i.Labels, i.Tactics, i.Techniques, i.RuleNames, i.keywords} {
		words = append(words, list...)
	}
	return strings.ToLower(strings.Join(words, "\n"))
}

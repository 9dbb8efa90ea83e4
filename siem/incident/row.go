package incident

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/otus-project/otus/siem/state"
)

// maxRow bounds one SecurityIncident row. When comments make it larger, the oldest go first, in the table's copy only.
const maxRow = 64 << 10

// row builds the full SecurityIncident row of the incident as it is in the transaction.
func (s *Service) row(ctx context.Context, tx *state.Tx, i *Incident) (state.Row, error) {
	alerts, err := s.list(ctx, tx, `SELECT alert FROM incident_alert WHERE workspace = ? AND incident = ? ORDER BY ordinal`, i.Number)
	if err != nil {
		return nil, err
	}
	comments := []Comment{}
	if i.CommentsCount > 0 {
		if comments, err = s.comments(ctx, tx, i.Number); err != nil {
			return nil, err
		}
	}
	return s.rowOf(i, alerts, comments)
}

func (s *Service) list(ctx context.Context, q state.Querier, query string, number int64) ([]string, error) {
	rows, err := q.QueryContext(ctx, query, s.ws.ID, number)
	if err != nil {
		return nil, err
	}
	list, err := state.Scan(rows, func(v *string) []any { return []any{v} })
	return full(list), err
}

func (s *Service) rowOf(i *Incident, alerts []string, comments []Comment) (state.Row, error) {
	row := state.Row{
		"TenantId": s.ws.TenantID, "TimeGenerated": i.LastModifiedTime, "Type": "SecurityIncident", "SourceSystem": "Azure",
		"IncidentName": i.ID, "IncidentNumber": int32(i.Number), "IncidentUrl": s.o.BaseURL + "/incidents/" + strconv.FormatInt(i.Number, 10),
		"ProviderName": "Azure Sentinel", "ProviderIncidentId": strconv.FormatInt(i.Number, 10),
		"Title": i.Title, "Description": i.Description, "Severity": i.Severity, "Status": i.Status,
		"Classification": i.Classification, "ClassificationReason": i.ClassificationReason,
		"ClassificationComment": i.ClassificationComment,
		"CreatedTime":           i.CreatedTime, "LastModifiedTime": i.LastModifiedTime,
		"FirstActivityTime": i.FirstActivityTime, "LastActivityTime": i.LastActivityTime,
		"FirstModifiedTime": timeOrNull(i.FirstModifiedTime), "ClosedTime": timeOrNull(i.ClosedTime),
		"ModifiedBy": i.modifiedBy,
	}
	owner := map[string]any{"objectId": nil, "email": nil, "assignedTo": nil, "userPrincipalName": nil}
	if i.Owner != nil {
		owner["email"], owner["assignedTo"], owner["userPrincipalName"] = i.Owner.Email, i.Owner.Name, i.Owner.Email
	}
	labels := []map[string]string{}
	for _, l := range i.Labels {
		labels = append(labels, map[string]string{"labelName": l, "labelType": "User"})
	}
	for column, value := range map[string]any{
		"Owner": owner, "Labels": labels, "AlertIds": alerts, "BookmarkIds": []string{},
		"Tasks": []string{}, "RelatedAnalyticRuleIds": full(i.ruleIDs),
		"AdditionalData": map[string]any{
			"alertsCount": i.AlertsCount, "bookmarksCount": 0, "commentsCount": i.CommentsCount,
			"alertProductNames": full(i.products), "tactics": full(i.Tactics), "techniques": full(i.Techniques),
		},
	} {
		text, err := plainJSON(value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", column, err)
		}
		row[column] = text
	}
	return row, putComments(row, comments)
}

// putComments adds as many of the newest comments as the row has room for.
func putComments(row state.Row, comments []Comment) error {
	size := 0
	for column, value := range row {
		size += len(column)
		switch v := value.(type) {
		case string:
			size += len(v)
		case json.RawMessage:
			size += len(v)
		default:
			size += 8
		}
	}
	type shown struct {
		ID          string            `json:"id"`
		Message     string            `json:"message"`
		CreatedTime time.Time         `json:"createdTimeUtc"`
		Author      map[string]string `json:"author"`
	}
	room := maxRow - size - len("Comments") - 2
	list := make([]json.RawMessage, 0, len(comments))
	for n := len(comments) - 1; n >= 0; n-- {
		c := comments[n]
		text, err := plainJSON(shown{c.ID, c.Message, c.CreatedTime, map[string]string{"name": c.Author.Name, "email": c.Author.Email}})
		if err != nil {
			return err
		}
		if room -= len(text) + 1; room < 0 {
			break
		}
		list = append(list, text)
	}
	for a, z := 0, len(list)-1; a < z; a, z = a+1, z-1 {
		list[a], list[z] = list[z], list[a]
	}
	text, err := plainJSON(list)
	row["Comments"] = text
	return err
}

// plainJSON is JSON without the escapes that only matter inside HTML.
func plainJSON(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

func timeOrNull(t *time.Time) any {
	if t == nil {
		return nil
	}
	return *t
}

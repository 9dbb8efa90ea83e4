package analytics

import (
	"context"

	"github.com/otus-project/otus/siem/query"
)

// LogOf lets rules ask the query service, on the places it keeps for them.
func LogOf(q *query.Service) Log { return queryLog{q} }

type queryLog struct{ q *query.Service }

func (l queryLog) Head(ctx context.Context) (uint64, error) { return l.q.Head(ctx) }

func (l queryLog) Run(ctx context.Context, r Request) (*Result, error) {
	answer, err := l.q.Run(ctx, query.Request{
		Text: r.Text, From: r.From, To: r.To, Now: r.Now, IngestAfter: r.IngestAfter, IngestUpTo: r.IngestUpTo, MaxRows: r.MaxRows, ForRule: true,
	})
	if err != nil {
		return nil, err
	}
	result := &Result{Rows: answer.Rows, Truncated: answer.Truncated}
	for _, c := range answer.Columns {
		result.Columns = append(result.Columns, c.Name)
	}
	return result, nil
}

package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/otus-project/otus/siem/incident"
)

type summary struct {
	Incidents *incident.Summary `json:"incidents"`
	// Null while no incident was touched or closed.
	MeanTimeToTriageSeconds *float64            `json:"meanTimeToTriageSeconds"`
	MeanTimeToCloseSeconds  *float64            `json:"meanTimeToCloseSeconds"`
	Recent                  []incident.Incident `json:"recent"`
	Series                  []incident.Bin      `json:"series" doc:"Incidents created per hour, the last 24"`
	Rows                    map[string]int64    `json:"rows" doc:"Rows per log table"`
	Connector               any                 `json:"connector"`
}

func (s *server) registerSummary(api huma.API) {
	huma.Register(api, operation(http.MethodGet, workspacePath+"/summary", "get-summary", "What the overview shows", "Incidents"),
		func(ctx context.Context, in *InWorkspace) (*body[summary], error) {
			if err := s.check(*in); err != nil {
				return nil, err
			}
			out, err := s.summary(ctx)
			if err != nil {
				return nil, s.fault(err)
			}
			return &body[summary]{*out}, nil
		})
}

func (s *server) summary(ctx context.Context) (*summary, error) {
	counts, err := s.Incidents.Summary(ctx)
	if err != nil {
		return nil, err
	}
	out := &summary{
		Incidents: counts, Rows: map[string]int64{},
		MeanTimeToTriageSeconds: seconds(counts.MeanTimeToTriage), MeanTimeToCloseSeconds: seconds(counts.MeanTimeToClose),
	}
	page, err := s.Incidents.List(ctx, incident.Filter{Limit: 8})
	if err != nil {
		return nil, err
	}
	out.Recent = page.Items
	if out.Series, err = s.Incidents.Series(ctx, 24); err != nil {
		return nil, err
	}
	if s.Rows != nil {
		if out.Rows, err = s.Rows(ctx); err != nil {
			return nil, err
		}
	}
	if s.Connector != nil {
		if out.Connector, err = s.Connector(ctx); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func seconds(d *time.Duration) *float64 {
	if d == nil {
		return nil
	}
	n := d.Seconds()
	return &n
}

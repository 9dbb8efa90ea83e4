package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/otus-project/otus/siem/analytics"
)

// ByID names one rule.
type ByID struct {
	InWorkspace
	ID string `path:"id" maxLength:"100"`
}

type ruleTextInput struct {
	ByID
	RawBody []byte `contentType:"application/yaml" doc:"The rule as YAML, or as JSON with the same keys"`
}

type ruleSwitchInput struct {
	ByID
	Body struct {
		Enabled bool `json:"enabled"`
	}
}

func (s *server) registerRules(api huma.API) {
	huma.Register(api, operation(http.MethodGet, workspacePath+"/rules", "list-rules", "Analytics rules", "Rules"),
		func(_ context.Context, in *InWorkspace) (*body[items[analytics.View]], error) {
			if err := s.check(*in); err != nil {
				return nil, err
			}
			return &body[items[analytics.View]]{items[analytics.View]{s.Rules.List()}}, nil
		})
	huma.Register(api, operation(http.MethodGet, workspacePath+"/rules/{id}", "get-rule", "One rule", "Rules"),
		func(_ context.Context, in *ByID) (*body[analytics.View], error) {
			return s.rule(in.InWorkspace, func() (analytics.View, error) { return s.Rules.Get(in.ID) })
		})
	put := operation(http.MethodPut, workspacePath+"/rules/{id}", "put-rule", "Create or replace a rule of your own", "Rules")
	put.MaxBodyBytes = analytics.MaxRule
	huma.Register(api, put, func(ctx context.Context, in *ruleTextInput) (*body[analytics.View], error) {
		return s.rule(in.InWorkspace, func() (analytics.View, error) { return s.Rules.Put(ctx, in.ID, in.RawBody, actor(ctx).Name) })
	})
	huma.Register(api, operation(http.MethodPatch, workspacePath+"/rules/{id}", "switch-rule", "Switch a rule on or off", "Rules"),
		func(ctx context.Context, in *ruleSwitchInput) (*body[analytics.View], error) {
			return s.rule(in.InWorkspace, func() (analytics.View, error) {
				if err := s.Rules.SetEnabled(ctx, in.ID, in.Body.Enabled, actor(ctx).Name); err != nil {
					return analytics.View{}, err
				}
				return s.Rules.Get(in.ID)
			})
		})
	huma.Register(api, operation(http.MethodDelete, workspacePath+"/rules/{id}", "delete-rule", "Delete a rule of your own", "Rules"),
		func(ctx context.Context, in *ByID) (*struct{}, error) {
			if err := s.check(in.InWorkspace); err != nil {
				return nil, err
			}
			return nil, s.fault(s.Rules.Delete(ctx, in.ID, actor(ctx).Name))
		})
}

func (s *server) rule(w InWorkspace, do func() (analytics.View, error)) (*body[analytics.View], error) {
	if err := s.check(w); err != nil {
		return nil, err
	}
	v, err := do()
	if err != nil {
		return nil, s.fault(err)
	}
	return &body[analytics.View]{v}, nil
}

package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/otus-project/otus/siem/access"
	"github.com/otus-project/otus/siem/state"
)

type session struct {
	User struct {
		Name  string   `json:"name"`
		Email string   `json:"email"`
		Roles []string `json:"roles"`
	} `json:"user"`
	Workspace struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	} `json:"workspace"`
	Version string `json:"version"`
}

func (s *server) registerSession(api huma.API, mux *http.ServeMux) {
	huma.Register(api, operation(http.MethodGet, "/otus/v1/session", "get-session", "Who is signed in, and where", "Access"),
		func(ctx context.Context, _ *struct{}) (*body[session], error) {
			p, ok := access.From(ctx)
			if !ok {
				return nil, s.fault(access.ErrUnauthenticated)
			}
			var out session
			out.User.Name, out.User.Email, out.User.Roles = p.Name, p.Email, p.Roles
			out.Workspace.ID, out.Workspace.Name, out.Version = s.Workspace.ID, s.Workspace.Name, s.Version
			return &body[session]{out}, nil
		})
	mux.Handle("GET /otus/v1/signin", s.Access.SignInHandler())
	mux.HandleFunc("DELETE /otus/v1/session", func(w http.ResponseWriter, r *http.Request) {
		if err := s.Access.SignOut(w, r); err != nil {
			_ = s.fault(err) // reports the cause
			http.Error(w, "internal error", http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

type newToken struct {
	access.Token
	Secret string `json:"token" doc:"The token itself; shown only now"`
}

type tokenInput struct {
	Body struct {
		Name          string   `json:"name" minLength:"1" maxLength:"200"`
		Roles         []string `json:"roles" minItems:"1" maxItems:"10" doc:"Reader, Responder, Contributor, Owner"`
		ExpiresInDays int      `json:"expiresInDays,omitempty" minimum:"0" maximum:"3650" doc:"0: never"`
	}
}

func (s *server) registerTokens(api huma.API) {
	huma.Register(api, operation(http.MethodGet, "/otus/v1/tokens", "list-tokens", "API tokens, without their secrets", "Access"),
		func(ctx context.Context, _ *struct{}) (*body[items[access.Token]], error) {
			all, err := s.Access.Tokens(ctx)
			if err != nil {
				return nil, s.fault(err)
			}
			return &body[items[access.Token]]{items[access.Token]{all}}, nil
		})
	create := operation(http.MethodPost, "/otus/v1/tokens", "create-token", "Make an API token", "Access")
	create.DefaultStatus = http.StatusCreated
	huma.Register(api, create, func(ctx context.Context, in *tokenInput) (*body[newToken], error) {
		t, secret, err := s.Access.CreateToken(ctx, in.Body.Name, in.Body.Roles, time.Duration(in.Body.ExpiresInDays)*24*time.Hour, actor(ctx).Name)
		if err != nil {
			return nil, s.fault(err)
		}
		return &body[newToken]{newToken{t, secret}}, nil
	})
	huma.Register(api, operation(http.MethodDelete, "/otus/v1/tokens/{id}", "delete-token", "Delete a token", "Access"),
		func(ctx context.Context, in *struct {
			ID string `path:"id"`
		}) (*struct{}, error) {
			return nil, s.fault(s.Access.DeleteToken(ctx, in.ID, actor(ctx).Name))
		})
	huma.Register(api, operation(http.MethodGet, "/otus/v1/audit", "list-audit", "Who changed what, newest first", "Access"),
		func(ctx context.Context, in *struct {
			Limit int `query:"limit" default:"100" minimum:"1" maximum:"1000"`
		}) (*body[items[auditLine]], error) {
			log, err := s.State.AuditLog(ctx, in.Limit)
			if err != nil {
				return nil, s.fault(err)
			}
			out := items[auditLine]{Items: []auditLine{}}
			for _, a := range log {
				out.Items = append(out.Items, auditLineOf(a))
			}
			return &body[items[auditLine]]{out}, nil
		})
}

type auditLine struct {
	Time   time.Time `json:"time"`
	Actor  string    `json:"actor"`
	Action string    `json:"action"`
	Target string    `json:"target"`
	Result string    `json:"result"`
	Detail string    `json:"detail"`
}

func auditLineOf(a state.Audit) auditLine {
	return auditLine{a.Time, a.Actor, a.Action, a.Target, a.Result, a.Detail}
}

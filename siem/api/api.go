// Package api is the siem's own HTTP interface for incidents, rules, tokens, the session and live events. What comes
// in are authorised requests; what goes out is JSON, or a problem (RFC 9457). It decides nothing: every rule is the
// services' beneath it.
package api

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/siem/access"
	"github.com/otus-project/otus/siem/analytics"
	"github.com/otus-project/otus/siem/incident"
	"github.com/otus-project/otus/siem/state"
)

// Fleet is what an incident's page asks of the sensors' side.
type Fleet interface {
	// AlertState gives the alert as the sensor last reported it; false if the fleet does not know it.
	AlertState(ctx context.Context, alertID string) (event.Alert, bool, error)
}

// Deps are the services behind the interface. All are required but Fleet, Rows and Connector.
type Deps struct {
	State     *state.DB
	Workspace state.Workspace
	Version   string
	Incidents *incident.Service
	Rules     *analytics.Service
	Access    *access.Service
	Hub       *Hub
	Fleet     Fleet
	// Rows counts the rows per log table, Connector describes the connector, both for the overview.
	Rows      func(ctx context.Context) (map[string]int64, error)
	Connector func(ctx context.Context) (any, error)
	// OnError is told the cause of an internal error, whose client only learns that there was one. May be nil.
	OnError func(error)
}

// workspacePath begins the path of everything that belongs to a workspace.
const workspacePath = "/otus/v1/workspaces/{workspace}"

// InWorkspace is the path parameter of all of them. It is exported because huma fills embedded structs only then.
type InWorkspace struct {
	Workspace string `path:"workspace" doc:"GUID or name of the workspace" example:"default"`
}

type server struct{ Deps }

// Register adds the interface: typed operations to the API, streams and cookies to the mux.
func Register(api huma.API, mux *http.ServeMux, d Deps) {
	s := &server{d}
	s.registerIncidents(api)
	s.registerRules(api)
	s.registerTokens(api)
	s.registerSession(api, mux)
	s.registerSummary(api)
	mux.Handle("GET /otus/v1/events", d.Hub)
}

// operation names one endpoint in the API's description.
func operation(method, path, id, summary, tag string) huma.Operation {
	return huma.Operation{Method: method, Path: path, OperationID: id, Summary: summary, Tags: []string{tag}}
}

// check refuses any workspace but ours.
func (s *server) check(w InWorkspace) error {
	if w.Workspace != s.Workspace.Name && !strings.EqualFold(w.Workspace, s.Workspace.ID) {
		return problem(http.StatusNotFound, "no such workspace")
	}
	return nil
}

// Problem is an error answer (RFC 9457).
type Problem struct {
	Type   string         `json:"type"`
	Title  string         `json:"title"`
	Status int            `json:"status"`
	Detail string         `json:"detail"`
	Errors []ProblemError `json:"errors,omitempty"`
}

// ProblemError is one of several faults. Line and column count from 1, where a text is at fault.
type ProblemError struct {
	Message  string `json:"message"`
	Location string `json:"location,omitempty"`
	Line     int    `json:"line,omitempty"`
	Column   int    `json:"column,omitempty"`
}

func (p *Problem) Error() string { return p.Detail }

// GetStatus makes the problem an answer of huma.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType of a problem.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

func problem(status int, detail string, errs ...ProblemError) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, Errors: errs}
}

// fault maps an error of the services to an answer: the one table of kinds.
func (s *server) fault(err error) error {
	var invalid *incident.Invalid
	var rule *analytics.InvalidRule
	switch {
	case err == nil:
		return nil
	case errors.As(err, &invalid):
		return problem(http.StatusBadRequest, invalid.Error(), ProblemError{Message: invalid.Message, Location: "body." + invalid.Field})
	case errors.As(err, &rule):
		p := problem(http.StatusBadRequest, "the rule is not valid")
		for _, f := range rule.Faults {
			p.Errors = append(p.Errors, ProblemError{Message: f.Message, Location: "body", Line: f.Line, Column: f.Column})
		}
		return p
	case errors.Is(err, incident.ErrNotFound), errors.Is(err, analytics.ErrNotFound), errors.Is(err, access.ErrNotFound):
		return problem(http.StatusNotFound, err.Error())
	case errors.Is(err, incident.ErrConflict):
		return problem(http.StatusPreconditionFailed, err.Error())
	case errors.Is(err, analytics.ErrShipped):
		return problem(http.StatusConflict, err.Error())
	case errors.Is(err, access.ErrRole):
		return problem(http.StatusBadRequest, err.Error())
	case errors.Is(err, access.ErrForbidden):
		return problem(http.StatusForbidden, err.Error())
	case errors.Is(err, access.ErrUnauthenticated):
		return problem(http.StatusUnauthorized, err.Error())
	}
	if s.OnError != nil && !errors.Is(err, context.Canceled) {
		s.OnError(err)
	}
	return problem(http.StatusInternalServerError, "internal error")
}

// actor is who asks, as incidents and the audit log name them.
func actor(ctx context.Context) incident.Person {
	p, _ := access.From(ctx)
	return incident.Person{Name: p.Name, Email: p.Email}
}

// PCAPPath is where the packets around a sensor's alert are served.
func PCAPPath(alertID string) string { return "/otus/v1/fleet/alerts/" + alertID + "/pcap" }

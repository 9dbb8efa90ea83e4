package iot

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

const connectorsPath = "/otus/v1/workspaces/{workspace}/connectors"

type inWorkspace struct {
	Workspace string `path:"workspace" doc:"Id or name of the workspace"`
}

// StatusList is all connectors.
type StatusList struct {
	Items []Status `json:"items" nullable:"false"`
}

type listOutput struct {
	Body StatusList
}

type statusOutput struct {
	Body Status
}

type subscriptionInput struct {
	inWorkspace
	ID   string `path:"id" maxLength:"100"`
	Body struct {
		Connected *bool `json:"connected,omitempty" doc:"Connect or disconnect the subscription"`
		PlanOn    *bool `json:"planOn,omitempty" doc:"Turn the subscription's plan on or off"`
	}
}

type incidentsInput struct {
	inWorkspace
	Body struct {
		Enabled bool `json:"enabled"`
	}
}

// Register serves the connector's calls. Every call asks Options.Authorize for its rights.
func (c *Connector) Register(api huma.API) {
	register := func(method, path, id, summary string) huma.Operation {
		return huma.Operation{Method: method, Path: connectorsPath + path, OperationID: id, Summary: summary, Tags: []string{"connectors"},
			Errors: []int{http.StatusUnauthorized, http.StatusForbidden}}
	}
	huma.Register(api, register(http.MethodGet, "", "listConnectors", "List the connectors"),
		func(ctx context.Context, _ *inWorkspace) (*listOutput, error) {
			status, err := c.answer(ctx, RightWorkspaceRead)
			if err != nil {
				return nil, err
			}
			return &listOutput{StatusList{Items: []Status{status.Body}}}, nil
		})
	huma.Register(api, register(http.MethodGet, "/iot", "getConnectorIot", "How the connector stands"),
		func(ctx context.Context, _ *inWorkspace) (*statusOutput, error) {
			return c.answer(ctx, RightWorkspaceRead)
		})
	huma.Register(api, register(http.MethodPut, "/iot/subscriptions/{id}", "setConnectorIotSubscription", "Connect or disconnect a subscription"), c.setSubscription)
	huma.Register(api, register(http.MethodPut, "/iot/create-incidents", "setConnectorIotCreateIncidents", "Open an incident for each new alert, or stop doing so"), c.setIncidents)
}

// answer gives the status to a caller with the rights.
func (c *Connector) answer(ctx context.Context, rights ...string) (*statusOutput, error) {
	if err := c.need(ctx, rights...); err != nil {
		return nil, err
	}
	status, err := c.Status(ctx)
	if err != nil {
		return nil, c.problem(err)
	}
	return &statusOutput{status}, nil
}

// problem answers an error; strangers see no cause of an inner one.
func (c *Connector) problem(err error) error {
	if errors.Is(err, ErrUnknownSubscription) {
		return huma.Error404NotFound(err.Error())
	}
	if errors.Is(err, context.Canceled) {
		return huma.NewError(499, "the caller went away")
	}
	c.o.OnError(err)
	return huma.Error500InternalServerError("internal error")
}

func (c *Connector) need(ctx context.Context, rights ...string) error {
	for _, right := range rights {
		if err := c.authorize(ctx, right); err != nil {
			var known huma.StatusError
			if errors.As(err, &known) {
				return err
			}
			return huma.Error403Forbidden(err.Error())
		}
	}
	return nil
}

func (c *Connector) setSubscription(ctx context.Context, in *subscriptionInput) (*statusOutput, error) {
	if in.Body.Connected == nil && in.Body.PlanOn == nil {
		return nil, huma.Error400BadRequest("say connected or planOn, or both")
	}
	if err := c.need(ctx, RightWorkspaceWrite, RightSubscriptionWrite); err != nil {
		return nil, err
	}
	var err error
	if in.Body.PlanOn != nil {
		err = c.SetPlan(ctx, in.ID, *in.Body.PlanOn)
	}
	switch {
	case err != nil || in.Body.Connected == nil:
	case *in.Body.Connected:
		err = c.Connect(ctx, in.ID)
	default:
		err = c.Disconnect(ctx, in.ID)
	}
	if err != nil {
		return nil, c.problem(err)
	}
	return c.answer(ctx)
}

func (c *Connector) setIncidents(ctx context.Context, in *incidentsInput) (*statusOutput, error) {
	if err := c.need(ctx, RightWorkspaceWrite); err != nil {
		return nil, err
	}
	if c.o.SetCreateIncidents == nil {
		return nil, huma.Error409Conflict("there is no rule that creates incidents")
	}
	if err := c.o.SetCreateIncidents(ctx, in.Body.Enabled); err != nil {
		return nil, c.problem(err)
	}
	c.o.OnChange()
	return c.answer(ctx)
}

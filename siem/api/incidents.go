package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/otus-project/otus/siem/incident"
)

// unassigned stands for "no owner" in the owner filter and facet.
const unassigned = "Unassigned"

type queueInput struct {
	InWorkspace
	Status   []string `query:"status" doc:"New, Active, Closed"`
	Severity []string `query:"severity" doc:"High, Medium, Low, Informational"`
	Engine   []string `query:"engine"`
	Owner    []string `query:"owner" doc:"Names; Unassigned for none"`
	Text     string   `query:"q" maxLength:"400" doc:"Words that must all occur"`
	Sort     string   `query:"sort" default:"-createdTime" doc:"A field, with - before it for descending"`
	Limit    int      `query:"limit" default:"50" minimum:"1" maximum:"1000"`
	Offset   int      `query:"offset" default:"0" minimum:"0" maximum:"1000000"`
}

// ByNumber names one incident.
type ByNumber struct {
	InWorkspace
	Number int64 `path:"number" minimum:"1"`
}

type body[T any] struct{ Body T }

type incidentOutput struct {
	ETag string `header:"ETag"`
	Body *incident.Incident
}

// ownerPatch tells an owner that is to be taken away (null) from one that stays (absent).
type ownerPatch struct {
	given  bool
	person incident.Person
}

func (o *ownerPatch) UnmarshalJSON(data []byte) error {
	o.given = true
	if bytes.Equal(data, []byte("null")) {
		return nil
	}
	return json.Unmarshal(data, &o.person)
}

// Schema describes the field in the API's description.
func (o ownerPatch) Schema(huma.Registry) *huma.Schema {
	text := func(n int) *huma.Schema { return &huma.Schema{Type: huma.TypeString, MaxLength: &n} }
	return &huma.Schema{
		Type: huma.TypeObject, Nullable: true, Description: "null takes the owner away",
		Properties:           map[string]*huma.Schema{"name": text(200), "email": text(320)},
		AdditionalProperties: false,
	}
}

type change struct {
	Status                *string    `json:"status,omitempty" doc:"New, Active or Closed"`
	Severity              *string    `json:"severity,omitempty" doc:"High, Medium, Low or Informational"`
	Owner                 ownerPatch `json:"owner,omitempty"`
	Title                 *string    `json:"title,omitempty"`
	Labels                *[]string  `json:"labels,omitempty"`
	Classification        *string    `json:"classification,omitempty" doc:"Required on closing: TruePositive, BenignPositive, FalsePositive or Undetermined"`
	ClassificationReason  *string    `json:"classificationReason,omitempty"`
	ClassificationComment *string    `json:"classificationComment,omitempty"`
	CloseAction           *string    `json:"closeAction,omitempty" doc:"What closing does to the alert on the sensor: close, learn or mute"`
}

type changeInput struct {
	ByNumber
	IfMatch string `header:"If-Match" doc:"The etag that was seen; a mismatch is refused with 412"`
	Body    change
}

type commentInput struct {
	ByNumber
	Body struct {
		Message string `json:"message" maxLength:"30000"`
	}
}

type items[T any] struct {
	Items []T `json:"items"`
}

func (s *server) registerIncidents(api huma.API) {
	huma.Register(api, operation(http.MethodGet, workspacePath+"/incidents", "list-incidents", "Queue of incidents", "Incidents"), s.listIncidents)
	huma.Register(api, operation(http.MethodGet, workspacePath+"/incidents/{number}", "get-incident", "One incident with its alerts, history and comments", "Incidents"), s.getIncident)
	huma.Register(api, operation(http.MethodPatch, workspacePath+"/incidents/{number}", "update-incident", "Change an incident", "Incidents"), s.updateIncident)
	huma.Register(api, operation(http.MethodGet, workspacePath+"/incidents/{number}/comments", "list-comments", "Comments of an incident", "Incidents"), s.listComments)
	create := operation(http.MethodPost, workspacePath+"/incidents/{number}/comments", "add-comment", "Comment on an incident", "Incidents")
	create.DefaultStatus = http.StatusCreated
	huma.Register(api, create, s.addComment)
}

func (s *server) listIncidents(ctx context.Context, in *queueInput) (*body[*incident.Page], error) {
	if err := s.check(in.InWorkspace); err != nil {
		return nil, err
	}
	owners := in.Owner
	for n, name := range owners {
		if name == unassigned {
			owners[n] = ""
		}
	}
	page, err := s.Incidents.List(ctx, incident.Filter{
		Status: in.Status, Severity: in.Severity, Engine: in.Engine, Owner: owners, Text: in.Text, Sort: in.Sort, Limit: in.Limit, Offset: in.Offset,
	})
	if err != nil {
		return nil, s.fault(err)
	}
	if n, ok := page.Facets["owner"][""]; ok {
		delete(page.Facets["owner"], "")
		page.Facets["owner"][unassigned] = n
	}
	return &body[*incident.Page]{page}, nil
}

func (s *server) getIncident(ctx context.Context, in *ByNumber) (*body[*incident.Detail], error) {
	if err := s.check(in.InWorkspace); err != nil {
		return nil, err
	}
	d, err := s.Incidents.Get(ctx, in.Number)
	if err != nil {
		return nil, s.fault(err)
	}
	s.askFleet(ctx, d)
	return &body[*incident.Detail]{d}, nil
}

// askFleet lays over an incident what its sensors know now. Without an answer the page shows what the rows said.
func (s *server) askFleet(ctx context.Context, d *incident.Detail) {
	if s.Fleet == nil {
		return
	}
	for n := range d.Alerts {
		a := &d.Alerts[n]
		if a.VendorOriginalID == a.SystemAlertID {
			continue
		}
		if now, known, err := s.Fleet.AlertState(ctx, a.VendorOriginalID); err == nil && known {
			a.Enrich(now, PCAPPath(a.VendorOriginalID))
		}
	}
	for n := range d.Sync {
		y := &d.Sync[n]
		if now, known, err := s.Fleet.AlertState(ctx, y.AlertID); err == nil && known {
			y.AlertStatus = string(now.Status)
			if now.SensorName != "" {
				y.Sensor = now.SensorName
			}
		}
	}
}

func (s *server) updateIncident(ctx context.Context, in *changeInput) (*incidentOutput, error) {
	if err := s.check(in.InWorkspace); err != nil {
		return nil, err
	}
	c := incident.Change{
		Status: in.Body.Status, Severity: in.Body.Severity, Title: in.Body.Title, Labels: in.Body.Labels,
		Classification: in.Body.Classification, ClassificationReason: in.Body.ClassificationReason,
		ClassificationComment: in.Body.ClassificationComment, CloseAction: in.Body.CloseAction,
	}
	if in.Body.Owner.given {
		c.Owner = &in.Body.Owner.person
	}
	i, err := s.Incidents.Update(ctx, in.Number, c, actor(ctx), in.IfMatch)
	if err != nil {
		return nil, s.fault(err)
	}
	return &incidentOutput{ETag: `"` + i.ETag + `"`, Body: i}, nil
}

func (s *server) listComments(ctx context.Context, in *ByNumber) (*body[items[incident.Comment]], error) {
	if err := s.check(in.InWorkspace); err != nil {
		return nil, err
	}
	all, err := s.Incidents.Comments(ctx, in.Number)
	if err != nil {
		return nil, s.fault(err)
	}
	return &body[items[incident.Comment]]{items[incident.Comment]{all}}, nil
}

func (s *server) addComment(ctx context.Context, in *commentInput) (*body[*incident.Comment], error) {
	if err := s.check(in.InWorkspace); err != nil {
		return nil, err
	}
	c, err := s.Incidents.Comment(ctx, in.Number, in.Body.Message, actor(ctx))
	if err != nil {
		return nil, s.fault(err)
	}
	return &body[*incident.Comment]{c}, nil
}

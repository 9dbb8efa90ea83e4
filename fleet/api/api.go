// Package api serves the fleet over HTTP: to people below /otus/v1/fleet, described in OpenAPI, and to sensors below
// /otus/v1/uplink. Every call to the former is authorised by a callback; a sensor shows its own key.
package api

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/fleet"
)

// Rights that calls need.
const (
	RightRead              = "fleet.read"
	RightWrite             = "fleet.write"
	RightSubscriptionWrite = "subscription.write"
)

const (
	root   = "/otus/v1/fleet"
	module = "github.com/otus-project/otus/"
)

// Options tell the API who calls. Authorize is required.
type Options struct {
	// Authorize refuses a call without the right. An error that is a huma.StatusError is answered as it is, any
	// other as 403.
	Authorize func(ctx context.Context, right string) error
	// User names the caller, for commands.
	User func(ctx context.Context) string
	// OnError is told the cause of what is answered as "internal error".
	OnError func(ctx context.Context, err error)
}

type service struct {
	*fleet.Fleet
	o Options
}

// Register adds the fleet's calls: described ones to api, streams and the uplink to mux. The paths below
// /otus/v1/uplink bring their own authentication, so no session may be asked for them.
func Register(api huma.API, mux *http.ServeMux, f *fleet.Fleet, o Options) {
	if o.User == nil {
		o.User = func(context.Context) string { return "" }
	}
	if o.OnError == nil {
		o.OnError = func(context.Context, error) {}
	}
	s := &service{f, o}
	s.registerPlaces(api)
	s.registerSensors(api)
	s.registerDevices(api)
	s.registerAlerts(api)
	mux.HandleFunc("GET "+root+"/alerts/{id}/pcap", s.capture)
	s.registerUplink(mux)
}

// SchemaName names a type in the description of the API by its package and name, because several houses have an
// Alert. For huma.NewMapRegistry.
func SchemaName(t reflect.Type, hint string) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	name := huma.DefaultSchemaNamer(t, hint)
	path, ours := strings.CutPrefix(t.PkgPath(), module)
	if !ours || t.Name() == "" {
		return name
	}
	parts := strings.Split(path, "/")
	pack := parts[len(parts)-1]
	if pack == "api" && len(parts) > 1 {
		pack = parts[len(parts)-2] + "Api"
	}
	return strings.ToUpper(pack[:1]) + pack[1:] + name
}

type body[T any] struct{ Body T }

type list[T any] struct {
	Items []T `json:"items" nullable:"false"`
}

type none struct{}

// ByID is the part of a question that names one thing.
type ByID struct {
	ID string `path:"id" maxLength:"100"`
}

// call describes one operation and wires it up: authorise, do, name the error.
func call[I, O any](api huma.API, s *service, method, path, right, summary string, do func(context.Context, *I) (*O, error), more ...func(*huma.Operation)) {
	op := huma.Operation{
		Method: method, Path: root + path, Summary: summary, Tags: []string{"fleet"},
		OperationID: strings.ToLower(method) + "Fleet" + operationWords(path),
		Errors:      []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound},
	}
	for _, change := range more {
		change(&op)
	}
	huma.Register(api, op, func(ctx context.Context, in *I) (*O, error) {
		if err := s.o.Authorize(ctx, right); err != nil {
			return nil, denied(err)
		}
		out, err := do(ctx, in)
		if err != nil {
			return nil, s.problem(ctx, err)
		}
		return out, nil
	})
}

func operationWords(path string) string {
	var words strings.Builder
	for _, part := range strings.FieldsFunc(path, func(r rune) bool { return strings.ContainsRune("/{}-", r) }) {
		words.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return words.String()
}

func status(code int) func(*huma.Operation) {
	return func(op *huma.Operation) { op.DefaultStatus = code }
}

func denied(err error) error {
	if problem := huma.StatusError(nil); errors.As(err, &problem) {
		return problem
	}
	return huma.Error403Forbidden(err.Error())
}

// statusOf gives the HTTP status of an error of the fleet, and whether a stranger may read its text.
func statusOf(err error) (code int, telling bool) {
	switch {
	case errors.Is(err, fleet.ErrNotFound):
		return http.StatusNotFound, true
	case errors.Is(err, fleet.ErrInvalid):
		return http.StatusBadRequest, true
	case errors.Is(err, fleet.ErrConflict):
		return http.StatusConflict, true
	case errors.Is(err, fleet.ErrUnauthorised):
		return http.StatusUnauthorized, true
	}
	return http.StatusInternalServerError, false
}

func (s *service) problem(ctx context.Context, err error) error {
	code, telling := statusOf(err)
	if telling {
		return huma.NewError(code, err.Error())
	}
	s.o.OnError(ctx, err)
	return huma.NewError(code, "internal error")
}

func (s *service) registerPlaces(api huma.API) {
	call(api, s, "GET", "/summary", RightRead, "Counts of devices, sensors and open alerts", func(ctx context.Context, _ *none) (*body[fleet.Summary], error) {
		summary, err := s.Summary(ctx)
		return &body[fleet.Summary]{summary}, err
	})
	call(api, s, "GET", "/subscriptions", RightRead, "Subscriptions and their plans", listing(s.Subscriptions))
	type planChange struct {
		ByID
		Body struct {
			PlanOn bool `json:"planOn" doc:"Whether rows enter the stream to the workspace"`
		}
	}
	call(api, s, "PATCH", "/subscriptions/{id}", RightSubscriptionWrite, "Switch a subscription's plan", func(ctx context.Context, in *planChange) (*struct{}, error) {
		return nil, s.SetPlan(ctx, in.ID, in.Body.PlanOn)
	})
	s.registerSites(api)
	s.registerZones(api)
	s.registerLines(api)
}

func listing[T any](read func(context.Context) ([]T, error)) func(context.Context, *none) (*body[list[T]], error) {
	return func(ctx context.Context, _ *none) (*body[list[T]], error) {
		items, err := read(ctx)
		return &body[list[T]]{list[T]{items}}, err
	}
}

func removing(remove func(context.Context, string) error) func(context.Context, *ByID) (*struct{}, error) {
	return func(ctx context.Context, in *ByID) (*struct{}, error) { return nil, remove(ctx, in.ID) }
}

func (s *service) registerSites(api huma.API) {
	type newSite struct {
		Body struct {
			Name           string   `json:"name"`
			Owners         []string `json:"owners,omitempty" doc:"Mail addresses"`
			SubscriptionID string   `json:"subscriptionId,omitempty"`
		}
	}
	type siteChange struct {
		ByID
		Body struct {
			Name   *string  `json:"name,omitempty"`
			Owners []string `json:"owners,omitempty"`
		}
	}
	call(api, s, "GET", "/sites", RightRead, "Sites", listing(s.Sites))
	call(api, s, "POST", "/sites", RightWrite, "Add a site", func(ctx context.Context, in *newSite) (*body[fleet.Site], error) {
		site, err := s.AddSite(ctx, fleet.Site{Name: in.Body.Name, Owners: in.Body.Owners, SubscriptionID: in.Body.SubscriptionID})
		return &body[fleet.Site]{site}, err
	}, status(http.StatusCreated))
	call(api, s, "PATCH", "/sites/{id}", RightWrite, "Change a site", func(ctx context.Context, in *siteChange) (*struct{}, error) {
		return nil, s.SetSite(ctx, in.ID, in.Body.Name, in.Body.Owners)
	})
	call(api, s, "DELETE", "/sites/{id}", RightWrite, "Remove a site without zones", removing(s.RemoveSite))
}

func (s *service) registerZones(api huma.API) {
	type newZone struct {
		Body struct {
			SiteID string `json:"siteId"`
			Name   string `json:"name"`
		}
	}
	type zoneChange struct {
		ByID
		Body struct {
			Name string `json:"name"`
		}
	}
	call(api, s, "GET", "/zones", RightRead, "Zones", listing(s.Zones))
	call(api, s, "POST", "/zones", RightWrite, "Add a zone to a site", func(ctx context.Context, in *newZone) (*body[fleet.Zone], error) {
		zone, err := s.AddZone(ctx, fleet.Zone{SiteID: in.Body.SiteID, Name: in.Body.Name})
		return &body[fleet.Zone]{zone}, err
	}, status(http.StatusCreated))
	call(api, s, "PATCH", "/zones/{id}", RightWrite, "Rename a zone", func(ctx context.Context, in *zoneChange) (*struct{}, error) {
		return nil, s.SetZone(ctx, in.ID, in.Body.Name)
	})
	call(api, s, "DELETE", "/zones/{id}", RightWrite, "Remove a zone without sensors", removing(s.RemoveZone))
}

func (s *service) registerLines(api huma.API) {
	type newLine struct {
		Body struct {
			SiteID    string   `json:"siteId"`
			Name      string   `json:"name"`
			Owners    []string `json:"owners,omitempty" doc:"Mail addresses"`
			DeviceIDs []string `json:"deviceIds,omitempty"`
		}
	}
	type lineChange struct {
		ByID
		Body struct {
			Name      *string  `json:"name,omitempty"`
			Owners    []string `json:"owners,omitempty"`
			DeviceIDs []string `json:"deviceIds,omitempty" doc:"All devices of the line"`
		}
	}
	call(api, s, "GET", "/lines", RightRead, "Production lines", listing(s.Lines))
	call(api, s, "POST", "/lines", RightWrite, "Add a production line", func(ctx context.Context, in *newLine) (*body[fleet.Line], error) {
		line, err := s.AddLine(ctx, fleet.Line{SiteID: in.Body.SiteID, Name: in.Body.Name, Owners: in.Body.Owners, DeviceIDs: in.Body.DeviceIDs})
		return &body[fleet.Line]{line}, err
	}, status(http.StatusCreated))
	call(api, s, "PATCH", "/lines/{id}", RightWrite, "Change a production line", func(ctx context.Context, in *lineChange) (*struct{}, error) {
		return nil, s.SetLine(ctx, in.ID, in.Body.Name, in.Body.Owners, in.Body.DeviceIDs)
	})
	call(api, s, "DELETE", "/lines/{id}", RightWrite, "Remove a production line", removing(s.RemoveLine))
}

func (s *service) registerSensors(api huma.API) {
	type newSensor struct {
		Body struct {
			Name   string `json:"name"`
			ZoneID string `json:"zoneId"`
		}
	}
	type onboarding struct {
		ID    string `json:"id"`
		Token string `json:"onboardingToken" doc:"Shown once; activates the sensor once"`
	}
	type sensorChange struct {
		ByID
		Body struct {
			Name   *string          `json:"name,omitempty"`
			ZoneID *string          `json:"zoneId,omitempty"`
			Mode   event.SensorMode `json:"mode,omitempty" enum:"learning,operational"`
		}
	}
	call(api, s, "GET", "/sensors", RightRead, "Sensors and their health", listing(s.Sensors))
	call(api, s, "GET", "/sensors/{id}", RightRead, "One sensor", func(ctx context.Context, in *ByID) (*body[fleet.Sensor], error) {
		sensor, err := s.Sensor(ctx, in.ID)
		return &body[fleet.Sensor]{sensor}, err
	})
	call(api, s, "POST", "/sensors", RightWrite, "Add a sensor", func(ctx context.Context, in *newSensor) (*body[onboarding], error) {
		sensor, token, err := s.AddSensor(ctx, in.Body.Name, in.Body.ZoneID)
		return &body[onboarding]{onboarding{sensor.ID, token}}, err
	}, status(http.StatusCreated))
	call(api, s, "POST", "/sensors/{id}/token", RightWrite, "Renew a sensor's onboarding token", func(ctx context.Context, in *ByID) (*body[onboarding], error) {
		token, err := s.RenewToken(ctx, in.ID)
		return &body[onboarding]{onboarding{in.ID, token}}, err
	}, status(http.StatusCreated))
	call(api, s, "PATCH", "/sensors/{id}", RightWrite, "Rename or move a sensor, or set its mode", func(ctx context.Context, in *sensorChange) (*struct{}, error) {
		if in.Body.Name != nil || in.Body.ZoneID != nil {
			if err := s.SetSensor(ctx, in.ID, in.Body.Name, in.Body.ZoneID); err != nil {
				return nil, err
			}
		}
		if in.Body.Mode == "" {
			return nil, nil
		}
		return nil, s.SetMode(ctx, uuid.NewString(), in.ID, in.Body.Mode, s.o.User(ctx), s.Now())
	})
}

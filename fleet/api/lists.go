package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/fleet"
)

// Paging is the part of a question that all lists share.
type Paging struct {
	Q      string `query:"q" maxLength:"200" doc:"Words that must all occur"`
	Sort   string `query:"sort" maxLength:"50" doc:"Column; a minus sign before it turns the order round"`
	Limit  int    `query:"limit" minimum:"0" maximum:"1000" default:"50"`
	Offset int    `query:"offset" minimum:"0"`
}

func (s *service) registerDevices(api huma.API) {
	type deviceQuestion struct {
		Paging
		Type     []string `query:"type"`
		Vendor   []string `query:"vendor"`
		Protocol []string `query:"protocol"`
		Sensor   []string `query:"sensor" doc:"Ids of sensors"`
		OT       string   `query:"ot" enum:"true,false" doc:"Only devices that take part in OT traffic, or only others"`
	}
	type deviceDetail struct {
		fleet.Device
		Alerts []fleet.Alert `json:"alerts" nullable:"false" doc:"Newest first, at most 100"`
	}
	call(api, s, "GET", "/devices", RightRead, "Devices", func(ctx context.Context, in *deviceQuestion) (*body[fleet.DevicePage], error) {
		filter := fleet.DeviceFilter{Type: in.Type, Vendor: in.Vendor, Protocol: in.Protocol, Sensor: in.Sensor, Q: in.Q, Sort: in.Sort, Limit: in.Limit, Offset: in.Offset}
		if in.OT != "" {
			ot := in.OT == "true"
			filter.OT = &ot
		}
		page, err := s.Devices(ctx, filter)
		return &body[fleet.DevicePage]{page}, err
	})
	call(api, s, "GET", "/devices/{id}", RightRead, "One device and its alerts", func(ctx context.Context, in *ByID) (*body[deviceDetail], error) {
		device, err := s.Device(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		alerts, err := s.Alerts(ctx, fleet.AlertFilter{Device: in.ID, Limit: 100})
		return &body[deviceDetail]{deviceDetail{device, alerts.Items}}, err
	})
}

func (s *service) registerAlerts(api huma.API) {
	type alertQuestion struct {
		Paging
		Status   []string `query:"status"`
		Severity []string `query:"severity"`
		Engine   []string `query:"engine"`
		Sensor   []string `query:"sensor" doc:"Ids of sensors"`
		Device   string   `query:"device" doc:"Id of a device"`
	}
	type alertDetail struct {
		fleet.Alert
		History []fleet.StatusChange `json:"history" nullable:"false" doc:"Oldest first"`
	}
	type alertCommand struct {
		ByID
		RequestID string `header:"Idempotency-Key" maxLength:"100" doc:"Repeating a request with the same key changes nothing"`
		Body      struct {
			Action event.Action `json:"action" enum:"setNew,setActive,close,learn,mute,unmute"`
		}
	}
	call(api, s, "GET", "/alerts", RightRead, "Alerts of all sensors", func(ctx context.Context, in *alertQuestion) (*body[fleet.AlertPage], error) {
		page, err := s.Alerts(ctx, fleet.AlertFilter{Status: in.Status, Severity: in.Severity, Engine: in.Engine, Sensor: in.Sensor, Device: in.Device, Q: in.Q, Sort: in.Sort, Limit: in.Limit, Offset: in.Offset})
		return &body[fleet.AlertPage]{page}, err
	})
	call(api, s, "GET", "/alerts/{id}", RightRead, "One alert and its history", func(ctx context.Context, in *ByID) (*body[alertDetail], error) {
		alert, history, err := s.Alert(ctx, in.ID)
		return &body[alertDetail]{alertDetail{alert, history}}, err
	})
	call(api, s, "POST", "/alerts/{id}/commands", RightWrite, "Ask the sensor to change an alert", func(ctx context.Context, in *alertCommand) (*struct{}, error) {
		if in.RequestID == "" {
			in.RequestID = uuid.NewString()
		}
		return nil, s.Command(ctx, in.RequestID, in.ID, in.Body.Action, s.o.User(ctx), s.Now())
	}, status(http.StatusAccepted))
}

// capture serves the packets around an alert.
func (s *service) capture(w http.ResponseWriter, r *http.Request) {
	if err := s.o.Authorize(r.Context(), RightRead); err != nil {
		code := http.StatusForbidden
		if problem, ok := denied(err).(huma.StatusError); ok {
			code = problem.GetStatus()
		}
		writeProblem(w, problem{Status: code, Detail: err.Error()})
		return
	}
	id := r.PathValue("id")
	pcap, err := s.Capture(r.Context(), id)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	name := strings.Map(func(c rune) rune {
		if c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			return c
		}
		return -1
	}, id)
	w.Header().Set("Content-Type", "application/vnd.tcpdump.pcap")
	w.Header().Set("Content-Disposition", `attachment; filename="alert-`+name+`.pcap"`)
	w.Header().Set("Content-Length", strconv.Itoa(len(pcap)))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Write(pcap)
}

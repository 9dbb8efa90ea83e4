package iot

import (
	"context"
	"fmt"
	"time"
)

// Rights the prerequisites ask for.
const (
	RightWorkspaceRead     = "workspace.read"
	RightWorkspaceWrite    = "workspace.write"
	RightSubscriptionWrite = "subscription.write"
)

// Status describes the connector to the one who asks; prerequisites are judged by the caller's rights.
type Status struct {
	ID              string               `json:"id"`
	Title           string               `json:"title"`
	Description     string               `json:"description"`
	DataTypes       []string             `json:"dataTypes" nullable:"false"`
	State           string               `json:"state" enum:"connected,disconnected,warning"`
	Prerequisites   []Prerequisite       `json:"prerequisites" nullable:"false"`
	Subscriptions   []SubscriptionStatus `json:"subscriptions" nullable:"false"`
	CreateIncidents bool                 `json:"createIncidents" doc:"Whether each new alert opens an incident"`
	SampleQueries   []SampleQuery        `json:"sampleQueries" nullable:"false"`
	BackfillDays    int                  `json:"backfillDays" doc:"How far back open alerts are sent when a subscription is connected"`
	Duplicates      string               `json:"duplicates,omitempty" doc:"Says which duplicates were merged, if any"`
}

// Prerequisite is one thing that must hold before data can arrive.
type Prerequisite struct {
	ID     string `json:"id"`
	Title  string `json:"title"`
	Met    bool   `json:"met"`
	Detail string `json:"detail" doc:"How it is met, or what to do"`
}

// SubscriptionStatus describes one subscription.
type SubscriptionStatus struct {
	ID           string     `json:"id"`
	Name         string     `json:"name"`
	PlanOn       bool       `json:"planOn"`
	Connected    bool       `json:"connected"`
	State        string     `json:"state" enum:"connected,disconnected,warning"`
	LastReceived *time.Time `json:"lastReceived" doc:"When the newest rows were stored; null before the first"`
	Rows         uint64     `json:"rows" doc:"Rows ever stored from this subscription"`
	Refused      uint64     `json:"refused" doc:"Rows left out because a value does not fit, since the program's start"`
	Warning      string     `json:"warning" doc:"What needs a look; empty if nothing does"`
}

// SampleQuery is a query to start from.
type SampleQuery struct {
	Title string `json:"title"`
	Query string `json:"query"`
}

// The states of a connector and of a subscription.
const (
	StateConnected    = "connected"
	StateDisconnected = "disconnected"
	StateWarning      = "warning"
)

// Status tells how the connector stands.
func (c *Connector) Status(ctx context.Context) (Status, error) {
	s := Status{
		ID: "iot", Title: "Otus for IoT and OT",
		Description: "Alerts of the plants' sensors, with their devices, connections and control messages, as soon as they are seen. Connect a subscription to receive what its sensors send.",
		DataTypes:   []string{TableAlert, TableDevice, TableConnection, TableProtocolEvent, TableHealth},
		State:       StateDisconnected, Subscriptions: []SubscriptionStatus{}, SampleQueries: sampleQueries(),
		BackfillDays: int(c.o.Backfill / (24 * time.Hour)),
	}
	subscriptions, err := c.o.Fleet.Subscriptions(ctx)
	if err != nil {
		return s, fmt.Errorf("list subscriptions: %w", err)
	}
	for _, subscription := range subscriptions {
		one, err := c.subscriptionStatus(ctx, subscription)
		if err != nil {
			return s, err
		}
		s.Subscriptions = append(s.Subscriptions, one)
		if one.State == StateWarning || one.State == StateConnected && s.State == StateDisconnected {
			s.State = one.State
		}
	}
	if c.o.CreateIncidents != nil {
		if s.CreateIncidents, err = c.o.CreateIncidents(ctx); err != nil {
			return s, fmt.Errorf("read incident creation: %w", err)
		}
	}
	s.Prerequisites = c.prerequisites(ctx, s.Subscriptions)
	return s, nil
}

func (c *Connector) subscriptionStatus(ctx context.Context, subscription Subscription) (SubscriptionStatus, error) {
	s := SubscriptionStatus{ID: subscription.ID, Name: subscription.Name, PlanOn: subscription.PlanOn, State: StateDisconnected}
	saved, err := c.load(ctx, subscription.ID)
	if err != nil {
		return s, err
	}
	s.Connected = saved.Connected
	for _, sender := range []string{streamSender(subscription.ID), backfillSender(subscription.ID)} {
		sent, err := c.o.Ingest.Sender(ctx, sender)
		if err != nil {
			return s, fmt.Errorf("read sender %q: %w", sender, err)
		}
		s.Rows += sent.Rows
		if last := sent.LastRows; !last.IsZero() && (s.LastReceived == nil || last.After(*s.LastReceived)) {
			s.LastReceived = &last
		}
	}
	failure := ""
	c.mu.Lock()
	f := c.feeds[subscription.ID]
	c.mu.Unlock()
	if f != nil {
		f.mu.Lock()
		failure, s.Refused = f.failure, f.refused
		f.mu.Unlock()
	}
	switch {
	case s.Connected && !s.PlanOn:
		s.Warning = "The plan of this subscription is off, so its sensors send nothing. Enable the plan to receive data."
	case !s.PlanOn:
		s.Warning = "The plan of this subscription is off. Enable it before connecting."
	case failure != "":
		s.Warning = "The last attempt to take rows did not succeed; it is repeated. " + failure
	case s.Refused > 0:
		s.Warning = fmt.Sprintf("%d rows were left out because a value does not fit its column.", s.Refused)
	}
	switch {
	case s.Connected && s.Warning != "":
		s.State = StateWarning
	case s.Connected:
		s.State = StateConnected
	}
	return s, nil
}

func (c *Connector) prerequisites(ctx context.Context, subscriptions []SubscriptionStatus) []Prerequisite {
	workspace := Prerequisite{ID: "workspace", Title: "Workspace: read and write permissions", Met: true, Detail: "You may read and write this workspace."}
	for _, right := range []string{RightWorkspaceRead, RightWorkspaceWrite} {
		if c.authorize(ctx, right) != nil {
			workspace.Met, workspace.Detail = false, "You need a role that may read and write this workspace, such as Contributor."
		}
	}
	subscription := Prerequisite{ID: "subscription", Title: "Subscription: Contributor or Owner", Met: true, Detail: "You may change the subscriptions."}
	if c.authorize(ctx, RightSubscriptionWrite) != nil {
		subscription.Met, subscription.Detail = false, "Ask a Contributor or Owner of the subscription to connect it."
	}
	planned, connected, off := 0, 0, ""
	var last *time.Time
	for _, s := range subscriptions {
		if s.PlanOn {
			planned++
		} else {
			off = s.Name
		}
		if s.Connected {
			connected++
			if s.LastReceived != nil && (last == nil || s.LastReceived.After(*last)) {
				last = s.LastReceived
			}
		}
	}
	plan := Prerequisite{ID: "plan", Title: "Plan on", Met: planned > 0 && off == ""}
	switch {
	case len(subscriptions) == 0:
		plan.Detail = "There is no subscription yet."
	case off != "":
		plan.Detail = fmt.Sprintf("The plan of %d of %d subscriptions is off, among them %s. Enable it below.", len(subscriptions)-planned, len(subscriptions), off)
	default:
		plan.Detail = "The plan of every subscription is on."
	}
	data := Prerequisite{ID: "data", Title: "Data arriving", Met: last != nil}
	switch {
	case last != nil:
		data.Detail = "The newest rows were stored at " + last.UTC().Format("2006-01-02 15:04:05") + " UTC."
	case connected == 0:
		data.Detail = "Connect a subscription first."
	default:
		data.Detail = "Nothing has arrived yet. Check that a sensor is online and sees traffic."
	}
	return []Prerequisite{workspace, subscription, plan, data}
}

func (c *Connector) authorize(ctx context.Context, right string) error {
	if c.o.Authorize == nil {
		return nil
	}
	return c.o.Authorize(ctx, right)
}

func sampleQueries() []SampleQuery {
	const alerts = `SecurityAlert | where ProductName == "` + ProductName + `"`
	return []SampleQuery{
		{"All alerts of the sensors", alerts},
		{"Current state of each alert", alerts + "\n| summarize arg_max(TimeGenerated, *) by SystemAlertId"},
		{"Alerts of one sensor", alerts + "\n| where tostring(parse_json(ExtendedProperties).SensorId) == \"local\""},
		{"Alerts of one engine", alerts + "\n| where ProductComponentName == \"MALWARE\""},
		{"Alerts of high severity", alerts + "\n| where AlertSeverity == \"High\""},
		{"Alerts of one protocol", alerts + "\n| where tostring(parse_json(ExtendedProperties).Protocol) == \"MODBUS\""},
		{"Who wrote to controllers", "OTProtocolEvent | where Operation == \"write\"\n| summarize count() by ClientIpAddress, ServerIpAddress, Protocol"},
		{"Devices as they are now", "OTDevice | summarize arg_max(TimeGenerated, *) by DeviceId"},
	}
}

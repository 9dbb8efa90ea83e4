package iot

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/otus-project/otus/event"
)

// memoryFleet is a fleet in memory: streams of entries, plans and open alerts, as the contract says.
type memoryFleet struct {
	mu      sync.Mutex
	streams map[string][]event.Entry
	alerts  map[string]map[string]event.Entry // newest revision by subscription and alert
	plans   map[string]bool
	wakes   map[int]func(string)
	next    int
	fail    error // of Read, while set
}

func newFleet(subscriptions ...string) *memoryFleet {
	f := &memoryFleet{streams: map[string][]event.Entry{}, alerts: map[string]map[string]event.Entry{}, plans: map[string]bool{}, wakes: map[int]func(string){}}
	for _, s := range subscriptions {
		f.plans[s], f.alerts[s] = true, map[string]event.Entry{}
	}
	return f
}

// emit appends a record to a subscription's stream.
func (f *memoryFleet) emit(subscription string, r event.Record) {
	f.mu.Lock()
	position := uint64(len(f.streams[subscription]) + 1)
	r.Sequence = position
	e := event.Entry{Position: position, Place: event.Place{SubscriptionID: subscription, SensorID: "sensor-1", SensorName: "local", Site: "Plant", Zone: "Cell 1",
		Owners: []string{"site@plant.example"}}, Lines: map[string]event.Line{"plc": {Name: "Filling", Owners: []string{"line@plant.example"}}}, Record: r}
	f.streams[subscription] = append(f.streams[subscription], e)
	if r.Alert != nil {
		f.alerts[subscription][r.Alert.ID] = e
	}
	var wakes []func(string)
	for _, wake := range f.wakes {
		wakes = append(wakes, wake)
	}
	f.mu.Unlock()
	for _, wake := range wakes {
		wake(subscription)
	}
}

func (f *memoryFleet) Subscriptions(context.Context) ([]Subscription, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []Subscription
	for id, on := range f.plans {
		all = append(all, Subscription{ID: id, Name: "Name of " + id, PlanOn: on})
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all, nil
}

func (f *memoryFleet) SetPlan(_ context.Context, subscription string, on bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plans[subscription] = on
	return nil
}

func (f *memoryFleet) Read(_ context.Context, subscription string, after uint64, max int) ([]event.Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return nil, f.fail
	}
	stream := f.streams[subscription]
	if after >= uint64(len(stream)) {
		return nil, nil
	}
	rest := stream[after:]
	return append([]event.Entry(nil), rest[:min(max, len(rest))]...), nil
}

func (f *memoryFleet) Head(_ context.Context, subscription string) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return uint64(len(f.streams[subscription])), nil
}

func (f *memoryFleet) OpenAlerts(_ context.Context, subscription string, since time.Time) ([]event.Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var open []event.Entry
	for _, e := range f.alerts[subscription] {
		if e.Record.Alert.Status != event.AlertClosed && !e.Record.Alert.LastActivity.Before(since) {
			e.Position = 0
			open = append(open, e)
		}
	}
	sort.Slice(open, func(i, j int) bool { return open[i].Record.Alert.ID < open[j].Record.Alert.ID })
	return open, nil
}

func (f *memoryFleet) Subscribe(wake func(string)) (end func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := f.next
	f.next++
	f.wakes[id] = wake
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.wakes, id)
	}
}

// fileState keeps each document in a file.
type fileState string

func (s fileState) path(key string) string {
	return filepath.Join(string(s), strings.ReplaceAll(key, "/", "_")+".json")
}

func (s fileState) Get(_ context.Context, key string) (json.RawMessage, bool, error) {
	b, err := os.ReadFile(s.path(key))
	if os.IsNotExist(err) {
		return nil, false, nil
	}
	return b, err == nil, err
}

func (s fileState) Put(_ context.Context, key string, body json.RawMessage) error {
	if err := os.WriteFile(s.path(key)+".new", body, 0o600); err != nil {
		return err
	}
	return os.Rename(s.path(key)+".new", s.path(key))
}

var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// alert makes an alert record; revisions of one number are the same alert.
func alert(number, revision int, status event.AlertStatus) event.Record {
	at := start.Add(time.Duration(number)*time.Second + time.Duration(revision)*time.Minute)
	return event.Record{Kind: event.KindAlert, Alert: &event.Alert{
		ID: fmt.Sprintf("alert-%d", number), Revision: revision, Type: "function-code-not-supported", Title: "Modbus Exception", Engine: event.EngineProtocolViolation,
		Severity: event.SeverityHigh, Category: "Illegal Commands", Protocol: "MODBUS", Tactics: []string{"Impact", "Execution"}, Techniques: []string{"T0855"},
		Status: status, FirstDetection: start, LastDetection: at, LastActivity: at, Published: start, Count: revision,
		Source:      &event.Endpoint{DeviceID: "hmi", Name: "HMI", Address: "10.0.0.5"},
		Destination: &event.Endpoint{DeviceID: "plc", Name: "PLC-1", Address: "10.0.0.9", Port: 502},
		Description: "A request was refused.", Explanation: event.Explanation{Meaning: "m", Impact: "i", Safe: []string{"Look <first>"}, Ask: "a"},
		Details: []event.Detail{{Name: "function code", Value: "90"}},
	}}
}

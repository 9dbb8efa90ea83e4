package api_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/otus-project/otus/event"
)

// FuzzBatch sends whatever a sensor with a key could send. The fleet answers without an internal error, and its cursor
// moves only with records that were taken.
func FuzzBatch(f *testing.F) {
	r := newRig(f)
	_, token, err := r.fleet.AddSensor(f.Context(), "fuzzed", r.local().ZoneID)
	if err != nil {
		f.Fatal(err)
	}
	id, key, err := r.fleet.Activate(f.Context(), token)
	if err != nil {
		f.Fatal(err)
	}
	for _, b := range []event.Batch{
		{SensorID: id},
		{SensorID: id, AppliedCommand: 3, Dropped: []event.Range{{From: 1, To: 4}}},
		{SensorID: id, Records: []event.Record{
			{Sequence: 1, Kind: event.KindConnection, Connection: &event.Connection{SensorID: id}},
			{Sequence: 2, Kind: event.KindAlert, Alert: &event.Alert{ID: "a", Revision: 1, SensorID: id, Status: event.AlertNew}},
			{Sequence: 3, Kind: event.KindCapture, Capture: &event.Capture{AlertID: "a", PCAP: []byte("x")}},
			{Sequence: 4, Kind: event.KindDevice, Device: &event.Device{ID: "d", Revision: 1, SensorID: id}},
			{Sequence: 5, Kind: event.KindHealth, Health: &event.Health{SensorID: id}},
			{Sequence: 6, Kind: event.KindProtocolEvent, ProtocolEvent: &event.ProtocolEvent{SensorID: id}},
		}},
	} {
		body, err := json.Marshal(b)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(strings.ReplaceAll(string(body), id, "ID"), false)
	}
	f.Add(`{"sensorId":"ID","records":[{"sequence":18446744073709551615,"kind":"health","health":{}}]}`, false)
	f.Add(`{"sensorId":"ID","dropped":[{"from":0,"to":18446744073709551615}]}`, false)
	f.Add("\x1f\x8b\x08\x00\x00\x00\x00\x00", true)
	f.Add(strings.Repeat("[", 1000), false)
	handler := r.handler()
	f.Fuzz(func(t *testing.T, body string, zipped bool) {
		body = strings.ReplaceAll(body, "ID", id)
		body = strings.ReplaceAll(body, "waitSeconds", "-")
		request := httptest.NewRequest("POST", "/otus/v1/uplink/batches", strings.NewReader(body))
		request.Header.Set("Authorization", "Bearer "+key)
		if zipped {
			request.Header.Set("Content-Encoding", "gzip")
		}
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request)
		switch answer.Code {
		case http.StatusOK, http.StatusBadRequest, http.StatusConflict:
		default:
			t.Fatalf("status %d for %q: %v", answer.Code, body, r.causes)
		}
		var ack event.Ack
		if answer.Code == http.StatusOK {
			if err := json.Unmarshal(answer.Body.Bytes(), &ack); err != nil {
				t.Fatal(err)
			}
		}
		s, err := r.fleet.Sensor(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if s.LostRecords > 1<<62 {
			t.Fatalf("lost records: %d", s.LostRecords)
		}
	})
}

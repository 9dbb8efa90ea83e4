package fleet

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/otus-project/otus/event"
)

func TestCommandsAreDeliveredUntilJournaled(t *testing.T) {
	r := newRig(t, Options{})
	s := r.local()
	r.send(mixed(s.ID, 1))
	command := func(request string, action event.Action) error {
		return r.Command(t.Context(), request, "alert-1", action, "ann@example.org", start.Add(time.Hour))
	}
	for range 2 {
		if err := command("request-1", event.ActionClose); err != nil {
			t.Fatal(err)
		}
	}
	if err := command("request-1", event.ActionMute); !errors.Is(err, ErrConflict) {
		t.Errorf("another command under the same request: %v", err)
	}
	if err := r.SetMode(t.Context(), "request-2", s.ID, event.ModeOperational, "ann@example.org", start); err != nil {
		t.Fatal(err)
	}
	want := []event.Command{
		{ID: 1, Action: event.ActionClose, AlertID: "alert-1", Time: start.Add(time.Hour), By: "ann@example.org"},
		{ID: 2, Action: event.ActionSetMode, Mode: event.ModeOperational, Time: start, By: "ann@example.org"},
	}
	r.reopen()
	for range 2 {
		if diff := cmp.Diff(want, r.send(event.Batch{SensorID: s.ID}).Commands); diff != "" {
			t.Errorf("commands (-want +got):\n%s", diff)
		}
	}
	if diff := cmp.Diff(want[1:], r.send(event.Batch{SensorID: s.ID, AppliedCommand: 1}).Commands); diff != "" {
		t.Errorf("commands after the first was journaled (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[1:], r.send(event.Batch{SensorID: s.ID}).Commands); diff != "" {
		t.Errorf("commands for a sensor that forgot to say (-want +got):\n%s", diff)
	}
	if s := r.local(); s.PendingCommands != 1 || s.ModeWanted != event.ModeOperational {
		t.Errorf("sensor: %+v", s)
	}
	if got := r.send(event.Batch{SensorID: s.ID, AppliedCommand: 2}).Commands; len(got) != 0 {
		t.Errorf("commands after all were journaled: %+v", got)
	}
	// Restored from a backup: ids the sensor has journaled are not given again.
	r.send(event.Batch{SensorID: s.ID, AppliedCommand: 40})
	if err := command("request-3", event.ActionSetActive); err != nil {
		t.Fatal(err)
	}
	if got := r.send(event.Batch{SensorID: s.ID, AppliedCommand: 40}).Commands; len(got) != 1 || got[0].ID != 41 {
		t.Errorf("command after a restore: %+v", got)
	}
}

func TestCommandRefuses(t *testing.T) {
	r := newRig(t, Options{})
	s := r.local()
	fixed := alertRecord(s.ID, 1, "fixed", 1, event.AlertNew)
	fixed.Alert.Learnable = false
	r.send(event.Batch{SensorID: s.ID, Records: []event.Record{fixed}})
	for name, c := range map[string]struct {
		request, alert string
		action         event.Action
		want           error
	}{
		"an unknown alert":             {"1", "nothing", event.ActionClose, ErrNotFound},
		"an unknown action":            {"1", "fixed", "explode", ErrInvalid},
		"a sensor's action":            {"1", "fixed", event.ActionSetMode, ErrInvalid},
		"no request id":                {"", "fixed", event.ActionClose, ErrInvalid},
		"learning what is not learned": {"1", "fixed", event.ActionLearn, ErrInvalid},
	} {
		if err := r.Command(t.Context(), c.request, c.alert, c.action, "ann", start); !errors.Is(err, c.want) {
			t.Errorf("command with %s: %v", name, err)
		}
	}
	if err := r.SetMode(t.Context(), "1", s.ID, "sleeping", "ann", start); !errors.Is(err, ErrInvalid) {
		t.Errorf("unknown mode: %v", err)
	}
	if err := r.SetMode(t.Context(), "1", "nothing", event.ModeLearning, "ann", start); !errors.Is(err, ErrNotFound) {
		t.Errorf("mode of an unknown sensor: %v", err)
	}
	if n := r.count(`SELECT count(*) FROM command`); n != 0 {
		t.Errorf("%d commands stored", n)
	}
}

func TestSendWaitsForACommand(t *testing.T) {
	r := newRig(t, Options{})
	s := r.local()
	r.send(mixed(s.ID, 1))
	answers := make(chan event.Ack)
	go func() {
		ack, err := r.Send(t.Context(), event.Batch{SensorID: s.ID, WaitSeconds: 30})
		if err != nil {
			t.Errorf("waiting send: %v", err)
		}
		answers <- ack
	}()
	select {
	case ack := <-answers:
		t.Fatalf("answered without a command: %+v", ack)
	case <-time.After(50 * time.Millisecond):
	}
	if err := r.Command(t.Context(), "1", "alert-1", event.ActionClose, "ann", start); err != nil {
		t.Fatal(err)
	}
	select {
	case ack := <-answers:
		if len(ack.Commands) != 1 || ack.Sequence != mixedRecords {
			t.Errorf("answer: %+v", ack)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the command did not wake the waiting sensor")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := r.Send(ctx, event.Batch{SensorID: s.ID, WaitSeconds: 30, AppliedCommand: 1}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("send whose context ends: %v", err)
	}
}

func TestOnboarding(t *testing.T) {
	r := newRig(t, Options{})
	zone := r.local().ZoneID
	s, token, err := r.AddSensor(t.Context(), "pump house", zone)
	if err != nil {
		t.Fatal(err)
	}
	id, key, err := r.Activate(t.Context(), token)
	if err != nil || id != s.ID {
		t.Fatalf("activate: %q, %v", id, err)
	}
	if got, err := r.Authenticate(t.Context(), key); err != nil || got != s.ID {
		t.Errorf("authenticate: %q, %v", got, err)
	}
	for _, wrong := range []string{token, "", key} {
		if _, _, err := r.Activate(t.Context(), wrong); !errors.Is(err, ErrUnauthorised) {
			t.Errorf("activate with a used or wrong token: %v", err)
		}
	}
	for _, wrong := range []string{token, "", key + "x"} {
		if _, err := r.Authenticate(t.Context(), wrong); !errors.Is(err, ErrUnauthorised) {
			t.Errorf("authenticate with a wrong key: %v", err)
		}
	}
	for _, secret := range []string{token, key} {
		if n := r.count(`SELECT count(*) FROM sensor WHERE instr(CAST(key_hash AS TEXT), ?) OR instr(CAST(token_hash AS TEXT), ?)`, secret, secret); n != 0 {
			t.Error("a secret is stored in the clear")
		}
	}
	again, err := r.RenewToken(t.Context(), s.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Authenticate(t.Context(), key); err != nil {
		t.Errorf("the key ended before the new token was used: %v", err)
	}
	r.pass(8 * 24 * time.Hour)
	if _, _, err := r.Activate(t.Context(), again); !errors.Is(err, ErrUnauthorised) {
		t.Errorf("activate with an old token: %v", err)
	}
	if again, err = r.RenewToken(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Activate(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Authenticate(t.Context(), key); !errors.Is(err, ErrUnauthorised) {
		t.Errorf("the earlier key still works: %v", err)
	}
	if _, _, err := r.AddSensor(t.Context(), "pump house", zone); !errors.Is(err, ErrConflict) {
		t.Errorf("a second sensor of that name: %v", err)
	}
	if _, _, err := r.AddSensor(t.Context(), "lost", "no zone"); !errors.Is(err, ErrInvalid) {
		t.Errorf("a sensor in no zone: %v", err)
	}
}

func TestSensorStates(t *testing.T) {
	r := newRig(t, Options{})
	s := r.local()
	state := func() string { s := r.local(); return s.State + " " + s.Reason }
	r.send(event.Batch{SensorID: s.ID})
	if got := state(); got != "Healthy " {
		t.Errorf("after a question for commands: %s", got)
	}
	r.send(event.Batch{SensorID: s.ID, Records: []event.Record{healthRecord(s.ID, 1, "Warning")}})
	if got := state(); got != "Warning " {
		t.Errorf("after a warning: %s", got)
	}
	if err := r.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.pass(2 * time.Minute)
	if got := state(); got != "Critical Disconnected" {
		t.Errorf("after two silent minutes: %s", got)
	}
	r.changes = nil
	if err := r.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"sensor " + s.ID + " updated"}, r.changes); diff != "" {
		t.Errorf("changes told: %s", diff)
	}
	r.send(event.Batch{SensorID: s.ID})
	if err := r.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.reopen()
	if got := r.local().LastSeen; got == nil || !got.Equal(start.Add(2*time.Minute)) {
		t.Errorf("last seen after reopening: %v", got)
	}
}

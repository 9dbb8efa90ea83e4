// Command otus-sensor runs one sensor near the plant: static, without cgo, speaking outbound HTTPS only.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor"
	"github.com/otus-project/otus/sensor/engine"
	"github.com/otus-project/otus/sensor/protocol"
	"github.com/otus-project/otus/sensor/station"
	"github.com/otus-project/otus/sensor/uplink"
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Stderr, os.Args[1:])
	stop()
	os.Exit(code)
}

type options struct {
	dir, fleet, ca, token, name string
	networkPort, mode           string
	replay                      []string
	at, speed                   string
	exitWhenDone                bool
}

// run is main without the process.
func run(ctx context.Context, w io.Writer, args []string) int {
	var o options
	cmd := &cobra.Command{
		Use: "otus-sensor --data DIR", Short: "One sensor, near the plant", Version: version, Args: cobra.NoArgs,
		Long: `One sensor, near the plant. It listens on --interface and never sends there. What it finds waits on its disk
and goes to --fleet as soon as that can be reached. The first start needs --token, the one-time token the fleet
gave when the sensor was added; without --fleet everything stays in --data.`,
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), w) },
	}
	f := cmd.Flags()
	f.StringVar(&o.dir, "data", "", "folder that keeps state and spool; made when it is missing")
	f.StringVar(&o.fleet, "fleet", "", "where to send, such as https://soc.example:8443")
	f.StringVar(&o.ca, "ca", "", "PEM file of the authority to trust for --fleet, and no other")
	f.StringVar(&o.token, "token", "", "one-time token; needed at the first start only")
	f.StringVar(&o.name, "name", "sensor", "name while there is no fleet")
	f.StringVar(&o.networkPort, "interface", "", "network interface that gets the mirrored traffic")
	f.StringVar(&o.mode, "mode", "learning", "mode at the first start: learning or operational")
	f.StringArrayVar(&o.replay, "replay", nil, "capture file or folder to feed in as if it came now; repeatable")
	f.StringVar(&o.at, "at", "", `the instant the last replayed frame gets, RFC 3339; "original" leaves the capture's times (default now)`)
	f.StringVar(&o.speed, "speed", "max", `pace of a replay: 1 is as recorded, "max" as fast as possible`)
	f.BoolVar(&o.exitWhenDone, "exit-when-done", false, "replay to the end, send everything, and stop")
	cmd.SetArgs(args)
	cmd.SetOut(w)
	cmd.SetErr(w)
	if err := cmd.ExecuteContext(ctx); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(w, "otus-sensor:", err)
		return 1
	}
	return 0
}

func (o *options) run(ctx context.Context, w io.Writer) error {
	if o.dir == "" {
		return errors.New("--data is missing: name the folder that keeps state and spool")
	}
	mode := event.SensorMode(o.mode)
	if mode != event.ModeLearning && mode != event.ModeOperational {
		return fmt.Errorf("--mode %q: want learning or operational", o.mode)
	}
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return err
	}
	release, err := lock(o.dir)
	if err != nil {
		return err
	}
	defer release()
	todo, err := o.plan()
	if err != nil {
		return err
	}
	me, sender, err := o.join(ctx)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(w, nil))
	s, err := station.Open(station.Options{
		Dir: o.dir, Sender: sender, Wait: 25 * time.Second,
		Sensor: sensor.Options{ID: me.SensorID, Name: o.name, Version: version, Mode: mode,
			Protocols: protocol.All, Engines: engine.All, Now: time.Now},
		Report: func(err error) { log.Warn("sensor", "error", err) },
	})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	s.Start(running)
	log.Info("sensor runs", "id", me.SensorID, "version", version, "fleet", o.fleet, "interface", o.networkPort)
	err = s.Replay(ctx, todo)
	switch {
	case err != nil:
	case o.exitWhenDone:
		err = s.Drain(ctx, nil)
	default:
		err = s.Watch(ctx, o.networkPort)
	}
	stop()
	return errors.Join(err, s.Close())
}

func (o *options) plan() ([]sensor.Replay, error) {
	if len(o.replay) == 0 {
		return nil, nil
	}
	when := sensor.ReplayTime{Original: o.at == "original"}
	if o.at != "" && !when.Original {
		t, err := time.Parse(time.RFC3339, o.at)
		if err != nil {
			return nil, fmt.Errorf("--at %q: want a time such as 2026-03-01T12:00:00Z, or original", o.at)
		}
		when.At = t.UTC()
	}
	var speed float64
	if o.speed != "max" {
		var err error
		if speed, err = strconv.ParseFloat(o.speed, 64); err != nil || speed <= 0 {
			return nil, fmt.Errorf("--speed %q: want a positive number, or max", o.speed)
		}
	}
	r, err := sensor.NewReplay(o.replay, speed, when)
	return []sensor.Replay{r}, err
}

// identity is who this sensor is; the key is what the fleet knows it by.
type identity struct {
	SensorID string `json:"sensorId"`
	Fleet    string `json:"fleet,omitempty"`
	Key      string `json:"key,omitempty"`
}

// join reads the identity, or gets one: from the fleet for the one-time token, or of one's own without a fleet.
func (o *options) join(ctx context.Context) (identity, uplink.Sender, error) {
	var me identity
	path := filepath.Join(o.dir, "identity.json")
	data, err := os.ReadFile(path)
	switch {
	case err == nil:
		if err := json.Unmarshal(data, &me); err != nil {
			return me, nil, fmt.Errorf("read %q: %w", path, err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return me, nil, err
	}
	var config *tls.Config
	if o.ca != "" {
		pem, err := os.ReadFile(o.ca)
		if err != nil {
			return me, nil, fmt.Errorf("--ca: %w", err)
		}
		if config, err = uplink.PinnedCA(pem); err != nil {
			return me, nil, fmt.Errorf("--ca %q: %w", o.ca, err)
		}
	}
	if me.SensorID == "" {
		if o.fleet == "" {
			me.SensorID = uuid.NewString()
		} else {
			if o.token == "" {
				return me, nil, errors.New("--token is missing: the first start needs the one-time token that the fleet gave")
			}
			if me.SensorID, me.Key, err = uplink.Activate(ctx, o.fleet, o.token, config); err != nil {
				return me, nil, err
			}
			me.Fleet = o.fleet
		}
		if err := save(path, me); err != nil {
			return me, nil, err
		}
	}
	if o.fleet == "" {
		return me, nil, nil
	}
	if me.Key == "" {
		return me, nil, fmt.Errorf("%q holds the state of a sensor without a fleet; start one for %s in a folder of its own", o.dir, o.fleet)
	}
	sender, err := uplink.NewHTTPSender(o.fleet, me.Key, config)
	if err != nil {
		return me, nil, err
	}
	return me, sender, nil
}

// save writes the identity in one step: the token is used up by now.
func save(path string, me identity) error {
	data, err := json.Marshal(me)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// lock makes this process the only one that opens dir; it goes with the process.
func lock(dir string) (release func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, "otus-sensor.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%q is in use by another sensor", dir)
	}
	return func() { f.Close() }, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor"
)

// defaultDir is the data folder where --data names none.
const defaultDir = "otus-data"

// upOptions are the flags of up and demo.
type upOptions struct {
	dir             string
	listen          string
	tlsListen       string
	replay          []string
	learn           []string
	at              string
	speed           string
	exitWhenDone    bool
	networkPort     string
	connect         bool
	createIncidents bool
	mode            string
	seed            string
	adminTokenFile  string

	demo bool
}

func (o *upOptions) flags(cmd *cobra.Command, dataUsage string) {
	f := cmd.Flags()
	f.StringVar(&o.dir, "data", o.dir, dataUsage)
	f.StringVar(&o.listen, "listen", "127.0.0.1:8080", "address of pages and API over plain HTTP; loopback only; empty for none")
	f.StringVar(&o.tlsListen, "tls-listen", "127.0.0.1:8443", "address of pages and API over HTTPS; empty for none")
	f.StringArrayVar(&o.replay, "replay", nil, "capture file or folder to feed in as if it came now; repeatable")
	f.StringArrayVar(&o.learn, "learn", nil, "capture to learn from before --replay, which then runs in operational mode; repeatable")
	f.StringVar(&o.at, "at", "", `the instant the last replayed frame gets, RFC 3339; "original" leaves the capture's times (default now)`)
	f.StringVar(&o.speed, "speed", o.speed, `pace of a replay: 1 is as recorded, 10 ten times faster, "max" as fast as possible`)
	f.BoolVar(&o.exitWhenDone, "exit-when-done", false, "replay to the end, let everything through, and stop")
	f.StringVar(&o.networkPort, "interface", "", "network interface that gets the mirrored traffic")
	f.BoolVar(&o.connect, "connect", o.connect, "connect the subscription and create incidents from its alerts")
	f.StringVar(&o.mode, "mode", "", "mode of the sensor at its first start: learning or operational (default learning)")
	f.StringVar(&o.seed, "seed", "", "fixes the ids made at a first start, a number (default random; 1 with --at)")
	f.StringVar(&o.adminTokenFile, "admin-token-file", "", "write an administrator's API token to this file, mode 0600")
}

// checked is upOptions after reading.
type checked struct {
	upOptions
	when sensor.ReplayTime
	pace float64
	mode event.SensorMode
	ids  func(name string) string
	now  time.Time // of the start
}

func (o upOptions) check(now time.Time) (*checked, error) {
	c := &checked{upOptions: o, now: now}
	switch o.at {
	case "":
	case "original":
		c.when.Original = true
	default:
		t, err := time.Parse(time.RFC3339, o.at)
		if err != nil {
			return nil, usageError{fmt.Errorf("--at %q: want a time such as 2026-03-01T12:00:00Z, or original", o.at)}
		}
		c.when.At = t.UTC()
	}
	if o.speed != "max" {
		speed, err := strconv.ParseFloat(o.speed, 64)
		if err != nil || speed <= 0 || speed > 1e9 {
			return nil, usageError{fmt.Errorf("--speed %q: want a positive number, or max", o.speed)}
		}
		c.pace = speed
	}
	switch c.mode = event.SensorMode(o.mode); c.mode {
	case "":
		c.mode = event.ModeLearning
	case event.ModeLearning, event.ModeOperational:
	default:
		return nil, usageError{fmt.Errorf("--mode %q: want learning or operational", o.mode)}
	}
	if o.exitWhenDone && len(o.replay) == 0 && len(o.learn) == 0 && !o.demo {
		return nil, usageError{errors.New("--exit-when-done needs --replay: without one nothing is ever done")}
	}
	if len(o.learn) > 0 && len(o.replay) == 0 {
		return nil, usageError{errors.New("--learn needs --replay: name the capture that is compared with what was learnt")}
	}
	if err := loopbackOnly(o.listen); err != nil {
		return nil, err
	}
	if o.seed == "" && o.at != "" {
		o.seed = "1" // a fixed instant means to be repeatable
	}
	ids, err := idSource(o.seed)
	c.ids = ids
	return c, err
}

// idSource gives random ids, or for a seed always the same id for the same name.
func idSource(seed string) (func(string) string, error) {
	if seed == "" {
		return func(string) string { return uuid.NewString() }, nil
	}
	n, err := strconv.ParseUint(seed, 10, 64)
	if err != nil {
		return nil, usageError{fmt.Errorf("--seed %q: want a number from 0 to %d", seed, uint64(1<<64-1))}
	}
	space := uuid.NewSHA1(uuid.NameSpaceOID, []byte("otus seed "+strconv.FormatUint(n, 10)))
	return func(name string) string { return uuid.NewSHA1(space, []byte(name)).String() }, nil
}

// loopbackOnly refuses plain HTTP where others could listen in.
func loopbackOnly(listen string) error {
	if listen == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return usageError{fmt.Errorf("--listen %q: want HOST:PORT", listen)}
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.IsLoopback() || host == "localhost" {
		return nil
	}
	return usageError{fmt.Errorf("--listen %q: plain HTTP is for loopback addresses only; use --tls-listen for others", listen)}
}

func newUp(env environment) *cobra.Command {
	o := upOptions{speed: "max", dir: defaultDir}
	cmd := &cobra.Command{
		Use: "up", Short: "Run sensor, fleet, log tables, rules, incidents and pages", Args: noArgs,
		Long: `Run everything in one process: sensor, fleet, log tables, rules, incidents and pages.

Frames come from --interface, or from captures with --replay. Without either, the sensor inside is idle, and Otus
waits for what sensors elsewhere send.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.check(env.now())
			if err != nil {
				return err
			}
			c.createIncidents = c.connect
			return runUp(cmd.Context(), env, c, nil)
		},
	}
	o.flags(cmd, "folder that keeps everything; made when it is missing")
	return cmd
}

func newDemo(env environment) *cobra.Command {
	o := upOptions{speed: "1", connect: true, demo: true}
	cmd := &cobra.Command{
		Use: "demo", Short: "Run everything with a simulated water plant and an attack on it", Args: noArgs,
		Long: `Run everything in a temporary folder with a simulated water plant. The plant's last two weeks are learnt at
full speed; then an attack goes through it in real time. With --replay, that capture takes the attack's place.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.dir == "" {
				dir, err := os.MkdirTemp("", "otus-demo-")
				if err != nil {
					return err
				}
				defer os.RemoveAll(dir)
				o.dir = dir
			}
			c, err := o.check(env.now())
			if err != nil {
				return err
			}
			c.createIncidents = c.connect
			return runUp(cmd.Context(), env, c, demoPlan)
		},
	}
	o.flags(cmd, "folder that keeps everything (default a temporary one)")
	return cmd
}

// demoPlan writes the plant's captures into the data folder and replays them: learning at full speed, the attack at
// the asked pace. The captures stay until the folder goes, so that a restart goes on with the same ones.
func demoPlan(c *checked, now time.Time) ([]sensor.Replay, error) {
	dir := filepath.Join(c.dir, "plant")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	seed := uint64(1)
	if c.seed != "" {
		seed, _ = strconv.ParseUint(c.seed, 10, 64) // checked already
	}
	learning, attack := filepath.Join(dir, "learning.pcap"), filepath.Join(dir, "attack.pcap")
	for _, part := range []struct {
		path          string
		learn, attack bool
	}{{learning, true, false}, {attack, false, true}} {
		if _, err := os.Stat(part.path); err == nil {
			continue
		}
		if _, err := writePlant(part.path+".new", seed, now, learningDays, part.learn, part.attack); err != nil {
			return nil, err
		}
		if err := os.Rename(part.path+".new", part.path); err != nil {
			return nil, err
		}
	}
	paths := c.replay
	if len(paths) == 0 {
		paths = []string{attack}
	}
	return plan(c, []string{learning}, paths)
}

// plan is: learn these at full speed, then replay those.
func plan(c *checked, learn, replay []string) ([]sensor.Replay, error) {
	var todo []sensor.Replay
	if len(learn) > 0 {
		r, err := sensor.NewReplay(learn, 0, c.when)
		if err != nil {
			return nil, usageError{err}
		}
		r.Mode = event.ModeLearning
		todo = append(todo, r)
	}
	if len(replay) > 0 {
		r, err := sensor.NewReplay(replay, c.pace, c.when)
		if err != nil {
			return nil, usageError{err}
		}
		if len(learn) > 0 {
			r.Mode = event.ModeOperational
			// What was learnt ends where the rest begins: the sensor's time never runs backwards.
			end := c.when.At
			if end.IsZero() && c.pace == 0 {
				end = c.now // no later than the instant the last frame then gets
			}
			if !end.IsZero() {
				todo[0].When.At = end.Add(-r.Last.Sub(r.First) - time.Second)
			}
		}
		todo = append(todo, r)
	}
	return todo, nil
}

// runUp opens the houses, serves, replays, and stops in order when ctx ends or everything is done.
func runUp(ctx context.Context, env environment, c *checked, planned func(*checked, time.Time) ([]sensor.Replay, error)) (err error) {
	started := env.now()
	log := slog.New(slog.NewTextHandler(env.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	release, err := lockSoon(ctx, c.dir)
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	h, err := openHouses(ctx, env, c, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	servers, err := serve(h, c)
	if err != nil {
		return err
	}
	defer servers.stop()
	h.start(ctx, cancel)

	if c.adminTokenFile != "" {
		if err := writeAdminToken(ctx, h, c.adminTokenFile); err != nil {
			return err
		}
	}
	if err := announce(ctx, env.err, h, servers, c.dir, env.now().Sub(started)); err != nil {
		return err
	}
	return h.runSensor(ctx, env, c, planned)
}

// announce tells where the pages are and prints the one-time sign-in link.
func announce(ctx context.Context, w io.Writer, h *houses, s *servers, dir string, took time.Duration) error {
	fmt.Fprintf(w, "otus %s ready in %.1f s\n  data     %s\n", version, took.Seconds(), dir)
	if s.plainURL == "" && s.tlsURL == "" {
		return nil
	}
	fmt.Fprintf(w, "  pages    %s  %s\n", s.plainURL, s.tlsURL)
	code, err := h.access.SignInCode(ctx)
	if err != nil {
		return err
	}
	base := s.plainURL
	if base == "" {
		base = s.tlsURL
	}
	fmt.Fprintf(w, "  sign in  %s/otus/v1/signin?code=%s\n", base, code)
	return nil
}

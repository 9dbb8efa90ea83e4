package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/netip"
	"slices"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor"
	"github.com/otus-project/otus/sensor/capture"
	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/engine"
	"github.com/otus-project/otus/sensor/facts"
	"github.com/otus-project/otus/sensor/packet"
	"github.com/otus-project/otus/sensor/protocol"
	"github.com/otus-project/otus/sensor/stage"
	"github.com/otus-project/otus/siem/connector/iot"
)

// The sensor and workspace that analyze pretends to be: fixed, so that equal captures give equal output.
var (
	analyzeSensor    = uuid.NewSHA1(uuid.NameSpaceOID, []byte("otus analyze sensor")).String()
	analyzeWorkspace = uuid.NewSHA1(uuid.NameSpaceOID, []byte("otus analyze workspace")).String()
	analyzeTenant    = uuid.NewSHA1(uuid.NameSpaceOID, []byte("otus analyze tenant")).String()
)

// analysis is what analyze is asked.
type analysis struct {
	files, learn []string
	mode         event.SensorMode
	types        map[string]bool
	otSubnets    []netip.Prefix
}

func newAnalyze(env environment) *cobra.Command {
	var mode, output string
	var learn, enable, subnets []string
	cmd := &cobra.Command{
		Use: "analyze FILE...", Short: "Show devices, protocols and alerts of captures",
		Long: `Show devices, protocols and alerts of captures. Nothing is stored, and times stay those of the capture.

In learning mode, the default, the policy engine is silent: everything is taken as normal. With --learn, those
captures are learnt first and the others then compared with them.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("analyze needs a capture: otus analyze FILE")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			a := analysis{files: args, learn: learn, mode: event.SensorMode(mode), types: map[string]bool{}}
			switch {
			case mode == "" && len(learn) > 0:
				a.mode = event.ModeOperational
			case mode == "":
				a.mode = event.ModeLearning
			case a.mode != event.ModeLearning && a.mode != event.ModeOperational:
				return usageError{fmt.Errorf("--mode %q: want learning or operational", mode)}
			}
			known := typeIDs()
			for _, id := range enable {
				if !slices.Contains(known, id) {
					return usageError{fmt.Errorf("--enable %q: no such alert type", id)}
				}
				a.types[id] = true
			}
			for _, text := range subnets {
				prefix, err := netip.ParsePrefix(text)
				if err != nil {
					return usageError{fmt.Errorf("--ot-subnet %q: want a subnet such as 10.20.0.0/16", text)}
				}
				a.otSubnets = append(a.otSubnets, prefix)
			}
			write, ok := map[string]func(*report, io.Writer) error{"table": (*report).table, "json": (*report).json, "html": (*report).html}[output]
			if !ok {
				return usageError{fmt.Errorf("--output %q: want table, json or html", output)}
			}
			r, err := a.run(cmd.Context(), env)
			if err != nil {
				return err
			}
			return write(r, env.out)
		},
	}
	cmd.Flags().StringVar(&mode, "mode", "", "learning or operational (default learning; operational with --learn)")
	cmd.Flags().StringArrayVar(&learn, "learn", nil, "capture to learn from first; repeatable")
	cmd.Flags().StringArrayVar(&enable, "enable", nil, "switch on an alert type that is off by default, by its id; repeatable")
	cmd.Flags().StringArrayVar(&subnets, "ot-subnet", nil, "subnet that counts as OT even where no OT protocol is seen; repeatable")
	cmd.Flags().StringVar(&output, "output", "table", "table, json or html")
	return cmd
}

func typeIDs() []string {
	var ids []string
	for _, e := range engine.All {
		for _, t := range e.Types {
			ids = append(ids, t.ID)
		}
	}
	return ids
}

// run takes all frames through a sensor's stages in memory.
func (a *analysis) run(ctx context.Context, env environment) (*report, error) {
	counted, sums := facts.New(protocol.All), newTally()
	latest := map[string]event.Alert{}
	var order []string
	speaking := false // false while learning
	s := stage.New(stage.Options{
		SensorID: analyzeSensor, SensorName: "analyze", Mode: event.ModeLearning,
		Protocols: protocol.All, Engines: engine.All, Types: a.types, OTSubnets: a.otSubnets,
		Message: func(m *dissect.Message, c *dissect.Connection) {
			if speaking {
				sums.message(m)
				counted.Message(m, c)
			}
		},
		Connection: func(c event.Connection) {
			if speaking {
				sums.connection(c)
			}
		},
		Alert: func(row event.Alert) {
			if !speaking {
				return
			}
			if _, seen := latest[row.ID]; !seen {
				order = append(order, row.ID)
			}
			latest[row.ID] = row
		},
	})
	if len(a.learn) > 0 {
		if _, err := a.feed(ctx, env, s, a.learn, "learning", nil); err != nil {
			return nil, err
		}
		s.Rewind()
		for _, row := range s.Alerts() { // what learning raised must not hide the same again
			s.Command(event.Command{Action: event.ActionClose, AlertID: row.ID, Time: row.LastActivity})
		}
	}
	s.SetMode(a.mode)
	speaking = true
	before := s.Counters()
	summary, err := a.feed(ctx, env, s, a.files, "reading", counted.Frame)
	if err != nil {
		return nil, err
	}
	after := s.Counters()
	r := &report{Devices: s.Devices(), Facts: counted.Facts(), Alerts: []map[string]any{}}
	r.Capture = captureReport{Files: summary.Files, Packets: summary.Frames, Bytes: summary.Bytes,
		Malformed: after.Malformed - before.Malformed, Duplicates: after.Duplicates - before.Duplicates,
		LostBytes: after.LostBytes - before.LostBytes, UndecodedBytes: after.UndecodedBytes - before.UndecodedBytes,
		OneSidedStreams: after.OneSidedStreams - before.OneSidedStreams}
	if summary.Frames > 0 {
		r.Capture.FirstTime, r.Capture.LastTime = &summary.First, &summary.Last
	}
	for _, d := range summary.Damage {
		r.damage = append(r.damage, d.Error())
	}
	r.Capture.Damage = r.damage
	r.Protocols, r.Connections = sums.sorted()
	place := event.Place{SensorID: analyzeSensor, SensorName: "analyze", Site: "default", Zone: "default"}
	ws := iot.Workspace{ID: analyzeWorkspace, TenantID: analyzeTenant}
	for _, id := range order {
		row := latest[id]
		r.raised = append(r.raised, row)
		r.Alerts = append(r.Alerts, iot.AlertRow(ws, &event.Entry{Place: place, Record: event.Record{Kind: event.KindAlert, Alert: &row}}, true))
	}
	return r, nil
}

// feed reads captures into the stage. Files that are not whole give what they hold.
func (a *analysis) feed(ctx context.Context, env environment, s *stage.Stage, paths []string, label string, each func(*packet.Frame)) (capture.Summary, error) {
	progress := func(sensor.Progress) {}
	var total uint64
	if env.terminal {
		summary, err := capture.Scan(paths...) // a second reading buys a true progress bar
		if err != nil {
			return summary, usageError{err}
		}
		total = summary.Frames
		progress = progressBar(env.err, label, env.now)
	}
	files, err := capture.Open(paths...)
	if err != nil {
		return capture.Summary{}, usageError{err}
	}
	defer files.Close()
	sum := capture.Summary{Files: len(files.Paths())}
	for {
		f, err := files.Next()
		var damage *capture.DamageError
		switch {
		case errors.Is(err, io.EOF):
			s.Flush(sum.Last)
			progress(sensor.Progress{Frames: sum.Frames, Total: sum.Frames})
			return sum, readable(&sum, len(paths))
		case errors.As(err, &damage):
			sum.Damage = append(sum.Damage, damage)
			continue
		case err != nil:
			return sum, err
		}
		sum.Frames++
		sum.Bytes += uint64(f.Length)
		if sum.Frames == 1 || f.Time.Before(sum.First) {
			sum.First = f.Time
		}
		if f.Time.After(sum.Last) {
			sum.Last = f.Time
		}
		if each != nil {
			each(f)
		}
		s.Frame(f)
		if sum.Frames%4096 == 0 {
			progress(sensor.Progress{Frames: sum.Frames, Total: total})
			if ctx.Err() != nil {
				return sum, ctx.Err()
			}
		}
	}
}

// readable refuses a reading that gave nothing because the files are no captures.
func readable(sum *capture.Summary, files int) error {
	if sum.Frames == 0 && len(sum.Damage) >= files {
		return usageError{sum.Damage[0]}
	}
	return nil
}

func (r *report) json(w io.Writer) error {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	return out.Encode(r)
}

//go:embed report.html
var reportPage string

func (r *report) html(w io.Writer) error {
	page, err := template.New("report").Funcs(template.FuncMap{"bytes": bytesText, "endpoint": endpointText, "counts": countsText}).Parse(reportPage)
	if err != nil {
		return err
	}
	return page.Execute(w, struct {
		*report
		Raised []event.Alert
	}{r, bySeverity(r.raised)})
}

package main

import (
	"bufio"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/otus-project/otus/simulate"
	"github.com/otus-project/otus/simulate/wire"
)

// learningDays is how long the simulated plant runs quietly before its attack.
const learningDays = 14

func newSimulate(env environment) *cobra.Command {
	var out, part, at string
	var seed uint64
	var days int
	cmd := &cobra.Command{
		Use: "simulate --out FILE", Short: "Write a capture of a simulated water plant", Args: noArgs,
		Long: `Write a capture of a simulated water plant: days of normal work, an attack in steps, or both one after the
other. Equal seeds and times give equal files.`,
		RunE: func(*cobra.Command, []string) error {
			if out == "" {
				return usageError{fmt.Errorf("--out is missing: name the file to write")}
			}
			start := env.now()
			if at != "" {
				t, err := time.Parse(time.RFC3339, at)
				if err != nil {
					return usageError{fmt.Errorf("--at %q: want a time such as 2026-03-01T12:00:00Z", at)}
				}
				start = t
			}
			if days < 0 || days > 366 {
				return usageError{fmt.Errorf("--days %d: want 0 to 366", days)}
			}
			learn, attack := part == "learning" || part == "all", part == "attack" || part == "all"
			if !learn && !attack {
				return usageError{fmt.Errorf("--part %q: want learning, attack or all", part)}
			}
			frames, err := writePlant(out, seed, start, days, learn, attack)
			if err != nil {
				return err
			}
			fmt.Fprintf(env.err, "%s: %d frames\n", out, frames)
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "the pcap file to write")
	cmd.Flags().StringVar(&part, "part", "all", "learning, attack or all")
	cmd.Flags().StringVar(&at, "at", "", "when the attack begins and learning ends, RFC 3339 (default now)")
	cmd.Flags().IntVar(&days, "days", learningDays, "days of learning")
	cmd.Flags().Uint64Var(&seed, "seed", 1, "varies values and delays")
	return cmd
}

// writePlant records parts of the plant into one file; the attack begins, and learning ends, at start.
func writePlant(path string, seed uint64, start time.Time, days int, learn, attack bool) (frames int, err error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	buffered := bufio.NewWriterSize(f, 1<<20)
	w, err := wire.NewWriter(buffered)
	rec := wire.NewRecorder(start)
	rec.Out = func(frame wire.Frame) {
		if err == nil {
			frames++
			err = w.Write(frame)
		}
	}
	plant := simulate.New(seed)
	if learn {
		plant.Learn(rec, start, days)
	}
	if attack {
		plant.Attack(rec, start)
	}
	if err == nil {
		err = buffered.Flush()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return frames, err
}

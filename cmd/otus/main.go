// Command otus runs the whole of Otus, and the tools around it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "dev"

// Exit codes. A script can tell a wrong call or query from a failure.
const (
	exitFailure = 1
	exitUsage   = 2
)

// usageError is a wrong call: bad flags, a bad query, a file that is no capture.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// environment is what the commands may touch of the outside; tests give their own.
type environment struct {
	in       io.Reader
	out, err io.Writer
	terminal bool // err is a terminal: progress bars make sense
	now      func() time.Time
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	env := environment{in: os.Stdin, out: os.Stdout, err: os.Stderr, terminal: isTerminal(os.Stderr), now: time.Now}
	code := run(ctx, env, os.Args[1:])
	stop()
	os.Exit(code)
}

// run is main without the process: tests call it.
func run(ctx context.Context, env environment, args []string) int {
	root := newRoot(env)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		fmt.Fprintln(env.err, "otus:", err)
		return exitUsage
	default:
		fmt.Fprintln(env.err, "otus:", err)
		return exitFailure
	}
}

func newRoot(env environment) *cobra.Command {
	root := &cobra.Command{
		Use:   "otus",
		Short: "Watches industrial networks and brings what it sees to the security operations centre",
		Long: `Otus watches industrial (OT) networks and brings what it sees to the security operations centre.

  otus demo                a simulated water plant, its attack, and the pages: http://127.0.0.1:8080
  otus analyze FILE...     devices, protocols and alerts of a capture, in seconds
  otus up                  the real thing: sensor, fleet, log tables, rules, incidents and pages`,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.SetOut(env.out)
	root.SetErr(env.err)
	root.SetIn(env.in)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(newUp(env), newDemo(env), newSimulate(env), newAnalyze(env), newQuery(env), newToken(env), newVersion(env))
	return root
}

func newVersion(env environment) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprintf(env.out, "otus %s %s %s/%s", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, d := range info.Deps {
					if d.Path == "github.com/duckdb/duckdb-go-bindings" {
						fmt.Fprintf(env.out, " duckdb-bindings %s", d.Version)
					}
				}
			}
			fmt.Fprintln(env.out)
			return nil
		},
	}
}

// noArgs refuses arguments as a wrong call.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no arguments, got %q", cmd.CommandPath(), args)}
	}
	return nil
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/otus-project/otus/kql"
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/siem/query"
)

func newQuery(env environment) *cobra.Command {
	var dir, server, token, ca, output, timespan string
	var maxRows int
	cmd := &cobra.Command{
		Use: "query 'KQL'", Short: "Ask the log tables in KQL",
		Long: `Ask the log tables in KQL: those of a data folder (--data), whether an otus runs on it or not, or those of a
server (--server). "-" in place of the query reads it from standard input.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("query needs one argument, the query, in quotes; got %d", len(args))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			text := args[0]
			if text == "-" {
				data, err := io.ReadAll(io.LimitReader(env.in, 1<<20))
				if err != nil {
					return err
				}
				text = string(data)
			}
			write, ok := map[string]func(io.Writer, *query.Result) error{"table": query.WriteTable, "json": query.WriteJSON, "csv": query.WriteCSV}[output]
			if !ok {
				return usageError{fmt.Errorf("--output %q: want table, json or csv", output)}
			}
			var result *query.Result
			var err error
			switch {
			case server != "" && cmd.Flags().Changed("data"):
				return usageError{errors.New("name either the data folder with --data or the server with --server, not both")}
			case server != "":
				if token == "" {
					token = os.Getenv("OTUS_TOKEN")
				}
				var c *client
				if c, err = remoteClient(server, token, ca); err == nil {
					result, err = c.ask(cmd.Context(), text, timespan, maxRows)
				}
			default:
				result, err = askFolder(cmd.Context(), env, dir, text, timespan, maxRows)
			}
			if err != nil {
				return explain(env.err, text, err)
			}
			if err := write(env.out, result); err != nil {
				return err
			}
			if result.Truncated {
				fmt.Fprintf(env.err, "otus: the first %d rows; there are more\n", len(result.Rows))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "data", defaultDir, "data folder to ask")
	cmd.Flags().StringVar(&server, "server", "", "server to ask, such as https://soc.example:8443")
	cmd.Flags().StringVar(&token, "token", "", "API token for --server (or the environment's OTUS_TOKEN)")
	cmd.Flags().StringVar(&ca, "ca", "", "PEM file of an authority to trust for --server")
	cmd.Flags().StringVar(&output, "output", "table", "table, json or csv")
	cmd.Flags().StringVar(&timespan, "timespan", "", "ISO 8601 duration such as P1D, or start/end; restricts TimeGenerated")
	cmd.Flags().IntVar(&maxRows, "max-rows", 0, "most rows to show; 0 is the server's limit")
	return cmd
}

// askFolder asks the otus that holds dir, or opens the log tables where none does.
func askFolder(ctx context.Context, env environment, dir, text, timespan string, maxRows int) (*query.Result, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, usageError{fmt.Errorf("--data: %w", err)}
	}
	release, err := lockDir(dir)
	if errors.Is(err, errHeld) {
		return localClient(dir).ask(ctx, text, timespan, maxRows)
	}
	if err != nil {
		return nil, err
	}
	defer release()
	logs, err := openStore(filepath.Join(dir, "siem"))
	if err != nil {
		return nil, err
	}
	defer logs.Close()
	from, to, err := query.ParseTimespan(timespan, env.now())
	if err != nil {
		return nil, usageError{err}
	}
	return query.New(logs, query.Options{Now: env.now}).Run(ctx, query.Request{Text: text, From: from, To: to, MaxRows: maxRows})
}

// ask sends the query to a server and puts its answer back into a result.
func (c *client) ask(ctx context.Context, text, timespan string, maxRows int) (*query.Result, error) {
	var answer struct {
		Columns   []query.AnswerColumn
		Rows      [][]json.RawMessage
		Truncated bool
	}
	question := map[string]any{"query": text, "timespan": timespan, "maxRows": maxRows}
	if err := c.call(ctx, "POST", "/otus/v1/workspaces/default/query", question, &answer); err != nil {
		return nil, err
	}
	result := &query.Result{Truncated: answer.Truncated}
	for _, a := range answer.Columns {
		t, _ := schema.ParseType(a.Type)
		result.Columns = append(result.Columns, schema.Column{Name: a.Name, Type: t})
	}
	for _, row := range answer.Rows {
		values := make([]any, len(row))
		for i, cell := range row {
			v, err := valueOf(result.Columns[i].Type, cell)
			if err != nil {
				return nil, fmt.Errorf("read answer: column %s: %w", result.Columns[i].Name, err)
			}
			values[i] = v
		}
		result.Rows = append(result.Rows, values)
	}
	return result, nil
}

// valueOf reads a value of an answer as the query service would have given it; times stay the text they are.
func valueOf(t schema.Type, cell json.RawMessage) (any, error) {
	if string(cell) == "null" {
		return nil, nil
	}
	if t == schema.Dynamic {
		return cell, nil
	}
	var into any
	switch t {
	case schema.Int, schema.Long:
		var n int64
		err := json.Unmarshal(cell, &n)
		return n, err
	case schema.Bool:
		var b bool
		err := json.Unmarshal(cell, &b)
		return b, err
	}
	err := json.Unmarshal(cell, &into)
	return into, err
}

// explain prints what is wrong with a query, with the place marked.
func explain(w io.Writer, text string, err error) error {
	var bad *kql.Error
	if errors.As(err, &bad) {
		fmt.Fprint(w, bad.Render())
		return usageError{errors.New("the query cannot be run")}
	}
	var problem *problemError
	if !errors.As(err, &problem) || problem.Status != 400 {
		return err
	}
	var found []query.Diagnostic
	if json.Unmarshal(problem.Errors, &found) != nil || len(found) == 0 {
		return usageError{err}
	}
	for _, d := range found {
		fmt.Fprint(w, kql.Diagnostic{Code: d.Code, Severity: kql.Severity(d.Severity), Message: d.Message, Hint: d.Hint,
			Start: d.Start, End: d.End, Line: d.Line, Column: d.Column}.Render(text))
	}
	return usageError{errors.New("the query cannot be run")}
}

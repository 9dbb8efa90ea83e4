package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/otus-project/otus/siem/access"
	"github.com/otus-project/otus/siem/state"
)

// tokens is what the token commands need: the running otus, or its files.
type tokens interface {
	create(ctx context.Context, name, role string, days int) (access.Token, string, error)
	list(ctx context.Context) ([]access.Token, error)
	remove(ctx context.Context, id string) error
}

func newToken(env environment) *cobra.Command {
	var dir string
	root := &cobra.Command{Use: "token", Short: "Make, list and delete API tokens", Args: noArgs,
		Long: "Make an API token and print it, once. The subcommands list tokens and delete them."}
	root.PersistentFlags().StringVar(&dir, "data", defaultDir, "data folder of the otus the tokens are for")
	with := func(do func(context.Context, tokens) error) func(*cobra.Command, []string) error {
		return func(cmd *cobra.Command, _ []string) error { return withTokens(cmd.Context(), env, dir, do) }
	}

	var name, role string
	var days int
	make := with(func(ctx context.Context, t tokens) error {
		_, secret, err := t.create(ctx, name, role, days)
		if err != nil {
			return err
		}
		fmt.Fprintln(env.out, secret)
		return nil
	})
	create := &cobra.Command{Use: "create", Short: "Make a token and print it, once", Args: noArgs, RunE: make}
	root.RunE = make
	for _, cmd := range []*cobra.Command{root, create} {
		cmd.Flags().StringVar(&name, "name", "command line", "what the token is for")
		cmd.Flags().StringVar(&role, "role", "Reader", strings.Join(access.RoleNames(), ", "))
		cmd.Flags().IntVar(&days, "days", 0, "days until it expires; 0 is never")
	}

	list := &cobra.Command{Use: "list", Short: "List tokens, without their secrets", Args: noArgs,
		RunE: with(func(ctx context.Context, t tokens) error {
			all, err := t.list(ctx)
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(env.out, 2, 8, 2, ' ', 0)
			fmt.Fprintln(w, "ID\tNAME\tROLES\tCREATED\tEXPIRES")
			for _, one := range all {
				expires := "never"
				if one.Expires != nil {
					expires = one.Expires.Format(time.RFC3339)
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", one.ID, one.Name, strings.Join(one.Roles, " "), one.Created.Format(time.RFC3339), expires)
			}
			return w.Flush()
		})}

	var id string
	remove := &cobra.Command{Use: "delete ID", Short: "Delete a token",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{errors.New("token delete needs the token's id, from token list")}
			}
			id = args[0]
			return nil
		},
		RunE: with(func(ctx context.Context, t tokens) error { return t.remove(ctx, id) })}
	root.AddCommand(create, list, remove)
	return root
}

// withTokens asks the otus that holds dir, or opens its files where none does.
func withTokens(ctx context.Context, env environment, dir string, do func(context.Context, tokens) error) error {
	release, err := lockDir(dir)
	if errors.Is(err, errHeld) {
		return do(ctx, remoteTokens{localClient(dir)})
	}
	if err != nil {
		return err
	}
	defer release()
	db, err := state.Open(filepath.Join(dir, "siem"), state.Options{Now: env.now})
	if err != nil {
		return err
	}
	service, err := access.New(db)
	if err == nil {
		err = do(ctx, localTokens{service})
	}
	return errors.Join(err, db.Close())
}

type localTokens struct{ *access.Service }

func (l localTokens) create(ctx context.Context, name, role string, days int) (access.Token, string, error) {
	return l.CreateToken(ctx, name, []string{role}, time.Duration(days)*24*time.Hour, "command line")
}

func (l localTokens) list(ctx context.Context) ([]access.Token, error) { return l.Tokens(ctx) }
func (l localTokens) remove(ctx context.Context, id string) error {
	return l.DeleteToken(ctx, id, "command line")
}

type remoteTokens struct{ *client }

func (r remoteTokens) create(ctx context.Context, name, role string, days int) (access.Token, string, error) {
	var out struct {
		access.Token
		Secret string `json:"token"`
	}
	err := r.call(ctx, "POST", "/otus/v1/tokens", map[string]any{"name": name, "roles": []string{role}, "expiresInDays": days}, &out)
	return out.Token, out.Secret, err
}

func (r remoteTokens) list(ctx context.Context) ([]access.Token, error) {
	var out struct{ Items []access.Token }
	err := r.call(ctx, "GET", "/otus/v1/tokens", nil, &out)
	return out.Items, err
}

func (r remoteTokens) remove(ctx context.Context, id string) error {
	return r.call(ctx, "DELETE", "/otus/v1/tokens/"+id, nil, nil)
}

// writeAdminToken puts a fresh administrator's token into a file for scripts; the one of the start before goes.
func writeAdminToken(ctx context.Context, h *houses, path string) error {
	_, secret, err := h.access.ReplaceToken(ctx, "admin token file "+path, []string{"Owner"}, "command line")
	if err != nil {
		return err
	}
	if err := writeSecret(path, secret+"\n"); err != nil {
		return fmt.Errorf("write admin token: %w", err)
	}
	return nil
}

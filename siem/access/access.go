// Package access decides who may do what. What comes in are requests with a session cookie or a bearer token; what goes
// out is a context that names the principal, or a refusal. The invariant: a request whose right is not written
// down in the route table is refused.
package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/otus-project/otus/siem/state"
)

// Right is one thing a principal may do.
type Right string

// The rights.
const (
	WorkspaceRead     Right = "workspace.read"     // rows, incidents, rules
	IncidentWrite     Right = "incident.write"     // change and comment incidents
	WorkspaceWrite    Right = "workspace.write"    // rules, connectors
	FleetRead         Right = "fleet.read"         // sensors, devices, alerts
	FleetWrite        Right = "fleet.write"        // sites, sensors, commands to alerts
	SubscriptionWrite Right = "subscription.write" // plans, and connecting a subscription
	Admin             Right = "admin"              // tokens and principals
)

// roles maps each role to its rights; each has those of the one before it.
var roles = []struct {
	name   string
	rights []Right
}{
	{"Reader", []Right{WorkspaceRead, FleetRead}},
	{"Responder", []Right{IncidentWrite}},
	{"Contributor", []Right{WorkspaceWrite, FleetWrite, SubscriptionWrite}},
	{"Owner", []Right{Admin}},
}

// RoleNames lists the roles, least first.
func RoleNames() []string {
	names := make([]string, len(roles))
	for n, r := range roles {
		names[n] = r.name
	}
	return names
}

func rightsOf(names []string) []Right {
	var all, sum []Right
	for _, r := range roles {
		sum = append(sum, r.rights...)
		if slices.Contains(names, r.name) {
			all = slices.Clone(sum)
		}
	}
	return all
}

// Principal is who asks: a person with a session, or a program with a token.
type Principal struct {
	ID    string   `json:"id"`
	Name  string   `json:"name"`
	Email string   `json:"email"`
	Roles []string `json:"roles"`

	cookie bool // came with a session cookie, so the request may be forged by another page
}

// May reports whether the principal has the right.
func (p Principal) May(r Right) bool { return slices.Contains(rightsOf(p.Roles), r) }

// Errors a caller may branch on.
var (
	ErrUnauthenticated = errors.New("sign in first, or send a token")
	ErrForbidden       = errors.New("your roles do not allow this")
	ErrCode            = errors.New("the sign-in link was used already, is too old, or was not opened on this machine")
	ErrNotFound        = errors.New("no such token")
	ErrRole            = errors.New("no such role")
)

type key struct{}

// From gives the principal of a request that passed Wrap.
func From(ctx context.Context) (Principal, bool) {
	p, ok := ctx.Value(key{}).(Principal)
	return p, ok
}

// With puts a principal into a context, as Wrap does; programs that call services without HTTP use it.
func With(ctx context.Context, p Principal) context.Context { return context.WithValue(ctx, key{}, p) }

// Authorize refuses unless the context's principal has the right.
func Authorize(ctx context.Context, r Right) error {
	p, ok := From(ctx)
	if !ok {
		return ErrUnauthenticated
	}
	if !p.May(r) {
		return fmt.Errorf("%s is needed: %w", r, ErrForbidden)
	}
	return nil
}

// Service keeps principals, tokens, sign-in codes and sessions. Its methods may be called from any goroutine.
type Service struct {
	db     *state.DB
	routes *routes
}

// How long secrets live.
const (
	codeLife    = 15 * time.Minute
	sessionIdle = 12 * time.Hour
	sessionLife = 7 * 24 * time.Hour
	usedEvery   = 5 * time.Minute // a last use is written at most this often
)

// localAdmin is the principal of the one-time sign-in links: whoever can read the program's output.
const localAdmin = "local-admin"

// New opens the access service and makes sure the local administrator exists.
func New(db *state.DB) (*Service, error) {
	s := &Service{db: db, routes: newRoutes()}
	err := db.Write(context.Background(), func(ctx context.Context, tx *state.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO principal (id, name, email, roles, created)
			VALUES (?, 'Administrator', '', '["Owner"]', ?) ON CONFLICT DO NOTHING`, localAdmin, state.Ticks(tx.Now()))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open access: %w", err)
	}
	return s, nil
}

// secret makes a random text of 256 bits and what is stored of it. Its own entropy is the protection: a slow hash is
// for passwords that people choose.
func secret(prefix string) (text string, hash []byte) {
	var b [32]byte
	rand.Read(b[:]) //nolint:errcheck // never fails
	text = prefix + base64.RawURLEncoding.EncodeToString(b[:])
	return text, hashOf(text)
}

func hashOf(text string) []byte {
	h := sha256.Sum256([]byte(text))
	return h[:]
}

// Token is an API token without its secret.
type Token struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Roles     []string   `json:"roles"`
	Created   time.Time  `json:"created"`
	CreatedBy string     `json:"createdBy"`
	Expires   *time.Time `json:"expires" doc:"null: never"`
	LastUsed  *time.Time `json:"lastUsed"`
}

// CreateToken makes a token; its secret is shown once and never again. life 0 means it does not expire.
func (s *Service) CreateToken(ctx context.Context, name string, roles []string, life time.Duration, by string) (Token, string, error) {
	return s.createToken(ctx, name, roles, life, by, false)
}

// ReplaceToken is CreateToken, and takes away the tokens that the same creator made under that name before: a
// program that writes its token to a file at each start leaves one behind, not a pile.
func (s *Service) ReplaceToken(ctx context.Context, name string, roles []string, by string) (Token, string, error) {
	return s.createToken(ctx, name, roles, 0, by, true)
}

func (s *Service) createToken(ctx context.Context, name string, grant []string, life time.Duration, by string, replace bool) (Token, string, error) {
	for _, r := range grant {
		if !slices.Contains(RoleNames(), r) {
			return Token{}, "", fmt.Errorf("%q: %w", r, ErrRole)
		}
	}
	text, hash := secret("otus_")
	t := Token{ID: uuid.NewString(), Name: name, Roles: grant, CreatedBy: by}
	encoded, err := json.Marshal(grant)
	if err != nil {
		return Token{}, "", err
	}
	err = s.db.Write(ctx, func(ctx context.Context, tx *state.Tx) error {
		t.Created = tx.Now()
		var expires int64
		if life > 0 {
			at := tx.Now().Add(life)
			t.Expires, expires = &at, state.Ticks(at)
		}
		if replace {
			if _, err := tx.ExecContext(ctx, `DELETE FROM api_token WHERE name = ? AND created_by = ?`, name, by); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO api_token (id, name, hash, roles, created, created_by, expires, last_used)
			VALUES (?, ?, ?, ?, ?, ?, ?, 0)`, t.ID, name, hash, string(encoded), state.Ticks(tx.Now()), by, expires); err != nil {
			return err
		}
		return tx.Audit(ctx, state.Audit{Actor: by, Action: "token.create", Target: name, Result: "ok", Detail: string(encoded)})
	})
	if err != nil {
		return Token{}, "", fmt.Errorf("create token: %w", err)
	}
	return t, text, nil
}

// Tokens lists the tokens, newest first.
func (s *Service) Tokens(ctx context.Context) ([]Token, error) {
	rows, err := s.db.Reader().QueryContext(ctx, `SELECT id, name, roles, created, created_by, expires, last_used
		FROM api_token ORDER BY created DESC, id`)
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	type stored struct {
		Token
		roles             string
		expires, lastUsed time.Time
	}
	found, err := state.Scan(rows, func(t *stored) []any {
		return []any{&t.ID, &t.Name, &t.roles, state.TicksOf(&t.Created), &t.CreatedBy, state.TicksOf(&t.expires), state.TicksOf(&t.lastUsed)}
	})
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	all := make([]Token, 0, len(found))
	for _, t := range found {
		if err := json.Unmarshal([]byte(t.roles), &t.Roles); err != nil {
			return nil, fmt.Errorf("roles of token %q: %w", t.Name, err)
		}
		if !t.expires.IsZero() {
			t.Expires = &t.expires
		}
		if !t.lastUsed.IsZero() {
			t.LastUsed = &t.lastUsed
		}
		all = append(all, t.Token)
	}
	return all, nil
}

// DeleteToken takes a token away at once; ErrNotFound if there is none of that id.
func (s *Service) DeleteToken(ctx context.Context, id, by string) error {
	return s.db.Write(ctx, func(ctx context.Context, tx *state.Tx) error {
		var name string
		err := tx.QueryRowContext(ctx, `DELETE FROM api_token WHERE id = ? RETURNING name`, id).Scan(&name)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrNotFound
		}
		if err != nil {
			return fmt.Errorf("delete token: %w", err)
		}
		return tx.Audit(ctx, state.Audit{Actor: by, Action: "token.delete", Target: name, Result: "ok"})
	})
}

// byToken finds the principal of a token that is not expired.
func (s *Service) byToken(ctx context.Context, text string) (Principal, error) {
	var (
		p                 Principal
		roles             string
		expires, lastUsed int64
	)
	err := s.db.Reader().QueryRowContext(ctx, `SELECT id, name, roles, expires, last_used FROM api_token WHERE hash = ?`, hashOf(text)).
		Scan(&p.ID, &p.Name, &roles, &expires, &lastUsed)
	now := state.Ticks(s.db.Now())
	if errors.Is(err, sql.ErrNoRows) || err == nil && expires != 0 && expires <= now {
		return Principal{}, ErrUnauthenticated
	}
	if err != nil {
		return Principal{}, fmt.Errorf("find token: %w", err)
	}
	if err := json.Unmarshal([]byte(roles), &p.Roles); err != nil {
		return Principal{}, fmt.Errorf("roles of token %q: %w", p.Name, err)
	}
	if now-lastUsed > int64(usedEvery/100) {
		err = s.db.Write(ctx, func(ctx context.Context, tx *state.Tx) error {
			_, err := tx.ExecContext(ctx, `UPDATE api_token SET last_used = ? WHERE id = ?`, now, p.ID)
			return err
		})
	}
	return p, err
}

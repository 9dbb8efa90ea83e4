package access

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"

	"github.com/otus-project/otus/siem/state"
)

// CookieName is the name of the session cookie.
const CookieName = "otus_session"

// SignInCode makes a one-time code for the local administrator. A link with it works once, for a quarter of an hour, and
// only when it is opened on this machine.
func (s *Service) SignInCode(ctx context.Context) (string, error) {
	text, hash := secret("")
	err := s.db.Write(ctx, func(ctx context.Context, tx *state.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM signin_code WHERE expires <= ?`, state.Ticks(tx.Now())); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO signin_code (hash, principal, expires) VALUES (?, ?, ?)`,
			hash, localAdmin, state.Ticks(tx.Now().Add(codeLife)))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("make sign-in code: %w", err)
	}
	return text, nil
}

// signIn trades a code for a session; the code is gone whether or not the answer arrives.
func (s *Service) signIn(ctx context.Context, code string) (session string, err error) {
	session, hash := secret("")
	err = s.db.Write(ctx, func(ctx context.Context, tx *state.Tx) error {
		now := state.Ticks(tx.Now())
		var principal string
		var expires int64
		err := tx.QueryRowContext(ctx, `DELETE FROM signin_code WHERE hash = ? RETURNING principal, expires`, hashOf(code)).Scan(&principal, &expires)
		if errors.Is(err, sql.ErrNoRows) || err == nil && expires <= now {
			return ErrCode
		}
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM session WHERE created <= ? OR last_used <= ?`,
			now-int64(sessionLife/100), now-int64(sessionIdle/100)); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO session (hash, principal, created, last_used) VALUES (?, ?, ?, ?)`,
			hash, principal, now, now); err != nil {
			return err
		}
		return tx.Audit(ctx, state.Audit{Actor: principal, Action: "session.create", Result: "ok"})
	})
	if err != nil {
		return "", fmt.Errorf("sign in: %w", err)
	}
	return session, nil
}

func (s *Service) bySession(ctx context.Context, text string) (Principal, error) {
	p := Principal{cookie: true}
	var roles string
	var created, lastUsed int64
	err := s.db.Reader().QueryRowContext(ctx, `SELECT p.id, p.name, p.email, p.roles, s.created, s.last_used
		FROM session s JOIN principal p ON p.id = s.principal WHERE s.hash = ?`, hashOf(text)).
		Scan(&p.ID, &p.Name, &p.Email, &roles, &created, &lastUsed)
	now := state.Ticks(s.db.Now())
	if errors.Is(err, sql.ErrNoRows) || err == nil && (now-created >= int64(sessionLife/100) || now-lastUsed >= int64(sessionIdle/100)) {
		return Principal{}, ErrUnauthenticated
	}
	if err != nil {
		return Principal{}, fmt.Errorf("find session: %w", err)
	}
	if err := json.Unmarshal([]byte(roles), &p.Roles); err != nil {
		return Principal{}, fmt.Errorf("roles of %q: %w", p.Name, err)
	}
	if now-lastUsed > int64(usedEvery/100) {
		err = s.db.Write(ctx, func(ctx context.Context, tx *state.Tx) error {
			_, err := tx.ExecContext(ctx, `UPDATE session SET last_used = ? WHERE hash = ?`, now, hashOf(text))
			return err
		})
	}
	return p, err
}

// SignInHandler serves the link: it sets the session cookie and goes on to the start page.
func (s *Service) SignInHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Referrer-Policy", "no-referrer")
		if !loopback(r) {
			refuse(w, r, http.StatusForbidden, ErrCode)
			return
		}
		session, err := s.signIn(r.Context(), r.URL.Query().Get("code"))
		if errors.Is(err, ErrCode) {
			refuse(w, r, http.StatusForbidden, ErrCode)
			return
		}
		if err != nil {
			refuse(w, r, http.StatusInternalServerError, errors.New("internal error"))
			return
		}
		http.SetCookie(w, cookie(r, session, int(sessionLife.Seconds())))
		http.Redirect(w, r, "/", http.StatusFound)
	})
}

// SignOut ends the session of the request, if it has one, and clears the cookie.
func (s *Service) SignOut(w http.ResponseWriter, r *http.Request) error {
	if c, err := r.Cookie(CookieName); err == nil {
		if err := s.endSession(r.Context(), c.Value); err != nil {
			return err
		}
	}
	http.SetCookie(w, cookie(r, "", -1))
	return nil
}

func (s *Service) endSession(ctx context.Context, text string) error {
	return s.db.Write(ctx, func(ctx context.Context, tx *state.Tx) error {
		var principal string
		err := tx.QueryRowContext(ctx, `DELETE FROM session WHERE hash = ? RETURNING principal`, hashOf(text)).Scan(&principal)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("sign out: %w", err)
		}
		return tx.Audit(ctx, state.Audit{Actor: principal, Action: "session.delete", Result: "ok"})
	})
}

func cookie(r *http.Request, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: CookieName, Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	}
}

// loopback reports whether the connection comes from this machine. A proxy on this machine that forwards strangers
// says so in a header, and then it does not count.
func loopback(r *http.Request) bool {
	for _, h := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip"} {
		if r.Header.Get(h) != "" {
			return false
		}
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
)

// Documents is a space of small JSON documents by key: what a connector remembers.
type Documents struct {
	db    *DB
	space string
}

// Documents gives the space of that name; spaces do not see each other.
func (db *DB) Documents(space string) *Documents { return &Documents{db, space} }

// Get reads a document; found is false where there is none.
func (d *Documents) Get(ctx context.Context, key string) (body json.RawMessage, found bool, err error) {
	var text string
	err = d.db.reader.QueryRowContext(ctx, `SELECT body FROM document WHERE space = ? AND key = ?`, d.space, key).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read document %s/%s: %w", d.space, key, err)
	}
	return json.RawMessage(text), true, nil
}

// Put writes a document, durable when it returns. A body that is not JSON is refused.
func (d *Documents) Put(ctx context.Context, key string, body json.RawMessage) error {
	return d.db.Write(ctx, func(ctx context.Context, tx *Tx) error { return d.PutIn(ctx, tx, key, body) })
}

// PutIn is Put inside a transaction.
func (d *Documents) PutIn(ctx context.Context, tx *Tx, key string, body json.RawMessage) error {
	if !json.Valid(body) {
		return fmt.Errorf("document %s/%s is not JSON", d.space, key)
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO document (space, key, body, modified) VALUES (?, ?, ?, ?)
		ON CONFLICT (space, key) DO UPDATE SET body = excluded.body, modified = excluded.modified`,
		d.space, key, string(body), Ticks(tx.now))
	if err != nil {
		return fmt.Errorf("write document %s/%s: %w", d.space, key, err)
	}
	return nil
}

// Delete removes a document; one that is not there is no error.
func (d *Documents) Delete(ctx context.Context, key string) error {
	return d.db.Write(ctx, func(ctx context.Context, tx *Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM document WHERE space = ? AND key = ?`, d.space, key)
		return err
	})
}

// Keys lists the keys of the space, sorted.
func (d *Documents) Keys(ctx context.Context) ([]string, error) {
	rows, err := d.db.reader.QueryContext(ctx, `SELECT key FROM document WHERE space = ? ORDER BY key`, d.space)
	if err != nil {
		return nil, fmt.Errorf("list documents of %s: %w", d.space, err)
	}
	return Scan(rows, func(s *string) []any { return []any{s} })
}

-- Who may do what. Secrets are kept as SHA-256 of 256 random bits, never themselves.

-- +goose Up
CREATE TABLE principal (
  id      TEXT NOT NULL PRIMARY KEY,
  name    TEXT NOT NULL UNIQUE,
  email   TEXT NOT NULL,
  roles   TEXT NOT NULL, -- JSON array
  created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE api_token (
  id         TEXT NOT NULL PRIMARY KEY,
  name       TEXT NOT NULL,
  hash       BLOB NOT NULL UNIQUE,
  roles      TEXT NOT NULL,
  created    INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  expires    INTEGER NOT NULL, -- 0: never
  last_used  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE signin_code (
  hash      BLOB NOT NULL PRIMARY KEY,
  principal TEXT NOT NULL REFERENCES principal (id),
  expires   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE session (
  hash      BLOB NOT NULL PRIMARY KEY,
  principal TEXT NOT NULL REFERENCES principal (id),
  created   INTEGER NOT NULL,
  last_used INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What every part of the siem stands on: who we are, documents, the outbox, the audit log.
-- Times are 100-ns ticks since 1970 UTC, as in the log store.

-- +goose Up
CREATE TABLE meta (
  key   TEXT NOT NULL PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tenant (
  id   TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
) STRICT, WITHOUT ROWID;

CREATE TABLE workspace (
  id     TEXT NOT NULL PRIMARY KEY,
  tenant TEXT NOT NULL REFERENCES tenant (id),
  name   TEXT NOT NULL UNIQUE
) STRICT, WITHOUT ROWID;

CREATE TABLE document (
  space    TEXT NOT NULL,
  key      TEXT NOT NULL,
  body     TEXT NOT NULL,
  modified INTEGER NOT NULL,
  PRIMARY KEY (space, key)
) STRICT, WITHOUT ROWID;

-- AUTOINCREMENT: a sequence number is never used again, even after its row was relayed and deleted.
CREATE TABLE outbox (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  rows     INTEGER NOT NULL,
  body     BLOB NOT NULL
) STRICT;

CREATE TABLE audit (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  time     INTEGER NOT NULL,
  actor    TEXT NOT NULL,
  action   TEXT NOT NULL,
  target   TEXT NOT NULL,
  result   TEXT NOT NULL,
  detail   TEXT NOT NULL
) STRICT;

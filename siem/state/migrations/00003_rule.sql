-- Analytics rules: what users wrote, how far each rule has read, what it made.

-- +goose Up
CREATE TABLE rule_source (
  workspace   TEXT NOT NULL REFERENCES workspace (id),
  rule        TEXT NOT NULL,
  source      TEXT NOT NULL, -- YAML, as the user sent it
  created     INTEGER NOT NULL,
  modified    INTEGER NOT NULL,
  modified_by TEXT NOT NULL,
  PRIMARY KEY (workspace, rule)
) STRICT, WITHOUT ROWID;

CREATE TABLE rule_state (
  workspace        TEXT NOT NULL REFERENCES workspace (id),
  rule             TEXT NOT NULL,
  enabled          INTEGER NOT NULL,
  watermark        INTEGER NOT NULL, -- ingest sequence up to which the rule has read
  window_end       INTEGER NOT NULL, -- end of the last window of a scheduled rule; 0 before the first
  produced         INTEGER NOT NULL, -- alerts made so far
  suppressed_until INTEGER NOT NULL,
  suppressed       INTEGER NOT NULL, -- results dropped by suppression
  last_run         INTEGER NOT NULL,
  last_result      TEXT NOT NULL,
  last_error       TEXT NOT NULL,
  failures         INTEGER NOT NULL, -- in a row
  retry_at         INTEGER NOT NULL,
  PRIMARY KEY (workspace, rule)
) STRICT, WITHOUT ROWID;

-- A rule makes at most one alert per vendor alert id.
CREATE TABLE rule_alert (
  workspace TEXT NOT NULL,
  rule      TEXT NOT NULL,
  alert     TEXT NOT NULL, -- vendor alert id
  PRIMARY KEY (workspace, rule, alert)
) STRICT, WITHOUT ROWID;

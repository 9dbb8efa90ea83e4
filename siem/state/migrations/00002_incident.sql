-- Incidents, what belongs to them, and the wanted status of their alerts on the sensors.

-- +goose Up
CREATE TABLE incident_sequence (
  workspace TEXT NOT NULL PRIMARY KEY REFERENCES workspace (id),
  last      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE incident (
  workspace              TEXT NOT NULL REFERENCES workspace (id),
  number                 INTEGER NOT NULL,
  id                     TEXT NOT NULL UNIQUE,
  etag                   INTEGER NOT NULL,
  title                  TEXT NOT NULL,
  description            TEXT NOT NULL,
  severity               TEXT NOT NULL CHECK (severity IN ('High', 'Medium', 'Low', 'Informational')),
  severity_rank          INTEGER NOT NULL,
  status                 TEXT NOT NULL CHECK (status IN ('New', 'Active', 'Closed')),
  classification         TEXT NOT NULL,
  classification_reason  TEXT NOT NULL,
  classification_comment TEXT NOT NULL,
  owner_name             TEXT NOT NULL,
  owner_email            TEXT NOT NULL,
  created                INTEGER NOT NULL,
  modified               INTEGER NOT NULL,
  modified_by            TEXT NOT NULL,
  first_modified         INTEGER,
  closed                 INTEGER,
  first_activity         INTEGER NOT NULL,
  last_activity          INTEGER NOT NULL,
  alerts                 INTEGER NOT NULL,
  comments               INTEGER NOT NULL,
  activities             INTEGER NOT NULL,
  engine                 TEXT NOT NULL,
  protocol               TEXT NOT NULL,
  sensor                 TEXT NOT NULL,
  site                   TEXT NOT NULL,
  zone                   TEXT NOT NULL,
  source_device          TEXT NOT NULL,
  destination_device     TEXT NOT NULL,
  lists                  TEXT NOT NULL, -- JSON: labels, tactics, techniques, products, rule ids and names
  search                 TEXT NOT NULL, -- lower-case words the queue's search looks in
  PRIMARY KEY (workspace, number)
) STRICT;

-- The queue's filters and their counts are answered from this index alone.
CREATE INDEX incident_facets ON incident (workspace, status, severity, engine, owner_name);
CREATE INDEX incident_created ON incident (workspace, created);

-- The promise "one incident per alert id": the key is the vendor's alert id, whichever rule comes first.
CREATE TABLE alert_owner (
  workspace TEXT NOT NULL,
  alert     TEXT NOT NULL,
  incident  INTEGER NOT NULL,
  PRIMARY KEY (workspace, alert),
  FOREIGN KEY (workspace, incident) REFERENCES incident (workspace, number) DEFERRABLE INITIALLY DEFERRED
) STRICT, WITHOUT ROWID;

CREATE INDEX alert_owner_incident ON alert_owner (workspace, incident);

CREATE TABLE incident_alert (
  workspace TEXT NOT NULL,
  incident  INTEGER NOT NULL,
  alert     TEXT NOT NULL, -- SystemAlertId
  ordinal   INTEGER NOT NULL,
  vendor    TEXT NOT NULL, -- VendorOriginalId
  relation  TEXT NOT NULL CHECK (relation IN ('owned', 'joined')),
  rule      TEXT NOT NULL,
  revision  INTEGER NOT NULL,
  body      TEXT NOT NULL, -- JSON of the alert as of that revision
  PRIMARY KEY (workspace, incident, alert),
  FOREIGN KEY (workspace, incident) REFERENCES incident (workspace, number) DEFERRABLE INITIALLY DEFERRED
) STRICT, WITHOUT ROWID;

CREATE INDEX incident_alert_alert ON incident_alert (workspace, alert);

-- An aggregated alert names several vendor alerts; its incident only relates to them.
CREATE TABLE incident_relation (
  workspace TEXT NOT NULL,
  incident  INTEGER NOT NULL,
  alert     TEXT NOT NULL, -- vendor alert id
  PRIMARY KEY (workspace, incident, alert),
  FOREIGN KEY (workspace, incident) REFERENCES incident (workspace, number) DEFERRABLE INITIALLY DEFERRED
) STRICT, WITHOUT ROWID;

CREATE TABLE incident_comment (
  workspace    TEXT NOT NULL,
  incident     INTEGER NOT NULL,
  ordinal      INTEGER NOT NULL,
  id           TEXT NOT NULL,
  author_name  TEXT NOT NULL,
  author_email TEXT NOT NULL,
  message      TEXT NOT NULL,
  created      INTEGER NOT NULL,
  PRIMARY KEY (workspace, incident, ordinal),
  FOREIGN KEY (workspace, incident) REFERENCES incident (workspace, number) DEFERRABLE INITIALLY DEFERRED
) STRICT, WITHOUT ROWID;

CREATE TABLE incident_activity (
  workspace TEXT NOT NULL,
  incident  INTEGER NOT NULL,
  ordinal   INTEGER NOT NULL,
  time      INTEGER NOT NULL,
  actor     TEXT NOT NULL,
  kind      TEXT NOT NULL,
  text      TEXT NOT NULL,
  PRIMARY KEY (workspace, incident, ordinal),
  FOREIGN KEY (workspace, incident) REFERENCES incident (workspace, number) DEFERRABLE INITIALLY DEFERRED
) STRICT, WITHOUT ROWID;

CREATE TABLE alert_sync (
  workspace TEXT NOT NULL,
  alert     TEXT NOT NULL, -- vendor alert id
  incident  INTEGER NOT NULL,
  sensor    TEXT NOT NULL,
  wanted    TEXT NOT NULL CHECK (wanted IN ('New', 'Active', 'Closed')),
  action    TEXT NOT NULL,
  request   TEXT NOT NULL, -- idempotency key of the command
  actor     TEXT NOT NULL,
  time      INTEGER NOT NULL, -- when it was asked for
  state     TEXT NOT NULL CHECK (state IN ('waiting', 'inStep', 'failed')),
  since     INTEGER NOT NULL,
  detail    TEXT NOT NULL,
  attempts  INTEGER NOT NULL,
  next_try  INTEGER NOT NULL,
  PRIMARY KEY (workspace, alert)
) STRICT, WITHOUT ROWID;

CREATE INDEX alert_sync_due ON alert_sync (workspace, next_try) WHERE state <> 'inStep';
CREATE INDEX alert_sync_incident ON alert_sync (workspace, incident);

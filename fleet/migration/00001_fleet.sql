-- Times are UTC nanoseconds since 1970; 0 is "never". Flags are 0 or 1. A body is the row as JSON, as event defines it;
-- the columns beside it are what pages filter and sort by.

-- +goose Up
CREATE TABLE subscription (
	number  INTEGER PRIMARY KEY,
	id      TEXT    NOT NULL UNIQUE,
	name    TEXT    NOT NULL UNIQUE,
	plan_on INTEGER NOT NULL,
	head    INTEGER NOT NULL DEFAULT 0, -- position of the newest entry ever
	taken   INTEGER NOT NULL DEFAULT 0, -- a reader has asked for what follows this position
	lost    INTEGER NOT NULL DEFAULT 0, -- entries removed for lack of room before they were read
	bytes   INTEGER NOT NULL DEFAULT 0  -- of the bodies in entry
) STRICT;

CREATE TABLE entry (
	subscription INTEGER NOT NULL REFERENCES subscription(number),
	position     INTEGER NOT NULL,
	received     INTEGER NOT NULL,
	body         BLOB    NOT NULL,
	PRIMARY KEY (subscription, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE site (
	id           TEXT    PRIMARY KEY,
	subscription INTEGER NOT NULL REFERENCES subscription(number),
	name         TEXT    NOT NULL,
	owners       TEXT    NOT NULL, -- JSON array of mail addresses
	UNIQUE (subscription, name)
) STRICT;

CREATE TABLE zone (
	id      TEXT PRIMARY KEY,
	site_id TEXT NOT NULL REFERENCES site(id),
	name    TEXT NOT NULL,
	UNIQUE (site_id, name)
) STRICT;

CREATE TABLE line (
	id      TEXT PRIMARY KEY,
	site_id TEXT NOT NULL REFERENCES site(id),
	name    TEXT NOT NULL,
	owners  TEXT NOT NULL,
	UNIQUE (site_id, name)
) STRICT;

CREATE TABLE line_device (
	device_id TEXT PRIMARY KEY, -- a device belongs to one line
	line_id   TEXT NOT NULL REFERENCES line(id) ON DELETE CASCADE
) STRICT;
CREATE INDEX line_device_line ON line_device(line_id);

CREATE TABLE sensor (
	id            TEXT    PRIMARY KEY,
	zone_id       TEXT    NOT NULL REFERENCES zone(id),
	name          TEXT    NOT NULL UNIQUE,
	key_hash      BLOB    UNIQUE, -- SHA-256
	token_hash    BLOB    UNIQUE, -- SHA-256 of the unused onboarding token
	token_expires INTEGER NOT NULL DEFAULT 0,
	mode_wanted   TEXT    NOT NULL DEFAULT '',
	created       INTEGER NOT NULL,
	last_seen     INTEGER NOT NULL DEFAULT 0,
	cursor        INTEGER NOT NULL DEFAULT 0, -- every record up to this sequence is durable here
	lost          INTEGER NOT NULL DEFAULT 0, -- records the sensor had to give up
	commands      INTEGER NOT NULL DEFAULT 0, -- id of the newest command
	applied       INTEGER NOT NULL DEFAULT 0, -- id of the newest command the sensor has journaled
	health        BLOB                        -- newest event.Health as JSON
) STRICT;

CREATE TABLE command (
	sensor_id  TEXT    NOT NULL REFERENCES sensor(id),
	id         INTEGER NOT NULL,
	request_id TEXT    NOT NULL UNIQUE,
	alert_id   TEXT    NOT NULL DEFAULT '',
	action     TEXT    NOT NULL,
	mode       TEXT    NOT NULL DEFAULT '',
	time       INTEGER NOT NULL,
	by         TEXT    NOT NULL,
	created    INTEGER NOT NULL,
	PRIMARY KEY (sensor_id, id)
) STRICT;

CREATE TABLE alert (
	id              TEXT    PRIMARY KEY,
	sensor_id       TEXT    NOT NULL REFERENCES sensor(id),
	revision        INTEGER NOT NULL,
	status          TEXT    NOT NULL,
	severity        TEXT    NOT NULL,
	severity_rank   INTEGER NOT NULL, -- 4 is High
	engine          TEXT    NOT NULL,
	title           TEXT    NOT NULL,
	protocol        TEXT    NOT NULL,
	first_detection INTEGER NOT NULL,
	last_detection  INTEGER NOT NULL,
	last_activity   INTEGER NOT NULL,
	received        INTEGER NOT NULL, -- when this revision came
	search          TEXT    NOT NULL, -- lower case
	body            BLOB    NOT NULL
) STRICT;
CREATE INDEX alert_activity ON alert(last_activity);
CREATE INDEX alert_facet ON alert(status, severity, engine, sensor_id, last_activity); -- counts and the usual page need no row
CREATE INDEX alert_sensor ON alert(sensor_id);

CREATE TABLE alert_status (
	alert_id TEXT    NOT NULL REFERENCES alert(id) ON DELETE CASCADE,
	revision INTEGER NOT NULL,
	status   TEXT    NOT NULL,
	muted    INTEGER NOT NULL,
	learned  INTEGER NOT NULL,
	time     INTEGER NOT NULL,
	PRIMARY KEY (alert_id, revision)
) STRICT, WITHOUT ROWID;

CREATE TABLE alert_device (
	alert_id  TEXT NOT NULL REFERENCES alert(id) ON DELETE CASCADE,
	device_id TEXT NOT NULL,
	PRIMARY KEY (device_id, alert_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX alert_device_alert ON alert_device(alert_id);

CREATE TABLE capture (
	number    INTEGER PRIMARY KEY, -- grows: the oldest capture has the lowest
	alert_id  TEXT    NOT NULL UNIQUE,
	sensor_id TEXT    NOT NULL,
	received  INTEGER NOT NULL,
	packets   INTEGER NOT NULL,
	bytes     INTEGER NOT NULL,
	pcap      BLOB    NOT NULL
) STRICT;

CREATE TABLE device (
	id         TEXT    PRIMARY KEY,
	sensor_id  TEXT    NOT NULL REFERENCES sensor(id),
	revision   INTEGER NOT NULL,
	name       TEXT    NOT NULL,
	type       TEXT    NOT NULL,
	vendor     TEXT    NOT NULL,
	ot         INTEGER NOT NULL,
	protocols  TEXT    NOT NULL, -- JSON array
	first_seen INTEGER NOT NULL,
	last_seen  INTEGER NOT NULL,
	received   INTEGER NOT NULL,
	search     TEXT    NOT NULL, -- lower case
	body       BLOB    NOT NULL
) STRICT;
CREATE INDEX device_facet ON device(type, vendor, ot, sensor_id, protocols);
CREATE INDEX device_name ON device(name);
CREATE INDEX device_sensor ON device(sensor_id);

// Package incident keeps incidents: what a rule found, opened for people to work on. What comes in are signals of
// rules and changes by people; what goes out are a full SecurityIncident row per change, by the outbox, and wanted
// statuses for the alerts' sensors. The invariant: a vendor alert has one owning incident, whichever rules name it, in
// whatever order, on however many workers, over restarts; a unique key enforces it.
package incident

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/otus-project/otus/siem/state"
)

// Statuses of an incident.
const (
	New    = "New"
	Active = "Active"
	Closed = "Closed"
)

// Incident is one incident as lists and pages show it.
type Incident struct {
	ID                    string     `json:"id" doc:"GUID, constant for the life of the incident"`
	Number                int64      `json:"number" doc:"Counts from 1 in a workspace"`
	Title                 string     `json:"title"`
	Description           string     `json:"description"`
	Severity              string     `json:"severity" enum:"High,Medium,Low,Informational"`
	Status                string     `json:"status" enum:"New,Active,Closed"`
	Classification        string     `json:"classification" doc:"Set while closed: TruePositive, BenignPositive, FalsePositive or Undetermined"`
	ClassificationReason  string     `json:"classificationReason"`
	ClassificationComment string     `json:"classificationComment"`
	Owner                 *Person    `json:"owner"`
	Labels                []string   `json:"labels"`
	CreatedTime           time.Time  `json:"createdTime"`
	LastModifiedTime      time.Time  `json:"lastModifiedTime"`
	FirstActivityTime     time.Time  `json:"firstActivityTime"`
	LastActivityTime      time.Time  `json:"lastActivityTime"`
	ClosedTime            *time.Time `json:"closedTime"`
	FirstModifiedTime     *time.Time `json:"firstModifiedTime" doc:"When a person first touched it"`
	AlertsCount           int        `json:"alertsCount"`
	CommentsCount         int        `json:"commentsCount"`
	Tactics               []string   `json:"tactics"`
	Techniques            []string   `json:"techniques"`
	Engine                string     `json:"engine" doc:"Detection engine of the first alert"`
	Protocol              string     `json:"protocol"`
	Sensor                string     `json:"sensor"`
	Site                  string     `json:"site"`
	Zone                  string     `json:"zone"`
	SourceDevice          string     `json:"sourceDevice"`
	DestinationDevice     string     `json:"destinationDevice"`
	RuleNames             []string   `json:"ruleNames" doc:"Rules that opened it or joined it"`
	ETag                  string     `json:"etag" doc:"Changes when a property changes; not by comments or joining alerts"`

	ruleIDs    []string
	products   []string
	keywords   []string
	etag       int64
	modifiedBy string
	activities int
}

// Person owns an incident, or acts on it.
type Person struct {
	Name  string `json:"name" maxLength:"200"`
	Email string `json:"email,omitempty" maxLength:"320"`
}

// Detail is an incident with all that belongs to it.
type Detail struct {
	Incident
	Alerts   []Alert    `json:"alerts"`
	Activity []Activity `json:"activity"`
	Comments []Comment  `json:"comments"`
	Sync     []Sync     `json:"sync"`
}

// Activity is one line of an incident's history, oldest first.
type Activity struct {
	Time  time.Time `json:"time"`
	Actor string    `json:"actor"`
	Kind  string    `json:"kind" doc:"created, alert, status, severity, owner, title, labels, classification, comment or sync"`
	Text  string    `json:"text"`
}

// Comment is what a person wrote; Markdown.
type Comment struct {
	ID          string    `json:"id"`
	Author      Person    `json:"author"`
	Message     string    `json:"message"`
	CreatedTime time.Time `json:"createdTime"`
}

// Errors a caller may branch on.
var (
	ErrNotFound = errors.New("no such incident")
	ErrConflict = errors.New("the incident was changed by somebody else")
)

// Invalid is a change that cannot be made; Field names the JSON field.
type Invalid struct {
	Field   string
	Message string
}

func (e *Invalid) Error() string { return e.Field + ": " + e.Message }

// Options for a Service.
type Options struct {
	Workspace state.Workspace
	// BaseURL goes before an incident's link in the log table, such as "https://otus.example"; may be empty.
	BaseURL string
	// Notify is told, after the commit, that an incident was created or updated. It must not block. May be nil.
	Notify func(number int64, change string)
}

// Service keeps the incidents of one workspace. Its methods may be called from any goroutine.
type Service struct {
	db *state.DB
	ws state.Workspace
	o  Options
	// wanted wakes the status sync; it holds at most one token.
	wanted chan struct{}
}

// NewService gives the incidents of a workspace in the state database.
func NewService(db *state.DB, o Options) *Service {
	return &Service{db: db, ws: o.Workspace, o: o, wanted: make(chan struct{}, 1)}
}

// lists are the short lists of an incident, kept as one JSON column.
type lists struct {
	Labels     []string `json:"labels"`
	Tactics    []string `json:"tactics"`
	Techniques []string `json:"techniques"`
	Products   []string `json:"products"`
	RuleIDs    []string `json:"ruleIds"`
	RuleNames  []string `json:"ruleNames"`
	Keywords   []string `json:"keywords"` // words of its alerts the queue's search finds it by
}

const columns = `number, id, etag, title, description, severity, status, classification, classification_reason,
	classification_comment, owner_name, owner_email, created, modified, modified_by, first_modified, closed,
	first_activity, last_activity, alerts, comments, activities, engine, protocol, sensor, site, zone,
	source_device, destination_device, lists`

// scan reads the columns named above.
func scan(from func(...any) error) (Incident, error) {
	var (
		i                     Incident
		owner                 Person
		firstModified, closed time.Time
		encoded               string
		l                     lists
	)
	err := from(&i.Number, &i.ID, &i.etag, &i.Title, &i.Description, &i.Severity, &i.Status, &i.Classification,
		&i.ClassificationReason, &i.ClassificationComment, &owner.Name, &owner.Email,
		state.TicksOf(&i.CreatedTime), state.TicksOf(&i.LastModifiedTime), &i.modifiedBy,
		state.TicksOf(&firstModified), state.TicksOf(&closed), state.TicksOf(&i.FirstActivityTime),
		state.TicksOf(&i.LastActivityTime), &i.AlertsCount, &i.CommentsCount, &i.activities, &i.Engine, &i.Protocol,
		&i.Sensor, &i.Site, &i.Zone, &i.SourceDevice, &i.DestinationDevice, &encoded)
	if err != nil {
		return Incident{}, err
	}
	if err := json.Unmarshal([]byte(encoded), &l); err != nil {
		return Incident{}, fmt.Errorf("incident %d: lists: %w", i.Number, err)
	}
	i.Labels, i.Tactics, i.Techniques, i.RuleNames = full(l.Labels), full(l.Tactics), full(l.Techniques), full(l.RuleNames)
	i.ruleIDs, i.products, i.keywords = full(l.RuleIDs), full(l.Products), l.Keywords
	if owner != (Person{}) {
		i.Owner = &owner
	}
	if !firstModified.IsZero() {
		i.FirstModifiedTime = &firstModified
	}
	if !closed.IsZero() {
		i.ClosedTime = &closed
	}
	i.ETag = strconv.FormatInt(i.etag, 10)
	return i, nil
}

// full gives an empty list for nil: a JSON list is never null.
func full(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// load reads one incident; ErrNotFound if there is none of that number.
func (s *Service) load(ctx context.Context, q state.Querier, number int64) (Incident, error) {
	row := q.QueryRowContext(ctx, `SELECT `+columns+` FROM incident WHERE workspace = ? AND number = ?`, s.ws.ID, number)
	i, err := scan(row.Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return Incident{}, fmt.Errorf("incident %d: %w", number, ErrNotFound)
	}
	if err != nil {
		return Incident{}, fmt.Errorf("read incident %d: %w", number, err)
	}
	return i, nil
}

// store writes all of an incident, appends its SecurityIncident row to the outbox, and tells the listeners after the
// commit. LastModifiedTime grows with every call, so that the newest row of the table is the newest state.
func (s *Service) store(ctx context.Context, tx *state.Tx, i *Incident, by, change string) error {
	now := tx.Now()
	if !i.LastModifiedTime.IsZero() && !now.After(i.LastModifiedTime) {
		now = i.LastModifiedTime.Add(100 * time.Nanosecond)
	}
	i.LastModifiedTime, i.modifiedBy = now, by
	i.ETag = strconv.FormatInt(i.etag, 10)
	l, err := json.Marshal(lists{i.Labels, i.Tactics, i.Techniques, i.products, i.ruleIDs, i.RuleNames, i.keywords})
	if err != nil {
		return err
	}
	var owner Person
	if i.Owner != nil {
		owner = *i.Owner
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO incident (workspace, severity_rank, search, `+columns+`)
		VALUES (?, ?, ?, `+strings.TrimSuffix(strings.Repeat("?, ", strings.Count(columns, ",")+1), ", ")+`)
		ON CONFLICT (workspace, number) DO UPDATE SET severity_rank = excluded.severity_rank, search = excluded.search,
		etag = excluded.etag, title = excluded.title, description = excluded.description, severity = excluded.severity,
		status = excluded.status, classification = excluded.classification,
		classification_reason = excluded.classification_reason, classification_comment = excluded.classification_comment,
		owner_name = excluded.owner_name, owner_email = excluded.owner_email, modified = excluded.modified,
		modified_by = excluded.modified_by, first_modified = excluded.first_modified, closed = excluded.closed,
		first_activity = excluded.first_activity, last_activity = excluded.last_activity, alerts = excluded.alerts,
		comments = excluded.comments, activities = excluded.activities, engine = excluded.engine,
		protocol = excluded.protocol, sensor = excluded.sensor, site = excluded.site, zone = excluded.zone,
		source_device = excluded.source_device, destination_device = excluded.destination_device, lists = excluded.lists`,
		s.ws.ID, severityRank(i.Severity), i.searchText(),
		i.Number, i.ID, i.etag, i.Title, i.Description, i.Severity, i.Status, i.Classification, i.ClassificationReason,
		i.ClassificationComment, owner.Name, owner.Email, state.Ticks(i.CreatedTime), state.Ticks(i.LastModifiedTime),
		i.modifiedBy, orNull(i.FirstModifiedTime), orNull(i.ClosedTime), state.Ticks(i.FirstActivityTime),
		state.Ticks(i.LastActivityTime), i.AlertsCount, i.CommentsCount, i.activities, i.Engine, i.Protocol, i.Sensor,
		i.Site, i.Zone, i.SourceDevice, i.DestinationDevice, string(l))
	if err != nil {
		return fmt.Errorf("write incident %d: %w", i.Number, err)
	}
	row, err := s.row(ctx, tx, i)
	if err != nil {
		return fmt.Errorf("log row of incident %d: %w", i.Number, err)
	}
	tx.Append("SecurityIncident", row)
	if s.o.Notify != nil {
		number := i.Number
		tx.AfterCommit(func() { s.o.Notify(number, change) })
	}
	return nil
}

func orNull(t *time.Time) any {
	if t == nil {
		return nil
	}
	return state.Ticks(*t)
}

// note adds a line to the incident's history; the caller stores the incident afterwards.
func (s *Service) note(ctx context.Context, tx *state.Tx, i *Incident, actor, kind, text string) error {
	i.activities++
	_, err := tx.ExecContext(ctx, `INSERT INTO incident_activity (workspace, incident, ordinal, time, actor, kind, text)
		VALUES (?, ?, ?, ?, ?, ?, ?)`, s.ws.ID, i.Number, i.activities, state.Ticks(tx.Now()), actor, kind, text)
	if err != nil {
		return fmt.Errorf("history of incident %d: %w", i.Number, err)
	}
	return nil
}

// Get gives an incident with its alerts, history, comments and sync states; ErrNotFound if there is none.
func (s *Service) Get(ctx context.Context, number int64) (*Detail, error) {
	q := s.db.Reader()
	i, err := s.load(ctx, q, number)
	if err != nil {
		return nil, err
	}
	d := &Detail{Incident: i, Alerts: []Alert{}, Activity: []Activity{}, Comments: []Comment{}, Sync: []Sync{}}
	if d.Alerts, err = s.alerts(ctx, q, number); err != nil {
		return nil, err
	}
	rows, err := q.QueryContext(ctx, `SELECT time, actor, kind, text FROM incident_activity
		WHERE workspace = ? AND incident = ? ORDER BY ordinal`, s.ws.ID, number)
	if err != nil {
		return nil, fmt.Errorf("history of incident %d: %w", number, err)
	}
	activity, err := state.Scan(rows, func(a *Activity) []any { return []any{state.TicksOf(&a.Time), &a.Actor, &a.Kind, &a.Text} })
	if err != nil {
		return nil, fmt.Errorf("history of incident %d: %w", number, err)
	}
	d.Activity = append(d.Activity, activity...)
	if d.Comments, err = s.comments(ctx, q, number); err != nil {
		return nil, err
	}
	if d.Sync, err = s.syncOf(ctx, q, i); err != nil {
		return nil, err
	}
	return d, nil
}

// ByAlert gives the number of the incident that owns a vendor alert; ErrNotFound if none does.
func (s *Service) ByAlert(ctx context.Context, vendorAlertID string) (int64, error) {
	return s.owner(ctx, s.db.Reader(), vendorAlertID)
}

func (s *Service) owner(ctx context.Context, q state.Querier, alertID string) (number int64, err error) {
	err = q.QueryRowContext(ctx, `SELECT incident FROM alert_owner WHERE workspace = ? AND alert = ?`, s.ws.ID, alertID).Scan(&number)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, ErrNotFound
	}
	if err != nil {
		return 0, fmt.Errorf("owner of alert %q: %w", alertID, err)
	}
	return number, nil
}

// idOf derives the incident's GUID from the key that owns it: the same alerts give the same incidents.
func (s *Service) idOf(key string) string { return derive(s.ws.ID, "incident/"+key) }

// derive is UUIDv5; a workspace id that is no GUID (a seeded test) is hashed into one first.
func derive(space, name string) string {
	ns, err := uuid.Parse(space)
	if err != nil {
		ns = uuid.NewSHA1(uuid.Nil, []byte(space))
	}
	return uuid.NewSHA1(ns, []byte(name)).String()
}

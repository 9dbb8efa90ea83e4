package incident

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/otus-project/otus/siem/state"
)

// Change is what a person asks to change; nil fields stay as they are.
type Change struct {
	Status                *string   `json:"status,omitempty" enum:"New,Active,Closed"`
	Severity              *string   `json:"severity,omitempty" enum:"High,Medium,Low,Informational"`
	Owner                 *Person   `json:"owner,omitempty" doc:"An empty name and mail take the owner away"`
	Title                 *string   `json:"title,omitempty"`
	Labels                *[]string `json:"labels,omitempty" maxItems:"50"`
	Classification        *string   `json:"classification,omitempty" doc:"Required on closing"`
	ClassificationReason  *string   `json:"classificationReason,omitempty"`
	ClassificationComment *string   `json:"classificationComment,omitempty"`
	CloseAction           *string   `json:"closeAction,omitempty" enum:"close,learn,mute" doc:"What closing does to the alert on the sensor; default close"`
}

// Classifications maps each classification to its allowed reasons. One with a single reason implies it.
var classifications = []struct {
	name    string
	reasons []string
}{
	{"TruePositive", []string{"SuspiciousActivity"}},
	{"BenignPositive", []string{"SuspiciousButExpected"}},
	{"FalsePositive", []string{"IncorrectAlertLogic", "InaccurateData"}},
	{"Undetermined", nil},
}

// Update changes an incident for a person. ifMatch is the etag the person saw; empty skips the check. A status that
// changes becomes a wanted status of the alerts on their sensors, in the same transaction.
func (s *Service) Update(ctx context.Context, number int64, c Change, by Person, ifMatch string) (*Incident, error) {
	var changed *Incident
	err := s.db.Write(ctx, func(ctx context.Context, tx *state.Tx) error {
		i, err := s.load(ctx, tx, number)
		if err != nil {
			return err
		}
		if tag := strings.Trim(strings.TrimPrefix(ifMatch, "W/"), `"`); tag != "" && tag != "*" && tag != i.ETag {
			return fmt.Errorf("incident %d has etag %s, not %s: %w", number, i.ETag, tag, ErrConflict)
		}
		before := i
		lines, err := i.apply(c, tx.Now())
		if err != nil {
			return err
		}
		changed = &i
		if len(lines) == 0 {
			return nil
		}
		for _, l := range lines {
			if err := s.note(ctx, tx, &i, by.Name, l.kind, l.text); err != nil {
				return err
			}
		}
		i.etag++
		i.touch(tx.Now())
		if i.Status != before.Status {
			if err := s.want(ctx, tx, &i, c.CloseAction, by.Name); err != nil {
				return err
			}
		}
		return s.store(ctx, tx, &i, by.Name, "updated")
	})
	if err != nil {
		return nil, err
	}
	return changed, nil
}

// touch notes when a person changed the incident for the first time.
func (i *Incident) touch(now time.Time) {
	if i.FirstModifiedTime == nil {
		i.FirstModifiedTime = &now
	}
}

type line struct{ kind, text string }

// apply changes the fields and says what it changed; it refuses all of the change or nothing.
func (i *Incident) apply(c Change, now time.Time) (lines []line, err error) {
	set := func(kind string, field *string, to *string) {
		if to != nil && *to != *field {
			lines = append(lines, line{kind, fmt.Sprintf("%s → %s", orNone(*field), orNone(*to))})
			*field = *to
		}
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	set("title", &i.Title, c.Title)
	set("severity", &i.Severity, c.Severity)
	if c.Owner != nil {
		lines = append(lines, i.own(*c.Owner)...)
	}
	if c.Labels != nil && !slices.Equal(i.Labels, union(nil, *c.Labels...)) {
		i.Labels = union(nil, *c.Labels...)
		lines = append(lines, line{"labels", orNone(strings.Join(i.Labels, ", "))})
	}
	was := i.Status
	set("status", &i.Status, c.Status)
	switch {
	case i.Status != Closed && (c.Classification != nil && *c.Classification != "" || c.CloseAction != nil):
		return nil, &Invalid{"classification", "only a closed incident has a classification; set status to Closed as well"}
	case i.Status == Closed && (was != Closed || c.Classification != nil || c.ClassificationReason != nil || c.ClassificationComment != nil):
		l, err := i.classify(c, was != Closed)
		if err != nil {
			return nil, err
		}
		lines = append(lines, l...)
	}
	if i.Status == Closed && was != Closed {
		i.ClosedTime = &now
	}
	if i.Status != Closed && was == Closed {
		i.ClosedTime, i.Classification, i.ClassificationReason, i.ClassificationComment = nil, "", "", ""
	}
	return lines, nil
}

func (i *Incident) own(p Person) []line {
	var was, will string
	if i.Owner != nil {
		was = i.Owner.Name
	}
	if p.Name == "" {
		p.Name = p.Email
	}
	if p == (Person{}) {
		if i.Owner == nil {
			return nil
		}
		i.Owner = nil
	} else {
		if i.Owner != nil && *i.Owner == p {
			return nil
		}
		i.Owner, will = &p, p.Name
	}
	return []line{{"owner", fmt.Sprintf("%s → %s", orNone(was), orNone(will))}}
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

func (c *Change) check() error {
	if c.Status != nil && !slices.Contains([]string{New, Active, Closed}, *c.Status) {
		return &Invalid{"status", fmt.Sprintf("%q is not one of New, Active, Closed", *c.Status)}
	}
	if c.Severity != nil && severityRank(*c.Severity) == 0 {
		return &Invalid{"severity", fmt.Sprintf("%q is not one of High, Medium, Low, Informational", *c.Severity)}
	}
	if c.CloseAction != nil && !slices.Contains([]string{"close", "learn", "mute"}, *c.CloseAction) {
		return &Invalid{"closeAction", fmt.Sprintf("%q is not one of close, learn, mute", *c.CloseAction)}
	}
	if c.Title != nil && (strings.TrimSpace(*c.Title) == "" || len(*c.Title) > maxTitle) {
		return &Invalid{"title", fmt.Sprintf("a title has 1 to %d bytes", maxTitle)}
	}
	if c.Labels != nil {
		for _, l := range *c.Labels {
			if strings.TrimSpace(l) == "" || len(l) > 100 || len(*c.Labels) > 50 {
				return &Invalid{"labels", "at most 50 labels of 1 to 100 bytes"}
			}
		}
	}
	if c.ClassificationComment != nil && len(*c.ClassificationComment) > maxDescription {
		return &Invalid{"classificationComment", fmt.Sprintf("at most %d bytes", maxDescription)}
	}
	return nil
}

// classify sets classification, reason and comment together: they must fit each other.
func (i *Incident) classify(c Change, closing bool) ([]line, error) {
	class, reason, comment := i.Classification, i.ClassificationReason, i.ClassificationComment
	if closing {
		class, reason, comment = "", "", ""
	}
	if c.Classification != nil {
		if *c.Classification != class {
			reason = ""
		}
		class = *c.Classification
	}
	if c.ClassificationReason != nil {
		reason = *c.ClassificationReason
	}
	if c.ClassificationComment != nil {
		comment = *c.ClassificationComment
	}
	n := slices.IndexFunc(classifications, func(k struct {
		name    string
		reasons []string
	}) bool {
		return k.name == class
	})
	if n < 0 {
		return nil, &Invalid{"classification", "closing needs one of TruePositive, BenignPositive, FalsePositive, Undetermined"}
	}
	allowed := classifications[n].reasons
	if reason == "" && len(allowed) == 1 {
		reason = allowed[0]
	}
	if !slices.Contains(allowed, reason) && !(reason == "" && len(allowed) == 0) {
		return nil, &Invalid{"classificationReason", fmt.Sprintf("%s goes with %s", class, orNone(strings.Join(allowed, " or ")))}
	}
	if class == i.Classification && reason == i.ClassificationReason && comment == i.ClassificationComment {
		return nil, nil
	}
	i.Classification, i.ClassificationReason, i.ClassificationComment = class, reason, comment
	text := class
	if reason != "" {
		text += " - " + reason
	}
	if comment != "" {
		text += ": " + comment
	}
	return []line{{"classification", text}}, nil
}

// Comment adds a person's comment. It does not touch the etag: comments and property changes never collide.
func (s *Service) Comment(ctx context.Context, number int64, message string, by Person) (*Comment, error) {
	message = strings.TrimSpace(message)
	if message == "" || len(message) > maxComment {
		return nil, &Invalid{"message", fmt.Sprintf("a comment has 1 to %d bytes", maxComment)}
	}
	var c Comment
	err := s.db.Write(ctx, func(ctx context.Context, tx *state.Tx) error {
		i, err := s.load(ctx, tx, number)
		if err != nil {
			return err
		}
		if i.CommentsCount >= maxComments {
			return &Invalid{"message", fmt.Sprintf("an incident holds at most %d comments", maxComments)}
		}
		i.CommentsCount++
		c = Comment{derive(i.ID, fmt.Sprintf("comment/%d", i.CommentsCount)), by, message, tx.Now()}
		if _, err := tx.ExecContext(ctx, `INSERT INTO incident_comment
			(workspace, incident, ordinal, id, author_name, author_email, message, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			s.ws.ID, number, i.CommentsCount, c.ID, by.Name, by.Email, message, state.Ticks(c.CreatedTime)); err != nil {
			return fmt.Errorf("comment on incident %d: %w", number, err)
		}
		if err := s.note(ctx, tx, &i, by.Name, "comment", cut(message, 200)); err != nil {
			return err
		}
		i.touch(tx.Now())
		return s.store(ctx, tx, &i, by.Name, "updated")
	})
	if err != nil {
		return nil, err
	}
	return &c, nil
}

// Comments lists an incident's comments, oldest first; ErrNotFound if there is no such incident.
func (s *Service) Comments(ctx context.Context, number int64) ([]Comment, error) {
	if _, err := s.load(ctx, s.db.Reader(), number); err != nil {
		return nil, err
	}
	return s.comments(ctx, s.db.Reader(), number)
}

func (s *Service) comments(ctx context.Context, q state.Querier, number int64) ([]Comment, error) {
	rows, err := q.QueryContext(ctx, `SELECT id, author_name, author_email, message, created FROM incident_comment
		WHERE workspace = ? AND incident = ? ORDER BY ordinal`, s.ws.ID, number)
	if err != nil {
		return nil, fmt.Errorf("comments of incident %d: %w", number, err)
	}
	all, err := state.Scan(rows, func(c *Comment) []any {
		return []any{&c.ID, &c.Author.Name, &c.Author.Email, &c.Message, state.TicksOf(&c.CreatedTime)}
	})
	if all == nil {
		all = []Comment{}
	}
	return all, err
}

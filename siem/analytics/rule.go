// Package analytics runs the rules: questions asked of newly arrived rows, whose answers become alerts and incidents.
// What comes in are rules as YAML, in the form of the SIEM our users come from, and ranges of ingested rows; what goes
// out are SecurityAlert rows and signals to siem/incident. The invariants: a row is evaluated exactly once by each rule
// whose window it belongs to; how far a rule has read, what it made and what that opened are one transaction; no
// rule reads rows that it made.
package analytics

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// Kinds of rules.
const (
	KindScheduled        = "Scheduled"
	KindIncidentCreation = "MicrosoftSecurityIncidentCreation"
)

// Rule is one rule file. Fields that only describe are kept as they are; fields that would change what the rule
// does and are not understood are refused.
type Rule struct {
	ID          string `yaml:"id" json:"id"`
	Name        string `yaml:"name" json:"name"`
	DisplayName string `yaml:"displayName" json:"-"` // the API's word for name
	Description string `yaml:"description" json:"description"`
	Kind        string `yaml:"kind" json:"kind"`
	Severity    string `yaml:"severity" json:"severity"`
	Enabled     *bool  `yaml:"enabled" json:"-"` // user rules; default true
	Version     string `yaml:"version" json:"version"`

	Tactics            []string `yaml:"tactics" json:"tactics"`
	RelevantTechniques []string `yaml:"relevantTechniques" json:"techniques"`
	Techniques         []string `yaml:"techniques" json:"-"` // the API's word for relevantTechniques

	// Scheduled.
	Query                    string             `yaml:"query" json:"query"`
	QueryFrequency           Span               `yaml:"queryFrequency" json:"queryFrequency"`
	QueryPeriod              Span               `yaml:"queryPeriod" json:"queryPeriod"`
	TriggerOperator          string             `yaml:"triggerOperator" json:"triggerOperator"`
	TriggerThreshold         int                `yaml:"triggerThreshold" json:"triggerThreshold"`
	SuppressionEnabled       bool               `yaml:"suppressionEnabled" json:"suppressionEnabled"`
	SuppressionDuration      Span               `yaml:"suppressionDuration" json:"suppressionDuration"`
	EventGrouping            EventGrouping      `yaml:"eventGroupingSettings" json:"-"`
	EntityMappings           []EntityMapping    `yaml:"entityMappings" json:"-"`
	SentinelEntitiesMappings []EntitiesColumn   `yaml:"sentinelEntitiesMappings" json:"-"`
	CustomDetails            map[string]string  `yaml:"customDetails" json:"-"`
	AlertDetailsOverride     AlertOverride      `yaml:"alertDetailsOverride" json:"-"`
	IncidentConfiguration    IncidentConfigured `yaml:"incidentConfiguration" json:"-"`

	// MicrosoftSecurityIncidentCreation.
	ProductFilter             string   `yaml:"productFilter" json:"productFilter,omitempty"`
	SeveritiesFilter          []string `yaml:"severitiesFilter" json:"-"`
	DisplayNamesFilter        []string `yaml:"displayNamesFilter" json:"-"`
	DisplayNamesExcludeFilter []string `yaml:"displayNamesExcludeFilter" json:"-"`

	// What only describes.
	Status                 string           `yaml:"status" json:"-"`
	RequiredDataConnectors []map[string]any `yaml:"requiredDataConnectors" json:"-"`
	RequiredTechniques     []string         `yaml:"requiredTechniques" json:"-"`
	SubTechniques          []string         `yaml:"subTechniques" json:"-"`
	Tags                   []any            `yaml:"tags" json:"-"`
	Metadata               map[string]any   `yaml:"metadata" json:"-"`
	AlertRuleTemplateName  string           `yaml:"alertRuleTemplateName" json:"-"`
	TemplateVersion        string           `yaml:"templateVersion" json:"-"`

	Tests []Test `yaml:"tests" json:"-"`
}

// EventGrouping says how result rows become alerts.
type EventGrouping struct {
	AggregationKind string `yaml:"aggregationKind"` // SingleAlert (default) or AlertPerResult
}

// EntityMapping makes an entity of a type from result columns.
type EntityMapping struct {
	EntityType    string `yaml:"entityType"`
	FieldMappings []struct {
		Identifier string `yaml:"identifier"`
		ColumnName string `yaml:"columnName"`
	} `yaml:"fieldMappings"`
}

// EntitiesColumn names a result column whose entities pass through unchanged.
type EntitiesColumn struct {
	ColumnName string `yaml:"columnName"`
}

// AlertOverride takes properties of the alert from result columns.
type AlertOverride struct {
	AlertDisplayNameFormat  string `yaml:"alertDisplayNameFormat"`
	AlertDescriptionFormat  string `yaml:"alertDescriptionFormat"`
	AlertTacticsColumnName  string `yaml:"alertTacticsColumnName"`
	AlertSeverityColumnName string `yaml:"alertSeverityColumnName"`
	AlertDynamicProperties  []struct {
		AlertProperty string `yaml:"alertProperty"`
		Value         string `yaml:"value"`
	} `yaml:"alertDynamicProperties"`
}

// IncidentConfigured says whether alerts open incidents.
type IncidentConfigured struct {
	CreateIncident        *bool `yaml:"createIncident"`
	GroupingConfiguration struct {
		Enabled              bool     `yaml:"enabled"`
		ReopenClosedIncident bool     `yaml:"reopenClosedIncident"`
		LookbackDuration     Span     `yaml:"lookbackDuration"`
		MatchingMethod       string   `yaml:"matchingMethod"`
		GroupByEntities      []string `yaml:"groupByEntities"`
		GroupByAlertDetails  []string `yaml:"groupByAlertDetails"`
		GroupByCustomDetails []string `yaml:"groupByCustomDetails"`
	} `yaml:"groupingConfiguration"`
}

// Test is one example of a rule: these rows come in, these alerts and no others come out.
type Test struct {
	Name string `yaml:"name"`
	// Table the rows are of; default SecurityAlert. A SecurityAlert row starts as a sensor's new alert, so that a test
	// only writes what matters.
	Table string           `yaml:"table"`
	Rows  []map[string]any `yaml:"rows"`
	// Alerts are the columns expected of each alert, in order; an empty list expects silence.
	Alerts *[]map[string]any `yaml:"alerts"`
}

// createsIncidents holds unless the rule says otherwise.
func (r *Rule) createsIncidents() bool {
	return r.IncidentConfiguration.CreateIncident == nil || *r.IncidentConfiguration.CreateIncident
}

func (r *Rule) perResult() bool { return r.EventGrouping.AggregationKind == "AlertPerResult" }

// anyRow holds for the trigger "more than none": each row by itself decides, so the rule can run at ingestion.
func (r *Rule) anyRow() bool { return r.TriggerOperator == "gt" && r.TriggerThreshold == 0 }

// triggers says whether a run with n results raises an alert.
func (r *Rule) triggers(n int) bool {
	switch r.TriggerOperator {
	case "gt":
		return n > r.TriggerThreshold
	case "lt":
		return n < r.TriggerThreshold
	case "eq":
		return n == r.TriggerThreshold
	}
	return n != r.TriggerThreshold
}

// Span is a length of time in a rule: KQL's 5m, 1h, 14d, or ISO 8601's PT5M, P14D.
type Span time.Duration

var (
	kqlSpan = regexp.MustCompile(`^([0-9]+)(d|h|m|s)$`)
	isoSpan = regexp.MustCompile(`^P(?:([0-9]+)D)?(?:T(?:([0-9]+)H)?(?:([0-9]+)M)?(?:([0-9]+)S)?)?$`)
)

// ParseSpan reads a span in either form.
func ParseSpan(text string) (Span, error) {
	var parts [4]string // days, hours, minutes, seconds
	if m := kqlSpan.FindStringSubmatch(text); m != nil {
		parts[strings.Index("dhms", m[2])] = m[1]
	} else if m := isoSpan.FindStringSubmatch(text); m != nil && len(text) > 2 && !strings.HasSuffix(text, "T") {
		copy(parts[:], m[1:])
	} else {
		return 0, fmt.Errorf("%q is no length of time; write 5m, 1h, 14d or PT5M", text)
	}
	var total time.Duration
	for n, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
		if parts[n] == "" {
			continue
		}
		count, err := strconv.Atoi(parts[n])
		if err != nil || count > 10_000_000 {
			return 0, fmt.Errorf("%q is too long", text)
		}
		total += time.Duration(count) * unit
	}
	return Span(total), nil
}

// UnmarshalYAML reads either form; the fault of any other text is placed at the text.
func (s *Span) UnmarshalYAML(node ast.Node) error {
	text, ok := node.(*ast.StringNode)
	if !ok {
		return &yaml.SyntaxError{Message: "expected a length of time, such as 5m or PT5M", Token: node.GetToken()}
	}
	parsed, err := ParseSpan(text.Value)
	if err != nil {
		return &yaml.SyntaxError{Message: err.Error(), Token: node.GetToken()}
	}
	*s = parsed
	return nil
}

// String gives the ISO 8601 form.
func (s Span) String() string {
	d := time.Duration(s)
	text := "P"
	if days := d / (24 * time.Hour); days > 0 {
		text += strconv.Itoa(int(days)) + "D"
	}
	rest := "T"
	for _, unit := range []struct {
		name string
		size time.Duration
		mod  time.Duration
	}{{"H", time.Hour, 24 * time.Hour}, {"M", time.Minute, time.Hour}, {"S", time.Second, time.Minute}} {
		if n := d % unit.mod / unit.size; n > 0 {
			rest += strconv.Itoa(int(n)) + unit.name
		}
	}
	if rest != "T" {
		text += rest
	}
	if text == "P" {
		return "PT0S"
	}
	return text
}

// MarshalText gives the ISO 8601 form; JSON uses it.
func (s Span) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads either form.
func (s *Span) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSpan(string(text))
	return err
}

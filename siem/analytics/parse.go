package analytics

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/otus-project/otus/kql"
)

// FileError is a fault in a rule file and where it stands, line and column counted from 1.
type FileError struct {
	File    string
	Line    int
	Column  int
	Message string
}

func (e *FileError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}

// FileErrors is all that is wrong with a rule file, in the order of its lines.
type FileErrors []*FileError

func (e FileErrors) Error() string {
	lines := make([]string, len(e))
	for n, f := range e {
		lines[n] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// MaxRule bounds a rule file, in bytes.
const MaxRule = 256 << 10

// Parse reads one rule, YAML or JSON, in Sentinel's form. file names it in errors. All faults that can be found without
// compiling the query come together, as FileErrors.
func Parse(file string, data []byte) (*Rule, error) { return parse(file, data, "") }

// parse is Parse for a text that need not name its id.
func parse(file string, data []byte, id string) (*Rule, error) {
	if len(data) > MaxRule {
		return nil, FileErrors{{file, 1, 1, fmt.Sprintf("a rule has at most %d bytes", MaxRule)}}
	}
	var r Rule
	d := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict())
	if err := d.Decode(&r); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, FileErrors{{file, 1, 1, "the file is empty"}}
		}
		return nil, FileErrors{yamlError(file, err)}
	}
	var more any
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, FileErrors{{file, 1, 1, "a rule file holds one rule"}}
	}
	c := newChecker(file, data)
	if r.ID == "" {
		r.ID = id
	}
	r.settle()
	c.rule(&r)
	if len(c.faults) > 0 {
		slices.SortStableFunc(c.faults, func(a, b *FileError) int { return a.Line*10000 + a.Column - b.Line*10000 - b.Column })
		return nil, c.faults
	}
	return &r, nil
}

func yamlError(file string, err error) *FileError {
	f := &FileError{file, 1, 1, err.Error()}
	var y yaml.Error
	if errors.As(err, &y) {
		f.Message = y.GetMessage()
		if tk := y.GetToken(); tk != nil && tk.Position != nil {
			f.Line, f.Column = tk.Position.Line, tk.Position.Column
		}
	}
	return f
}

// settle brings the two spellings of one thing together.
func (r *Rule) settle() {
	if r.Name == "" {
		r.Name = r.DisplayName
	}
	if r.RelevantTechniques == nil {
		r.RelevantTechniques = r.Techniques
	}
	for long, short := range map[string]string{"GreaterThan": "gt", "LessThan": "lt", "Equal": "eq", "NotEqual": "ne"} {
		if strings.EqualFold(r.TriggerOperator, long) {
			r.TriggerOperator = short
		}
	}
	for _, list := range []*[]string{&r.Tactics, &r.RelevantTechniques} {
		if *list == nil {
			*list = []string{} // a JSON list is never null
		}
	}
	if r.EventGrouping.AggregationKind == "" {
		r.EventGrouping.AggregationKind = "SingleAlert"
	}
	if r.ProductFilter != "" && r.Severity == "" {
		r.Severity = "Medium" // it takes each alert's own; lists need a word to show
	}
}

// checker collects faults with their places.
type checker struct {
	file   string
	tree   *ast.File
	text   string
	faults FileErrors
}

// newChecker is for text that was decoded before; were it not YAML, faults would be placed at the file's start.
func newChecker(file string, data []byte) *checker {
	tree, err := parser.ParseBytes(data, 0)
	if err != nil {
		tree = &ast.File{}
	}
	return &checker{file: file, tree: tree, text: string(data)}
}

// fault notes a fault at the value of a path such as "$.tests[0].name", or of its nearest parent that is there.
func (c *checker) fault(path, format string, args ...any) {
	line, column := c.place(path)
	c.faults = append(c.faults, &FileError{c.file, line, column, fmt.Sprintf(format, args...)})
}

func (c *checker) place(path string) (line, column int) {
	for path != "" && path != "$" {
		if node := c.node(path); node != nil && node.GetToken() != nil {
			p := node.GetToken().Position
			return p.Line, p.Column
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return 1, 1
}

func (c *checker) node(path string) ast.Node {
	p, err := yaml.PathString(path)
	if err != nil {
		return nil
	}
	node, err := p.FilterFile(c.tree)
	if err != nil {
		return nil
	}
	return node
}

// queryPlace maps a line and column of the query to the file.
func (c *checker) queryPlace(line, column int) (int, int) {
	node := c.node("$.query")
	if node == nil {
		return 1, 1
	}
	at := node.GetToken().Position
	if _, block := node.(*ast.LiteralNode); !block {
		if line == 1 {
			return at.Line, at.Column + column - 1
		}
		return at.Line + line - 1, column
	}
	lines := strings.Split(c.text, "\n")
	indent := 0
	for _, l := range lines[min(at.Line, len(lines)):] {
		if trimmed := strings.TrimLeft(l, " "); trimmed != "" {
			indent = len(l) - len(trimmed)
			break
		}
	}
	return at.Line + line, indent + column
}

// Values that are allowed where the form is closed.
var (
	severities = []string{"High", "Medium", "Low", "Informational"}
	tactics    = []string{
		"Reconnaissance", "ResourceDevelopment", "InitialAccess", "Execution", "Persistence", "PrivilegeEscalation",
		"DefenseEvasion", "CredentialAccess", "Discovery", "LateralMovement", "Collection", "Exfiltration",
		"CommandAndControl", "Impact", "PreAttack", "ImpairProcessControl", "InhibitResponseFunction", "Evasion",
	}
	technique   = regexp.MustCompile(`^T[0-9]{4}(\.[0-9]{3})?$`)
	placeholder = regexp.MustCompile(`\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}`)
	products    = []string{
		"Azure Security Center for IoT", "Azure Security Center", "Microsoft Cloud App Security",
		"Azure Advanced Threat Protection", "Azure Active Directory Identity Protection",
	}
	// overridable are the alert's properties a result column may set. ProviderName is not among them: it says who made
	// the row, and rules, queries and the loop guard rely on it.
	overridable = []string{
		"AlertName", "Description", "AlertSeverity", "Tactics", "Techniques", "AlertLink", "ConfidenceLevel", "ConfidenceScore",
		"ExtendedLinks", "ProductComponentName", "ProductName", "RemediationSteps",
	}
)

func (c *checker) rule(r *Rule) {
	c.need("$.id", r.ID, 100)
	c.need("$.name", r.Name, 256)
	if len(r.Description) > 5000 {
		c.fault("$.description", "a description has at most 5000 bytes")
	}
	if !slices.Contains(severities, r.Severity) {
		c.fault("$.severity", "severity must be one of %s, not %q", strings.Join(severities, ", "), r.Severity)
	}
	for n, t := range r.Tactics {
		if !slices.Contains(tactics, t) {
			c.fault(fmt.Sprintf("$.tactics[%d]", n), "%q is no tactic; expected one of %s", t, strings.Join(tactics, ", "))
		}
	}
	for n, t := range r.RelevantTechniques {
		if !technique.MatchString(t) {
			c.fault(fmt.Sprintf("$.relevantTechniques[%d]", n), "%q is no technique; expected the form T0814", t)
		}
	}
	switch r.Kind {
	case KindScheduled:
		c.scheduled(r)
	case KindIncidentCreation:
		c.creation(r)
	case "":
		c.fault("$.kind", "kind is missing; expected %s or %s", KindScheduled, KindIncidentCreation)
	default:
		c.fault("$.kind", "rules of kind %q are not supported; expected %s or %s", r.Kind, KindScheduled, KindIncidentCreation)
	}
	for n, t := range r.Tests {
		at := fmt.Sprintf("$.tests[%d]", n)
		c.need(at+".name", t.Name, 256)
		if t.Alerts == nil {
			c.fault(at+".name", "the test does not say which alerts it expects; write alerts: [] for silence")
		}
	}
}

func (c *checker) need(path, value string, longest int) {
	key := path[strings.LastIndex(path, ".")+1:]
	if strings.TrimSpace(value) == "" {
		c.fault(path, "%s is missing", key)
	} else if len(value) > longest {
		c.fault(path, "%s has at most %d bytes", key, longest)
	}
}

func (c *checker) creation(r *Rule) {
	if !slices.Contains(products, r.ProductFilter) {
		c.fault("$.productFilter", "productFilter must be one of %s, not %q", strings.Join(products, ", "), r.ProductFilter)
	}
	for n, s := range r.SeveritiesFilter {
		if !slices.Contains(severities, s) {
			c.fault(fmt.Sprintf("$.severitiesFilter[%d]", n), "%q is no severity; expected one of %s", s, strings.Join(severities, ", "))
		}
	}
	if r.Query != "" {
		c.fault("$.query", "a rule of kind %s has no query", KindIncidentCreation)
	}
}

const day = 24 * time.Hour

func (c *checker) scheduled(r *Rule) {
	c.need("$.query", r.Query, 10_000)
	span := func(path string, s Span, least time.Duration) {
		if time.Duration(s) < least || time.Duration(s) > 14*day {
			c.fault(path, "%s must lie between %s and P14D", path[2:], Span(least))
		}
	}
	span("$.queryFrequency", r.QueryFrequency, 5*time.Minute)
	span("$.queryPeriod", r.QueryPeriod, 5*time.Minute)
	if r.QueryPeriod < r.QueryFrequency {
		c.fault("$.queryPeriod", "queryPeriod must not be shorter than queryFrequency: rows between the windows would be lost")
	}
	if time.Duration(r.QueryPeriod) >= 2*day && time.Duration(r.QueryFrequency) < time.Hour {
		c.fault("$.queryFrequency", "a period of two days or more needs a frequency of one hour or more")
	}
	if !slices.Contains([]string{"gt", "lt", "eq", "ne"}, r.TriggerOperator) {
		c.fault("$.triggerOperator", "triggerOperator must be one of gt, lt, eq, ne, not %q", r.TriggerOperator)
	}
	if r.TriggerThreshold < 0 || r.TriggerThreshold > 10_000 {
		c.fault("$.triggerThreshold", "triggerThreshold must lie between 0 and 10000")
	}
	if !slices.Contains([]string{"SingleAlert", "AlertPerResult"}, r.EventGrouping.AggregationKind) {
		c.fault("$.eventGroupingSettings.aggregationKind", "aggregationKind must be SingleAlert or AlertPerResult")
	}
	if r.SuppressionEnabled && (r.SuppressionDuration <= 0 || time.Duration(r.SuppressionDuration) > day) {
		c.fault("$.suppressionDuration", "suppressionDuration must lie between PT1S and P1D")
	}
	if r.IncidentConfiguration.GroupingConfiguration.Enabled {
		c.fault("$.incidentConfiguration.groupingConfiguration.enabled", "grouping of alerts into incidents is not supported: each alert id has one incident")
	}
	if len(r.CustomDetails) > 20 {
		c.fault("$.customDetails", "at most 20 custom details")
	}
	if len(r.EntityMappings) > 10 {
		c.fault("$.entityMappings", "at most 10 entity mappings")
	}
	for n, m := range r.EntityMappings {
		if len(m.FieldMappings) == 0 || len(m.FieldMappings) > 3 {
			c.fault(fmt.Sprintf("$.entityMappings[%d]", n), "an entity mapping has 1 to 3 field mappings")
		}
	}
	for n, p := range r.AlertDetailsOverride.AlertDynamicProperties {
		if !slices.Contains(overridable, p.AlertProperty) {
			c.fault(fmt.Sprintf("$.alertDetailsOverride.alertDynamicProperties[%d].alertProperty", n),
				"%q cannot be taken from a column; expected one of %s", p.AlertProperty, strings.Join(overridable, ", "))
		}
	}
	for path, format := range map[string]string{
		"$.alertDetailsOverride.alertDisplayNameFormat": r.AlertDetailsOverride.AlertDisplayNameFormat,
		"$.alertDetailsOverride.alertDescriptionFormat": r.AlertDetailsOverride.AlertDescriptionFormat,
	} {
		if len(placeholder.FindAllString(format, 4)) > 3 {
			c.fault(path, "at most 3 placeholders")
		}
	}
}

// columnsUsed lists the result columns the rule relies on, each with its place in the file.
func (r *Rule) columnsUsed() []struct{ path, column string } {
	var all []struct{ path, column string }
	add := func(path, column string) {
		if column != "" {
			all = append(all, struct{ path, column string }{path, column})
		}
	}
	for n, m := range r.EntityMappings {
		for k, f := range m.FieldMappings {
			add(fmt.Sprintf("$.entityMappings[%d].fieldMappings[%d].columnName", n, k), f.ColumnName)
		}
	}
	for n, m := range r.SentinelEntitiesMappings {
		add(fmt.Sprintf("$.sentinelEntitiesMappings[%d].columnName", n), m.ColumnName)
	}
	for key, column := range r.CustomDetails {
		add("$.customDetails."+key, column)
	}
	o := r.AlertDetailsOverride
	add("$.alertDetailsOverride.alertTacticsColumnName", o.AlertTacticsColumnName)
	add("$.alertDetailsOverride.alertSeverityColumnName", o.AlertSeverityColumnName)
	for n, p := range o.AlertDynamicProperties {
		add(fmt.Sprintf("$.alertDetailsOverride.alertDynamicProperties[%d].value", n), p.Value)
	}
	for path, format := range map[string]string{
		"$.alertDetailsOverride.alertDisplayNameFormat": o.AlertDisplayNameFormat,
		"$.alertDetailsOverride.alertDescriptionFormat": o.AlertDescriptionFormat,
	} {
		for _, m := range placeholder.FindAllStringSubmatch(format, -1) {
			add(path, m[1])
		}
	}
	return all
}

// queryFaults places a query's diagnostics in the rule file.
func (c *checker) queryFaults(err error) FileErrors {
	var bad *kql.Error
	if !errors.As(err, &bad) {
		line, column := c.place("$.query")
		return FileErrors{{c.file, line, column, err.Error()}}
	}
	var all FileErrors
	for _, d := range bad.Diagnostics {
		line, column := c.queryPlace(d.Line, d.Column)
		message := "query: " + d.Message
		if d.Hint != "" {
			message += " (" + d.Hint + ")"
		}
		all = append(all, &FileError{c.file, line, column, message})
	}
	return all
}

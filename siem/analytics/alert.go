package analytics

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/otus-project/otus/siem/incident"
	"github.com/otus-project/otus/siem/state"
)

// Limits of what a rule puts into an alert.
const (
	maxAlertName      = 256
	maxAlertText      = 5000
	maxDetailValues   = 50
	maxDetailBytes    = 2 << 10
	maxEntities       = 500
	maxEntitiesBytes  = 64 << 10
	maxAlertsPerRun   = 150 // of a window; the last one stands for the rest
	providerContent   = "ASI Scheduled Alerts"
	providerUser      = "CustomAlertRule"
	productOfRules    = "Azure Sentinel"
	originalColumn    = "VendorOriginalId"
	customDetailsName = "Custom Details"
)

// made is one alert of a rule: its row, and what siem/incident must know of it.
type made struct {
	row       state.Row
	alert     incident.Alert
	originals []string
}

// table is a result with its columns by name.
type table struct {
	columns []string
	rows    [][]any
}

func (t *table) get(row []any, column string) any {
	if n := slices.Index(t.columns, column); n >= 0 {
		return row[n]
	}
	return nil
}

// run says under which circumstances a rule's results came about.
type run struct {
	workspace state.Workspace
	rule      *loaded
	now       time.Time
	// from and to bound the window; both zero for a run at ingestion.
	from, to time.Time
	// late marks the run over rows that arrived after their window had closed.
	late bool
	// ordinal is how many alerts the rule made before this run; it tells equal rows at ingestion apart.
	ordinal int64
}

// alerts turns the results of a run into alerts, in the order of the rows.
func (r *run) alerts(t *table) []made {
	if len(t.rows) == 0 && !r.rule.triggers(0) {
		return nil
	}
	var all []made
	if r.atIngestion() {
		for n := range t.rows {
			all = append(all, r.alert(t, t.rows[n:n+1], int64(len(all)), len(t.rows)))
		}
		return all
	}
	if !r.rule.triggers(len(t.rows)) {
		return nil
	}
	if !r.rule.perResult() || len(t.rows) == 0 {
		return []made{r.alert(t, t.rows, 0, len(t.rows))}
	}
	for n := range t.rows {
		if n == maxAlertsPerRun-1 && len(t.rows) > maxAlertsPerRun {
			return append(all, r.alert(t, t.rows[n:], int64(n), len(t.rows)))
		}
		all = append(all, r.alert(t, t.rows[n:n+1], int64(n), len(t.rows)))
	}
	return all
}

func (r *run) atIngestion() bool { return r.to.IsZero() }

// alert makes one alert of the given rows; there is at least one row unless the rule asks for absence.
func (r *run) alert(t *table, rows [][]any, nth int64, results int) made {
	rule := r.rule
	m := made{originals: originalsOf(rule, t, rows)}
	id := r.identity(t, rows, m.originals, nth)
	var first []any
	if len(rows) > 0 {
		first = rows[0]
	}
	text := func(column string) string {
		if first == nil || column == "" {
			return ""
		}
		return cellText(t.get(first, column))
	}
	format := func(f string) string {
		return placeholder.ReplaceAllStringFunc(f, func(p string) string { return text(placeholder.FindStringSubmatch(p)[1]) })
	}
	row := state.Row{
		"TenantId": r.workspace.TenantID, "Type": "SecurityAlert", "SourceSystem": "Detection", "IsIncident": false,
		"TimeGenerated": r.now, "ProcessingEndTime": r.now, "Status": "New",
		"SystemAlertId": id, "VendorOriginalId": id, "AlertType": rule.ID,
		"ProviderName": rule.provider(), "ProductName": productOfRules, "VendorName": "Otus",
		"AlertName": rule.Name, "Description": rule.Description, "AlertSeverity": rule.Severity,
		"Tactics": strings.Join(rule.Tactics, ", "), "Techniques": jsonText(rule.RelevantTechniques),
	}
	if len(m.originals) == 1 {
		row["VendorOriginalId"] = m.originals[0]
	}
	row["StartTime"], row["EndTime"] = r.span(t, rows)
	o := rule.AlertDetailsOverride
	override := func(property, value string) {
		if value = strings.TrimSpace(value); value != "" {
			setProperty(row, property, value)
		}
	}
	override("AlertName", format(o.AlertDisplayNameFormat))
	override("Description", format(o.AlertDescriptionFormat))
	override("Tactics", text(o.AlertTacticsColumnName))
	override("AlertSeverity", text(o.AlertSeverityColumnName))
	for _, p := range o.AlertDynamicProperties {
		override(p.AlertProperty, text(p.Value))
	}
	row["DisplayName"] = row["AlertName"]
	entities, compromised := r.entities(t, rows)
	row["Entities"], row["CompromisedEntity"] = entities, compromised
	row["ExtendedProperties"] = r.properties(t, rows, results)
	m.row, m.alert = row, incident.AlertOf(row)
	return m
}

// identity gives the alert's id. An alert about one original is the same alert however often its rule meets it; any
// other is told apart by its window and its rows, or at ingestion by its place in the rule's output.
func (r *run) identity(t *table, rows [][]any, originals []string, nth int64) string {
	name := r.rule.ID + "/"
	switch {
	case len(originals) == 1:
		name += "alert/" + originals[0]
	case r.atIngestion():
		name += "row/" + strconv.FormatInt(r.ordinal+nth, 10) + "/" + hashRows(t, rows)
	case r.late:
		name += "late/" + strconv.FormatInt(state.Ticks(r.to), 10) + "/" + strconv.FormatInt(nth, 10) + "/" + hashRows(t, rows)
	default:
		name += "window/" + strconv.FormatInt(state.Ticks(r.to), 10) + "/" + strconv.FormatInt(nth, 10) + "/" + hashRows(t, rows)
	}
	space, err := uuid.Parse(r.workspace.ID)
	if err != nil {
		space = uuid.NewSHA1(uuid.Nil, []byte(r.workspace.ID))
	}
	return uuid.NewSHA1(space, []byte(name)).String()
}

func hashRows(t *table, rows [][]any) string {
	h := sha256.New()
	for _, row := range rows {
		for n, column := range t.columns {
			fmt.Fprintf(h, "%q=%q,", column, cellText(row[n]))
		}
		h.Write([]byte{'\n'})
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// originalsOf lists the vendor alert ids that the rows name: by a column VendorOriginalId, by a custom detail of that
// name, or by that property of a passed-through entity.
func originalsOf(rule *loaded, t *table, rows [][]any) []string {
	var all []string
	add := func(id string) {
		if id = strings.TrimSpace(id); id != "" && !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	for _, row := range rows {
		before := len(all)
		add(cellText(t.get(row, originalColumn)))
		if len(all) == before {
			add(cellText(t.get(row, rule.CustomDetails[originalColumn])))
		}
		if len(all) > before {
			continue
		}
		for _, m := range rule.SentinelEntitiesMappings {
			for _, raw := range entityList(cellText(t.get(row, m.ColumnName))) {
				var e struct{ VendorOriginalId string } //nolint:revive // the property's name
				if json.Unmarshal(raw, &e) == nil {
					add(e.VendorOriginalId)
				}
			}
		}
	}
	return all
}

// span gives the alert's first and last moment: those of the rows, or of the window where the rows have none.
func (r *run) span(t *table, rows [][]any) (start, end time.Time) {
	for _, row := range rows {
		from, ok := t.get(row, "StartTime").(time.Time)
		if !ok {
			from, ok = t.get(row, "TimeGenerated").(time.Time)
		}
		if ok && (start.IsZero() || from.Before(start)) {
			start = from
		}
		to, ok := t.get(row, "EndTime").(time.Time)
		if !ok {
			to, ok = t.get(row, "TimeGenerated").(time.Time)
		}
		if ok && to.After(end) {
			end = to
		}
	}
	if start.IsZero() {
		if start, end = r.from, r.to; r.atIngestion() {
			start, end = r.now, r.now
		}
	}
	if end.Before(start) {
		end = start
	}
	return start, end
}

// setProperty overrides one property of the alert, where the value fits it; a value that does not leaves the rule's.
func setProperty(row state.Row, property, value string) {
	switch property {
	case "AlertSeverity":
		for _, s := range severities {
			if strings.EqualFold(s, value) {
				row[property] = s
			}
		}
	case "Tactics":
		var list []string
		for _, t := range listOf(value) {
			list = append(list, strings.ReplaceAll(t, " ", ""))
		}
		row[property] = strings.Join(list, ", ")
	case "Techniques":
		row[property] = jsonText(listOf(value))
	case "RemediationSteps":
		if !strings.HasPrefix(value, "[") {
			value = jsonText([]string{value})
		}
		row[property] = value
	case "ConfidenceScore":
		if f, err := strconv.ParseFloat(value, 64); err == nil && f >= 0 && f <= 1 {
			row[property] = f
		}
	case "ConfidenceLevel":
		if slices.Contains([]string{"Low", "High", "Unknown"}, value) {
			row[property] = value
		}
	case "AlertName":
		row[property] = short(value, maxAlertName)
	default:
		row[property] = short(value, maxAlertText)
	}
}

// listOf reads JSON array text, or words between commas.
func listOf(text string) []string {
	var list []string
	if strings.HasPrefix(text, "[") && json.Unmarshal([]byte(text), &list) == nil {
		return list
	}
	for word := range strings.SplitSeq(text, ",") {
		if word = strings.TrimSpace(word); word != "" {
			list = append(list, word)
		}
	}
	return list
}

// entities passes the originals' entities through and adds the mapped ones, as JSON array text.
func (r *run) entities(t *table, rows [][]any) (text, compromised string) {
	var list []json.RawMessage
	size := 0
	seen := map[string]bool{}
	add := func(raw json.RawMessage) {
		if key := string(raw); !seen[key] && len(list) < maxEntities && size+len(raw) < maxEntitiesBytes {
			seen[key] = true
			list, size = append(list, raw), size+len(raw)+1
		}
	}
	for _, row := range rows {
		for _, m := range r.rule.SentinelEntitiesMappings {
			for _, raw := range entityList(cellText(t.get(row, m.ColumnName))) {
				add(raw)
			}
		}
		for _, m := range r.rule.EntityMappings {
			e := map[string]string{"Type": strings.ToLower(m.EntityType)}
			for _, f := range m.FieldMappings {
				if v := cellText(t.get(row, f.ColumnName)); v != "" {
					e[f.Identifier] = v
				}
			}
			if len(e) > 1 {
				add(json.RawMessage(jsonText(e)))
			}
		}
	}
	if len(list) > 0 {
		var e struct{ DeviceName, HostName, Name, Address string }
		if json.Unmarshal(list[0], &e) == nil {
			for _, name := range []string{e.DeviceName, e.HostName, e.Name, e.Address} {
				if compromised == "" {
					compromised = name
				}
			}
		}
	}
	if list == nil {
		return "[]", ""
	}
	return jsonText(list), compromised
}

func entityList(text string) []json.RawMessage {
	var list []json.RawMessage
	if json.Unmarshal([]byte(text), &list) != nil {
		return nil
	}
	return list
}

// properties are the alert's ExtendedProperties. Custom details stand in it as JSON inside a string, because
// playbooks written for that form parse it twice.
func (r *run) properties(t *table, rows [][]any, results int) string {
	rule := r.rule
	details := map[string][]string{}
	size := 0
	for key, column := range rule.CustomDetails {
		list := []string{}
		for _, row := range rows {
			v := cellText(t.get(row, column))
			if v != "" && !slices.Contains(list, v) && len(list) < maxDetailValues && size+len(v) <= maxDetailBytes {
				list, size = append(list, v), size+len(v)
			}
		}
		details[key] = list
	}
	grouping := rule.EventGrouping.AggregationKind
	p := map[string]string{
		"Query": rule.Query, "Query Period": Span(rule.QueryPeriod).clock(), "Trigger Operator": operatorWords[rule.TriggerOperator],
		"Trigger Threshold": strconv.Itoa(rule.TriggerThreshold), "Search Query Results Overall Count": strconv.Itoa(results),
		"Analytic Rule Ids": jsonText([]string{rule.ID}), "Analytic Rule Name": rule.Name, "Event Grouping": grouping,
		"Data Sources": jsonText(rule.tables),
	}
	if rule.chained() {
		p["Rule Level"] = "2"
	}
	if len(details) > 0 {
		p[customDetailsName] = jsonText(details)
	}
	if !r.atIngestion() {
		p["Query Start Time UTC"], p["Query End Time UTC"] = r.from.Format(time.RFC3339Nano), r.to.Format(time.RFC3339Nano)
	}
	return jsonText(p)
}

var operatorWords = map[string]string{"gt": "Greater Than", "lt": "Less Than", "eq": "Equal", "ne": "Not Equal"}

// clock gives the form d.hh:mm:ss, as .NET prints a TimeSpan and rule alerts carry it.
func (s Span) clock() string {
	d := time.Duration(s)
	text := fmt.Sprintf("%02d:%02d:%02d", int(d.Hours())%24, int(d.Minutes())%60, int(d.Seconds())%60)
	if days := int(d / day); days > 0 {
		text = strconv.Itoa(days) + "." + text
	}
	return text
}

// cellText prints a value as KQL's tostring does.
func cellText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		if v {
			return "True"
		}
		return "False"
	case time.Time:
		return v.UTC().Format("2006-01-02T15:04:05.0000000Z")
	case time.Duration:
		return Span(v).clock()
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case json.RawMessage:
		var s string
		if json.Unmarshal(v, &s) == nil {
			return s
		}
		if string(v) == "null" {
			return ""
		}
		return string(v)
	}
	return fmt.Sprint(v)
}

func jsonText(v any) string {
	text, err := plainJSON(v)
	if err != nil {
		return "" // strings, lists and maps of them always have a form
	}
	return text
}

func short(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "")
}

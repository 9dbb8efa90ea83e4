// Package arch holds the import rule of the project as data; its test reads every import against it.
// Calls flow down the chain, imports point up it: sensor, fleet and siem meet only in event.
package arch

// Module is the path of this module.
const Module = "github.com/otus-project/otus"

// Rule says what the packages under a folder may import of this module. The longest matching folder wins.
type Rule struct {
	Folder string
	// May lists folders; a trailing "/..." takes everything beneath. A package may always import its own.
	May []string
	// CGOFree marks folders that must build with CGO_ENABLED=0: nothing beneath may import "C" or a module
	// that needs it.
	CGOFree bool
}

// Rules, from the wire to the people. Another arrow needs its own commit with the reason.
var Rules = []Rule{
	{Folder: "event", CGOFree: true},
	// Small leaves that know nothing of the houses; everyone may import them.
	{Folder: "internal", CGOFree: true},

	{Folder: "sensor/packet", CGOFree: true},
	{Folder: "sensor/capture", CGOFree: true, May: []string{"sensor/packet"}},
	{Folder: "sensor/dissect", CGOFree: true, May: []string{"sensor/packet"}},
	{Folder: "sensor/protocol", CGOFree: true, May: []string{"sensor/packet", "sensor/dissect"}},
	{Folder: "sensor/facts", CGOFree: true, May: []string{"sensor/packet", "sensor/dissect"}},
	{Folder: "sensor/inventory", CGOFree: true, May: []string{"event", "sensor/packet", "sensor/dissect"}},
	{Folder: "sensor/baseline", CGOFree: true, May: []string{"event", "sensor/packet", "sensor/dissect", "sensor/inventory"}},
	{Folder: "sensor/detect", CGOFree: true, May: []string{"event", "sensor/packet", "sensor/dissect", "sensor/inventory", "sensor/baseline"}},
	{Folder: "sensor/engine", CGOFree: true, May: []string{"event", "sensor/packet", "sensor/dissect", "sensor/inventory", "sensor/baseline", "sensor/detect"}},
	{Folder: "sensor/alert", CGOFree: true, May: []string{"event", "sensor/packet", "sensor/dissect", "sensor/inventory", "sensor/baseline", "sensor/detect"}},
	{Folder: "sensor/stage", CGOFree: true, May: []string{"event", "sensor/packet", "sensor/dissect", "sensor/inventory", "sensor/baseline", "sensor/detect", "sensor/alert"}},
	{Folder: "sensor/spool", CGOFree: true, May: []string{"event"}},
	{Folder: "sensor/uplink", CGOFree: true, May: []string{"event", "sensor/spool"}},
	// Plays text scripts through real stages, for the engines' tests.
	{Folder: "sensor/scenario", CGOFree: true, May: []string{"event", "sensor/...", "simulate/wire", "internal/..."}},
	{Folder: "sensor/station", CGOFree: true, May: []string{"event", "sensor", "sensor/packet", "sensor/capture", "sensor/spool", "sensor/uplink"}},
	{Folder: "sensor", CGOFree: true, May: []string{"event", "sensor/packet", "sensor/capture", "sensor/dissect", "sensor/detect", "sensor/stage", "sensor/spool"}},

	{Folder: "fleet", CGOFree: true, May: []string{"event", "fleet/..."}},

	{Folder: "kql", CGOFree: true, May: []string{"kql/..."}},

	{Folder: "siem/store", May: []string{"kql/schema", "kql/native", "content", "siem/store/..."}},
	{Folder: "siem/ingest", May: []string{"event", "kql/schema", "siem/store/..."}},
	{Folder: "siem/query", May: []string{"kql/...", "siem/store/..."}},
	{Folder: "siem/state", May: nil},
	{Folder: "siem/connector", May: []string{"event", "kql/schema", "siem/store/...", "siem/ingest", "siem/state"}},
	{Folder: "siem/incident", May: []string{"event", "siem/state", "siem/ingest"}},
	{Folder: "siem/analytics", May: []string{"event", "kql/...", "content", "siem/state", "siem/store/...", "siem/ingest", "siem/query", "siem/incident"}},
	{Folder: "siem/access", May: []string{"siem/state"}},
	{Folder: "siem/api", May: []string{"event", "siem/..."}},

	{Folder: "content"},
	{Folder: "web"},
	{Folder: "simulate", CGOFree: true, May: []string{"simulate/..."}},

	{Folder: "cmd/otus-sensor", CGOFree: true, May: []string{"event", "sensor/...", "internal/..."}},
	{Folder: "cmd/otus", May: []string{"event", "sensor/...", "fleet/...", "kql/...", "siem/...", "content", "web", "simulate/...", "internal/...", "cmd/otus/..."}},
	{Folder: "cmd/kqlcases", May: []string{"kql/...", "siem/store/...", "siem/query"}},
}

package kql

import "testing"

// BenchmarkCompile compiles a typical detection rule: text to SQL.
func BenchmarkCompile(b *testing.B) {
	const rule = `let threshold = 5;
let names = dynamic(["Firmware Change", "Firmware Version Changed"]);
T
| where TimeGenerated > ago(1d) and s has_any (names)
| extend p = parse_json(s)
| where tostring(p.isNew) == "True"
| summarize n = count(), recent = arg_max(TimeGenerated, *) by g, bin(t, 1h)
| where n > threshold
| project recent, g, t, device = tostring(p.Device[0].Name)
| sort by recent desc`
	catalog := fuzzCatalog()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compile(rule, Options{Catalog: catalog}); err != nil {
			b.Fatal(err)
		}
	}
}

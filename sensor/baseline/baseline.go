// Package baseline learns what is normal on this network and says what is not. In learning mode it takes
// every entry in; in operational mode an entry it does not know becomes a Deviation, which the policy engine
// may turn into a finding.
package baseline

import "time"

// Entry is one learnt fact: on Subject (usually "client>server" with unit), of Kind (such as
// "function", "register", "peer", "port", "name"), with Value (such as "modbus 16").
type Entry struct {
	Kind    string `json:"kind"`
	Subject string `json:"subject"`
	Value   string `json:"value"`
}

// Deviation is an entry outside the baseline.
type Deviation struct {
	Entry
	Time time.Time
}

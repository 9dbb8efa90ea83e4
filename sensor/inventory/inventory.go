// Package inventory keeps the devices the traffic shows, and what passed between them minute by minute.
package inventory

import "github.com/otus-project/otus/event"

// Inventory is the bounded table of devices.
type Inventory struct{}

// Change is a device that appeared or changed.
type Change struct {
	Device *event.Device
	New    bool
	// Fields names what changed: "firmwareVersion", "ipAddresses", ...
	Fields []string
	// Before is the device as it was; nil when New.
	Before *event.Device
}

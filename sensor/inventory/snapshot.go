package inventory

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/internal/lru"
	"github.com/otus-project/otus/sensor/packet"
)

// state is everything a restart needs; the indexes are made of it.
type state struct {
	Mode    event.SensorMode                  `json:"mode"`
	Devices *lru.Table[Key, *device]          `json:"devices"`
	MACs    *lru.Table[packet.MAC, *hardware] `json:"macs"`
	Subnets []netip.Prefix                    `json:"subnets,omitempty"`
	Flows   *lru.Table[flowKey, *flow]        `json:"flows"`
	// Minute is the start of the running minute.
	Minute time.Time `json:"minute"`
	// Pending says that some device waits for its row.
	Pending bool `json:"pending,omitempty"`
}

// Snapshot returns the whole state.
func (i *Inventory) Snapshot() ([]byte, error) { return json.Marshal(&i.state) }

// Restore continues from a snapshot as if there had been no restart.
func (i *Inventory) Restore(data []byte) error {
	fresh := New(i.o)
	if err := json.Unmarshal(data, &fresh.state); err != nil {
		return fmt.Errorf("read inventory: %w", err)
	}
	i.state = fresh.state
	i.index()
	return nil
}

func (i *Inventory) index() {
	i.byAddr, i.byMAC, i.subnet = map[netip.Addr][]Key{}, map[packet.MAC][]Key{}, map[netip.Prefix]bool{}
	for key := range i.state.Devices.All() {
		if key.Addr.IsValid() {
			i.byAddr[key.Addr] = append(i.byAddr[key.Addr], key)
		}
		if !key.MAC.IsZero() {
			i.byMAC[key.MAC] = append(i.byMAC[key.MAC], key)
		}
	}
	for _, prefix := range i.state.Subnets {
		i.subnet[prefix] = true
	}
}

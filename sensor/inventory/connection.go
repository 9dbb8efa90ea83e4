package inventory

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/packet"
)

// flowKey names a flow without saying which side is the client: that may turn out later.
type flowKey struct {
	A, B      netip.AddrPort
	Transport string
}

// flow counts one flow within the running minute. Index 0 is side A.
type flow struct {
	Client, Server dissect.Endpoint
	Protocol       string
	Packets, Bytes [2]uint64
	Messages       uint64
	Exceptions     uint64
	First, Last    time.Time
	// Lost and Undecoded count since the flow began; the others were in rows already.
	Lost, Undecoded         uint64
	LostSent, UndecodedSent uint64
	Established             bool // has been told
	Closed                  bool
}

func keyOf(a, b dissect.Endpoint, transport string) (key flowKey, swapped bool) {
	key = flowKey{netip.AddrPortFrom(a.Addr, a.Port), netip.AddrPortFrom(b.Addr, b.Port), transport}
	if key.A.Compare(key.B) > 0 {
		key.A, key.B = key.B, key.A
		return key, true
	}
	return key, false
}

func (i *Inventory) flow(c *dissect.Connection) (*flow, flowKey) {
	key, _ := keyOf(c.Client, c.Server, c.Transport)
	f, ok := i.state.Flows.Get(key)
	if !ok {
		f = &flow{}
		i.state.Flows.Put(key, f)
	}
	f.update(c)
	return f, key
}

func (f *flow) update(c *dissect.Connection) {
	f.Client, f.Server, f.Closed = c.Client, c.Server, false
	f.Protocol = "Unknown"
	if c.Protocol != nil {
		f.Protocol = c.Protocol.Name
	}
	f.Lost, f.Undecoded = c.LostBytes, c.UndecodedBytes
	// A new flow on old ports begins to count from nothing.
	f.LostSent, f.UndecodedSent = min(f.LostSent, f.Lost), min(f.UndecodedSent, f.Undecoded)
}

func (i *Inventory) count(p *packet.Packet, c *dissect.Connection, now time.Time) {
	f, key := i.flow(c)
	side := 0
	if (netip.AddrPortFrom(p.Src, p.SrcPort)) != key.A {
		side = 1
	}
	f.Packets[side]++
	f.Bytes[side] += uint64(max(p.Frame.Length, len(p.Frame.Data)))
	if f.First.IsZero() {
		f.First = now
	}
	f.Last = now
}

func (i *Inventory) countMessage(m *dissect.Message) {
	key, _ := keyOf(m.Client, m.Server, m.Transport)
	f, ok := i.state.Flows.Get(key)
	if !ok {
		return
	}
	f.Messages++
	f.Protocol = m.Protocol.Name
	if m.Exception != 0 {
		f.Exceptions++
	}
}

// Established reports, once per flow, that c has become established.
func (i *Inventory) Established(c *dissect.Connection) bool {
	if !c.Established {
		return false
	}
	f, _ := i.flow(c)
	if f.Established {
		return false
	}
	f.Established = true
	return true
}

// Closed tells that the flow left the dissector's table.
func (i *Inventory) Closed(c *dissect.Connection) {
	key, _ := keyOf(c.Client, c.Server, c.Transport)
	if f, ok := i.state.Flows.Peek(key); ok {
		f.update(c)
		f.Closed = true
		if f.Packets == [2]uint64{} {
			i.state.Flows.Delete(key)
		}
	}
}

// rollOver emits the rows of a minute that is over.
func (i *Inventory) rollOver(now time.Time) {
	minute := now.Truncate(time.Minute)
	if i.state.Minute.IsZero() {
		i.state.Minute = minute
	}
	if minute.After(i.state.Minute) {
		i.emitMinute()
		i.state.Minute = minute
	}
}

// rowKey is what makes one row of a minute.
type rowKey struct {
	client, server netip.Addr
	port           uint16
	transport      string
	protocol       string
}

func (i *Inventory) emitMinute() {
	rows := map[rowKey]*event.Connection{}
	for key, f := range i.state.Flows.All() {
		if f.Packets != [2]uint64{} {
			i.addRow(rows, key, f)
		}
		if f.Closed {
			i.state.Flows.Delete(key)
			continue
		}
		f.Packets, f.Bytes = [2]uint64{}, [2]uint64{}
		f.Messages, f.Exceptions = 0, 0
		f.First, f.Last = time.Time{}, time.Time{}
		f.LostSent, f.UndecodedSent = f.Lost, f.Undecoded
	}
	keys := make([]rowKey, 0, len(rows))
	for key := range rows {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b rowKey) int {
		return cmp.Or(a.client.Compare(b.client), a.server.Compare(b.server), cmp.Compare(a.port, b.port),
			cmp.Compare(a.transport, b.transport), cmp.Compare(a.protocol, b.protocol))
	})
	for _, key := range keys {
		i.o.Connection(*rows[key])
	}
}

func (i *Inventory) addRow(rows map[rowKey]*event.Connection, key flowKey, f *flow) {
	client, server := 0, 1
	if netip.AddrPortFrom(f.Client.Addr, f.Client.Port) != key.A {
		client, server = 1, 0
	}
	id := rowKey{f.Client.Addr, f.Server.Addr, f.Server.Port, key.Transport, f.Protocol}
	row, ok := rows[id]
	if !ok {
		row = &event.Connection{Minute: i.state.Minute, SensorID: i.o.SensorID,
			ClientAddress: f.Client.Addr, ServerAddress: f.Server.Addr, ServerPort: f.Server.Port,
			Transport: key.Transport, Protocol: f.Protocol, FirstSeen: f.First, LastSeen: f.Last}
		if d := i.find(f.Client); d != nil {
			row.ClientID = d.Row.ID
		}
		if d := i.find(f.Server); d != nil {
			row.ServerID = d.Row.ID
		}
		rows[id] = row
	}
	row.ClientPackets += f.Packets[client]
	row.ServerPackets += f.Packets[server]
	row.ClientBytes += f.Bytes[client]
	row.ServerBytes += f.Bytes[server]
	row.Messages += f.Messages
	row.Exceptions += f.Exceptions
	row.LostBytes += f.Lost - f.LostSent
	row.UndecodedBytes += f.Undecoded - f.UndecodedSent
	if f.First.Before(row.FirstSeen) {
		row.FirstSeen = f.First
	}
	if f.Last.After(row.LastSeen) {
		row.LastSeen = f.Last
	}
	row.OneSided = row.ClientPackets == 0 || row.ServerPackets == 0
}

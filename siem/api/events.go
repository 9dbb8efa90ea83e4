package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Event tells pages that something changed; they fetch it anew.
type Event struct {
	Kind   string `json:"-"` // incident, alert, device, connector, sensor or summary
	ID     string `json:"id"`
	Change string `json:"change"` // created or updated
}

// kinds of events; a page that missed some is told that all of them may have changed.
var kinds = []string{"incident", "alert", "device", "connector", "sensor", "summary"}

// Hub hands events to every open page (server-sent events). The zero value works. A page that reads too slowly loses
// single events, and is told so; one that does not read at all is cut off.
type Hub struct {
	mu      sync.Mutex
	clients map[*client]bool
	// Heartbeat is how often a silent stream carries a comment, so that both ends see it lives. Default 15 s.
	Heartbeat time.Duration
}

// Bounds of the hub.
const (
	hubClients  = 256
	hubPending  = 256
	hubWrite    = 10 * time.Second // a page that takes no bytes for so long is gone
	hubLifetime = time.Hour        // then the page connects again, and its session is looked at again
)

type client struct {
	mu      sync.Mutex
	pending []Event
	known   map[Event]bool
	missed  bool
	wake    chan struct{}
}

// Publish tells all pages. It never blocks. Equal events that wait already are not doubled.
func (h *Hub) Publish(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.clients {
		c.add(e)
	}
}

func (c *client) add(e Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.missed || c.known[e]:
		return
	case len(c.pending) == hubPending:
		c.pending, c.missed = nil, true
		clear(c.known)
	default:
		c.pending = append(c.pending, e)
		c.known[e] = true
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *client) take() []Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	events := c.pending
	if c.missed {
		for _, k := range kinds {
			events = append(events, Event{Kind: k, Change: "updated"})
		}
	}
	c.pending, c.missed = nil, false
	clear(c.known)
	return events
}

// ServeHTTP streams events until the page leaves.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &client{known: map[Event]bool{}, wake: make(chan struct{}, 1)}
	h.mu.Lock()
	full := len(h.clients) >= hubClients
	if !full {
		if h.clients == nil {
			h.clients = map[*client]bool{}
		}
		h.clients[c] = true
	}
	h.mu.Unlock()
	if full {
		http.Error(w, "too many open pages", http.StatusServiceUnavailable)
		return
	}
	defer func() {
		h.mu.Lock()
		delete(h.clients, c)
		h.mu.Unlock()
	}()
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	send := func(text string) bool {
		_ = control.SetWriteDeadline(time.Now().Add(hubWrite)) // a writer without deadlines blocks at worst
		if _, err := w.Write([]byte(text)); err != nil {
			return false
		}
		return control.Flush() == nil
	}
	if !send("retry: 2000\n: connected\n\n") {
		return
	}
	pause := h.Heartbeat
	if pause <= 0 {
		pause = 15 * time.Second
	}
	beat, life := time.NewTicker(pause), time.NewTimer(hubLifetime)
	defer beat.Stop()
	defer life.Stop()
	for {
		text := ""
		select {
		case <-r.Context().Done():
			return
		case <-life.C:
			return
		case <-beat.C:
			text = ": still here\n\n"
		case <-c.wake:
			for _, e := range c.take() {
				data, err := json.Marshal(e)
				if err != nil {
					return
				}
				text += fmt.Sprintf("event: %s\ndata: %s\n\n", e.Kind, data)
			}
		}
		if text != "" && !send(text) {
			return
		}
	}
}

// Clients is how many pages are connected.
func (h *Hub) Clients() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.clients)
}

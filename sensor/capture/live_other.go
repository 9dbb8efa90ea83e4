//go:build !linux

package capture

import (
	"errors"
	"fmt"
	"time"

	"github.com/otus-project/otus/sensor/packet"
)

// Live is a capture from an interface, which only Linux offers.
type Live struct{}

// OpenLive fails: live capture uses AF_PACKET.
func OpenLive(name string, _ LiveOptions) (*Live, error) {
	return nil, fmt.Errorf("capture from %q: %w", name, errors.ErrUnsupported)
}

// Read is never reached.
func (*Live) Read(time.Duration) (*packet.Frame, error) { return nil, errors.ErrUnsupported }

// Dropped is never reached.
func (*Live) Dropped() uint64 { return 0 }

// Close is never reached.
func (*Live) Close() error { return nil }

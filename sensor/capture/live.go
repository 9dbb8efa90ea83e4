package capture

import "errors"

// ErrTimeout says that Live.Read waited in vain.
var ErrTimeout = errors.New("no frame within the time given")

// LiveOptions shape a live capture.
type LiveOptions struct {
	// After is the count of frames before this capture began: the first frame has the index After+1.
	After uint64
	// RingBytes is the room the kernel has for frames not yet read; more than it holds is dropped and counted.
	RingBytes int
}

func (o LiveOptions) withDefaults() LiveOptions {
	if o.RingBytes <= 0 {
		o.RingBytes = 8 << 20 // 60 ms of a full 1 Gbit/s, and well below the sensor's memory
	}
	return o
}

package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/otus-project/otus/sensor/packet"
)

// Shape of the ring. A block is handed over when it is full or blockWait old; that bounds the delay of a frame.
const (
	blockSize = 256 << 10 // holds the largest frame of segmentation offload several times
	blockWait = 10        // milliseconds
	frameUnit = 2048      // only divides the block; frames of TPACKET_V3 have any size
)

// Offsets within a block and within a frame's header (linux/if_packet.h).
const (
	blockStatus    = 8
	blockCount     = 12
	blockFirst     = 16
	addressOffset  = unix.SizeofTpacket3Hdr // a sockaddr_ll follows the header
	packetTypeAt   = addressOffset + 10
	arphrdEther    = 1
	arphrdPPP      = 512
	arphrdLoopback = 772
	arphrdNone     = 65534
	etherTypeAll   = 3 // ETH_P_ALL
)

// Live is a passive capture from one interface, by AF_PACKET with a memory-mapped ring (TPACKET_V3). It has no way to send.
// It is used by one goroutine, save Close's caller, who must wait for it.
type Live struct {
	name     string
	link     packet.LinkType
	loopback bool
	socket   int
	ring     []byte
	blocks   int
	index    uint64
	dropped  uint64

	block int // being read
	left  int // frames left in it
	next  int // offset of the next frame in the ring
	open  bool

	frame  packet.Frame
	tagged []byte // a frame with its VLAN tag put back
}

// OpenLive begins to capture all frames of an interface, in promiscuous mode. It needs CAP_NET_RAW.
func OpenLive(name string, o LiveOptions) (*Live, error) {
	o = o.withDefaults()
	device, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("capture from %q: %w", name, err)
	}
	// Protocol 0 receives nothing: no frame of another interface can slip in before the socket is bound.
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("capture from %q: open packet socket: %w", name, err)
	}
	l := &Live{name: name, socket: socket, index: o.After, blocks: max(o.RingBytes/blockSize, 2)}
	if err := l.prepare(device.Index); err != nil {
		l.Close()
		return nil, fmt.Errorf("capture from %q: %w", name, err)
	}
	return l, nil
}

func (l *Live) prepare(index int) error {
	if err := l.findLink(); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(l.socket, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return fmt.Errorf("choose TPACKET_V3: %w", err)
	}
	request := unix.TpacketReq3{
		Block_size: blockSize, Block_nr: uint32(l.blocks),
		Frame_size: frameUnit, Frame_nr: uint32(l.blocks * blockSize / frameUnit),
		Retire_blk_tov: blockWait,
	}
	if err := unix.SetsockoptTpacketReq3(l.socket, unix.SOL_PACKET, unix.PACKET_RX_RING, &request); err != nil {
		return fmt.Errorf("make ring of %d bytes: %w", l.blocks*blockSize, err)
	}
	ring, err := unix.Mmap(l.socket, 0, l.blocks*blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map ring: %w", err)
	}
	l.ring = ring
	member := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}
	if err := unix.SetsockoptPacketMreq(l.socket, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &member); err != nil {
		return fmt.Errorf("enter promiscuous mode: %w", err)
	}
	protocol := binary.NativeEndian.Uint16([]byte{0, etherTypeAll})
	if err := unix.Bind(l.socket, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: index}); err != nil {
		return fmt.Errorf("bind packet socket: %w", err)
	}
	return nil
}

// findLink asks what kind of header the interface's frames have.
func (l *Live) findLink() error {
	request, err := unix.NewIfreq(l.name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(l.socket, unix.SIOCGIFHWADDR, request); err != nil {
		return fmt.Errorf("ask for the kind of interface: %w", err)
	}
	switch kind := request.Uint16(); kind {
	case arphrdEther:
		l.link = packet.LinkEthernet
	case arphrdLoopback:
		l.link, l.loopback = packet.LinkEthernet, true
	case arphrdNone, arphrdPPP:
		l.link = packet.LinkRaw
	default:
		return fmt.Errorf("interfaces of kind %d are not supported", kind)
	}
	return nil
}

// Read gives the next frame, valid until the next call, or ErrTimeout when none came within timeout. After any other error,
// such as an interface that went down, Read may be called again.
func (l *Live) Read(timeout time.Duration) (*packet.Frame, error) {
	deadline := time.Now().Add(timeout)
	for {
		if f := l.take(); f != nil {
			return f, nil
		}
		if l.left > 0 {
			continue
		}
		if l.advance() {
			continue
		}
		wait := time.Until(deadline)
		if wait <= 0 {
			return nil, ErrTimeout
		}
		if err := l.wait(wait); err != nil {
			return nil, err
		}
	}
}

// wait polls for a block.
func (l *Live) wait(d time.Duration) error {
	poll := []unix.PollFd{{Fd: int32(l.socket), Events: unix.POLLIN | unix.POLLERR}}
	n, err := unix.Poll(poll, int(d/time.Millisecond)+1)
	switch {
	case errors.Is(err, unix.EINTR):
		return nil
	case err != nil:
		return fmt.Errorf("wait for frames of %q: %w", l.name, err)
	case n > 0 && poll[0].Revents&unix.POLLERR != 0:
		code, err := unix.GetsockoptInt(l.socket, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			return fmt.Errorf("capture from %q: %w", l.name, unix.Errno(code))
		}
	}
	return nil
}

func (l *Live) status(block int) *uint32 {
	return (*uint32)(unsafe.Pointer(&l.ring[block*blockSize+blockStatus]))
}

// advance gives the finished block back and enters the next, where the kernel has handed one over.
func (l *Live) advance() bool {
	if l.open {
		atomic.StoreUint32(l.status(l.block), unix.TP_STATUS_KERNEL)
		l.block = (l.block + 1) % l.blocks
		l.open = false
	}
	if atomic.LoadUint32(l.status(l.block))&unix.TP_STATUS_USER == 0 {
		return false
	}
	start := l.block * blockSize
	l.open = true
	l.left = int(binary.NativeEndian.Uint32(l.ring[start+blockCount:]))
	l.next = start + int(binary.NativeEndian.Uint32(l.ring[start+blockFirst:]))
	return true
}

// take reads the next frame of the open block; nil where it has none, or one that is to be left out.
func (l *Live) take() *packet.Frame {
	if l.left == 0 {
		return nil
	}
	l.left--
	header := l.ring[l.next:]
	at := func(offset int) uint32 { return binary.NativeEndian.Uint32(header[offset:]) }
	captured, length, status := int(at(12)), int(at(16)), at(20)
	data := header[binary.NativeEndian.Uint16(header[24:]):][:captured]
	l.next += int(at(0))
	// The loopback interface shows each frame twice, going out and coming in.
	if l.loopback && header[packetTypeAt] == unix.PACKET_OUTGOING {
		return nil
	}
	if status&unix.TP_STATUS_VLAN_VALID != 0 && len(data) >= 12 {
		tag := uint16(packet.EtherVLAN)
		if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
			tag = binary.NativeEndian.Uint16(header[36:])
		}
		l.tagged = append(l.tagged[:0], data[:12]...)
		l.tagged = binary.BigEndian.AppendUint16(l.tagged, tag)
		l.tagged = binary.BigEndian.AppendUint16(l.tagged, uint16(at(32)))
		data = append(l.tagged, data[12:]...)
		l.tagged, length = data, length+4
	}
	l.index++
	l.frame = packet.Frame{
		Index: l.index, Time: clock(uint64(at(4)), uint64(at(8))), Link: l.link, Data: data, Length: max(length, len(data)),
	}
	return &l.frame
}

// Dropped counts the frames the kernel had no room for since the capture began.
func (l *Live) Dropped() uint64 {
	// Reading the counter sets it back.
	if stats, err := unix.GetsockoptTpacketStatsV3(l.socket, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		l.dropped += uint64(stats.Drops)
	}
	return l.dropped
}

// Close ends the capture. The last frame is not valid any more.
func (l *Live) Close() error {
	if l.socket < 0 {
		return os.ErrClosed
	}
	if l.ring != nil {
		if err := unix.Munmap(l.ring); err != nil {
			return fmt.Errorf("close capture from %q: %w", l.name, err)
		}
		l.ring = nil
	}
	socket := l.socket
	l.socket = -1
	if err := unix.Close(socket); err != nil {
		return fmt.Errorf("close capture from %q: %w", l.name, err)
	}
	return nil
}

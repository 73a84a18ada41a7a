package egress

import (
	"errors"
	"io"
	"net"
	"sync"
)

// buffers are shared by all tunnels of a proxy. A silent direction holds a small one; a large one is taken while reads fill what they are
// given, and given back as soon as they do not.
type buffers struct {
	small, large sync.Pool
}

func newBuffers() *buffers {
	return &buffers{
		small: sync.Pool{New: func() any { return new([smallBuffer]byte) }},
		large: sync.Pool{New: func() any { return new([largeBuffer]byte) }},
	}
}

// copy moves bytes until from ends, which is no error. It is not io.Copy: that would splice between sockets, which hides from the watch
// whether anything moves, and holds four file descriptors more per tunnel. Splicing is no faster at the size of a webhook
// (BenchmarkExchange), and twice as fast at 256 KiB (BenchmarkBulk).
func (t *tunnel) copy(direction int, to, from net.Conn) error {
	small := t.buffers.small.Get().(*[smallBuffer]byte)
	defer t.buffers.small.Put(small)
	var large *[largeBuffer]byte
	defer func() { t.buffers.putLarge(large) }()

	if direction == up && len(t.early) > 0 {
		if err := t.forward(direction, to, t.early); err != nil {
			return err
		}
		t.early = nil
	}
	for buffer := small[:]; ; {
		n, err := from.Read(buffer)
		if n > 0 {
			if err := t.forward(direction, to, buffer[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return unlessEOF(err)
		}
		switch {
		case n == smallBuffer && large == nil:
			large = t.buffers.large.Get().(*[largeBuffer]byte)
			buffer = large[:]
		case n < smallBuffer && large != nil:
			t.buffers.putLarge(large)
			large, buffer = nil, small[:]
		}
	}
}

func (b *buffers) putLarge(large *[largeBuffer]byte) {
	if large != nil {
		b.large.Put(large)
	}
}

func (t *tunnel) forward(direction int, to net.Conn, data []byte) error {
	if err := t.admit(direction); err != nil {
		return err
	}
	n, err := to.Write(data)
	t.bytes[direction].Add(uint64(n))
	return err
}

func unlessEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

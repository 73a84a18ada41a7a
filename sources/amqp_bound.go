package sources

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
)

// Frames of AMQP 0.9.1 (4.2.3): a type, a channel, the size of the payload, the
// payload, and an end.
const (
	amqpFrameHead = 7
	amqpFrameEnd  = 0xCE
	amqpMethod    = 1
	amqpHeader    = 2 // its payload: class, weight, and at 4 the size of the body
	amqpBody      = 3
)

// amqpBeat is a heartbeat. It stands for a frame that is left out, so that the
// client sees that the broker lives.
var amqpBeat = []byte{8, 0, 0, 0, 0, 0, 0, amqpFrameEnd}

// amqpBound is a connection on which no message has a body of more than some
// bytes. The client's library collects a body, whatever its size, before it
// hands it on; so what is larger is cut on its way to it, one byte beyond what
// is taken, by which it is known.
//
//	header, body of 9 ── body 4 ── body 4 ── body 1      taken are 5
//	header, body of 6 ── body 4 ── body 2 ── heartbeat
type amqpBound struct {
	net.Conn
	most   uint64
	frames *bufio.Reader
	frame  []byte // a place for a frame
	rest   []byte // of the frame, what was not read yet
	cut    map[uint16]*amqpCut
}

// amqpCut is a body that is being cut.
type amqpCut struct {
	pass uint64 // bytes that go through yet
	come uint64 // bytes that come yet
}

func newAMQPBound(conn net.Conn, most int) *amqpBound {
	return &amqpBound{Conn: conn, most: uint64(most), frames: bufio.NewReaderSize(conn, 64<<10), cut: map[uint16]*amqpCut{}}
}

// Read implements net.Conn.
func (b *amqpBound) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		if err := b.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// next reads a frame.
func (b *amqpBound) next() error {
	var head [amqpFrameHead]byte
	if _, err := io.ReadFull(b.frames, head[:]); err != nil {
		return err
	}
	size := int(binary.BigEndian.Uint32(head[3:]))
	if size > amqpFrame {
		return fmt.Errorf("read a frame: it has %d bytes, more than was agreed on", size)
	}
	b.frame = slices.Grow(b.frame[:0], amqpFrameHead+size+1)[:amqpFrameHead+size+1]
	copy(b.frame, head[:])
	if _, err := io.ReadFull(b.frames, b.frame[amqpFrameHead:]); err != nil {
		return err
	}
	b.rest = b.judged(b.frame)
	return nil
}

// judged is a frame as it goes on.
func (b *amqpBound) judged(frame []byte) []byte {
	channel, payload := binary.BigEndian.Uint16(frame[1:]), frame[amqpFrameHead:len(frame)-1]
	cut := b.cut[channel]
	switch {
	case frame[0] == amqpMethod:
		delete(b.cut, channel) // a body ends with it
	case frame[0] == amqpHeader && len(payload) >= 12:
		size := payload[4:12]
		delete(b.cut, channel)
		if whole := binary.BigEndian.Uint64(size); whole > b.most {
			b.cut[channel] = &amqpCut{pass: b.most + 1, come: whole}
			binary.BigEndian.PutUint64(size, b.most+1)
		}
	case frame[0] == amqpBody && cut != nil:
		pass := min(cut.pass, uint64(len(payload)))
		cut.pass -= pass
		if cut.come -= min(cut.come, uint64(len(payload))); cut.come == 0 {
			delete(b.cut, channel)
		}
		if pass == 0 {
			return amqpBeat
		}
		binary.BigEndian.PutUint32(frame[3:], uint32(pass))
		frame[amqpFrameHead+pass] = frame[len(frame)-1]
		return frame[:amqpFrameHead+pass+1]
	}
	return frame
}

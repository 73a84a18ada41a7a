package brokertest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Kinds of frames, and what ends each.
const (
	amqpMethodFrame    = 1
	amqpHeaderFrame    = 2
	amqpBodyFrame      = 3
	amqpHeartbeatFrame = 8
	amqpFrameEnd       = 0xCE
	// amqpFrameMost is the largest frame, with its seven bytes before the
	// payload and the one behind.
	amqpFrameMost = 128 << 10
)

// amqpMethod is a class and a method of it.
type amqpMethod uint32

// The methods that are spoken here: AMQP 0.9.1, and RabbitMQ's basic.nack and
// confirm.select.
const (
	connectionStart   amqpMethod = 10<<16 | 10
	connectionStartOk amqpMethod = 10<<16 | 11
	connectionTune    amqpMethod = 10<<16 | 30
	connectionTuneOk  amqpMethod = 10<<16 | 31
	connectionOpen    amqpMethod = 10<<16 | 40
	connectionOpenOk  amqpMethod = 10<<16 | 41
	connectionClose   amqpMethod = 10<<16 | 50
	connectionCloseOk amqpMethod = 10<<16 | 51
	channelOpen       amqpMethod = 20<<16 | 10
	channelOpenOk     amqpMethod = 20<<16 | 11
	channelClose      amqpMethod = 20<<16 | 40
	channelCloseOk    amqpMethod = 20<<16 | 41
	exchangeDeclare   amqpMethod = 40<<16 | 10
	exchangeDeclareOk amqpMethod = 40<<16 | 11
	queueDeclare      amqpMethod = 50<<16 | 10
	queueDeclareOk    amqpMethod = 50<<16 | 11
	queueBind         amqpMethod = 50<<16 | 20
	queueBindOk       amqpMethod = 50<<16 | 21
	queuePurge        amqpMethod = 50<<16 | 30
	queuePurgeOk      amqpMethod = 50<<16 | 31
	queueDelete       amqpMethod = 50<<16 | 40
	queueDeleteOk     amqpMethod = 50<<16 | 41
	basicQos          amqpMethod = 60<<16 | 10
	basicQosOk        amqpMethod = 60<<16 | 11
	basicConsume      amqpMethod = 60<<16 | 20
	basicConsumeOk    amqpMethod = 60<<16 | 21
	basicCancel       amqpMethod = 60<<16 | 30
	basicCancelOk     amqpMethod = 60<<16 | 31
	basicPublish      amqpMethod = 60<<16 | 40
	basicReturn       amqpMethod = 60<<16 | 50
	basicDeliver      amqpMethod = 60<<16 | 60
	basicGet          amqpMethod = 60<<16 | 70
	basicGetOk        amqpMethod = 60<<16 | 71
	basicGetEmpty     amqpMethod = 60<<16 | 72
	basicAck          amqpMethod = 60<<16 | 80
	basicReject       amqpMethod = 60<<16 | 90
	basicNack         amqpMethod = 60<<16 | 120
	confirmSelect     amqpMethod = 85<<16 | 10
	confirmSelectOk   amqpMethod = 85<<16 | 11
)

// amqpFrame is one frame.
type amqpFrame struct {
	kind    byte
	channel uint16
	payload []byte
}

func readAMQPFrame(r *bufio.Reader) (amqpFrame, error) {
	var head [7]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return amqpFrame{}, err
	}
	f := amqpFrame{kind: head[0], channel: binary.BigEndian.Uint16(head[1:])}
	size := binary.BigEndian.Uint32(head[3:])
	if size > amqpFrameMost-8 {
		return f, fmt.Errorf("a frame of %d bytes", size)
	}
	f.payload = make([]byte, size+1)
	if _, err := io.ReadFull(r, f.payload); err != nil {
		return f, err
	}
	if f.payload[size] != amqpFrameEnd {
		return f, errors.New("a frame without its end")
	}
	f.payload = f.payload[:size]
	return f, nil
}

// append writes the frame behind others.
func (f amqpFrame) append(to []byte) []byte {
	to = append(to, f.kind)
	to = binary.BigEndian.AppendUint16(to, f.channel)
	to = binary.BigEndian.AppendUint32(to, uint32(len(f.payload)))
	to = append(to, f.payload...)
	return append(to, amqpFrameEnd)
}

// amqpArguments reads a method's arguments one after the other. Past their
// end, all are zero and short is set.
type amqpArguments struct {
	rest  []byte
	short bool
}

func (a *amqpArguments) take(n int) []byte {
	if n > len(a.rest) {
		a.short = true
		return make([]byte, min(n, 8))
	}
	taken := a.rest[:n]
	a.rest = a.rest[n:]
	return taken
}

func (a *amqpArguments) octet() byte    { return a.take(1)[0] }
func (a *amqpArguments) uint16() uint16 { return binary.BigEndian.Uint16(a.take(2)) }
func (a *amqpArguments) uint32() uint32 { return binary.BigEndian.Uint32(a.take(4)) }
func (a *amqpArguments) uint64() uint64 { return binary.BigEndian.Uint64(a.take(8)) }
func (a *amqpArguments) name() string   { return string(a.take(int(a.octet()))) }
func (a *amqpArguments) bytes() []byte  { return a.take(int(a.uint32())) }

// amqpWords writes a method's arguments: a uint8, uint16, uint32 or uint64 as
// it is, a bool as an octet, a string as a short one, bytes as a long one.
func amqpWords(m amqpMethod, arguments ...any) []byte {
	p := binary.BigEndian.AppendUint32(nil, uint32(m))
	for _, a := range arguments {
		switch v := a.(type) {
		case uint8:
			p = append(p, v)
		case uint16:
			p = binary.BigEndian.AppendUint16(p, v)
		case uint32:
			p = binary.BigEndian.AppendUint32(p, v)
		case uint64:
			p = binary.BigEndian.AppendUint64(p, v)
		case bool:
			bit := byte(0)
			if v {
				bit = 1
			}
			p = append(p, bit)
		case string:
			v = v[:min(len(v), 255)]
			p = append(append(p, byte(len(v))), v...)
		case []byte:
			p = append(binary.BigEndian.AppendUint32(p, uint32(len(v))), v...)
		default:
			panic(fmt.Sprintf("AMQP has no %T", a))
		}
	}
	return p
}

// amqpText finds a text in a table by its name, among fields that are texts,
// numbers and truth values; what else a table may have ends the search.
func amqpText(table []byte, name string) string {
	a := &amqpArguments{rest: table}
	widths := map[byte]int{'t': 1, 'b': 1, 'B': 1, 's': 2, 'u': 2, 'I': 4, 'i': 4, 'f': 4, 'l': 8, 'd': 8, 'T': 8, 'V': 0}
	for len(a.rest) > 0 && !a.short {
		field, kind := a.name(), a.octet()
		width, known := widths[kind]
		switch {
		case kind == 'S' && field == name:
			return string(a.bytes())
		case kind == 'S':
			a.bytes()
		case known:
			a.take(width)
		default:
			return ""
		}
	}
	return ""
}

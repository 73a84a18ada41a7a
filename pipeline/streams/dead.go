package streams

import (
	"context"
	"errors"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Reason is why an entry is dead.
type Reason string

// The reasons, all of them.
const (
	// Undecodable: the entry is not a Watermill message.
	Undecodable Reason = "undecodable"
	// Redeliveries: it was nacked too often.
	Redeliveries Reason = "redeliveries"
	// Takeovers: too many consumers died with it.
	Takeovers Reason = "takeovers"
)

var errNoDeadLetters = errors.New("there is nowhere to put dead messages")

// historyMax bounds the lines of a history; the first and the latest are kept.
const historyMax = 20

// Dead is an entry that no handler will take.
type Dead struct {
	Topic string
	// Stream is the key, and Entry the id within it.
	Stream, Entry string
	// UUID is the message's, "" if it is undecodable.
	UUID   string
	Reason Reason
	// History is what happened, oldest first: what Fail said at each nack, takeovers, why it could not be decoded.
	History []string
	// Raw is the entry as it stood in the stream; see Fields.
	Raw []byte
	// Message is nil if the entry is undecodable.
	Message *message.Message
}

// remember adds a line to the history.
func (e *entry) remember(line string) {
	if len(e.history) >= historyMax {
		e.history = append(e.history[:1], e.history[2:]...)
	}
	e.history = append(e.history, line)
}

// bury hands e to the dead letters, and settles it only if they took it.
func (s *subscription) bury(e *entry) {
	if err := s.buryOnce(e); err != nil {
		e.burials++
		s.log.Warn("streams: a dead message stays pending", "entry", e.key+"/"+e.id, "reason", string(e.reason), "tries", e.burials, "error", err)
		s.window.park(e, time.Now().Add(s.cfg.backoff(e.burials)))
		return
	}
	s.count.dead.Add(1)
	s.settle(e)
}

func (s *subscription) buryOnce(e *entry) error {
	if s.cfg.Dead == nil {
		return errNoDeadLetters
	}
	dead := Dead{Topic: s.topic, Stream: e.key, Entry: e.id, Reason: e.reason, History: e.history, Raw: packRaw(e.fields)}
	if msg, err := decode(e.fields); err == nil {
		dead.UUID, dead.Message = msg.UUID, msg
	}
	ctx, cancel := context.WithCancel(s.life)
	defer cancel()
	return s.cfg.Dead(ctx, dead)
}

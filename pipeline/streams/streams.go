// Package streams is Redis Streams as a Watermill Publisher and Subscriber that reads in batches, commits in groups, heals itself, and never holds an entry
// that no one works on.
//
// The wire format is that of watermill-redisstream, so any stock Watermill consumer can read the topics. A topic has two lanes, each a stream:
//
//	prefix + topic            live
//	prefix + topic + ".bulk"  bulk: what may wait (floods, replays, sweeps)
//
// A topic may be spread over several shards, by a hash of the message's UUID. Then each shard has the two, from 0:
//
//	prefix + "{" + topic + ".0}"
//	prefix + "{" + topic + ".0}.bulk"
//
// What happens to an entry:
//
//	XADD → XREADGROUP → ready ──emit──→ running ──Ack──→ settled → XACK → XTRIM
//	                      ↑               │ Nack
//	                      └── waiting ←───┴──→ (too often) Dead → settled
//
// A consumer that dies stops renewing (XCLAIM … JUSTID); another takes its entries over (XAUTOCLAIM), and each takeover counts.
package streams

import (
	"context"
	"errors"

	"github.com/ThreeDotsLabs/watermill/message"
)

// ErrClosed is returned by a Publisher or Subscriber that was closed.
var ErrClosed = errors.New("streams: closed")

// Lane is one of the streams of a topic.
type Lane int

// Live is read first; Bulk gets one message in nine while both have some.
const (
	Live Lane = iota
	Bulk

	laneCount = 2
)

// String returns the lane's name, as it appears in metrics and logs.
func (l Lane) String() string {
	if l == Bulk {
		return "bulk"
	}
	return "live"
}

type (
	entryKey struct{}
	laneKey  struct{}
)

// SetLane says which lane msg is to be published to. It is kept in the message's context, so it costs nothing on the wire.
func SetLane(msg *message.Message, lane Lane) {
	msg.SetContext(context.WithValue(msg.Context(), laneKey{}, lane))
}

// LaneOf returns the lane that msg is to be published to: what SetLane said, else the lane that it, or the message whose context it carries, came from.
func LaneOf(msg *message.Message) Lane {
	return laneOf(msg.Context())
}

func laneOf(ctx context.Context) Lane {
	if lane, ok := ctx.Value(laneKey{}).(Lane); ok {
		return lane
	}
	return Live
}

// entryContext carries its entry beside the cancellation of one emission; one allocation instead of a chain of WithValue.
type entryContext struct {
	context.Context

	entry *entry
}

// Value returns the entry or its lane, and otherwise what the parent context has.
func (c entryContext) Value(key any) any {
	switch key.(type) {
	case entryKey:
		return c.entry
	case laneKey:
		return c.entry.lane
	}
	return c.Context.Value(key)
}

func entryOf(msg *message.Message) *entry {
	e, _ := msg.Context().Value(entryKey{}).(*entry)
	return e
}

// Entry returns "<stream key>/<entry id>" of a message that came from a Subscriber, and "" for any other. It stays the same when the entry is delivered again
// or taken over, and so identifies who may go on with claimed work.
func Entry(msg *message.Message) string {
	e := entryOf(msg)
	if e == nil {
		return ""
	}
	return e.key + "/" + e.id
}

// Held reports whether msg is still this consumer's: its lease was renewed in time. A process that was stopped for longer than the lease sees false, and should
// begin nothing more with the message.
func Held(msg *message.Message) bool {
	e := entryOf(msg)
	return e != nil && e.shard.current(e)
}

// Fail records why a handler is about to nack msg. The reason becomes a line of Dead.History.
func Fail(msg *message.Message, err error) {
	if e := entryOf(msg); e != nil {
		e.cause = err
	}
}

package streams

import (
	"cmp"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"
)

// unrepeated is a command that no client sends twice, a cluster's client neither: the reply may be lost and the command done.
type unrepeated struct{ *redis.StringCmd }

// NoRetry returns true.
func (unrepeated) NoRetry() bool { return true }

// PublishError is the error of a Publish call of which some messages were added.
type PublishError struct {
	// Failed are the messages that were not added, or may not have been.
	Failed []*message.Message
	// Err is what is wrong with the first of them.
	Err error
}

// Error names the messages.
func (e *PublishError) Error() string {
	uuids := make([]string, len(e.Failed))
	for i, msg := range e.Failed {
		uuids[i] = msg.UUID
	}
	return fmt.Sprintf("message %s: %s", strings.Join(uuids, ", "), e.Err)
}

// Unwrap returns Err.
func (e *PublishError) Unwrap() error { return e.Err }

// addition is one Publish call.
type addition struct {
	topic string
	msgs  []*message.Message
	cmds  []redis.Cmder // of the messages, in their order
	reply chan error
	// left says that the caller gave up: what was not sent yet must not be sent later, when no one expects it.
	left atomic.Bool
}

// outcome returns the error of the call, once all of its commands are done.
func (a *addition) outcome() error {
	var failed []*message.Message
	var first error
	for i, cmd := range a.cmds {
		if err := cmd.Err(); err != nil {
			failed, first = append(failed, a.msgs[i]), cmp.Or(first, err)
		}
	}
	if len(failed) == 0 || len(failed) == len(a.msgs) {
		return first
	}
	return &PublishError{Failed: failed, Err: first}
}

package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/millrace-dev/millrace/pipeline/streams"
)

// outlet is a stage's publisher. It knows what may be done when Redis does
// not take a message: what is in the log already is left to the sweep if
// Redis is full, and waits if it is away; what is not in the log is an error,
// so that its client learns of it or it is stored in line.
type outlet struct {
	stage    Stage
	next     message.Publisher
	pressure *Pressure
	shares   *Shares
	left     prometheus.Counter
	logger   *slog.Logger
	closing  context.Context
}

func newOutlet(closing context.Context, s Stage, t Transport, a Around) *outlet {
	return &outlet{
		stage: s, next: t.Publisher, pressure: t.Pressure, shares: t.Shares, left: a.Metrics.LeftToSweep(s.Name), logger: a.Logger, closing: closing,
	}
}

// Publish sends the messages to the stage's topic, or to the one of the two
// that each was encoded for, by the lane that its project's share leaves it.
func (o *outlet) Publish(topic string, msgs ...*message.Message) error {
	for _, msg := range msgs {
		o.shares.setLane(msg)
	}
	for len(msgs) > 0 {
		to := topicOf(msgs[0], topic)
		n := 1
		for n < len(msgs) && topicOf(msgs[n], topic) == to {
			n++
		}
		if err := o.publish(to, msgs[:n]); err != nil {
			return err
		}
		msgs = msgs[n:]
	}
	return nil
}

func (o *outlet) publish(topic string, msgs []*message.Message) error {
	if o.stage.unlogged(topic) {
		return o.next.Publish(topic, msgs...)
	}
	if o.stage.Answers {
		if !o.pressure.Accepting() {
			return o.leave(msgs)
		}
		if err := o.next.Publish(topic, msgs...); err != nil {
			return o.leave(failed(err, msgs))
		}
		return nil
	}
	return o.patiently(topic, msgs)
}

// patiently publishes what the log knows: now, or when Redis is back, or by
// the sweep where Redis is full.
func (o *outlet) patiently(topic string, msgs []*message.Message) error {
	for wait := waitFirst; ; wait = min(2*wait, waitLast) {
		if o.pressure.Full() {
			return o.leave(msgs)
		}
		err := o.next.Publish(topic, msgs...)
		if err == nil {
			return nil
		}
		msgs = failed(err, msgs)
		if full(err) {
			return o.leave(msgs)
		}
		if o.closing.Err() != nil {
			return errors.Join(err, o.closing.Err())
		}
		o.logger.Warn("Redis takes no messages", "stage", o.stage.Name, "topic", topic, "error", err)
		pause(o.closing, wait)
	}
}

// leave leaves what the log knows to the sweep.
func (o *outlet) leave(msgs []*message.Message) error {
	o.left.Add(float64(len(msgs)))
	return nil
}

// failed are those of the messages that a call did not add.
func failed(err error, msgs []*message.Message) []*message.Message {
	if partial := (*streams.PublishError)(nil); errors.As(err, &partial) {
		return partial.Failed
	}
	return msgs
}

// full recognises Redis' refusal at maxmemory.
func full(err error) bool { return strings.Contains(err.Error(), "OOM command not allowed") }

// Close does nothing: the router closes a handler's publisher with the
// handler, and this one serves them all.
func (o *outlet) Close() error { return nil }

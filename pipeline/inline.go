package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/handlers"
	"github.com/millrace-dev/millrace/pipeline/streams"
)

// Inline does the work of stages outside the streams, for what the log knows
// and the streams do not: lost events, replays, dead letters driven again.
// What it passes on goes by the bulk lane, so that live traffic does not feel
// it.
type Inline struct {
	Persist   *handlers.Persist
	Fanout    *handlers.Fanout
	Publisher message.Publisher
	Pressure  *Pressure
	// Left counts what was left to the sweep.
	Left prometheus.Counter
}

// FanOut matches a stored event and passes its deliveries on. Once it
// returns nil the deliveries exist; whatever Redis did not take is found by
// the sweep.
func (i Inline) FanOut(ctx context.Context, e millrace.StoredEvent) error {
	deliveries, err := i.Fanout.Handle(ctx, e)
	if err != nil || len(deliveries) == 0 {
		return err
	}
	msgs := make([]*message.Message, len(deliveries))
	for n, d := range deliveries {
		d.Bulk = true
		if msgs[n], err = encode(Due, d); err != nil {
			return err
		}
	}
	if !i.Pressure.Open() || i.Publisher.Publish(string(Due), msgs...) != nil {
		i.Left.Add(float64(len(msgs)))
	}
	return nil
}

// Redrive does again what a dead letter of persist or fanout was dead for.
// Those of later stages have a delivery, which is resent instead.
func (i Inline) Redrive(ctx context.Context, d millrace.DeadLetter) error {
	msg := message.NewMessage("", bytes.Clone(d.Raw))
	switch d.Topic {
	case string(Ingested):
		e, err := decode[millrace.Event](msg)
		if err != nil {
			return unreadable(d, err)
		}
		stored, err := i.Persist.Handle(ctx, e)
		if err != nil {
			return err
		}
		for _, e := range stored {
			if err := i.FanOut(ctx, e); err != nil {
				return err
			}
		}
		return nil
	case string(Persisted):
		e, err := decode[millrace.StoredEvent](msg)
		if err != nil {
			return unreadable(d, err)
		}
		return i.FanOut(ctx, e)
	}
	return millrace.Errorf(millrace.CodeConflict, "a dead letter of %s cannot be driven again", d.Topic)
}

func unreadable(d millrace.DeadLetter, err error) error {
	return millrace.Errorf(millrace.CodeConflict, "dead letter %s cannot be read as a message of %s (%v); discard it", d.ID, d.Topic, err)
}

// TopicBarrier draws lines in a topic's streams.
type TopicBarrier struct {
	Transport Transport
	Topic     string
	// Stage names the stage that reads the topic.
	Stage string
}

// Mark notes what is in the topic now; the answer tells whether all of it has
// been acknowledged.
func (b TopicBarrier) Mark(ctx context.Context) (func(context.Context) (bool, error), error) {
	mark, err := streams.Position(ctx, b.Transport.Client, b.Transport.Config.Prefix, b.Topic)
	if err != nil {
		return nil, fmt.Errorf("mark %s: %w", b.Topic, err)
	}
	return func(ctx context.Context) (bool, error) {
		passed, err := streams.Passed(ctx, b.Transport.Client, Group(b.Stage), mark)
		if errors.Is(err, streams.ErrReset) {
			return false, fmt.Errorf("%s was reset: %w", b.Topic, err)
		}
		return passed, err
	}, nil
}

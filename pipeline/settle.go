package pipeline

import (
	"errors"

	"github.com/ThreeDotsLabs/watermill/message"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/pipeline/streams"
)

// settlement acts on the four outcomes of a stage's handler: values pass on,
// an error is counted and tried again, a permanent one becomes a dead letter,
// and while something is unavailable the stage waits and then goes on where
// it was.
type settlement struct {
	Around
	stage Stage
	gate  gate
	next  message.HandlerFunc
}

// settled settles what a stage's handler answers. Where a caller waits for
// the answer, every error is the answer: nothing is tried behind its back.
func (a Around) settled(s Stage, next message.HandlerFunc) message.HandlerFunc {
	if s.Answers {
		return next
	}
	return (&settlement{Around: a, stage: s, next: next}).settle
}

func (s *settlement) settle(msg *message.Message) ([]*message.Message, error) {
	var history []string
	for {
		if err := s.mayBegin(msg); err != nil {
			return nil, err
		}
		out, err := s.next(msg)
		if err != nil && millrace.IsUnavailable(err) {
			if err := s.wait(msg, err); err != nil {
				return nil, err
			}
			continue
		}
		s.gate.through()
		switch {
		case err == nil:
			return out, nil
		case millrace.IsPermanent(err):
			return nil, s.bury(msg, permanence(err), []string{err.Error()})
		case s.stage.Reads != "":
			streams.Fail(msg, err) // the transport counts it
			return nil, err
		}
		if history = append(history, err.Error()); len(history) > s.stage.Limits.MaxRedeliveries {
			return nil, s.bury(msg, string(streams.Redeliveries), history)
		}
		if err := s.again(msg, len(history)); err != nil {
			return nil, err
		}
	}
}

// mayBegin waits while the stage waits, and refuses a message that is not
// held any more.
func (s *settlement) mayBegin(msg *message.Message) error {
	if err := s.gate.wait(msg.Context()); err != nil {
		return err
	}
	if s.stage.Reads != "" && !streams.Held(msg) {
		return errNotHeld
	}
	return nil
}

// errNotHeld: this process was stopped for longer than its lease; the entry
// is another's by now, so nothing more is begun with it.
var errNotHeld = errors.New("the lease of the message has passed")

func (s *settlement) wait(msg *message.Message, cause error) error {
	s.Metrics.stage(s.stage.Name).waits.Inc()
	s.Logger.Warn("the stage waits for what it needs", "stage", s.stage.Name, "error", cause)
	return s.gate.pause(msg.Context())
}

// again waits before a source's message is tried once more in its place: no
// transport counts those.
func (s *settlement) again(msg *message.Message, failures int) error {
	l := s.stage.Limits
	pause(msg.Context(), min(l.MinBackoff<<min(failures-1, 20), l.MaxBackoff))
	return msg.Context().Err()
}

// bury keeps the message as a dead letter, however long that takes. Its
// handler does not run again meanwhile: what it did is done.
func (s *settlement) bury(msg *message.Message, reason string, history []string) error {
	d := s.deadLetter(s.stage, msg)
	d.Reason, d.Error, d.History = reason, history[len(history)-1], history
	for wait := waitFirst; ; wait = min(2*wait, waitLast) {
		err := s.keep(msg.Context(), d)
		if err == nil {
			return nil
		}
		s.Metrics.stage(s.stage.Name).waits.Inc()
		s.Logger.Warn("a dead letter cannot be written", "stage", s.stage.Name, "id", d.ID, "error", err)
		pause(msg.Context(), wait)
		if err := msg.Context().Err(); err != nil {
			return err
		}
		if err := s.mayBegin(msg); err != nil {
			return err
		}
	}
}

// permanence is why no redelivery mends a message.
func permanence(cause error) string {
	var undecodable *undecodableError
	if errors.As(cause, &undecodable) {
		return string(streams.Undecodable)
	}
	return "permanent"
}

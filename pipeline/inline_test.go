package pipeline

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/handlers"
	"github.com/millrace-dev/millrace/pipeline/streams"
)

// inlineLog is an event log that makes one delivery per event.
type inlineLog struct {
	err              error
	duplicate        bool
	appended, fanned []millrace.ID
}

func (l *inlineLog) AppendEvent(_ context.Context, e millrace.Event, _ bool) (millrace.StoredEvent, error) {
	if l.err != nil {
		return millrace.StoredEvent{}, l.err
	}
	l.appended = append(l.appended, e.ID)
	stored := millrace.StoredEvent{Event: e}
	if l.duplicate {
		stored.DuplicateOf = millrace.NewID(time.Now())
	}
	return stored, nil
}

func (l *inlineLog) FanOut(_ context.Context, f millrace.FanOut) ([]millrace.Delivery, error) {
	if l.err != nil {
		return nil, l.err
	}
	l.fanned = append(l.fanned, f.Event.ID)
	return []millrace.Delivery{{ID: millrace.NewID(time.Now()), EventID: f.Event.ID, Turn: 1}}, nil
}

func (l *inlineLog) Payload(context.Context, millrace.ID) ([]byte, error) { return nil, l.err }

// Config is an empty project's.
func (l *inlineLog) Config(context.Context, millrace.ID, int64) (*handlers.Config, error) {
	s := &millrace.Snapshot{}
	m, err := millrace.NewMatcher(s)
	return &handlers.Config{Snapshot: s, Matcher: m}, err
}

func (l *inlineLog) Latest(ctx context.Context, project millrace.ID) (*handlers.Config, error) {
	return l.Config(ctx, project, 0)
}

func (l *inlineLog) Holds(millrace.ID) bool { return false }

// lanes is a publisher that notes the lane of each message, or fails.
type lanes struct {
	err error
	got []streams.Lane
}

func (p *lanes) Publish(_ string, msgs ...*message.Message) error {
	if p.err != nil {
		return p.err
	}
	for _, msg := range msgs {
		p.got = append(p.got, streams.LaneOf(msg))
	}
	return nil
}

func (p *lanes) Close() error { return nil }

func newInline(log *inlineLog, used float64, refusal error) (Inline, *lanes) {
	out := &lanes{err: refusal}
	return Inline{
		Persist: &handlers.Persist{Log: log}, Fanout: &handlers.Fanout{Log: log, Configs: log, Holding: log}, Publisher: out,
		Pressure: pressure(used), Left: prometheus.NewCounter(prometheus.CounterOpts{Name: "left"}),
	}, out
}

func TestALostEventIsFannedOut(t *testing.T) {
	fault := errors.New("fault")
	for _, c := range []struct {
		name           string
		used           float64
		log, publisher error
		bulk, left     int
	}{
		{name: "by the bulk lane", bulk: 1},
		{name: "and its deliveries are left to the sweep where Redis is full", used: 0.9, left: 1},
		{name: "and its deliveries are left to the sweep where Redis is away", used: away, left: 1},
		{name: "and its deliveries are left to the sweep where Redis takes none", publisher: fault, left: 1},
		{name: "unless the log fails", log: fault},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := &inlineLog{err: c.log}
			i, out := newInline(log, c.used, c.publisher)
			err := i.FanOut(t.Context(), millrace.StoredEvent{Event: millrace.Event{ID: millrace.NewID(time.Now())}})
			if !errors.Is(err, c.log) || len(out.got) != c.bulk || int(value(t, i.Left)) != c.left {
				t.Errorf("%v, %v passed on, %g left", err, out.got, value(t, i.Left))
			}
			for _, lane := range out.got {
				if lane != streams.Bulk {
					t.Errorf("by the %s lane", lane)
				}
			}
		})
	}
}

func TestADeadLetterIsDrivenAgain(t *testing.T) {
	event := millrace.Event{ID: millrace.NewID(time.Now()), Payload: []byte("{}")}
	queued, err := encode(Ingested, event)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := encode(Persisted, millrace.StoredEvent{Event: event})
	if err != nil {
		t.Fatal(err)
	}
	unavailable := millrace.Unavailable(errors.New("away"))
	for _, c := range []struct {
		name             string
		topic            Topic[millrace.Event]
		raw              []byte
		log              inlineLog
		appended, fanned int
		code             millrace.Code // of the error; empty for none
	}{
		{name: "of persist: it is appended and fanned out", topic: Ingested, raw: queued.Payload, appended: 1, fanned: 1},
		{name: "of persist, and a duplicate: it is appended", topic: Ingested, raw: queued.Payload, log: inlineLog{duplicate: true}, appended: 1},
		{name: "of fanout: it is fanned out", topic: Topic[millrace.Event](Persisted), raw: stored.Payload, fanned: 1},
		{name: "unless the store is away", topic: Ingested, raw: queued.Payload, log: inlineLog{err: unavailable}, code: millrace.CodeUnavailable},
		{name: "unless persist cannot read it", topic: Ingested, raw: []byte("x"), code: millrace.CodeConflict},
		{name: "unless fanout cannot read it", topic: Topic[millrace.Event](Persisted), raw: []byte("x"), code: millrace.CodeConflict},
		{name: "unless it is a delivery's, which is resent", topic: Topic[millrace.Event](Due), raw: queued.Payload, code: millrace.CodeConflict},
	} {
		t.Run(c.name, func(t *testing.T) {
			i, _ := newInline(&c.log, 0, nil)
			err := i.Redrive(t.Context(), millrace.DeadLetter{Topic: string(c.topic), Raw: c.raw})
			if (err != nil) != (c.code != "") || err != nil && millrace.CodeOf(err) != c.code {
				t.Errorf("error %v, want code %q", err, c.code)
			}
			if len(c.log.appended) != c.appended || len(c.log.fanned) != c.fanned {
				t.Errorf("appended %v and fanned out %v", c.log.appended, c.log.fanned)
			}
		})
	}
}

func TestTheLaneOfAMessageFollowsFromItsValue(t *testing.T) {
	id := millrace.NewID(time.Now())
	lane := func(msg *message.Message, err error) streams.Lane {
		if err != nil {
			t.Fatal(err)
		}
		return streams.LaneOf(msg)
	}
	for name, c := range map[string]struct{ got, want streams.Lane }{
		"an event is live":         {lane(encode(Ingested, millrace.Event{ID: id})), streams.Live},
		"a stored event is live":   {lane(encode(Persisted, millrace.StoredEvent{})), streams.Live},
		"a replayed event is bulk": {lane(encode(Persisted, millrace.StoredEvent{ReplayID: id})), streams.Bulk},
		"a delivery is live":       {lane(encode(Due, millrace.Delivery{ID: id})), streams.Live},
		"a bulk delivery is bulk":  {lane(encode(Due, millrace.Delivery{ID: id, Bulk: true})), streams.Bulk},
	} {
		if c.got != c.want {
			t.Errorf("%s: by the %s lane", name, c.got)
		}
	}
}

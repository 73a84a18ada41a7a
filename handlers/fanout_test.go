package handlers

import (
	"cmp"
	"context"
	"errors"
	"testing"

	millrace "github.com/millrace-dev/millrace"
)

// deliveryLog makes a delivery of each target that is not held.
type deliveryLog struct {
	payload []byte
	err     error
	fanned  []millrace.FanOut
}

func (l *deliveryLog) FanOut(_ context.Context, f millrace.FanOut) ([]millrace.Delivery, error) {
	l.fanned = append(l.fanned, f)
	var out []millrace.Delivery
	for _, target := range f.Targets {
		if target.Hold == millrace.HoldNone {
			out = append(out, millrace.Delivery{EndpointID: target.EndpointID, Payload: l.payload})
		}
	}
	return out, l.err
}

func (l *deliveryLog) Payload(context.Context, millrace.ID) ([]byte, error) { return l.payload, l.err }

func TestFanoutHolds(t *testing.T) {
	for name, c := range map[string]struct {
		status millrace.EndpointStatus
		behind bool
		want   millrace.HoldReason
	}{
		"nothing for an active endpoint":                        {millrace.EndpointActive, false, millrace.HoldNone},
		"what goes to a paused endpoint":                        {millrace.EndpointPaused, false, millrace.HoldPaused},
		"what goes to a disabled endpoint":                      {millrace.EndpointInactive, false, millrace.HoldDisabled},
		"what would overtake others that are held":              {millrace.EndpointActive, true, millrace.HoldBehind},
		"for the endpoint's own reason, though others are held": {millrace.EndpointPaused, true, millrace.HoldPaused},
	} {
		t.Run(name, func(t *testing.T) {
			e := endpoint(c.status)
			log := &deliveryLog{}
			h := &Fanout{Log: log, Configs: &configs{known: newConfig(t, e)}, Holding: holding{e.ID: c.behind}}
			out, err := h.Handle(t.Context(), millrace.StoredEvent{Event: millrace.Event{ID: id(), Type: "a", Payload: []byte(`{}`)}})
			must(t, err)
			if targets := log.fanned[0].Targets; len(targets) != 1 || targets[0].Hold != c.want || targets[0].EndpointID != e.ID || targets[0].SubscriptionID == (millrace.ID{}) {
				t.Errorf("targets %+v, want hold %q", targets, c.want)
			}
			if (len(out) == 1) != (c.want == millrace.HoldNone) {
				t.Errorf("passed on %d", len(out))
			}
		})
	}
}

func TestFanoutMatchesAtTheEventsVersionOrNewer(t *testing.T) {
	log, known := &deliveryLog{}, &configs{known: newConfig(t)}
	h := &Fanout{Log: log, Configs: known, Holding: holding{}}
	_, err := h.Handle(t.Context(), millrace.StoredEvent{ConfigVersion: 5})
	must(t, err)
	if known.asked[0] != 5 || log.fanned[0].ConfigVersion != 7 {
		t.Errorf("asked for version %d, noted %d; want 5 and 7", known.asked[0], log.fanned[0].ConfigVersion)
	}
	if len(log.fanned) != 1 {
		t.Error("an event that nobody wants is not recorded as fanned out")
	}
}

func TestFanoutSendsAReplayByTheBulkLaneWithItsTrace(t *testing.T) {
	for name, replay := range map[string]millrace.ID{"live": {}, "a replay": id()} {
		t.Run(name, func(t *testing.T) {
			h := &Fanout{Log: &deliveryLog{}, Configs: &configs{known: newConfig(t, endpoint(millrace.EndpointActive))}, Holding: holding{}}
			e := millrace.StoredEvent{Event: millrace.Event{Type: "a", TraceParent: "trace"}, ReplayID: replay}
			out, err := h.Handle(t.Context(), e)
			must(t, err)
			if out[0].Bulk != (replay != millrace.ID{}) || out[0].TraceParent != "trace" {
				t.Errorf("delivery %+v", out[0])
			}
		})
	}
}

func TestFanoutFails(t *testing.T) {
	for name, c := range map[string]struct {
		config, log error
		permanent   bool
	}{
		"for good where the project is gone":          {config: refused, permanent: true},
		"for good where the log refuses":              {log: refused, permanent: true},
		"for a while where the configuration is away": {config: errAway},
		"for a while where the log is away":           {log: errAway},
	} {
		t.Run(name, func(t *testing.T) {
			h := &Fanout{Log: &deliveryLog{err: c.log}, Configs: &configs{known: newConfig(t), err: c.config}, Holding: holding{}}
			_, err := h.Handle(t.Context(), millrace.StoredEvent{})
			if !errors.Is(err, cmp.Or(c.config, c.log)) || millrace.IsPermanent(err) != c.permanent || millrace.IsUnavailable(err) == c.permanent {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestFanoutSendsALargePayloadByReference(t *testing.T) {
	for name, c := range map[string]struct {
		size        int
		byReference bool
	}{"what is at the bound travels inside": {8, false}, "what is over it stays in the log": {9, true}} {
		t.Run(name, func(t *testing.T) {
			h := &Fanout{
				Log: &deliveryLog{payload: make([]byte, c.size)}, Configs: &configs{known: newConfig(t, endpoint(millrace.EndpointActive))},
				Holding: holding{}, InlineMax: 8,
			}
			out, err := h.Handle(t.Context(), millrace.StoredEvent{Event: millrace.Event{Type: "a"}})
			must(t, err)
			if out[0].ByReference != c.byReference || (len(out[0].Payload) == 0) != c.byReference {
				t.Errorf("by reference: %v, with %d bytes", out[0].ByReference, len(out[0].Payload))
			}
		})
	}
}

func TestFanoutReadsAPayloadThatCameByReference(t *testing.T) {
	known := newConfig(t, endpoint(millrace.EndpointActive))
	known.Subscriptions[0].Filter.Body = []byte(`{"n":1}`)
	var err error
	known.Matcher, err = millrace.NewMatcher(known.Snapshot)
	must(t, err)
	e := millrace.StoredEvent{Event: millrace.Event{ID: id(), Type: "a"}, ByReference: true}
	for name, c := range map[string]struct {
		log       deliveryLog
		matched   int
		err       error
		permanent bool
	}{
		"its filters see what was stored":        {log: deliveryLog{payload: []byte(`{"n":1}`)}, matched: 1},
		"and let pass what they should":          {log: deliveryLog{payload: []byte(`{"n":2}`)}},
		"a log that is away is waited for":       {log: deliveryLog{err: errAway}, err: errAway},
		"an event that is gone is a dead letter": {log: deliveryLog{err: refused}, err: refused, permanent: true},
	} {
		t.Run(name, func(t *testing.T) {
			h := &Fanout{Log: &c.log, Configs: &configs{known: known}, Holding: holding{}, InlineMax: 8}
			out, err := h.Handle(t.Context(), e)
			if !errors.Is(err, c.err) || millrace.IsPermanent(err) != c.permanent || len(out) != c.matched {
				t.Errorf("%d deliveries and %v, want %d and %v", len(out), err, c.matched, c.err)
			}
		})
	}
}

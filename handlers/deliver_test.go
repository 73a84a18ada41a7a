package handlers

import (
	"context"
	"errors"
	"testing"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// turnLog is the log of one delivery; settling fails with the errors in turn.
type turnLog struct {
	taken    bool
	claimed  []string
	claim    error
	settle   []error
	tries    int
	facts    []millrace.Fact
	payload  string
	payloadE error
}

func (l *turnLog) Claim(_ context.Context, _ millrace.ID, _ int, entry string) (bool, error) {
	l.claimed = append(l.claimed, entry)
	return !l.taken, l.claim
}

func (l *turnLog) Settle(_ context.Context, f millrace.Fact) (bool, error) {
	if l.tries++; l.tries <= len(l.settle) {
		return false, l.settle[l.tries-1]
	}
	l.facts = append(l.facts, f)
	return true, nil
}

func (l *turnLog) Payload(context.Context, millrace.ID) ([]byte, error) {
	return []byte(l.payload), l.payloadE
}

type sink struct {
	attempt millrace.Attempt
	err     error
	sent    []millrace.Request
}

func (s *sink) Send(_ context.Context, r millrace.Request) (millrace.Attempt, error) {
	s.sent = append(s.sent, r)
	return s.attempt, s.err
}

// places counts what was taken and given back.
type places struct {
	full        bool
	taken, left int
}

func (p *places) Take(context.Context, millrace.ID) bool {
	if p.full {
		return false
	}
	p.taken++
	return true
}

func (p *places) Leave(millrace.ID) { p.left++ }

// endpointSwitch fails with the errors in turn.
type endpointSwitch struct {
	errs     []error
	disabled int
}

func (s *endpointSwitch) DisableEndpoint(context.Context, millrace.ID, millrace.ID, string) error {
	if s.disabled++; s.disabled <= len(s.errs) {
		return s.errs[s.disabled-1]
	}
	return nil
}

// delivery is a deliver stage with one endpoint and a delivery to it.
type delivery struct {
	*Deliver
	millrace.Delivery

	config   *Config
	endpoint millrace.Endpoint
	log      *turnLog
	sink     *sink
	places   *places
	disable  *endpointSwitch
	observed []millrace.Fact
}

func newDelivery(t *testing.T, status millrace.EndpointStatus, outcome millrace.Outcome) *delivery {
	t.Helper()
	e := endpoint(status)
	e.Strategy = &millrace.Strategy{Type: millrace.StrategyLinear, Base: time.Minute, Retries: 2}
	d := &delivery{config: newConfig(t, e), endpoint: e, log: &turnLog{}, sink: &sink{attempt: millrace.Attempt{Outcome: outcome}}, places: &places{}, disable: &endpointSwitch{}}
	d.Delivery = millrace.Delivery{ID: id(), ProjectID: d.config.Project.ID, EventID: id(), EndpointID: e.ID, Turn: 3, Entry: "entry", Payload: []byte("here")}
	d.Deliver = &Deliver{
		Log: d.log, Configs: &configs{known: d.config, latest: d.config}, Holding: holding{}, Places: d.places, Sink: d.sink, Endpoints: d.disable,
		Now: clock, Observe: func(_ millrace.Delivery, f millrace.Fact) { d.observed = append(d.observed, f) },
	}
	return d
}

func (d *delivery) handle(ctx context.Context) error {
	_, err := d.Handle(ctx, d.Delivery)
	return err
}

func (d *delivery) wantSent(t *testing.T, n int) {
	t.Helper()
	if len(d.sink.sent) != n {
		t.Errorf("sent %d times, want %d", len(d.sink.sent), n)
	}
	if d.places.taken != d.places.left {
		t.Errorf("took %d places and gave %d back", d.places.taken, d.places.left)
	}
}

// wantFact fails unless this one fact was recorded.
func (d *delivery) wantFact(t *testing.T, kind millrace.FactKind, decided millrace.Status, reason string) millrace.Fact {
	t.Helper()
	if len(d.log.facts) != 1 || len(d.observed) != 1 {
		t.Fatalf("recorded %+v and observed %+v, want one fact", d.log.facts, d.observed)
	}
	f := d.log.facts[0]
	if f.Kind != kind || f.Decided != decided || f.Reason != reason || f.DeliveryID != d.Delivery.ID || f.Turn != 3 || !f.At.Equal(now) {
		t.Errorf("recorded %+v, want %s %s %q of turn 3", f, kind, decided, reason)
	}
	if !d.observed[0].Counted {
		t.Error("observed as not counted")
	}
	return f
}

func TestDeliverRecordsWhatFollows(t *testing.T) {
	for name, c := range map[string]struct {
		outcome  millrace.Outcome
		after    time.Duration
		before   int // tries before this one; the strategy allows 3 in all
		disables bool
		want     millrace.Status
		at       time.Duration
		disabled int
	}{
		"a success is delivered":                              {outcome: millrace.OutcomeSuccess, want: millrace.Delivered},
		"a server error is tried again by the strategy":       {outcome: millrace.OutcomeServerError, want: millrace.Waiting, at: time.Minute},
		"a timeout is tried again by the strategy":            {outcome: millrace.OutcomeTimeout, want: millrace.Waiting, at: time.Minute},
		"a blocked destination is tried again":                {outcome: millrace.OutcomeBlocked, want: millrace.Waiting, at: time.Minute},
		"Retry-After is kept where it is later":               {outcome: millrace.OutcomeTooMany, after: time.Hour, want: millrace.Waiting, at: time.Hour},
		"the strategy is kept where Retry-After is sooner":    {outcome: millrace.OutcomeTooMany, after: time.Second, want: millrace.Waiting, at: time.Minute},
		"the last try gives up":                               {outcome: millrace.OutcomeServerError, before: 2, want: millrace.GivenUp},
		"giving up disables where the project wants that":     {outcome: millrace.OutcomeServerError, before: 2, disables: true, want: millrace.GivenUp, disabled: 1},
		"a failure that is tried again disables nothing":      {outcome: millrace.OutcomeServerError, disables: true, want: millrace.Waiting, at: time.Minute},
		"what is too large disables nothing, though given up": {outcome: millrace.OutcomeTooLarge, disables: true, want: millrace.GivenUp},
		"410 gives up at once and disables":                   {outcome: millrace.OutcomeGone, want: millrace.GivenUp, disabled: 1},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDelivery(t, millrace.EndpointActive, c.outcome)
			d.sink.attempt.RetryAfter, d.Attempts, d.config.Project.Config.DisableEndpoint = c.after, c.before, c.disables
			must(t, d.handle(t.Context()))
			d.wantSent(t, 1)
			f := d.wantFact(t, millrace.FactAttempted, c.want, "")
			if f.Attempt == nil || f.Attempt.Outcome != c.outcome {
				t.Errorf("attempt %+v", f.Attempt)
			}
			if c.want == millrace.Waiting && !f.NextAttemptAt.Equal(now.Add(c.at)) {
				t.Errorf("next attempt at %s, want %s", f.NextAttemptAt, now.Add(c.at))
			}
			if d.disable.disabled != c.disabled {
				t.Errorf("disabled %d times, want %d", d.disable.disabled, c.disabled)
			}
		})
	}
}

func TestDeliverHolds(t *testing.T) {
	for name, c := range map[string]struct {
		status                millrace.EndpointStatus
		behind, released, all bool
		want                  millrace.HoldReason
	}{
		"for a paused endpoint":                                   {status: millrace.EndpointPaused, want: millrace.HoldPaused},
		"for a disabled endpoint":                                 {status: millrace.EndpointInactive, want: millrace.HoldDisabled},
		"behind others that are held":                             {status: millrace.EndpointActive, behind: true, want: millrace.HoldBehind},
		"where all of the endpoint's places are taken":            {status: millrace.EndpointActive, all: true, want: millrace.HoldInFlight},
		"though released, where the endpoint was paused again":    {status: millrace.EndpointPaused, released: true, want: millrace.HoldPaused},
		"not what was released, though others are held behind it": {status: millrace.EndpointActive, behind: true, released: true},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDelivery(t, c.status, millrace.OutcomeSuccess)
			d.Holding, d.places.full, d.Released = holding{d.EndpointID: c.behind}, c.all, c.released
			must(t, d.handle(t.Context()))
			if c.want == millrace.HoldNone {
				d.wantSent(t, 1)
				return
			}
			d.wantSent(t, 0)
			d.wantFact(t, millrace.FactHeld, millrace.Held, string(c.want))
		})
	}
}

func TestDeliverSendsAndRecordsNothing(t *testing.T) {
	for name, c := range map[string]struct {
		spoil       func(d *delivery)
		sent        int
		err         error
		unavailable bool
		permanent   bool
	}{
		"where another has the turn":          {spoil: func(d *delivery) { d.log.taken = true }},
		"where the log is away":               {spoil: func(d *delivery) { d.log.claim = errAway }, err: errAway, unavailable: true},
		"where the sink is unavailable":       {spoil: func(d *delivery) { d.sink.err = errAway }, sent: 1, err: errAway, unavailable: true},
		"where the configuration is away":     {spoil: func(d *delivery) { d.Configs = &configs{err: errAway} }, err: errAway, unavailable: true},
		"where the project is gone, for good": {spoil: func(d *delivery) { d.Configs = &configs{err: refused} }, err: refused, permanent: true},
		"where the payload cannot be read":    {spoil: func(d *delivery) { d.ByReference, d.log.payloadE = true, errAway }, err: errAway, unavailable: true},
		"where the payload is gone, for good": {spoil: func(d *delivery) { d.ByReference, d.log.payloadE = true, refused }, err: refused, permanent: true},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDelivery(t, millrace.EndpointActive, millrace.OutcomeSuccess)
			c.spoil(d)
			err := d.handle(t.Context())
			if !errors.Is(err, c.err) || millrace.IsUnavailable(err) != c.unavailable || millrace.IsPermanent(err) != c.permanent {
				t.Errorf("error %v", err)
			}
			d.wantSent(t, c.sent)
			if len(d.log.facts) != 0 || len(d.observed) != 0 {
				t.Errorf("recorded %+v", d.log.facts)
			}
		})
	}
}

func TestDeliverClaimsForItsEntry(t *testing.T) {
	d := newDelivery(t, millrace.EndpointActive, millrace.OutcomeSuccess)
	must(t, d.handle(t.Context()))
	if len(d.log.claimed) != 1 || d.log.claimed[0] != "entry" {
		t.Errorf("claimed for %q", d.log.claimed)
	}
}

func TestDeliverCancelsWhatGoesToADeletedEndpoint(t *testing.T) {
	d := newDelivery(t, millrace.EndpointActive, millrace.OutcomeSuccess)
	d.EndpointID = id()
	must(t, d.handle(t.Context()))
	d.wantSent(t, 0)
	d.wantFact(t, millrace.FactCancelled, millrace.Cancelled, "the endpoint was deleted")
}

func TestDeliverFindsAnEndpointThatIsNewerThanWhatItKnows(t *testing.T) {
	d := newDelivery(t, millrace.EndpointActive, millrace.OutcomeSuccess)
	d.Configs = &configs{known: newConfig(t), latest: d.config}
	must(t, d.handle(t.Context()))
	d.wantSent(t, 1)
}

func TestDeliverSendsTheDeliveryWithThePayload(t *testing.T) {
	for name, c := range map[string]struct {
		byReference bool
		want        string
	}{"as it came": {false, "here"}, "from the log where it travels by reference": {true, "there"}} {
		t.Run(name, func(t *testing.T) {
			d := newDelivery(t, millrace.EndpointActive, millrace.OutcomeSuccess)
			d.ByReference, d.log.payload = c.byReference, "there"
			d.config.Project.Config.Signature.Header = "X-Signed"
			must(t, d.handle(t.Context()))
			r := d.sink.sent[0]
			if string(r.Delivery.Payload) != c.want || r.Delivery.ID != d.Delivery.ID || r.Endpoint.ID != d.endpoint.ID || r.Signature.Header != "X-Signed" {
				t.Errorf("sent %+v", r)
			}
		})
	}
}

// settling asks at the moment that a fact is written.
type settling struct {
	*turnLog
	ask func()
}

func (l settling) Settle(ctx context.Context, f millrace.Fact) (bool, error) {
	l.ask()
	return l.turnLog.Settle(ctx, f)
}

func TestAPlaceIsFreeWhileTheFactIsWritten(t *testing.T) {
	t.Parallel()
	d := newDelivery(t, millrace.EndpointActive, millrace.OutcomeSuccess)
	held := -1
	d.Deliver.Log = settling{d.log, func() { held = d.places.taken - d.places.left }}
	if err := d.handle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if held != 0 {
		t.Errorf("%d places are held while the fact is written", held)
	}
	d.wantSent(t, 1)
}

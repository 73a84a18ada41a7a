package handlers

import (
	"context"
	"errors"
	"testing"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

var (
	now     = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	errAway = millrace.Unavailable(errors.New("the store is away"))
	errOdd  = errors.New("odd")
	refused = millrace.Errorf(millrace.CodeInvalid, "refused")
)

func clock() time.Time { return now }

func id() millrace.ID { return millrace.NewID(now) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// configs answers with known, and with latest where the newest is asked for.
type configs struct {
	known, latest *Config
	err           error
	asked         []int64
}

func (c *configs) Config(_ context.Context, _ millrace.ID, atLeast int64) (*Config, error) {
	c.asked = append(c.asked, atLeast)
	return c.known, c.err
}

func (c *configs) Latest(context.Context, millrace.ID) (*Config, error) { return c.latest, c.err }

// newConfig is a project with an endpoint each, subscribed to everything.
func newConfig(t *testing.T, endpoints ...millrace.Endpoint) *Config {
	t.Helper()
	s := &millrace.Snapshot{Project: millrace.Project{ID: id(), ConfigVersion: 7}, Endpoints: map[millrace.ID]millrace.Endpoint{}}
	for _, e := range endpoints {
		s.Endpoints[e.ID] = e
		s.Subscriptions = append(s.Subscriptions, millrace.Subscription{ID: id(), EndpointID: e.ID, EventTypes: []string{"*"}})
	}
	m, err := millrace.NewMatcher(s)
	must(t, err)
	return &Config{Snapshot: s, Matcher: m}
}

func endpoint(status millrace.EndpointStatus) millrace.Endpoint {
	return millrace.Endpoint{ID: id(), Status: status, URL: "https://example.org/"}
}

type accepting bool

func (a accepting) Accepting() bool { return bool(a) }

// eventLog stores whatever comes, as a duplicate of first where that is set.
type eventLog struct {
	first    millrace.ID
	err      error
	appended []millrace.Event
	kept     []bool
}

func (l *eventLog) AppendEvent(_ context.Context, e millrace.Event, keepDuplicate bool) (millrace.StoredEvent, error) {
	if l.err != nil {
		return millrace.StoredEvent{}, l.err
	}
	l.appended, l.kept = append(l.appended, e), append(l.kept, keepDuplicate)
	return millrace.StoredEvent{Event: e, ConfigVersion: 7, DuplicateOf: l.first}, nil
}

// holding is the set of endpoints that hold deliveries.
type holding map[millrace.ID]bool

func (h holding) Holds(endpoint millrace.ID) bool { return h[endpoint] }

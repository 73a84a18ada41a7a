package handlers

import (
	"context"
	"errors"
	"testing"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// heldLog is a log with held deliveries of some endpoints.
type heldLog struct {
	endpoints []millrace.HeldEndpoint
	queued    map[millrace.ID]int
	again     map[millrace.ID]time.Duration
	err       error
}

func (l *heldLog) HeldToLookAt(context.Context, int) ([]millrace.HeldEndpoint, error) {
	return l.endpoints, l.err
}

func (l *heldLog) HeldDeliveries(_ context.Context, _ millrace.ID, limit int) ([]millrace.Due, error) {
	return make([]millrace.Due, limit), nil
}

func (l *heldLog) LookAgain(_ context.Context, seen millrace.HeldEndpoint, in time.Duration) error {
	l.again[seen.EndpointID] = in
	return nil
}

func (l *heldLog) QueuedCount(_ context.Context, endpoint millrace.ID, most int) (int, error) {
	return min(l.queued[endpoint], most), nil
}

func newRelease(known *configs, endpoints ...millrace.Endpoint) (*Release, *heldLog) {
	log := &heldLog{again: map[millrace.ID]time.Duration{}, queued: map[millrace.ID]int{}}
	for _, e := range endpoints {
		log.endpoints = append(log.endpoints, millrace.HeldEndpoint{EndpointID: e.ID})
	}
	return &Release{Held: log, Queued: log, Configs: known, Places: 5, Again: time.Second, Idle: time.Hour}, log
}

func TestReleaseLetsGo(t *testing.T) {
	for name, c := range map[string]struct {
		status        millrace.EndpointStatus
		queued, limit int
		deleted       bool
		config        error
		want          int
		again         time.Duration
	}{
		"as many as there are places":                          {status: millrace.EndpointActive, limit: 100, want: 5, again: time.Second},
		"as many as are free":                                  {status: millrace.EndpointActive, queued: 3, limit: 100, want: 2, again: time.Second},
		"none where no place is free, and looks again":         {status: millrace.EndpointActive, queued: 5, limit: 100, again: time.Second},
		"as many as were asked for":                            {status: millrace.EndpointActive, limit: 4, want: 4, again: time.Second},
		"none of a paused endpoint, and looks much later":      {status: millrace.EndpointPaused, limit: 100, again: time.Hour},
		"none of a disabled endpoint":                          {status: millrace.EndpointInactive, limit: 100, again: time.Hour},
		"what is held for a deleted endpoint, to be cancelled": {status: millrace.EndpointPaused, deleted: true, limit: 100, want: 5, again: time.Second},
		"none of a project that is gone":                       {status: millrace.EndpointActive, config: millrace.NotFound("project"), limit: 100, again: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			e := endpoint(c.status)
			known := &configs{latest: newConfig(t, e), err: c.config}
			if c.deleted {
				known.latest = newConfig(t)
			}
			r, log := newRelease(known, e)
			log.queued[e.ID] = c.queued
			due, err := r.Next(t.Context(), c.limit)
			must(t, err)
			if len(due) != c.want || log.again[e.ID] != c.again {
				t.Errorf("let %d go and looks again in %s, want %d and %s", len(due), log.again[e.ID], c.want, c.again)
			}
		})
	}
}

func TestReleaseStopsAtTheLimit(t *testing.T) {
	a, b, c := endpoint(millrace.EndpointActive), endpoint(millrace.EndpointActive), endpoint(millrace.EndpointActive)
	r, log := newRelease(&configs{latest: newConfig(t, a, b, c)}, a, b, c)
	due, err := r.Next(t.Context(), 7)
	must(t, err)
	if _, looked := log.again[c.ID]; len(due) != 7 || looked {
		t.Errorf("let %d go, want 7; looked at the endpoint beyond: %v", len(due), looked)
	}
}

func TestReleaseLooksAtNothingLaterWhileAStoreIsAway(t *testing.T) {
	e := endpoint(millrace.EndpointActive)
	r, log := newRelease(&configs{err: errAway}, e)
	if _, err := r.Next(t.Context(), 7); !errors.Is(err, errAway) || len(log.again) != 0 {
		t.Errorf("error %v, looks again %v", err, log.again)
	}
	log.err = errOdd
	if _, err := r.Next(t.Context(), 7); !errors.Is(err, errOdd) {
		t.Errorf("error %v", err)
	}
}

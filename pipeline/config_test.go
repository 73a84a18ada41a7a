package pipeline

import (
	"strings"
	"testing"
)

func TestTheDefaultsAreValid(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	if err := DefaultStreamsConfig().Validate(); err != nil {
		t.Error(err)
	}
}

func TestEveryFaultIsNamed(t *testing.T) {
	c := DefaultConfig()
	c.Ingest.Ack, c.Ingest.MaxBytes, c.Persist.Concurrency, c.Fanout.MinBackoff = "sent", 0, 0, 0
	c.Deliver.MaxRedeliveries, c.Deliver.MaxInFlightPerEndpoint, c.Retry.Timeout, c.Retry.SweepInterval = 0, 0, -1, 0
	wantNamed(t, c.Validate(), "stages.",
		"ingest.ack", "ingest.max_bytes", "persist.concurrency", "fanout.min_backoff", "deliver.max_redeliveries",
		"deliver.max_in_flight_per_endpoint", "retry.timeout", "retry.sweep_interval")
	wantNamed(t, StreamsConfig{Lease: 1, ClaimInterval: 1 << 40}.Validate(), "streams.",
		"prefix", "lease", "renew_interval", "lease and claim_interval", "max_takeovers", "shutdown_timeout", "publish_timeout")
}

func wantNamed(t *testing.T, err error, prefix string, keys ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no fault was found")
	}
	for _, key := range keys {
		if !strings.Contains(err.Error(), prefix+key+" ") {
			t.Errorf("%s%s is not named in: %v", prefix, key, err)
		}
	}
}

func TestEachStageHasItsOwnLimits(t *testing.T) {
	c := DefaultConfig()
	blocks := []*Limits{&c.Ingest.Limits, &c.Persist.Limits, &c.Fanout.Limits, &c.Deliver.Limits, &c.Retry.Limits}
	for i, l := range blocks {
		l.Concurrency = 100 + i
	}
	for i, s := range Stages(Sources{}, Handlers{}, c) {
		if s.Limits != *blocks[i] {
			t.Errorf("stage %s has the limits %+v, want %+v", s.Name, s.Limits, *blocks[i])
		}
	}
}

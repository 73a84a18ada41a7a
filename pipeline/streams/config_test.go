package streams

import (
	"errors"
	"testing"
	"time"
)

func TestSubscriberConfigFaults(t *testing.T) {
	good := SubscriberConfig{Group: "group"}
	must(t, good.Validate())
	bad := map[string]func(*SubscriberConfig){
		"no group":                             func(c *SubscriberConfig) { c.Group = "" },
		"renewed less than thrice a lease":     func(c *SubscriberConfig) { c.RenewInterval = 4 * time.Second },
		"taken over later than 15 s":           func(c *SubscriberConfig) { c.Lease = 13 * time.Second },
		"looked for later than 15 s":           func(c *SubscriberConfig) { c.ClaimInterval = 7 * time.Second },
		"a read that waits for ever":           func(c *SubscriberConfig) { c.Block = time.Hour },
		"a backoff that ends before it begins": func(c *SubscriberConfig) { c.MinBackoff, c.MaxBackoff = 2, 1 },
		"negative concurrency":                 func(c *SubscriberConfig) { c.Concurrency = -1 },
	}
	for name, spoil := range bad {
		t.Run(name, func(t *testing.T) {
			cfg := good
			spoil(&cfg)
			if cfg.Validate() == nil {
				t.Error("no fault found")
			}
			if _, err := NewSubscriber(shared.client(t), cfg); err == nil {
				t.Error("a subscriber was made of it")
			}
		})
	}
	t.Run("all faults at once", func(t *testing.T) {
		cfg := SubscriberConfig{Concurrency: -1, Block: time.Hour}
		joined, ok := cfg.Validate().(interface{ Unwrap() []error })
		if !ok || len(joined.Unwrap()) != 3 {
			t.Errorf("faults %v, want 3", cfg.Validate())
		}
	})
}

func TestPublisherConfigFaults(t *testing.T) {
	if _, err := NewPublisher(shared.client(t), PublisherConfig{Timeout: -1, MaxBatch: -1}); err == nil {
		t.Error("no fault found")
	}
	if _, err := NewPublisher(nil, PublisherConfig{}); err == nil || errors.Is(err, ErrClosed) {
		t.Errorf("error %v without a client", err)
	}
}

package httpapi

import (
	"errors"
	"fmt"
	"time"
)

// Config bounds what the API takes in. The server that it is mounted on has
// timeouts and header bounds of its own.
type Config struct {
	// MaxEventBytes bounds an event's payload, the bytes of `data`.
	MaxEventBytes int
	// MaxBatchBytes bounds the body of one batch.
	MaxBatchBytes int
	// MaxBodyBytes bounds the body of every other request.
	MaxBodyBytes int
	// BatchConcurrency is how many entries of one batch are submitted at once.
	BatchConcurrency int
	// Timeout bounds the work on one request, its body included.
	Timeout time.Duration
}

// DefaultConfig is a configuration that suits most.
func DefaultConfig() Config {
	return Config{
		MaxEventBytes:    1 << 20,
		MaxBatchBytes:    16 << 20,
		MaxBodyBytes:     1 << 20,
		BatchConcurrency: 64,
		Timeout:          30 * time.Second,
	}
}

// Validate says in the operator's words what is wrong with a configuration,
// all of it at once.
func (c Config) Validate() error {
	var faults []error
	atLeast := func(name string, got, least int) {
		if got < least {
			faults = append(faults, fmt.Errorf("%s is %d; it must be at least %d", name, got, least))
		}
	}
	atLeast("max_bytes", c.MaxEventBytes, 1)
	atLeast("max_batch_bytes", c.MaxBatchBytes, c.MaxEventBytes)
	atLeast("max_body_bytes", c.MaxBodyBytes, 1<<10)
	atLeast("batch_concurrency", c.BatchConcurrency, 1)
	if c.Timeout <= 0 {
		faults = append(faults, fmt.Errorf("timeout is %s; it must be more than 0", c.Timeout))
	}
	return errors.Join(faults...)
}

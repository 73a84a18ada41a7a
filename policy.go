package millrace

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// StrategyType names a retry strategy, from a closed list.
type StrategyType string

// The closed list of strategies.
const (
	StrategyLinear      StrategyType = "linear"      // the same delay before each retry
	StrategyExponential StrategyType = "exponential" // doubling from Base to Cap, with jitter
	StrategyList        StrategyType = "list"        // the delays of Schedule
)

// Strategy says how often and when a delivery is tried.
type Strategy struct {
	Type StrategyType
	// Base is the delay before the second try (linear: before each).
	Base time.Duration
	// Retries is how many tries follow the first; not used by a list.
	Retries int
	// Cap bounds an exponential delay; zero: DefaultCap.
	Cap time.Duration
	// Schedule is the delay before each try, the first usually 0.
	Schedule []time.Duration
}

// Jitter is how far an exponential or listed delay is spread to both sides.
const Jitter = 0.2

// DefaultCap bounds an exponential delay where the strategy names none, as in
// Convoy (max_retry_seconds 7200).
const DefaultCap = 2 * time.Hour

// Bounds of what an endpoint may ask for in Retry-After.
const (
	MinRetryAfter = time.Second
	MaxRetryAfter = 24 * time.Hour
)

// DefaultStrategy tries 10 times over 3 days.
func DefaultStrategy() Strategy {
	return Strategy{Type: StrategyList, Schedule: []time.Duration{
		0, 5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute,
		time.Hour, 3 * time.Hour, 8 * time.Hour, 20 * time.Hour, 40 * time.Hour,
	}}
}

// Tries is how many attempts the strategy allows in all.
func (s Strategy) Tries() int {
	if s.Type == StrategyList {
		return len(s.Schedule)
	}
	return s.Retries + 1
}

// Span is the longest time from the first try to the last.
func (s Strategy) Span() time.Duration {
	var span time.Duration
	for n := 1; n < s.Tries(); n++ {
		span += s.Delay(n, 1)
	}
	return span
}

// Delay is how long to wait after n tries. Spread is in [-1, 1] and places
// the delay within the jitter.
func (s Strategy) Delay(n int, spread float64) time.Duration {
	switch s.Type {
	case StrategyLinear:
		return s.Base
	case StrategyList:
		if n >= len(s.Schedule) {
			return 0
		}
		return jittered(s.Schedule[n], spread)
	}
	limit := s.Cap
	if limit == 0 {
		limit = DefaultCap
	}
	d := float64(s.Base) * math.Pow(2, float64(n-1))
	return jittered(time.Duration(min(d, float64(limit))), spread)
}

func jittered(d time.Duration, spread float64) time.Duration {
	return d + time.Duration(float64(d)*Jitter*spread)
}

// Validate says in the operator's words what is wrong with a strategy.
func (s Strategy) Validate() error {
	const longest = 30 * 24 * time.Hour
	var faults []error
	switch s.Type {
	case StrategyLinear, StrategyExponential:
		if s.Base < time.Second || s.Base > longest {
			faults = append(faults, Invalid("strategy.duration", "must be between 1 second and 30 days, not %s", s.Base))
		}
		if s.Retries < 0 || s.Retries > 1000 {
			faults = append(faults, Invalid("strategy.retry_count", "must be between 0 and 1000, not %d", s.Retries))
		}
		if s.Cap < 0 || s.Cap > longest {
			faults = append(faults, Invalid("strategy.max_retry_seconds", "must be between 0 and 30 days, not %s", s.Cap))
		}
	case StrategyList:
		if len(s.Schedule) == 0 || len(s.Schedule) > 100 {
			faults = append(faults, Invalid("strategy.schedule", "must have between 1 and 100 delays, not %d", len(s.Schedule)))
		}
		for _, d := range s.Schedule {
			if d < 0 || d > longest {
				faults = append(faults, Invalid("strategy.schedule", "has a delay of %s; each must be between 0 and 30 days", d))
			}
		}
	default:
		faults = append(faults, Invalid("strategy.type", "must be linear, exponential or list, not %q", s.Type))
	}
	return errors.Join(faults...)
}

// Decision is what follows from an attempt.
type Decision struct {
	Status  Status // Delivered, Waiting or GivenUp
	At      time.Time
	Disable bool // disable the endpoint
	// Exhausted: the last try that the policy allows has failed.
	Exhausted bool
}

// Decide is the retry policy: what follows from an attempt that ended at now,
// when tries (this one included) have been made. Spread is in [-1, 1].
func (s Strategy) Decide(a Attempt, tries int, now time.Time, spread float64) Decision {
	switch {
	case a.Outcome.Success():
		return Decision{Status: Delivered}
	case a.Outcome == OutcomeGone:
		return Decision{Status: GivenUp, Disable: true}
	case a.Outcome == OutcomeTooLarge:
		return Decision{Status: GivenUp}
	case tries >= s.Tries():
		return Decision{Status: GivenUp, Exhausted: true}
	}
	return Decision{Status: Waiting, At: now.Add(max(s.Delay(tries, spread), a.RetryAfter))}
}

// String describes the strategy for people.
func (s Strategy) String() string {
	if s.Type == StrategyList {
		return fmt.Sprintf("list %v", s.Schedule)
	}
	return fmt.Sprintf("%s from %s, %d retries", s.Type, s.Base, s.Retries)
}

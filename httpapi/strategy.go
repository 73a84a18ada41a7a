package httpapi

import (
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// strategyIn is a retry strategy as it is sent: the members that are named are
// laid over what is there.
type strategyIn struct {
	Type            member[millrace.StrategyType] `json:"type"`
	Duration        member[seconds]               `json:"duration"`
	RetryCount      member[int]                   `json:"retry_count"`
	MaxRetrySeconds member[seconds]               `json:"max_retry_seconds"`
	Schedule        member[[]seconds]             `json:"schedule"`
}

// strategyOut is a retry strategy as it is shown.
type strategyOut struct {
	Type            millrace.StrategyType `json:"type"`
	Duration        seconds               `json:"duration"`
	RetryCount      int                   `json:"retry_count"`
	MaxRetrySeconds seconds               `json:"max_retry_seconds"`
	Schedule        []seconds             `json:"schedule,omitempty"`
}

// into lays the strategy over the one that is there; nil: there is none.
func (in strategyIn) into(to **millrace.Strategy) {
	var next millrace.Strategy
	if *to != nil {
		next = **to
	}
	in.Type.into(&next.Type)
	if in.Duration.given {
		next.Base = time.Duration(in.Duration.value)
	}
	in.RetryCount.into(&next.Retries)
	if in.MaxRetrySeconds.given {
		next.Cap = time.Duration(in.MaxRetrySeconds.value)
	}
	if in.Schedule.given {
		next.Schedule = make([]time.Duration, len(in.Schedule.value))
		for i, d := range in.Schedule.value {
			next.Schedule[i] = time.Duration(d)
		}
		if !in.Type.given && next.Type == "" {
			next.Type = millrace.StrategyList
		}
	}
	*to = &next
}

func newStrategy(s *millrace.Strategy) *strategyOut {
	if s == nil {
		return nil
	}
	out := &strategyOut{Type: s.Type, Duration: seconds(s.Base), RetryCount: s.Retries, MaxRetrySeconds: seconds(s.Cap)}
	if s.Type == millrace.StrategyList {
		out.RetryCount = max(s.Tries()-1, 0)
		for _, d := range s.Schedule {
			out.Schedule = append(out.Schedule, seconds(d))
		}
	}
	return out
}

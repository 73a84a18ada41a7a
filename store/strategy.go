package store

import (
	"time"

	"github.com/millrace-dev/millrace"
)

// strategyJSON is a retry strategy as it lies in the database. Durations are
// milliseconds.
type strategyJSON struct {
	Type     millrace.StrategyType `json:"type"`
	Base     int64                 `json:"base_ms,omitempty"`
	Retries  int                   `json:"retries,omitempty"`
	Cap      int64                 `json:"cap_ms,omitempty"`
	Schedule []int64               `json:"schedule_ms,omitempty"`
}

func strategyToJSON(s *millrace.Strategy) *strategyJSON {
	if s == nil {
		return nil
	}
	j := &strategyJSON{Type: s.Type, Base: s.Base.Milliseconds(), Retries: s.Retries, Cap: s.Cap.Milliseconds()}
	for _, d := range s.Schedule {
		j.Schedule = append(j.Schedule, d.Milliseconds())
	}
	return j
}

func (j *strategyJSON) strategy() *millrace.Strategy {
	if j == nil {
		return nil
	}
	s := &millrace.Strategy{Type: j.Type, Base: fromMillis(j.Base), Retries: j.Retries, Cap: fromMillis(j.Cap)}
	for _, ms := range j.Schedule {
		s.Schedule = append(s.Schedule, fromMillis(ms))
	}
	return s
}

func fromMillis(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

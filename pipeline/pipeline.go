// Package pipeline is the spine of the gateway: which stages there are, what
// each reads and writes, and what stands around every one of them.
package pipeline

import (
	"github.com/millrace-dev/millrace/handlers"
)

// Handlers are the stages' work, each in plain Go.
type Handlers struct {
	Ingest  *handlers.Ingest
	Persist *handlers.Persist
	Fanout  *handlers.Fanout
	Deliver *handlers.Deliver
	Retry   *handlers.Retry
}

// Stages is the whole gateway: an event passes these rows from top to bottom,
// and comes back by the last one for as long as it must be tried again.
//
//	         events.ingested   events.persisted   deliveries.due
//	ingest ───────▶ persist ───────▶ fanout ───────▶ deliver ──▶ the log
//	   └───(ack: persisted)─────────▶                   ▲           │
//	                                                  retry ◀───────┘
func Stages(in Sources, h Handlers, c Config) []Stage {
	return []Stage{
		Enter("ingest", c.Ingest.Limits, in.Submissions, h.Ingest, Ingested, Persisted),
		Between("persist", c.Persist.Limits, Ingested, h.Persist, Persisted),
		Between("fanout", c.Fanout.Limits, Persisted, h.Fanout, Due),
		Last("deliver", c.Deliver.Limits, Due, h.Deliver),
		From("retry", c.Retry.Limits, in.Clock, h.Retry, Due),
	}
}

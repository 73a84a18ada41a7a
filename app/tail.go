package app

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// FactRow is what the commands read of a fact: one thing that happened to a
// delivery.
type FactRow struct {
	Kind          string     `json:"kind"`
	EventID       string     `json:"event_id"`
	EventType     string     `json:"event_type"`
	DeliveryID    string     `json:"delivery_id"`
	EndpointID    string     `json:"endpoint_id"`
	Turn          int        `json:"turn"`
	State         string     `json:"state"`
	Reason        string     `json:"reason"`
	NextAttemptAt *time.Time `json:"next_attempt_at"`
	At            time.Time  `json:"at"`
	Attempt       *struct {
		URL            string  `json:"url"`
		Outcome        string  `json:"outcome"`
		StatusCode     int     `json:"status_code"`
		Error          string  `json:"error"`
		LatencySeconds float64 `json:"latency_seconds"`
	} `json:"attempt"`
}

// Following follows the log of a project from now on.
type Following struct {
	Client *Client
	// Interval is how often the log is asked while nothing happens.
	Interval time.Duration
	// Ready is called once the log answers.
	Ready func()
	// Each hears of every fact, in the order of the log; false: enough.
	Each func(Item[FactRow]) bool
	// Away hears when the API stops answering, and with nil when it answers
	// again.
	Away func(error)
}

// factsPage is how many facts one request asks for.
const factsPage = 500

// Run follows until ctx ends or there is enough. What the API says first must
// be right; later it may be away for a while.
func (f Following) Run(ctx context.Context) error {
	cursor, _, err := f.next(ctx, "")
	if err != nil {
		return err
	}
	f.Ready()
	tick := time.NewTicker(f.Interval)
	defer tick.Stop()
	away := false
	for {
		next, facts, err := f.next(ctx, cursor)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !millrace.IsUnavailable(err) && millrace.CodeOf(err) != millrace.CodeUnavailable:
			return err
		case (err != nil) != away:
			away = err != nil
			f.Away(err)
		}
		if err == nil {
			cursor = next
		}
		for _, fact := range facts {
			if !f.Each(fact) {
				return nil
			}
		}
		if len(facts) == factsPage {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (f Following) next(ctx context.Context, after string) (cursor string, facts []Item[FactRow], err error) {
	query := url.Values{"limit": {fmt.Sprint(factsPage)}}
	if after != "" {
		query.Set("after", after)
	}
	var answer struct {
		Content []Item[FactRow] `json:"content"`
		Cursor  string          `json:"cursor"`
	}
	err = f.Client.call(ctx, request{method: http.MethodGet, path: f.Client.ofProject("/facts"), query: query}, &answer)
	return answer.Cursor, answer.Content, err
}

package millracetest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/lib/pq"

	"github.com/millrace-dev/millrace/app"
	"github.com/millrace-dev/millrace/pipeline/streams"
)

// atRest waits until nothing is on its way, stops the roles, and holds the
// gateway to what must be true whatever happened:
//
//   - every event that was answered for is stored, unless it was only queued
//     and Redis lost what it had;
//   - an idempotency key has one event, and an event × subscription × replay
//     one delivery;
//   - every delivery is final, or held by an endpoint that is looked after, or
//     has a time in the future;
//   - every receiver still has what it was last expected to get, no more;
//   - every 2xx that a receiver gave is on record, and no answer that it never
//     gave;
//   - nothing of one project reaches another;
//   - the projection equals the fold of the facts.
func (g *Gateway) atRest() {
	g.t.Helper()
	if !g.t.Failed() {
		if err := until("the gateway comes to rest", g.resting); err != nil {
			g.t.Error(err)
		}
	}
	for _, r := range slices.Backward(g.roles) {
		r.Stop()
	}
	for _, r := range g.receivers {
		r.server.Close()
	}
	if g.t.Failed() {
		return
	}
	for _, check := range []func() error{g.allStored, g.noneTwice, g.wantsHold, g.allOnRecord, g.foldsEqual} {
		if err := check(); err != nil {
			g.t.Error(err)
		}
	}
}

// resting tells what is still on its way.
func (g *Gateway) resting() error {
	if err := g.streamsDrained(); err != nil {
		return err
	}
	return g.none(
		"deliveries are on their way", `SELECT id FROM deliveries
			WHERE status = 'queued' OR (status = 'waiting' AND coalesce(next_attempt_at, '-infinity') <= now())`,
		"events were not fanned out", `SELECT id FROM events e WHERE duplicate_of IS NULL
			AND NOT EXISTS (SELECT FROM matches m WHERE m.event_id = e.id) AND NOT EXISTS (SELECT FROM dead_letters d WHERE d.event_id = e.id)`,
		"deliveries are held and nobody looks after them", `SELECT id FROM deliveries d
			WHERE status = 'held' AND NOT EXISTS (SELECT FROM held_endpoints h WHERE h.endpoint_id = d.endpoint_id)`,
	)
}

// streamsDrained tells which stream holds what no stage has acknowledged.
func (g *Gateway) streamsDrained() error {
	for topic := range g.Config.Stages.Shards() {
		for _, key := range append(g.keys(topic, streams.Live), g.keys(topic, streams.Bulk)...) {
			if err := g.streamDrained(key); err != nil {
				return err
			}
		}
	}
	return nil
}

// keys are the streams of a topic's lane.
func (g *Gateway) keys(topic string, lane streams.Lane) []string {
	return streams.Keys(g.Config.Streams.Prefix, topic, g.Config.Stages.Shards()[topic], lane)
}

func (g *Gateway) streamDrained(key string) error {
	ctx := context.Background()
	stream, err := g.Redis.Client.XInfoStream(ctx, key).Result()
	if err != nil {
		return fmt.Errorf("look at %s: %w", key, err)
	}
	groups, err := g.Redis.Client.XInfoGroups(ctx, key).Result()
	if err != nil {
		return fmt.Errorf("look at %s: %w", key, err)
	}
	for _, group := range groups {
		if group.Pending > 0 || (stream.Length > 0 && group.LastDeliveredID != stream.LastGeneratedID) {
			return fmt.Errorf("%s has unfinished entries: %d of %d pending", key, group.Pending, stream.Length)
		}
	}
	return nil
}

// noneTwice holds that there is one of each, and each in its own project.
func (g *Gateway) noneTwice() error {
	return g.none(
		"idempotency keys have two events", `SELECT min(id::text) FROM events WHERE idempotency_key <> '' AND duplicate_of IS NULL
			GROUP BY project_id, source_id, idempotency_key HAVING count(*) > 1`,
		"matches have two deliveries", `SELECT min(id::text) FROM deliveries
			GROUP BY event_id, endpoint_id, subscription_id, replay_id HAVING count(*) > 1`,
		"events do not have as many deliveries as they matched", `SELECT event_id FROM matches m
			WHERE matched <> (SELECT count(*) FROM deliveries d WHERE d.event_id = m.event_id AND d.replay_id = m.replay_id)`,
		"deliveries are in two projects", `SELECT d.id FROM deliveries d JOIN events v ON v.id = d.event_id JOIN endpoints p ON p.id = d.endpoint_id
			WHERE d.project_id <> v.project_id OR d.project_id <> p.project_id`,
	)
}

// none runs queries for what must not be: pairs of what it is, and the query
// that lists the ids.
func (g *Gateway) none(queries ...string) error {
	var faults error
	for i := 0; i+1 < len(queries); i += 2 {
		ids, err := g.list(queries[i+1])
		if err != nil {
			faults = errors.Join(faults, err)
		}
		if len(ids) > 0 {
			faults = errors.Join(faults, fmt.Errorf("%d %s: %s", len(ids), queries[i], strings.Join(ids[:min(len(ids), 5)], ", ")))
		}
	}
	return faults
}

func (g *Gateway) list(query string, args ...any) ([]string, error) {
	rows, err := g.db.QueryContext(context.Background(), query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err says what there is to say
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// allStored holds what was answered for.
func (g *Gateway) allStored() error {
	var ids []string
	for _, sent := range g.taken {
		if sent.Ack == "persisted" || !g.Redis.forgot {
			ids = append(ids, sent.UID)
		}
	}
	lost, err := g.list(`SELECT id FROM unnest($1::uuid[]) AS x(id) EXCEPT SELECT id FROM events`, pq.Array(ids))
	if err != nil || len(lost) == 0 {
		return err
	}
	return fmt.Errorf("%d of %d events were answered for and are not stored: %v", len(lost), len(ids), lost)
}

// wantsHold holds that nothing came after what was expected had come.
func (g *Gateway) wantsHold() error {
	var faults error
	for _, r := range g.receivers {
		if err := r.holds(r.Got()); err != nil {
			faults = errors.Join(faults, fmt.Errorf("at rest, endpoint %s: %w", r.EndpointID, err))
		}
	}
	return faults
}

// allOnRecord holds what the receivers saw against the log.
func (g *Gateway) allOnRecord() error {
	var faults error
	for _, r := range g.receivers {
		faults = errors.Join(faults, g.onRecord(r))
	}
	return faults
}

func (g *Gateway) onRecord(r *Receiver) error {
	got := r.Got()
	var succeeded []string
	for _, q := range got {
		if q.Status/100 == 2 {
			succeeded = append(succeeded, q.EventID)
		}
	}
	missing, err := g.list(`SELECT id FROM unnest($1::uuid[]) AS x(id) EXCEPT
		SELECT d.event_id FROM deliveries d JOIN facts f ON f.delivery_id = d.id WHERE d.endpoint_id = $2 AND f.status_code BETWEEN 200 AND 299`,
		pq.Array(succeeded), r.EndpointID)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return fmt.Errorf("%d events were answered with a 2xx that is not on record: %v", len(missing), missing)
	}
	recorded, err := g.list(`SELECT f.id FROM deliveries d JOIN facts f ON f.delivery_id = d.id WHERE d.endpoint_id = $1 AND f.status_code IS NOT NULL`, r.EndpointID)
	if err == nil && len(recorded) > len(got) {
		err = fmt.Errorf("%d answers of a receiver are on record, it gave %d", len(recorded), len(got))
	}
	return err
}

// foldsEqual is `millrace rebuild --check`.
func (g *Gateway) foldsEqual() error {
	report, err := app.Rebuild(context.Background(), g.Config, true, func(int) {})
	if err != nil {
		return err
	}
	for _, d := range report.Differences {
		err = errors.Join(err, fmt.Errorf("the projection is not the fold: %s", d))
	}
	return err
}

// delivery is what the tests read of one.
type delivery struct {
	UID      string
	State    string
	HeldFor  string `json:"held_for"`
	Metadata struct {
		NumTrials int `json:"num_trials"`
	}
}

// deliveries waits until the list has so many in the state, and answers them.
// No state: all of them.
func (g *Gateway) deliveries(state string, want int) []delivery {
	g.t.Helper()
	var found []delivery
	eventually(g.t, fmt.Sprintf("%d deliveries are %s", want, state), func() error {
		var list struct{ Content []delivery }
		if err := g.Call(http.MethodGet, "/eventdeliveries?perPage=1000", nil, &list); err != nil {
			return err
		}
		found = nil
		for _, d := range list.Content {
			if state == "" || d.State == state {
				found = append(found, d)
			}
		}
		if len(found) != want {
			return fmt.Errorf("%d are: %+v", len(found), list.Content)
		}
		return nil
	})
	return found
}

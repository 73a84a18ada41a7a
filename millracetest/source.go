package millracetest

import (
	"fmt"
	"net/http"
	"strings"
)

// Source is a source of the gateway's project.
type Source struct {
	UID    string
	MaskID string `json:"mask_id"`
	URL    string
	State  string
	Error  string

	gateway *Gateway
}

// Kafka is a source's broker as the API takes it: a topic, read as a group of
// the same name. Members may follow as name and value.
func Kafka(address, topic string, with ...any) map[string]any {
	return members(map[string]any{"type": "kafka", "kafka": map[string]any{
		"brokers": []string{address}, "topic_name": topic, "consumer_group_id": topic,
	}}, with)
}

// SQS is a source's broker as the API takes it: a queue at an address that
// stands in the place of Amazon's.
func SQS(endpoint, queue string, with ...any) map[string]any {
	return members(map[string]any{"type": "sqs", "sqs": map[string]any{
		"endpoint": endpoint, "queue_name": queue, "default_region": "eu-west-1", "access_key_id": "key", "secret_key": "secret",
	}}, with)
}

func members(of map[string]any, with []any) map[string]any {
	for i := 0; i+1 < len(with); i += 2 {
		of[with[i].(string)] = with[i+1]
	}
	return of
}

// Source makes a source that reads a broker; members of it may follow as name
// and value.
func (g *Gateway) Source(pubSub map[string]any, with ...any) *Source {
	g.t.Helper()
	s := &Source{gateway: g}
	g.Must(http.MethodPost, "/sources", members(map[string]any{"name": "broker", "type": "pub_sub", "pub_sub": pubSub}, with), s)
	return s
}

// Set changes members of the source.
func (s *Source) Set(with ...any) {
	s.gateway.t.Helper()
	s.gateway.Must(http.MethodPut, "/sources/"+s.UID, members(map[string]any{}, with), nil)
}

// Delete ends the source.
func (s *Source) Delete() {
	s.gateway.t.Helper()
	s.gateway.Must(http.MethodDelete, "/sources/"+s.UID, nil, nil)
}

// Becomes waits until the API says that the source is in a state, and that its
// error has some words.
func (s *Source) Becomes(state string, words ...string) {
	s.gateway.t.Helper()
	eventually(s.gateway.t, "the source becomes "+state, func() error {
		var now Source
		if err := s.gateway.Call(http.MethodGet, "/sources/"+s.UID, nil, &now); err != nil {
			return err
		}
		if now.State != state {
			return fmt.Errorf("it is %s (%s)", now.State, now.Error)
		}
		for _, w := range words {
			if !strings.Contains(now.Error, w) {
				return fmt.Errorf("its error is %q, which does not say %q", now.Error, w)
			}
		}
		return nil
	})
}

// stored counts the events of a source, without the duplicates.
func (s *Source) stored() (n int, err error) {
	err = s.gateway.db.QueryRow(`SELECT count(*) FROM events WHERE source_id = $1 AND duplicate_of IS NULL`, s.UID).Scan(&n)
	return n, err
}

// Stored waits until the source has brought so many events, and refuses more.
func (s *Source) Stored(want int) {
	s.gateway.t.Helper()
	eventually(s.gateway.t, fmt.Sprintf("the source's %d events are stored", want), func() error {
		n, err := s.stored()
		if err == nil && n != want {
			err = fmt.Errorf("%d are", n)
		}
		return err
	})
}

package store

import (
	"errors"
	"fmt"
	"strings"

	"github.com/lib/pq"
)

// replicas are where the read replicas are. What a URL leaves out of the schema
// it has from the primary's.
func (c Config) replicas() ([]pq.Config, error) {
	if len(c.ReadReplicas) == 0 {
		return nil, nil
	}
	primary, err := pq.NewConfig(c.URL.Reveal())
	if err != nil {
		return nil, fmt.Errorf("read postgres.url: %w", err)
	}
	var places []pq.Config
	var faults error
	met := map[string]string{replicaName(primary): "postgres.url"}
	for i, url := range c.ReadReplicas {
		at, err := replicaAt(url.Reveal())
		if err != nil {
			faults = errors.Join(faults, fmt.Errorf("postgres.read_replicas: entry %d %w", i+1, err))
			continue
		}
		name := replicaName(at)
		if other := met[name]; other != "" {
			faults = errors.Join(faults, fmt.Errorf("postgres.read_replicas: entry %d is %s, as is %s", i+1, name, other))
			continue
		}
		met[name] = fmt.Sprintf("entry %d", i+1)
		inherit(at.Runtime, primary.Runtime)
		places = append(places, at)
	}
	return places, faults
}

// replicaAt reads the URL of one server. What is wrong with it is not shown, as
// it may bear a password.
func replicaAt(url string) (pq.Config, error) {
	if !strings.HasPrefix(url, "postgres://") && !strings.HasPrefix(url, "postgresql://") {
		return pq.Config{}, errors.New("is no URL such as postgres://millrace@replica:5432/millrace")
	}
	at, err := pq.NewConfig(url)
	if err != nil {
		return at, errors.New("cannot be read: write it such as postgres://millrace@replica:5432/millrace")
	}
	if len(at.Multi) > 0 {
		return at, errors.New("names several servers: give each an entry of its own")
	}
	if at.Runtime == nil {
		at.Runtime = map[string]string{}
	}
	return at, nil
}

func inherit(into, from map[string]string) {
	const schema = "search_path"
	if _, own := into[schema]; !own && from[schema] != "" {
		into[schema] = from[schema]
	}
}

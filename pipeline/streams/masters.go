package streams

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// lookTime bounds the look at which masters there are: whoever is asked may be silent, and then what was known before must do.
const lookTime = 500 * time.Millisecond

// EachMaster calls ask for the server of client, or, all at once, for each master of its cluster. Of a cluster it returns an error only if no master could be asked:
// what lies on the others works.
func EachMaster(ctx context.Context, client redis.UniversalClient, ask func(ctx context.Context, master redis.Cmdable) error) error {
	cluster, ok := client.(*redis.ClusterClient)
	if !ok {
		return ask(ctx, client)
	}
	looking, stop := context.WithTimeout(ctx, lookTime)
	defer stop()
	var mu sync.Mutex
	var faults []error
	var answered bool
	err := cluster.ForEachMaster(looking, func(_ context.Context, master *redis.Client) error {
		err := ask(ctx, master)
		mu.Lock()
		defer mu.Unlock()
		answered = answered || err == nil
		faults = append(faults, err)
		return nil
	})
	if err != nil || answered {
		return err
	}
	return errors.Join(faults...)
}

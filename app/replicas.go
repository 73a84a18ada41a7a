package app

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millrace-dev/millrace/store"
)

// watchReplicas lets the API read from the replicas that keep up. Only a server
// has that to do: the pipeline goes by the primary.
func (p *process) watchReplicas() {
	if len(p.config.Postgres.ReadReplicas) == 0 {
		return
	}
	p.loop(func(ctx context.Context) { p.store.WatchReplicas(ctx, p.replicaTurned) })
}

func (p *process) replicaTurned(c store.ReplicaChange) {
	if c.State == store.ReplicaReady {
		p.logger.Info("a replica is read from", "replica", c.Replica)
		return
	}
	p.logger.Warn("a replica is not read from; others or the primary are", "replica", c.Replica, "state", c.State, "error", c.Why)
}

// replicas tells how the read replicas stand; those that nobody looks at here,
// as in an agent, are left out.
func (c topicCollector) replicas(gauge, count func(d *prometheus.Desc, v float64, labels ...string)) {
	s := c.process.store.Stats()
	looked := false
	for _, r := range s.Replicas {
		if r.State == "" {
			continue
		}
		looked = true
		count(readsDesc, float64(r.Reads), r.Replica)
		for _, state := range store.ReplicaStates {
			is := 0.0
			if r.State == state {
				is = 1
			}
			gauge(replicaDesc, is, r.Replica, string(state))
		}
	}
	if looked {
		count(readsDesc, float64(s.PrimaryReads), "primary")
	}
}

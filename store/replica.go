package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// ReplicaState is how a read replica stands.
type ReplicaState string

// The states of a read replica; only a ready one is read from.
const (
	// ReplicaReady has what the primary has, within postgres.max_replica_lag.
	ReplicaReady ReplicaState = "ready"
	// ReplicaBehind takes longer.
	ReplicaBehind ReplicaState = "behind"
	// ReplicaAway does not answer, or refuses.
	ReplicaAway ReplicaState = "away"
	// ReplicaPromoted takes writes: it is a primary now, or always was.
	ReplicaPromoted ReplicaState = "promoted"
	// ReplicaForeign is a replica of another database.
	ReplicaForeign ReplicaState = "foreign"
)

// ReplicaStates are all there are.
var ReplicaStates = []ReplicaState{ReplicaReady, ReplicaBehind, ReplicaAway, ReplicaPromoted, ReplicaForeign}

// Why a replica is not read from.
var (
	errBehind   = errors.New("it has not replayed what the primary has")
	errPromoted = errors.New("it is no replica: it takes writes")
	errForeign  = errors.New("it is a replica of another database than postgres.url's")
)

// replica is one read replica.
type replica struct {
	// name is its host:port/database.
	name string
	// reads are the API's connections, watch is the look's own.
	reads, watch *sqlx.DB
	wires        *wires
	served       atomic.Int64

	mu    sync.Mutex
	state ReplicaState // empty: nobody has looked yet
}

// openReplica makes the pools of a replica; nothing is connected yet.
func openReplica(c Config, at pq.Config) (*replica, error) {
	r := &replica{name: replicaName(at), wires: newWires()}
	var err error
	if r.reads, err = c.poolAt(at, r.wires, c.MaxReadConns, readParameters()); err != nil {
		return nil, fmt.Errorf("postgres.read_replicas: %s: %w", r.name, err)
	}
	if r.watch, err = c.poolAt(at, r.wires, 1, readParameters()); err != nil {
		return nil, errors.Join(fmt.Errorf("postgres.read_replicas: %s: %w", r.name, err), r.reads.Close())
	}
	return r, nil
}

func replicaName(at pq.Config) string {
	return net.JoinHostPort(at.Host, strconv.Itoa(int(at.Port))) + "/" + at.Database
}

func (r *replica) close() error { return errors.Join(r.reads.Close(), r.watch.Close()) }

// silence is how long a replica may say nothing before it is cut off.
const silence = time.Second

// observe is a connection to look at the replica by, for so long: then it is
// cut off, with all that waits for it, as a connection to a silent peer knows
// no context.
func (r *replica) observe(ctx context.Context, most time.Duration) (conn *sqlx.Conn, stop func(), err error) {
	cut := time.AfterFunc(most, r.wires.cut)
	brief, cancel := context.WithTimeout(ctx, silence/2)
	defer cancel()
	if conn, err = r.watch.Connx(brief); err != nil {
		cut.Stop()
		return nil, nil, err
	}
	return conn, func() {
		cut.Stop()
		_ = conn.Close() // back to the pool
	}, nil
}

func (r *replica) ready() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state == ReplicaReady
}

// turn notes the state, and tells whether it is another one.
func (r *replica) turn(to ReplicaState) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed := r.state != to
	r.state = to
	return changed
}

// replayed is how far a replica is.
type replayed struct {
	Recovering bool     `db:"recovering"`
	At         position `db:"at"`
}

const selectReplayed = `
	SELECT pg_is_in_recovery() AS recovering, (coalesce(pg_last_wal_replay_lsn(), '0/0') - '0/0'::pg_lsn)::bigint AS at`

// await waits, for a time, until the server behind a connection has replayed
// what is before the line, and answers how far it is. The same connection must
// then be read from: only that one is known to lead to a server which is that
// far.
func await(ctx context.Context, conn *sqlx.Conn, line position, lag time.Duration) (position, error) {
	const longest = 16 * time.Millisecond
	end := time.Now().Add(lag)
	for pause := time.Millisecond; ; pause = min(2*pause, longest) {
		var now replayed
		if err := conn.GetContext(ctx, &now, selectReplayed); err != nil {
			return 0, err
		}
		switch {
		case !now.Recovering:
			return now.At, errPromoted
		case now.At >= line:
			return now.At, nil
		}
		left := time.Until(end)
		if left <= 0 {
			return now.At, errBehind
		}
		if !rest(ctx, min(pause, left)) {
			return now.At, ctx.Err()
		}
	}
}

// rest waits; false: the context ended.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// identity is what a database and its replicas have in common, and no others.
type identity struct {
	System   int64 `db:"system"` // 0: this user may not know
	Database int64 `db:"database"`
	Events   int64 `db:"events"` // the table of that name
}

// identify asks a server who it is.
func identify(ctx context.Context, from sqlx.QueryerContext) (identity, error) {
	var who identity
	err := sqlx.GetContext(ctx, from, &who, `
		SELECT 0 AS system, d.oid::bigint AS database, coalesce(to_regclass('events')::oid::bigint, 0) AS events
		FROM pg_database d WHERE d.datname = current_database()`)
	if err != nil {
		return who, err
	}
	err = sqlx.GetContext(ctx, from, &who.System, `SELECT system_identifier FROM pg_control_system()`)
	if pgCode(err) == "42501" { // insufficient privilege
		err = nil
	}
	return who, err
}

// sameDatabase tells whether both are one database, as far as is known.
func (i identity) sameDatabase(other identity) bool {
	return (i.System == 0 || other.System == 0 || i.System == other.System) && i.Database == other.Database
}

// same tells whether both have the same tables, too: a replica that has
// replayed all has them.
func (i identity) same(other identity) bool { return i.sameDatabase(other) && i.Events == other.Events }

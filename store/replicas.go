package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"
)

const (
	// lookEvery is how often each replica is looked at.
	lookEvery = 500 * time.Millisecond
)

// errNoLine says that it is the primary which does not answer.
var errNoLine = errors.New("the primary does not say how far its log goes")

// replicas are the read replicas, and who of them is read from. The zero
// replicas are none.
type replicas struct {
	all    []*replica
	line   *primaryLine
	maxLag time.Duration
	next   atomic.Uint32
	// primary counts the reads that no replica served.
	primary atomic.Int64
	said    atomic.Pointer[func(ReplicaChange)]
}

// ReplicaChange is news of a read replica.
type ReplicaChange struct {
	// Replica is its host:port/database.
	Replica string
	State   ReplicaState
	// Why says why it is not read from; nil of a ready one.
	Why error
}

// openReplicas makes the pools of all replicas.
func openReplicas(c Config, primary *sqlx.DB) (*replicas, error) {
	rs := &replicas{line: newPrimaryLine(primary), maxLag: c.MaxReplicaLag}
	places, err := c.replicas()
	for _, at := range places {
		r, fault := openReplica(c, at)
		if fault != nil {
			err = errors.Join(err, fault)
			continue
		}
		rs.all = append(rs.all, r)
	}
	if err != nil {
		return nil, errors.Join(err, rs.close())
	}
	return rs, nil
}

func (rs *replicas) close() error {
	var err error
	for _, r := range rs.all {
		err = errors.Join(err, r.close())
	}
	return err
}

// reader is a pool or a connection that a read may go to.
type reader interface {
	sqlx.QueryerContext
	BeginTxx(ctx context.Context, options *sql.TxOptions) (*sqlx.Tx, error)
}

// read runs a read on a replica that has everything committed before the call,
// or else on the primary: docs/adr/0020. The function may run a second time,
// and must begin anew then.
func (s *Store) read(ctx context.Context, run func(from reader) error) error {
	if len(s.replicas.all) == 0 {
		return run(s.reads)
	}
	if served, err := s.replicas.read(ctx, run); served {
		return err
	}
	s.replicas.primary.Add(1)
	return run(s.reads)
}

// read tells whether the outcome is the read's own. If not, the replica could
// not serve it.
func (rs *replicas) read(ctx context.Context, run func(from reader) error) (served bool, err error) {
	r := rs.pick()
	if r == nil {
		return false, nil
	}
	conn, err := rs.reach(ctx, r)
	if err == nil {
		defer func() { _ = conn.Close() }() // back to the pool
		err = run(conn)
	}
	if err == nil || refuses(err) {
		r.served.Add(1)
		return true, err
	}
	if state, known := stateOf(err); known && ctx.Err() == nil {
		rs.note(r, state, err)
	}
	return false, nil
}

// pick is the next replica that is ready; nil: none is.
func (rs *replicas) pick() *replica {
	first := int(rs.next.Add(1) % uint32(len(rs.all)))
	for i := range rs.all {
		if r := rs.all[(first+i)%len(rs.all)]; r.ready() {
			return r
		}
	}
	return nil
}

// reach draws a line behind all that is committed and answers with a connection
// to the replica once that has replayed it.
func (rs *replicas) reach(ctx context.Context, r *replica) (*sqlx.Conn, error) {
	brief, cancel := context.WithTimeout(ctx, rs.maxLag)
	defer cancel()
	line, err := rs.line.draw(brief)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoLine, err)
	}
	conn, err := r.reads.Connx(brief)
	if err != nil {
		return nil, err
	}
	if _, err := await(ctx, conn, line, rs.maxLag); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// stateOf is what a failure says of a replica. Not known: nothing, as when a
// statement was cancelled for the sake of what is replayed, or no connection
// was free.
func stateOf(err error) (state ReplicaState, known bool) {
	switch {
	case errors.Is(err, errBehind):
		return ReplicaBehind, true
	case errors.Is(err, errPromoted):
		return ReplicaPromoted, true
	case errors.Is(err, errForeign):
		return ReplicaForeign, true
	case errors.Is(err, errNoLine), errors.Is(err, context.DeadlineExceeded), !isAway(err):
		return "", false
	}
	p := pqError(err)
	return ReplicaAway, p == nil || p.Code.Class() == "08" || p.Code.Class() == "57" && p.Code != "57014"
}

// note turns a replica to a state, and says so if it is another one.
func (rs *replicas) note(r *replica, state ReplicaState, why error) {
	if !r.turn(state) {
		return
	}
	if said := rs.said.Load(); said != nil {
		(*said)(ReplicaChange{Replica: r.name, State: state, Why: why})
	}
}

// WatchReplicas looks at the read replicas until ctx ends, and says each change
// of their states; before it runs, the primary is read from alone. What it says
// it to must be quick.
func (s *Store) WatchReplicas(ctx context.Context, said func(ReplicaChange)) {
	rs := s.replicas
	rs.said.Store(&said)
	var watching sync.WaitGroup
	for _, r := range rs.all {
		watching.Go(func() {
			rs.look(ctx, r)
			for rest(ctx, lookEvery) {
				rs.look(ctx, r)
			}
		})
	}
	watching.Wait()
}

// look finds out how a replica stands. While the primary does not answer,
// nothing is found out.
func (rs *replicas) look(ctx context.Context, r *replica) {
	err := rs.judge(ctx, r)
	state, known := stateOf(err)
	switch {
	case err == nil:
		rs.note(r, ReplicaReady, nil)
	case ctx.Err() != nil || errors.Is(err, errNoLine):
	case known:
		rs.note(r, state, err)
	default:
		rs.note(r, ReplicaAway, err)
	}
}

// judge says why a replica cannot be read from.
func (rs *replicas) judge(ctx context.Context, r *replica) error {
	line, err := rs.line.draw(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoLine, err)
	}
	conn, stop, err := r.observe(ctx, rs.maxLag+silence)
	if err != nil {
		return err
	}
	defer stop()
	at, err := await(ctx, conn, line, rs.maxLag)
	if err != nil || r.ready() {
		return err
	}
	return rs.recognise(ctx, conn, at)
}

// recognise refuses a server that has replayed as much and is not a replica of
// the primary.
func (rs *replicas) recognise(ctx context.Context, conn *sqlx.Conn, at position) error {
	mine, err := identify(ctx, rs.line.primary)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoLine, err)
	}
	line, err := rs.line.draw(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoLine, err)
	}
	theirs, err := identify(ctx, conn)
	switch {
	case err != nil:
		return err
	case !theirs.same(mine), at > line: // nobody has what the primary has not
		return errForeign
	}
	return nil
}

// CheckReplicas refuses read replicas that can never serve: those of another
// database. One that does not answer now is left to WatchReplicas.
func (s *Store) CheckReplicas(ctx context.Context) error {
	if len(s.replicas.all) == 0 {
		return nil
	}
	mine, err := identify(ctx, s.reads)
	if err != nil {
		return mapError(err, "ask PostgreSQL who it is")
	}
	faults := make([]error, len(s.replicas.all))
	var checks sync.WaitGroup
	for i, r := range s.replicas.all {
		checks.Go(func() {
			conn, stop, err := r.observe(ctx, silence)
			if err != nil {
				return
			}
			defer stop()
			if theirs, err := identify(ctx, conn); err == nil && !theirs.sameDatabase(mine) {
				faults[i] = fmt.Errorf("postgres.read_replicas: %s: %w", r.name, errForeign)
			}
		})
	}
	checks.Wait()
	return errors.Join(faults...)
}

// ReplicaStats is how a read replica stands, and what it has done since the
// start.
type ReplicaStats struct {
	Replica string
	State   ReplicaState // empty: nobody has looked yet
	Reads   int64
}

func (rs *replicas) stats() []ReplicaStats {
	all := make([]ReplicaStats, len(rs.all))
	for i, r := range rs.all {
		r.mu.Lock()
		all[i] = ReplicaStats{Replica: r.name, State: r.state, Reads: r.served.Load()}
		r.mu.Unlock()
	}
	return all
}

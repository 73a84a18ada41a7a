package store

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
)

const (
	// leadRetry is how often one who waits asks for the lock.
	leadRetry = 2 * time.Second
	// leadPing is how often one who has it shows that it lives.
	leadPing = 2 * time.Second
	// leadIdle is after what silence PostgreSQL takes the lock away. A leader
	// knows sooner: a ping and its answer's bound (the statement's second and
	// readMargin) are shorter.
	leadIdle = "10s"
)

// Leadership is a lock that one process at a time has. It is lost with its
// connection.
type Leadership struct {
	db   *sqlx.DB
	conn *sqlx.Conn
	lost chan struct{}
	quit context.CancelFunc
	ping sync.WaitGroup
}

// Lead waits until this process has the lock of the name, and keeps it until
// Close, or until its connection is lost (Done). It gives up with the context.
func (s *Store) Lead(ctx context.Context, name string) (*Leadership, error) {
	c := s.config
	c.StatementTimeout, c.Application = time.Second, c.Application+" leader "+name
	db, err := c.pool(1, map[string]string{"idle_session_timeout": leadIdle})
	if err != nil {
		return nil, err
	}
	again := time.NewTicker(leadRetry)
	defer again.Stop()
	for {
		if conn := tryLead(ctx, db, name); conn != nil {
			return keepLead(db, conn), nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), db.Close())
		}
	}
}

// tryLead asks for the lock once; nil: someone else has it, or PostgreSQL is
// away.
func tryLead(ctx context.Context, db *sqlx.DB, name string) *sqlx.Conn {
	conn, err := db.Connx(ctx)
	if err != nil {
		return nil
	}
	var mine bool
	err = conn.GetContext(ctx, &mine, `SELECT pg_try_advisory_lock(hashtextextended('millrace.lead.' || current_schema() || '.' || $1, 0))`, name)
	if err == nil && mine {
		return conn
	}
	_ = conn.Close() // back to its pool of one, for the next try
	return nil
}

func keepLead(db *sqlx.DB, conn *sqlx.Conn) *Leadership {
	ctx, quit := context.WithCancel(context.Background())
	l := &Leadership{db: db, conn: conn, lost: make(chan struct{}), quit: quit}
	l.ping.Go(func() {
		defer close(l.lost)
		l.pingAll(ctx)
	})
	return l
}

// pingAll pings until a ping fails or the context ends.
func (l *Leadership) pingAll(ctx context.Context) {
	tick := time.NewTicker(leadPing)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if _, err := l.conn.ExecContext(context.Background(), `SELECT 1`); err != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// Done is closed when the lock is lost, or given back.
func (l *Leadership) Done() <-chan struct{} { return l.lost }

// Close gives the lock back.
func (l *Leadership) Close() error {
	l.quit()
	l.ping.Wait()
	// The connection may be gone already, and the lock with it; closing the
	// pool of one ends the session, which gives the lock back.
	_ = l.conn.Close()
	return l.db.Close()
}

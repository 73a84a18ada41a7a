package store

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// readMargin is how much longer than the statement's own timeout an answer
// may take before its connection is taken for dead.
const readMargin = 3 * time.Second

// readParameters keep reads off scans of whole partitions, and off sorting all
// that an index would have in order, where statistics are not there yet.
func readParameters() map[string]string {
	return map[string]string{"enable_seqscan": "off", "enable_bitmapscan": "off", "jit": "off"}
}

// appendParameters keep the plans of the appends from flipping while the
// statistics of a new partition are empty: rows are found by index, always,
// by one plan for all flushes.
func appendParameters() map[string]string {
	return map[string]string{
		"enable_seqscan":   "off",
		"enable_hashjoin":  "off",
		"enable_mergejoin": "off",
		"jit":              "off",
		"plan_cache_mode":  "force_generic_plan",
	}
}

// claimParameters let a claim be answered before it is on disk: one that a
// crash of PostgreSQL loses only leaves its turn unclaimed, to be claimed
// again (docs/adr/0003).
func claimParameters() map[string]string {
	parameters := appendParameters()
	parameters["synchronous_commit"] = "off"
	return parameters
}

// pool makes a pool of at most n connections to the primary, with these
// run-time parameters besides the usual ones.
func (c Config) pool(n int, parameters map[string]string) (*sqlx.DB, error) {
	at, err := pq.NewConfig(c.URL.Reveal())
	if err != nil {
		return nil, fmt.Errorf("read postgres.url: %w", err)
	}
	db, err := c.poolAt(at, nil, n, parameters)
	if err != nil {
		return nil, fmt.Errorf("read postgres.url: %w", err)
	}
	return db, nil
}

// poolAt makes a pool of connections to one server. With wires, they can be
// cut.
func (c Config) poolAt(at pq.Config, w *wires, n int, parameters map[string]string) (*sqlx.DB, error) {
	connector, err := c.connector(at, w, parameters)
	if err != nil {
		return nil, err
	}
	db := sqlx.NewDb(sql.OpenDB(connector), "postgres")
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	db.SetConnMaxIdleTime(5 * time.Minute)
	return db, nil
}

func (c Config) connector(at pq.Config, w *wires, parameters map[string]string) (*pq.Connector, error) {
	dsn := at.Clone()
	dsn.BinaryParameters = true
	if dsn.Runtime == nil {
		dsn.Runtime = map[string]string{}
	}
	for name, value := range parameters {
		dsn.Runtime[name] = value
	}
	if dsn.ApplicationName == "" {
		dsn.ApplicationName = c.Application
	}
	dsn.Runtime["TimeZone"] = "UTC"
	limit := time.Duration(0)
	if c.StatementTimeout > 0 {
		ms := strconv.FormatInt(c.StatementTimeout.Milliseconds(), 10)
		dsn.Runtime["statement_timeout"] = ms
		dsn.Runtime["idle_in_transaction_session_timeout"] = ms
		limit = c.StatementTimeout + readMargin
	}
	connector, err := pq.NewConnectorConfig(dsn)
	if err != nil {
		return nil, err
	}
	connector.Dialer(dialer{Dialer: net.Dialer{Timeout: c.ConnectTimeout}, limit: limit, wires: w})
	return connector, nil
}

// dialer makes connections that notice a silent peer: PostgreSQL bounds each
// statement, so an answer that takes longer than that will never come.
type dialer struct {
	net.Dialer
	limit time.Duration // zero: none
	wires *wires        // nil: nobody cuts them
}

// Dial connects without a context of the caller's.
func (d dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialTimeout connects within the given time.
func (d dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

// DialContext connects and puts the bound on every read and write.
func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.Dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if d.limit > 0 {
		conn = &boundedConn{Conn: conn, limit: d.limit}
	}
	if d.wires != nil {
		conn = d.wires.add(conn)
	}
	return conn, nil
}

// boundedConn fails a read or a write that takes longer than its limit.
type boundedConn struct {
	net.Conn
	limit time.Duration
}

// Read waits for bytes at most as long as the limit.
func (c *boundedConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

// Write waits for room at most as long as the limit.
func (c *boundedConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

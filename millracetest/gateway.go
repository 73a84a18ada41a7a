// Package millracetest boots the real gateway, with receivers that misbehave
// and stores that break, for tests that read like the promise they prove:
//
//	gw := millracetest.New(t)
//	r := gw.Receiver(Replies(500, 500, 200))
//	gw.Send(Event("order.paid"))
//	r.Want(Attempts(3), SameID())
//
// When a test is over, whatever it did, the gateway must come to rest and
// hold its invariants; see Gateway.atRest.
package millracetest

import (
	"database/sql"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/app"
	"github.com/millrace-dev/millrace/pipeline/streams/redistest"
	"github.com/millrace-dev/millrace/store"
	"github.com/millrace-dev/millrace/store/storetest"
)

// Main runs a package's tests and leaves nothing behind:
// `os.Exit(millracetest.Main(m))`.
func Main(m *testing.M) int {
	app.LogRedis(logger())
	code := storetest.Main(m, known()...)
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	return code
}

// known are the goroutines that others leave behind.
func known() []goleak.Option {
	return []goleak.Option{
		// The client of Pub/Sub brings a library that begins to count when it is loaded.
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"),
		// It looks every ten seconds whether its stream has ended, and then ends.
		goleak.IgnoreTopFunction("cloud.google.com/go/pubsub/v2.(*messageIterator).streamKeepAliveHandler"),
		// Convoy's SDK has no way to close its writer to Kafka.
		goleak.IgnoreAnyFunction("github.com/segmentio/kafka-go.(*Writer).spawn.func1"),
		goleak.IgnoreAnyFunction("github.com/segmentio/kafka-go.(*conn).run"),
		goleak.IgnoreAnyFunction("github.com/segmentio/kafka-go.(*connPool).discover"),
	}
}

// Gateway is a running Millrace with a schema and a redis-server of its own.
type Gateway struct {
	t      testing.TB
	Access app.DevAccess
	Config app.Config
	Redis  *Redis
	// Cluster and Sentinels are nil unless the test wants Redis that way.
	Cluster   *redistest.Cluster
	Sentinels *redistest.Sentinels
	// Postgres is nil where the test has a schema of a shared server.
	Postgres *storetest.Server
	Server   *Role
	Agent    *Role
	Egress   *Role
	// Spare is the second egress of a gateway with TwoEgresses.
	Spare *Role

	settings []string
	apart    bool
	spare    string // the address of a second egress
	roles    []*Role
	client   *http.Client
	db       *sql.DB

	mu        sync.Mutex
	taken     []Sent
	receivers []*Receiver
}

// Setup changes a gateway before it starts.
type Setup func(*Gateway)

// Set makes settings as an operator does: "stages.deliver.concurrency=7".
func Set(settings ...string) Setup {
	return func(g *Gateway) { g.settings = append(g.settings, settings...) }
}

// Apart runs each role as a process of its own, of the real program, which
// can be killed.
func Apart() Setup { return func(g *Gateway) { g.apart = true } }

// OwnPostgres gives the gateway a PostgreSQL that can be stopped and killed.
func OwnPostgres() Setup {
	return func(g *Gateway) { g.Postgres = storetest.Own(g.t) }
}

// OnCluster gives the gateway a Redis Cluster of three masters.
func OnCluster() Setup {
	return func(g *Gateway) {
		g.Cluster = redistest.NewCluster(g.t)
		g.Redis = &Redis{t: g.t, url: g.Cluster.URL(), Client: g.Cluster.Client}
	}
}

// OnSentinels gives the gateway a Redis with a replica, and Sentinels that
// promote it.
func OnSentinels() Setup {
	return func(g *Gateway) {
		g.Sentinels = redistest.NewSentinels(g.t)
		g.Redis = &Redis{t: g.t, url: g.Sentinels.URL(), Client: g.Sentinels.Client}
		g.settings = append(g.settings, "redis.sentinel_master="+redistest.MasterName, "redis.sentinel_password="+redistest.SentinelPassword)
	}
}

// TwoEgresses gives the agent a second proxy beside Egress.
func TwoEgresses() Setup { return func(g *Gateway) { g.spare = address(g.t) } }

// New boots a gateway with a project in it.
func New(t testing.TB, setups ...Setup) *Gateway {
	t.Helper()
	g := &Gateway{t: t, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	t.Cleanup(g.client.CloseIdleConnections)
	for _, change := range setups {
		change(g)
	}
	if g.Redis == nil {
		g.Redis = newRedis(t)
	}
	g.configure()
	g.db = storetest.DB(t, g.Config.Postgres.URL.Reveal())
	made, err := app.CreateProject(t.Context(), g.Config, t.Name())
	if err != nil {
		t.Fatal(err)
	}
	g.Access = app.DevAccess{URL: "http://" + g.Config.Server.Listen, ProjectID: made.ProjectID, APIKey: made.APIKey}
	t.Cleanup(g.atRest)
	if g.spare != "" {
		g.Spare = g.newRole("egress", "egress.listen="+g.spare)
	}
	g.Egress, g.Server, g.Agent = g.newRole("egress"), g.newRole("server"), g.newRole("agent")
	return g
}

// AnotherAgent starts one more agent, which is a process of its own.
func (g *Gateway) AnotherAgent() *Role {
	g.t.Helper()
	if !g.apart {
		g.t.Fatal("two agents of one process would be one consumer: make the gateway with Apart")
	}
	return g.newRole("agent")
}

// AnotherServer starts one more server, which has an address of its own: a
// load goes there if it says so.
func (g *Gateway) AnotherServer() *Role {
	g.t.Helper()
	if !g.apart {
		g.t.Fatal("roles of one process have one address: make the gateway with Apart")
	}
	listen := address(g.t)
	r := g.newRole("server", "server.listen="+listen)
	r.url = "http://" + listen
	return r
}

// configure is a gateway on free ports, with times short enough for a test.
// What the test set wins.
func (g *Gateway) configure() {
	g.t.Helper()
	egress := address(g.t)
	proxies := "http://" + egress
	if g.spare != "" {
		proxies += ",http://" + g.spare
	}
	g.settings = append([]string{
		"postgres.url=" + g.database(), "postgres.max_read_conns=6", "postgres.statement_timeout=2s",
		"redis.url=" + g.Redis.url, "secrets.keys=" + app.NewRingKey(), "server.listen=" + address(g.t),
		"egress.listen=" + egress, "egress.proxies=" + proxies, "egress.allow_loopback=true",
		"streams.prefix=" + prefix, "streams.publish_timeout=1s", "stages.retry.poll_interval=100ms", "stages.retry.sweep_interval=300ms", "stages.retry.sweep_grace=4s",
	}, g.settings...)
	var err error
	if g.Config, err = app.Load(app.DefaultConfig(), app.Origins{Flags: g.settings}); err != nil {
		g.t.Fatal(err)
	}
}

// database is the URL of a migrated schema.
func (g *Gateway) database() string {
	g.t.Helper()
	if g.Postgres == nil {
		return storetest.Migrated(g.t)
	}
	url := g.Postgres.URL()
	if err := store.Migrate(g.t.Context(), millrace.Sensitive(url), store.Up); err != nil {
		g.t.Fatal(err)
	}
	return url
}

// address is one of the loopback that nobody listens on now.
func address(t testing.TB) string {
	t.Helper()
	port, err := storetest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", port)
}

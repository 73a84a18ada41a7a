package millracetest

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/millrace-dev/millrace/app"
	"github.com/millrace-dev/millrace/pipeline"
)

// places bounds how many deliveries an endpoint may have under way.
func places(n int) func(*app.Config) {
	return func(c *app.Config) { c.Stages.Deliver.MaxInFlightPerEndpoint = n }
}

// flood sends so many events, some at once, and calls half way in the middle.
// A client whose server is away tries again under the same key.
func (g *Gateway) flood(events int, ack string, half func()) []string {
	g.t.Helper()
	ids := make([]string, events)
	var clients sync.WaitGroup
	middle := make(chan struct{})
	tickets := make(chan int, events)
	for i := range events {
		tickets <- i
	}
	close(tickets)
	var once sync.Once
	for range 16 {
		clients.Go(func() {
			for i := range tickets {
				if i == events/2 {
					once.Do(func() { close(middle) })
				}
				eventually(g.t, "the event is taken", func() error {
					var sent Sent
					err := g.Call(http.MethodPost, "/events", Event("order.paid"), &sent, "Prefer", "ack="+ack)
					ids[i] = sent.UID
					return err
				})
			}
		})
	}
	<-middle
	half()
	clients.Wait()
	return ids
}

func TestRestartsInTheMiddleLoseAndRepeatNothing(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver()
	ids := gw.flood(2000, "queued", func() {
		gw.Agent.Restart()
		gw.Server.Restart()
		gw.Egress.Restart()
	})
	r.Want(Came(ids...))
	// A request that the stopping server cut off may have been taken: its
	// client sent it again, which is another event. No event came twice.
	r.Want(Once())
}

func TestANewStageTuningInTheMiddleLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver()
	ids := gw.flood(1000, "queued", func() {
		for _, n := range []int{3, 40} {
			tune := func(c *app.Config) {
				c.Stages.Ingest.Concurrency, c.Stages.Persist.Concurrency, c.Stages.Fanout.Concurrency, c.Stages.Deliver.Concurrency = n, n, n, n
			}
			gw.Server.Reload(tune)
			gw.Agent.Reload(tune)
		}
	})
	r.Want(Events(ids...), Once())
}

func TestFlushAllInTheMiddleLosesNothingThatWasPersisted(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver()
	ids := gw.flood(600, "persisted", func() {
		for range 5 {
			if err := gw.Redis.Client.FlushAll(context.Background()).Err(); err != nil {
				t.Error(err)
			}
		}
	})
	r.Want(Came(ids...), Once())
}

func TestWithoutRedisEventsArePersistedAndGoOutWhenItIsBack(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver()
	gw.Redis.Kill()
	var ids []string
	for range 20 {
		eventually(t, "the event is taken", func() error {
			var sent Sent
			if err := gw.Call(http.MethodPost, "/events", Event("order.paid"), &sent); err != nil {
				return err
			}
			if sent.Ack != "persisted" {
				t.Errorf("answered as %s without a Redis", sent.Ack)
			}
			ids = append(ids, sent.UID)
			return nil
		})
	}
	gw.Redis.Start()
	r.Want(Came(ids...), Once())
}

func TestAnUndecodableEntryIsADeadLetterAndTheRestFlows(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver()
	stream := gw.Config.Streams.Prefix + string(pipeline.Persisted)
	add := &redis.XAddArgs{Stream: stream, Values: []string{"nonsense", "\x00\xff"}}
	if err := gw.Redis.Client.XAdd(context.Background(), add).Err(); err != nil {
		t.Fatal(err)
	}
	sent := gw.Send(Event("order.paid"))
	r.Want(Events(sent.UID), Once())
	made, err := app.CreateInstanceKey(t.Context(), gw.Config, app.NewKey{Name: "support"})
	if err != nil {
		t.Fatal(err)
	}
	client := app.NewClient(app.DevAccess{URL: gw.Access.URL, ProjectID: gw.Access.ProjectID, APIKey: made.APIKey}, "test")
	defer client.Close()
	eventually(t, "the dead letter is listed and discarded", func() error {
		letters, err := client.DeadLetters(t.Context(), app.DeadLetterFilter{Instance: true})
		if err != nil {
			return err
		}
		if len(letters) != 1 || letters[0].Is.Reason != "undecodable" || letters[0].Is.Stage != "fanout" {
			return fmt.Errorf("dead letters are %+v", letters)
		}
		_, err = client.Discard(t.Context(), letters[0].Is.ID, true)
		return err
	})
}

func TestWithoutEgressNoAttemptIsChargedAndDeliveriesGoOutWhenItIsBack(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver()
	gw.Egress.Stop()
	sent := gw.Send(Event("order.paid"))
	d := gw.deliveries("", 1)[0]
	if n := d.Metadata.NumTrials; n != 0 {
		t.Errorf("%d tries were charged without an egress", n)
	}
	gw.Egress.Start()
	r.Want(Events(sent.UID), Attempts(1))
	if d := gw.deliveries("?status=Success", 1)[0]; d.Metadata.NumTrials != 1 {
		t.Errorf("%d tries were charged", d.Metadata.NumTrials)
	}
}

// agentEnv makes the test binary an agent: a process that can be killed. Its
// value is the settings, one a line.
const agentEnv = "MILLRACE_TEST_AGENT"

func TestMain_Agent(t *testing.T) {
	settings := os.Getenv(agentEnv)
	if settings == "" {
		return // it is a test like the others
	}
	c, err := app.Load(app.DefaultConfig(), app.Origins{Flags: strings.Split(settings, "\n")})
	if err != nil {
		t.Fatal(err)
	}
	logger := app.NewLogger(app.LogConfig{Level: "error", Format: "text"}, os.Stderr)
	if err := app.Run(context.Background(), c, app.Options{Agent: true, Version: "test", Logger: logger}); err != nil {
		t.Fatal(err)
	}
}

// process runs the agent role in a process of its own.
func (g *Gateway) process() *exec.Cmd {
	g.t.Helper()
	c := g.Config
	cmd := exec.Command(os.Args[0], "-test.run", "^TestMain_Agent$")
	settings := []string{
		"postgres.url=" + c.Postgres.URL.Reveal(), "redis.url=" + c.Redis.URL.Reveal(), "secrets.keys=" + c.Secrets.Keys[0].Reveal(),
		"egress.proxies=" + c.Egress.Proxies[0], "postgres.statement_timeout=2s", "streams.publish_timeout=1s", "postgres.max_read_conns=6",
		"stages.retry.sweep_grace=4s", "stages.retry.sweep_interval=300ms", "stages.retry.poll_interval=100ms",
	}
	cmd.Env = append(os.Environ(), agentEnv+"="+strings.Join(settings, "\n"))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func TestAnAgentThatIsKilledLosesNothing(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver()
	gw.Agent.Stop()
	agent := gw.process()
	ids := gw.flood(500, "queued", func() {
		eventually(t, "the agent works", func() error {
			if len(r.Got()) < 20 {
				return errNotYet
			}
			return nil
		})
		_ = agent.Process.Kill()
		_ = agent.Wait()
		gw.Agent.Start()
	})
	r.Want(Came(ids...))
	bytes := map[string]string{}
	for _, q := range r.Got() {
		if before, again := bytes[q.EventID]; again && before != q.Body {
			t.Errorf("event %s came again with other bytes", q.EventID)
		}
		bytes[q.EventID] = q.Body
	}
}

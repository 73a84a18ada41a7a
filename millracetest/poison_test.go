package millracetest

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/millrace-dev/millrace/app"
	"github.com/millrace-dev/millrace/pipeline"
)

func TestAnUndecodableEntryIsADeadLetterAndTheRestFlows(t *testing.T) {
	t.Parallel()
	for stage, topic := range map[string]string{
		"persist": string(pipeline.Ingested), "fanout": string(pipeline.Persisted), "deliver": string(pipeline.Due),
	} {
		t.Run(stage, func(t *testing.T) {
			gw := New(t)
			r := gw.Receiver()
			add := &redis.XAddArgs{Stream: prefix + topic, Values: []string{"nonsense", "\x00\xff"}}
			if err := gw.Redis.Client.XAdd(t.Context(), add).Err(); err != nil {
				t.Fatal(err)
			}
			r.Want(Events(gw.Send(Event("order.paid")).UID), Once())
			client := gw.operator()
			d := gw.deadLetter(client, true)
			if d.Reason != "undecodable" || d.Stage != stage {
				t.Errorf("it is %+v", d)
			}
			shown, err := client.DeadLetter(t.Context(), d.ID, true)
			if err != nil || !strings.Contains(string(shown.Is.Raw), "\x00\xff") {
				t.Errorf("its bytes are %q, %v", shown.Is.Raw, err)
			}
			if _, err := client.Discard(t.Context(), d.ID, true); err != nil {
				t.Fatal(err)
			}
			if left, err := client.DeadLetters(t.Context(), app.DeadLetterFilter{Instance: true}); err != nil || len(left) != 0 {
				t.Errorf("after it was discarded there are %v, %v", left, err)
			}
		})
	}
}

func TestAMessageThatAlwaysFailsIsADeadLetterAndCanBeDrivenAgain(t *testing.T) {
	t.Parallel()
	for stage, trigger := range map[string]string{
		"persist": `INSERT ON events FOR EACH ROW WHEN (NEW.type = 'poison')`,
		"fanout":  `INSERT ON deliveries FOR EACH ROW WHEN (NEW.event_type = 'poison')`,
		"deliver": `UPDATE OF claimed_by ON deliveries FOR EACH ROW WHEN (NEW.event_type = 'poison' AND NEW.claimed_by IS NOT NULL)`,
	} {
		t.Run(stage, func(t *testing.T) {
			gw := New(t, Set("stages."+stage+".max_redeliveries=2", "stages."+stage+".min_backoff=20ms"))
			r := gw.Receiver()
			gw.refuse(trigger)
			var good []string
			for range 10 {
				good = append(good, gw.Send(Event("order.paid")).UID)
			}
			bad := gw.Send(Event("poison")).UID
			for range 10 {
				good = append(good, gw.Send(Event("order.paid")).UID)
			}
			r.Want(Events(good...), Once())
			client := app.NewClient(gw.Access, "test")
			defer client.Close()
			d := gw.deadLetter(client, false)
			if d.Stage != stage || d.EventID != bad || len(d.History) == 0 || !strings.Contains(d.Error, "poison") {
				t.Errorf("it is %+v", d)
			}
			gw.execute(`DROP FUNCTION refuse CASCADE`)
			if _, err := client.Redrive(t.Context(), d.ID, false); err != nil {
				t.Fatal(err)
			}
			r.Want(Events(append(good, bad)...), Once())
			if err := gw.Call(http.MethodPost, "/dead-letters/"+d.ID+"/redrive", nil, nil); Refused(err).Status != http.StatusConflict {
				t.Errorf("to redrive it again got %v", err)
			}
		})
	}
}

// refuse lets PostgreSQL refuse what is poison, for its own sake, in a way
// that no one foresaw.
func (g *Gateway) refuse(trigger string) {
	g.t.Helper()
	g.execute(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN RAISE EXCEPTION 'poison' USING ERRCODE = '23999'; END $$;
		CREATE TRIGGER refuse BEFORE ` + trigger + ` EXECUTE FUNCTION refuse()`)
}

// execute changes the schema, again where that meets the gateway's own work in
// a deadlock.
func (g *Gateway) execute(statement string) {
	g.t.Helper()
	eventually(g.t, "the schema is changed", func() error {
		_, err := g.db.ExecContext(context.Background(), statement)
		return err
	})
}

// operator is a client with an instance key.
func (g *Gateway) operator() *app.Client {
	g.t.Helper()
	made, err := app.CreateInstanceKey(g.t.Context(), g.Config, app.NewKey{Name: "operator"})
	if err != nil {
		g.t.Fatal(err)
	}
	access := g.Access
	access.APIKey = made.APIKey
	client := app.NewClient(access, "test")
	g.t.Cleanup(client.Close)
	return client
}

// deadLetter waits for the one that there is.
func (g *Gateway) deadLetter(client *app.Client, instance bool) app.DeadLetterRow {
	g.t.Helper()
	var found app.DeadLetterRow
	eventually(g.t, "there is a dead letter", func() error {
		letters, err := client.DeadLetters(context.Background(), app.DeadLetterFilter{Instance: instance})
		if err != nil {
			return err
		}
		if len(letters) != 1 {
			return fmt.Errorf("there are %+v", letters)
		}
		found = letters[0].Is
		return nil
	})
	return found
}

package millracetest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	convoy "github.com/frain-dev/convoy-go/v2"
	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func TestAnEventIsDeliveredOnceWithTheSameBytesAndVerifies(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver()
	for _, data := range []string{
		"{ \"spaces\" :\t[ 1 ,\n\r 2 ] }",
		`{"big":12345678901234567890.10,"small":1e-400,"exact":1.10,"negative":-0}`,
		`{"escaped":"h\u00e9 \ud83d\ude00 \/ \u003c","plain":"hé 😀 / <","joined":"e\u0301"}`,
		`{"twice":1,"twice":2,"":{}}`,
		`"text"`, `0`, `[]`, `true`,
		`{"large":"` + strings.Repeat("0123456789abcdef", 20_000) + `"}`,
	} {
		sent, err := gw.Try("/events", `{"event_type":"order.paid","data":`+data+`}`)
		if err != nil {
			t.Fatal(err)
		}
		r.Want(Came(sent.UID))
		got := r.Got()[len(r.Got())-1]
		if got.Body != data || got.EventID != sent.UID {
			t.Errorf("event %s arrived as %s:\n%q, want\n%q", sent.UID, got.EventID, got.Body, data)
		}
		if err := verified(r, got); err != nil {
			t.Error(err)
		}
	}
	r.Want(Once())
}

// verified checks a request as receivers do, by the libraries they have.
func verified(r *Receiver, got Request) error {
	library, err := standard.NewWebhook(r.Secret)
	if err != nil {
		return err
	}
	if err := library.Verify([]byte(got.Body), got.Header); err != nil {
		return fmt.Errorf("the Standard Webhooks library says of %q: %w", got.Body, err)
	}
	sdk := convoy.NewWebhook(&convoy.WebhookOpts{Secret: r.Secret})
	if err := sdk.VerifyPayload([]byte(got.Body), got.Header.Get("X-Convoy-Signature")); err != nil {
		return fmt.Errorf("Convoy's SDK says of %q: %w", got.Body, err)
	}
	return nil
}

func TestAReceiverGetsWhatTheSenderAddedAndBothSecretsWhileItRollsThem(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver()
	old := r.Secret
	var endpoint struct{ Secrets []struct{ Value string } }
	gw.Must(http.MethodPut, "/endpoints/"+r.EndpointID+"/expire_secret", map[string]any{"expiration": 1}, &endpoint)
	if len(endpoint.Secrets) != 2 {
		t.Fatalf("there are %d secrets", len(endpoint.Secrets))
	}
	event := Event("order.paid", "custom_headers", map[string]string{"X-Tenant": "7"})
	if _, err := gw.Try("/events", event, "Idempotency-Key", "order-1"); err != nil {
		t.Fatal(err)
	}
	got := r.Want(Attempts(1))[0]
	if got.Header.Get("X-Tenant") != "7" || got.Header.Get("X-Convoy-Idempotency-Key") != "order-1" || got.Header.Get("Content-Type") != "application/json" {
		t.Errorf("it came with %v", got.Header)
	}
	for _, secret := range []string{old, endpoint.Secrets[0].Value, endpoint.Secrets[1].Value} {
		if strings.Contains(secret, "*") {
			continue // an older one is shown in part
		}
		r.Secret = secret
		if err := verified(r, got); err != nil {
			t.Errorf("by one of two live secrets: %v", err)
		}
	}
}

func TestAFailedDeliveryIsTriedAgainUnderTheSameID(t *testing.T) {
	t.Parallel()
	for name, replies := range map[string][]int{
		"after errors":                    {500, 500, 200},
		"after connections that were cut": {Cut, Cut, 200},
		"after answers that never came":   {Hang, Hang, 200},
	} {
		t.Run(name, func(t *testing.T) {
			gw := New(t)
			r := gw.Receiver(Replies(replies...), Tries(5), Endpoint("http_timeout", 5))
			gw.Send(Event("order.paid"))
			got := r.Want(Attempts(3), SameID())
			if gw.deliveries("delivered", 1)[0].Metadata.NumTrials != 3 {
				t.Error("three tries are not on record")
			}
			for _, q := range got {
				if err := verified(r, q); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestAPolicyThatEndsGivesUp(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver(Replies(500), Tries(3))
	gw.Send(Event("order.paid"))
	r.Want(Attempts(3), SameID())
	gw.deliveries("given_up", 1)
}

func TestEventsReachTheRightEndpointsOnly(t *testing.T) {
	t.Parallel()
	gw := New(t)
	anna, ben := gw.Receiver(Owner("anna")), gw.Receiver(Owner("ben"))
	orders := gw.Receiver(Owner("anna"), Types("order.*"))
	exact := gw.Receiver(Owner("ben"), Types("order.paid", "user.made"))
	rich := gw.Receiver(Owner("ben"), Body(map[string]any{"amount": map[string]any{"$gt": 100}}))
	alone := gw.Receiver(Unsubscribed())
	owned := gw.SendTo("/events/fanout", Event("user.made", "owner_id", "anna")).UID
	poor := gw.SendTo("/events/fanout", Event("user.made", "owner_id", "ben", "data", map[string]any{"amount": 100})).UID
	all := gw.SendTo("/events/broadcast", Event("order.paid", "data", map[string]any{"amount": 200})).UID
	every := gw.Send(Event("order.sent")).UID
	one := gw.Send(Event("user.gone", "endpoint_id", ben.EndpointID)).UID
	direct := gw.Send(Event("user.gone", "endpoint_id", alone.EndpointID)).UID
	anna.Want(Events(owned, all, every), Once())
	ben.Want(Events(poor, all, every, one), Once())
	orders.Want(Events(all, every), Once())
	exact.Want(Events(poor, all), Once())
	rich.Want(Events(all), Once())
	alone.Want(Events(direct), Once())
}

func TestAnUnmatchedEventIsVisible(t *testing.T) {
	t.Parallel()
	gw := New(t)
	gw.Receiver(Types("order.*"))
	gw.unmatched(gw.Send(Event("user.made")).UID)
	gw.deliveries("", 0)
}

func TestAnIdempotencyKeyOfManyClientsIsOneEvent(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver()
	ids := make([]string, 50)
	var firsts atomic.Int64
	var clients sync.WaitGroup
	for i := range ids {
		clients.Go(func() {
			sent, err := gw.Try("/events", Event("order.paid", "idempotency_key", "order-1"))
			if err != nil {
				t.Error(err)
			}
			ids[i] = sent.UID
			if !sent.Duplicate {
				firsts.Add(1)
			}
		})
	}
	clients.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("two ids for one key: %s and %s", ids[0], id)
		}
	}
	if n := firsts.Load(); n != 1 {
		t.Errorf("%d of 50 were told to be the first", n)
	}
	_, err := gw.Try("/events", Event("order.paid", "idempotency_key", "order-1", "data", 2))
	if Refused(err).Status != http.StatusConflict {
		t.Errorf("another body under the key got %v", err)
	}
	r.Want(Attempts(1), Events(ids[0]))
}

func TestResendAndReplayDeliverAgain(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver()
	sent := gw.Send(Event("order.paid"))
	r.Want(Attempts(1))
	d := gw.deliveries("delivered", 1)[0]
	gw.Must(http.MethodPut, "/eventdeliveries/"+d.UID+"/resend", nil, nil)
	r.Want(Attempts(2), SameID())
	gw.Must(http.MethodPut, "/events/"+sent.UID+"/replay", nil, nil)
	r.Want(Attempts(3), SameID())
	gw.deliveries("delivered", 2)
	gw.Must(http.MethodPost, "/eventdeliveries/forceresend", map[string]any{"ids": []string{d.UID}}, nil)
	for _, q := range r.Want(Attempts(4), SameID()) {
		if q.Body != `{"n":1}` {
			t.Errorf("it came as %q", q.Body)
		}
		if err := verified(r, q); err != nil {
			t.Error(err)
		}
	}
}

func TestAReplayMeetsWhoSubscribedSince(t *testing.T) {
	t.Parallel()
	gw := New(t)
	early := gw.Receiver()
	sent := gw.Send(Event("order.paid")).UID
	early.Want(Attempts(1))
	late := gw.Receiver()
	gw.Must(http.MethodPut, "/events/"+sent+"/replay", nil, nil)
	late.Want(Attempts(1), Events(sent))
	early.Want(Attempts(2), SameID())
}

func TestACancelledDeliveryIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver(Replies(500), Endpoint("strategy", map[string]any{"type": "list", "schedule": []int{0, 3600}}))
	gw.Send(Event("order.paid"))
	r.Want(Attempts(1))
	d := gw.deliveries("waiting", 1)[0]
	gw.Must(http.MethodPost, "/eventdeliveries/"+d.UID+"/cancel", nil, nil)
	gw.deliveries("cancelled", 1)
	if err := gw.Call(http.MethodPost, "/eventdeliveries/"+d.UID+"/cancel", nil, nil); Refused(err).Status != http.StatusConflict {
		t.Errorf("to cancel what is cancelled got %v", err)
	}
	r.Answer(200)
	gw.Must(http.MethodPut, "/eventdeliveries/"+d.UID+"/resend", nil, nil)
	r.Want(Attempts(2), SameID())
}

func TestABatchIsAsManyEvents(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver()
	events := make([]map[string]any, 200)
	for i := range events {
		events[i] = Event("order.paid", "data", json.RawMessage(fmt.Sprint(i)))
	}
	events[7] = map[string]any{"data": 7}
	var lines []struct {
		Index, Status int
		UID           string
	}
	gw.Must(http.MethodPost, "/events/batch", map[string]any{"events": events}, &lines)
	var ids []string
	for i, line := range lines {
		if taken := line.Status/100 == 2; line.Index != i || taken != (i != 7) {
			t.Errorf("line %d is %+v", i, line)
		}
		if line.UID != "" {
			ids = append(ids, line.UID)
		}
	}
	if len(ids) != 199 {
		t.Fatalf("%d of 200 were taken, want all but the faulty one", len(ids))
	}
	r.Want(Events(ids...), Once())
}

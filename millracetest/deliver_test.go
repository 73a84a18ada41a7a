package millracetest

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	convoy "github.com/frain-dev/convoy-go/v2"
	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/millrace-dev/millrace/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

func TestAnEventIsDeliveredOnceWithTheSameBytesAndVerifies(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver()
	data := "{ \"big\": 12345678901234567890.10,\n\t\"text\":\"h\\u00e9 \u2603\" ,\"twice\":1, \"twice\":2 }"
	var sent Sent
	gw.Must(http.MethodPost, "/events", `{"event_type":"order.paid","data":`+data+`}`, &sent)
	got := r.Want(Attempts(1))[0]
	if got.Body != data || got.EventID != sent.UID {
		t.Errorf("event %s arrived as %s:\n%q, want\n%q", sent.UID, got.EventID, got.Body, data)
	}
	library, err := standard.NewWebhook(r.Secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := library.Verify([]byte(got.Body), got.Header); err != nil {
		t.Errorf("the Standard Webhooks library: %v", err)
	}
	sdk := convoy.NewWebhook(&convoy.WebhookOpts{Secret: r.Secret})
	if err := sdk.VerifyPayload([]byte(got.Body), got.Header.Get("X-Convoy-Signature")); err != nil {
		t.Errorf("Convoy's SDK: %v", err)
	}
}

func TestAFailedDeliveryIsTriedAgainUnderTheSameID(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver(Replies(500, 500, 200), Endpoint("strategy", quick(5)))
	gw.Send(Event("order.paid"))
	r.Want(Attempts(3), SameID())
	gw.deliveries("?status=Success", 1)
}

// quick is a retry policy that does not keep a test waiting.
func quick(tries int) map[string]any {
	return map[string]any{"type": "list", "schedule": make([]int, tries)}
}

// deliveries waits until the list has so many, and answers them.
func (g *Gateway) deliveries(query string, want int) []delivery {
	g.t.Helper()
	var list struct{ Content []delivery }
	eventually(g.t, fmt.Sprintf("%d deliveries of %s", want, query), func() error {
		if err := g.Call(http.MethodGet, "/eventdeliveries"+query, nil, &list); err != nil {
			return err
		}
		if len(list.Content) != want {
			return fmt.Errorf("there are %d: %+v", len(list.Content), list.Content)
		}
		return nil
	})
	return list.Content
}

type delivery struct {
	UID      string
	State    string
	HeldFor  string `json:"held_for"`
	Metadata struct {
		NumTrials int `json:"num_trials"`
	}
}

func TestAPolicyThatEndsGivesUp(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver(Replies(500), Endpoint("strategy", quick(3)))
	gw.Send(Event("order.paid"))
	r.Want(Attempts(3), SameID())
	if d := gw.deliveries("?status=Failure", 1)[0]; d.State != "given_up" {
		t.Errorf("it is %s", d.State)
	}
}

func TestEventsReachTheRightEndpointsOnly(t *testing.T) {
	t.Parallel()
	gw := New(t)
	anna, ben := gw.Receiver(Owner("anna")), gw.Receiver(Owner("ben"))
	orders := gw.Receiver(Owner("anna"), Types("order.*"))
	rich := gw.Receiver(Owner("ben"), Body(map[string]any{"amount": map[string]any{"$gt": 100}}))
	owned := gw.SendTo("/events/fanout", Event("user.made", "owner_id", "anna")).UID
	all := gw.SendTo("/events/broadcast", Event("order.paid", "data", map[string]any{"amount": 200})).UID
	one := gw.Send(Event("user.gone", "endpoint_id", ben.EndpointID)).UID
	anna.Want(Events(owned, all), Once())
	ben.Want(Events(all, one), Once())
	orders.Want(Events(all), Once())
	rich.Want(Events(all), Once())
}

func TestAnUnmatchedEventIsVisible(t *testing.T) {
	t.Parallel()
	gw := New(t)
	gw.Receiver(Types("order.*"))
	sent := gw.Send(Event("user.made"))
	var e struct{ Matched *int }
	eventually(t, "it shows that nothing matched", func() error {
		if err := gw.Call(http.MethodGet, "/events/"+sent.UID, nil, &e); err != nil {
			return err
		}
		if e.Matched == nil || *e.Matched != 0 {
			return errNotYet
		}
		return nil
	})
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
			sent := gw.Send(Event("order.paid", "idempotency_key", "order-1"))
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
	err := gw.Call(http.MethodPost, "/events", Event("order.paid", "idempotency_key", "order-1", "data", 2), nil)
	if StatusOf(err) != http.StatusConflict {
		t.Errorf("another body under the key got %v", err)
	}
	r.Want(Attempts(1), Events(ids[0]))
}

func TestAPausedEndpointHoldsAndThenGetsEverything(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver()
	gw.Must(http.MethodPut, "/endpoints/"+r.EndpointID+"/pause", nil, nil)
	var ids []string
	for range 30 {
		ids = append(ids, gw.Send(Event("order.paid")).UID)
	}
	for _, d := range gw.deliveries("?status=Scheduled&perPage=100", 30) {
		if d.State != "held" && d.State != "queued" {
			t.Errorf("a delivery to a paused endpoint is %s", d.State)
		}
	}
	gw.held(30)
	if got := r.Got(); len(got) != 0 {
		t.Errorf("%d came to a paused endpoint", len(got))
	}
	gw.Must(http.MethodPut, "/endpoints/"+r.EndpointID+"/pause", nil, nil)
	r.Want(Events(ids...), Once())
}

// held waits until so many deliveries are held.
func (g *Gateway) held(want int) {
	g.t.Helper()
	eventually(g.t, fmt.Sprintf("%d are held", want), func() error {
		var list struct{ Content []delivery }
		if err := g.Call(http.MethodGet, "/eventdeliveries?status=Scheduled&perPage=1000", nil, &list); err != nil {
			return err
		}
		held := 0
		for _, d := range list.Content {
			if d.State == "held" {
				held++
			}
		}
		if held != want {
			return fmt.Errorf("%d are", held)
		}
		return nil
	})
}

func TestResendAndReplayDeliverAgain(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver()
	sent := gw.Send(Event("order.paid"))
	r.Want(Attempts(1))
	d := gw.deliveries("?status=Success", 1)[0]
	gw.Must(http.MethodPut, "/eventdeliveries/"+d.UID+"/resend", nil, nil)
	r.Want(Attempts(2), SameID())
	gw.Must(http.MethodPut, "/events/"+sent.UID+"/replay", nil, nil)
	r.Want(Attempts(3), SameID())
	gw.deliveries("?status=Success", 2)
}

func TestGoneDisablesTheEndpointAndActivatingItSendsWhatWasHeld(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver(Replies(http.StatusGone))
	first := gw.Send(Event("order.paid")).UID
	r.Want(Attempts(1))
	eventually(t, "the endpoint is inactive", func() error {
		var e struct{ Status string }
		if err := gw.Call(http.MethodGet, "/endpoints/"+r.EndpointID, nil, &e); err != nil || e.Status != "inactive" {
			return fmt.Errorf("%s, %v", e.Status, err)
		}
		return nil
	})
	second := gw.Send(Event("order.paid")).UID
	gw.held(1)
	r.Answer(http.StatusOK)
	gw.Must(http.MethodPost, "/endpoints/"+r.EndpointID+"/activate", nil, nil)
	r.Want(Events(first, second), Attempts(2))
}

func TestDeletingAnEndpointCancelsWhatIsOpen(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver()
	gw.Must(http.MethodPut, "/endpoints/"+r.EndpointID+"/pause", nil, nil)
	for range 5 {
		gw.Send(Event("order.paid"))
	}
	gw.held(5)
	gw.Must(http.MethodDelete, "/endpoints/"+r.EndpointID, nil, nil)
	for _, d := range gw.deliveries("?status=Discarded", 5) {
		if d.State != "cancelled" {
			t.Errorf("a delivery of a deleted endpoint is %s", d.State)
		}
	}
}

func TestASlowEndpointHoldsItsOwnAndOthersDoNotFeelIt(t *testing.T) {
	t.Parallel()
	gw := New(t, places(2))
	slow := gw.Receiver(Slow(700*time.Millisecond), Types("slow"))
	quick := gw.Receiver(Types("quick"))
	var slows, quicks []string
	for range 8 {
		slows = append(slows, gw.Send(Event("slow")).UID)
		quicks = append(quicks, gw.Send(Event("quick")).UID)
	}
	quick.Want(Events(quicks...), Once())
	slow.Want(Events(slows...), Once())
}

func TestTheTraceReachesTheEndpoint(t *testing.T) {
	t.Parallel()
	gw := New(t)
	r := gw.Receiver()
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	if err := gw.Call(http.MethodPost, "/events", Event("order.paid"), nil, "traceparent", trace); err != nil {
		t.Fatal(err)
	}
	if got := r.Want(Attempts(1))[0].Header.Get("traceparent"); !strings.Contains(got, "4bf92f3577b34da6a3ce929d0e0e4736") {
		t.Errorf("the endpoint got traceparent %q", got)
	}
}

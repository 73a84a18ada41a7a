package bench

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// spoilt is the number of the event that a fake gateway may spoil: one of those
// whose signatures are checked.
const spoilt = `"n":"00000128"`

// fakeGateway delivers each event as it should, but for that one.
type fakeGateway struct {
	t       *testing.T
	to      string
	spoil   func(g *fakeGateway, d fakeDelivery) // nil: none
	sending sync.WaitGroup
}

type fakeDelivery struct {
	to, id string
	body   []byte
	secret string
}

func (g *fakeGateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var e struct {
		Data json.RawMessage `json:"data"`
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(body, &e) != nil {
		g.t.Errorf("an event cannot be read: %v, %s", err, body)
	}
	d := fakeDelivery{to: g.to, id: uuid.NewString(), body: e.Data, secret: secret}
	g.sending.Go(func() {
		if g.spoil != nil && bytes.Contains(body, []byte(spoilt)) {
			g.spoil(g, d)
			return
		}
		g.deliver(d)
	})
	w.WriteHeader(http.StatusCreated)
	_, _ = fmt.Fprintf(w, `{"status":true,"data":{"uid":%q}}`, d.id)
}

func (g *fakeGateway) deliver(d fakeDelivery) {
	now := time.Now()
	hook, err := standardwebhooks.NewWebhook(d.secret)
	if err != nil {
		g.t.Error(err)
		return
	}
	signature, err := hook.Sign(d.id, now, d.body)
	if err != nil {
		g.t.Error(err)
		return
	}
	q, err := http.NewRequest(http.MethodPost, d.to, bytes.NewReader(d.body))
	if err != nil {
		g.t.Error(err)
		return
	}
	q.Header.Set("Webhook-Id", d.id)
	q.Header.Set("Webhook-Timestamp", fmt.Sprint(now.Unix()))
	q.Header.Set("Webhook-Signature", signature)
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		g.t.Error(err)
		return
	}
	_ = answer.Body.Close()
}

// drive runs a closed loop against a fake gateway.
func drive(t *testing.T, g *fakeGateway) error {
	t.Helper()
	b, r := against(t, g)
	_, err := b.exact(t.Context(), r)
	http.DefaultClient.CloseIdleConnections()
	return err
}

// against is a benchmark of a fake gateway, and a closed loop to run.
func against(t *testing.T, g *fakeGateway) (*bench, run) {
	t.Helper()
	receiver, err := newReceiver("127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(receiver.close)
	o := DefaultOptions()
	o.Clients, o.patience = 4, time.Second
	b := &bench{options: o, receiver: receiver}
	l := b.newLine(1)
	l.ways = []way{{path: "/events", before: `{"data":`}}
	g.t, g.to = t, receiver.endpoint(l.number, 0)
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	a, err := newAPI(server.URL, "key")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{name: "fake", api: a, ids: true, signs: true, settle: func(context.Context) error { g.sending.Wait(); return nil }}
	return b, run{name: "fake", site: s, line: l.number, plan: b.plan(s, l, "", 200), pace: pace{events: 300, window: 16}}
}

// TestADeliveryTooManyIsAFailureHoweverLate holds that a run is not safe once it
// was reconciled.
func TestADeliveryTooManyIsAFailureHoweverLate(t *testing.T) {
	again := make(chan fakeDelivery, 1)
	g := &fakeGateway{spoil: func(g *fakeGateway, d fakeDelivery) { g.deliver(d); again <- d }}
	b, r := against(t, g)
	defer http.DefaultClient.CloseIdleConnections()
	if _, err := b.exact(t.Context(), r); err != nil || b.receiver.late() != nil {
		t.Fatalf("the run itself fails: %v, %v", err, b.receiver.late())
	}
	g.deliver(<-again)
	if err := b.receiver.late(); err == nil || !strings.Contains(err.Error(), "2 times") {
		t.Errorf("at the end there is %v", err)
	}
	if _, err := b.exact(t.Context(), r); err == nil || !strings.Contains(err.Error(), "2 times") {
		t.Errorf("the next run ends with %v", err)
	}
}

func TestARunIsReconciled(t *testing.T) {
	otherSecret := "whsec_" + base64.StdEncoding.EncodeToString([]byte("quite another secret, of 32 bytes"))
	for _, c := range []struct {
		rule  string
		spoil func(g *fakeGateway, d fakeDelivery)
		fault string
	}{
		{"each delivered once is a success", nil, ""},
		{"one lost is a failure", func(*fakeGateway, fakeDelivery) {}, "1 of 300 deliveries were lost"},
		{"one delivered twice is a failure", func(g *fakeGateway, d fakeDelivery) { g.deliver(d); g.deliver(d) }, "2 times"},
		{"one under another's id is a failure", func(g *fakeGateway, d fakeDelivery) { d.id = uuid.NewString(); g.deliver(d) }, "arrived as"},
		{"one without an id is a failure", func(g *fakeGateway, d fakeDelivery) { d.id = "none"; g.deliver(d) }, "arrived as"},
		{"one with another body is a failure", func(g *fakeGateway, d fakeDelivery) {
			d.body = bytes.Replace(d.body, []byte("xxx"), []byte("xyx"), 1)
			g.deliver(d)
		}, "is not what was sent"},
		{"one of another run is a failure", func(g *fakeGateway, d fakeDelivery) {
			d.body = bytes.Replace(d.body, []byte(`"run":"0001"`), []byte(`"run":"0002"`), 1)
			g.deliver(d)
		}, "is not what was sent"},
		{"one at another endpoint is a failure", func(g *fakeGateway, d fakeDelivery) {
			d.to = strings.TrimSuffix(d.to, "0") + "1"
			g.deliver(d)
		}, "which it is not for"},
		{"one at no endpoint of a run is a failure", func(g *fakeGateway, d fakeDelivery) {
			g.deliver(d)
			d.to = strings.TrimSuffix(d.to, "/1/0") + "/2/0"
			g.deliver(d)
		}, "belongs to no run"},
		{"a wrong signature in the sample is a failure", func(g *fakeGateway, d fakeDelivery) {
			d.secret = otherSecret
			g.deliver(d)
		}, "signature"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			err := drive(t, &fakeGateway{spoil: c.spoil})
			if c.fault == "" && err != nil || c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
				t.Errorf("the run ends with %v, want %q", err, c.fault)
			}
		})
	}
}

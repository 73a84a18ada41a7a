package sinks

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	wsqs "github.com/ThreeDotsLabs/watermill-aws/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/brokertest"
)

type sqsRig struct{ server *brokertest.SQS }

func newSQSRig(t testing.TB) rig {
	t.Helper()
	server := brokertest.NewSQS(t)
	server.Accept("AKIATEST")
	server.CreateQueue("orders", nil)
	return &sqsRig{server}
}

func (r *sqsRig) endpoint() millrace.Endpoint {
	return millrace.Endpoint{Kind: millrace.SinkSQS, Sink: millrace.Sink{SQS: &millrace.SQSSink{
		AccessKeyID: "AKIATEST", SecretKey: brokerSecret, Region: "eu-west-1", Queue: "orders", Endpoint: r.server.URL(),
	}}}
}

func (r *sqsRig) at(e *millrace.Endpoint, address string) {
	e.Sink.SQS.Endpoint = "http://" + address
	*e = e.WithDefaults()
}

func (r *sqsRig) missing(e *millrace.Endpoint) {
	e.Sink.SQS.Queue = "returns"
	*e = e.WithDefaults()
}

func (r *sqsRig) wrong(e *millrace.Endpoint) { e.Sink.SQS.AccessKeyID = "AKIAWRONG" }

func (r *sqsRig) arrived(t *testing.T, n int) []arrival {
	t.Helper()
	var all []arrival
	for _, m := range r.server.Messages("orders") {
		all = append(all, consumedFromSQS(t, m))
	}
	return all
}

// consumedFromSQS reads a message as docs/endpoints.md tells consumers to.
func consumedFromSQS(t *testing.T, m types.Message) arrival {
	t.Helper()
	read, err := wsqs.DefaultMarshalerUnmarshaler{}.Unmarshal(&m)
	if err != nil {
		t.Fatal(err)
	}
	a := arrival{id: read.UUID, headers: read.Metadata, body: read.Payload}
	if rest, ok := a.headers[headerRest]; ok {
		if err := json.Unmarshal([]byte(rest), &a.headers); err != nil {
			t.Fatal(err)
		}
	}
	if a.headers[headerTransfer] == "base64" {
		if a.body, err = base64.StdEncoding.DecodeString(string(a.body)); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

func TestAnSQSMessageHasTenAttributesAtMostAndLosesNoHeader(t *testing.T) {
	for rule, c := range map[string]struct {
		headers int
		change  func(map[string]string)
		rest    bool
	}{
		"few headers have an attribute each":       {2, func(map[string]string) {}, false},
		"ten have too":                             {10, func(map[string]string) {}, false},
		"of more, some share one":                  {11, func(map[string]string) {}, true},
		"of very many too":                         {40, func(map[string]string) {}, true},
		"a name that SQS does not take goes there": {2, func(h map[string]string) { h["x!y"] = "v" }, true},
		"and so does an empty value":               {2, func(h map[string]string) { h["empty"] = "" }, true},
		"and a name that is Amazon's":              {2, func(h map[string]string) { h["aws.x"] = "v" }, true},
	} {
		t.Run(rule, func(t *testing.T) {
			headers := map[string]string{headerUUID: "u", "webhook-signature": "v1,x"}
			for i := 2; i < c.headers; i++ {
				headers[fmt.Sprintf("a-%02d", i)] = fmt.Sprint(i)
			}
			c.change(headers)
			attributes, err := sqsAttributes(headers)
			if err != nil || len(attributes) > 10 {
				t.Fatalf("%d attributes, %v", len(attributes), err)
			}
			rest, shared := attributes[headerRest]
			if shared != c.rest || attributes["webhook-signature"].StringValue == nil || attributes[headerUUID].StringValue == nil {
				t.Errorf("the attributes are %v", attributes)
			}
			found := map[string]string{}
			if shared {
				if err := json.Unmarshal([]byte(*rest.StringValue), &found); err != nil {
					t.Fatal(err)
				}
			}
			for name, value := range attributes {
				if name != headerRest {
					found[name] = *value.StringValue
				}
			}
			for name, value := range headers {
				if got, there := found[name]; !there || got != value {
					t.Errorf("%s is %q, want %q", name, got, value)
				}
			}
		})
	}
}

func TestAFIFOQueueIsGivenGroupAndDeduplication(t *testing.T) {
	r := newSQSRig(t).(*sqsRig)
	r.server.CreateQueue("orders.fifo", map[string]string{"FifoQueue": "true"})
	s := allSinks(t, newProxy(t))
	d := deliveryOn(r.endpoint())
	d.Endpoint.Sink.SQS.Queue, d.Endpoint.Sink.SQS.GroupID = "orders.fifo", "order"
	d.Endpoint = d.Endpoint.WithDefaults()
	for range 3 { // as after answers that were lost
		want(t, sent(t, s, d), millrace.OutcomeSuccess)
	}
	got := r.server.Messages("orders.fifo")
	if len(got) != 1 || got[0].Attributes["MessageGroupId"] != "7" || got[0].Attributes["MessageDeduplicationId"] != d.Delivery.EventID.String() {
		t.Errorf("%d messages are there: %+v", len(got), got)
	}
}

func TestAnIDThatSQSDoesNotTakeIsHashed(t *testing.T) {
	for _, id := range []string{"two words", "zwölf", strings.Repeat("a", 129)} {
		if got := sqsID(id, "x"); len(got) != 64 || got != sqsID(id, "y") {
			t.Errorf("%q becomes %q", id, got)
		}
	}
	if got := sqsID("", "order.paid"); got != "order.paid" {
		t.Errorf("nothing becomes %q", got)
	}
}

func TestWhatSQSDoesNotTakeIsTold(t *testing.T) {
	r := newSQSRig(t).(*sqsRig)
	s := allSinks(t, newProxy(t))
	large := deliveryOn(r.endpoint())
	large.Delivery.Payload = []byte(`"` + strings.Repeat("a", 1<<20) + `"`)
	want(t, sent(t, s, large), millrace.OutcomeTooLarge)
	empty := deliveryOn(r.endpoint())
	empty.Delivery.Payload = nil
	want(t, sent(t, s, empty), millrace.OutcomeUnsendable)
	r.server.Fail("SendMessage", 1)
	want(t, sent(t, s, deliveryOn(r.endpoint())), millrace.OutcomeServerError)
}

func TestTheGatewaysOwnCredentialsAreLentWhereTheOperatorSaysSo(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", brokerSecret)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	d := deliveryOn(millrace.Endpoint{Kind: millrace.SinkSQS, Sink: millrace.Sink{SQS: &millrace.SQSSink{Region: "eu-west-1", Queue: "orders"}}})
	a := sent(t, allSinks(t, newProxy(t)), d)
	want(t, a, millrace.OutcomeAuthentication)
	if !strings.Contains(a.Error, "lend_credentials") {
		t.Errorf("the remedy is not told: %s", a.Error)
	}
	r := newSQSRig(t).(*sqsRig)
	c := DefaultConfig()
	c.LendCredentials = true
	q := newSQS(c, nil)
	client, err := q.client(sqsKey{region: "eu-west-1", endpoint: r.server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.close()
	keys, err := client.sqs.Options().Credentials.Retrieve(t.Context())
	if err != nil || keys.AccessKeyID != "AKIATEST" {
		t.Errorf("the role that was found is %q, %v", keys.AccessKeyID, err)
	}
}

func TestAQueueThatWasMadeAgainIsFound(t *testing.T) {
	r := newSQSRig(t).(*sqsRig)
	s := allSinks(t, newProxy(t))
	want(t, sent(t, s, deliveryOn(r.endpoint())), millrace.OutcomeSuccess)
	want(t, sent(t, s, deliveryOn(r.endpoint())), millrace.OutcomeSuccess)
	if n := r.server.Calls("GetQueueUrl"); n != 1 {
		t.Errorf("the queue's URL was asked for %d times", n)
	}
	r.server.DeleteQueue("orders")
	want(t, sent(t, s, deliveryOn(r.endpoint())), millrace.OutcomeMissing)
	r.server.CreateQueue("orders", nil)
	want(t, sent(t, s, deliveryOn(r.endpoint())), millrace.OutcomeSuccess)
}

// Whoever answers at an endpoint's address is not to have its signed request
// sent elsewhere.
func TestSQSIsNotFollowedElsewhere(t *testing.T) {
	elsewhere, followed := receiver(t, nil)
	server, _ := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusFound)
	})
	d := deliveryOn(newSQSRig(t).endpoint())
	d.Endpoint.Sink.SQS.Endpoint = server.URL
	if a := sent(t, allSinks(t, newProxy(t)), d); a.Outcome == millrace.OutcomeSuccess || len(followed()) > 0 {
		t.Errorf("the outcome is %s, and %d requests went elsewhere", a.Outcome, len(followed()))
	}
}

package sources

import (
	"io"
	"net/http"
	"strings"
	"testing"

	millrace "github.com/millrace-dev/millrace"
)

// mapped is what a webhook submits.
func mapped(t *testing.T, s millrace.Source, r *http.Request) millrace.Submission {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	s.MaskID = "mask"
	sub, err := inbound().Submission(s, r, body)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// posted is a webhook with this body.
func posted(body string) *http.Request { return webhook("POST", "/ingest/mask", body) }

func of(p millrace.Provider) millrace.Source { return millrace.Source{Provider: p} }

func TestTheTypeOfAnEvent(t *testing.T) {
	at := func(l millrace.Location) millrace.Source { return millrace.Source{EventTypeLocation: l} }
	for rule, c := range map[string]struct {
		source       millrace.Source
		body, header string
		want         string
	}{
		"stands in the body where the source says":    {at("request.body.meta.type"), `{"meta":{"type":"paid"}}`, "", "paid"},
		"stands in a header, by any case":             {at("request.header.x-topic"), ``, "X-Topic: paid", "paid"},
		"stands in the query":                         {at("request.query.kind"), ``, "", "from.query"},
		"may be a number":                             {at("request.body.code"), `{"code":12345678901234567890}`, "", "12345678901234567890"},
		"is the mask id where there is none":          {at("request.body.type"), `{"meta":1}`, "", "mask"},
		"is the mask id where the body is no JSON":    {at("request.body.type"), `type=paid`, "", "mask"},
		"is the mask id where nothing is said":        {millrace.Source{}, `{"type":"paid"}`, "", "mask"},
		"is not too long":                             {at("request.body.type"), `{"type":"` + strings.Repeat("x", 256) + `"}`, "", "mask"},
		"has no control characters":                   {at("request.body.type"), `{"type":"a\u0000b"}`, "", "mask"},
		"is GitHub's":                                 {of(millrace.ProviderGitHub), `{"action":"opened"}`, "X-GitHub-Event: pull_request", "pull_request"},
		"is Shopify's":                                {of(millrace.ProviderShopify), `{}`, "X-Shopify-Topic: orders/create", "orders/create"},
		"is Stripe's":                                 {of(millrace.ProviderStripe), `{"type":"invoice.paid"}`, "", "invoice.paid"},
		"is that of Slack's inner event":              {of(millrace.ProviderSlack), `{"type":"event_callback","event":{"type":"app_mention"}}`, "", "app_mention"},
		"is Slack's outer one where there is no more": {of(millrace.ProviderSlack), `{"type":"app_rate_limited"}`, "", "app_rate_limited"},
		"is the member of Twitter's activities":       {of(millrace.ProviderTwitter), `{"for_user_id":"1","users":{},"tweet_create_events":[{}]}`, "", "tweet_create_events"},
		"is Twitter's user event":                     {of(millrace.ProviderTwitter), `{"user_event":{"revoke":{}}}`, "", "user_event"},
		"is the mask id where Twitter has another":    {of(millrace.ProviderTwitter), `{"for_user_id":"1"}`, "", "mask"},
		"is Standard Webhooks'":                       {of(millrace.ProviderStandardWebhooks), `{"type":"contact.created","data":{}}`, "", "contact.created"},
		"is where the source says, before a provider": {
			millrace.Source{Provider: millrace.ProviderGitHub, EventTypeLocation: "request.body.action"}, `{"action":"opened"}`, "X-GitHub-Event: pull_request", "opened"},
		"is the provider's where that place is empty": {
			millrace.Source{Provider: millrace.ProviderGitHub, EventTypeLocation: "request.body.action"}, `{}`, "X-GitHub-Event: push", "push"},
	} {
		t.Run(rule, func(t *testing.T) {
			if got := mapped(t, c.source, webhook("POST", "/ingest/mask?kind=from.query", c.body, c.header)).Type; got != c.want {
				t.Errorf("type %q, want %q", got, c.want)
			}
		})
	}
}

func TestTheKeyOfAnEvent(t *testing.T) {
	at := func(l ...millrace.Location) millrace.Source { return millrace.Source{IdempotencyKeys: l} }
	for rule, c := range map[string]struct {
		source       millrace.Source
		body, header string
		want         string
	}{
		"stands where the source says":           {at("request.body.data.id"), `{"data":{"id":"e-7"}}`, "", "e-7"},
		"is a number to the digit":               {at("request.body.id"), `{"id":12345678901234567890.10}`, "", "12345678901234567890.10"},
		"has several parts":                      {at("request.header.X-Id", "request.query.n", "request.body.id"), `{"id":1}`, "X-Id: a b", "a b,q,1"},
		"is none where a part is missing":        {at("request.header.X-Id", "request.body.id"), `{"id":1}`, "", ""},
		"is none where nothing is said":          {millrace.Source{}, `{"id":1}`, "", ""},
		"is GitHub's delivery":                   {of(millrace.ProviderGitHub), `{}`, "X-GitHub-Delivery: 72d3162e-cc78", "72d3162e-cc78"},
		"is Shopify's webhook":                   {of(millrace.ProviderShopify), `{}`, "X-Shopify-Webhook-Id: b54557e4", "b54557e4"},
		"is Stripe's event":                      {of(millrace.ProviderStripe), `{"id":"evt_1"}`, "", "evt_1"},
		"is Slack's event":                       {of(millrace.ProviderSlack), `{"event_id":"Ev1"}`, "", "Ev1"},
		"is Standard Webhooks' id":               {of(millrace.ProviderStandardWebhooks), `{}`, "Webhook-Id: msg_1", "msg_1"},
		"is none of Twitter's, who have no such": {of(millrace.ProviderTwitter), `{"id":"1"}`, "", ""},
		"is where the source says, and nowhere else": {
			millrace.Source{Provider: millrace.ProviderGitHub, IdempotencyKeys: []millrace.Location{"request.body.after"}}, `{}`, "X-GitHub-Delivery: 72d3162e", ""},
	} {
		t.Run(rule, func(t *testing.T) {
			sub := mapped(t, c.source, webhook("POST", "/ingest/mask?n=q", c.body, c.header))
			if sub.IdempotencyKey != c.want || (sub.KeyScope == millrace.KeyOfSource) != (c.want != "") {
				t.Errorf("key %q of scope %q, want %q", sub.IdempotencyKey, sub.KeyScope, c.want)
			}
		})
	}
}

// TestAKeyThatCannotBeKeptIsDigested: each of these is another key, and one
// that the ingest stage takes.
func TestAKeyThatCannotBeKeptIsDigested(t *testing.T) {
	two := millrace.Source{IdempotencyKeys: []millrace.Location{"request.body.a", "request.body.b"}}
	one := millrace.Source{IdempotencyKeys: []millrace.Location{"request.body.a"}}
	seen := map[string]string{}
	for what, sub := range map[string]millrace.Submission{
		"too long":               mapped(t, one, posted(`{"a":"`+strings.Repeat("x", 256)+`"}`)),
		"longer":                 mapped(t, one, posted(`{"a":"`+strings.Repeat("x", 257)+`"}`)),
		"with a line end":        mapped(t, one, posted(`{"a":"x\ny"}`)),
		"with a NUL":             mapped(t, one, posted(`{"a":"x\u0000y"}`)),
		"a comma in the first":   mapped(t, two, posted(`{"a":"x,y","b":"z"}`)),
		"a comma in the second":  mapped(t, two, posted(`{"a":"x","b":"y,z"}`)),
		"two that are too long":  mapped(t, two, posted(`{"a":"`+strings.Repeat("x", 200)+`","b":"`+strings.Repeat("x", 100)+`"}`)),
		"two split another way":  mapped(t, two, posted(`{"a":"`+strings.Repeat("x", 100)+`","b":"`+strings.Repeat("x", 200)+`"}`)),
		"a comma, but one part":  mapped(t, one, posted(`{"a":"x,y"}`)),
		"the same in two pieces": mapped(t, two, posted(`{"a":"x","b":"z"}`)),
	} {
		key := sub.IdempotencyKey
		if !isLine(key) {
			t.Errorf("%s: the key %q cannot be kept", what, key)
		}
		if other, twice := seen[key]; twice {
			t.Errorf("%s has the key of %s", what, other)
		}
		seen[key] = what
	}
	if key := mapped(t, one, posted(`{"a":"x\ny"}`)).IdempotencyKey; key != mapped(t, one, posted(`{"a":"x\ny"}`)).IdempotencyKey || len(key) != 64 {
		t.Errorf("the digest is %q, and not the same again", key)
	}
}

func TestForwardedHeaders(t *testing.T) {
	s := millrace.Source{ForwardHeaders: []string{"X-Tenant", "x-many", "X-Bad", "X-None"}}
	got := mapped(t, s, webhook("POST", "/ingest/mask", "{}", "x-tenant: 7", "X-Many: a", "X-Many: b", "X-Bad: a\x01b", "X-Other: 1")).Headers
	if len(got) != 2 || got["X-Tenant"] != "7" || got["x-many"] != "a, b" {
		t.Errorf("headers %q", got)
	}
	if err := millrace.CheckHeaders(got); err != nil {
		t.Errorf("no delivery can carry them: %v", err)
	}
}

func TestWhatASubmissionSaysItselfGoesFirst(t *testing.T) {
	s := millrace.Source{
		EventTypeLocation: "request.header.X-Type", IdempotencyKeys: []millrace.Location{"request.header.X-Key"}, ForwardHeaders: []string{"X-Tenant"},
	}
	found := map[string]string{"X-Type": "found", "X-Key": "found", "X-Tenant": "found"}
	sub := millrace.Submission{Type: "said", IdempotencyKey: "said", Headers: map[string]string{"x-tenant": "said"}}
	if err := newMapping(s, found, nil, nil).apply(&sub); err != nil {
		t.Fatal(err)
	}
	if sub.Type != "said" || sub.IdempotencyKey != "said" || sub.KeyScope != millrace.KeyOfClient || len(sub.Headers) != 1 || sub.Headers["x-tenant"] != "said" {
		t.Errorf("submission %+v", sub)
	}
}

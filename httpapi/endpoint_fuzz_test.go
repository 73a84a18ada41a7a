package httpapi

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	millrace "github.com/millrace-dev/millrace"
)

// FuzzEndpointBody holds of any body of an endpoint: what is taken is an
// endpoint that can be kept; sent once more it changes nothing; and what a
// client reads of it, and sends back as it is, changes nothing either, not
// even the secrets, of which it reads the last characters alone.
func FuzzEndpointBody(f *testing.F) {
	for _, seed := range []string{
		`{"url":"https://a.example","name":"a","secret":"a secret of many characters","http_timeout":"1500ms","rate_limit":5,"rate_limit_duration":60}`,
		`{"target_url":"https://a.example","title":"a","authentication":{"type":"api_key","api_key":{"header_name":"X-Key","header_value":"a value of many characters"}}}`,
		`{"url":"https://a.example","name":"a","authentication":{"type":"basic_auth","basic_auth":{"username":"u","password":"p"}},"is_disabled":true}`,
		`{"url":"https://a.example","name":"a","strategy":{"type":"linear","duration":10,"retry_count":3},"signature_schemes":["v1","v1a"],"content_type":"application/x-www-form-urlencoded"}`,
		`{"name":"a","type":"kafka","kafka":{"brokers":["b.example:9092"],"topic_name":"t","auth":{"type":"plain","username":"u","password":"a password of many"}}}`,
		`{"name":"a","type":"sqs","sqs":{"default_region":"eu-west-1","queue_name":"q","access_key_id":"k","secret_key":"a secret of many"}}`,
		`{"name":"a","type":"amqp","amqp":{"schema":"amqp","host":"b.example","port":5672,"exchange":"e"},"url":null,"owner_id":""}`,
		`{"http_timeout":1e3}`, `{"http_timeout":"-5s"}`, `{"kafka":{"brokers":null}}`, `{"mtls_client_cert":{}}`, `[]`, `{"type":"none"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		e := millrace.DefaultEndpoint()
		if lay(body, &e) != nil {
			return
		}
		if err := e.Validate(); err != nil {
			t.Fatalf("%s makes an endpoint that cannot be kept: %v", body, err)
		}
		before := e
		if err := lay(body, &e); err != nil || !reflect.DeepEqual(e, before) {
			t.Fatalf("%s, sent once more, makes %+v (%v), before it was %+v", body, e, err, before)
		}
		for _, show := range []shown{showMasked, showAll} {
			out, err := json.Marshal(newEndpoint(e, show))
			if err != nil {
				t.Fatal(err)
			}
			if show == showMasked {
				wantHidden(t, out, e)
			}
			back := e
			if err := lay(out, &back); err != nil || !reflect.DeepEqual(back, e) {
				t.Errorf("read and sent back as it is, %s makes %+v (%v) of %+v", out, back, err, e)
			}
		}
	})
}

// lay reads a body as the calls do, and lays it over an endpoint.
func lay(body []byte, e *millrace.Endpoint) error {
	var in endpointIn
	if err := decodeObject(body, &in); err != nil {
		return err
	}
	in.modernize()
	return in.into(e)
}

func wantHidden(t *testing.T, shown []byte, e millrace.Endpoint) {
	t.Helper()
	hidden := []millrace.Sensitive{e.Sink.Secret()}
	for _, s := range e.Secrets {
		hidden = append(hidden, s.Value)
	}
	if a := e.Authentication; a != nil && a.APIKey != nil {
		hidden = append(hidden, a.APIKey.Value)
	}
	for _, s := range hidden {
		if len(s) > 12 && strings.Contains(string(shown), s.Reveal()) {
			t.Errorf("a secret is shown: %s", shown)
		}
	}
}

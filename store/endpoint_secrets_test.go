package store_test

import (
	"encoding/base64"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/store"
)

// secretive gives an endpoint every kind of secret that there is.
func secretive(e *millrace.Endpoint) {
	e.Secrets = []millrace.Secret{{Value: secretWord + "-1"}, {Value: secretWord + "-2", ExpiresAt: time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)}}
	e.SignatureSchemes = []string{"v1", "v1a"}
	e.SlackWebhookURL = "https://hooks.example/" + secretWord
	e.Authentication = &millrace.Authentication{Type: millrace.AuthOAuth2, OAuth2: &millrace.OAuth2{
		URL: "https://id.example/token", ClientID: "c", ClientSecret: secretWord, AuthenticationType: "shared_secret", GrantType: "client_credentials",
		Scope: "s", Audience: "a", SigningKey: secretWord, SigningAlgorithm: "RS256", Issuer: "i", Subject: "u",
		FieldMapping: map[string]string{"access_token": "token"}, ExpiryTimeUnit: "seconds",
	}}
}

func TestEachWayToAuthenticateIsKept(t *testing.T) {
	w := newWorld(t)
	for name, a := range map[string]millrace.Authentication{
		"by a header": {Type: millrace.AuthAPIKey, APIKey: &millrace.APIKeyAuth{Header: "X-Key", Value: secretWord}},
		"basic":       {Type: millrace.AuthBasic, Basic: &millrace.BasicAuth{Username: "u", Password: secretWord}},
		"bearer":      {Type: millrace.AuthBearer, Bearer: secretWord},
	} {
		t.Run(name, func(t *testing.T) {
			e := w.endpoint(func(e *millrace.Endpoint) { e.Authentication = &a })
			if got := w.readEndpoint(e.ID); !reflect.DeepEqual(got.Authentication, &a) {
				t.Errorf("given %#v, kept %#v", a, got.Authentication)
			}
		})
	}
	certificate, key := keyPair(t)
	e := w.endpoint(func(e *millrace.Endpoint) {
		e.ClientCert = &millrace.ClientCert{Cert: certificate, Key: key}
		e.CACert = certificate
	})
	if got := w.readEndpoint(e.ID); !reflect.DeepEqual(got.ClientCert, e.ClientCert) || got.CACert != certificate {
		t.Errorf("the client certificate is kept as %#v", got.ClientCert)
	}
	line := strings.Split(key.Reveal(), "\n")[1]
	if n := w.shown(secretWord) + w.shown(line); n != 0 {
		t.Errorf("%d rows show a secret", n)
	}
}

func TestEachKindOfBrokerIsKept(t *testing.T) {
	w := newWorld(t)
	account := base64.StdEncoding.EncodeToString([]byte(`{"type":"service_account","client_email":"e","private_key":"` + secretWord + `"}`))
	for kind, sink := range map[millrace.SinkKind]millrace.Sink{
		millrace.SinkKafka: {Kafka: &millrace.KafkaSink{
			Brokers: []string{"k.example:9092"}, Topic: "t", Key: "a.b",
			Auth: millrace.KafkaAuth{Type: "scram", Hash: "SHA512", Username: "u", Password: secretWord, TLS: true},
		}},
		millrace.SinkSQS: {SQS: &millrace.SQSSink{
			AccessKeyID: "k", SecretKey: secretWord, Region: "r", Queue: "q.fifo", Endpoint: "https://sqs.example", GroupID: "g", DeduplicationID: "d",
		}},
		millrace.SinkPubSub: {PubSub: &millrace.PubSubSink{ProjectID: "p", Topic: "t", ServiceAccount: millrace.Sensitive(account), OrderingKey: "o"}},
		millrace.SinkAMQP: {AMQP: &millrace.AMQPSink{
			Schema: "amqp", Host: "h.example", Port: 5672, Auth: millrace.BasicSecret{User: "u", Password: secretWord}, VHost: "v", Exchange: "e", RoutingKey: "k",
		}},
	} {
		t.Run(string(kind), func(t *testing.T) {
			e := w.endpoint(func(e *millrace.Endpoint) { e.Kind, e.Sink, e.URL = kind, sink, "" })
			got := w.readEndpoint(e.ID)
			if got.Kind != kind || !reflect.DeepEqual(got.Sink, sink) || got.URL != sink.Address() {
				t.Errorf("kept as %s %#v at %q", got.Kind, got.Sink, got.URL)
			}
			again := must[millrace.Endpoint](t)(w.UpdateEndpoint(t.Context(), w.project, e.ID, func(e *millrace.Endpoint) error { e.Name = "renamed"; return nil }))
			if !reflect.DeepEqual(again.Sink, sink) || again.URL != sink.Address() {
				t.Errorf("after another change it is %#v at %q", again.Sink, again.URL)
			}
		})
	}
	if n := w.shown(secretWord) + w.shown(account); n != 0 {
		t.Errorf("%d rows show a secret", n)
	}
	if w.shown("k.example") == 0 {
		t.Error("not even its address is there: this test would find nothing")
	}
}

func TestNoSecretIsInTheDatabaseInTheClear(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint(secretive)
	if _, err := w.ExpireSecret(t.Context(), w.project, e.ID, secretWord+"-3", time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.UpdateEndpoint(t.Context(), w.project, e.ID, func(e *millrace.Endpoint) error { e.Name = "visible-name"; return nil }); err != nil {
		t.Fatal(err)
	}
	if n := w.shown(secretWord) + w.shown(e.SigningKey.Reveal()) + w.shown(e.SigningKey.Reveal()[10:40]); n != 0 {
		t.Errorf("%d rows show a secret", n)
	}
	if w.shown("visible-name") == 0 {
		t.Error("not even its name is there: this test would find nothing")
	}
}

func TestAnEndpointWithoutASecretIsGivenOne(t *testing.T) {
	w := newWorld(t)
	one, two := w.endpoint(), w.endpoint()
	if len(one.Secrets) != 1 || !strings.HasPrefix(one.Secrets[0].Value.Reveal(), "whsec_") || one.SigningKey != "" {
		t.Errorf("its secrets are %#v", one.Secrets)
	}
	if key, err := one.Secrets[0].Key(); err != nil || len(key) != 32 {
		t.Errorf("its key has %d bytes, %v", len(key), err)
	}
	if one.Secrets[0].Value == two.Secrets[0].Value {
		t.Error("two endpoints were given the same")
	}
}

func TestAnEndpointThatAsksForV1aIsGivenAKeyAndKeepsIt(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint()
	schemes := func(schemes ...string) millrace.Endpoint {
		return must[millrace.Endpoint](t)(w.UpdateEndpoint(t.Context(), w.project, e.ID, func(e *millrace.Endpoint) error {
			e.SignatureSchemes = schemes
			return nil
		}))
	}
	asked := schemes("v1", "v1a")
	if asked.VerifyingKey() == "" || w.readEndpoint(e.ID).SigningKey != asked.SigningKey {
		t.Errorf("its verifying key is %q", asked.VerifyingKey())
	}
	schemes("v1")
	if again := schemes("v1", "v1a"); again.SigningKey != asked.SigningKey {
		t.Error("its key is another when it asks again")
	}
	replaced := must[millrace.Endpoint](t)(w.UpdateEndpoint(t.Context(), w.project, e.ID, func(e *millrace.Endpoint) error {
		e.SigningKey = millrace.NewSigningKey()
		return nil
	}))
	if read := w.readEndpoint(e.ID); read.SigningKey != replaced.SigningKey || read.SigningKey == asked.SigningKey {
		t.Error("its key was not replaced")
	}
}

func TestSeveralSecretsLiveUntilTheyExpire(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint(func(e *millrace.Endpoint) { e.Secrets = []millrace.Secret{{Value: "first"}} })
	expire := func(secret millrace.Sensitive, expires time.Time) []string {
		got := must[millrace.Endpoint](t)(w.ExpireSecret(t.Context(), w.project, e.ID, secret, expires))
		if read := w.readEndpoint(e.ID); !reflect.DeepEqual(got, read) {
			t.Errorf("answered %#v, kept %#v", got, read)
		}
		var live []string
		for _, s := range millrace.Live(got.Secrets, time.Now()) {
			live = append(live, s.Value.Reveal())
		}
		return live
	}
	soon := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	if live := expire("second", soon); !reflect.DeepEqual(live, []string{"second", "first"}) {
		t.Errorf("those that sign are %v", live)
	}
	if live := expire("third", soon.Add(time.Hour)); !reflect.DeepEqual(live, []string{"third", "second", "first"}) {
		t.Errorf("those that sign are %v", live)
	}
	secrets := w.readEndpoint(e.ID).Secrets
	if !secrets[0].ExpiresAt.Equal(soon) || !secrets[1].ExpiresAt.Equal(soon.Add(time.Hour)) || !secrets[2].ExpiresAt.IsZero() {
		t.Errorf("they end at %s, %s and %s", secrets[0].ExpiresAt, secrets[1].ExpiresAt, secrets[2].ExpiresAt)
	}
	if live := expire("fourth", time.Time{}); !reflect.DeepEqual(live, []string{"fourth"}) {
		t.Errorf("those that sign are %v", live)
	}
	if n := w.count(`SELECT count(*) FROM endpoint_secrets`); n != 1 {
		t.Errorf("%d secrets are kept, those that have ended too", n)
	}
	if live := expire("", time.Time{}); len(live) != 1 || !strings.HasPrefix(live[0], "whsec_") {
		t.Errorf("the generated one is %v", live)
	}
}

func TestAChangedSecretIsANewOne(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint()
	got := must[millrace.Endpoint](t)(w.UpdateEndpoint(t.Context(), w.project, e.ID, func(e *millrace.Endpoint) error {
		e.Secrets[0].Value = "changed"
		return nil
	}))
	read := w.readEndpoint(e.ID)
	if len(read.Secrets) != 1 || read.Secrets[0].Value != "changed" || read.Secrets[0].ID == e.Secrets[0].ID || !reflect.DeepEqual(got, read) {
		t.Errorf("it is kept as %#v", read.Secrets)
	}
}

func TestASealedValueMovedToAnotherRowIsRefused(t *testing.T) {
	for name, move := range map[string]string{
		"a secret to another secret's row":  `UPDATE endpoint_secrets SET sealed = (SELECT sealed FROM endpoint_secrets WHERE endpoint_id = $1 AND kind = 'secret' LIMIT 1) WHERE endpoint_id = $2 AND kind = 'secret'`,
		"a secret's row to another":         `UPDATE endpoint_secrets SET endpoint_id = $2 WHERE endpoint_id = $1 AND kind = 'secret'`,
		"a signing key to be a secret":      `UPDATE endpoint_secrets SET kind = 'secret' WHERE endpoint_id IN ($1, $2) AND kind = 'signing_key'`,
		"credentials to another endpoint":   `UPDATE endpoints SET credentials = (SELECT credentials FROM endpoints WHERE id = $1) WHERE id = $2`,
		"an endpoint to be another project": `UPDATE endpoints SET project_id = (SELECT id FROM projects WHERE id <> project_id LIMIT 1) WHERE id IN ($1, $2)`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			elsewhere := w.newProject()
			a, b := w.endpoint(secretive), w.endpoint(secretive)
			w.exec(move, a.ID, b.ID)
			for _, project := range []millrace.ID{w.project, elsewhere} {
				if e, err := w.Endpoint(t.Context(), project, b.ID); err == nil {
					t.Errorf("it opens: %#v", e)
				} else if project == w.project && millrace.CodeOf(err) != millrace.CodeInternal && name != "an endpoint to be another project" {
					t.Errorf("the error %v has the code %s", err, millrace.CodeOf(err))
				}
			}
		})
	}
}

func TestAnEndpointSealedUnderAMissingKeyIsUnavailableAndNamesIt(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint()
	key := store.NewKey()
	id, _, _ := strings.Cut(key, ":")
	made, err := w.openWith(key).CreateEndpoint(t.Context(), millrace.Endpoint{ProjectID: w.project, Name: "n", URL: "https://example.com"})
	noError(t, err)
	_, err = w.Endpoint(t.Context(), w.project, made.ID)
	if !millrace.IsUnavailable(err) || !strings.Contains(err.Error(), id) {
		t.Errorf("got %v, want the key %s named", err, id)
	}
	w.readEndpoint(e.ID)
}

package store_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/store"
)

// secretWord is in every secret that these tests set: the database must not
// show it anywhere.
const secretWord = "open-sesame"

// endpoint makes an endpoint in the world's project.
func (w *world) endpoint(change ...func(*millrace.Endpoint)) millrace.Endpoint {
	w.t.Helper()
	e := millrace.DefaultEndpoint()
	e.ProjectID, e.Name, e.URL = w.project, "orders", "https://example.com/hook"
	for _, c := range change {
		c(&e)
	}
	return must[millrace.Endpoint](w.t)(w.CreateEndpoint(w.t.Context(), e))
}

// subscription subscribes an endpoint to everything.
func (w *world) subscription(endpoint millrace.ID, change ...func(*millrace.Subscription)) millrace.Subscription {
	w.t.Helper()
	sub := millrace.Subscription{ProjectID: w.project, EndpointID: endpoint, Name: "all", EventTypes: []string{"*"}}
	for _, c := range change {
		c(&sub)
	}
	return must[millrace.Subscription](w.t)(w.CreateSubscription(w.t.Context(), sub))
}

// webhook makes a source that is called.
func (w *world) webhook(change ...func(*millrace.Source)) millrace.Source {
	w.t.Helper()
	return w.source(millrace.Source{
		Name: "hook", Type: millrace.SourceHTTP,
		Verifier: millrace.Verifier{Type: millrace.VerifyHMAC, HMAC: &millrace.HMACVerifier{Header: "X-Signature", Hash: "SHA256", Encoding: "hex", Secret: secretWord}},
	}, change...)
}

// kafka makes a source that reads a topic.
func (w *world) kafka(change ...func(*millrace.Source)) millrace.Source {
	w.t.Helper()
	return w.source(millrace.Source{
		Name: "topic", Type: millrace.SourcePubSub,
		PubSub: &millrace.PubSub{Kind: millrace.BrokerKafka, Kafka: &millrace.KafkaSource{
			Brokers: []string{"kafka-1:9092", "kafka-2:9092"}, GroupID: "millrace", Topic: "orders",
			Auth: &millrace.KafkaAuth{Type: "plain", Username: "u", Password: secretWord},
		}},
	}, change...)
}

func (w *world) source(s millrace.Source, change ...func(*millrace.Source)) millrace.Source {
	w.t.Helper()
	s.ProjectID = w.project
	for _, c := range change {
		c(&s)
	}
	return must[millrace.Source](w.t)(w.CreateSource(w.t.Context(), s))
}

// version is the project's config version.
func (w *world) version() int {
	w.t.Helper()
	return w.count(`SELECT config_version FROM projects WHERE id = $1`, w.project)
}

// openWith opens one more store on the world's tables, with another key ring.
func (w *world) openWith(keys ...string) *store.Store {
	w.t.Helper()
	ring, err := store.NewKeyring(keys)
	noError(w.t, err)
	config := store.DefaultConfig()
	config.URL = millrace.Sensitive(w.url)
	s := must[*store.Store](w.t)(store.Open(w.t.Context(), config, ring))
	w.t.Cleanup(func() { noError(w.t, s.Close()) })
	return s
}

// shown counts the rows, of any table of the configuration, that show a text.
func (w *world) shown(text string) int {
	w.t.Helper()
	n := 0
	for _, query := range []string{
		`SELECT count(*) FROM projects r WHERE position($1 IN r::text) > 0`,
		`SELECT count(*) FROM api_keys r WHERE position($1 IN r::text) + position($1::bytea IN hash) > 0`,
		`SELECT count(*) FROM endpoints r WHERE position($1 IN r::text) + coalesce(position($1::bytea IN credentials), 0) > 0`,
		`SELECT count(*) FROM endpoint_secrets r WHERE position($1 IN r::text) + position($1::bytea IN sealed) > 0`,
		`SELECT count(*) FROM sources r WHERE position($1 IN r::text) + coalesce(position($1::bytea IN credentials), 0) > 0`,
		`SELECT count(*) FROM subscriptions r WHERE position($1 IN r::text) > 0`,
		`SELECT count(*) FROM audit r WHERE position($1 IN r::text) > 0`,
	} {
		n += w.count(query, text)
	}
	return n
}

// pages walks a list to its end and back again, two rows at a time, and wants
// it to be what it is in that order, both ways.
func pages[T any](t *testing.T, want []millrace.ID, id func(T) millrace.ID, list func(context.Context, millrace.Page) (millrace.List[T], error)) {
	t.Helper()
	for _, ascending := range []bool{true, false} {
		inOrder := make([]millrace.ID, len(want))
		for i := range want {
			inOrder[i] = want[i]
			if !ascending {
				inOrder[i] = want[len(want)-1-i]
			}
		}
		page := millrace.Page{Size: 2, Ascending: ascending}
		forth := [][]millrace.ID{}
		for {
			got := must[millrace.List[T]](t)(list(t.Context(), page))
			if got.HasPrev != (len(forth) > 0) {
				t.Errorf("page %d says has previous: %v", len(forth), got.HasPrev)
			}
			forth = append(forth, idsIn(got.Items, id))
			if !got.HasNext {
				break
			}
			page.Cursor = id(got.Items[len(got.Items)-1])
		}
		wantIDs(t, inOrder, flat(forth))
		page.Backward = true
		for n := len(forth) - 2; n >= 0; n-- {
			page.Cursor = forth[n+1][0]
			got := must[millrace.List[T]](t)(list(t.Context(), page))
			wantIDs(t, forth[n], idsIn(got.Items, id))
			if got.HasPrev != (n > 0) || !got.HasNext {
				t.Errorf("page %d read backwards says previous %v, next %v", n, got.HasPrev, got.HasNext)
			}
		}
	}
}

func idsIn[T any](rows []T, id func(T) millrace.ID) []millrace.ID {
	out := make([]millrace.ID, len(rows))
	for i, row := range rows {
		out[i] = id(row)
	}
	return out
}

func flat(pages [][]millrace.ID) []millrace.ID {
	var all []millrace.ID
	for _, page := range pages {
		all = append(all, page...)
	}
	return all
}

func wantIDs(t *testing.T, want, got []millrace.ID) {
	t.Helper()
	if len(want) != len(got) {
		t.Fatalf("got %d rows, want %d", len(got), len(want))
	}
	for i := range want {
		if want[i] != got[i] {
			t.Fatalf("row %d is %s, want %s", i, got[i], want[i])
		}
	}
}

// keyPair makes a certificate and its key in PEM.
func keyPair(t *testing.T) (certificate string, key millrace.Sensitive) {
	t.Helper()
	private := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, template, private.Public(), private))
	coded := must[[]byte](t)(x509.MarshalPKCS8PrivateKey(private))
	certificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return certificate, millrace.Sensitive(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: coded}))
}

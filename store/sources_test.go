package store_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/store"
	"github.com/millrace-dev/millrace/store/storetest"
)

func (w *world) readSource(id millrace.ID) millrace.Source {
	w.t.Helper()
	return must[millrace.Source](w.t)(w.Source(w.t.Context(), w.project, id))
}

func (w *world) alter(id millrace.ID, change func(*millrace.Source)) millrace.Source {
	w.t.Helper()
	return must[millrace.Source](w.t)(w.UpdateSource(w.t.Context(), w.project, id, func(s *millrace.Source) error { change(s); return nil }))
}

// brokers are one of each kind, each with a secret.
func brokers() map[string]*millrace.PubSub {
	return map[string]*millrace.PubSub{
		"kafka": {Kind: millrace.BrokerKafka, Workers: 5, Raw: true, Ack: millrace.AckQueued, Kafka: &millrace.KafkaSource{
			Brokers: []string{"a:9092", "b:9092"}, GroupID: "g", Topic: "t",
			Auth: &millrace.KafkaAuth{Type: "scram", Hash: "SHA512", Username: "u", Password: secretWord, TLS: true},
		}},
		"sqs":    {Kind: millrace.BrokerSQS, SQS: &millrace.SQSSource{AccessKeyID: "k", SecretKey: secretWord, Region: "r", Queue: "q", Endpoint: "https://sqs.example"}},
		"google": {Kind: millrace.BrokerGoogle, Google: &millrace.GoogleSource{ProjectID: "p", SubscriptionID: "s", ServiceAccount: "e30=", Endpoint: "localhost:8085"}},
		"amqp": {Kind: millrace.BrokerAMQP, AMQP: &millrace.AMQPSource{
			Schema: "amqps", Host: "h", Port: 5671, Auth: &millrace.BasicSecret{User: "u", Password: secretWord}, Queue: "q", VHost: "v",
			Bind: &millrace.AMQPBinding{Exchange: "x", RoutingKey: "k"}, DeadLetterExchange: "d",
		}},
	}
}

func TestASourceIsKeptAsItWasGiven(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	given := map[string]millrace.Source{
		"by hmac":      {Type: millrace.SourceHTTP, Verifier: millrace.Verifier{Type: millrace.VerifyHMAC, HMAC: &millrace.HMACVerifier{Header: "X", Hash: "SHA512", Encoding: "base64", Secret: secretWord}}},
		"by password":  {Type: millrace.SourceHTTP, Verifier: millrace.Verifier{Type: millrace.VerifyBasic, Basic: &millrace.BasicVerifier{Username: "u", Password: secretWord}}},
		"by a key":     {Type: millrace.SourceRESTAPI, Verifier: millrace.Verifier{Type: millrace.VerifyAPIKey, APIKey: &millrace.APIKeyVerifier{Header: "X", Value: secretWord}}},
		"by nothing":   {Type: millrace.SourceHTTP, Verifier: millrace.Verifier{Type: millrace.VerifyNothing}},
		"by provider":  {Type: millrace.SourceHTTP, Provider: millrace.ProviderStripe, Verifier: millrace.Verifier{HMAC: &millrace.HMACVerifier{Secret: secretWord}}},
		"with mapping": {Type: millrace.SourceHTTP, EventTypeLocation: "request.body.type", IdempotencyKeys: []millrace.Location{"request.header.X-Id"}, ForwardHeaders: []string{"X-Tenant"}, CustomResponse: millrace.CustomResponse{Body: "<ok>", ContentType: "text/xml"}, Disabled: true},
	}
	for name, broker := range brokers() {
		given[name] = millrace.Source{Type: millrace.SourcePubSub, PubSub: broker}
	}
	for name, want := range given {
		t.Run(name, func(t *testing.T) {
			want.Name, want.ProjectID = name, w.project
			made := must[millrace.Source](t)(w.CreateSource(t.Context(), want))
			if read := w.readSource(made.ID); !reflect.DeepEqual(made, read) {
				t.Errorf("created as\n%#v, read as\n%#v", made, read)
			}
			want.ID, want.MaskID, want.Revision, want.Version, want.CreatedAt, want.UpdatedAt = made.ID, made.MaskID, 1, 1, made.CreatedAt, made.UpdatedAt
			if !reflect.DeepEqual(made, want) {
				t.Errorf("given\n%#v, made\n%#v", want, made)
			}
			if len(made.MaskID) < 26 || made.CreatedAt.IsZero() {
				t.Errorf("its mask id is %q, made at %s", made.MaskID, made.CreatedAt)
			}
		})
	}
	if n := w.shown(secretWord); n != 0 {
		t.Errorf("%d rows show a secret", n)
	}
}

func TestMaskIdsDifferAndCannotBeChosen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	masks := map[string]bool{}
	for range 10 {
		masks[w.webhook(func(s *millrace.Source) { s.MaskID = "chosen" }).MaskID] = true
	}
	if len(masks) != 10 || masks["chosen"] {
		t.Errorf("ten sources have the masks %v", masks)
	}
}

func TestARefusedSourceIsNotThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.CreateSource(t.Context(), millrace.Source{ProjectID: w.project})
	wantCode(t, err, millrace.CodeBadRequest)
	_, err = w.CreateSource(t.Context(), millrace.Source{ProjectID: newID(), Name: "n", Type: millrace.SourceHTTP})
	wantCode(t, err, millrace.CodeNotFound)
	made := w.webhook()
	_, err = w.CreateSource(t.Context(), made)
	wantCode(t, err, millrace.CodeConflict)
	_, err = w.UpdateSource(t.Context(), w.project, made.ID, func(s *millrace.Source) error { s.Name = ""; return nil })
	wantCode(t, err, millrace.CodeBadRequest)
	if n := w.count(`SELECT count(*) FROM sources`); n != 1 || !reflect.DeepEqual(w.readSource(made.ID), made) {
		t.Errorf("there are %d sources, and the one is %#v", n, w.readSource(made.ID))
	}
}

func TestAForeignSourceIsUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made, foreign := w.webhook(), w.newProject()
	for name, do := range map[string]func(ctx context.Context, id millrace.ID) error{
		"to read": func(ctx context.Context, id millrace.ID) error { _, err := w.Source(ctx, foreign, id); return err },
		"to update": func(ctx context.Context, id millrace.ID) error {
			_, err := w.UpdateSource(ctx, foreign, id, func(*millrace.Source) error { return nil })
			return err
		},
		"to delete": func(ctx context.Context, id millrace.ID) error { return w.DeleteSource(ctx, foreign, id) },
	} {
		t.Run(name, func(t *testing.T) {
			wantCode(t, do(t.Context(), made.ID), millrace.CodeNotFound)
			wantCode(t, do(t.Context(), newID()), millrace.CodeNotFound)
		})
	}
	if got := w.readSource(made.ID); !reflect.DeepEqual(got, made) {
		t.Errorf("it was changed to %#v", got)
	}
}

func TestSourcesAreListedBothWaysInBothOrders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var all []millrace.ID
	for n := range 7 {
		all = append(all, w.webhook(func(s *millrace.Source) { s.ID = millrace.NewID(time.Now().Add(time.Duration(n) * time.Second)) }).ID)
	}
	noError(t, w.DeleteSource(t.Context(), w.project, all[6]))
	w.webhook(func(s *millrace.Source) { s.ProjectID = w.newProject() })
	pages(t, all[:6], func(s millrace.Source) millrace.ID { return s.ID },
		func(ctx context.Context, p millrace.Page) (millrace.List[millrace.Source], error) {
			return w.Sources(ctx, millrace.SourceQuery{ProjectID: w.project, Page: p})
		})
}

func TestSourcesAreFoundByTypeProviderAndName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	github := w.webhook(func(s *millrace.Source) { s.Name, s.Provider = "Git 100%", millrace.ProviderGitHub })
	topic := w.kafka(func(s *millrace.Source) { s.Name = "Orders" })
	for name, c := range map[string]struct {
		q    millrace.SourceQuery
		want millrace.ID
	}{
		"by type":         {millrace.SourceQuery{Type: millrace.SourcePubSub}, topic.ID},
		"by provider":     {millrace.SourceQuery{Provider: millrace.ProviderGitHub}, github.ID},
		"by name":         {millrace.SourceQuery{Name: "oRd"}, topic.ID},
		"by name, signs":  {millrace.SourceQuery{Name: "0%"}, github.ID},
		"by two of these": {millrace.SourceQuery{Type: millrace.SourceHTTP, Name: "git"}, github.ID},
	} {
		t.Run(name, func(t *testing.T) {
			c.q.ProjectID = w.project
			list := must[millrace.List[millrace.Source]](t)(w.Sources(t.Context(), c.q))
			wantIDs(t, []millrace.ID{c.want}, idsIn(list.Items, func(s millrace.Source) millrace.ID { return s.ID }))
		})
	}
}

func TestTheVersionCountsAllChangesAndTheRevisionThoseOfTheOrigin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, c := range map[string]struct {
		broker string
		change func(*millrace.PubSub)
		raised bool
	}{
		"kafka, its topic":                {"kafka", func(p *millrace.PubSub) { p.Kafka.Topic = "other" }, true},
		"kafka, its brokers":              {"kafka", func(p *millrace.PubSub) { p.Kafka.Brokers = []string{"c:9092"} }, true},
		"kafka, its brokers' order":       {"kafka", func(p *millrace.PubSub) { p.Kafka.Brokers = []string{"b:9092", "a:9092"} }, false},
		"kafka, its group":                {"kafka", func(p *millrace.PubSub) { p.Kafka.GroupID = "other" }, false},
		"kafka, how it is reached":        {"kafka", func(p *millrace.PubSub) { p.Kafka.Auth = nil }, false},
		"workers, raw and ack":            {"kafka", func(p *millrace.PubSub) { p.Workers, p.Raw, p.Ack = 9, false, millrace.AckPersisted }, false},
		"sqs, its queue":                  {"sqs", func(p *millrace.PubSub) { p.SQS.Queue = "other" }, true},
		"sqs, its region":                 {"sqs", func(p *millrace.PubSub) { p.SQS.Region = "other" }, true},
		"sqs, its endpoint":               {"sqs", func(p *millrace.PubSub) { p.SQS.Endpoint = "" }, true},
		"sqs, its key":                    {"sqs", func(p *millrace.PubSub) { p.SQS.AccessKeyID, p.SQS.SecretKey = "a", "b" }, false},
		"google, its subscription":        {"google", func(p *millrace.PubSub) { p.Google.SubscriptionID = "other" }, true},
		"google, its project":             {"google", func(p *millrace.PubSub) { p.Google.ProjectID = "other" }, true},
		"google, its endpoint":            {"google", func(p *millrace.PubSub) { p.Google.Endpoint = "" }, true},
		"google, its account":             {"google", func(p *millrace.PubSub) { p.Google.ServiceAccount = "" }, false},
		"amqp, its queue":                 {"amqp", func(p *millrace.PubSub) { p.AMQP.Queue = "other" }, true},
		"amqp, its host":                  {"amqp", func(p *millrace.PubSub) { p.AMQP.Host = "other" }, true},
		"amqp, its port":                  {"amqp", func(p *millrace.PubSub) { p.AMQP.Port = 1 }, true},
		"amqp, its vhost":                 {"amqp", func(p *millrace.PubSub) { p.AMQP.VHost = "other" }, true},
		"amqp, its binding and the dead":  {"amqp", func(p *millrace.PubSub) { p.AMQP.Bind, p.AMQP.DeadLetterExchange = nil, "" }, false},
		"amqp, its user and its schema":   {"amqp", func(p *millrace.PubSub) { p.AMQP.Auth, p.AMQP.Schema = nil, "amqp" }, false},
		"another kind":                    {"amqp", func(p *millrace.PubSub) { *p = *brokers()["sqs"] }, true},
		"what another kind would connect": {"amqp", func(p *millrace.PubSub) { p.Kafka = brokers()["kafka"].Kafka }, false},
	} {
		t.Run(name, func(t *testing.T) {
			made := w.kafka(func(s *millrace.Source) { s.PubSub = brokers()[c.broker] })
			got := w.alter(made.ID, func(s *millrace.Source) { c.change(s.PubSub); s.Version, s.Revision = 77, 77 })
			want := 1
			if c.raised {
				want = 2
			}
			if got.Revision != want || got.Version != 2 {
				t.Errorf("it is of revision %d and version %d, want %d and 2", got.Revision, got.Version, want)
			}
			if read := w.readSource(made.ID); !reflect.DeepEqual(read, got) {
				t.Errorf("answered\n%#v, read\n%#v", got, read)
			}
		})
	}
}

func TestAnUpdateKeepsWhatItDoesNotName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.kafka()
	foreign := w.newProject()
	got := w.alter(made.ID, func(s *millrace.Source) {
		s.Name, s.Disabled = "other", true
		s.ID, s.ProjectID, s.MaskID, s.CreatedAt = newID(), foreign, "chosen", time.Now()
	})
	made.Name, made.Disabled, made.Version, made.UpdatedAt = "other", true, 2, got.UpdatedAt
	if !reflect.DeepEqual(got, made) {
		t.Errorf("it is\n%#v, want\n%#v", got, made)
	}
}

func TestConcurrentUpdatesOfASourceComeOneAfterTheOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.webhook(func(s *millrace.Source) { s.Name = "x" })
	in(20, func(int) {
		if _, err := w.UpdateSource(t.Context(), w.project, made.ID, func(s *millrace.Source) error { s.Name += "x"; return nil }); err != nil {
			t.Error(err)
		}
	})
	if got := w.readSource(made.ID); got.Name != strings.Repeat("x", 21) || got.Version != 21 {
		t.Errorf("after 20 updates its name is %q, its version %d", got.Name, got.Version)
	}
}

func TestADeletedSourceIsGoneWithItsSecretsAndSubscriptions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made, e := w.kafka(), w.endpoint()
	of := func(source millrace.ID) millrace.Subscription {
		return w.subscription(e.ID, func(s *millrace.Subscription) { s.SourceID = source })
	}
	mine, others, everyones := of(made.ID), of(w.webhook().ID), of(millrace.ID{})
	w.reported("a", millrace.SourceState{SourceID: made.ID, Health: millrace.SourceHealthy})
	noError(t, w.DeleteSource(t.Context(), w.project, made.ID))
	_, err := w.Source(t.Context(), w.project, made.ID)
	wantCode(t, err, millrace.CodeNotFound)
	wantCode(t, w.DeleteSource(t.Context(), w.project, made.ID), millrace.CodeNotFound)
	_, err = w.UpdateSource(t.Context(), w.project, made.ID, func(*millrace.Source) error { return nil })
	wantCode(t, err, millrace.CodeNotFound)
	_, err = w.Subscription(t.Context(), w.project, mine.ID)
	wantCode(t, err, millrace.CodeNotFound)
	for _, kept := range []millrace.Subscription{others, everyones} {
		must[millrace.Subscription](t)(w.Subscription(t.Context(), w.project, kept.ID))
	}
	if n := w.count(`SELECT count(*) FROM sources WHERE id = $1 AND credentials IS NOT NULL`, made.ID) + w.count(`SELECT count(*) FROM source_states`); n != 0 {
		t.Errorf("%d secrets and states are still there", n)
	}
}

func TestASourceIsFoundByItsMaskUntilASecondAfterItsEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := storetest.Open(t, w.url)
	made := w.webhook(func(s *millrace.Source) { s.Disabled = true })
	find := func(s *store.Store) (millrace.Source, error) { return s.SourceByMask(t.Context(), made.MaskID) }
	for _, s := range []*store.Store{w.Store, other} {
		if got := must[millrace.Source](t)(find(s)); !reflect.DeepEqual(got, made) {
			t.Errorf("found %#v, want %#v", got, made)
		}
	}
	w.alter(made.ID, func(s *millrace.Source) { s.Name = "other" })
	if got := must[millrace.Source](t)(find(w.Store)); got.Name != "other" {
		t.Error("here a change is not seen at once")
	}
	eventually(t, "the change, elsewhere", func() bool { return must[millrace.Source](t)(find(other)).Name == "other" })
	noError(t, w.DeleteSource(t.Context(), w.project, made.ID))
	_, err := find(w.Store)
	wantCode(t, err, millrace.CodeNotFound)
	eventually(t, "the end, elsewhere", func() bool { _, err := find(other); return millrace.CodeOf(err) == millrace.CodeNotFound })
}

func TestAnAnswerAboutAMaskIsBelievedForASecondWithoutAStatement(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	now := time.Now()
	w.SetMaskClock(func() time.Time { return now })
	made, unknown := w.webhook(), strings.Repeat("A", 26)
	ask := func(mask string, there bool) {
		t.Helper()
		if _, err := w.SourceByMask(t.Context(), mask); (err == nil) != there || !there && millrace.CodeOf(err) != millrace.CodeNotFound {
			t.Errorf("a source with the mask %s: %v, want one: %v", mask, err, there)
		}
	}
	ask(made.MaskID, true)
	ask(unknown, false)
	w.exec(`UPDATE sources SET mask_id = $1`, unknown)
	now = now.Add(time.Second - 1)
	ask(made.MaskID, true)
	ask(unknown, false)
	now = now.Add(1)
	ask(made.MaskID, false)
	ask(unknown, true)
	w.exec(`DROP TABLE sources CASCADE`)
	ask("favicon.ico", false)
}

func TestAgentsReadTheBrokersThatAreThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.webhook()
	topic, changed := w.kafka(), w.kafka()
	theirs := w.kafka(func(s *millrace.Source) { s.ProjectID = w.newProject() })
	disabled, gone := w.kafka(func(s *millrace.Source) { s.Disabled = true }), w.kafka()
	changed = w.alter(changed.ID, func(s *millrace.Source) { s.Name = "other" })
	noError(t, w.DeleteSource(t.Context(), w.project, gone.ID))
	want := map[millrace.ID]int64{topic.ID: 1, changed.ID: 2, theirs.ID: 1}
	if got := must[map[millrace.ID]int64](t)(w.SourceVersions(t.Context())); !reflect.DeepEqual(got, want) {
		t.Errorf("the versions are %v, want %v", got, want)
	}
	got := map[millrace.ID]millrace.Source{}
	for _, s := range must[[]millrace.Source](t)(w.BrokerSources(t.Context())) {
		got[s.ID] = s
	}
	if want := (map[millrace.ID]millrace.Source{topic.ID: topic, changed.ID: changed, theirs.ID: theirs}); !reflect.DeepEqual(got, want) {
		t.Errorf("the sources are\n%#v, want\n%#v", got, want)
	}
	enabled := w.alter(disabled.ID, func(s *millrace.Source) { s.Disabled = false })
	if got := must[map[millrace.ID]int64](t)(w.SourceVersions(t.Context())); got[disabled.ID] != enabled.Version {
		t.Errorf("one that was enabled is not read: %v", got)
	}
}

func TestASourceThatCannotBeOpenedIsNamedAndHidesNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := store.NewKey()
	foreign := must[millrace.Source](t)(w.openWith(key).CreateSource(t.Context(), millrace.Source{
		ProjectID: w.project, Name: "n", Type: millrace.SourcePubSub, PubSub: brokers()["kafka"],
	}))
	mine := w.kafka()
	got, err := w.BrokerSources(t.Context())
	if !errors.Is(err, store.ErrUnknownKey) || !strings.Contains(err.Error(), foreign.ID.String()) {
		t.Errorf("got %v, want the source %s named", err, foreign.ID)
	}
	if !reflect.DeepEqual(got, []millrace.Source{mine}) {
		t.Errorf("got %#v, want %#v", got, mine)
	}
}

package store_test

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

func TestAProjectIsKeptAsItWasGiven(t *testing.T) {
	w := newWorld(t)
	p := millrace.Project{Name: "shop", Type: "incoming", Config: millrace.DefaultProjectConfig()}
	p.Config.Strategy = &millrace.Strategy{Type: millrace.StrategyList, Schedule: []time.Duration{0, 1500 * time.Millisecond, time.Hour}}
	p.Config.Signature.Versions = []millrace.SignatureVersion{{UID: "v1", Hash: "SHA512", Encoding: "base64"}}
	p.Config.Ack, p.Config.DisableEndpoint, p.Config.MultipleEndpointSubscriptions = millrace.AckPersisted, true, false
	p.Config.Other = map[string]json.RawMessage{"ratelimit": json.RawMessage(`{"count": 7}`)}
	made := must[millrace.Project](t)(w.CreateProject(t.Context(), p))
	read := must[millrace.Project](t)(w.Project(t.Context(), made.ID))
	if !reflect.DeepEqual(made, read) {
		t.Errorf("created as\n%+v, read as\n%+v", made, read)
	}
	if read.Name != p.Name || read.Type != p.Type || read.ConfigVersion != 1 || !reflect.DeepEqual(read.Config, p.Config) {
		t.Errorf("given\n%+v, kept\n%+v", p, read)
	}
	if since := time.Since(read.CreatedAt); since < -time.Minute || since > time.Minute {
		t.Errorf("created at %s", read.CreatedAt)
	}
}

func TestAProjectThatSetsNothingHasTheDefaultSignature(t *testing.T) {
	w := newWorld(t)
	made := must[millrace.Project](t)(w.CreateProject(t.Context(), millrace.Project{Name: "plain"}))
	if made.Type != "outgoing" || made.Config.Signature.Header != "X-Convoy-Signature" || !made.Config.Signature.Convoy {
		t.Errorf("created as %+v", made)
	}
}

func TestARefusedProjectChangesNothing(t *testing.T) {
	w := newWorld(t)
	_, err := w.CreateProject(t.Context(), millrace.Project{})
	wantCode(t, err, millrace.CodeBadRequest)
	p := must[millrace.Project](t)(w.CreateProject(t.Context(), millrace.Project{Name: "shop"}))
	_, err = w.UpdateProject(t.Context(), p.ID, func(p *millrace.Project) error { p.Config.Ack = "maybe"; return nil })
	wantCode(t, err, millrace.CodeInvalid)
	if after := must[millrace.Project](t)(w.Project(t.Context(), p.ID)); !reflect.DeepEqual(p, after) {
		t.Errorf("was %+v, is %+v", p, after)
	}
}

func TestUpdatingAProjectChangesWhatItNames(t *testing.T) {
	w := newWorld(t)
	p := must[millrace.Project](t)(w.CreateProject(t.Context(), millrace.Project{Name: "shop"}))
	changed := must[millrace.Project](t)(w.UpdateProject(t.Context(), p.ID, func(p *millrace.Project) error { p.Name = "store"; return nil }))
	p.Name, p.ConfigVersion, p.UpdatedAt = "store", 2, changed.UpdatedAt
	if !reflect.DeepEqual(p, changed) || !reflect.DeepEqual(p, must[millrace.Project](t)(w.Project(t.Context(), p.ID))) {
		t.Errorf("changed to %+v, want %+v", changed, p)
	}
	_, err := w.UpdateProject(t.Context(), newID(), func(*millrace.Project) error { return nil })
	wantCode(t, err, millrace.CodeNotFound)
}

func TestConcurrentUpdatesOfAProjectComeOneAfterTheOther(t *testing.T) {
	w := newWorld(t)
	p := must[millrace.Project](t)(w.CreateProject(t.Context(), millrace.Project{Name: "x"}))
	in(20, func(int) {
		if _, err := w.UpdateProject(t.Context(), p.ID, func(p *millrace.Project) error { p.Name += "x"; return nil }); err != nil {
			t.Error(err)
		}
	})
	after := must[millrace.Project](t)(w.Project(t.Context(), p.ID))
	if after.Name != strings.Repeat("x", 21) || after.ConfigVersion != 21 {
		t.Errorf("after 20 updates the name is %q and the version %d", after.Name, after.ConfigVersion)
	}
}

func TestProjectsAreListedBothWaysInBothOrders(t *testing.T) {
	w := newWorld(t)
	all := []millrace.ID{w.project}
	for range 6 {
		all = append(all, millrace.NewID(millrace.TimeOf(all[len(all)-1]).Add(time.Millisecond)))
		must[millrace.Project](t)(w.CreateProject(t.Context(), millrace.Project{ID: all[len(all)-1], Name: "p"}))
	}
	noError(t, w.DeleteProject(t.Context(), all[3]))
	all = append(all[:3:3], all[4:]...)
	pages(t, all, func(p millrace.Project) millrace.ID { return p.ID }, w.Projects)
}

func TestADeletedProjectIsGoneWithAllThatIsInIt(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint(func(e *millrace.Endpoint) { e.SlackWebhookURL = "https://hooks.example/" + secretWord })
	sub := w.subscription(e.ID)
	hook, topic := w.webhook(), w.kafka()
	must[millrace.Source](t)(w.SourceByMask(t.Context(), hook.MaskID))
	noError(t, w.ReportSources(t.Context(), "a", []millrace.SourceState{{SourceID: topic.ID, Health: millrace.SourceHealthy}}))
	clear, _, err := w.CreateAPIKey(t.Context(), millrace.APIKey{ProjectID: w.project, Name: "ci"})
	noError(t, err)
	must[millrace.APIKey](t)(w.Authenticate(t.Context(), clear))
	held := w.heldDelivery(e.ID)
	noError(t, w.DeleteProject(t.Context(), w.project))
	_, err = w.Project(t.Context(), w.project)
	wantCode(t, err, millrace.CodeNotFound)
	_, err = w.Snapshot(t.Context(), w.project)
	wantCode(t, err, millrace.CodeNotFound)
	_, err = w.Endpoint(t.Context(), w.project, e.ID)
	wantCode(t, err, millrace.CodeNotFound)
	_, err = w.Subscription(t.Context(), w.project, sub.ID)
	wantCode(t, err, millrace.CodeNotFound)
	_, err = w.Source(t.Context(), w.project, hook.ID)
	wantCode(t, err, millrace.CodeNotFound)
	_, err = w.SourceByMask(t.Context(), hook.MaskID)
	wantCode(t, err, millrace.CodeNotFound)
	if versions := must[map[millrace.ID]int64](t)(w.SourceVersions(t.Context())); len(versions) != 0 {
		t.Errorf("its sources are still read: %v", versions)
	}
	_, err = w.Authenticate(t.Context(), clear)
	wantCode(t, err, millrace.CodeUnauthenticated)
	wantCode(t, w.DeleteProject(t.Context(), w.project), millrace.CodeNotFound)
	if status := w.record(held).Status; status != millrace.Cancelled {
		t.Errorf("its held delivery is %s", status)
	}
	if n := w.count(`SELECT count(*) FROM endpoint_secrets`) + w.count(`SELECT count(*) FROM endpoints WHERE credentials IS NOT NULL`) +
		w.count(`SELECT count(*) FROM sources WHERE credentials IS NOT NULL`) + w.count(`SELECT count(*) FROM source_states`); n != 0 {
		t.Errorf("%d secrets and states are still there", n)
	}
	if versions := must[map[millrace.ID]int64](t)(w.ConfigVersions(t.Context(), []millrace.ID{w.project})); len(versions) != 0 {
		t.Errorf("it still has a config version: %v", versions)
	}
}

// Each way to change what is configured, by its noun and verb in the audit.
func TestEachChangeRaisesTheVersionIsAuditedAndIsBroadcast(t *testing.T) {
	w := newWorld(t)
	e, doomed := w.endpoint(), w.endpoint()
	sub, doomedSub := w.subscription(e.ID), w.subscription(e.ID)
	source, doomedSource := w.webhook(), w.webhook()
	_, key, err := w.CreateAPIKey(t.Context(), millrace.APIKey{ProjectID: w.project, Name: "ci"})
	noError(t, err)
	var told atomic.Int32
	w.OnChange = func(project millrace.ID) {
		if project == w.project {
			told.Add(1)
		}
	}
	ctx := millrace.WithActor(t.Context(), "mrp_tester")
	for _, c := range []struct {
		what string
		do   func(ctx context.Context) error
	}{
		{"project updated", func(ctx context.Context) error {
			_, err := w.UpdateProject(ctx, w.project, func(p *millrace.Project) error {
				p.Config = millrace.DefaultProjectConfig()
				return nil
			})
			return err
		}},
		{"api key created", func(ctx context.Context) error {
			_, _, err := w.CreateAPIKey(ctx, millrace.APIKey{ProjectID: w.project, Name: "ci"})
			return err
		}},
		{"api key revoked", func(ctx context.Context) error { return w.RevokeAPIKey(ctx, key.ID) }},
		{"endpoint created", func(ctx context.Context) error {
			copied := e
			copied.ID = millrace.ID{}
			_, err := w.CreateEndpoint(ctx, copied)
			return err
		}},
		{"endpoint updated", func(ctx context.Context) error {
			_, err := w.UpdateEndpoint(ctx, w.project, e.ID, func(e *millrace.Endpoint) error { e.Name = "other"; return nil })
			return err
		}},
		{"endpoint secret expired", func(ctx context.Context) error {
			_, err := w.ExpireSecret(ctx, w.project, e.ID, "", time.Now().Add(time.Hour))
			return err
		}},
		{"endpoint disabled", func(ctx context.Context) error { return w.DisableEndpoint(ctx, w.project, e.ID, "it answered 410") }},
		{"endpoint deleted", func(ctx context.Context) error { return w.DeleteEndpoint(ctx, w.project, doomed.ID) }},
		{"subscription created", func(ctx context.Context) error {
			copied := sub
			copied.ID = millrace.ID{}
			_, err := w.CreateSubscription(ctx, copied)
			return err
		}},
		{"subscription updated", func(ctx context.Context) error {
			_, err := w.UpdateSubscription(ctx, w.project, sub.ID, func(s *millrace.Subscription) error { s.Name = "other"; return nil })
			return err
		}},
		{"subscription deleted", func(ctx context.Context) error { return w.DeleteSubscription(ctx, w.project, doomedSub.ID) }},
		{"source created", func(ctx context.Context) error {
			copied := source
			copied.ID = millrace.ID{}
			_, err := w.CreateSource(ctx, copied)
			return err
		}},
		{"source updated", func(ctx context.Context) error {
			_, err := w.UpdateSource(ctx, w.project, source.ID, func(s *millrace.Source) error { s.Name = "other"; return nil })
			return err
		}},
		{"source deleted", func(ctx context.Context) error { return w.DeleteSource(ctx, w.project, doomedSource.ID) }},
		{"project deleted", func(ctx context.Context) error { return w.DeleteProject(ctx, w.project) }},
	} {
		version, before := w.version(), told.Load()
		noError(t, c.do(ctx))
		if w.version() != version+1 {
			t.Errorf("%s: the version went from %d to %d", c.what, version, w.version())
		}
		if told.Load() != before+1 {
			t.Errorf("%s: told %d times", c.what, told.Load()-before)
		}
		if n := w.count(`SELECT count(*) FROM audit WHERE project_id = $1 AND noun || ' ' || verb = $2 AND actor = 'mrp_tester'`, w.project, c.what); n != 1 {
			t.Errorf("%s: %d audit rows", c.what, n)
		}
	}
}

func TestARefusedChangeRaisesNothingAndTellsNobody(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint()
	noError(t, w.DisableEndpoint(t.Context(), w.project, e.ID, "it answered 410"))
	version, audited := w.version(), w.count(`SELECT count(*) FROM audit`)
	w.OnChange = func(millrace.ID) { t.Error("somebody was told") }
	_, err := w.UpdateEndpoint(t.Context(), w.project, e.ID, func(e *millrace.Endpoint) error { e.Method = "GET"; return nil })
	wantCode(t, err, millrace.CodeInvalid)
	wantCode(t, w.DeleteEndpoint(t.Context(), w.project, newID()), millrace.CodeNotFound)
	wantCode(t, w.DeleteSubscription(t.Context(), w.project, newID()), millrace.CodeNotFound)
	noError(t, w.DisableEndpoint(t.Context(), w.project, e.ID, "again"))
	if w.version() != version || w.count(`SELECT count(*) FROM audit`) != audited {
		t.Errorf("the version went from %d to %d, the audit from %d to %d", version, w.version(), audited, w.count(`SELECT count(*) FROM audit`))
	}
}

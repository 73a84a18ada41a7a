package httpapi

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	convoy "github.com/frain-dev/convoy-go/v2"

	millrace "github.com/millrace-dev/millrace"
)

// TestConvoySDK drives the API with Convoy's own Go client, which sends the
// year 1 as its version and as the dates of its lists, and the text "{}" where
// it has no body.
func TestConvoySDK(t *testing.T) {
	a := newAPI(t)
	server := httptest.NewServer(a.handler)
	defer server.Close()
	client := convoy.New(server.URL+"/api/v1", projectKey, a.project.String())
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ok := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}

	yes := true
	endpoint, err := client.Endpoints.Create(ctx, &convoy.CreateEndpointRequest{
		Name: "Hook", URL: "https://example.com/hook", HttpTimeout: "20s", AdvancedSignatures: &yes, RateLimit: 5, RateLimitDuration: "1m",
		Authentication: &convoy.EndpointAuth{Type: "api_key", ApiKey: &convoy.ApiKeyAuth{HeaderName: "X-Key", HeaderValue: "v"}},
	}, nil)
	ok("create an endpoint", err)
	equal(t, "the endpoint", [4]string{endpoint.Title, endpoint.TargetUrl, endpoint.HttpTimeout, endpoint.RateLimitDuration}, [4]string{"Hook", "https://example.com/hook", "20s", "1m0s"})
	endpoint, err = client.Endpoints.Update(ctx, endpoint.UID, &convoy.CreateEndpointRequest{Description: "new"}, nil)
	ok("update an endpoint", err)
	equal(t, "the endpoint", [3]string{endpoint.Title, endpoint.Description, endpoint.Authentication.ApiKey.HeaderName}, [3]string{"Hook", "new", "X-Key"})
	paused, err := client.Endpoints.Pause(ctx, endpoint.UID)
	ok("pause an endpoint", err)
	equal(t, "the status", paused.Status, "paused")
	ok("roll a secret", client.Endpoints.RollSecret(ctx, endpoint.UID, &convoy.RollSecretRequest{Expiration: 1, Secret: "another"}))
	endpoints, err := client.Endpoints.All(ctx, &convoy.EndpointParams{})
	ok("list endpoints", err)
	equal(t, "the secrets listed", len(endpoints.Content[0].Secrets), 2)

	sub, err := client.Subscriptions.Create(ctx, &convoy.CreateSubscriptionRequest{
		Name: "All", EndpointID: endpoint.UID, FilterConfig: &convoy.FilterConfiguration{EventTypes: []string{"*"}},
	})
	ok("create a subscription", err)
	_, err = client.Subscriptions.Find(ctx, sub.UID)
	ok("find a subscription", err)
	_, err = client.Subscriptions.All(ctx, &convoy.SubscriptionParams{})
	ok("list subscriptions", err)

	ok("create an event", client.Events.Create(ctx, &convoy.CreateEventRequest{EndpointID: endpoint.UID, EventType: "a", Data: []byte(`{"n":1}`)}))
	ok("fan an event out", client.Events.FanoutEvent(ctx, &convoy.CreateFanoutEventRequest{OwnerID: "o", EventType: "a", Data: []byte(`{"n":1}`)}))
	ok("broadcast an event", client.Events.BroadcastEvent(ctx, &convoy.CreateBroadcastEventRequest{EventType: "a", Data: []byte(`{"n":1}`)}))
	equal(t, "the events taken in", len(a.pipeline.taken), 3)
	err = client.Events.Create(ctx, &convoy.CreateEventRequest{EventType: "a"})
	equal(t, "an event without data is refused", err != nil, true)

	d := withDelivery(a)
	events, err := client.Events.All(ctx, &convoy.EventParams{})
	ok("list events", err)
	equal(t, "the event listed", events.Content[0].EventType, "order.paid")
	equal(t, "since", a.store.asked.(millrace.EventQuery).Since, testNow.Add(-lookBack))
	ok("replay an event", client.Events.Replay(ctx, d.EventID.String()))
	deliveries, err := client.EventDeliveries.All(ctx, &convoy.EventDeliveryParams{})
	ok("list deliveries", err)
	equal(t, "the delivery listed", deliveries.Content[0].EventMetadata.Name, "order.paid")
	_, err = client.EventDeliveries.Find(ctx, d.ID.String(), nil)
	ok("find a delivery", err)
	_, err = client.EventDeliveries.Resend(ctx, d.ID.String(), nil)
	ok("resend a delivery", err)
	a.store.attempts = []millrace.Fact{{ID: millrace.NewID(testNow), Kind: millrace.FactAttempted, Attempt: &millrace.Attempt{StatusCode: 200, Outcome: millrace.OutcomeSuccess}}}
	attempts, err := client.DeliveryAttempts.All(ctx, d.ID.String(), nil)
	ok("list attempts", err)
	equal(t, "the attempt", (*attempts)[0].HttpResponseCode, "200 OK")
	_, err = client.Projects.Find(ctx, a.project.String())
	ok("find the project", err)

	source, err := client.Sources.Create(ctx, &convoy.CreateSourceRequest{
		Name: "GitHub", Type: "http", Provider: "github", Verifier: convoy.VerifierConfig{Type: "hmac", HMac: &convoy.HMac{Header: "X-Hub-Signature-256", Hash: "SHA256", Secret: "correct-horse-battery", Encoding: "hex"}},
	})
	ok("create a source", err)
	equal(t, "the source", [4]string{source.Name, source.MaskID, source.Provider, source.Verifier.HMac.Secret}, [4]string{"GitHub", "mask", "github", "correct-horse-battery"})
	source, err = client.Sources.Find(ctx, source.UID)
	ok("find a source", err)
	equal(t, "its secret", source.Verifier.HMac.Secret, "****tery")
	source, err = client.Sources.Update(ctx, source.UID, &convoy.CreateSourceRequest{Name: "Code", Type: "http", IsDisabled: true})
	ok("update a source", err)
	equal(t, "its name", source.Name, "Code")
	equal(t, "is_disabled", source.IsDisabled, true)
	sources, err := client.Sources.All(ctx, &convoy.SourceParams{Type: "http"})
	ok("list sources", err)
	equal(t, "the sources listed", len(sources.Content), 1)
	equal(t, "the type asked for", a.store.asked.(millrace.SourceQuery).Type, millrace.SourceHTTP)
	ok("delete a source", client.Sources.Delete(ctx, source.UID))
	equal(t, "the sources left", len(a.store.sources), 0)

	ok("delete a subscription", client.Subscriptions.Delete(ctx, sub.UID))
	ok("delete an endpoint", client.Endpoints.Delete(ctx, endpoint.UID, nil))
}

package main

import (
	"encoding/json"
	"testing"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
)

// broker is Google's fake, with a topic.
func broker(t *testing.T) *pstest.Server {
	s := pstest.NewServer()
	t.Cleanup(func() { _ = s.Close() }) // nothing to lose
	if _, err := s.GServer.CreateTopic(t.Context(), &pubsubpb.Topic{Name: "projects/shop/topics/orders"}); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PUBSUB_EMULATOR_HOST", s.Addr)
	return s
}

func TestAnEventIsPublished(t *testing.T) {
	s := broker(t)
	if err := send(t.Context(), "shop", "orders", "fanout", Event{Type: "order.paid", OwnerID: "shop-7", Data: json.RawMessage(`{"id":42}`)}); err != nil {
		t.Fatal(err)
	}
	const want = `{"event_type":"order.paid","owner_id":"shop-7","data":{"id":42}}`
	messages := s.Messages()
	if len(messages) != 1 || string(messages[0].Data) != want || messages[0].Attributes["x-convoy-message-type"] != "fanout" {
		t.Errorf("the topic has %+v, want one message %s", messages, want)
	}
}

func TestATopicThatIsNotThereIsAnError(t *testing.T) {
	broker(t)
	if err := send(t.Context(), "shop", "nowhere", "broadcast", Event{}); err == nil {
		t.Error("sent, want an error")
	}
}

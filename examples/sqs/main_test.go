package main

import (
	"encoding/json"
	"testing"

	"github.com/millrace-dev/millrace/brokertest"
)

func TestAnEventIsPutIntoTheQueue(t *testing.T) {
	server := brokertest.NewSQS(t)
	server.CreateQueue("orders", nil)
	t.Setenv("AWS_ENDPOINT_URL", server.URL())
	t.Setenv("AWS_REGION", "eu-west-1")
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	err := send(t.Context(), "orders", Event{Type: "order.paid", OwnerID: "shop-7", Data: json.RawMessage(`{"id":42}`), Kind: Kind{"fanout"}})
	if err != nil {
		t.Fatal(err)
	}
	messages := server.Messages("orders")
	const want = `{"event_type":"order.paid","owner_id":"shop-7","data":{"id":42},"custom_headers":{"x-convoy-message-type":"fanout"}}`
	if len(messages) != 1 || *messages[0].Body != want {
		t.Errorf("the queue has %+v, want one message %s", messages, want)
	}
}

func TestAQueueThatIsNotThereIsAnError(t *testing.T) {
	t.Setenv("AWS_ENDPOINT_URL", brokertest.NewSQS(t).URL())
	t.Setenv("AWS_REGION", "eu-west-1")
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	if err := send(t.Context(), "orders", Event{}); err == nil {
		t.Error("sent, want an error")
	}
}

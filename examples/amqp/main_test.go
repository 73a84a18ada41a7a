package main

import (
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/millrace-dev/millrace/brokertest"
)

func TestAnEventIsPutIntoTheQueue(t *testing.T) {
	server := brokertest.NewAMQP(t)
	conn, err := amqp.Dial(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }() // all is read by then
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare("orders", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	const body = `{"event_type": "order.paid", "data": 1}`
	if err := send(t.Context(), server.URL(), "orders", amqp.Publishing{MessageId: "m1", Body: []byte(body)}); err != nil {
		t.Fatal(err)
	}
	got, there, err := ch.Get("orders", true)
	if err != nil || !there || string(got.Body) != body || got.MessageId != "m1" {
		t.Errorf("the queue has %q (%v), want %s", got.Body, err, body)
	}
}

func TestAQueueThatIsNotThereIsAnError(t *testing.T) {
	if err := send(t.Context(), brokertest.NewAMQP(t).URL(), "nowhere", amqp.Publishing{}); err == nil {
		t.Error("sent, want an error")
	}
}

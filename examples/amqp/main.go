// Command amqp hands an event to Millrace by way of a queue of RabbitMQ that a
// source reads, and waits until the broker has it.
//
//	AMQP_URL=amqp://guest:guest@localhost:5672/ QUEUE=orders go run ./examples/amqp
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// The id is what makes one event of a message that is delivered twice.
	event := amqp.Publishing{
		MessageId: "order-42-paid", AppId: "shop", DeliveryMode: amqp.Persistent,
		Headers: amqp.Table{"x-convoy-message-type": "fanout"}, // or single, or broadcast
		Body:    []byte(`{"event_type": "order.paid", "owner_id": "shop-7", "data": {"id": 42}}`),
	}
	if err := send(ctx, os.Getenv("AMQP_URL"), os.Getenv("QUEUE"), event); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func send(ctx context.Context, url, queue string, event amqp.Publishing) error {
	conn, err := amqp.Dial(url)
	if err != nil {
		return fmt.Errorf("dial the broker: %w", err)
	}
	defer func() { _ = conn.Close() }() // what matters is confirmed by then
	ch, err := conn.Channel()
	if err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	if _, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil); err != nil {
		return fmt.Errorf("find queue %s: %w", queue, err)
	}
	if err := ch.Confirm(false); err != nil {
		return fmt.Errorf("ask for confirms: %w", err)
	}
	confirmed, err := ch.PublishWithDeferredConfirm("", queue, true, false, event)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if ok, err := confirmed.WaitContext(ctx); err != nil || !ok {
		return errors.Join(errors.New("the broker does not confirm"), err)
	}
	return nil
}

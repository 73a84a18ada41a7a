// Command pubsub hands an event to Millrace by way of a topic of Google Cloud
// Pub/Sub, which a source reads by a subscription. Google's client finds its
// credentials, or an emulator (PUBSUB_EMULATOR_HOST), where it always does.
//
//	PROJECT=shop TOPIC=orders go run ./examples/pubsub
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"cloud.google.com/go/pubsub/v2"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// The kind is single (an endpoint_id), fanout (an owner_id) or broadcast.
	err := send(ctx, os.Getenv("PROJECT"), os.Getenv("TOPIC"), "fanout", Event{Type: "order.paid", OwnerID: "shop-7", Data: json.RawMessage(`{"id": 42}`)})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Event is what happened, and to whom it goes: all endpoints of an owner.
type Event struct {
	Type    string          `json:"event_type"`
	OwnerID string          `json:"owner_id"`
	Data    json.RawMessage `json:"data"`
}

func send(ctx context.Context, project, topic, kind string, e Event) (err error) {
	client, err := pubsub.NewClient(ctx, project)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write the event: %w", err)
	}
	publisher := client.Publisher(topic)
	defer publisher.Stop()
	message := &pubsub.Message{Data: body, Attributes: map[string]string{"x-convoy-message-type": kind}}
	if _, err := publisher.Publish(ctx, message).Get(ctx); err != nil {
		return fmt.Errorf("publish to %s: %w", topic, err)
	}
	return nil
}

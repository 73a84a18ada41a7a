// Command kafka hands an event to Millrace by way of a topic of Kafka that a
// source reads, and waits until all replicas have it.
//
//	BROKERS=localhost:9092 TOPIC=orders go run ./examples/kafka
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	event := &kgo.Record{
		Topic:   os.Getenv("TOPIC"),
		Key:     []byte("shop-7"),                                                            // one partition for each owner
		Headers: []kgo.RecordHeader{{Key: "x-convoy-message-type", Value: []byte("fanout")}}, // or single, or broadcast
		// What a producer sends twice has two offsets: the key makes it one event.
		Value: []byte(`{"event_type": "order.paid", "owner_id": "shop-7", "idempotency_key": "order-42-paid", "data": {"id": 42}}`),
	}
	if err := send(ctx, strings.Split(os.Getenv("BROKERS"), ","), event); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// send adds an event to its topic. No error means that the brokers have it;
// the client tries again what may be tried again.
func send(ctx context.Context, brokers []string, event *kgo.Record) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	defer client.Close()
	if err := client.ProduceSync(ctx, event).FirstErr(); err != nil {
		return fmt.Errorf("send the event: %w", err)
	}
	return nil
}

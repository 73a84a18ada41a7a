// Command sqs hands an event to Millrace by way of an Amazon SQS queue that a
// source reads. The AWS SDK finds key, region and endpoint where it always
// does.
//
//	AWS_REGION=… AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… QUEUE=orders go run ./examples/sqs
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := send(ctx, os.Getenv("QUEUE"), Event{Type: "order.paid", OwnerID: "shop-7", Data: json.RawMessage(`{"id": 42}`), Kind: Kind{"fanout"}})
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
	Kind    Kind            `json:"custom_headers"`
}

// Kind says whom an event goes to: single (an endpoint_id), fanout (an
// owner_id) or broadcast (whoever subscribes).
type Kind struct {
	MessageType string `json:"x-convoy-message-type"`
}

func send(ctx context.Context, queue string, e Event) error {
	aws, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return fmt.Errorf("load the AWS configuration: %w", err)
	}
	client := sqs.NewFromConfig(aws)
	found, err := client.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &queue})
	if err != nil {
		return fmt.Errorf("find queue %s: %w", queue, err)
	}
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write the event: %w", err)
	}
	text := string(body)
	_, err = client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: found.QueueUrl, MessageBody: &text})
	return err
}

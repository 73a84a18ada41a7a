package main

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestAnEventIsInItsTopicOnceItIsSent(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	event := &kgo.Record{Topic: "orders", Value: []byte(`{"event_type": "order.paid", "data": 1}`), Headers: []kgo.RecordHeader{{Key: "x-convoy-message-type", Value: []byte("broadcast")}}}
	if err := send(ctx, cluster.ListenAddrs(), event); err != nil {
		t.Fatal(err)
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics("orders"))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	got := reader.PollFetches(ctx).Records()
	if len(got) != 1 || string(got[0].Value) != string(event.Value) || len(got[0].Headers) != 1 {
		t.Errorf("in the topic are %d messages: %+v", len(got), got)
	}
}

func TestSendingToNobodyIsAnError(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := send(ctx, []string{"127.0.0.1:1"}, &kgo.Record{Topic: "orders"}); err == nil {
		t.Error("it was sent")
	}
}

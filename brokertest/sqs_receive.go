package brokertest

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

func (s *SQS) receiveMessage(ctx context.Context, in sqs.ReceiveMessageInput) (*sqs.ReceiveMessageOutput, error) {
	most := max(int(in.MaxNumberOfMessages), 1)
	if most > sqsBatchMost || in.WaitTimeSeconds > 20 {
		return nil, invalidParameter("MaxNumberOfMessages must be between 1 and 10, and WaitTimeSeconds between 0 and 20")
	}
	system := make([]string, 0, len(in.MessageSystemAttributeNames))
	for _, name := range in.MessageSystemAttributeNames {
		system = append(system, string(name))
	}
	var deadline time.Time
	for {
		s.mu.Lock()
		q, err := s.queue(in.QueueUrl)
		if err != nil {
			s.mu.Unlock()
			return nil, err
		}
		if deadline.IsZero() {
			deadline = time.Now().Add(max(q.poll, time.Duration(in.WaitTimeSeconds)*time.Second))
		}
		visibility := q.visibility
		if in.VisibilityTimeout > 0 {
			visibility = time.Duration(in.VisibilityTimeout) * time.Second
		}
		out := &sqs.ReceiveMessageOutput{}
		for _, m := range q.receive(most, visibility) {
			out.Messages = append(out.Messages, m.shown(in.MessageAttributeNames, system))
		}
		changed, next := q.changed, q.nextVisible()
		s.mu.Unlock()
		if len(out.Messages) > 0 || !waitForMessage(ctx, changed, next, deadline) {
			return out, nil
		}
	}
}

// waitForMessage waits until a message may be visible; false: it is no use any
// more.
func waitForMessage(ctx context.Context, changed <-chan struct{}, next, deadline time.Time) bool {
	until := deadline
	if !next.IsZero() && next.Before(deadline) {
		until = next
	}
	wait := time.NewTimer(time.Until(until))
	defer wait.Stop()
	select {
	case <-changed:
	case <-wait.C:
	case <-ctx.Done():
		return false
	}
	return time.Now().Before(deadline)
}

func (s *SQS) deleteMessage(_ context.Context, in sqs.DeleteMessageInput) (*sqs.DeleteMessageOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(in.QueueUrl)
	if err != nil {
		return nil, err
	}
	return &sqs.DeleteMessageOutput{}, q.delete(aws.ToString(in.ReceiptHandle))
}

func (s *SQS) deleteMessageBatch(_ context.Context, in sqs.DeleteMessageBatchInput) (*sqs.DeleteMessageBatchOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(in.QueueUrl)
	if err != nil {
		return nil, err
	}
	out := &sqs.DeleteMessageBatchOutput{}
	b := sqsBatch{operation: "DeleteMessageBatch"}
	for _, e := range in.Entries {
		b.add(e.Id, func() error { return q.delete(aws.ToString(e.ReceiptHandle)) }, func() {
			out.Successful = append(out.Successful, types.DeleteMessageBatchResultEntry{Id: e.Id})
		})
	}
	out.Failed, err = s.do(b)
	return out, err
}

func (s *SQS) changeMessageVisibility(_ context.Context, in sqs.ChangeMessageVisibilityInput) (*sqs.ChangeMessageVisibilityOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(in.QueueUrl)
	if err != nil {
		return nil, err
	}
	return &sqs.ChangeMessageVisibilityOutput{}, q.changeVisibility(aws.ToString(in.ReceiptHandle), time.Duration(in.VisibilityTimeout)*time.Second)
}

func (s *SQS) changeMessageVisibilityBatch(_ context.Context, in sqs.ChangeMessageVisibilityBatchInput) (*sqs.ChangeMessageVisibilityBatchOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(in.QueueUrl)
	if err != nil {
		return nil, err
	}
	out := &sqs.ChangeMessageVisibilityBatchOutput{}
	b := sqsBatch{operation: "ChangeMessageVisibilityBatch"}
	for _, e := range in.Entries {
		b.add(e.Id, func() error {
			return q.changeVisibility(aws.ToString(e.ReceiptHandle), time.Duration(e.VisibilityTimeout)*time.Second)
		}, func() {
			out.Successful = append(out.Successful, types.ChangeMessageVisibilityBatchResultEntry{Id: e.Id})
		})
	}
	out.Failed, err = s.do(b)
	return out, err
}

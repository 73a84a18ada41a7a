package sources

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	millrace "github.com/millrace-dev/millrace"
)

// sqsCallTimeout is how long SQS may take to answer, beside what it is asked
// to wait.
const sqsCallTimeout = 10 * time.Second

// errNotSQS: who answers at a source's endpoint need not be SQS.
var errNotSQS = errors.New("what answers at the endpoint is not SQS")

// sqsQueue is a queue that was found.
type sqsQueue struct {
	source millrace.SQSSource
	// ending ends with the subscription.
	ending context.Context
	client *sqs.Client
	// transport is the client's.
	transport *http.Transport
	url       string
	fifo      bool
}

// open finds the source's queue.
func (s *sqsSource) open(ctx context.Context) (*sqsQueue, error) {
	q := &sqsQueue{source: *s.config.Source.PubSub.SQS, ending: ctx}
	q.fifo = strings.HasSuffix(q.source.Queue, ".fifo")
	ctx, hangUp := context.WithTimeout(ctx, 2*sqsCallTimeout)
	defer hangUp()
	c, err := q.account(ctx)
	if err != nil {
		return nil, err
	}
	// What the source names is dialled here, and by no proxy of the environment,
	// which would look the name up for itself. How the SDK finds the machine's
	// role is its own affair.
	q.transport.DialContext, q.transport.Proxy = s.config.dial, nil
	q.transport.MaxIdleConnsPerHost = sqsReceivers + 3*sqsBatchCalls
	c.HTTPClient = &http.Client{Transport: sqsAnswers{q.transport}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	q.client = sqs.NewFromConfig(c, func(o *sqs.Options) {
		o.Retryer = aws.NopRetryer{} // who calls knows better when it is worth another try
		if q.source.Endpoint != "" {
			o.BaseEndpoint = aws.String(q.source.Endpoint)
		}
	})
	found, err := q.client.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &q.source.Queue})
	if err != nil {
		q.close()
		return nil, q.plain(err)
	}
	if q.url = aws.ToString(found.QueueUrl); q.url == "" {
		q.close()
		return nil, errNotSQS
	}
	return q, nil
}

// sqsLongest bounds an answer: ten messages of a megabyte, escaped.
const sqsLongest = 32 << 20

// sqsAnswers reads so much of an answer.
type sqsAnswers struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (a sqsAnswers) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := a.RoundTripper.RoundTrip(r)
	if err == nil {
		answer.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(answer.Body, sqsLongest), answer.Body}
	}
	return answer, err
}

// account is the configuration with the source's key, or the SDK's default
// chain where it has none.
func (q *sqsQueue) account(ctx context.Context) (aws.Config, error) {
	if q.source.AccessKeyID != "" {
		q.transport = awshttp.NewBuildableClient().GetTransport()
		return aws.Config{
			Region:      q.source.Region,
			Credentials: credentials.NewStaticCredentialsProvider(q.source.AccessKeyID, string(q.source.SecretKey), ""),
		}, nil
	}
	// The environment may name its own certificate authorities.
	c, err := config.LoadDefaultConfig(ctx, config.WithRegion(q.source.Region), config.WithLogger(logging.Nop{}))
	if err != nil {
		return c, fmt.Errorf("the AWS configuration of this machine cannot be loaded: %w", err)
	}
	if _, err := c.Credentials.Retrieve(ctx); err != nil {
		return c, fmt.Errorf("the source has no access key, and this machine no AWS role: %w", err)
	}
	client, ok := c.HTTPClient.(*awshttp.BuildableClient)
	if !ok {
		client = awshttp.NewBuildableClient()
	}
	q.transport = client.GetTransport()
	return c, nil
}

func (q *sqsQueue) close() { q.transport.CloseIdleConnections() }

// receive takes messages, waiting so long for the first, and hides them from
// others for the visibility.
func (q *sqsQueue) receive(ctx context.Context, most int, wait, visibility time.Duration) ([]types.Message, error) {
	out, err := q.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: &q.url, MaxNumberOfMessages: int32(most),
		WaitTimeSeconds: int32(wait.Seconds()), VisibilityTimeout: int32(visibility.Seconds()),
		MessageAttributeNames: []string{"All"},
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{
			types.MessageSystemAttributeNameSentTimestamp, types.MessageSystemAttributeNameMessageGroupId,
		},
	})
	if err != nil {
		return nil, q.plain(err)
	}
	for _, m := range out.Messages {
		if m.MessageId == nil || m.ReceiptHandle == nil {
			return nil, errNotSQS
		}
	}
	return out.Messages[:min(most, len(out.Messages))], nil // beyond it there is no place
}

// calling bounds a call about messages that were received: before the end, and
// after it.
func (q *sqsQueue) calling(ctx context.Context) (call context.Context, done func()) {
	call, hangUp := context.WithTimeout(ctx, sqsCallTimeout)
	stop := context.AfterFunc(q.ending, func() { time.AfterFunc(goodbye, hangUp) })
	return call, func() {
		stop()
		hangUp()
	}
}

// delete acknowledges messages.
func (q *sqsQueue) delete(ctx context.Context, receipts []string) ([]types.BatchResultErrorEntry, error) {
	ctx, done := q.calling(ctx)
	defer done()
	entries := make([]types.DeleteMessageBatchRequestEntry, len(receipts))
	for i := range receipts {
		entries[i] = types.DeleteMessageBatchRequestEntry{Id: aws.String(sqsEntryID(i)), ReceiptHandle: &receipts[i]}
	}
	out, err := q.client.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &q.url, Entries: entries})
	if err != nil {
		return nil, q.plain(err)
	}
	return out.Failed, nil
}

// show lets others receive messages at once.
func (q *sqsQueue) show(ctx context.Context, receipts []string) ([]types.BatchResultErrorEntry, error) {
	return q.hide(ctx, receipts, 0)
}

// hide hides messages from others for so long from now.
func (q *sqsQueue) hide(ctx context.Context, receipts []string, visibility time.Duration) ([]types.BatchResultErrorEntry, error) {
	ctx, done := q.calling(ctx)
	defer done()
	entries := make([]types.ChangeMessageVisibilityBatchRequestEntry, len(receipts))
	for i := range receipts {
		entries[i] = types.ChangeMessageVisibilityBatchRequestEntry{
			Id: aws.String(sqsEntryID(i)), ReceiptHandle: &receipts[i], VisibilityTimeout: int32(visibility.Seconds()),
		}
	}
	out, err := q.client.ChangeMessageVisibilityBatch(ctx, &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &q.url, Entries: entries})
	if err != nil {
		return nil, q.plain(err)
	}
	return out.Failed, nil
}

// waiting is about how many messages wait.
func (q *sqsQueue) waiting(ctx context.Context) (int64, error) {
	ctx, hangUp := context.WithTimeout(ctx, sqsCallTimeout)
	defer hangUp()
	const attribute = types.QueueAttributeNameApproximateNumberOfMessages
	out, err := q.client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &q.url, AttributeNames: []types.QueueAttributeName{attribute}})
	if err != nil {
		return 0, q.plain(err)
	}
	return strconv.ParseInt(out.Attributes[string(attribute)], 10, 64)
}

// sqsEntryID is the id of an entry in a batch.
func sqsEntryID(i int) string { return strconv.Itoa(i) }

// sqsHeader is a message attribute as a header: text and numbers as they are,
// bytes in base64.
func sqsHeader(v types.MessageAttributeValue) string {
	if v.StringValue != nil {
		return *v.StringValue
	}
	return base64.StdEncoding.EncodeToString(v.BinaryValue)
}

// plain says in plain words why SQS did not do something.
func (q *sqsQueue) plain(err error) error {
	var missing *types.QueueDoesNotExist
	var refused smithy.APIError
	var lost *net.OpError
	var nowhere *unreachable
	switch {
	case errors.As(err, &missing):
		return fmt.Errorf("queue %s does not exist in %s", q.source.Queue, q.source.Region)
	case errors.As(err, &refused):
		return sqsRefusal(refused)
	case errors.As(err, &lost):
		return fmt.Errorf("SQS cannot be reached: %w", lost)
	case errors.As(err, &nowhere):
		return fmt.Errorf("SQS cannot be reached: %w", nowhere)
	}
	return fmt.Errorf("SQS cannot be reached: %w", err)
}

func sqsRefusal(err smithy.APIError) error {
	switch code := err.ErrorCode(); code {
	case "InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidSignatureException",
		"IncompleteSignature", "MissingAuthenticationToken", "ExpiredToken", "ExpiredTokenException", "RequestExpired":
		return fmt.Errorf("SQS does not accept the access key: %s (%s)", err.ErrorMessage(), code)
	case "AccessDenied", "AccessDeniedException":
		return fmt.Errorf("SQS does not allow it: %s (%s)", err.ErrorMessage(), code)
	default:
		return fmt.Errorf("SQS refuses: %s (%s)", err.ErrorMessage(), code)
	}
}

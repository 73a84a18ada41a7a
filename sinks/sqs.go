package sinks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	awskeys "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/millrace-dev/millrace"
)

// sqsQueues publishes to queues of Amazon SQS. It uses the SDK and not
// watermill-aws, whose publisher takes no context and tells no message id
// (docs/adr/0014); any Watermill subscriber reads what it writes.
type sqsQueues struct {
	config  Config
	proxies *proxies
	clients *kept[sqsKey, *sqsClient]
}

// sqsKey is what endpoints share that share a client.
type sqsKey struct {
	region, endpoint, accessKey, secretKey string
	secure                                 credentials
}

type sqsClient struct {
	line      *line
	transport *http.Transport
	sqs       *sqs.Client
	mu        sync.Mutex
	urls      map[string]string // of queues, by name
}

// maxQueues bounds the queues whose URL a client remembers.
const maxQueues = 1024

func newSQS(config Config, p *proxies) *sqsQueues {
	return &sqsQueues{config: config, proxies: p, clients: newKept[sqsKey](config.clients(), (*sqsClient).close)}
}

func (q *sqsQueues) close() { q.clients.clear() }

func (q *sqsQueues) publish(ctx context.Context, p posting) (placed, *dialError) {
	sink := p.endpoint.Sink.SQS
	if sink.AccessKeyID == "" && !q.config.LendCredentials {
		return placed{}, outcomeWith(millrace.OutcomeAuthentication, notLent)
	}
	input, err := sqsMessage(p)
	if err != nil {
		return placed{}, outcomeWith(millrace.OutcomeUnsendable, "%s", sentence(err))
	}
	key := sqsKey{region: sink.Region, endpoint: sink.Endpoint, accessKey: sink.AccessKeyID, secretKey: sink.SecretKey.Reveal(), secure: secureOf(p.endpoint)}
	c, back, err := q.clients.use(key, func() (*sqsClient, error) { return q.client(key) })
	if err != nil {
		return placed{}, unusable(err)
	}
	defer back(false)
	out, err := c.send(ctx, sink.Queue, input)
	if err != nil {
		return placed{}, c.line.why(ctx, p, err, sqsRefusal)
	}
	return placed{peer: c.line.peer(), where: sqsPlace{MessageID: aws.ToString(out.MessageId), SequenceNumber: aws.ToString(out.SequenceNumber)}}, nil
}

// notLent is said of an endpoint without credentials of its own.
const notLent = "The endpoint has no credentials of its own, and this gateway lends it none (webhook.lend_credentials)."

// sqsPlace is where a message is.
type sqsPlace struct {
	MessageID      string `json:"message_id"`
	SequenceNumber string `json:"sequence_number,omitempty"`
}

// send sends a message once; the queue's URL is asked for before the first.
func (c *sqsClient) send(ctx context.Context, queue string, input *sqs.SendMessageInput) (*sqs.SendMessageOutput, error) {
	url, err := c.url(ctx, queue)
	if err != nil {
		return nil, err
	}
	input.QueueUrl = &url
	out, err := c.sqs.SendMessage(ctx, input)
	var missing *types.QueueDoesNotExist
	if errors.As(err, &missing) {
		c.forget(queue)
	}
	return out, err
}

func (c *sqsClient) url(ctx context.Context, queue string) (string, error) {
	c.mu.Lock()
	url, known := c.urls[queue]
	c.mu.Unlock()
	if known {
		return url, nil
	}
	out, err := c.sqs.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &queue})
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.urls) >= maxQueues {
		clear(c.urls)
	}
	c.urls[queue] = aws.ToString(out.QueueUrl)
	return c.urls[queue], nil
}

func (c *sqsClient) forget(queue string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.urls, queue)
}

func (q *sqsQueues) client(key sqsKey) (*sqsClient, error) {
	secure, err := key.secure.tls()
	if err != nil {
		return nil, err
	}
	secure.NextProtos = []string{"http/1.1"}
	if strings.HasPrefix(key.endpoint, "http:") {
		secure = nil
	}
	c := &sqsClient{line: newLine(q.proxies, secure), urls: map[string]string{}}
	dial := func(ctx context.Context, _, target string) (net.Conn, error) { return c.line.dial(ctx, target) }
	c.transport = &http.Transport{
		DialContext: dial, DialTLSContext: dial, DisableCompression: true, MaxResponseHeaderBytes: int64(q.config.MaxHeaderBytes),
		MaxIdleConns: q.config.MaxIdle, MaxIdleConnsPerHost: q.config.MaxIdlePerHost, IdleConnTimeout: q.config.IdleTimeout,
	}
	conf := aws.Config{
		Region: key.region, Credentials: keysOf(key), HTTPClient: &http.Client{Transport: bounded{c.transport}, CheckRedirect: notFollowed},
		Retryer: func() aws.Retryer { return aws.NopRetryer{} },
	}
	if key.endpoint != "" {
		conf.BaseEndpoint = &key.endpoint
	}
	c.sqs = sqs.NewFromConfig(conf)
	return c, nil
}

// keysOf is the endpoint's own key, or the gateway's role: found where the SDK
// looks for it, and not through the egress.
func keysOf(key sqsKey) aws.CredentialsProvider {
	if key.accessKey != "" {
		return awskeys.NewStaticCredentialsProvider(key.accessKey, key.secretKey, "")
	}
	var once sync.Mutex
	var role aws.CredentialsProvider
	return aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		once.Lock()
		defer once.Unlock()
		if role == nil {
			found, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(key.region))
			if err != nil {
				return aws.Credentials{}, fmt.Errorf("find the gateway's role: %w", err)
			}
			role = found.Credentials
		}
		return role.Retrieve(ctx)
	}))
}

func notFollowed(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// bounded reads so much of an answer: whoever answers need not be Amazon.
type bounded struct{ http.RoundTripper }

const maxAnswer = 256 << 10

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, maxAnswer), res.Body}
	}
	return res, err
}

func (c *sqsClient) close() {
	c.line.cut()
	c.transport.CloseIdleConnections()
}

// sqsRefusal knows what SQS says against a message.
func sqsRefusal(err error) *dialError {
	var said smithy.APIError
	if !errors.As(err, &said) || said.ErrorCode() == "" || said.ErrorCode() == "UnknownError" {
		return nil
	}
	code, message := said.ErrorCode(), said.ErrorMessage()
	short := fmt.Sprintf("%.100s", code)
	switch {
	case strings.Contains(code, "NonExistentQueue"), strings.Contains(code, "QueueDoesNotExist"):
		return outcomeWith(millrace.OutcomeMissing, "There is no such queue (%s).", short)
	case deniedByAWS(code):
		return outcomeWith(millrace.OutcomeAuthentication, "SQS refused the endpoint's credentials (%s).", short)
	case strings.Contains(code, "Throttl"), code == "OverLimit", code == "RequestLimitExceeded":
		return outcomeWith(millrace.OutcomeTooMany, "SQS has had too much (%s).", short)
	case strings.Contains(message, "must be shorter"), code == "BatchRequestTooLong":
		return outcomeWith(millrace.OutcomeTooLarge, "The message is larger than SQS takes (%s).", short)
	case said.ErrorFault() == smithy.FaultServer:
		return outcomeWith(millrace.OutcomeServerError, "SQS could not keep the message (%s).", short)
	}
	return outcomeWith(millrace.OutcomeClientError, "SQS refused the message (%s).", short)
}

func deniedByAWS(code string) bool {
	for _, part := range []string{
		"AccessDenied", "InvalidClientTokenId", "UnrecognizedClient", "SignatureDoesNotMatch", "IncompleteSignature", "ExpiredToken", "InvalidSecurity",
		"MissingAuthenticationToken", "AuthFailure", "InvalidAccessKeyId", "OptInRequired", "NotAuthorized",
	} {
		if strings.Contains(code, part) {
			return true
		}
	}
	return false
}

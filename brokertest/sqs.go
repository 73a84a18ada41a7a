// Package brokertest has brokers in process for tests, which speak the real
// protocols over real sockets.
package brokertest

import (
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// SQS is an Amazon SQS of one account in every region: AWS's JSON protocol
// with visibility timeouts, receipt handles, long polls, batches, delays and
// FIFO groups. Signatures are not checked, access keys may be.
type SQS struct {
	t    testing.TB
	addr string

	mu       sync.Mutex
	server   *http.Server
	served   chan struct{}
	queues   map[string]*sqsQueue
	accepted map[string]bool // empty: any access key
	calls    map[string]int
	failures map[string]int // calls that are still to fail
	faulty   map[string]int // entries of batches that are still to fail
}

// NewSQS starts an SQS on a loopback port; it ends with the test.
func NewSQS(t testing.TB) *SQS {
	t.Helper()
	s := &SQS{
		t: t, addr: "127.0.0.1:0",
		queues: map[string]*sqsQueue{}, accepted: map[string]bool{},
		calls: map[string]int{}, failures: map[string]int{}, faulty: map[string]int{},
	}
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// URL is the endpoint that clients are pointed at.
func (s *SQS) URL() string { return "http://" + s.addr }

// Start serves again after Stop, on the same port and with the same queues.
func (s *SQS) Start() {
	s.t.Helper()
	listener, err := net.Listen("tcp", s.addr)
	if err != nil {
		s.t.Fatalf("listen for SQS: %v", err)
	}
	s.addr = listener.Addr().String()
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan struct{})
	s.mu.Lock()
	s.server, s.served = server, served
	s.mu.Unlock()
	go func() {
		defer close(served)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.t.Errorf("serve SQS: %v", err)
		}
	}()
}

// Stop cuts all connections and refuses new ones. The queues stay as they
// are.
func (s *SQS) Stop() {
	s.mu.Lock()
	server, served := s.server, s.served
	s.mu.Unlock()
	if err := server.Close(); err != nil {
		s.t.Errorf("stop SQS: %v", err)
	}
	<-served
}

// Client is the SDK's client of this SQS, with the access key "test".
func (s *SQS) Client() *sqs.Client {
	return sqs.New(sqs.Options{
		Region: "eu-west-1", BaseEndpoint: aws.String(s.URL()),
		Credentials: credentials.NewStaticCredentialsProvider("test", "secret", ""),
	})
}

// CreateQueue makes a queue with attributes as of SQS' CreateQueue, and
// answers its URL. A queue that is there stays.
func (s *SQS) CreateQueue(name string, attributes map[string]string) string {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queues[name] == nil {
		q, err := newSQSQueue(name, attributes)
		if err != nil {
			s.t.Fatalf("create queue %s: %v", name, err)
		}
		s.queues[name] = q
	}
	return s.queueURL(name)
}

// DeleteQueue takes a queue away, with all in it.
func (s *SQS) DeleteQueue(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.queues, name)
}

// Send puts a message with String attributes into a queue, and answers its
// id. In a FIFO queue it is of the group "default".
func (s *SQS) Send(queue, body string, attributes map[string]string) string {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.mustQueue(queue)
	m := sqsSending{body: body, attributes: map[string]types.MessageAttributeValue{}}
	for name, value := range attributes {
		m.attributes[name] = types.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String(value)}
	}
	if q.fifo {
		m.group, m.deduplication = "default", newHandle()
	}
	sent, err := q.send(m)
	if err != nil {
		s.t.Fatalf("send to queue %s: %v", queue, err)
	}
	return sent.id
}

// Messages are those in a queue that are not deleted, waiting or in flight, in
// the order they were sent. Receiving nothing, it leaves them as they are.
func (s *SQS) Messages(queue string) []types.Message {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.mustQueue(queue)
	all := make([]types.Message, 0, q.messages.Len())
	for e := q.messages.Front(); e != nil; e = e.Next() {
		all = append(all, e.Value.(*sqsMessage).shown(everyAttribute, everyAttribute))
	}
	return all
}

// Counts are how many messages of a queue wait and how many are in flight.
func (s *SQS) Counts(queue string) (waiting, inFlight int) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mustQueue(queue).counts()
}

// Accept takes only calls with one of these access keys from now on; none:
// any.
func (s *SQS) Accept(accessKeyIDs ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted = map[string]bool{}
	for _, id := range accessKeyIDs {
		s.accepted[id] = true
	}
}

// Calls is how often an operation ("DeleteMessageBatch") was called.
func (s *SQS) Calls(operation string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[operation]
}

// Fail answers the next calls of an operation with 503.
func (s *SQS) Fail(operation string, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures[operation] = times
}

// FailEntries fails the next entries of a batch operation, by no fault of
// their sender, while the others of the same call are done.
func (s *SQS) FailEntries(operation string, entries int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faulty[operation] = entries
}

func (s *SQS) mustQueue(name string) *sqsQueue {
	s.t.Helper()
	q := s.queues[name]
	if q == nil {
		s.t.Fatalf("there is no queue %s", name)
	}
	return q
}

func (s *SQS) queueURL(name string) string { return s.URL() + "/000000000000/" + name }

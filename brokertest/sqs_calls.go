package brokertest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// sqsFault is an error as SQS answers it.
type sqsFault struct {
	status        int // 0: 400
	code, message string
	query         string // its code in the older protocol, where it is another
	ours          bool
}

// Error is the code and the message.
func (f *sqsFault) Error() string { return f.code + ": " + f.message }

func invalidParameter(message string) error {
	return &sqsFault{code: "InvalidParameterValueException", query: "InvalidParameterValue", message: message}
}

// sqsCalls are the operations there are.
var sqsCalls = map[string]func(*SQS, context.Context, []byte) (any, error){
	"CreateQueue":                  sqsCall((*SQS).createQueue),
	"GetQueueUrl":                  sqsCall((*SQS).getQueueURL),
	"GetQueueAttributes":           sqsCall((*SQS).getQueueAttributes),
	"SendMessage":                  sqsCall((*SQS).sendMessage),
	"SendMessageBatch":             sqsCall((*SQS).sendMessageBatch),
	"ReceiveMessage":               sqsCall((*SQS).receiveMessage),
	"DeleteMessage":                sqsCall((*SQS).deleteMessage),
	"DeleteMessageBatch":           sqsCall((*SQS).deleteMessageBatch),
	"ChangeMessageVisibility":      sqsCall((*SQS).changeMessageVisibility),
	"ChangeMessageVisibilityBatch": sqsCall((*SQS).changeMessageVisibilityBatch),
}

// sqsCall decodes what an operation takes: the SDK's types have the fields of
// the protocol.
func sqsCall[In, Out any](do func(*SQS, context.Context, In) (Out, error)) func(*SQS, context.Context, []byte) (any, error) {
	return func(s *SQS, ctx context.Context, body []byte) (any, error) {
		var in In
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, &sqsFault{code: "SerializationException", message: err.Error()}
		}
		return do(s, ctx, in)
	}
}

// ServeHTTP answers one call of AWS's JSON protocol 1.0.
func (s *SQS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	operation, _ := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "AmazonSQS.")
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client is gone
	}
	out, err := s.call(r, operation, body)
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	if err != nil {
		var f *sqsFault
		if !errors.As(err, &f) {
			f = &sqsFault{status: http.StatusInternalServerError, code: "InternalFailure", message: err.Error()}
		}
		f.write(w)
		return
	}
	_ = json.NewEncoder(w).Encode(out) // the client may be gone
}

func (f *sqsFault) write(w http.ResponseWriter) {
	query, status := f.query, f.status
	if query == "" {
		query = f.code
	}
	if status == 0 {
		status = http.StatusBadRequest
	}
	who := "Sender"
	if f.ours {
		who = "Receiver"
	}
	w.Header().Set("X-Amzn-Query-Error", query+";"+who)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": "com.amazonaws.sqs#" + f.code, "message": f.message})
}

// credential finds the access key in an Authorization header of signature
// version 4.
var credential = regexp.MustCompile(`Credential=([^/]+)/`)

func (s *SQS) call(r *http.Request, operation string, body []byte) (any, error) {
	do := sqsCalls[operation]
	if do == nil {
		return nil, &sqsFault{code: "UnknownOperationException", message: "there is no operation " + strconv.Quote(operation)}
	}
	s.mu.Lock()
	s.calls[operation]++
	fails := s.failures[operation] > 0
	if fails {
		s.failures[operation]--
	}
	key := credential.FindStringSubmatch(r.Header.Get("Authorization"))
	known := key != nil && (len(s.accepted) == 0 || s.accepted[key[1]])
	s.mu.Unlock()
	switch {
	case !known:
		return nil, &sqsFault{status: http.StatusForbidden, code: "InvalidClientTokenId", message: "The security token included in the request is invalid."}
	case fails:
		return nil, &sqsFault{status: http.StatusServiceUnavailable, code: "ServiceUnavailable", message: "The service is not available.", ours: true}
	}
	return do(s, r.Context(), body)
}

// queue finds the queue of a URL, whatever its host.
func (s *SQS) queue(url *string) (*sqsQueue, error) {
	name := aws.ToString(url)
	name = name[strings.LastIndex(name, "/")+1:]
	if q := s.queues[name]; q != nil {
		return q, nil
	}
	return nil, &sqsFault{code: "QueueDoesNotExist", query: "AWS.SimpleQueueService.NonExistentQueue", message: "The specified queue does not exist."}
}

func (s *SQS) createQueue(_ context.Context, in sqs.CreateQueueInput) (*sqs.CreateQueueOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := aws.ToString(in.QueueName)
	if s.queues[name] == nil {
		q, err := newSQSQueue(name, in.Attributes)
		if err != nil {
			return nil, err
		}
		s.queues[name] = q
	}
	return &sqs.CreateQueueOutput{QueueUrl: aws.String(s.queueURL(name))}, nil
}

func (s *SQS) getQueueURL(_ context.Context, in sqs.GetQueueUrlInput) (*sqs.GetQueueUrlOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(in.QueueName)
	if err != nil {
		return nil, err
	}
	return &sqs.GetQueueUrlOutput{QueueUrl: aws.String(s.queueURL(q.name))}, nil
}

func (s *SQS) getQueueAttributes(_ context.Context, in sqs.GetQueueAttributesInput) (*sqs.GetQueueAttributesOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(in.QueueUrl)
	if err != nil {
		return nil, err
	}
	waiting, inFlight := q.counts()
	all := map[string]string{
		"VisibilityTimeout":                     strconv.Itoa(int(q.visibility.Seconds())),
		"ApproximateNumberOfMessages":           strconv.Itoa(waiting),
		"ApproximateNumberOfMessagesNotVisible": strconv.Itoa(inFlight),
	}
	for name, value := range q.attributes {
		all[name] = value
	}
	out := &sqs.GetQueueAttributesOutput{Attributes: map[string]string{}}
	for _, name := range in.AttributeNames {
		if value, known := all[string(name)]; known {
			out.Attributes[string(name)] = value
		}
		if name == types.QueueAttributeNameAll {
			out.Attributes = all
		}
	}
	return out, nil
}

func (s *SQS) sendMessage(_ context.Context, in sqs.SendMessageInput) (*sqs.SendMessageOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(in.QueueUrl)
	if err != nil {
		return nil, err
	}
	m, err := q.send(sqsSending{
		body: aws.ToString(in.MessageBody), attributes: in.MessageAttributes, group: aws.ToString(in.MessageGroupId),
		deduplication: aws.ToString(in.MessageDeduplicationId), delay: time.Duration(in.DelaySeconds) * time.Second,
	})
	if err != nil {
		return nil, err
	}
	return &sqs.SendMessageOutput{MessageId: &m.id, MD5OfMessageBody: aws.String(md5Of(m.body))}, nil
}

func (s *SQS) sendMessageBatch(_ context.Context, in sqs.SendMessageBatchInput) (*sqs.SendMessageBatchOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(in.QueueUrl)
	if err != nil {
		return nil, err
	}
	out := &sqs.SendMessageBatchOutput{}
	b := sqsBatch{operation: "SendMessageBatch"}
	for _, e := range in.Entries {
		var m *sqsMessage
		b.add(e.Id, func() (err error) {
			m, err = q.send(sqsSending{
				body: aws.ToString(e.MessageBody), attributes: e.MessageAttributes, group: aws.ToString(e.MessageGroupId),
				deduplication: aws.ToString(e.MessageDeduplicationId), delay: time.Duration(e.DelaySeconds) * time.Second,
			})
			return err
		}, func() {
			out.Successful = append(out.Successful, types.SendMessageBatchResultEntry{Id: e.Id, MessageId: &m.id, MD5OfMessageBody: aws.String(md5Of(m.body))})
		})
	}
	out.Failed, err = s.do(b)
	return out, err
}

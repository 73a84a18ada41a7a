package brokertest

import (
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// sqsBatchMost is how many entries a batch, and messages a receive, may have.
const sqsBatchMost = 10

// sqsBatch is a call with several entries, of which some may fail.
type sqsBatch struct {
	operation string
	entries   []sqsEntry
}

type sqsEntry struct {
	id   string
	do   func() error
	done func()
}

// add adds an entry: done is called once do went well.
func (b *sqsBatch) add(id *string, do func() error, done func()) {
	b.entries = append(b.entries, sqsEntry{aws.ToString(id), do, done})
}

// do does the entries one by one and answers which failed. An error says what
// is wrong with the batch, of which nothing is done then.
func (s *SQS) do(b sqsBatch) ([]types.BatchResultErrorEntry, error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	var failed []types.BatchResultErrorEntry
	for _, e := range b.entries {
		err := s.doEntry(b.operation, e)
		if err == nil {
			e.done()
			continue
		}
		f := &sqsFault{code: "InternalError", message: err.Error(), ours: true}
		errors.As(err, &f)
		failed = append(failed, types.BatchResultErrorEntry{Id: &e.id, Code: &f.code, Message: &f.message, SenderFault: !f.ours})
	}
	return failed, nil
}

func (s *SQS) doEntry(operation string, e sqsEntry) error {
	if s.faulty[operation] > 0 {
		s.faulty[operation]--
		return errors.New("the entry could not be done")
	}
	return e.do()
}

func (b *sqsBatch) check() error {
	refuse := func(code, message string) error {
		return &sqsFault{code: code, query: "AWS.SimpleQueueService." + code, message: message}
	}
	if len(b.entries) == 0 {
		return refuse("EmptyBatchRequest", "There should be at least one entry in the request.")
	}
	if n := len(b.entries); n > sqsBatchMost {
		return refuse("TooManyEntriesInBatchRequest", fmt.Sprintf("Maximum number of entries per request are %d. You have sent %d.", sqsBatchMost, n))
	}
	ids := map[string]bool{}
	for _, e := range b.entries {
		if ids[e.id] {
			return refuse("BatchEntryIdsNotDistinct", "Two or more batch entries in the request have the same Id.")
		}
		ids[e.id] = true
	}
	return nil
}

package sources

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

const (
	// sqsBatchCalls is how many batches are under way at once.
	sqsBatchCalls = 8
	// sqsLastTries is how often a batch is tried after the end: what is not
	// deleted then comes again, and is the same event.
	sqsLastTries = 3
)

// sqsCall does something with the messages of receipts, at most ten, and
// answers which failed. The ids of those are the receipts' places.
type sqsCall func(ctx context.Context, receipts []string) ([]types.BatchResultErrorEntry, error)

// sqsBatches group what is done with messages one by one into calls.
type sqsBatches struct {
	// ending ends with the subscription, calls when no call may be made any
	// more.
	ending, calls context.Context
	call          sqsCall
	// report is told how each call went.
	report  func(error)
	entries chan sqsEntry
	// filling is held by who fills a batch: one at a time makes full ones.
	filling sync.Mutex
	workers sync.WaitGroup
	// silent: SQS did not answer a call after the end. No other is made.
	silent atomic.Bool
}

// sqsEntry is a receipt, and whom to tell that it is done with.
type sqsEntry struct {
	receipt string
	done    chan struct{}
}

func newSQSBatches(ending, calls context.Context, call sqsCall, report func(error)) *sqsBatches {
	b := &sqsBatches{ending: ending, calls: calls, call: call, report: report, entries: make(chan sqsEntry)}
	for range sqsBatchCalls {
		b.workers.Go(b.work)
	}
	return b
}

// do returns when the call is made for each, or it is no use.
func (b *sqsBatches) do(receipts ...string) {
	entries := make([]sqsEntry, len(receipts))
	for i, receipt := range receipts {
		entries[i] = sqsEntry{receipt, make(chan struct{})}
		b.entries <- entries[i]
	}
	for _, e := range entries {
		<-e.done
	}
}

// close ends the workers. Nobody does anything any more.
func (b *sqsBatches) close() {
	close(b.entries)
	b.workers.Wait()
}

func (b *sqsBatches) work() {
	for batch := b.fill(); len(batch) > 0; batch = b.fill() {
		b.make(batch)
	}
}

// fill takes as many entries as a call may have; none: there will be no more.
func (b *sqsBatches) fill() []sqsEntry {
	b.filling.Lock()
	defer b.filling.Unlock()
	first, ok := <-b.entries
	if !ok {
		return nil
	}
	batch := []sqsEntry{first}
	linger := time.NewTimer(sqsLinger)
	defer linger.Stop()
	for len(batch) < sqsBatch {
		select {
		case e, ok := <-b.entries:
			if !ok {
				return batch
			}
			batch = append(batch, e)
		case <-linger.C:
			return batch
		}
	}
	return batch
}

// make makes the call until it has been made for every entry.
func (b *sqsBatches) make(batch []sqsEntry) {
	last := 0
	for wait := backoffFirst; ; wait = min(2*wait, backoffLast) {
		if batch = b.try(batch); len(batch) == 0 {
			return
		}
		if b.ending.Err() == nil {
			pause(b.ending, wait)
			continue
		}
		if last++; last == sqsLastTries || b.calls.Err() != nil || b.silent.Load() {
			break
		}
		pause(b.calls, backoffFirst)
	}
	for _, e := range batch {
		close(e.done)
	}
}

// try makes the call once and answers which entries it is to be made for
// again.
func (b *sqsBatches) try(batch []sqsEntry) (again []sqsEntry) {
	receipts := make([]string, len(batch))
	for i, e := range batch {
		receipts[i] = e.receipt
	}
	if b.silent.Load() {
		return batch
	}
	failed, err := b.call(b.calls, receipts)
	b.report(err)
	if err != nil {
		if b.ending.Err() != nil && errors.Is(err, context.Canceled) {
			b.silent.Store(true)
		}
		return batch
	}
	failures := map[string]bool{}
	for _, f := range failed {
		// A receipt that SQS does not take will never be taken: its message
		// comes again.
		failures[aws.ToString(f.Id)] = !f.SenderFault
	}
	for i, e := range batch {
		if failures[sqsEntryID(i)] {
			again = append(again, e)
			continue
		}
		close(e.done)
	}
	return again
}

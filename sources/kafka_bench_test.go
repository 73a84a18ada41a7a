package sources

import (
	"context"
	"fmt"
	"testing"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// BenchmarkKafka reads a topic with a stage that takes 3 ms for each message,
// as a group commit does. Its rate is that of the workers, however few the
// partitions are.
func BenchmarkKafka(b *testing.B) {
	const commit = 3 * time.Millisecond
	for _, partitions := range []int32{1, 3} {
		for _, workers := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("%d partitions, %d workers", partitions, workers), func(b *testing.B) {
				k := newFakeKafka(b, partitions)
				source := k.Source()
				source.PubSub.Workers = workers
				for from := 0; from < b.N; from += 1000 {
					k.Produce(b, numbered(from, min(from+1000, b.N))...)
				}
				b.ResetTimer()
				a := startAgent(b, agentConfig{source: source, handle: func(ctx context.Context, _ millrace.Submission) error {
					pause(ctx, commit)
					return nil
				}})
				for range b.N {
					a.next()
				}
				b.StopTimer()
				a.stop()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
				b.ReportMetric(float64(workers)/commit.Seconds(), "at-most/s")
			})
		}
	}
}

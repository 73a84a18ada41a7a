package sources

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// pubSubSteady is how long a stream must stand to count as healthy where
// nothing comes by it: a refusal takes a round trip.
const pubSubSteady = time.Second

// open opens a stream of the client's. The client tries for ever and tells
// nobody, longer and longer apart: so it is tried here, where the state can be
// told, until Google says yes or no.
func (b *pubSubBroker) open(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	for wait := backoffFirst; ; wait = min(2*wait, backoffLast) {
		s, err := open(ctx, desc, conn, method, opts...)
		if err == nil {
			return b.watch(s), nil
		}
		if ctx.Err() != nil || status.Code(err) != codes.Unavailable {
			return nil, err
		}
		b.lost(b.inWords(err))
		pause(ctx, wait)
	}
}

// pubSubStream is a stream of messages that tells how it stands.
type pubSubStream struct {
	grpc.ClientStream
	broker *pubSubBroker
	steady *time.Timer

	mu       sync.Mutex
	answered bool // or stood long enough
	ended    bool
}

func (b *pubSubBroker) watch(s grpc.ClientStream) *pubSubStream {
	w := &pubSubStream{ClientStream: s, broker: b}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.steady = time.AfterFunc(pubSubSteady, w.stands)
	return w
}

// stands notes that Google took the stream.
func (s *pubSubStream) stands() {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The client gives up a stream that it could not send on.
	if !s.answered && !s.ended && s.Context().Err() == nil {
		s.answered = true
		s.broker.healthy()
	}
}

// RecvMsg receives messages, or why the stream ended.
func (s *pubSubStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil {
		s.stands()
		return nil
	}
	s.steady.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended && !(s.answered && passing(status.Code(err))) && status.Code(err) != codes.Canceled {
		s.broker.unhealthy(s.broker.inWords(err))
	}
	s.ended = true
	return err
}

// passing tells whether the client makes a stream again that ended so. Google
// ends each now and then; one that never stood was refused.
func passing(code codes.Code) bool {
	switch code {
	case codes.Unavailable, codes.Internal, codes.Aborted, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Unknown:
		return true
	}
	return false
}

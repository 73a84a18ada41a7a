package sources

import (
	"context"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// emitted is an emitter and how each of its messages ended.
type emitted struct {
	*emitter
	ended chan bool
}

func newEmitted(workers int) emitted {
	return emitted{newEmitter(workers), make(chan bool, 10)}
}

func (e emitted) hand(t *testing.T, ctx context.Context, m *brokerMessage) {
	t.Helper()
	if !e.reserve(t.Context()) {
		t.Fatal("there is no place")
	}
	e.emit(ctx, m.message(), func(acked bool) { e.ended <- acked })
}

// over fails unless the emitter ends at once.
func (e emitted) over(t *testing.T, timeout time.Duration) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		e.drain(timeout)
		close(done)
	}()
	receive(t, done, "it ends")
	if msg := receive(t, e.out, "the subscription ends"); msg != nil {
		t.Error("a message came after the end")
	}
}

func TestAMessageThatIsAckedIsSettledOnce(t *testing.T) {
	e := newEmitted(1)
	e.hand(t, t.Context(), &brokerMessage{id: "m", body: []byte("b")})
	msg := receive(t, e.out, "it comes")
	if msg.UUID != "m" || string(msg.Payload) != "b" || e.free() != 0 {
		t.Errorf("it is %q %s, and %d places are free", msg.UUID, msg.Payload, e.free())
	}
	msg.Ack()
	if !receive(t, e.ended, "it is settled") {
		t.Error("it is let go")
	}
	e.over(t, patience)
	if e.free() != 1 || len(e.ended) != 0 {
		t.Errorf("%d places are free, settled %d times more", e.free(), len(e.ended))
	}
}

func TestAMessageThatIsGivenBackComesAgainWithWhatItCarried(t *testing.T) {
	e := newEmitted(1)
	m := &brokerMessage{id: "m", body: []byte("b"), headers: map[string]string{"traceparent": "t"}}
	e.hand(t, t.Context(), m)
	receive(t, e.out, "it comes").Nack()
	msg := receive(t, e.out, "it comes again")
	if carried, _ := msg.Context().Value(brokerMessageKey{}).(*brokerMessage); carried != m || msg.UUID != "m" || msg.Metadata.Get("traceparent") != "t" {
		t.Errorf("it carries %+v", carried)
	}
	msg.Ack()
	if !receive(t, e.ended, "it is settled") {
		t.Error("it is let go")
	}
	e.over(t, patience)
}

func TestAMessageThatIsGivenBackAtTheEndIsLetGo(t *testing.T) {
	e := newEmitted(1)
	ctx, end := context.WithCancel(t.Context())
	e.hand(t, ctx, &brokerMessage{})
	msg := receive(t, e.out, "it comes")
	end()
	if msg.Context().Err() != nil {
		t.Error("it may not finish")
	}
	msg.Nack()
	if receive(t, e.ended, "it is settled") {
		t.Error("it is acknowledged")
	}
	e.over(t, patience)
}

func TestWhatIsHandedOnAtTheEndMayFinish(t *testing.T) {
	e := newEmitted(1)
	ctx, end := context.WithCancel(t.Context())
	e.hand(t, ctx, &brokerMessage{})
	end()
	receive(t, e.out, "it comes").Ack()
	if !receive(t, e.ended, "it is settled") {
		t.Error("it is let go, and what was handed on after it may be acknowledged")
	}
	e.over(t, patience)
}

func TestWhatIsOutOfTimeIsLetGo(t *testing.T) {
	for rule, taken := range map[string]bool{"what is in flight": true, "what nobody takes": false} {
		t.Run(rule, func(t *testing.T) {
			e := newEmitted(1)
			e.hand(t, t.Context(), &brokerMessage{})
			var msg *message.Message
			if taken {
				msg = receive(t, e.out, "it comes")
			}
			e.over(t, time.Millisecond)
			if receive(t, e.ended, "it is settled") {
				t.Error("it is acknowledged")
			}
			if taken && msg.Context().Err() == nil {
				t.Error("its work goes on")
			}
		})
	}
}

func TestAMessageWhosePartitionWentIsLetGo(t *testing.T) {
	e := newEmitted(2)
	own, end := context.WithCancel(t.Context())
	for range 2 {
		e.reserve(t.Context())
		e.emit(t.Context(), (&brokerMessage{}).messageIn(own), func(acked bool) { e.ended <- acked })
	}
	msg := receive(t, e.out, "one comes")
	end()
	for range 2 {
		if receive(t, e.ended, "it is settled") {
			t.Error("it is acknowledged")
		}
	}
	if msg.Context().Err() == nil {
		t.Error("its work goes on")
	}
	e.over(t, patience)
}

func TestThereAreAsManyPlacesAsWorkers(t *testing.T) {
	e := newEmitter(2)
	for range 2 {
		if !e.reserve(t.Context()) {
			t.Error("there is no place")
		}
	}
	if n := e.free(); n != 0 {
		t.Errorf("%d places are free", n)
	}
	ctx, end := context.WithCancel(t.Context())
	end()
	if e.reserve(ctx) {
		t.Error("there is one more")
	}
	e.release()
	if e.reserve(ctx) {
		t.Error("one was taken after the end")
	}
	if !e.reserve(t.Context()) {
		t.Error("it was not given back")
	}
}

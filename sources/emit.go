package sources

import (
	"context"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// emitter hands a source's messages to the router, a bounded number at a time,
// and tells how each ended. The pipeline has already tried what could be
// tried; a message that it gives back is handed on again, until the source
// ends.
//
//	reserve ─▶ emit ─▶ in flight ─▶ settled(true): acknowledge it to the broker
//	                      └───────▶ settled(false): let it go unacknowledged
type emitter struct {
	out   chan *message.Message
	slots chan struct{}
	// life is that of the messages: it ends when those in flight at the end
	// are out of time.
	life     context.Context
	kill     context.CancelFunc
	inFlight sync.WaitGroup
}

func newEmitter(workers int) *emitter {
	life, kill := context.WithCancel(context.Background())
	return &emitter{out: make(chan *message.Message), slots: make(chan struct{}, workers), life: life, kill: kill}
}

// reserve waits for a slot; false: ctx ended before there was one. What is
// reserved is either emitted or released.
func (e *emitter) reserve(ctx context.Context) bool {
	if ctx.Err() != nil {
		return false
	}
	select {
	case e.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// release gives back a slot that nothing was emitted for.
func (e *emitter) release() { <-e.slots }

// emit hands a message on, in a slot reserved for it. settled is called once,
// from another goroutine, when the message is done with. One that is given
// back after ctx has ended is let go, and so is one whose own context ends.
func (e *emitter) emit(ctx context.Context, msg *message.Message, settled func(acked bool)) {
	e.inFlight.Go(func() {
		acked, own := false, msg.Context()
		for wait := backoffFirst; ; wait = min(2*wait, backoffLast) {
			if acked = e.pass(msg, own); acked || ctx.Err() != nil || own.Err() != nil || e.life.Err() != nil {
				break
			}
			pause(ctx, wait)
			msg = msg.Copy()
		}
		settled(acked)
		e.release()
	})
}

// pass hands a message to the router once and waits for what becomes of it.
func (e *emitter) pass(msg *message.Message, own context.Context) bool {
	life, done := context.WithCancel(e.life)
	defer done()
	defer context.AfterFunc(own, done)()
	msg.SetContext(valuesOf{life, own})
	select {
	case e.out <- msg:
	case <-life.Done():
		return false
	}
	select {
	case <-msg.Acked():
		return true
	case <-msg.Nacked():
		return false
	case <-life.Done():
	}
	select {
	case <-msg.Acked(): // at the last moment
		return true
	default:
		return false
	}
}

// free is how many messages may be emitted at once now.
func (e *emitter) free() int { return cap(e.slots) - len(e.slots) }

// drain waits for what is in flight, at most so long, and then ends the
// subscription. Nothing may be emitted any more.
func (e *emitter) drain(timeout time.Duration) {
	outOfTime := time.AfterFunc(timeout, e.kill)
	defer outOfTime.Stop()
	e.inFlight.Wait()
	e.kill()
	close(e.out)
}

// valuesOf has the life of one context and the values of another.
type valuesOf struct {
	context.Context
	values context.Context
}

// Value is what the other context has.
func (v valuesOf) Value(key any) any { return v.values.Value(key) }

package app

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/millrace-dev/millrace/misbehave"
	"github.com/millrace-dev/millrace/sinks"
)

// Ending is how it ended to misbehave to a delivery.
type Ending struct {
	// Took is how long it went on, in nanoseconds, and Sent how many bytes of
	// an answer were sent.
	Took time.Duration `json:"took"`
	Sent int64         `json:"sent"`
	// Fault is how the connection ended; empty where it is still good.
	Fault string `json:"fault,omitempty"`
}

// misbehave is serve for those who want to see what becomes of deliveries that
// are not simply answered. Each is shown twice: as it comes, and when it is
// over.
func (l Listening) misbehave(ctx context.Context, listener net.Listener, v sinks.Verifier) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	arrived, over := make(chan Received, 256), make(chan struct{})
	tell := func(r Received) {
		select {
		case arrived <- r:
		case <-ctx.Done():
		}
	}
	server, err := misbehave.New(l.Misbehave, misbehave.Watch{
		Began: func(c misbehave.Call) { tell(l.begun(c, v)) },
		Ended: func(c misbehave.Call) { tell(l.ended(c, v)) },
	})
	if err != nil {
		return err
	}
	var showing sync.WaitGroup
	showing.Go(func() { l.show(ctx, arrived, over); cancel() })
	err = server.Serve(ctx, listener)
	close(over)
	showing.Wait()
	return err
}

func (l Listening) begun(c misbehave.Call, v sinks.Verifier) Received {
	r := Received{At: c.At, Misbehaves: l.Misbehave, Verified: []string{}, Faults: []string{}}
	if c.Request != nil {
		r.Method, r.Path, r.EventID = c.Request.Method, c.Request.URL.RequestURI(), c.Request.Header.Get("Webhook-Id")
		r.Header, r.Body = c.Request.Header, c.Body
		r.verify(v)
	}
	return r
}

func (l Listening) ended(c misbehave.Call, v sinks.Verifier) Received {
	r := l.begun(c, v)
	r.Ending = &Ending{Took: c.Took, Sent: c.Sent}
	if c.Fault != nil {
		r.Ending.Fault = c.Fault.Error()
	}
	return r
}

package app

import (
	"context"
	"errors"
	"sync"
)

// flow is stages that run.
type flow struct {
	// drain ends them: what is under way finishes. Whoever asks again gets the
	// same answer.
	drain func() error
}

// runner runs stages: a *pipeline.Router.
type runner interface {
	Run(ctx context.Context) error
	Running() chan struct{}
	Close() error
}

// startFlow runs a router and waits until all of its stages have subscribed.
func startFlow(router runner) (*flow, error) {
	ended := make(chan error, 1)
	go func() { ended <- router.Run(context.Background()) }()
	select {
	case <-router.Running():
	case err := <-ended:
		return nil, errors.Join(errors.New("the stages do not run"), err)
	}
	return &flow{drain: sync.OnceValue(func() error { return errors.Join(router.Close(), <-ended) })}, nil
}

// either is a context that ends with the first of two.
func either(ctx, other context.Context) (context.Context, context.CancelFunc) {
	both, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(other, cancel)
	return both, func() {
		stop()
		cancel()
	}
}

package app

import (
	"context"
	"errors"
	"sync"

	"github.com/millrace-dev/millrace/pipeline"
)

// flow is stages that run.
type flow struct {
	router *pipeline.Router
	// drain ends them: what is under way finishes. Whoever asks again gets the
	// same answer.
	drain func() error
}

// startFlow runs a router and waits until all of its stages have subscribed.
func startFlow(router *pipeline.Router) (*flow, error) {
	ended := make(chan error, 1)
	go func() { ended <- router.Run(context.Background()) }()
	select {
	case <-router.Running():
	case err := <-ended:
		return nil, errors.Join(errors.New("the stages do not run"), err)
	}
	return &flow{router: router, drain: sync.OnceValue(func() error { return errors.Join(router.Close(), <-ended) })}, nil
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

package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/millrace-dev/millrace/app"
)

// untilSignal is a context that ends with the first SIGINT or SIGTERM, so
// that the command can drain. The second one ends the process at once.
func untilSignal(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	heard, over := make(chan os.Signal, 2), make(chan struct{})
	signal.Notify(heard, syscall.SIGINT, syscall.SIGTERM)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-over:
				return
			case <-heard:
			}
			if n > 0 {
				os.Exit(exitFailed)
			}
			cancel()
		}
	})
	return ctx, func() {
		signal.Stop(heard)
		close(over)
		waiting.Wait()
		cancel()
	}
}

// untilHangUp ends a context when the terminal closes, too.
func untilHangUp(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, syscall.SIGHUP)
}

// reloads reads the configuration anew at each SIGHUP. One with faults is
// told and not used.
func reloads(ctx context.Context, g *globals, logger *slog.Logger) (<-chan app.Config, func()) {
	ctx, cancel := context.WithCancel(ctx)
	heard, to := make(chan os.Signal, 1), make(chan app.Config)
	signal.Notify(heard, syscall.SIGHUP)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-heard:
			}
			c, err := g.load()
			if err != nil {
				logger.Error("the new configuration is not used", "error", err)
				continue
			}
			select {
			case to <- c:
			case <-ctx.Done():
			}
		}
	})
	return to, func() {
		signal.Stop(heard)
		cancel()
		waiting.Wait()
	}
}

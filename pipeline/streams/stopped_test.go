package streams

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// childEnv makes the test binary a consumer: its value is the server's address and the key prefix.
const childEnv = "STREAMS_TEST_CONSUMER"

// childConfig has a backoff that ends while the child is stopped.
func childConfig(prefix string) SubscriberConfig {
	return SubscriberConfig{
		Prefix: prefix, Group: "group", Concurrency: 2, Logger: quiet(), ShutdownTimeout: time.Millisecond,
		Lease: 900 * time.Millisecond, ClaimInterval: 100 * time.Millisecond, MinBackoff: 600 * time.Millisecond,
	}
}

// childConsumer names each message that it is given, nacks the one called nack0, keeps the others, and ends with its input.
func childConsumer() {
	addr, prefix, _ := strings.Cut(os.Getenv(childEnv), " ")
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close()
	subscriber, err := NewSubscriber(client, childConfig(prefix))
	if err != nil {
		panic(err)
	}
	messages, err := subscriber.Subscribe(context.Background(), "topic")
	if err != nil {
		panic(err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = subscriber.Close()
	}()
	for msg := range messages {
		fmt.Println(msg.UUID)
		if msg.UUID == "nack0" {
			msg.Nack()
		}
	}
}

// child is a consumer in a process of its own.
type child struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
	stdin io.WriteCloser
}

func (f *fixture) child(s *server) *child {
	f.Helper()
	c := &child{cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), childEnv+"="+s.addr+" "+f.prefix)
	stdout, err := c.cmd.StdoutPipe()
	must(f, err)
	c.stdin, err = c.cmd.StdinPipe()
	must(f, err)
	must(f, c.cmd.Start())
	f.Cleanup(func() {
		_ = c.cmd.Process.Kill() // if it still runs
		_ = c.cmd.Wait()
	})
	c.lines = bufio.NewScanner(stdout)
	return c
}

// rest ends the child and returns what it was given that was not read yet.
func (c *child) rest() (lines []string) {
	_ = c.stdin.Close()
	for c.lines.Scan() {
		lines = append(lines, c.lines.Text())
	}
	return lines
}

// TestAStoppedProcessTakesNothingBack stops a real process for more than twice its lease while it has one message out and one waiting for its next try. Another
// consumer takes both over; when the process goes on, it must neither renew them nor begin the one that waited.
func TestAStoppedProcessTakesNothingBack(t *testing.T) {
	f := newFixture(t, shared)
	f.publish(Live, "keep", 1)
	f.publish(Live, "nack", 1)
	c := f.child(shared)
	given := []string{}
	for range 2 {
		if !c.lines.Scan() {
			t.Fatal("the child ended")
		}
		given = append(given, c.lines.Text())
	}
	slices.Sort(given)
	if !slices.Equal(given, []string{"keep0", "nack0"}) {
		t.Fatalf("the child was given %v", given)
	}
	must(t, c.cmd.Process.Signal(syscall.SIGSTOP))
	began := time.Now()
	messages := f.subscribe(f.subscriber(childConfig(f.prefix)))
	keep, nack := f.next(messages), f.next(messages)
	wait(t.Context(), 2*childConfig("").Lease-time.Since(began))
	must(t, c.cmd.Process.Signal(syscall.SIGCONT))
	owner := f.pending()[0].Consumer
	for end := time.Now().Add(2 * childConfig("").Lease); time.Now().Before(end); wait(t.Context(), 20*time.Millisecond) {
		for _, p := range f.pending() {
			if p.Consumer != owner {
				t.Fatalf("entry %s went back to %s", p.ID, p.Consumer)
			}
		}
	}
	if again := c.rest(); len(again) > 0 {
		t.Errorf("after it was stopped the child was given %v, which others had", again)
	}
	if !Held(keep) || !Held(nack) {
		t.Error("the new owner lost what it had taken over")
	}
	keep.Ack()
	nack.Ack()
	eventually(t, "both are acked", func() bool { return len(f.pending()) == 0 })
}

// TestADeadProcessIsReplaced kills a process with a message out.
func TestADeadProcessIsReplaced(t *testing.T) {
	f := newFixture(t, shared)
	f.publish(Live, "keep", 2)
	c := f.child(shared)
	for range 2 {
		if !c.lines.Scan() {
			t.Fatal("the child ended")
		}
	}
	messages := f.subscribe(f.subscriber(childConfig(f.prefix)))
	f.silent(messages, childConfig("").Lease) // the child lives, and renews
	must(t, c.cmd.Process.Kill())
	began := time.Now()
	f.next(messages).Ack()
	f.next(messages).Ack()
	if took := time.Since(began); took > 5*(childConfig("").Lease+childConfig("").ClaimInterval) {
		t.Errorf("it took %s", took)
	}
}

// TestWhatWasHeldTooLongIsNotBegun moves the clock of a consumer past the lease of an entry that no one has taken from its channel yet but for the first.
func TestWhatWasHeldTooLongIsNotBegun(t *testing.T) {
	f := newFixture(t, shared)
	cfg := f.config()
	cfg.Lease, cfg.ClaimInterval = 10*time.Second, time.Second // so that nothing is renewed while the test runs
	cfg.MinBackoff = time.Millisecond
	subscriber := f.subscriber(cfg)
	clock := &clock{}
	subscriber.now = clock.now
	messages := f.subscribe(subscriber)
	f.publish(Live, "m", 1)
	msg := f.next(messages)
	clock.advance(cfg.Lease)
	if Held(msg) {
		t.Error("held although the lease is over")
	}
	msg.Nack()
	eventually(t, "it is left to others", func() bool { return subscriber.Stats().Lost == 1 })
	f.silent(messages, 50*time.Millisecond)
	if got := len(f.pending()); got != 1 {
		t.Errorf("%d entries are pending, want the one that is left", got)
	}
}

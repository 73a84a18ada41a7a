package app_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace/app"
	"github.com/millrace-dev/millrace/misbehave"
	"github.com/millrace-dev/millrace/store/storetest"
)

// listening starts to listen with a fake API behind it, and answers with its
// URL, what it receives, and how it ends.
func listening(t *testing.T, l app.Listening) (url string, received chan app.Received, ended chan error) {
	t.Helper()
	l.Client = api(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/endpoints") && r.Method == http.MethodGet:
			succeed(w, `{"content":[]}`)
		case strings.HasSuffix(r.URL.Path, "/endpoints"):
			succeed(w, `{"uid":"e","secrets":[{"value":"s"}]}`)
		default:
			succeed(w, `{}`)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	ready := make(chan struct{})
	received, ended = make(chan app.Received, 16), make(chan error, 1)
	l.Ready = func(app.EndpointRow, bool) { close(ready) }
	l.Received = func(r app.Received) { received <- r }
	go func() { ended <- l.Run(ctx) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	return l.Misbehave.URL(l.Address), received, ended
}

func TestListeningThatMisbehavesShowsEachDeliveryTwice(t *testing.T) {
	url, received, ended := listening(t, app.Listening{Address: freeAddress(t), Misbehave: misbehave.Reset, Count: 2})
	for range 2 {
		if answer, err := http.Post(url+"/hook", "text/plain", strings.NewReader("hello")); err == nil {
			_ = answer.Body.Close()
			t.Fatalf("a reset connection answered %s", answer.Status)
		}
	}
	var firsts, seconds int
	for range 4 {
		r := <-received
		if r.Misbehaves != misbehave.Reset || r.Path != "/hook" || string(r.Body) != "hello" || r.Genuine() || r.Answered != 0 {
			t.Errorf("it received %+v", r)
		}
		if r.Ending == nil {
			firsts++
			continue
		}
		seconds++
		if r.Ending.Sent != 0 || r.Ending.Fault != "it reset the connection" {
			t.Errorf("it ended by %+v", r.Ending)
		}
	}
	if firsts != 2 || seconds != 2 {
		t.Errorf("%d came and %d ended", firsts, seconds)
	}
	if err := within(ended); err != nil {
		t.Errorf("after as many as were wanted: %v", err)
	}
}

func TestListeningThatHangsEndsAtOnceWhenToldTo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	url, received, ended := listening(t, app.Listening{Address: freeAddress(t), Misbehave: misbehave.Hang, Count: 1})
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	left := make(chan error, 1)
	go func() {
		answer, err := http.DefaultClient.Do(r)
		if err == nil {
			_ = answer.Body.Close()
		}
		left <- err
	}()
	if came := <-received; came.Ending != nil {
		t.Fatalf("it is over before it began: %+v", came.Ending)
	}
	select {
	case err := <-ended:
		t.Fatalf("a delivery under way counts as one that is over: %v", err)
	default:
	}
	cancel()
	if err := <-left; err == nil {
		t.Error("it answered")
	}
	if came := <-received; came.Ending == nil || !strings.HasPrefix(came.Ending.Fault, "the client left") {
		t.Errorf("then came %+v", came)
	}
	if err := within(ended); err != nil {
		t.Error(err)
	}
}

// freeAddress is one of the loopback that nobody listens on now.
func freeAddress(t *testing.T) string {
	t.Helper()
	port, err := storetest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", port)
}

// within is how something ends that should end soon.
func within(ended <-chan error) error {
	select {
	case err := <-ended:
		return err
	case <-time.After(time.Minute):
		return fmt.Errorf("it did not end")
	}
}

package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/misbehave"
	"github.com/millrace-dev/millrace/sinks"
)

// Listening receives deliveries on this machine, verifies them and shows
// them: a receiver for those who try Millrace or build against it.
type Listening struct {
	Client *Client
	// Address is where it listens.
	Address string
	// URL is how Millrace reaches it; empty: http:// and the address.
	URL string
	// Status is what it answers with, after Delay.
	Status int
	Delay  time.Duration
	// Misbehave is done to each delivery instead; empty: nothing is.
	Misbehave misbehave.Mode
	// Count ends it after so many deliveries; 0: never.
	Count int
	// Ready is called when deliveries can come: with the endpoint, and
	// whether it was there already.
	Ready func(e EndpointRow, reused bool)
	// Received hears of each delivery, one call at a time.
	Received func(Received)
}

// Received is one delivery as it came in.
type Received struct {
	At        time.Time   `json:"at"`
	Method    string      `json:"method"`
	Path      string      `json:"path"`
	EventID   string      `json:"event_id,omitempty"`
	EventType string      `json:"event_type,omitempty"`
	Header    http.Header `json:"headers"`
	// Body is at most maxReceived bytes; in JSON it is "body", or
	// "body_base64" where it is no text.
	Body []byte `json:"-"`
	// Answered is the status it was answered with; 0 where Misbehaves says what
	// was done instead.
	Answered   int            `json:"answered,omitempty"`
	Misbehaves misbehave.Mode `json:"misbehaves,omitempty"`
	// Ending is set where a delivery comes for the second time, because what
	// was done to it is over.
	Ending *Ending `json:"ending,omitempty"`
	// Verified are the kinds of signature that hold; Faults says of each that
	// does not why.
	Verified []string `json:"verified"`
	Faults   []string `json:"faults"`
}

// Genuine tells whether the delivery is signed by the endpoint's secret.
func (r Received) Genuine() bool { return len(r.Verified) > 0 && len(r.Faults) == 0 }

// MarshalJSON writes the body as it is best read.
func (r Received) MarshalJSON() ([]byte, error) {
	type plain Received
	out := struct {
		plain
		Text  string `json:"body"`
		Bytes []byte `json:"body_base64,omitempty"`
	}{plain: plain(r)}
	if utf8.Valid(r.Body) {
		out.Text = string(r.Body)
	} else {
		out.Bytes = r.Body
	}
	return json.Marshal(out)
}

// maxReceived bounds a body; an event has at most 64 MiB.
const maxReceived = 64 << 20

// endpointName is what the endpoint is called that Listening makes.
const endpointName = "millrace listen"

// Run listens until ctx ends or Count deliveries have come.
func (l Listening) Run(ctx context.Context) error {
	listener, err := net.Listen("tcp", l.Address)
	if err != nil {
		return fmt.Errorf("the address %s cannot be used: %w; choose another with --port", l.Address, errors.Unwrap(err))
	}
	if l.URL == "" {
		l.URL = l.Misbehave.URL(listener.Addr().String())
	}
	v, err := l.subscribe(ctx)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	if l.Misbehave != "" {
		return l.misbehave(ctx, listener, v)
	}
	return l.serve(ctx, listener, v)
}

// subscribe makes or reuses the endpoint and its subscription. The secret of
// one that is reused cannot be read, so it is given a new one.
func (l Listening) subscribe(ctx context.Context) (sinks.Verifier, error) {
	var v sinks.Verifier
	project, err := l.Client.Project(ctx)
	if err != nil {
		return v, err
	}
	endpoint, reused, err := l.endpoint(ctx)
	if err != nil {
		return v, err
	}
	subscribed := false
	if reused {
		if subscribed, err = l.Client.Subscribed(ctx, endpoint.ID); err != nil {
			return v, err
		}
	}
	if !subscribed {
		if err := l.Client.Subscribe(ctx, endpoint, []string{"*"}); err != nil {
			return v, err
		}
	}
	v.Signature = project.Is.Config.Signature
	for _, s := range endpoint.Secrets {
		v.Secrets = append(v.Secrets, s.Value)
	}
	if endpoint.VerifyingKey != "" {
		v.Secrets = append(v.Secrets, endpoint.VerifyingKey)
	}
	l.Ready(endpoint, reused)
	return v, nil
}

func (l Listening) endpoint(ctx context.Context) (e EndpointRow, reused bool, err error) {
	found, err := l.Client.Endpoints(ctx, l.URL)
	if err != nil {
		return e, false, err
	}
	for _, f := range found {
		if strings.TrimRight(f.Is.URL, "/") != strings.TrimRight(l.URL, "/") || f.Is.Name != endpointName {
			continue
		}
		rolled, err := l.Client.RollSecret(ctx, f.Is.ID)
		if err == nil && f.Is.Status != string(millrace.EndpointActive) {
			err = l.Client.ActivateEndpoint(ctx, f.Is.ID)
		}
		return rolled.Is, true, err
	}
	made, err := l.Client.CreateEndpoint(ctx, NewEndpoint{URL: l.URL, Name: endpointName})
	return made.Is, false, err
}

// serve answers deliveries, and shows them one after another behind the
// answers.
func (l Listening) serve(ctx context.Context, listener net.Listener, v sinks.Verifier) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	arrived, over := make(chan Received, 256), make(chan struct{})
	server := hardened(DefaultConfig().Server, l.handler(v, arrived, over), slog.New(slog.DiscardHandler))
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	var showing sync.WaitGroup
	showing.Go(func() { l.show(ctx, arrived, over); cancel() })
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
		drain, end := context.WithTimeout(context.WithoutCancel(ctx), l.Delay+5*time.Second)
		defer end()
		err = errors.Join(server.Shutdown(drain), server.Close())
		<-failed
	}
	close(over)
	showing.Wait()
	return err
}

// show shows what arrived until there is enough, or all that came before it
// was over.
func (l Listening) show(ctx context.Context, arrived <-chan Received, over <-chan struct{}) {
	for shown := 0; ; {
		var r Received
		select {
		case r = <-arrived:
		default:
			select {
			case r = <-arrived:
			case <-over:
				return
			}
		}
		if len(arrived) <= fewWaiting { // under load a type is not worth the wait
			r.EventType = l.eventType(ctx, r.EventID)
		}
		l.Received(r)
		if r.Misbehaves == "" || r.Ending != nil {
			shown++
		}
		if shown == l.Count && shown > 0 {
			return
		}
	}
}

// fewWaiting is how many deliveries may wait to be shown before their types
// are no longer asked for: deliveries must not be slowed down by being shown.
const fewWaiting = 16

// eventType asks the API, as a delivery does not say it. It is for show only.
func (l Listening) eventType(ctx context.Context, event string) string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	name, err := l.Client.EventType(ctx, event)
	if err != nil {
		return ""
	}
	return name
}

func (l Listening) handler(v sinks.Verifier, arrived chan<- Received, over <-chan struct{}) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := time.Now()
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxReceived))
		if err != nil {
			http.Error(w, "the body could not be read", http.StatusBadRequest)
			return
		}
		wait(r.Context(), l.Delay)
		w.WriteHeader(l.Status)
		in := Received{
			At: at, Method: r.Method, Path: r.URL.RequestURI(), EventID: r.Header.Get("Webhook-Id"), Header: r.Header, Body: body, Answered: l.Status,
		}
		in.verify(v)
		select {
		case arrived <- in:
		case <-over:
		}
	})
}

// verify checks both kinds of signatures, as far as the delivery bears them.
// One that bears none is not genuine.
func (r *Received) verify(v sinks.Verifier) {
	v.Now = r.At
	r.Verified, r.Faults = []string{}, []string{}
	note := func(kind string, err error) {
		switch {
		case err == nil:
			r.Verified = append(r.Verified, kind)
		case kind == standard || !errors.Is(err, sinks.ErrUnsigned):
			r.Faults = append(r.Faults, kind+": "+err.Error())
		}
	}
	note(standard, v.Standard(r.Header, r.Body))
	note("Convoy", v.Convoy(r.Header, r.Body))
}

const standard = "Standard Webhooks"

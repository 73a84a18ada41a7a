package sinks

import (
	"context"
	"fmt"

	"github.com/millrace-dev/millrace"
)

// Sinks sends each delivery by what its endpoint is: a URL, or a broker. It
// may be used by many goroutines at once.
type Sinks struct {
	webhook *Webhook
	brokers map[millrace.SinkKind]*broker
}

// New makes Sinks. Neither the proxies nor any broker need be up.
func New(config Config) (*Sinks, error) {
	webhook, err := NewWebhook(config)
	if err != nil {
		return nil, err
	}
	s := &Sinks{webhook: webhook, brokers: map[millrace.SinkKind]*broker{}}
	for kind, p := range map[millrace.SinkKind]publisher{
		millrace.SinkKafka:  newKafka(config, webhook.proxies),
		millrace.SinkSQS:    newSQS(config, webhook.proxies),
		millrace.SinkPubSub: newPubSub(config, webhook.proxies),
		millrace.SinkAMQP:   newAMQP(config, webhook.proxies),
	} {
		s.brokers[kind] = newBroker(p)
	}
	return s, nil
}

// Close closes what is idle at once and the rest when it comes to rest, and
// waits for that.
func (s *Sinks) Close() {
	s.webhook.Close()
	for _, b := range s.brokers {
		b.publisher.close()
	}
}

// Send makes one attempt. The error is not nil only where the egress is away,
// overloaded or refuses us, or ctx ended: it is marked Unavailable, and the
// attempt is not to be counted.
func (s *Sinks) Send(ctx context.Context, r millrace.Request) (millrace.Attempt, error) {
	if r.Endpoint.Kind == millrace.SinkWebhook || r.Endpoint.Kind == "" {
		return s.webhook.Send(ctx, r)
	}
	b, known := s.brokers[r.Endpoint.Kind]
	if !known || r.Endpoint.Sink.Of(r.Endpoint.Kind) == (millrace.Sink{}) {
		a := millrace.Attempt{URL: r.Endpoint.URL, Method: methodPublish, StartedAt: s.webhook.now()}
		return failed(a, millrace.OutcomeUnsendable, fmt.Sprintf("There is no way to send to an endpoint of type %q.", r.Endpoint.Kind)), nil
	}
	return b.send(ctx, r)
}

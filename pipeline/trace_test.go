package pipeline

import (
	"context"
	"errors"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	millrace "github.com/millrace-dev/millrace"
)

const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// traced runs a handler under a tracer that keeps all spans.
func traced(t *testing.T, sample sdktrace.Sampler, handle message.HandlerFunc) ([]*message.Message, tracetest.SpanStubs, error) {
	t.Helper()
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans), sdktrace.WithSampler(sample))
	a := around(&graves{})
	a.Tracer = provider.Tracer("test")
	msg := message.NewMessage("m", nil)
	msg.Metadata.Set(traceKey, traceparent)
	out, err := a.wrap(Stage{Name: "s", Answers: true, handle: handle})(msg)
	return out, spans.GetSpans(), err
}

func TestATraceGoesOnThroughTheStage(t *testing.T) {
	var seen trace.SpanContext
	out, spans, err := traced(t, sdktrace.AlwaysSample(), func(msg *message.Message) ([]*message.Message, error) {
		seen = trace.SpanContextFromContext(msg.Context())
		return []*message.Message{message.NewMessage("out", nil)}, nil
	})
	if err != nil || len(spans) != 1 || spans[0].Name != "millrace.s" || spans[0].Parent.TraceID().String() != traceparent[3:35] {
		t.Fatalf("spans %+v, %v", spans, err)
	}
	want := "00-" + traceparent[3:35] + "-" + spans[0].SpanContext.SpanID().String() + "-01"
	if got := out[0].Metadata.Get(traceKey); got != want || seen.SpanID() != spans[0].SpanContext.SpanID() {
		t.Errorf("passed on %s within %s, want %s", got, seen.SpanID(), want)
	}
}

func TestWhatHasATraceOfItsOwnKeepsIt(t *testing.T) {
	const own = "00-ffffffffffffffffffffffffffffffff-b7ad6b7169203331-01"
	out, _, err := traced(t, sdktrace.AlwaysSample(), func(*message.Message) ([]*message.Message, error) {
		out, err := encode(Due, millrace.Delivery{TraceParent: own})
		return []*message.Message{out}, err
	})
	if err != nil || out[0].Metadata.Get(traceKey) != own {
		t.Errorf("%v, passed on %v", err, out[0].Metadata)
	}
}

func TestASpanTellsOfAnErrorAndEndsWithAPanic(t *testing.T) {
	for name, handle := range map[string]message.HandlerFunc{
		"an error": func(*message.Message) ([]*message.Message, error) { return nil, errors.New("fault") },
		"a panic":  func(*message.Message) ([]*message.Message, error) { panic("oh") },
	} {
		t.Run(name, func(t *testing.T) {
			_, spans, err := traced(t, sdktrace.AlwaysSample(), handle)
			if err == nil || len(spans) != 1 || spans[0].Status.Code != codes.Error {
				t.Errorf("%v, spans %+v", err, spans)
			}
		})
	}
}

func TestATraceThatIsNotSampledTravelsAsItCame(t *testing.T) {
	out, spans, err := traced(t, sdktrace.NeverSample(), func(msg *message.Message) ([]*message.Message, error) {
		out, err := encode(Due, millrace.Delivery{TraceParent: msg.Metadata.Get(traceKey)})
		return []*message.Message{out}, err
	})
	if err != nil || len(spans) != 0 || out[0].Metadata.Get(traceKey) != traceparent {
		t.Errorf("%v, spans %+v, passed on %v", err, spans, out[0].Metadata)
	}
}

func TestAMessageIsMeasuredFromItsArrivalToItsSettlementWaitsIncluded(t *testing.T) {
	a := around(&graves{})
	m := a.Metrics.stage("s")
	tries := 0
	handle := func(msg *message.Message) ([]*message.Message, error) {
		if got := gauge(t, m.inFlight); got != 1 {
			t.Errorf("%g in flight, want 1", got)
		}
		if tries++; tries == 1 {
			return nil, millrace.Unavailable(errors.New("away"))
		}
		return nil, nil
	}
	wrapped := a.wrap(Stage{Name: "s", Limits: quick(), handle: handle})
	if _, err := wrapped(message.NewMessage("m", nil)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tries = 0
	if _, err := wrapped(message.NewMessageWithContext(ctx, "m", nil)); err == nil {
		t.Fatal("a message whose time is over is settled")
	}
	if value(t, m.handled) != 1 || value(t, m.failed) != 1 || value(t, m.waits) != 2 || gauge(t, m.inFlight) != 0 {
		t.Errorf("handled %g, failed %g, waits %g, in flight %g", value(t, m.handled), value(t, m.failed), value(t, m.waits), gauge(t, m.inFlight))
	}
	if count, sum := observed(t, m.seconds); count != 2 || sum < waitFirst.Seconds() {
		t.Errorf("%d took %g s, want 2 and the wait of the first in it", count, sum)
	}
}

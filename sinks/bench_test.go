package sinks

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/millrace-dev/millrace"
)

// BenchmarkSend includes the proxy and the receiver, both as plain as they can
// be.
func BenchmarkSend(b *testing.B) {
	w := webhook(b, nil, newProxy(b))
	url := "http://" + listen(b, answerAll).addr()
	r := deliveryTo(url)
	r.Delivery.Payload = bytes.Repeat([]byte("1"), 1024)
	b.SetParallelism(16)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if a, err := w.Send(b.Context(), r); err != nil || a.Outcome != millrace.OutcomeSuccess {
				b.Errorf("%v %s %s", err, a.Outcome, a.Error)
				return
			}
		}
	})
}

// BenchmarkBroker includes the proxy and the broker, in this process.
func BenchmarkBroker(b *testing.B) {
	for name, start := range rigs() {
		b.Run(name, func(b *testing.B) {
			s := allSinks(b, newProxy(b))
			d := deliveryOn(start(b).endpoint())
			d.Delivery.Payload = bytes.Repeat([]byte("1"), 1024)
			b.SetParallelism(32)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if a, err := s.Send(b.Context(), d); err != nil || a.Outcome != millrace.OutcomeSuccess {
						b.Errorf("%v %s %s", err, a.Outcome, a.Error)
						return
					}
				}
			})
		})
	}
}

// answerAll answers 200 to whatever comes, taking each read that ends with the
// payload for the end of a request.
func answerAll(conn net.Conn) {
	in := make([]byte, 64<<10)
	for have := 0; ; {
		n, err := conn.Read(in[have:])
		if err != nil {
			return
		}
		have += n
		head := bytes.Index(in[:have], []byte("\r\n\r\n"))
		if head < 0 || have < head+4+1024 {
			continue
		}
		have = 0
		if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok"); err != nil {
			return
		}
	}
}

func BenchmarkCompose(b *testing.B) {
	w := webhook(b, nil, newProxy(b))
	r := deliveryTo("https://example.com/hooks/1")
	r.Delivery.Payload = bytes.Repeat([]byte("1"), 1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.compose(&r, w.now()); err != nil {
			b.Fatal(err)
		}
	}
}

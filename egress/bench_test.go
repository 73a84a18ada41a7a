package egress

import (
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"
)

// socketPair returns both ends of a TCP connection over loopback.
func socketPair(b *testing.B) (near, far net.Conn) {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	if near, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		b.Fatal(err)
	}
	if far, err = ln.Accept(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// spliced is the tunnel that was not built: io.Copy between sockets, which the kernel does alone.
func spliced(client, dest net.Conn) {
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(client, dest)
		client.Close()
	})
	_, _ = io.Copy(dest, client)
	dest.Close()
	back.Wait()
}

func pooled(client, dest net.Conn) {
	t := &tunnel{client: client, dest: dest, epoch: time.Now(), buffers: newBuffers(), bytes: &newCounters().bytes}
	t.run()
}

// BenchmarkExchange is one request of 1 KiB and its answer of 200 bytes; BenchmarkBulk is 256 KiB one way.
func BenchmarkExchange(b *testing.B) { benchmarkTunnel(b, 1<<10, 200) }

func BenchmarkBulk(b *testing.B) { benchmarkTunnel(b, 256<<10, 1) }

func benchmarkTunnel(b *testing.B, request, answer int) {
	for name, run := range map[string]func(client, dest net.Conn){"pooled": pooled, "spliced": spliced} {
		b.Run(name, func(b *testing.B) {
			client, proxyIn := socketPair(b)
			proxyOut, dest := socketPair(b)
			var all sync.WaitGroup
			all.Go(func() { run(proxyIn, proxyOut) })
			all.Go(func() {
				got, say := make([]byte, request), make([]byte, answer)
				for {
					if _, err := io.ReadFull(dest, got); err != nil {
						dest.Close()
						return
					}
					if _, err := dest.Write(say); err != nil {
						return
					}
				}
			})
			say, got := make([]byte, request), make([]byte, answer)
			b.SetBytes(int64(request + answer))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.Write(say); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(client, got); err != nil {
					b.Fatal(err)
				}
			}
			client.Close()
			all.Wait()
		})
	}
}

// BenchmarkConnect is a tunnel opened, used once and closed.
func BenchmarkConnect(b *testing.B) {
	p := startProxy(b, testConfig(), public(b)...)
	for b.Loop() {
		conn, res := p.connect(b, "public.example.com:443")
		wantAnswer(b, res, 200, Allowed)
		conn.wantEcho(b, "x")
		conn.Close()
	}
}

// BenchmarkIdleTunnel reports what a tunnel costs that nothing goes through: heap and stacks of the whole process, of which the proxy's
// share is all but two sockets and a goroutine of the destination's.
func BenchmarkIdleTunnel(b *testing.B) {
	const tunnels = 500
	for b.Loop() {
		cfg := testConfig()
		p := startProxy(b, cfg, public(b)...)
		before := memory()
		for range tunnels {
			conn, _ := p.connect(b, "public.example.com:443")
			conn.wantEcho(b, "x")
			conn.reader = nil
		}
		b.ReportMetric(float64(memory()-before)/tunnels, "B/tunnel")
	}
}

func memory() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

func BenchmarkDecide(b *testing.B) {
	policy, err := NewPolicy(DefaultConfig())
	if err != nil {
		b.Fatal(err)
	}
	addrs := []netip.Addr{netip.MustParseAddr("93.184.216.34"), netip.MustParseAddr("2606:2800:220:1:248:1893:25c8:1946")}
	b.ReportAllocs()
	for b.Loop() {
		if d := policy.Decide("public.example.com", 443, addrs); !d.Allow {
			b.Fatal(d)
		}
	}
}

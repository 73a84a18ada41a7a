package redistest

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// ports are given one after the other from a random one on, so that none is
// given twice before whoever it was for listens there.
var ports struct {
	sync.Mutex
	given int
}

const (
	firstPort = 10_000
	portCount = 20_000 // below what kernels give to outgoing connections
)

// freePort is a port of the loopback that nobody listens on now, and that a
// server may leave and come back to.
func freePort(t testing.TB) string {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.given == 0 {
		ports.given = rand.IntN(portCount)
	}
	for range 100 {
		ports.given++
		port := strconv.Itoa(firstPort + ports.given%portCount)
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port)); err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no port of the loopback is free")
	return ""
}

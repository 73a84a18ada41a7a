package localstores

import (
	"fmt"
	"net/url"

	"github.com/alicebob/miniredis/v2"

	"github.com/millrace-dev/millrace"
)

// memory is a Redis inside this process. It forgets everything with it.
type memory struct{ redis *miniredis.Miniredis }

func startMemory() (*memory, millrace.Sensitive, error) {
	password := newPassword()
	m := miniredis.NewMiniRedis()
	m.RequireAuth(password)
	m.ClockTTL(true) // made for tests, it expires nothing by itself otherwise
	if err := m.StartAddr("127.0.0.1:0"); err != nil {
		return nil, "", fmt.Errorf("start Redis in memory: %w", err)
	}
	u := url.URL{Scheme: "redis", User: url.UserPassword("", password), Host: m.Addr(), Path: "0"}
	return &memory{redis: m}, millrace.Sensitive(u.String()), nil
}

func (m *memory) close() { m.redis.Close() }

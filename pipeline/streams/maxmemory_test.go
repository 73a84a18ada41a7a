package streams

import "testing"

// TestAFullRedisIsDrained starts consumers on a Redis that is at maxmemory: it refuses to make groups, also those that are there, but not to read, renew, take over,
// ack and trim. A stage that did not begin until there is room would wait for ever.
func TestAFullRedisIsDrained(t *testing.T) {
	groups := map[string]func(*fixture){
		"whose groups are there": func(f *fixture) {
			for lane := range Lane(laneCount) {
				must(f, createGroup(f.Context(), f.client, Key(f.prefix, "topic", lane), "group"))
			}
		},
		"without a group":  func(*fixture) {},
		"with a dead mate": func(f *fixture) { f.read("dead", 10) },
	}
	for name, prepare := range groups {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, ownServer(t))
			f.publish(Live, "m", 20)
			prepare(f)
			must(t, f.client.ConfigSet(t.Context(), "maxmemory", "1").Err())
			messages := f.subscribe(f.subscriber(f.config()))
			held := f.next(messages)
			f.silent(nil, 2*f.config().Lease)
			if !Held(held) {
				t.Error("its lease was not renewed")
			}
			held.Ack()
			for range 19 {
				f.next(messages).Ack()
			}
			eventually(t, "all is trimmed", func() bool { return f.length() == 0 })
		})
	}
}

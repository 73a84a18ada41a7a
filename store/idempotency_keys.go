package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/millrace-dev/millrace"
)

// The kinds of keys, each with a space of its own: none can be mistaken for
// another, whatever clients and senders write.
const (
	spaceOfClients = "client:" // and the key
	spaceOfSources = "source:" // and the source, a colon, the key
	spaceOfBrokers = "broker:" // and the coordinates
)

// longestKey bounds a key: its index takes no more than some 2,700 bytes.
const longestKey = 1024

// eventKeys are what an event is known by besides its id: the key of its
// client or source, and the coordinates of its broker's message.
type eventKeys struct {
	client, broker eventKey
	// alone: whatever has the client's key is the same, see KeyOfSource.
	alone bool
}

// eventKey is a key with its space, empty where there is none, and what must
// be equal for two events under it to be the same.
type eventKey struct {
	text string
	hash [sha256.Size]byte
}

// keysOf are the keys of an event; nil where it has none.
func keysOf(e millrace.Event) (*eventKeys, error) {
	switch {
	case e.IdempotencyKey == "" && e.BrokerMessageID == "":
		return nil, nil
	case len(e.IdempotencyKey) > longestKey:
		return nil, millrace.Invalid("idempotency_key", "must be at most %d bytes", longestKey)
	case len(e.BrokerMessageID) > longestKey:
		return nil, millrace.Invalid("broker message id", "must be at most %d bytes", longestKey)
	}
	keys := &eventKeys{alone: e.KeyScope == millrace.KeyOfSource}
	if e.IdempotencyKey != "" {
		keys.client = eventKey{spaceOfClients + e.IdempotencyKey, bodyHash(e)}
		if keys.alone {
			keys.client.text = spaceOfSources + e.SourceID.String() + ":" + e.IdempotencyKey
		}
	}
	if e.BrokerMessageID != "" {
		keys.broker = eventKey{spaceOfBrokers + e.BrokerMessageID, messageHash(e)}
	}
	return keys, nil
}

// bodyHash is what must be equal for two events with one client's key to be
// the same: type, audience, headers and payload.
func bodyHash(e millrace.Event) [sha256.Size]byte {
	parts := []string{e.Type, string(e.Audience.EndpointID[:]), e.Audience.OwnerID}
	for _, name := range slices.Sorted(maps.Keys(e.Headers)) {
		parts = append(parts, name, e.Headers[name])
	}
	return hashOf(e.Payload, parts...)
}

// messageHash is what must be equal for two messages with the same coordinates
// to be the same: what the message alone says. Type and headers may come from
// its source's mapping, which may be changed before the broker delivers it
// again.
func messageHash(e millrace.Event) [sha256.Size]byte {
	return hashOf(e.Payload, string(e.Audience.EndpointID[:]), e.Audience.OwnerID)
}

// hashOf is the hash of the parts and the payload, each behind its length.
func hashOf(payload []byte, parts ...string) [sha256.Size]byte {
	head := make([]byte, 0, 256)
	for _, part := range parts {
		head = append(binary.BigEndian.AppendUint64(head, uint64(len(part))), part...)
	}
	sum := sha256.New()
	sum.Write(binary.BigEndian.AppendUint64(head, uint64(len(payload))))
	sum.Write(payload)
	return [sha256.Size]byte(sum.Sum(head[:0]))
}

// ExpireKeys forgets up to so many idempotency keys whose time is over, and
// answers how many it forgot.
func (s *Store) ExpireKeys(ctx context.Context, limit int) (int, error) {
	result, err := s.reads.ExecContext(ctx, `
		DELETE FROM idempotency_keys WHERE (project_id, key) IN (
			SELECT project_id, key FROM idempotency_keys WHERE expires_at <= now()
			ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)`, limit)
	if err != nil {
		return 0, mapError(err, "expire idempotency keys")
	}
	n, err := result.RowsAffected()
	return int(n), mapError(err, "expire idempotency keys")
}

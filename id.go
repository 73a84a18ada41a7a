// Package millrace is the vocabulary of the gateway: events, deliveries,
// attempts, facts, and what is configured around them. It holds types, closed
// lists and pure functions; it reads no clock, no network and no store.
package millrace

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// ID names everything that Millrace keeps. It is a UUIDv7 (RFC 9562): its
// first 48 bits are the milliseconds of its making, so ids sort by time and a
// row's partition follows from its id. The zero ID means "none".
type ID = uuid.UUID

// NewID mints an id of the given moment with 74 random bits.
func NewID(at time.Time) ID {
	var id ID
	if _, err := rand.Read(id[6:]); err != nil {
		panic("millrace: the system has no randomness: " + err.Error())
	}
	return stamped(id, at)
}

// DerivedID makes the id that follows from its parts: the same parts and the
// same millisecond give the same id, so what is written twice is one row.
func DerivedID(at time.Time, parts ...ID) ID {
	sum := sha256.New()
	for _, p := range parts {
		sum.Write(p[:])
	}
	var id ID
	copy(id[6:], sum.Sum(nil))
	return stamped(id, at)
}

// DeliveryID derives the id of the one delivery that an event has for a
// subscription in a replay (the zero id: no replay). It bears the replay's
// time, or else the event's.
func DeliveryID(event, subscription, replay ID) ID {
	at := event
	if replay != (ID{}) {
		at = replay
	}
	return DerivedID(TimeOf(at), event, subscription, replay)
}

// TimeOf reads the millisecond an id was minted in.
func TimeOf(id ID) time.Time {
	ms := int64(id[0])<<40 | int64(id[1])<<32 | int64(id[2])<<24 | int64(id[3])<<16 | int64(id[4])<<8 | int64(id[5])
	return time.UnixMilli(ms).UTC()
}

// FloorID is the lower bound of all ids minted at the given millisecond or
// later: where a range over ids by time begins.
func FloorID(at time.Time) ID {
	var id ID
	putMillis(&id, at)
	return id
}

// ParseID reads an id in its canonical form and refuses anything else.
func ParseID(s string) (ID, error) {
	if len(s) != 36 {
		return ID{}, fmt.Errorf("%q is not an id (a UUID of 36 characters)", s)
	}
	id, err := uuid.Parse(s)
	if err != nil {
		return ID{}, fmt.Errorf("%q is not an id (a UUID of 36 characters)", s)
	}
	return id, nil
}

func stamped(id ID, at time.Time) ID {
	putMillis(&id, at)
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

func putMillis(id *ID, at time.Time) {
	ms := at.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
}

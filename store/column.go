package store

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/millrace-dev/millrace"
)

// PostgreSQL's numbers of the element types of our array parameters.
const (
	oidBool        = 16
	oidBytea       = 17
	oidInt8        = 20
	oidInt4        = 23
	oidText        = 25
	oidJSON        = 114
	oidTimestamptz = 1184
	oidUUID        = 2950
)

// likely bounds the room, in bytes, that is made for a field of all rows by the
// first of them.
const likely = 256 << 10

// column writes one field of many rows as an array parameter in PostgreSQL's
// binary format (array_send): the driver passes a []byte through untouched,
// where pq.Array would send text and a bytea as hex.
func column[T any](rows []T, oid uint32, put func(b []byte, row T) []byte) []byte {
	b := make([]byte, 0, 64)
	if len(rows) == 0 {
		b = binary.BigEndian.AppendUint32(b, 0) // no dimensions
		b = binary.BigEndian.AppendUint32(b, 0)
		return binary.BigEndian.AppendUint32(b, oid)
	}
	b = binary.BigEndian.AppendUint32(b, 1) // one dimension
	b = binary.BigEndian.AppendUint32(b, 0) // flags: PostgreSQL looks for NULLs itself
	b = binary.BigEndian.AppendUint32(b, oid)
	b = binary.BigEndian.AppendUint32(b, uint32(len(rows)))
	b = binary.BigEndian.AppendUint32(b, 1) // lower bound
	begin := len(b)
	for i, row := range rows {
		if b = put(b, row); i == 0 { // the others are as long, as a rule
			b = slices.Grow(b, min((len(b)-begin)*(len(rows)-1), likely))
		}
	}
	return b
}

// ids is an array of ids.
func ids(all []millrace.ID) []byte { return column(all, oidUUID, putID) }

// texts is an array of texts.
func texts(all []string) []byte { return column(all, oidText, putText) }

func putNull(b []byte) []byte { return append(b, 0xff, 0xff, 0xff, 0xff) }

func putID(b []byte, id millrace.ID) []byte {
	return append(append(b, 0, 0, 0, 16), id[:]...)
}

// putSomeID writes the zero id as NULL.
func putSomeID(b []byte, id millrace.ID) []byte {
	if id == (millrace.ID{}) {
		return putNull(b)
	}
	return putID(b, id)
}

func putText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// putSomeText writes the empty text as NULL.
func putSomeText(b []byte, s string) []byte {
	if s == "" {
		return putNull(b)
	}
	return putText(b, s)
}

// putBytes writes nil as NULL.
func putBytes(b, v []byte) []byte {
	if v == nil {
		return putNull(b)
	}
	return append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
}

func putBool(b []byte, is bool) []byte {
	if is {
		return append(b, 0, 0, 0, 1, 1)
	}
	return append(b, 0, 0, 0, 1, 0)
}

func putInt4(b []byte, n int) []byte {
	return binary.BigEndian.AppendUint32(append(b, 0, 0, 0, 4), uint32(int32(n)))
}

// putSomeInt4 writes zero as NULL.
func putSomeInt4(b []byte, n int) []byte {
	if n == 0 {
		return putNull(b)
	}
	return putInt4(b, n)
}

func putInt8(b []byte, n int64) []byte {
	return binary.BigEndian.AppendUint64(append(b, 0, 0, 0, 8), uint64(n))
}

// pgEpoch is the zero of PostgreSQL's timestamps, 2000-01-01, in microseconds.
const pgEpoch = 946684800_000_000

// putTime writes microseconds, and the zero time as NULL.
func putTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return putNull(b)
	}
	return putInt8(b, t.UnixMicro()-pgEpoch)
}

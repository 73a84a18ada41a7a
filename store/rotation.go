package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/millrace-dev/millrace"
)

// rotationBatch is how many sealed texts one transaction reseals.
const rotationBatch = 500

// sealedColumn is a column that holds sealed texts: how to find those that
// another key than the current one sealed (they begin otherwise than $1; at
// most $2), and how to put them back ($1: ids, $2: the texts).
type sealedColumn struct {
	find, put string
	place     func(sealedRow) string
}

type sealedRow struct {
	ID     millrace.ID `db:"id"`
	Parent millrace.ID `db:"parent"`
	Kind   string      `db:"kind"`
	Sealed []byte      `db:"sealed"`
}

// sealedColumns lists every column that holds sealed texts.
func sealedColumns() []sealedColumn {
	return []sealedColumn{{
		find: `
			SELECT id, endpoint_id AS parent, kind, sealed FROM endpoint_secrets
			WHERE substring(sealed FROM 1 FOR octet_length($1::bytea)) <> $1::bytea ORDER BY id LIMIT $2 FOR UPDATE`,
		put: `
			UPDATE endpoint_secrets s SET sealed = n.sealed FROM unnest($1::uuid[], $2::bytea[]) AS n (id, sealed) WHERE s.id = n.id`,
		place: func(r sealedRow) string {
			return secretRow{ID: r.ID, EndpointID: r.Parent, Kind: r.Kind}.place()
		},
	}, {
		find: `
			SELECT id, project_id AS parent, '' AS kind, credentials AS sealed FROM endpoints
			WHERE substring(credentials FROM 1 FOR octet_length($1::bytea)) <> $1::bytea ORDER BY id LIMIT $2 FOR UPDATE`,
		put: `
			UPDATE endpoints e SET credentials = n.sealed FROM unnest($1::uuid[], $2::bytea[]) AS n (id, sealed) WHERE e.id = n.id`,
		place: func(r sealedRow) string { return credentialsPlace(r.ID, r.Parent) },
	}, {
		find: `
			SELECT id, project_id AS parent, '' AS kind, credentials AS sealed FROM sources
			WHERE substring(credentials FROM 1 FOR octet_length($1::bytea)) <> $1::bytea ORDER BY id LIMIT $2 FOR UPDATE`,
		put: `
			UPDATE sources s SET credentials = n.sealed FROM unnest($1::uuid[], $2::bytea[]) AS n (id, sealed) WHERE s.id = n.id`,
		place: func(r sealedRow) string { return sourcePlace(r.ID, r.Parent) },
	}}
}

// RotateKeys seals anew, under the ring's current key, all that another key
// sealed, and answers how many texts that were. It works in batches and may be
// run again after a failure. Hashes of API keys are not texts that can be
// opened: they follow when their keys are next used, see KeysInUse.
func (s *Store) RotateKeys(ctx context.Context) (resealed int, err error) {
	for _, column := range sealedColumns() {
		for {
			n, err := s.reseal(ctx, column)
			if err != nil {
				return resealed, err
			}
			resealed += n
			if n == 0 {
				break
			}
		}
	}
	return resealed, nil
}

func (s *Store) reseal(ctx context.Context, column sealedColumn) (n int, err error) {
	err = s.tx(ctx, func(tx *sqlx.Tx) error {
		var rows []sealedRow
		if err := tx.SelectContext(ctx, &rows, column.find, s.ring.head(), rotationBatch); err != nil {
			return mapError(err, "find what another key sealed")
		}
		ids, texts := make([]millrace.ID, len(rows)), make([][]byte, len(rows))
		for i, row := range rows {
			clear, err := s.open(row.Sealed, column.place(row))
			if err != nil {
				return err
			}
			if texts[i], err = s.ring.Seal(clear, column.place(row)); err != nil {
				return err
			}
			ids[i] = row.ID
		}
		n = len(rows)
		_, err := tx.ExecContext(ctx, column.put, pq.Array(ids), pq.Array(texts))
		return mapError(err, "put back what was sealed anew")
	})
	return n, err
}

// KeyUse is how much in the database still needs one key of the ring.
type KeyUse struct {
	KeyID string `db:"key_id" json:"key"`
	// Sealed is how many texts it sealed; RotateKeys brings them to zero for
	// all keys but the current.
	Sealed int `db:"sealed" json:"sealed"`
	// Hashed is how many valid API keys it hashed; each follows when it is
	// next used, or must be replaced before the key leaves the ring.
	Hashed   int        `db:"hashed" json:"api_keys"`
	LastUsed *time.Time `db:"last_used" json:"last_used,omitempty"`
}

// KeysInUse counts what each key of the ring is still needed for. A key that
// is not listed may leave the ring.
func (s *Store) KeysInUse(ctx context.Context) ([]KeyUse, error) {
	var uses []KeyUse
	err := s.reads.SelectContext(ctx, &uses, `
		SELECT key_id, count(*) FILTER (WHERE sealed) AS sealed, count(*) FILTER (WHERE NOT sealed) AS hashed, max(last_used_at) AS last_used
		FROM (
			SELECT convert_from(substring(sealed FROM 3 FOR get_byte(sealed, 1)), 'UTF8') AS key_id, true AS sealed, NULL::timestamptz AS last_used_at
			FROM endpoint_secrets
			UNION ALL
			SELECT convert_from(substring(credentials FROM 3 FOR get_byte(credentials, 1)), 'UTF8'), true, NULL
			FROM endpoints WHERE credentials IS NOT NULL
			UNION ALL
			SELECT convert_from(substring(credentials FROM 3 FOR get_byte(credentials, 1)), 'UTF8'), true, NULL
			FROM sources WHERE credentials IS NOT NULL
			UNION ALL
			SELECT ring_key, false, last_used_at
			FROM api_keys WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
		) AS used
		GROUP BY key_id ORDER BY key_id`)
	return uses, mapError(err, "count what the key ring's keys are needed for")
}

// CheckKeys refuses a key ring that lacks a key which something in the
// database needs; the error names each of them, for the operator.
func (s *Store) CheckKeys(ctx context.Context) error {
	uses, err := s.KeysInUse(ctx)
	if err != nil {
		return err
	}
	var missing []string
	for _, use := range uses {
		if s.ring.keys[use.KeyID] == nil {
			missing = append(missing, fmt.Sprintf("%q (%d secrets and %d API keys need it)", use.KeyID, use.Sealed, use.Hashed))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w %s: put it back into secrets.keys, behind the current one", ErrUnknownKey, strings.Join(missing, ", "))
	}
	return nil
}

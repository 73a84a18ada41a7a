package store

import (
	"context"
	"sync"

	"github.com/jmoiron/sqlx"
)

// prepared are the statements of a pool of appends, which are few: each is
// parsed and planned once on each connection. To plan one for every flush took
// PostgreSQL longer than to run it for some rows (docs/adr/0016).
type prepared struct {
	*sqlx.DB

	mu    sync.Mutex
	known map[string]*sqlx.Stmt
}

func newPrepared(db *sqlx.DB) *prepared { return &prepared{DB: db, known: map[string]*sqlx.Stmt{}} }

// close closes the connections. One that was cut cannot be told to forget its
// statements, which is no fault.
func (p *prepared) close() { _ = p.DB.Close() }

// statement is one of the pool's own; it is closed with the pool.
func (p *prepared) statement(ctx context.Context, text string) (*sqlx.Stmt, error) {
	p.mu.Lock()
	s := p.known[text]
	p.mu.Unlock()
	if s != nil {
		return s, nil
	}
	s, err := p.PreparexContext(ctx, text)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if first := p.known[text]; first != nil {
		return first, s.Close()
	}
	p.known[text] = s
	return s, nil
}

// query runs a statement that answers with rows.
func (p *prepared) query(ctx context.Context, text string, args ...any) (*sqlx.Rows, error) {
	s, err := p.statement(ctx, text)
	if err != nil {
		return nil, err
	}
	return s.QueryxContext(ctx, args...)
}

// exec runs a statement that answers with nothing.
func (p *prepared) exec(ctx context.Context, text string, args ...any) error {
	s, err := p.statement(ctx, text)
	if err != nil {
		return err
	}
	_, err = s.ExecContext(ctx, args...)
	return err
}

// selectAll runs a statement and puts its rows into a slice of structs.
func (p *prepared) selectAll(ctx context.Context, rows any, text string, args ...any) error {
	s, err := p.statement(ctx, text)
	if err != nil {
		return err
	}
	return s.SelectContext(ctx, rows, args...)
}

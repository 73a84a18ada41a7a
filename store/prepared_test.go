package store_test

import (
	"testing"

	"github.com/millrace-dev/millrace/store"
)

func TestAStatementIsPlannedOnceOnAConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *store.Config) { c.Writers = 1 })
	d := w.delivery()
	for range 20 { // left to itself, PostgreSQL plans five before it thinks of keeping a plan
		must[bool](t)(w.Claim(t.Context(), d.ID, 1, "entry"))
	}
	var planned []struct {
		Kept int `db:"generic_plans"`
		Anew int `db:"custom_plans"`
	}
	noError(t, w.Claiming().SelectContext(t.Context(), &planned, `SELECT generic_plans, custom_plans FROM pg_prepared_statements`))
	if len(planned) != 1 || planned[0].Kept != 20 || planned[0].Anew != 0 {
		t.Errorf("20 claims were planned like this: %+v", planned)
	}
}

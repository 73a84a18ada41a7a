package store_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/millrace-dev/millrace"
)

func (w *world) partitions() int {
	w.t.Helper()
	return w.count(`SELECT count(*) FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'`)
}

func TestPartitionsAreMadeAheadAndOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	in(3, func(int) {
		if err := w.MakePartitions(t.Context(), time.Now(), 7); err != nil {
			t.Error(err)
		}
	})
	if n := w.partitions(); n != 4*(1+8) {
		t.Errorf("there are %d partitions, want the default and 8 days of 4 tables", n)
	}
	noError(t, w.MakePartitions(t.Context(), time.Now(), 7))
	w.delivery()
	for _, table := range []string{"events", "matches", "deliveries"} {
		if n := w.count(`SELECT count(*) FROM ` + table + `_default`); n != 0 {
			t.Errorf("the default partition of %s has %d rows", table, n)
		}
	}
	options := `SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relname LIKE 'deliveries_2%' AND relkind = 'r' AND 'fillfactor=50' = ANY (reloptions)`
	if n := w.count(options); n != 8 {
		t.Errorf("%d partitions leave room in their pages, want 8", n)
	}
}

func TestTheDefaultPartitionCatchesAndTheJanitorMoves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, days := range []int{-2, 3} {
		e := w.event()
		e.ID = millrace.NewID(time.Now().AddDate(0, 0, days))
		stored := must[millrace.StoredEvent](t)(w.AppendEvent(t.Context(), e, false))
		made := must[[]millrace.Delivery](t)(w.FanOut(t.Context(), millrace.FanOut{Event: stored, ConfigVersion: 1, Targets: targets(2)}))
		w.settle(attempted(made[0].ID, 1, millrace.Delivered))
		w.settle(attempted(made[1].ID, 1, millrace.Waiting))
	}
	tables := map[string]int{"events": 2, "matches": 2, "deliveries": 4, "facts": 4}
	for table, rows := range tables {
		if n := w.count(`SELECT count(*) FROM ` + table + `_default`); n != rows {
			t.Fatalf("the default partition of %s caught %d rows, want %d", table, n, rows)
		}
	}
	noError(t, w.MakePartitions(t.Context(), time.Now(), 7))
	for table, rows := range tables {
		if n := w.count(`SELECT count(*) FROM ` + table + `_default`); n != 0 {
			t.Errorf("%d rows are left in the default partition of %s", n, table)
		}
		if n := w.count(`SELECT count(*) FROM ` + table); n != rows {
			t.Errorf("%s has %d rows, want %d", table, n, rows)
		}
	}
	due := must[[]millrace.Due](t)(w.DueDeliveries(t.Context(), 10))
	if len(due) != 2 {
		t.Fatalf("%d are due, want 2", len(due))
	}
	for _, d := range due {
		if _, ok := w.handBack(d); !ok {
			t.Error("a moved delivery could not be handed back")
		}
	}
}

func TestAppendsGoOnWhileThePartitionsAreMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const each = 40
	in(5, func(i int) {
		if i == 4 {
			if err := w.MakePartitions(t.Context(), time.Now(), 7); err != nil {
				t.Error(err)
			}
			return
		}
		for range each {
			e := w.event()
			e.ID = millrace.NewID(time.Now().AddDate(0, 0, i+1)) // three of the four days have no partition yet
			if _, err := w.AppendEvent(t.Context(), e, false); err != nil {
				t.Error(err)
			}
		}
	})
	if n := w.count(`SELECT count(*) FROM events`); n != 4*each {
		t.Errorf("%d events are stored, want %d", n, 4*each)
	}
}

// plan is the text of the one plan that the append connections make of a
// statement, as it runs with these arguments: of them, only single ids bear on
// the partitions that are looked at.
func (w *world) plan(statement string, args []any) string {
	w.t.Helper()
	conn := must[*sqlx.Conn](w.t)(w.Appending().Connx(w.t.Context()))
	defer func() { noError(w.t, conn.Close()) }()
	literals := make([]string, len(args))
	for i, arg := range args {
		literals[i] = "NULL"
		if id, ok := arg.(millrace.ID); ok {
			literals[i] = "'" + id.String() + "'"
		}
	}
	must[sql.Result](w.t)(conn.ExecContext(w.t.Context(), `PREPARE planned AS `+statement))
	var lines []string
	noError(w.t, conn.SelectContext(w.t.Context(), &lines, `EXPLAIN (COSTS OFF) EXECUTE planned(`+strings.Join(literals, ", ")+`)`))
	must[sql.Result](w.t)(conn.ExecContext(w.t.Context(), `DEALLOCATE planned`))
	return strings.Join(lines, "\n")
}

func TestClaimAndSettleTouchOnePartitionAndItsKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	noError(t, w.MakePartitions(t.Context(), time.Now(), 7))
	a, b := newID(), newID()
	b = millrace.DerivedID(millrace.TimeOf(a), b) // of the same day, whatever the clock says
	if compareIDs(a, b) > 0 {
		a, b = b, a
	}
	today := "deliveries_" + millrace.TimeOf(a).Format("20060102")
	for kind, plan := range map[string]string{"claim": w.plan(w.ClaimPlan(a, b)), "settle": w.plan(w.SettlePlan(a, b)), "hand back": w.plan(w.BackPlan(a, b))} {
		scans := 0
		for line := range strings.SplitSeq(plan, "\n") {
			if strings.Contains(line, "Scan") && strings.Contains(line, " deliveries_") {
				scans++
				if !strings.Contains(line, "Index Scan using "+today+"_pkey") {
					t.Errorf("%s looks further than the key of %s: %s", kind, today, line)
				}
			}
		}
		if scans != 1 || !strings.Contains(plan, "Subplans Removed") || strings.Contains(plan, "Hash Join") || strings.Contains(plan, "Merge Join") {
			t.Errorf("the plan of %s:\n%s", kind, plan)
		}
	}
}

func TestAClaimStaysInItsPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := must[[]millrace.Delivery](t)(w.FanOut(t.Context(), millrace.FanOut{Event: w.appended(), ConfigVersion: 1, Targets: targets(100)}))
	in(100, func(i int) {
		if _, err := w.Claim(t.Context(), made[i].ID, 1, "entry"); err != nil {
			t.Error(err)
		}
	})
	noError(t, w.Close()) // a session that ends reports what it did
	eventually(t, "the statistics of 100 updates", func() bool {
		return w.count(`SELECT coalesce(sum(n_tup_upd), 0) FROM pg_stat_user_tables WHERE schemaname = current_schema()`) >= 100
	})
	hot := w.count(`SELECT sum(n_tup_hot_upd) FROM pg_stat_user_tables WHERE schemaname = current_schema() AND relname LIKE 'deliveries%'`)
	if hot < 90 {
		t.Errorf("%d of 100 claims stayed in their page", hot)
	}
}

func TestADayWithoutAPartitionIsNoIngestError(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var detached []string
	rows, err := w.db.QueryContext(t.Context(), `SELECT inhparent::regclass::text, inhrelid::regclass::text FROM pg_inherits JOIN pg_class ON oid = inhrelid
		WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND relname NOT LIKE '%default'`)
	noError(t, err)
	for rows.Next() {
		var parent, child string
		noError(t, rows.Scan(&parent, &child))
		detached = append(detached, fmt.Sprintf("ALTER TABLE %s DETACH PARTITION %s; DROP TABLE %s", parent, child, child))
	}
	noError(t, rows.Err())
	for _, statement := range detached {
		w.exec(statement)
	}
	d := w.delivery()
	must[bool](t)(w.Claim(t.Context(), d.ID, 1, "entry"))
	if !w.settle(attempted(d.ID, 1, millrace.Delivered)) {
		t.Error("the fact did not count")
	}
}

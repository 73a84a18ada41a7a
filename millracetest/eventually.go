package millracetest

import (
	"fmt"
	"testing"
	"time"
)

// patience bounds every wait: five times what is promised, on a busy machine.
const patience = 90 * time.Second

// eventually asks again and again until there is no error.
func eventually(t testing.TB, what string, ask func() error) {
	t.Helper()
	if err := until(what, ask); err != nil {
		t.Fatal(err)
	}
}

// until is eventually for a goroutine that may not end the test.
func until(what string, ask func() error) error {
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline:
			return fmt.Errorf("not within %s: %s: %w", patience, what, err)
		}
	}
}

package app

import (
	"context"
	"errors"

	millrace "github.com/millrace-dev/millrace"
)

// Check asks the stores what only they can tell about a configuration: the
// schema, the connections, the keys, what Redis evicts. A store that does not
// answer is no fault of the configuration; it is named in notes.
func Check(ctx context.Context, c Config) (notes []string, faults error) {
	p := &process{config: c}
	defer func() {
		for _, end := range p.ends {
			end()
		}
	}()
	look := func(store string, open func(context.Context) error) {
		switch err := open(ctx); {
		case err == nil:
			notes = append(notes, store+" answers and suits")
		case millrace.IsUnavailable(err):
			notes = append(notes, store+" does not answer, so it was not checked: "+err.Error())
		default:
			faults = errors.Join(faults, err)
		}
	}
	look("PostgreSQL", p.openStore)
	look("Redis", p.openRedis)
	return notes, faults
}

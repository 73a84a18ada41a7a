package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/store"
)

func TestReplicasAreConfiguredByTheirURLs(t *testing.T) {
	t.Parallel()
	for rule, c := range map[string]struct {
		urls []millrace.Sensitive
		says []string
	}{
		"two servers are fine":               {[]millrace.Sensitive{"postgres://m:secret@r1/millrace", "postgresql://m:secret@r2:5433/millrace"}, nil},
		"what is no URL is refused":          {[]millrace.Sensitive{"postgres://r1/m", "r2:5432 secret"}, []string{"entry 2 is no URL"}},
		"what cannot be read is refused":     {[]millrace.Sensitive{"postgres://m:secret@r1:port/m"}, []string{"entry 1 cannot be read"}},
		"several servers in one are refused": {[]millrace.Sensitive{"postgres://m:secret@r1,r2/m"}, []string{"entry 1 names several servers"}},
		"the same server twice is refused":   {[]millrace.Sensitive{"postgres://m:secret@r1/m", "postgres://r1:5432/m"}, []string{"entry 2 is r1:5432/m, as is entry 1"}},
		"the primary is refused":             {[]millrace.Sensitive{"postgres://m:secret@p/m"}, []string{"entry 1 is p:5432/m, as is postgres.url"}},
		"all faults are said at once":        {[]millrace.Sensitive{"secret", "postgres://p/m"}, []string{"entry 1 is no URL", "entry 2 is p:5432/m"}},
	} {
		t.Run(rule, func(t *testing.T) {
			config := store.DefaultConfig()
			config.URL, config.ReadReplicas = "postgres://p/m", c.urls
			err := config.Validate()
			if (err == nil) != (len(c.says) == 0) || err != nil && strings.Contains(err.Error(), "secret") {
				t.Fatalf("it says %v", err)
			}
			if slices.ContainsFunc(c.says, func(part string) bool { return !strings.Contains(fmt.Sprint(err), part) }) {
				t.Errorf("it says %v, want %q", err, c.says)
			}
		})
	}
}

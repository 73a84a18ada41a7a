package app_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/millrace-dev/millrace/store/storetest"
)

// The client of Pub/Sub brings a library that begins to count when it is loaded.
func TestMain(m *testing.M) {
	os.Exit(storetest.Main(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start")))
}

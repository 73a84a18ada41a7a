// Package wellwired declares a stage whose topics fit: it must compile.
package wellwired

import (
	"github.com/millrace-dev/millrace/handlers"
	"github.com/millrace-dev/millrace/pipeline"
)

// Stage reads what persist writes.
var Stage = pipeline.Between("fanout", pipeline.Limits{}, pipeline.Persisted, &handlers.Fanout{}, pipeline.Due)

// Package miswired declares a stage whose topics do not fit: fan-out reads
// what has not been stored yet. It must not compile.
package miswired

import (
	"github.com/millrace-dev/millrace/handlers"
	"github.com/millrace-dev/millrace/pipeline"
)

// Stage reads what ingest writes.
var Stage = pipeline.Between("fanout", pipeline.Limits{}, pipeline.Ingested, &handlers.Fanout{}, pipeline.Due)

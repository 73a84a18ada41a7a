//go:build brokers

package bench

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/millrace-dev/millrace/app"
)

// startGateway is the gateway that the brokers' benchmark measures.
func startGateway(ctx context.Context, _ string, _ io.Writer) (*gateway, error) {
	return newGateway(ctx, setup{binary: binary})
}

// sender hands events in by the API, which nobody receives.
type sender struct {
	api     *api
	project string
	ack     string
	body    []byte
}

func newSender(a app.DevAccess, size int, ack string) *sender {
	s := &sender{project: a.ProjectID, ack: ack}
	s.api, _ = newAPI(a.URL, a.APIKey) // the gateway's own URL is one
	before := `{"event_type":"bench.event","data":`
	s.body = append(newTemplate(1, size).append([]byte(before), 0, 0), '}')
	return s
}

func (s *sender) call(ctx context.Context, path string, body []byte, data any) error {
	return s.api.call(ctx, ofProject(s.project, path), json.RawMessage(body), data)
}

// closedLoop sends so many events, with so many clients at once.
func (s *sender) closedLoop(ctx context.Context, events, clients int) error {
	w := way{path: ofProject(s.project, "/events/broadcast"), before: `{"event_type":"bench.event","data":`}
	p := plan{data: newTemplate(1, len(s.body)-len(w.before)-1), fan: 1}
	p.routes = []route{{head: head(s.api, w, s.ack, p.data)}}
	l := &load{target: s.api.base, ledger: newLedger(p, events, 0), pace: pace{events: events, limit: time.Hour}, clients: clients}
	return l.send(ctx)
}

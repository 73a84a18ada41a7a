package app_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace/app"
)

func TestFollowingGoesOnWhereItWasWhenTheAPIWasAway(t *testing.T) {
	asked := 0
	c := api(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		after := r.URL.Query().Get("after")
		switch asked {
		case 1:
			succeed(w, `{"content":[],"cursor":"c1"}`)
		case 3, 4: // away, twice
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"status":false,"message":"not now","code":"unavailable"}`)
		default:
			succeed(w, fmt.Sprintf(`{"content":[{"kind":"attempted","reason":"after %s"}],"cursor":"c%d"}`, after, asked))
		}
	})
	var seen, said []string
	err := app.Following{
		Client: c, Interval: time.Millisecond,
		Ready: func() { said = append(said, "ready") },
		Away:  func(err error) { said = append(said, fmt.Sprint(err)) },
		Each: func(f app.Item[app.FactRow]) bool {
			seen = append(seen, f.Is.Reason)
			return len(seen) < 3
		},
	}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(seen, ", "); got != "after c1, after c2, after c5" {
		t.Errorf("it saw %s", got)
	}
	if got := strings.Join(said, ", "); got != "ready, not now, <nil>" {
		t.Errorf("it said %s", got)
	}
}

func TestFollowingEndsWhenItIsRefused(t *testing.T) {
	asked := 0
	c := api(t, func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked == 1 {
			succeed(w, `{"content":[],"cursor":"c1"}`)
			return
		}
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"status":false,"message":"the API key is not valid","code":"unauthenticated"}`)
	})
	err := app.Following{
		Client: c, Interval: time.Millisecond, Ready: func() {}, Away: func(error) {}, Each: func(app.Item[app.FactRow]) bool { return true },
	}.Run(t.Context())
	if err == nil || err.Error() != "the API key is not valid" {
		t.Errorf("%v", err)
	}
}

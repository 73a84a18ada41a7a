package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/millrace-dev/millrace/app"
)

func TestReceivedInJSON(t *testing.T) {
	for _, c := range []struct{ rule, body, want string }{
		{"a text is readable", `{"id": 1}`, `"body":"{\"id\": 1}"`},
		{"bytes are in base64", "\xff\x00", `"body":"","body_base64":"/wA="`},
	} {
		t.Run(c.rule, func(t *testing.T) {
			text, err := json.Marshal(app.Received{EventID: "e", Body: []byte(c.body)})
			if err != nil || !strings.Contains(string(text), c.want) || !strings.Contains(string(text), `"event_id":"e"`) {
				t.Errorf("%s, %v", text, err)
			}
		})
	}
}

// TestListeningReusesItsOwnEndpointOnly holds which endpoint is given a new
// secret: no other one's receivers may be broken by it.
func TestListeningReusesItsOwnEndpointOnly(t *testing.T) {
	const url = "http://127.0.0.1:9000"
	for _, c := range []struct{ rule, found, want string }{
		{"there is none", ``, "create, subscribe"},
		{"another one has the URL", `{"uid":"e","name":"shop","url":"` + url + `","status":"active"}`, "create, subscribe"},
		{"another URL begins alike", `{"uid":"e","name":"millrace listen","url":"` + url + `1","status":"active"}`, "create, subscribe"},
		{"its own", `{"uid":"e","name":"millrace listen","url":"` + url + `","status":"active"}`, "roll, subscribe"},
		{"its own, in the form that the API gave it", `{"uid":"e","name":"millrace listen","url":"` + url + `/","status":"active"}`, "roll, subscribe"},
		{"its own, disabled", `{"uid":"e","name":"millrace listen","url":"` + url + `","status":"inactive"}`, "roll, activate, subscribe"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			var done []string
			const endpoint = `{"uid":"e","name":"millrace listen","url":"u","secrets":[{"value":"s"}]}`
			client := api(t, func(w http.ResponseWriter, r *http.Request) {
				what := r.Method + " " + strings.TrimPrefix(r.URL.Path, "/api/v1/projects/p")
				switch what {
				case "GET ":
					succeed(w, `{}`)
				case "GET /endpoints":
					succeed(w, `{"content":[`+c.found+`]}`)
				case "GET /subscriptions":
					succeed(w, `{"content":[]}`)
				case "POST /endpoints":
					done = append(done, "create")
					succeed(w, endpoint)
				case "PUT /endpoints/e/expire_secret":
					done = append(done, "roll")
					succeed(w, endpoint)
				case "POST /endpoints/e/activate":
					done = append(done, "activate")
					succeed(w, endpoint)
				case "POST /subscriptions":
					done = append(done, "subscribe")
					fmt.Fprint(w, `{"status":false,"message":"enough","code":"invalid"}`) // it would listen now
				}
			})
			err := app.Listening{Client: client, Address: "127.0.0.1:0", URL: url, Status: 200}.Run(t.Context())
			if err == nil || err.Error() != "enough" {
				t.Errorf("it ended with %v", err)
			}
			if got := strings.Join(done, ", "); got != c.want {
				t.Errorf("it did: %s; want %s", got, c.want)
			}
		})
	}
}

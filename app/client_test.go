package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/app"
)

// api is a client of a server that answers as the test says.
func api(t *testing.T, answer http.HandlerFunc) *app.Client {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	c := app.NewClient(app.DevAccess{URL: s.URL + "/", ProjectID: "p", APIKey: "key"}, "test")
	t.Cleanup(c.Close)
	return c
}

func succeed(w http.ResponseWriter, data string) {
	fmt.Fprintf(w, `{"status":true,"message":"done","data":%s}`, data)
}

func TestClientReadsAListToItsEnd(t *testing.T) {
	var asked []string
	c := api(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path+" "+r.URL.Query().Get("next_page_cursor")+" "+r.Header.Get("Authorization"))
		more := len(asked) < 3
		succeed(w, fmt.Sprintf(`{"content":[{"uid":"e%d","other":1}],"pagination":{"has_next_page":%t,"next_page_cursor":"c%d"}}`, len(asked), more, len(asked)))
	})
	found, err := c.Endpoints(t.Context(), "")
	if err != nil || len(found) != 3 || found[2].Is.ID != "e3" {
		t.Fatalf("%v, %v", found, err)
	}
	want := "/api/v1/projects/p/endpoints  Bearer key|/api/v1/projects/p/endpoints c1 Bearer key|/api/v1/projects/p/endpoints c2 Bearer key"
	if got := strings.Join(asked, "|"); got != want {
		t.Errorf("it asked %s", got)
	}
	if text, err := json.Marshal(found[0]); err != nil || string(text) != `{"uid":"e1","other":1}` {
		t.Errorf("in JSON it is not what the API gave: %s, %v", text, err)
	}
}

func TestClientSaysARefusalInTheAPIsWords(t *testing.T) {
	for _, c := range []struct{ rule, answer, want string }{
		{"one fault is said once", `{"status":false,"message":"name is required","code":"bad_request","errors":[{"field":"name","message":"is required"}]}`, "name is required"},
		{"several are all said", `{"status":false,"message":"the request has several faults","code":"invalid","errors":[{"field":"a","message":"x"},{"field":"b","message":"y"}]}`, "the request has several faults; a: x; b: y"},
		{"what is not the API", `<html>`, "does not speak Millrace's API (it answered 418 I'm a teapot); is the URL right?"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			client := api(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusTeapot)
				fmt.Fprint(w, c.answer)
			})
			if _, err := client.Project(t.Context()); err == nil || !strings.HasSuffix(err.Error(), c.want) {
				t.Errorf("it says %v, want %q", err, c.want)
			}
		})
	}
}

func TestClientKeepsTheBytesOfAnEvent(t *testing.T) {
	var body string
	c := api(t, func(w http.ResponseWriter, r *http.Request) {
		b := make([]byte, r.ContentLength)
		_, _ = r.Body.Read(b)
		body = string(b)
		succeed(w, `{"uid":"e","ack":"queued"}`)
	})
	if _, err := c.Send(t.Context(), app.NewEvent{Type: "a", Data: []byte(`{"n": 1.0,  "t":"<&>"}`)}, "persisted"); err != nil {
		t.Fatal(err)
	}
	if body != `{"event_type":"a","data":{"n": 1.0,  "t":"<&>"}}` {
		t.Errorf("it sent %s", body)
	}
}

func TestClientKnowsAnAPIThatIsAway(t *testing.T) {
	c := app.NewClient(app.DevAccess{URL: "http://127.0.0.1:1", ProjectID: "p", APIKey: "k"}, "test")
	if _, err := c.Project(t.Context()); !millrace.IsUnavailable(err) {
		t.Errorf("%v", err)
	}
	nowhere := app.NewClient(app.DevAccess{URL: "http://127.0.0.1:1", APIKey: "k"}, "test")
	if _, err := nowhere.Project(t.Context()); err == nil || !strings.Contains(err.Error(), "the project is missing") {
		t.Errorf("without a project it says %v", err)
	}
}

package httpapi

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	millrace "github.com/millrace-dev/millrace"
)

func TestWebhooksThatAreNotVerifiedHaveNoMoreMemoryThanTheirSourceIsGiven(t *testing.T) {
	a := newAPI(t)
	flooded := withSource(a)
	other := withSource(a, func(s *millrace.Source) { s.MaskID = "other" })
	s, err := New(a.config, a.deps)
	if err != nil {
		t.Fatal(err)
	}
	send := func(mask, signature string) int {
		r := httptest.NewRequest(http.MethodPost, "/ingest/"+mask, strings.NewReader("twenty bytes of body"))
		r.Header.Set("X-Signature", signature)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		return w.Code
	}
	if !s.strangers.hold(flooded.ID, strangerBytes-10) {
		t.Fatal("what a source is given is not given")
	}
	equal(t, "the answer, while too much is under way", send("mask", "yes"), http.StatusServiceUnavailable)
	equal(t, "the answer for another source", send("other", "yes"), http.StatusCreated)
	s.strangers.letGo(flooded.ID, strangerBytes-10)
	for mask, signature := range map[string]string{"mask": "no", other.MaskID: "yes"} {
		send(mask, signature)
	}
	equal(t, "the sources of which something is still counted", len(s.strangers.held), 0)
	equal(t, "the answer afterwards", send("mask", "yes"), http.StatusCreated)
}

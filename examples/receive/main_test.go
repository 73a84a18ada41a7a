package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// signedBy makes a request as Millrace would, by the library of Standard
// Webhooks.
func signedBy(t *testing.T, secret string, at time.Time, body string) *http.Request {
	t.Helper()
	const id = "e1"
	library, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := library.Sign(id, at, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/hook", strings.NewReader(body))
	r.Header.Set("webhook-id", id)
	r.Header.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
	r.Header.Set("webhook-signature", signature)
	return r
}

func TestRequestsAreJudgedByTheirSignature(t *testing.T) {
	const other = "whsec_" + "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	for _, c := range []struct {
		rule   string
		by     string
		ago    time.Duration
		spoil  func(*http.Request)
		status int
	}{
		{"a genuine request is taken", secret, 0, nil, http.StatusOK},
		{"another secret is refused", other, 0, nil, http.StatusUnauthorized},
		{"an old request is refused", secret, 6 * time.Minute, nil, http.StatusUnauthorized},
		{"a request of the future is refused", secret, -6 * time.Minute, nil, http.StatusUnauthorized},
		{"another id is refused", secret, 0, func(r *http.Request) { r.Header.Set("webhook-id", "e2") }, http.StatusUnauthorized},
		{"another body is refused", secret, 0, func(r *http.Request) { r.Body = http.NoBody }, http.StatusUnauthorized},
		{"no time is refused", secret, 0, func(r *http.Request) { r.Header.Del("webhook-timestamp") }, http.StatusUnauthorized},
		{"no signature is refused", secret, 0, func(r *http.Request) { r.Header.Del("webhook-signature") }, http.StatusUnauthorized},
		{"one good signature among several is enough", secret, 0, func(r *http.Request) {
			r.Header.Set("webhook-signature", "v1,AAAA v1a,BBBB "+r.Header.Get("webhook-signature"))
		}, http.StatusOK},
	} {
		t.Run(c.rule, func(t *testing.T) {
			worked := 0
			receiver := NewReceiver(secret, func(context.Context, string, []byte) error { worked++; return nil })
			r := signedBy(t, c.by, time.Now().Add(-c.ago), `{"id":42}`)
			if c.spoil != nil {
				c.spoil(r)
			}
			w := httptest.NewRecorder()
			receiver.ServeHTTP(w, r)
			if w.Code != c.status || (worked == 1) != (c.status == http.StatusOK) {
				t.Errorf("answered %d, worked %d times; want %d", w.Code, worked, c.status)
			}
		})
	}
}

func TestAnEventIsWorkedOffOnce(t *testing.T) {
	var got []string
	failures := 1
	receiver := NewReceiver(secret, func(_ context.Context, id string, body []byte) error {
		if failures--; failures >= 0 {
			return errors.New("not now")
		}
		got = append(got, id+" "+string(body))
		return nil
	})
	for i, want := range []int{http.StatusInternalServerError, http.StatusOK, http.StatusOK} {
		w := httptest.NewRecorder()
		receiver.ServeHTTP(w, signedBy(t, secret, time.Now(), `{"id":42}`))
		if w.Code != want {
			t.Errorf("request %d was answered %d, want %d", i+1, w.Code, want)
		}
	}
	if len(got) != 1 || got[0] != `e1 {"id":42}` {
		t.Errorf("worked off %q, want the event once", got)
	}
}

func TestAnEventUnderWayIsNotBegunTwice(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	receiver := NewReceiver(secret, func(context.Context, string, []byte) error {
		close(begun) // a second close would panic
		<-end
		return nil
	})
	first := make(chan int)
	one := signedBy(t, secret, time.Now(), `{}`)
	go func() {
		w := httptest.NewRecorder()
		receiver.ServeHTTP(w, one)
		first <- w.Code
	}()
	<-begun
	w := httptest.NewRecorder()
	receiver.ServeHTTP(w, signedBy(t, secret, time.Now(), `{}`))
	close(end)
	if code := <-first; w.Code != http.StatusConflict || code != http.StatusOK {
		t.Errorf("answered %d and %d, want 409 while the first is under way and 200 to it", w.Code, code)
	}
}

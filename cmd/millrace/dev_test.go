package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestDev is a newcomer's first quarter of an hour, with the real program and
// real stores.
func TestDev(t *testing.T) {
	t.Parallel()
	s := devShell(t)
	listen := "127.0.0.1:" + freePort(t)
	dev := s.start(t, "dev", "--listen", listen)
	dev.await(dev.out, "Ctrl-C ends it")
	first := welcomed(t, dev.out.String())
	if dev.err.String() == "" || strings.Contains(dev.err.String(), "level=") {
		t.Errorf("the stores that were found are not told, or something is logged:\n%s", dev.err)
	}
	port := freePort(t)

	t.Run("the printed curl arrives at listen, signature verified", func(t *testing.T) {
		l := s.start(t, "listen", "--port", port, "--count", "1")
		l.await(l.err, "a new endpoint")
		answer := curled(t, first.curl)
		if answer.StatusCode != http.StatusCreated {
			t.Fatalf("curl is answered with %s", answer.Status)
		}
		var receipt struct {
			Data struct {
				UID string `json:"uid"`
			} `json:"data"`
		}
		if err := json.NewDecoder(answer.Body).Decode(&receipt); err != nil {
			t.Fatal(err)
		}
		wantIn(t, l.wait(exitDone).out.String(), "order.paid   answered 200\n", "webhook-id  "+receipt.Data.UID,
			"signature verified (Standard Webhooks, Convoy)", `"id": 42`)
	})
	t.Run("send, tail and replay show the same deliveries", func(t *testing.T) { sendTailReplay(t, s, port) })
	t.Run("a failure is tried again later", func(t *testing.T) { failing(t, s, port) })
	t.Run("a receiver that misbehaves shows what it does and what comes of it", func(t *testing.T) { misbehaving(t, s) })
	t.Run("what is not signed is shown as such", func(t *testing.T) {
		l := s.start(t, "listen", "--port", port, "--count", "1")
		l.await(l.err, "Listening on")
		answer, err := http.Post("http://127.0.0.1:"+port+"/hook", "application/json", strings.NewReader(`"forged"`))
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		wantIn(t, l.wait(exitDone).out.String(), "POST /hook   answered 200", "signature NOT verified: Standard Webhooks: the request bears no readable signature", `"forged"`)
	})
	t.Run("a second signal ends a command at once", func(t *testing.T) { impatient(t, s) })
	t.Run("a line of NDJSON that is refused is named, and the others are sent", func(t *testing.T) { sendLines(t, s) })
	t.Run("keys and endpoints are made, listed and ended", func(t *testing.T) { keysAndEndpoints(t, s) })
	t.Run("a source is made, and what is sent to its URL arrives", func(t *testing.T) { sourceAndWebhook(t, s, port) })
	t.Run("there are no dead letters", func(t *testing.T) {
		wantIn(t, s.run(t, "dead-letters", "list"), "There are no dead letters.")
		if got := s.run(t, "dead-letters", "list", "--json"); got != "[]\n" {
			t.Errorf("in JSON: %q", got)
		}
	})
	t.Run("a taken port, a folder in use and a missing right are one sentence each", func(t *testing.T) {
		s.refuse(t, exitFailed, listen+" cannot be used", "dev", "--listen", listen)
		s.refuse(t, exitFailed, "is in use by another millrace", "dev", "--listen", "127.0.0.1:"+freePort(t))
		s.refuse(t, exitFailed, "needs an instance key", "project", "list")
	})
	t.Run("SIGTERM drains, and a second start finds everything", func(t *testing.T) {
		if err := dev.process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		dev.wait(exitDone)
		again := s.start(t, "dev", "--listen", listen)
		again.await(again.out, "Ctrl-C ends it")
		if second := welcomed(t, again.out.String()); second != first {
			t.Errorf("the second start says %v, the first %v", second, first)
		}
		wantIn(t, s.run(t, "endpoint", "list"), "millrace listen")
	})
}

// devShell has a data folder of its own; what root's PostgreSQL keeps outside
// of it is removed, too.
func devShell(t *testing.T) shell {
	s := shell{dir: t.TempDir()}
	t.Cleanup(func() {
		if home, err := os.ReadFile(filepath.Join(s.dir, ".millrace", "postgres.path")); err == nil {
			_ = os.RemoveAll(strings.TrimSpace(string(home)))
		}
	})
	return s
}

// welcome is what dev prints for a newcomer.
type welcome struct{ url, project, key, curl string }

var welcomeText = regexp.MustCompile(`(?s)URL +(\S+)\n +project +(\S+)\n +API key +(\S+)\n.*\n  (curl .*?)\n\n`)

func welcomed(t *testing.T, text string) welcome {
	t.Helper()
	found := welcomeText.FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("there is no welcome in:\n%s", text)
	}
	return welcome{found[1], found[2], found[3], found[4]}
}

func sendTailReplay(t *testing.T, s shell, port string) {
	tail := s.start(t, "tail", "--count", "2")
	tail.await(tail.err, "Following the deliveries")
	l := s.start(t, "listen", "--port", port, "--count", "2", "--json")
	l.await(l.err, "the endpoint of before, with a new secret")
	var sent struct {
		UID string `json:"uid"`
	}
	if err := json.Unmarshal([]byte(s.run(t, "send", "invoice.sent", `{"text": "1  <2>"}`, "--json", "-H", "X-Shop=one=1")), &sent); err != nil {
		t.Fatal(err)
	}
	l.await(l.out, sent.UID)
	wantIn(t, s.run(t, "replay", sent.UID), sent.UID+" (invoice.sent) is delivered again")
	for line := range strings.Lines(l.wait(exitDone).out.String()) {
		var r struct {
			EventID   string      `json:"event_id"`
			EventType string      `json:"event_type"`
			Body      string      `json:"body"`
			Headers   http.Header `json:"headers"`
			Verified  []string    `json:"verified"`
			Faults    []string    `json:"faults"`
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if r.EventID != sent.UID || r.EventType != "invoice.sent" || r.Body != `{"text": "1  <2>"}` || r.Headers.Get("X-Shop") != "one=1" {
			t.Errorf("another delivery arrived: %s", line)
		}
		if len(r.Verified) != 2 || len(r.Faults) != 0 {
			t.Errorf("verified by %v, faults %v", r.Verified, r.Faults)
		}
	}
	followed := tail.wait(exitDone).out.String()
	if n := strings.Count(followed, "delivered  invoice.sent  try 1 to http://127.0.0.1:"+port+": 200 in "); n != 2 {
		t.Errorf("tail shows %d of 2 deliveries:\n%s", n, followed)
	}
}

func failing(t *testing.T, s shell, port string) {
	tail := s.start(t, "tail", "--count", "1", "--type", "order.*")
	tail.await(tail.err, "Following the deliveries")
	l := s.start(t, "listen", "--port", port, "--count", "1", "--status", "500")
	l.await(l.err, "Listening on")
	s.run(t, "send", "order.failed")
	wantIn(t, l.wait(exitDone).out.String(), "order.failed   answered 500", "signature verified")
	wantIn(t, tail.wait(exitDone).out.String(), "waiting    order.failed  try 1", ": 500 in ", ", again at ")
}

// impatient signals a listen twice while it drains: it would wait ten minutes
// for the request under way.
func impatient(t *testing.T, s shell) {
	port := freePort(t)
	l := s.start(t, "listen", "--port", port, "--delay", "10m")
	l.await(l.err, "Listening on")
	conn, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n') // it is being read, so the request is under way
	if err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("%q, %v", line, err)
	}
	for _, signal := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		if err := l.process.Signal(signal); err != nil {
			t.Fatal(err)
		}
	}
	l.wait(exitFailed)
}

func sendLines(t *testing.T, s shell) {
	s.in = "{\"event_type\":\"a\",\"data\":1,\"idempotency_key\":\"k\"}\n\nnonsense\n{\"event_type\":\"a\",\"data\":2}\n"
	r := s.start(t, "send").wait(exitFailed)
	wantIn(t, r.out.String(), "2 sent, 0 duplicates, 1 failed\n")
	wantIn(t, r.err.String(), "line 3: the body is not JSON")
	s.in = "{\"event_type\":\"a\",\"data\":1,\"idempotency_key\":\"k\"}"
	wantIn(t, s.run(t, "send", "--file", "-"), "0 sent, 1 duplicates, 0 failed\n")
	s.refuse(t, exitFailed, "the data is not JSON", "send", "a", "{")
	s.refuse(t, exitUsage, "--ack must be queued or persisted", "send", "a", "--ack", "later")
}

func keysAndEndpoints(t *testing.T, s shell) {
	var made struct {
		UID string `json:"uid"`
		Key string `json:"key"`
	}
	if err := json.Unmarshal([]byte(s.run(t, "key", "create", "billing", "--json")), &made); err != nil {
		t.Fatal(err)
	}
	s.run(t, "send", "a", "--api-key", made.Key)
	wantIn(t, s.run(t, "key", "list"), "billing", "dev")
	s.run(t, "key", "revoke", made.UID)
	s.refuse(t, exitFailed, "the API key is not valid", "send", "a", "--api-key", made.Key)
	wantIn(t, s.run(t, "endpoint", "create", "https://example.com/hook", "--types", "order.*,invoice.sent"),
		"whsec_", "subscribed to  order.*, invoice.sent")
	wantIn(t, s.run(t, "endpoint", "list", "example.com"), "https://example.com/hook", "active")
	s.refuse(t, exitFailed, "url is refused", "endpoint", "create", "http://10.0.0.1/hook")
}

func sourceAndWebhook(t *testing.T, s shell, port string) {
	var made struct {
		UID    string `json:"uid"`
		MaskID string `json:"mask_id"`
		URL    string `json:"url"`
	}
	if err := json.Unmarshal([]byte(s.run(t, "source", "create", "GitHub", "--provider", "github", "--secret", "It's a Secret to Everybody", "--json")), &made); err != nil {
		t.Fatal(err)
	}
	wantIn(t, s.run(t, "source", "show", made.UID), "fed by  github", made.URL, "healthy")
	wantIn(t, s.run(t, "source", "list", "git"), made.UID, "GitHub", "healthy")
	l := s.start(t, "listen", "--port", port, "--count", "1")
	l.await(l.err, "Listening on")
	r, err := http.NewRequest(http.MethodPost, made.URL, strings.NewReader("Hello, World!"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")
	r.Header.Set("X-GitHub-Event", "ping")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusCreated {
		t.Fatalf("the webhook is answered with %s", answer.Status)
	}
	wantIn(t, l.wait(exitDone).out.String(), "ping   answered 200\n", "Hello, World!")

	file := filepath.Join(s.dir, "kafka.json")
	broker := `{"pub_sub": {"type": "kafka", "kafka": {"brokers": ["127.0.0.1:1"], "consumer_group_id": "millrace", "topic_name": "orders"}}}`
	if err := os.WriteFile(file, []byte(broker), 0o600); err != nil {
		t.Fatal(err)
	}
	wantIn(t, s.run(t, "source", "create", "Orders", "--from", file), "fed by  kafka")
	s.refuse(t, exitFailed, "verifier.hmac.secret is required", "source", "create", "Stripe", "--provider", "stripe")
	s.refuse(t, exitFailed, "no such file", "source", "create", "Nothing", "--from", file+".none")
}

package handlers

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

func newIngest(t *testing.T) (*Ingest, *eventLog) {
	t.Helper()
	log := &eventLog{}
	return &Ingest{Log: log, Configs: &configs{known: newConfig(t)}, Queue: accepting(true), MaxBytes: 64, InlineMax: 32, Ack: millrace.AckQueued, Now: clock}, log
}

func submission() (millrace.Submission, *millrace.Receipt) {
	r := &millrace.Receipt{}
	return millrace.Submission{ProjectID: id(), Type: "order.paid", Payload: []byte(`{"n": 1}`), TraceParent: "trace", Receipt: r}, r
}

func TestIngestAnswersAfterTheLevelThatIsDue(t *testing.T) {
	for name, c := range map[string]struct {
		request, project, server millrace.AckLevel
		key                      string
		full                     bool
		want                     millrace.AckLevel
	}{
		"nobody says anything: queued":                              {want: millrace.AckQueued},
		"the server says persisted":                                 {server: millrace.AckPersisted, want: millrace.AckPersisted},
		"the project overrules the server":                          {project: millrace.AckQueued, server: millrace.AckPersisted, want: millrace.AckQueued},
		"the request overrules the project":                         {request: millrace.AckPersisted, project: millrace.AckQueued, want: millrace.AckPersisted},
		"an idempotency key is stored first, whatever is asked":     {request: millrace.AckQueued, key: "key", want: millrace.AckPersisted},
		"a queue that does not accept: stored, whatever is asked":   {request: millrace.AckQueued, full: true, want: millrace.AckPersisted},
		"queued is queued where the server would rather persist it": {request: millrace.AckQueued, server: millrace.AckPersisted, want: millrace.AckQueued},
	} {
		t.Run(name, func(t *testing.T) {
			h, log := newIngest(t)
			h.Ack, h.Queue = c.server, accepting(!c.full)
			h.Configs.(*configs).known.Project.Config.Ack = c.project
			s, receipt := submission()
			s.Ack, s.IdempotencyKey = c.request, c.key
			accepted, err := h.Handle(t.Context(), s)
			must(t, err)
			if receipt.Ack != c.want || len(accepted) != 1 {
				t.Fatalf("answered %q with %d to pass on, want %q with 1", receipt.Ack, len(accepted), c.want)
			}
			stored := c.want == millrace.AckPersisted
			if (len(log.appended) == 1) != stored || (accepted[0].Persisted != nil) != stored || (accepted[0].Queued != nil) == stored {
				t.Errorf("appended %d times and passed on %+v", len(log.appended), accepted[0])
			}
		})
	}
}

func TestIngestStoresALargePayloadFirst(t *testing.T) {
	for name, c := range map[string]struct {
		size int
		log  error
		want millrace.AckLevel
		err  error
	}{
		"what is at the bound waits in the queue":              {size: 32, want: millrace.AckQueued},
		"what is over it is stored, and travels by reference":  {size: 33, want: millrace.AckPersisted},
		"what is over it is queued while the log is away":      {size: 33, log: errAway, want: millrace.AckQueued},
		"what is over it fails where the log fails for itself": {size: 33, log: errOdd, err: errOdd},
	} {
		t.Run(name, func(t *testing.T) {
			h, log := newIngest(t)
			log.err = c.log
			s, receipt := submission()
			s.Payload = make([]byte, c.size)
			accepted, err := h.Handle(t.Context(), s)
			if !errors.Is(err, c.err) || receipt.Ack != c.want {
				t.Fatalf("answered %q, %v", receipt.Ack, err)
			}
			switch {
			case err != nil:
			case c.want == millrace.AckQueued:
				if q := accepted[0].Queued; len(q.Payload) != c.size {
					t.Errorf("queued %d bytes", len(q.Payload))
				}
			case len(accepted[0].Persisted.Payload) != 0 || !accepted[0].Persisted.ByReference:
				t.Error("what is stored travels with its payload")
			case len(receipt.Event.Payload) != c.size:
				t.Errorf("the answer's event has %d bytes", len(receipt.Event.Payload))
			}
		})
	}
}

func TestIngestRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*millrace.Submission)
		code  millrace.Code
	}{
		"no type":                         {func(s *millrace.Submission) { s.Type = "" }, millrace.CodeBadRequest},
		"a type of over 255 bytes":        {func(s *millrace.Submission) { s.Type = strings.Repeat("t", 256) }, millrace.CodeInvalid},
		"a type with a control character": {func(s *millrace.Submission) { s.Type = "a\nb" }, millrace.CodeInvalid},
		"a type that is not UTF-8":        {func(s *millrace.Submission) { s.Type = "a\xff" }, millrace.CodeInvalid},
		"no data":                         {func(s *millrace.Submission) { s.Payload = nil }, millrace.CodeBadRequest},
		"data of over max_bytes":          {func(s *millrace.Submission) { s.Payload = make([]byte, 65) }, millrace.CodeTooLarge},
		"a key of over 255 bytes":         {func(s *millrace.Submission) { s.IdempotencyKey = strings.Repeat("k", 256) }, millrace.CodeInvalid},
		"a key with a control character":  {func(s *millrace.Submission) { s.IdempotencyKey = "a\x00b" }, millrace.CodeInvalid},
		"a level that is not on the list": {func(s *millrace.Submission) { s.Ack = "sent" }, millrace.CodeInvalid},
		"an id of more than a day ago":    {func(s *millrace.Submission) { s.EventID = millrace.NewID(now.Add(-25 * time.Hour)) }, millrace.CodeInvalid},
		"an id of more than a day ahead":  {func(s *millrace.Submission) { s.EventID = millrace.NewID(now.Add(25 * time.Hour)) }, millrace.CodeInvalid},
		"a header that cannot be sent":    {func(s *millrace.Submission) { s.Headers = map[string]string{"a b": "c"} }, millrace.CodeInvalid},
		"an endpoint that does not exist": {func(s *millrace.Submission) { s.Audience.EndpointID = id() }, millrace.CodeNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			h, log := newIngest(t)
			h.Configs.(*configs).latest = h.Configs.(*configs).known
			s, receipt := submission()
			s.Ack = millrace.AckPersisted
			c.spoil(&s)
			accepted, err := h.Handle(t.Context(), s)
			if err != nil || len(accepted) != 0 || len(log.appended) != 0 {
				t.Fatalf("answered %v, passed on %d and appended %d", err, len(accepted), len(log.appended))
			}
			if receipt.Refused == nil || receipt.Refused.Code != c.code {
				t.Errorf("refused with %v, want %s", receipt.Refused, c.code)
			}
		})
	}
}

func TestIngestTakesWhatIsAtTheBounds(t *testing.T) {
	h, _ := newIngest(t)
	s, receipt := submission()
	s.Type, s.IdempotencyKey = strings.Repeat("t", 255), strings.Repeat("k", 255)
	s.Payload, s.EventID = make([]byte, 64), millrace.NewID(now.Add(-24*time.Hour))
	accepted, err := h.Handle(t.Context(), s)
	must(t, err)
	if len(accepted) != 1 || receipt.Refused != nil {
		t.Errorf("passed on %d; refused: %v", len(accepted), receipt.Refused)
	}
}

func TestIngestFindsAnEndpointThatIsNewerThanWhatItKnows(t *testing.T) {
	h, _ := newIngest(t)
	e := endpoint(millrace.EndpointActive)
	h.Configs.(*configs).latest = newConfig(t, e)
	s, _ := submission()
	s.Audience.EndpointID = e.ID
	if accepted, err := h.Handle(t.Context(), s); err != nil || len(accepted) != 1 {
		t.Errorf("passed on %d, %v", len(accepted), err)
	}
}

func TestIngestAnswersADuplicateWithTheFirst(t *testing.T) {
	h, log := newIngest(t)
	log.first = id()
	s, receipt := submission()
	s.IdempotencyKey = "key"
	accepted, err := h.Handle(t.Context(), s)
	must(t, err)
	if len(accepted) != 0 || !receipt.Duplicate || receipt.Event.ID != log.first || receipt.Ack != millrace.AckPersisted {
		t.Errorf("passed on %d, receipt %+v", len(accepted), receipt)
	}
	if log.kept[0] {
		t.Error("a duplicate that a client hears of was kept")
	}
}

func TestIngestMakesTheEventOfTheSubmission(t *testing.T) {
	h, _ := newIngest(t)
	s, receipt := submission()
	s.Headers, s.Audience.OwnerID, s.SourceID = map[string]string{"X-A": "b"}, "owner", id()
	accepted, err := h.Handle(t.Context(), s)
	must(t, err)
	e := accepted[0].Queued
	if e.ProjectID != s.ProjectID || e.SourceID != s.SourceID || e.Type != s.Type || e.Audience != s.Audience || e.Headers["X-A"] != "b" ||
		e.TraceParent != s.TraceParent || string(e.Payload) != string(s.Payload) {
		t.Errorf("event %+v of submission %+v", e, s)
	}
	if !millrace.TimeOf(e.ID).Equal(now) || receipt.Event.ID != e.ID {
		t.Errorf("id %s of %s, receipt %s", e.ID, millrace.TimeOf(e.ID), receipt.Event.ID)
	}
	s.EventID = e.ID
	accepted, err = h.Handle(t.Context(), s)
	must(t, err)
	if accepted[0].Queued.ID != e.ID {
		t.Error("the same submission made once more became another event")
	}
}

func TestIngestTellsWhoeverWaits(t *testing.T) {
	for name, c := range map[string]struct {
		waits     bool
		failure   error
		permanent bool
		fails     bool
		refused   bool
	}{
		"a refusal is the answer where somebody waits":       {waits: true, failure: refused, refused: true},
		"a refusal is permanent where nobody waits":          {failure: refused, fails: true, permanent: true},
		"a failure is the answer and fails, where one waits": {waits: true, failure: errAway, fails: true},
		"a failure fails where nobody waits":                 {failure: errAway, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			h, log := newIngest(t)
			log.err, h.Ack = c.failure, millrace.AckPersisted
			s, receipt := submission()
			if !c.waits {
				s.Receipt = nil
			}
			_, err := h.Handle(t.Context(), s)
			if (err != nil) != c.fails || millrace.IsPermanent(err) != c.permanent {
				t.Errorf("error %v", err)
			}
			if (receipt.Refused != nil) != c.refused || (receipt.Failed != nil) != (c.waits && !c.refused) {
				t.Errorf("receipt %+v", receipt)
			}
			if c.fails && !errors.Is(err, c.failure) {
				t.Errorf("error %v, want it to be %v", err, c.failure)
			}
		})
	}
}

func TestATraceBeginsWhereNoneCameIn(t *testing.T) {
	for _, c := range []struct{ rule, came, want string }{
		{"none came in", "", "ours"},
		{"one came in", "theirs", "theirs"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			h, _ := newIngest(t)
			h.Trace = func(context.Context) string { return "ours" }
			s, _ := submission()
			s.TraceParent = c.came
			out, err := h.Handle(t.Context(), s)
			if err != nil || out[0].Queued.TraceParent != c.want {
				t.Errorf("%+v, %v", out, err)
			}
		})
	}
}

package pipeline

import (
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/ThreeDotsLabs/watermill/message"

	millrace "github.com/millrace-dev/millrace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func stageNames() []string {
	var names []string
	for _, s := range Stages(Sources{}, Handlers{}, DefaultConfig()) {
		names = append(names, s.Name)
	}
	return names
}

func TestAStageThatDoesNotFitDoesNotCompile(t *testing.T) {
	if out, err := exec.Command("go", "build", "./testdata/wellwired").CombinedOutput(); err != nil {
		t.Fatalf("the stage that fits does not compile: %s", out)
	}
	out, err := exec.Command("go", "build", "./testdata/miswired").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "handlers.Fanout") {
		t.Errorf("the stage that does not fit: %v\n%s", err, out)
	}
}

func TestStagesConfigHandlersAndFilesBearOneName(t *testing.T) {
	want := stageNames()
	tags := func(v any) []string {
		var names []string
		for i := range reflect.TypeOf(v).NumField() {
			f := reflect.TypeOf(v).Field(i)
			name := f.Tag.Get("koanf")
			if name == "" {
				name = strings.ToLower(f.Name)
			}
			names = append(names, name)
		}
		return names
	}
	if got := tags(Config{}); !slices.Equal(got, want) {
		t.Errorf("the configuration has the blocks %v, the stages are %v", got, want)
	}
	if got := tags(Handlers{}); !slices.Equal(got, want) {
		t.Errorf("the handlers are %v, the stages %v", got, want)
	}
	for _, name := range want {
		if _, err := os.Stat("../handlers/" + name + ".go"); err != nil {
			t.Errorf("stage %s has no file of its name: %v", name, err)
		}
	}
}

func TestEachStageReadsWhatTheOneBeforeWrites(t *testing.T) {
	stages := Stages(Sources{}, Handlers{}, DefaultConfig())
	written := map[string]bool{}
	for _, s := range stages {
		written[s.Writes], written[s.Or] = true, true
	}
	for _, s := range stages {
		if s.Reads != "" && !written[s.Reads] {
			t.Errorf("stage %s reads %s, which nobody writes", s.Name, s.Reads)
		}
	}
}

func TestREADMEHasTheStages(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z]+)` \\|.*").FindAllStringSubmatch(string(text), -1) {
		if slices.Contains(stageNames(), row[1]) {
			rows = append(rows, row[1])
		}
	}
	if !slices.Equal(rows, stageNames()) {
		t.Errorf("the README's table has the stages %v, want %v", rows, stageNames())
	}
	for _, topic := range []string{string(Ingested), string(Persisted), string(Due)} {
		if !strings.Contains(string(text), topic) {
			t.Errorf("the README does not name the topic %s", topic)
		}
	}
}

func TestWhatIsEncodedIsDecoded(t *testing.T) {
	id := func() millrace.ID { return millrace.NewID(millrace.TimeOf(millrace.ID{1})) }
	event := millrace.Event{
		ID: id(), ProjectID: id(), Type: "order.paid", Audience: millrace.Audience{OwnerID: "anna"}, Headers: map[string]string{"X-A": "b\n"},
		IdempotencyKey: "k", TraceParent: "00-a", Payload: []byte("{\n\"a\":\x001}\n\n"),
	}
	roundTrip(t, "an event", Ingested, event)
	roundTrip(t, "an event without anything", Ingested, millrace.Event{ID: id(), Payload: []byte{}})
	roundTrip(t, "a stored event", Persisted, millrace.StoredEvent{Event: event, ConfigVersion: 7, ReplayID: id()})
	roundTrip(t, "a delivery", Due, millrace.Delivery{
		ID: id(), ProjectID: id(), EventID: id(), EndpointID: id(), SubscriptionID: id(), ReplayID: id(), Turn: 3, Attempts: 2, Released: true,
		EventType: "a.b", Headers: map[string]string{"X": "y"}, IdempotencyKey: "k", TraceParent: "00-b", Payload: []byte("\n"), Bulk: true,
	})
}

func roundTrip[T any](t *testing.T, name string, to Topic[T], v T) {
	t.Helper()
	msg, err := encode(to, v)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	got, err := decode[T](msg)
	if err != nil || !reflect.DeepEqual(got, v) {
		t.Errorf("%s came back as\n%+v, %v, want\n%+v", name, got, err, v)
	}
}

func TestWhatIsNoMessageOfTheTopicIsRefused(t *testing.T) {
	for name, payload := range map[string]string{"no line feed": `{"id":"x"}`, "no JSON": "nonsense\n", "no id": "{\"id\":7}\n"} {
		if v, err := decode[millrace.Event](message.NewMessage("m", []byte(payload))); err == nil {
			t.Errorf("%s: read as %+v", name, v)
		}
	}
}

package millrace

import (
	"encoding/json"
	"testing"
)

func TestEventTravelsWithoutItsPayload(t *testing.T) {
	e := Event{ID: NewID(noon), ProjectID: NewID(noon), Type: "order.paid", Payload: []byte(`{"a":1}`), TraceParent: "00-a-b-01"}
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":"` + e.ID.String() + `","project":"` + e.ProjectID.String() + `","type":"order.paid"}`
	if string(b) != want {
		t.Errorf("travels as %s, want %s", b, want)
	}
}

func TestEventCreatedAt(t *testing.T) {
	if got := (Event{ID: NewID(noon)}).CreatedAt(); got.UnixMilli() != noon.UnixMilli() {
		t.Errorf("created at %s, want %s", got, noon)
	}
}

func TestAckLevelValid(t *testing.T) {
	for level, want := range map[AckLevel]bool{AckDefault: true, AckQueued: true, AckPersisted: true, "sent": false, "Queued": false} {
		if level.Valid() != want {
			t.Errorf("%q: %v, want %v", level, level.Valid(), want)
		}
	}
}

func TestSubmissionAnswer(t *testing.T) {
	Submission{}.Answer(Receipt{Ack: AckQueued}) // nobody waits
	var r Receipt
	Submission{Receipt: &r}.Answer(Receipt{Ack: AckPersisted, Duplicate: true})
	if r.Ack != AckPersisted || !r.Duplicate {
		t.Errorf("who waits read %+v", r)
	}
}

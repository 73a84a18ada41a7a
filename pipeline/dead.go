package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/pipeline/streams"
)

// deadLetter describes a message that a stage could not process.
func (a Around) deadLetter(s Stage, msg *message.Message) millrace.DeadLetter {
	d := millrace.DeadLetter{Stage: s.Name, Topic: s.Reads, Raw: msg.Payload, Metadata: msg.Metadata}
	d.ID = a.deadID(s.Name, streams.Entry(msg), msg.UUID)
	if s.deadLetter != nil {
		s.deadLetter(msg, &d)
	} else {
		identify(&d, s)
	}
	return d
}

// deadEntry describes what the transport gave up on.
func (a Around) deadEntry(s Stage, e streams.Dead) millrace.DeadLetter {
	d := millrace.DeadLetter{Stage: s.Name, Topic: e.Topic, Reason: string(e.Reason), History: e.History, Raw: e.Raw}
	d.ID = a.deadID(s.Name, e.Stream+"/"+e.Entry, e.UUID)
	if n := len(e.History); n > 0 {
		d.Error = e.History[n-1]
	}
	if e.Message != nil {
		d.Raw, d.Metadata = e.Message.Payload, e.Message.Metadata
		identify(&d, s)
	}
	return d
}

// keep writes the dead letter and says so.
func (a Around) keep(ctx context.Context, d millrace.DeadLetter) error {
	if err := a.Dead.AddDeadLetter(ctx, d); err != nil {
		return err
	}
	a.Metrics.dead(d.Stage, d.Reason)
	a.Logger.Error("a message is a dead letter now", "id", d.ID, "stage", d.Stage, "reason", d.Reason, "event", d.EventID, "error", d.Error)
	return nil
}

// deadID follows from the entry, or from the message where no topic holds it,
// so that a dead letter written twice is one.
func (a Around) deadID(stage, entry, id string) millrace.ID {
	at := a.Now()
	if ms, err := strconv.ParseInt(millis(entry), 10, 64); err == nil {
		at = time.UnixMilli(ms)
	} else if of, err := millrace.ParseID(id[:min(len(id), idLength)]); err == nil {
		at = millrace.TimeOf(of)
	}
	return millrace.DerivedID(at, uuid.NewSHA1(uuid.NameSpaceOID, []byte(stage+"\n"+entry+"\n"+id)))
}

// idLength is how long an id is in writing; a message's begins with one.
const idLength = 36

// millis cuts the milliseconds out of "<stream>/<ms>-<n>".
func millis(entry string) string {
	ms, _, _ := strings.Cut(entry[strings.LastIndexByte(entry, '/')+1:], "-")
	return ms
}

// identify reads whose message it is, as far as it can be read.
func identify(d *millrace.DeadLetter, s Stage) {
	var head struct {
		ID       millrace.ID `json:"id"`
		Project  millrace.ID `json:"project"`
		Event    millrace.ID `json:"event"`
		Delivery millrace.ID `json:"delivery"`
	}
	line, _, _ := bytes.Cut(d.Raw, []byte{'\n'})
	if json.Unmarshal(line, &head) != nil {
		return
	}
	d.ProjectID = head.Project
	switch {
	case s.Reads == string(Due):
		d.EventID, d.DeliveryID = head.Event, head.ID
	case s.Reads == "":
		d.DeliveryID = head.Delivery
	default:
		d.EventID = head.ID
	}
}

// LostEvent is the dead letter of a stored event that could not be fanned out
// by the sweep either.
func LostEvent(e millrace.StoredEvent, cause error) millrace.DeadLetter {
	d := millrace.DeadLetter{
		ID: millrace.DerivedID(e.CreatedAt(), e.ID), ProjectID: e.ProjectID, Stage: "fanout", Topic: string(Persisted), Reason: "permanent",
		Error: cause.Error(), History: []string{cause.Error()}, EventID: e.ID,
	}
	if msg, err := encode(Persisted, e); err == nil {
		d.Raw, d.Metadata = msg.Payload, msg.Metadata
	}
	return d
}

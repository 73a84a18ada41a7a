package httpapi

import (
	"encoding/json"
	"time"

	millrace "github.com/millrace-dev/millrace"
)

// atLeastOnce is how deliveries are made; there is no other way yet.
const atLeastOnce = "at_least_once"

// subscriptionIn is a subscription as it is sent.
type subscriptionIn struct {
	Name         member[string]         `json:"name"`
	EndpointID   member[string]         `json:"endpoint_id"`
	SourceID     member[string]         `json:"source_id"`
	Function     member[string]         `json:"function"`
	FilterConfig member[filterConfigIn] `json:"filter_config"`
	DeliveryMode member[string]         `json:"delivery_mode"`
}

type filterConfigIn struct {
	EventTypes member[[]string] `json:"event_types"`
	Filter     member[filterIn] `json:"filter"`
}

type filterIn struct {
	Headers member[json.RawMessage] `json:"headers"`
	Body    member[json.RawMessage] `json:"body"`
	Query   member[json.RawMessage] `json:"query"`
	Path    member[json.RawMessage] `json:"path"`
}

// into lays what is sent over a subscription and judges the whole.
func (in subscriptionIn) into(sub *millrace.Subscription) error {
	in.Name.into(&sub.Name)
	in.DeliveryMode.into(&sub.DeliveryMode)
	faults := []error{intoID(in.EndpointID, "endpoint_id", &sub.EndpointID), intoID(in.SourceID, "source_id", &sub.SourceID)}
	if in.Function.given {
		faults = append(faults, millrace.Invalid("function", "is refused: this server does not run functions yet"))
	}
	if in.DeliveryMode.given && in.DeliveryMode.value != atLeastOnce {
		faults = append(faults, millrace.Invalid("delivery_mode", "must be %s, not %q", atLeastOnce, in.DeliveryMode.value))
	}
	filter := in.FilterConfig.value
	filter.EventTypes.into(&sub.EventTypes)
	filter.Filter.value.into(&sub.Filter)
	if _, err := millrace.CompileFilter(sub.Filter); err != nil {
		faults = append(faults, err)
	}
	if err := millrace.JoinFaults(faults...); err != nil {
		return err // an endpoint that is no id would read as a missing one
	}
	return sub.Validate()
}

func (in filterIn) into(f *millrace.FilterSet) {
	in.Headers.into(&f.Headers)
	in.Body.into(&f.Body)
	in.Query.into(&f.Query)
	in.Path.into(&f.Path)
}

func intoID(in member[string], field string, to *millrace.ID) error {
	if !in.given {
		return nil
	}
	id, err := millrace.ParseID(in.value)
	if err != nil {
		return millrace.Invalid(field, "must be an id, not %q", in.value)
	}
	*to = id
	return nil
}

// subscriptionOut is a subscription as it is shown.
type subscriptionOut struct {
	UID              string          `json:"uid"`
	ProjectID        string          `json:"project_id"`
	Name             string          `json:"name"`
	Type             string          `json:"type"`
	EndpointID       string          `json:"endpoint_id"`
	SourceID         string          `json:"source_id"`
	FilterConfig     filterConfigOut `json:"filter_config"`
	DeliveryMode     string          `json:"delivery_mode"`
	EndpointMetadata any             `json:"endpoint_metadata"`
	SourceMetadata   *sourceBrief    `json:"source_metadata"`
	CreatedAt        time.Time       `json:"created_at"`
	UpdatedAt        time.Time       `json:"updated_at"`
}

type filterConfigOut struct {
	EventTypes []string  `json:"event_types"`
	Filter     filterOut `json:"filter"`
}

type filterOut struct {
	Headers json.RawMessage `json:"headers"`
	Body    json.RawMessage `json:"body"`
	Query   json.RawMessage `json:"query"`
	Path    json.RawMessage `json:"path"`
}

func subscriptionID(sub millrace.Subscription) millrace.ID { return sub.ID }

// pointedTo is what subscriptions point to.
type pointedTo struct {
	endpoints map[millrace.ID]millrace.Endpoint
	sources   map[millrace.ID]millrace.Source
}

func (c *call) newSubscription(sub millrace.Subscription, to pointedTo) subscriptionOut {
	out := subscriptionOut{
		UID: sub.ID.String(), ProjectID: sub.ProjectID.String(), Name: sub.Name, Type: "api",
		EndpointID: sub.EndpointID.String(), SourceID: idOrEmpty(sub.SourceID), DeliveryMode: sub.DeliveryMode,
		FilterConfig: filterConfigOut{EventTypes: sub.EventTypes, Filter: filterOut{
			Headers: orEmptyObject(sub.Filter.Headers), Body: orEmptyObject(sub.Filter.Body),
			Query: orEmptyObject(sub.Filter.Query), Path: orEmptyObject(sub.Filter.Path),
		}},
		CreatedAt: sub.CreatedAt.UTC(), UpdatedAt: sub.UpdatedAt.UTC(),
	}
	e, known := to.endpoints[sub.EndpointID]
	out.EndpointMetadata = c.newEndpointBrief(e, known)
	source, known := to.sources[sub.SourceID]
	out.SourceMetadata = newSourceBrief(source, known)
	if len(out.FilterConfig.EventTypes) == 0 {
		out.FilterConfig.EventTypes = []string{"*"}
	}
	return out
}

func orEmptyObject(raw json.RawMessage) json.RawMessage {
	if isAbsent(raw) {
		return json.RawMessage("{}")
	}
	return raw
}

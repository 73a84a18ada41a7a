package httpapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	millrace "github.com/millrace-dev/millrace"
)

type document struct {
	Paths      map[string]map[string]any `yaml:"paths"`
	Components struct {
		Schemas map[string]struct {
			Properties map[string]any `yaml:"properties"`
			Enum       []string       `yaml:"enum"`
			Example    any            `yaml:"example"`
		} `yaml:"schemas"`
	} `yaml:"components"`
}

func readDocument(t *testing.T) document {
	t.Helper()
	ans := newAPI(t).call("GET", "/openapi.yml", "")
	var d document
	if err := yaml.Unmarshal(ans.raw, &d); err != nil || ans.status != 200 {
		t.Fatalf("the document cannot be read (%d): %v", ans.status, err)
	}
	return d
}

func TestOpenAPIHasTheRoutes(t *testing.T) {
	var described, routed []string
	for path, item := range readDocument(t).Paths {
		for method := range item {
			if method != "parameters" {
				described = append(described, strings.ToUpper(method)+" "+path)
			}
		}
	}
	for _, r := range (&Server{}).routes() {
		routed = append(routed, r.method+" "+r.path)
	}
	slices.Sort(described)
	slices.Sort(routed)
	equal(t, "what is described", strings.Join(described, "\n"), strings.Join(routed, "\n"))
}

func TestOpenAPIReferences(t *testing.T) {
	var whole any
	if err := yaml.Unmarshal(openAPI, &whole); err != nil {
		t.Fatal(err)
	}
	operations := map[string]bool{}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok && !resolves(whole, ref) {
				t.Errorf("nothing is at %s", ref)
			}
			if id, ok := v["operationId"].(string); ok {
				if operations[id] {
					t.Errorf("operationId %s is there twice", id)
				}
				operations[id] = true
			}
			for _, inner := range v {
				walk(inner)
			}
		case []any:
			for _, inner := range v {
				walk(inner)
			}
		}
	}
	walk(whole)
}

func resolves(whole any, ref string) bool {
	for _, name := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
		m, _ := whole.(map[string]any)
		if whole = m[name]; whole == nil {
			return false
		}
	}
	return true
}

// TestOpenAPIPathParameters: each path describes the ids in it.
func TestOpenAPIPathParameters(t *testing.T) {
	for path, item := range readDocument(t).Paths {
		described := fmt.Sprint(item["parameters"])
		for part := range strings.SplitSeq(path, "/") {
			if name, ok := strings.CutPrefix(part, "{"); ok && !strings.Contains(described, strings.TrimSuffix(name, "}")) {
				t.Errorf("%s does not describe %s", path, part)
			}
		}
	}
}

// TestOpenAPISchemas: the schemas have just the members that are read and
// written.
func TestOpenAPISchemas(t *testing.T) {
	schemas := readDocument(t).Components.Schemas
	for name, shape := range map[string]any{
		"Envelope": struct {
			Status, Message, Data any
		}{}, "Pagination": paginationOut{}, "FieldError": millrace.FieldError{},
		"BatchEntry": entryOut{}, "Event": eventOut{}, "Replay": replayOut{},
		"Delivery": deliveryOut{}, "DeliveryMetadata": deliveryMetadataOut{}, "Resent": resentOut{}, "Attempt": attemptOut{}, "Facts": followOut{}, "Fact": factOut{},
		"EndpointIn": endpointIn{}, "Endpoint": endpointOut{}, "KafkaSink": kafkaSinkOut{}, "KafkaSinkAuth": kafkaAuthOut{}, "SQSSink": sqsSinkOut{}, "PubSubSink": pubSubSinkOut{}, "AMQPSink": amqpSinkOut{}, "AMQPSinkAuth": amqpAuthOut{},
		"EndpointBrief": endpointBrief{}, "Secret": secretOut{}, "Authentication": authenticationOut{}, "OAuth2": oauth2Out{},
		"ClientCert": clientCertOut{}, "Strategy": strategyOut{}, "SubscriptionIn": subscriptionIn{}, "Subscription": subscriptionOut{}, "FilterConfig": filterConfigOut{}, "Filter": filterOut{},
		"FilterTrial": tryFilterIn{}, "DeadLetter": deadLetterOut{}, "KeyIn": keyIn{}, "Key": keyOut{}, "ProjectIn": projectIn{}, "CreatedProject": createdProjectOut{}, "Project": projectOut{},
		"ProjectConfig": configOut{}, "SourceIn": sourceIn{}, "Source": sourceOut{}, "SourceBrief": sourceBrief{}, "Verifier": verifierOut{}, "PubSub": pubSubOut{},
		"KafkaSource": kafkaOut{}, "SQSSource": sqsOut{}, "GoogleSource": googleOut{}, "AMQPSource": amqpOut{}, "WebhookReceipt": receiptOut{},
	} {
		described := slices.Sorted(maps.Keys(schemas[name].Properties))
		equal(t, "the members of "+name, strings.Join(described, " "), strings.Join(membersOf(reflect.TypeOf(shape)), " "))
	}
	equal(t, "the members of an input and an output", strings.Join(membersOf(reflect.TypeFor[strategyIn]()), " "), strings.Join(membersOf(reflect.TypeFor[strategyOut]()), " "))
	equal(t, "the members of an input and an output", strings.Join(membersOf(reflect.TypeFor[configIn]()), " "), strings.Join(membersOf(reflect.TypeFor[configOut]()), " "))
	for in, out := range map[reflect.Type]reflect.Type{
		reflect.TypeFor[verifierIn](): reflect.TypeFor[verifierOut](), reflect.TypeFor[hmacIn](): reflect.TypeFor[hmacOut](),
		reflect.TypeFor[pubSubIn](): reflect.TypeFor[pubSubOut](), reflect.TypeFor[kafkaIn](): reflect.TypeFor[kafkaOut](),
		reflect.TypeFor[kafkaAuthIn](): reflect.TypeFor[kafkaAuthOut](), reflect.TypeFor[sqsIn](): reflect.TypeFor[sqsOut](),
		reflect.TypeFor[googleIn](): reflect.TypeFor[googleOut](), reflect.TypeFor[amqpIn](): reflect.TypeFor[amqpOut](),
		reflect.TypeFor[amqpAuthIn](): reflect.TypeFor[amqpAuthOut](), reflect.TypeFor[amqpBindingIn](): reflect.TypeFor[millrace.AMQPBinding](),
		reflect.TypeFor[customResponseIn](): reflect.TypeFor[millrace.CustomResponse](),
	} {
		equal(t, "the members of "+in.Name(), strings.Join(membersOf(in), " "), strings.Join(membersOf(out), " "))
	}
	equal(t, "the members of an input and an output", strings.Join(membersOf(reflect.TypeFor[authenticationIn]()), " "), strings.Join(membersOf(reflect.TypeFor[authenticationOut]()), " "))
}

func membersOf(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name == "" {
			name = strings.ToLower(t.Field(i).Name)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func TestOpenAPILists(t *testing.T) {
	schemas := readDocument(t).Components.Schemas
	var states []string
	for _, s := range millrace.Statuses {
		states = append(states, string(s))
	}
	equal(t, "the states", strings.Join(schemas["State"].Enum, " "), strings.Join(states, " "))
	equal(t, "the statuses", strings.Join(schemas["ConvoyStatus"].Enum, " "), strings.Join(convoyStatuses, " "))
	var outcomes []string
	for _, o := range millrace.Outcomes {
		outcomes = append(outcomes, string(o))
	}
	equal(t, "the outcomes", enumOf(schemas["Attempt"].Properties["outcome"]), strings.Join(outcomes, " "))
	var kinds []string
	for _, k := range millrace.FactKinds {
		kinds = append(kinds, string(k))
	}
	equal(t, "the kinds of fact", enumOf(schemas["Fact"].Properties["kind"]), strings.Join(kinds, " "))
	for _, code := range schemas["Code"].Enum {
		if code != "internal" && millrace.Code(code).HTTPStatus() == 500 {
			t.Errorf("%s is no code", code)
		}
	}
}

func enumOf(property any) string {
	m, _ := property.(map[string]any)
	return strings.Trim(fmt.Sprint(m["enum"]), "[]")
}

// TestOpenAPIExamples: what the document shows as sent is taken as it stands,
// and what it shows as answered has no members that there are not.
func TestOpenAPIExamples(t *testing.T) {
	for name, s := range readDocument(t).Components.Schemas {
		example, ok := s.Example.(map[string]any)
		if !ok || len(s.Properties) == 0 {
			continue
		}
		for member := range example {
			if _, known := s.Properties[member]; !known {
				t.Errorf("the example of %s has the member %s", name, member)
			}
		}
	}
	for name, c := range map[string]struct{ as, path string }{
		"EventIn": {projectKey, "events"}, "EndpointIn": {projectKey, "endpoints"}, "SubscriptionIn": {projectKey, "subscriptions"},
		"KeyIn": {projectKey, "keys"}, "SourceIn": {projectKey, "sources"}, "ProjectIn": {instanceKey, "/api/v1/projects"}, "FilterTrial": {projectKey, "subscriptions/test_filter"},
	} {
		a := newAPI(t)
		a.as = c.as
		body, err := json.Marshal(readDocument(t).Components.Schemas[name].Example)
		if err != nil {
			t.Fatal(err)
		}
		if ans := a.call("POST", c.path, string(body)); ans.status >= 300 {
			t.Errorf("the example of %s is answered with %d: %s", name, ans.status, ans.raw)
		}
	}
}

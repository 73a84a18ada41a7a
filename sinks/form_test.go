package sinks

import (
	"encoding/json"
	"net/url"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

func TestFormOf(t *testing.T) {
	cases := map[string]struct {
		payload, form string
		refused       bool
	}{
		"a flat object, by name":          {payload: `{"b": "x y", "a": 1}`, form: "a=1&b=x+y"},
		"numbers to the digit":            {payload: `{"n": 12345678901234567890, "d": 10.50}`, form: "d=10.50&n=12345678901234567890"},
		"truth and nothing":               {payload: `{"t": true, "f": false, "n": null}`, form: "f=false&n=&t=true"},
		"nested values as compact JSON":   {payload: `{"o": {"a": [1, 2]}, "l": [ 1 ]}`, form: "l=%5B1%5D&o=%7B%22a%22%3A%5B1%2C2%5D%7D"},
		"escapes are read":                {payload: `{"s": "\u00e9\n&="}`, form: "s=%C3%A9%0A%26%3D"},
		"an empty object":                 {payload: `{}`, form: ""},
		"of a name given twice, the last": {payload: `{"a": 1, "a": 2}`, form: "a=2"},
		"a form stays as it is":           {payload: "b=2&a=%31", form: "b=2&a=%31"},
		"an array has no fields":          {payload: `[1]`, refused: true},
		"a number has no fields":          {payload: `7`, refused: true},
		"null has no fields":              {payload: `null`, refused: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := formOf([]byte(c.payload))
			if (err != nil) != c.refused || string(got) != c.form {
				t.Errorf("%q (%v), want %q", got, err, c.form)
			}
		})
	}
}

func TestAFormIsSignedAsItIsSent(t *testing.T) {
	server, all := receiver(t, nil)
	w := webhook(t, nil, newProxy(t))
	r := deliveryTo(server.URL)
	r.Endpoint.ContentType = formType
	want(t, sendOK(t, w, r), millrace.OutcomeSuccess)
	got := all()[0]
	if string(got.body) != "order=7&total=10.50" || got.Header.Get("Content-Type") != formType {
		t.Errorf("the receiver got %q as %s", got.body, got.Header.Get("Content-Type"))
	}
	verifyEverywhere(t, got)
}

func TestWhatIsNoJSONGoesOutAsWhatItCameIn(t *testing.T) {
	const came = "image/png"
	for _, c := range []struct{ rule, asked, payload, came, want string }{
		{"bytes, as what they came in", jsonType, "\x89PNG", came, came},
		{"and where the endpoint asks for nothing", "", "\x89PNG", came, came},
		{"of which nothing is known, as before", jsonType, "\x89PNG", "", jsonType},
		{"JSON, as JSON", jsonType, `{"a":1}`, came, jsonType},
		{"a form, where the endpoint asks for one", formType, "a=1", came, formType},
		{"what fits in no header, as before", jsonType, "\x89PNG", "a\nb: c", jsonType},
	} {
		t.Run(c.rule, func(t *testing.T) {
			server, all := receiver(t, nil)
			w := webhook(t, nil, newProxy(t))
			r := deliveryTo(server.URL)
			r.Endpoint.ContentType, r.Delivery.Payload, r.Delivery.Headers = c.asked, []byte(c.payload), map[string]string{millrace.HeaderCameAs: c.came}
			want(t, sendOK(t, w, r), millrace.OutcomeSuccess)
			got := all()[0]
			if got.Header.Get("Content-Type") != c.want || got.Header.Get(millrace.HeaderCameAs) != "" || string(got.body) != c.payload {
				t.Errorf("the receiver got %q with %v, want %s", got.body, got.Header, c.want)
			}
			verifyEverywhere(t, got)
			if p, err := compose(&r, time.Now()); err != nil || p.message.Metadata["content-type"] != c.want {
				t.Errorf("a broker gets %v, %v", p.message.Metadata, err)
			}
		})
	}
}

func FuzzFormOf(f *testing.F) {
	f.Add([]byte(`{"a":{"b":[1,null]},"c":"\u0000"}`))
	f.Add([]byte(`{"":""}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		form, err := formOf(payload)
		if err != nil || !json.Valid(payload) {
			return
		}
		var members map[string]json.RawMessage
		if json.Unmarshal(payload, &members) != nil {
			t.Fatalf("%q became a form", payload)
		}
		fields, err := url.ParseQuery(string(form))
		if err != nil || len(fields) != len(members) {
			t.Fatalf("%q became %q (%v)", payload, form, err)
		}
	})
}

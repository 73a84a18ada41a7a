package millrace_test

import (
	"errors"
	"net/textproto"
	"strings"
	"testing"

	"github.com/millrace-dev/millrace"
)

func TestCheckHeaders(t *testing.T) {
	cases := map[string]struct {
		headers map[string]string
		refused string // part of the fault; empty: accepted
	}{
		"none":                                     {nil, ""},
		"own names are accepted":                   {map[string]string{"X-Tenant": "a", "x-shop_id": "7"}, ""},
		"Authorization is the receiver's affair":   {map[string]string{"Authorization": "Bearer x"}, ""},
		"a tab and bytes beyond ASCII are legal":   {map[string]string{"X-A": "a\tb é"}, ""},
		"an empty value is legal":                  {map[string]string{"X-A": ""}, ""},
		"no empty name":                            {map[string]string{"": "a"}, "not the name"},
		"no space in a name":                       {map[string]string{"X A": "a"}, "not the name"},
		"no colon in a name":                       {map[string]string{"X:A": "a"}, "not the name"},
		"no line break in a name":                  {map[string]string{"X-A\r\nX-B": "a"}, "not the name"},
		"no CR in a value":                         {map[string]string{"X-A": "a\rX-B: c"}, "line breaks"},
		"no LF in a value":                         {map[string]string{"X-A": "a\nX-B: c"}, "line breaks"},
		"no NUL in a value":                        {map[string]string{"X-A": "a\x00"}, "control"},
		"Host is the URL's":                        {map[string]string{"host": "a"}, "connection"},
		"no Connection":                            {map[string]string{"connection": "close"}, "connection"},
		"no Transfer-Encoding":                     {map[string]string{"transfer-encoding": "chunked"}, "connection"},
		"no TE":                                    {map[string]string{"TE": "trailers"}, "connection"},
		"no Proxy-Authorization":                   {map[string]string{"proxy-authorization": "x"}, "connection"},
		"no Expect":                                {map[string]string{"Expect": "100-continue"}, "connection"},
		"no webhook-id":                            {map[string]string{"webhook-id": "x"}, "set by the gateway"},
		"no webhook-signature in any case":         {map[string]string{"WEBHOOK-SIGNATURE": "v1,x"}, "set by the gateway"},
		"no X-Convoy-Signature":                    {map[string]string{"X-Convoy-Signature": "x"}, "set by the gateway"},
		"no Content-Length":                        {map[string]string{"content-length": "1"}, "set by the gateway"},
		"one name in two cases has no one meaning": {map[string]string{"X-A": "a", "x-a": "b"}, "twice"},
		"not more than MaxHeaderBytes":             {map[string]string{"X-A": strings.Repeat("a", millrace.MaxHeaderBytes)}, "at most"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			err := millrace.CheckHeaders(c.headers)
			if c.refused == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			var e *millrace.Error
			if !errors.As(err, &e) || e.Code != millrace.CodeInvalid || !strings.Contains(err.Error(), c.refused) {
				t.Fatalf("got %v, want an invalid value naming %q", err, c.refused)
			}
		})
	}
}

func TestCheckHeadersNamesEveryFault(t *testing.T) {
	err := millrace.CheckHeaders(map[string]string{"Host": "a", "X-Good": "a", "webhook-id": "a"})
	var e *millrace.Error
	if !errors.As(err, &e) || len(e.Fields) != 2 {
		t.Fatalf("got %v, want two faults", err)
	}
	if e.Fields[0].Field != "custom_headers.Host" || e.Fields[1].Field != "custom_headers.webhook-id" {
		t.Errorf("the faults name %q and %q", e.Fields[0].Field, e.Fields[1].Field)
	}
}

func FuzzCheckHeaders(f *testing.F) {
	f.Add("X-Tenant", "a")
	f.Add("x\r\ny", "a\nb")
	f.Fuzz(func(t *testing.T, name, value string) {
		if millrace.CheckHeaders(map[string]string{name: value}) != nil {
			return
		}
		if strings.ContainsAny(name+value, "\r\n\x00") || strings.ContainsAny(name, " :\t") {
			t.Fatalf("%q: %q was accepted", name, value)
		}
		if !millrace.SendableHeader(textproto.CanonicalMIMEHeaderKey(name), value) {
			t.Fatalf("%q: %q was accepted and cannot be sent", name, value)
		}
	})
}

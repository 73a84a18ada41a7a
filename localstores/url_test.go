package localstores

import (
	"net/url"
	"testing"

	"github.com/millrace-dev/millrace"
)

func parseURL(t *testing.T, raw millrace.Sensitive) *url.URL {
	t.Helper()
	u, err := url.Parse(raw.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func password(t *testing.T, raw millrace.Sensitive) string {
	t.Helper()
	p, set := parseURL(t, raw).User.Password()
	if !set || len(p) < 20 {
		t.Fatal("the URL has no password worth the name")
	}
	return p
}

func withPassword(t *testing.T, raw millrace.Sensitive, other string) string {
	t.Helper()
	u := parseURL(t, raw)
	u.User = url.UserPassword(u.User.Username(), other)
	return u.String()
}

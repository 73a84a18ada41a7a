package millracetest

import (
	"fmt"
	"testing"
)

func TestAWebhookThatIsNoJSONGoesOutAsWhatItCameIn(t *testing.T) {
	t.Parallel()
	gw := New(t)
	in := gw.GitHub()
	r := gw.Receiver(From(in))
	const form, kind = "a=1&b=%20", "application/x-www-form-urlencoded"
	sent := in.delivers(form, "Content-Type", kind, "X-GitHub-Delivery", "a form")
	r.Want(Events(sent.UID), Attempts(1), Carries(form), OfType(kind))
}

// OfType wants every request to bear a content type.
func OfType(want string) Expectation {
	return func(got []Request) error {
		for _, q := range got {
			if came := q.Header.Get("Content-Type"); came != want {
				return fmt.Errorf("%q came, want %q", came, want)
			}
		}
		return nil
	}
}

package store_test

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/store"
	"github.com/millrace-dev/millrace/store/storetest"
)

func (w *world) apiKey(project millrace.ID) (clear string, k millrace.APIKey) {
	w.t.Helper()
	clear, k, err := w.CreateAPIKey(w.t.Context(), millrace.APIKey{ProjectID: project, Name: "ci"})
	noError(w.t, err)
	return clear, k
}

func TestAKeySpeaksForItsProjectOrForTheInstance(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		project millrace.ID
		form    string
	}{
		{w.project, `^mrp_[0-9A-Za-z]{12}_[0-9A-Za-z]{43}$`},
		{millrace.ID{}, `^mri_[0-9A-Za-z]{12}_[0-9A-Za-z]{43}$`},
	} {
		clear, made := w.apiKey(c.project)
		if !regexp.MustCompile(c.form).MatchString(clear) {
			t.Errorf("the key is %q, want %s", clear, c.form)
		}
		got := must[millrace.APIKey](t)(w.Authenticate(t.Context(), clear))
		if got.ID != made.ID || got.ProjectID != c.project || got.Instance() != (c.project == millrace.ID{}) || got.Name != "ci" {
			t.Errorf("it speaks for %+v, want %+v", got, made)
		}
		if got.Prefix != clear[:16] {
			t.Errorf("of %q the prefix %q may be shown", clear, got.Prefix)
		}
	}
}

func TestAnAPIKeyIsNotInTheDatabase(t *testing.T) {
	w := newWorld(t)
	clear, k := w.apiKey(w.project)
	if n := w.shown(clear) + w.shown(clear[len(k.Prefix)+1:]); n != 0 {
		t.Errorf("%d rows show it", n)
	}
	if n := w.shown(k.Prefix); n == 0 {
		t.Error("not even its prefix is there: this test would find nothing")
	}
}

func TestAKeyThatIsNotExactlyOneOfOursIsRefused(t *testing.T) {
	w := newWorld(t)
	clear, _ := w.apiKey(w.project)
	flipped := []byte(clear)
	flipped[len(flipped)-1] ^= 1
	for name, key := range map[string]string{
		"none":                        "",
		"with another last character": string(flipped),
		"cut short":                   clear[:len(clear)-1],
		"of another kind":             "mri" + clear[3:],
		"with an unknown prefix":      "mrp_AAAAAAAAAAAA" + clear[16:],
		"its prefix alone":            clear[:16],
		"with NUL in it":              clear[:20] + "\x00" + clear[21:],
		"very long":                   strings.Repeat(clear, 1000),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.Authenticate(t.Context(), key)
			wantCode(t, err, millrace.CodeUnauthenticated)
		})
	}
}

func TestARevokedKeyIsRefusedHereAtOnceAndElsewhereWithinItsTimeToLive(t *testing.T) {
	w := newWorld(t)
	other := storetest.Open(t, w.url)
	clear, k := w.apiKey(w.project)
	must[millrace.APIKey](t)(w.Authenticate(t.Context(), clear))
	must[millrace.APIKey](t)(other.Authenticate(t.Context(), clear))
	noError(t, w.RevokeAPIKey(t.Context(), k.ID))
	_, err := w.Authenticate(t.Context(), clear)
	wantCode(t, err, millrace.CodeUnauthenticated)
	revoked := time.Now()
	eventually(t, "the refusal in another process", func() bool {
		_, err := other.Authenticate(t.Context(), clear)
		return millrace.CodeOf(err) == millrace.CodeUnauthenticated
	})
	if took := time.Since(revoked); took > 5*2*time.Second {
		t.Errorf("another process took %s to refuse it", took)
	}
	noError(t, w.RevokeAPIKey(t.Context(), k.ID))
	wantCode(t, w.RevokeAPIKey(t.Context(), newID()), millrace.CodeNotFound)
}

func TestAnInstanceKeyIsRevokedToo(t *testing.T) {
	w := newWorld(t)
	clear, k := w.apiKey(millrace.ID{})
	noError(t, w.RevokeAPIKey(t.Context(), k.ID))
	_, err := w.Authenticate(t.Context(), clear)
	wantCode(t, err, millrace.CodeUnauthenticated)
	if n := w.count(`SELECT count(*) FROM audit WHERE noun_id = $1 AND project_id IS NULL`, k.ID); n != 2 {
		t.Errorf("%d audit rows, want one for its making and one for its end", n)
	}
}

func TestAKeyEndsAtItsExpiry(t *testing.T) {
	w := newWorld(t)
	clear, k, err := w.CreateAPIKey(t.Context(), millrace.APIKey{ProjectID: w.project, Name: "ci", ExpiresAt: time.Now().Add(time.Hour)})
	noError(t, err)
	must[millrace.APIKey](t)(w.Authenticate(t.Context(), clear))
	w.exec(`UPDATE api_keys SET expires_at = now() WHERE id = $1`, k.ID)
	_, err = storetest.Open(t, w.url).Authenticate(t.Context(), clear)
	wantCode(t, err, millrace.CodeUnauthenticated)
}

func TestKeysAreListedForTheirProjectAlone(t *testing.T) {
	w := newWorld(t)
	_, mine := w.apiKey(w.project)
	_, instance := w.apiKey(millrace.ID{})
	w.apiKey(w.newProject())
	noError(t, w.RevokeAPIKey(t.Context(), mine.ID))
	for _, c := range []struct{ project, key millrace.ID }{{w.project, mine.ID}, {millrace.ID{}, instance.ID}} {
		got := must[[]millrace.APIKey](t)(w.APIKeys(t.Context(), c.project))
		if len(got) != 1 || got[0].ID != c.key {
			t.Errorf("the keys of %s are %+v", c.project, got)
		}
		if revoked := !got[0].RevokedAt.IsZero(); revoked != (c.key == mine.ID) {
			t.Errorf("revoked: %v", revoked)
		}
	}
}

func TestTheLastUseIsNotedOnceAMinute(t *testing.T) {
	w := newWorld(t)
	clear, k := w.apiKey(w.project)
	use := func() {
		s := storetest.Open(t, w.url)
		must[millrace.APIKey](t)(s.Authenticate(t.Context(), clear))
		noError(t, s.Close()) // waits for what is written behind
	}
	const lately = `SELECT count(*) FROM api_keys WHERE id = $1 AND last_used_at > now() - interval '10 seconds'`
	use()
	if w.count(lately, k.ID) != 1 {
		t.Error("its first use is not noted")
	}
	w.exec(`UPDATE api_keys SET last_used_at = now() - interval '50 seconds' WHERE id = $1`, k.ID)
	use()
	if w.count(lately, k.ID) != 0 {
		t.Error("a second use within the minute is noted")
	}
	w.exec(`UPDATE api_keys SET last_used_at = now() - interval '70 seconds' WHERE id = $1`, k.ID)
	use()
	if w.count(lately, k.ID) != 1 {
		t.Error("a use after a minute is not noted")
	}
}

func TestAHashUnderAnOldRingKeyIsUpgradedByUse(t *testing.T) {
	w := newWorld(t)
	older, newer := store.NewKey(), store.NewKey()
	clear, k, err := w.openWith(older).CreateAPIKey(t.Context(), millrace.APIKey{ProjectID: w.project, Name: "ci"})
	noError(t, err)
	both := w.openWith(newer, older)
	must[millrace.APIKey](t)(both.Authenticate(t.Context(), clear))
	noError(t, both.Close())
	got := must[millrace.APIKey](t)(w.openWith(newer).Authenticate(t.Context(), clear))
	if got.ID != k.ID {
		t.Errorf("without the old ring key it speaks for %+v", got)
	}
}

func TestAKeyHashedUnderAMissingRingKeyIsOursToMend(t *testing.T) {
	w := newWorld(t)
	clear, _, err := w.openWith(store.NewKey()).CreateAPIKey(t.Context(), millrace.APIKey{ProjectID: w.project, Name: "ci"})
	noError(t, err)
	_, err = w.Authenticate(t.Context(), clear)
	if !errors.Is(err, store.ErrUnknownKey) {
		t.Errorf("got %v, want the missing ring key named", err)
	}
}

func TestManyRequestsWithAKeyCostNextToNoStatements(t *testing.T) {
	w := newWorld(t)
	clear, _ := w.apiKey(w.project)
	began := time.Now() // before the look whose answer is believed for a while
	must[millrace.APIKey](t)(w.Authenticate(t.Context(), clear))
	w.exec(`UPDATE api_keys SET name = 'read again'`)
	in(50, func(int) {
		for range 100 {
			if k, err := w.Authenticate(t.Context(), clear); err != nil || (k.Name != "ci" && time.Since(began) < time.Second) {
				t.Errorf("%+v, %v: it was read again", k, err)
			}
		}
	})
}

func TestAStoreThatIsAwayIsNotRemembered(t *testing.T) {
	w := newWorld(t)
	clear, _ := w.apiKey(w.project)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Authenticate(gone, clear); err == nil {
		t.Error("an answer came without a look")
	}
	must[millrace.APIKey](t)(w.Authenticate(t.Context(), clear))
}

package millrace

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func exponential(base time.Duration, retries int, limit time.Duration) Strategy {
	return Strategy{Type: StrategyExponential, Base: base, Retries: retries, Cap: limit}
}

func linear(base time.Duration, retries int) Strategy {
	return Strategy{Type: StrategyLinear, Base: base, Retries: retries}
}

func schedule(delays ...time.Duration) Strategy {
	return Strategy{Type: StrategyList, Schedule: delays}
}

func TestDelay(t *testing.T) {
	const s = time.Second
	for _, c := range []struct {
		rule     string
		strategy Strategy
		tries    int
		spread   float64
		want     time.Duration
	}{
		{"linear is the same before each try", linear(10*s, 5), 4, 0, 10 * s},
		{"linear is not spread", linear(10*s, 5), 1, 1, 10 * s},
		{"exponential begins at its base", exponential(5*s, 9, 0), 1, 0, 5 * s},
		{"exponential doubles", exponential(5*s, 9, 0), 4, 0, 40 * s},
		{"exponential stays at its cap", exponential(5*s, 9, 30*s), 4, 0, 30 * s},
		{"exponential stays at 2 h where it has no cap", exponential(5*s, 99, 0), 60, 0, 2 * time.Hour},
		{"exponential is spread by a fifth at most", exponential(5*s, 9, 0), 1, 1, 6 * s},
		{"to both sides", exponential(5*s, 9, 0), 1, -1, 4 * s},
		{"a list has a delay for each try", schedule(0, 10*s, 20*s), 2, 0, 20 * s},
		{"a list is spread", schedule(0, 10*s), 1, -0.5, 9 * s},
		{"beyond its list there is none", schedule(0, 10*s), 2, 0, 0},
		{"very many tries do not overflow", exponential(30*24*time.Hour, 1000, 30*24*time.Hour), 1001, 1, 36 * 24 * time.Hour},
	} {
		t.Run(c.rule, func(t *testing.T) {
			if got := c.strategy.Delay(c.tries, c.spread); got != c.want {
				t.Errorf("after %d tries %s, want %s", c.tries, got, c.want)
			}
		})
	}
}

func TestDelayStaysWithinItsJitter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := exponential(time.Duration(rapid.IntRange(1, 3600).Draw(t, "base"))*time.Second, 1000, 0)
		tries, spread := rapid.IntRange(1, 1000).Draw(t, "tries"), rapid.Float64Range(-1, 1).Draw(t, "spread")
		plain, got := s.Delay(tries, 0), s.Delay(tries, spread)
		if plain < time.Second || plain > DefaultCap || got < plain*8/10 || got > plain*12/10 {
			t.Fatalf("%s after %d tries, spread %g from %s", got, tries, spread, plain)
		}
	})
}

func TestDefaultStrategy(t *testing.T) {
	s := DefaultStrategy()
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
	if s.Tries() != 10 {
		t.Errorf("%d tries, want 10", s.Tries())
	}
	if span := s.Span(); span < 3*24*time.Hour || span > 4*24*time.Hour {
		t.Errorf("spans %s with all its jitter, want about 3 days", span)
	}
}

func TestSpan(t *testing.T) {
	if got := linear(10*time.Second, 3).Span(); got != 30*time.Second {
		t.Errorf("three retries every 10 s span %s", got)
	}
	if got := schedule(0, 10*time.Second, 20*time.Second).Span(); got != 36*time.Second {
		t.Errorf("0, 10 s, 20 s span %s, want 36 s with the jitter", got)
	}
}

func TestDecide(t *testing.T) {
	three := linear(10*time.Second, 2)
	failed := func(code int) Attempt { return Attempt{Outcome: OutcomeOf(code), StatusCode: code} }
	later := failed(429)
	later.RetryAfter = time.Minute
	sooner := failed(503)
	sooner.RetryAfter = time.Second
	for _, c := range []struct {
		rule    string
		attempt Attempt
		tries   int
		want    Decision
	}{
		{"a 2xx is delivered", failed(204), 1, Decision{Status: Delivered}},
		{"the last try too", failed(200), 3, Decision{Status: Delivered}},
		{"a failure is tried again after the delay", failed(500), 1, Decision{Status: Waiting, At: noon.Add(10 * time.Second)}},
		{"a redirect is a failure", failed(302), 1, Decision{Status: Waiting, At: noon.Add(10 * time.Second)}},
		{"no answer is a failure", Attempt{Outcome: OutcomeTimeout}, 2, Decision{Status: Waiting, At: noon.Add(10 * time.Second)}},
		{"the last failure gives up", failed(500), 3, Decision{Status: GivenUp, Exhausted: true}},
		{"410 gives up at once and disables", failed(410), 1, Decision{Status: GivenUp, Disable: true}},
		{"what a broker finds too large gives up at once", Attempt{Outcome: OutcomeTooLarge}, 1, Decision{Status: GivenUp}},
		{"Retry-After is waited for", later, 1, Decision{Status: Waiting, At: noon.Add(time.Minute)}},
		{"Retry-After does not shorten the delay", sooner, 1, Decision{Status: Waiting, At: noon.Add(10 * time.Second)}},
		{"Retry-After makes no more tries", later, 3, Decision{Status: GivenUp, Exhausted: true}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			if got := three.Decide(c.attempt, c.tries, noon, 0); got != c.want {
				t.Errorf("decided %+v, want %+v", got, c.want)
			}
		})
	}
}

// TestDecideEnds tries until the policy ends, which it must.
func TestDecideEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.SampledFrom([]Strategy{DefaultStrategy(), linear(time.Second, 0), linear(time.Second, 7), exponential(time.Second, 20, 0), schedule(0)}).Draw(t, "strategy")
		now, tries := noon, 0
		for {
			tries++
			d := s.Decide(Attempt{Outcome: OutcomeServerError}, tries, now, rapid.Float64Range(-1, 1).Draw(t, "spread"))
			if d.Status == GivenUp {
				break
			}
			if d.Status != Waiting || d.At.Before(now) {
				t.Fatalf("decided %+v at %s", d, now)
			}
			now = d.At
		}
		if tries != s.Tries() || now.Sub(noon) > s.Span() {
			t.Fatalf("%d tries over %s, want %d within %s", tries, now.Sub(noon), s.Tries(), s.Span())
		}
	})
}

func TestStrategyValidate(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		rule     string
		strategy Strategy
		says     string
	}{
		{"linear", linear(time.Second, 0), ""},
		{"exponential", exponential(30*day, 1000, 30*day), ""},
		{"a list", schedule(0, time.Second), ""},
		{"no type", Strategy{}, "strategy.type must be linear"},
		{"a delay under a second", linear(time.Millisecond, 1), "strategy.duration must be between"},
		{"a delay over 30 days", exponential(31*day, 1, 0), "strategy.duration must be between"},
		{"a negative number of retries", linear(time.Second, -1), "strategy.retry_count must be between"},
		{"too many retries", linear(time.Second, 1001), "strategy.retry_count must be between"},
		{"a negative cap", exponential(time.Second, 1, -1), "strategy.max_retry_seconds must be between"},
		{"an empty list", schedule(), "strategy.schedule must have between 1 and 100"},
		{"a long list", schedule(make([]time.Duration, 101)...), "strategy.schedule must have between 1 and 100"},
		{"a list with a negative delay", schedule(0, -1), "strategy.schedule has a delay of -1ns"},
		{"all faults at once", linear(0, -1), "\n"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			err := c.strategy.Validate()
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("says %v, want %q", err, c.says)
			}
		})
	}
}

func TestOutcomeOf(t *testing.T) {
	for code, want := range map[int]Outcome{
		200: OutcomeSuccess, 299: OutcomeSuccess, 301: OutcomeRedirect, 304: OutcomeRedirect, 400: OutcomeClientError, 404: OutcomeClientError,
		410: OutcomeGone, 429: OutcomeTooMany, 500: OutcomeServerError, 599: OutcomeServerError, 100: OutcomeBadResponse, 600: OutcomeBadResponse, 0: OutcomeBadResponse,
	} {
		if got := OutcomeOf(code); got != want || got.Success() != (code/100 == 2) {
			t.Errorf("%d is %s, want %s", code, got, want)
		}
	}
}

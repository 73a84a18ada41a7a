package misbehave

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// What asks for time, in every way that Retry-After can (RFC 9110, section
// 10.2.3) and cannot.
const (
	TooMany          Mode = "429"
	TooManySeconds   Mode = "429-seconds"
	TooManyDate      Mode = "429-date"
	TooManyZero      Mode = "429-zero"
	TooManyPast      Mode = "429-past"
	TooManyNegative  Mode = "429-negative"
	TooManyYears     Mode = "429-years"
	TooManyYearsDate Mode = "429-years-date"
	TooManyAbsurd    Mode = "429-absurd"
	TooManyGarbage   Mode = "429-garbage"

	Unavailable          Mode = "503"
	UnavailableSeconds   Mode = "503-seconds"
	UnavailableDate      Mode = "503-date"
	UnavailableZero      Mode = "503-zero"
	UnavailablePast      Mode = "503-past"
	UnavailableNegative  Mode = "503-negative"
	UnavailableYears     Mode = "503-years"
	UnavailableYearsDate Mode = "503-years-date"
	UnavailableAbsurd    Mode = "503-absurd"
	UnavailableGarbage   Mode = "503-garbage"
)

// How long the modes ask for that ask for a sensible time.
const (
	AskedByNumber = 5 * time.Minute
	AskedByDate   = 10 * time.Minute
)

// aDecade is far beyond what anyone should wait.
const aDecade = 10 * 365 * 24 * time.Hour

func busy() []behaviour {
	const many, unavailable = http.StatusTooManyRequests, http.StatusServiceUnavailable
	tooMany := []behaviour{{mode: TooMany, does: "answers 429 and does not say for how long", act: answered(status(many), "")}}
	notNow := []behaviour{{mode: Unavailable, does: "answers 503 and does not say for how long", act: answered(status(unavailable), "")}}
	for _, kind := range []struct {
		many, unavailable Mode
		says              string
		value             func(now time.Time) string
	}{
		{TooManySeconds, UnavailableSeconds, "asks for 300 seconds", always(fmt.Sprint(int(AskedByNumber.Seconds())))},
		{TooManyDate, UnavailableDate, "names the date in ten minutes", dateIn(AskedByDate)},
		{TooManyZero, UnavailableZero, "asks for 0 seconds", always("0")},
		{TooManyPast, UnavailablePast, "names a date that is past", dateIn(-time.Hour)},
		{TooManyNegative, UnavailableNegative, "asks for -5 seconds", always("-5")},
		{TooManyYears, UnavailableYears, "asks for the seconds of ten years", always(fmt.Sprint(int(aDecade.Seconds())))},
		{TooManyYearsDate, UnavailableYearsDate, "names the date in ten years", dateIn(aDecade)},
		{TooManyAbsurd, UnavailableAbsurd, "asks for a number of 40 digits", always(strings.Repeat("9", 40))},
		{TooManyGarbage, UnavailableGarbage, "asks for \"soon\"", always("soon")},
	} {
		tooMany = append(tooMany, behaviour{mode: kind.many, does: "answers 429 and " + kind.says, act: retryAfter(many, kind.value)})
		notNow = append(notNow, behaviour{mode: kind.unavailable, does: "answers 503 and " + kind.says, act: retryAfter(unavailable, kind.value)})
	}
	return append(tooMany, notNow...)
}

func always(value string) func(time.Time) string {
	return func(time.Time) string { return value }
}

func dateIn(d time.Duration) func(time.Time) string {
	return func(now time.Time) string { return now.Add(d).UTC().Format(http.TimeFormat) }
}

func retryAfter(code int, value func(now time.Time) string) func(*exchange) error {
	return func(x *exchange) error {
		return x.answer(status(code), "Retry-After: "+value(time.Now())+"\r\n", "")
	}
}

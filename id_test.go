package millrace

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 123_456_789, time.UTC)

func TestNewID(t *testing.T) {
	a, b := NewID(noon), NewID(noon)
	if a == b {
		t.Error("two ids of one moment are the same")
	}
	if a.Version() != 7 || a.Variant().String() != "RFC4122" {
		t.Errorf("%s is version %d, variant %s; want a UUIDv7", a, a.Version(), a.Variant())
	}
	if want := noon.Truncate(time.Millisecond); !TimeOf(a).Equal(want) || TimeOf(a).Location() != time.UTC {
		t.Errorf("its time reads %s, want %s", TimeOf(a), want)
	}
}

func TestIDsSortByTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		millis := rapid.Int64Range(0, 1<<48-1)
		early, late := millis.Draw(t, "a"), millis.Draw(t, "b")
		if early > late {
			early, late = late, early
		}
		a, b := NewID(time.UnixMilli(early)), NewID(time.UnixMilli(late))
		if early < late && bytes.Compare(a[:], b[:]) >= 0 {
			t.Fatalf("%s of %d does not sort before %s of %d", a, early, b, late)
		}
		if TimeOf(b).UnixMilli() != late {
			t.Fatalf("the id of %d reads %d", late, TimeOf(b).UnixMilli())
		}
		floor := FloorID(time.UnixMilli(late))
		if bytes.Compare(floor[:], b[:]) > 0 || (early < late && bytes.Compare(floor[:], a[:]) <= 0) {
			t.Fatalf("the floor %s does not part %s from %s", floor, a, b)
		}
	})
}

func TestDerivedID(t *testing.T) {
	x, y := NewID(noon), NewID(noon)
	a := DerivedID(noon, x, y)
	if a.Version() != 7 || !TimeOf(a).Equal(noon.Truncate(time.Millisecond)) {
		t.Errorf("%s is no UUIDv7 of its moment", a)
	}
	for _, c := range []struct {
		rule  string
		other ID
		same  bool
	}{
		{"the same parts give the same id", DerivedID(noon, x, y), true},
		{"within the millisecond", DerivedID(noon.Add(time.Microsecond), x, y), true},
		{"parts in another order give another", DerivedID(noon, y, x), false},
		{"other parts give another", DerivedID(noon, x), false},
		{"another moment gives another", DerivedID(noon.Add(time.Millisecond), x, y), false},
	} {
		t.Run(c.rule, func(t *testing.T) {
			if (a == c.other) != c.same {
				t.Errorf("%s and %s", a, c.other)
			}
		})
	}
}

func TestDeliveryID(t *testing.T) {
	event, replay := NewID(noon), NewID(noon.Add(time.Hour))
	subscription := NewID(noon.Add(-time.Hour))
	first, again := DeliveryID(event, subscription, ID{}), DeliveryID(event, subscription, replay)
	if first != DeliveryID(event, subscription, ID{}) {
		t.Error("fan-out run again makes another delivery")
	}
	if first == again || first == DeliveryID(event, NewID(noon), ID{}) {
		t.Error("a replay or another subscription makes the same delivery")
	}
	if !TimeOf(first).Equal(TimeOf(event)) || !TimeOf(again).Equal(TimeOf(replay)) {
		t.Errorf("times %s and %s, want the event's and the replay's", TimeOf(first), TimeOf(again))
	}
}

func TestParseID(t *testing.T) {
	id := NewID(noon)
	for _, c := range []struct {
		rule, text string
		valid      bool
	}{
		{"the canonical form", id.String(), true},
		{"in capitals", strings.ToUpper(id.String()), true},
		{"nothing", "", false},
		{"in braces", "{" + id.String() + "}", false},
		{"as a URN", "urn:uuid:" + id.String(), false},
		{"without hyphens", strings.ReplaceAll(id.String(), "-", ""), false},
		{"with a letter that is no digit", "g" + id.String()[1:], false},
	} {
		t.Run(c.rule, func(t *testing.T) {
			got, err := ParseID(c.text)
			if (err == nil) != c.valid || (c.valid && got != id) {
				t.Errorf("%q reads %s, %v", c.text, got, err)
			}
		})
	}
}

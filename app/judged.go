package app

import (
	"context"
	"errors"
	"slices"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/egress"
	"github.com/millrace-dev/millrace/store"
)

// judgedSources are the store's sources. A broker's addresses are judged when
// they are given, by the policy that judges them again when they are dialled.
type judgedSources struct {
	*store.Store
	policy *egress.Policy
}

// CreateSource refuses a source whose broker may not be connected to.
func (j judgedSources) CreateSource(ctx context.Context, s millrace.Source) (millrace.Source, error) {
	if err := judge(j.policy, s.PubSub.Destinations()); err != nil {
		return s, err
	}
	return j.Store.CreateSource(ctx, s)
}

// UpdateSource refuses another broker that may not be connected to. One that
// stays the same is not judged anew: a source that was made before its address
// was closed can be renamed, and disabled.
func (j judgedSources) UpdateSource(ctx context.Context, project, id millrace.ID, change func(*millrace.Source) error) (millrace.Source, error) {
	return j.Store.UpdateSource(ctx, project, id, judgedChange(j.policy, change))
}

func judgedChange(policy *egress.Policy, change func(*millrace.Source) error) func(*millrace.Source) error {
	return func(s *millrace.Source) error {
		before := s.PubSub.Destinations()
		if err := change(s); err != nil {
			return err
		}
		if after := s.PubSub.Destinations(); !slices.Equal(before, after) {
			return judge(policy, after)
		}
		return nil
	}
}

// judge says which of the addresses may not be connected to, and why.
func judge(policy *egress.Policy, to []millrace.Destination) error {
	var faults []error
	for _, d := range to {
		check := policy.CheckAddress
		if d.URL {
			check = func(raw string) (string, error) {
				_, err := policy.CheckURL(raw)
				return "", err
			}
		}
		var refusal *egress.Refusal
		if _, err := check(d.Address); errors.As(err, &refusal) {
			faults = append(faults, millrace.Invalid(d.Field, "is refused: %s", refusal.Message))
		}
	}
	return millrace.JoinFaults(faults...)
}

package handlers

import (
	"context"

	millrace "github.com/millrace-dev/millrace"
)

// DoorLog hands a delivery back to the transport: it ends the named turn and
// begins the next, or answers false where somebody was first.
type DoorLog interface {
	HandBack(ctx context.Context, d millrace.Due) (millrace.Delivery, bool, error)
}

// Retry is the one door back in: deliveries whose time has come, whose
// endpoint can take them again, or that the transport lost.
type Retry struct {
	Log DoorLog
}

// Handle hands one delivery back.
func (h *Retry) Handle(ctx context.Context, d millrace.Due) ([]millrace.Delivery, error) {
	delivery, mine, err := h.Log.HandBack(ctx, d)
	if err != nil || !mine {
		return nil, err
	}
	return []millrace.Delivery{delivery}, nil
}

package store

import (
	"strings"
	"testing"
)

func TestAnOldPostgreSQLIsRefused(t *testing.T) {
	if err := checkServer(140010); err == nil || !strings.Contains(err.Error(), "version 14; 15 or newer") {
		t.Errorf("14 gets %v", err)
	}
	if err := checkServer(150000); err != nil {
		t.Errorf("15 gets %v", err)
	}
}

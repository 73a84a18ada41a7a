package store

import (
	"strings"
	"testing"
)

func TestAnOldPostgreSQLIsRefusedInOneSentence(t *testing.T) {
	for _, c := range []struct {
		rule    string
		number  int
		refused string
	}{
		{"14 is refused, whatever its patches", 140_019, "version 14 and Millrace needs 15"},
		{"9.6 is refused", 90_624, "version 9 and"},
		{"15 is the oldest that is not", 150_000, ""},
		{"newer ones are not refused", 180_001, ""},
	} {
		t.Run(c.rule, func(t *testing.T) {
			err := checkVersion(c.number)
			if (err != nil) != (c.refused != "") || err != nil && (!strings.Contains(err.Error(), c.refused) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("it says: %v", err)
			}
		})
	}
}

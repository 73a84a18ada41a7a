package pipeline

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill"
)

func TestTheRoutersOwnWordsAreForDebugging(t *testing.T) {
	say := func(level slog.Level) string {
		var said bytes.Buffer
		d := demoted{slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: level}))}.With(watermill.LogFields{"handler": "h"})
		d.Error("failed", errors.New("fault"), watermill.LogFields{"id": 7})
		d.Info("happened", nil)
		d.Debug("in detail", nil)
		d.Trace("in great detail", nil)
		return said.String()
	}
	if said := say(slog.LevelInfo); said != "" {
		t.Errorf("an operator reads %q", said)
	}
	lines := strings.Split(strings.TrimSpace(say(slog.LevelDebug)), "\n")
	if len(lines) != 3 {
		t.Fatalf("debugging shows %q, want three lines", lines)
	}
	for _, word := range []string{"level=DEBUG", "msg=failed", "error=fault", "id=7", "handler=h"} {
		if !strings.Contains(lines[0], word) {
			t.Errorf("%q lacks %s", lines[0], word)
		}
	}
}

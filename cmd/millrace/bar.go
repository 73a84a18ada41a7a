package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/millrace-dev/millrace/app"
)

// bar shows progress on a terminal, and nothing elsewhere.
type bar struct {
	to      io.Writer
	total   int64 // bytes of the input; 0: not known
	started time.Time
	drawn   time.Time
}

func newBar(to io.Writer, in *os.File) *bar {
	b := &bar{started: time.Now()}
	if terminal(to) {
		b.to = to
	}
	if info, err := in.Stat(); err == nil && info.Mode().IsRegular() {
		b.total = info.Size()
	}
	return b
}

const barWidth = 30

// show draws it anew, ten times a second at most.
func (b *bar) show(c app.SendCounts) {
	if b.to == nil || time.Since(b.drawn) < 100*time.Millisecond {
		return
	}
	b.drawn = time.Now()
	fmt.Fprint(b.to, "\r\x1b[K"+b.text(c))
}

func (b *bar) text(c app.SendCounts) string {
	done := c.Sent + c.Duplicates + c.Failed
	rate := float64(done) / max(time.Since(b.started).Seconds(), 0.001)
	text := fmt.Sprintf("%d sent, %d duplicates, %d failed, %.0f/s", c.Sent, c.Duplicates, c.Failed, rate)
	if b.total == 0 {
		return text
	}
	part := min(float64(c.Bytes)/float64(b.total), 1)
	filled := int(part * barWidth)
	return fmt.Sprintf("[%s%s] %3.0f%%  %s", strings.Repeat("#", filled), strings.Repeat(" ", barWidth-filled), part*100, text)
}

// clear takes it off the line.
func (b *bar) clear() {
	if b.to != nil {
		fmt.Fprint(b.to, "\r\x1b[K")
	}
}

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// documented are the shell blocks of a section of docs/sources.md.
func documented(t *testing.T, heading string) []string {
	t.Helper()
	return blocksOf(t, "sources.md", heading, "sh")
}

// blocksOf are the blocks in a language of a section of a document.
func blocksOf(t *testing.T, document, heading, language string) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/" + document)
	if err != nil {
		t.Fatal(err)
	}
	level, _, _ := strings.Cut(heading, " ")
	_, section, found := strings.Cut(string(text), "\n"+heading+"\n")
	if !found {
		t.Fatalf("%s has no section %q", document, heading)
	}
	section, _, _ = strings.Cut(section, "\n"+level+" ")
	var blocks []string
	for _, part := range strings.Split(section, "```"+language+"\n")[1:] {
		block, _, closed := strings.Cut(part, "\n```")
		if !closed {
			t.Fatalf("a block does not end: %s", part)
		}
		blocks = append(blocks, block)
	}
	return blocks
}

// TestTheDocumentedWebhooksAreTaken runs what docs/sources.md shows, as it
// stands, beside a running millrace dev.
func TestTheDocumentedWebhooksAreTaken(t *testing.T) {
	t.Parallel()
	s := devShell(t)
	dev := s.start(t, "dev", "--listen", "127.0.0.1:"+freePort(t))
	dev.await(dev.out, "Ctrl-C ends it")
	script := "set -e\n"
	blocks := documented(t, "## Webhooks")
	for i, block := range blocks {
		script += block + "\necho\n"
		if i == 1 {
			script += block + "\necho\n" // sent once more
		}
	}
	cmd := exec.Command("bash", "-c", script)
	cmd.Dir, cmd.Env = s.dir, append(os.Environ(), "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	wantIn(t, string(out), `"event_type":"push","ack":"persisted","duplicate":false`, `"event_type":"push","ack":"persisted","duplicate":true`,
		`"event_type":"invoice.paid"`, "<ok/>")
	if strings.Count(string(out), "Event received") != 3 || len(blocks) != 5 {
		t.Errorf("%d blocks say\n%s", len(blocks), out)
	}
}

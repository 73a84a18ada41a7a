package main

import (
	"strings"
	"testing"

	"github.com/millrace-dev/millrace/misbehave"
)

// misbehaving is a part of TestDev.
func misbehaving(t *testing.T, s shell) {
	for mode, shown := range map[misbehave.Mode][]string{
		misbehave.CutHeader: {
			"order.cut   cut-header: closes the connection in the middle of the headers\n", "signature verified",
			"order.cut   over after ", "sent: it closed the connection\n",
		},
		misbehave.TLSExpired: {"no request   over after ", "0 bytes sent: the handshake failed: ", "certificate\n"},
	} {
		t.Run(string(mode), func(t *testing.T) {
			port := freePort(t)
			l := s.start(t, "listen", "--port", port, "--count", "1", "--misbehave", string(mode))
			l.await(l.err, mode.URL("127.0.0.1:"+port))
			l.await(l.err, "It "+mode.Does()+".\n")
			s.run(t, "send", "order.cut")
			wantIn(t, l.wait(exitDone).out.String(), shown...)
		})
	}
}

func TestListenNamesTheWaysToMisbehave(t *testing.T) {
	t.Parallel()
	s := shell{dir: t.TempDir()}
	help, wrong := s.run(t, "listen", "--help"), s.start(t, "listen", "--misbehave", "sulk").wait(exitUsage).err.String()
	wantIn(t, wrong, `called "sulk"`)
	for _, m := range misbehave.Modes() {
		wantIn(t, help, string(m)+strings.Repeat(" ", 16-len(m))+" "+m.Does()+"\n")
		wantIn(t, wrong, string(m))
	}
	s.refuse(t, exitUsage, "so --status and --delay cannot", "listen", "--misbehave", "hang", "--status", "500")
	s.refuse(t, exitUsage, "so --status and --delay cannot", "listen", "--misbehave", "hang", "--delay", "1s")
}

// Command millrace is a webhooks gateway: the roles server, agent and egress,
// all three in one process for trying it (dev), and the tools around them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/millrace-dev/millrace/app"
)

// version is set by the build: -ldflags "-X main.version=v1.2.3".
var version string

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(run(os.Args[1:])) }

// run runs one command and answers with the exit code.
func run(args []string) int {
	var c commands
	parser, err := newParser(&c)
	if err != nil {
		return complain(err)
	}
	if len(args) > 0 && args[0] == completeWord {
		complete(os.Stdout, parser.Model.Node, args[1:])
		return exitDone
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return misused(err)
	}
	ctx, done := untilSignal(context.Background())
	defer done()
	s := &screen{out: os.Stdout, err: os.Stderr, json: c.JSON}
	parsed.BindTo(ctx, (*context.Context)(nil))
	return complain(parsed.Run(s, &c.globals))
}

func newParser(c *commands) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("millrace"),
		kong.Description("Millrace, a webhooks gateway: an event goes in over HTTP, a signed webhook comes out."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, WrapUpperBound: 110}),
		kong.ExplicitGroups(groups),
		kong.Vars{"data": defaultData, "listen": app.DefaultConfig().Server.Listen},
	)
}

// misused says what is wrong with the command line, and where to read on.
func misused(err error) int {
	var wrong *kong.ParseError
	help := "millrace --help"
	if errors.As(err, &wrong) && wrong.Context != nil && wrong.Context.Selected() != nil {
		help = wrong.Context.Selected().FullPath() + " --help"
	}
	fmt.Fprintf(os.Stderr, "millrace: %s; see %s\n", err, help)
	return exitUsage
}

// complain says every fault on a line of its own.
func complain(err error) int {
	var quiet alreadySaid
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &quiet):
		return exitFailed
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "millrace: interrupted")
		return exitFailed
	}
	for _, fault := range apart(err) {
		fmt.Fprintln(os.Stderr, "millrace: "+strings.TrimSpace(fault.Error()))
	}
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

// apart takes joined errors apart.
func apart(err error) []error {
	several, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, one := range several.Unwrap() {
		all = append(all, apart(one)...)
	}
	return all
}

// alreadySaid ends a command that failed and has said why.
type alreadySaid struct{}

// Error is never shown.
func (alreadySaid) Error() string { return "failed" }

// usageError is a fault of the command line that the parser does not see.
type usageError string

// Error is the fault.
func (e usageError) Error() string { return string(e) }

// programVersion is what the build says, or else what Go knows of it.
func programVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "dev"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "dev-" + s.Value[:min(12, len(s.Value))]
		}
	}
	return "dev"
}

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// completeWord is the first argument by which the scripts ask for candidates.
const completeWord = "__complete"

type completion struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help shows the command in use.
func (completion) Help() string {
	return `The script asks the program itself, so it need not be made again.

    millrace completion bash > /etc/bash_completion.d/millrace
    millrace completion zsh > "${fpath[1]}/_millrace"
    millrace completion fish > ~/.config/fish/completions/millrace.fish`
}

var completionScripts = map[string]string{
	"bash": `_millrace() {
	local IFS=$'\n'
	COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f1)" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _millrace millrace
`,
	"zsh": `#compdef millrace
_millrace() {
	local -a found
	found=("${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null | sed -e 's/:/\\:/g' -e 's/	/:/')}")
	_describe millrace found || _files
}
if [ "$funcstack[1]" = _millrace ]; then _millrace; else compdef _millrace millrace; fi
`,
	"fish": `complete -c millrace -a '(set -l words (commandline -opc) (commandline -ct); $words[1] __complete $words[2..-1] 2>/dev/null)'
`,
}

// Run prints the script.
func (c completion) Run(s *screen) error {
	_, err := fmt.Fprint(s.out, completionScripts[c.Shell])
	return err
}

// complete prints what may stand in place of the last word, each with what it
// is for.
func complete(to io.Writer, root *kong.Node, words []string) {
	if len(words) == 0 {
		words = []string{""}
	}
	node, last := root, words[len(words)-1]
	for _, word := range words[:len(words)-1] {
		if next := child(node, word); next != nil {
			node = next
		}
	}
	for _, c := range candidates(node, strings.HasPrefix(last, "-")) {
		if strings.HasPrefix(c[0], last) {
			fmt.Fprintln(to, c[0]+"\t"+c[1])
		}
	}
}

func child(node *kong.Node, name string) *kong.Node {
	i := slices.IndexFunc(node.Children, func(c *kong.Node) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return node.Children[i]
}

// candidates are the commands below a node, or its flags, or what its
// arguments are chosen from.
func candidates(node *kong.Node, flags bool) [][2]string {
	var all [][2]string
	if flags {
		for _, level := range node.AllFlags(true) {
			for _, f := range level {
				all = append(all, [2]string{"--" + f.Name, f.Help})
			}
		}
		return all
	}
	for _, c := range node.Children {
		all = append(all, [2]string{c.Name, c.Help})
	}
	for _, p := range node.Positional {
		for _, value := range p.EnumSlice() {
			all = append(all, [2]string{value, ""})
		}
	}
	return all
}

package app

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Tree is the configuration as nested maps, secrets hidden.
func (c Config) Tree() map[string]any {
	tree := map[string]any{}
	for _, s := range c.Settings() {
		at, path := tree, strings.Split(s.Key, ".")
		for _, name := range path[:len(path)-1] {
			if at[name] == nil {
				at[name] = map[string]any{}
			}
			at = at[name].(map[string]any)
		}
		at[path[len(path)-1]] = s.Value
	}
	return tree
}

// YAML is the configuration as a file, in the order of Config, secrets hidden.
func (c Config) YAML() string {
	var b strings.Builder
	var open []string
	for _, s := range c.Settings() {
		path := strings.Split(s.Key, ".")
		blocks := path[:len(path)-1]
		for depth, name := range blocks {
			if depth >= len(open) || open[depth] != name {
				fmt.Fprintf(&b, "%s%s:\n", strings.Repeat("  ", depth), name)
				open = append(open[:depth:depth], name)
			}
		}
		open = open[:len(blocks)]
		fmt.Fprintf(&b, "%s%s: %s\n", strings.Repeat("  ", len(blocks)), path[len(path)-1], yamlValue(s.Value))
	}
	return b.String()
}

// yamlValue writes a value on one line.
func yamlValue(v any) string {
	node := yaml.Node{}
	if err := node.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	node.Style = yaml.FlowStyle
	text, err := yaml.Marshal(&node)
	if err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSpace(string(text))
}

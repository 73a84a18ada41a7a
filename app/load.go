package app

import (
	"encoding"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"
)

// envPrefix begins the environment variables that override the file:
// MILLRACE_STAGES_DELIVER_CONCURRENCY is stages.deliver.concurrency.
const envPrefix = "MILLRACE_"

// commandVariables are read by the commands that call the API; they are no
// keys of the configuration.
var commandVariables = []string{"MILLRACE_URL", "MILLRACE_PROJECT_ID", "MILLRACE_API_KEY", "MILLRACE_CONFIG", "MILLRACE_DATA"}

// Origins is where a configuration comes from; later ones win.
type Origins struct {
	// File is a YAML file; empty: none.
	File string
	// Environ is the environment, as os.Environ gives it.
	Environ []string
	// Flags are key=value overrides, such as server.listen=:80.
	Flags []string
}

// Load reads the configuration: the defaults, then the file, the environment
// and the flags. All faults come at once.
func Load(base Config, from Origins) (Config, error) {
	c := base
	k := koanf.New(".")
	known := Keys(c)
	var faults error
	if from.File != "" {
		faults = errors.Join(faults, loadFile(k, from.File, known))
	}
	faults = errors.Join(faults, loadEnviron(k, from.Environ, known), loadFlags(k, from.Flags, known))
	if faults != nil {
		return c, faults
	}
	if err := k.UnmarshalWithConf("", &c, koanf.UnmarshalConf{Tag: "koanf", DecoderConfig: decoder(&c)}); err != nil {
		return c, inWords(err)
	}
	return c, c.Validate()
}

func decoder(into *Config) *mapstructure.DecoderConfig {
	return &mapstructure.DecoderConfig{
		TagName: "koanf", Result: into, WeaklyTypedInput: true, ZeroFields: true,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(
			mapstructure.StringToTimeDurationHookFunc(), mapstructure.StringToSliceHookFunc(","), mapstructure.TextUnmarshallerHookFunc(),
		),
	}
}

func loadFile(k *koanf.Koanf, file string, known []string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("the configuration file cannot be read: %w", err)
	}
	inFile := koanf.New(".")
	if err := inFile.Load(rawbytes.Provider(text), yaml.Parser()); err != nil {
		return fmt.Errorf("%s is not YAML: %w", file, err)
	}
	var faults error
	for _, key := range inFile.Keys() {
		if !slices.Contains(known, key) {
			faults = errors.Join(faults, unknownKey(key, "in "+file, known))
		}
	}
	return errors.Join(faults, k.Merge(inFile))
}

func loadEnviron(k *koanf.Koanf, environ, known []string) error {
	names := make(map[string]string, len(known))
	for _, key := range known {
		names[envPrefix+strings.ToUpper(strings.ReplaceAll(key, ".", "_"))] = key
	}
	var faults error
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, envPrefix) || slices.Contains(commandVariables, name) || strings.HasPrefix(name, "MILLRACE_TEST_") {
			continue
		}
		key, ok := names[name]
		if !ok {
			faults = errors.Join(faults, fmt.Errorf("%s is no setting; a variable is MILLRACE_ and the key in capitals, such as MILLRACE_STAGES_DELIVER_CONCURRENCY", name))
			continue
		}
		faults = errors.Join(faults, k.Load(confmap.Provider(map[string]any{key: value}, "."), nil))
	}
	return faults
}

func loadFlags(k *koanf.Koanf, flags, known []string) error {
	var faults error
	for _, f := range flags {
		key, value, ok := strings.Cut(f, "=")
		if !ok {
			faults = errors.Join(faults, fmt.Errorf("--set %s: write key=value, such as server.listen=:5005", f))
			continue
		}
		if !slices.Contains(known, key) {
			faults = errors.Join(faults, unknownKey(key, "in --set", known))
			continue
		}
		faults = errors.Join(faults, k.Load(confmap.Provider(map[string]any{key: value}, "."), nil))
	}
	return faults
}

// unknownKey names the nearest key there is.
func unknownKey(key, where string, known []string) error {
	last := key[strings.LastIndexByte(key, '.')+1:]
	for _, k := range known {
		if strings.HasSuffix(k, "."+last) || strings.HasPrefix(k, key+".") {
			return fmt.Errorf("%s: there is no such setting (%s); there is %s", key, where, k)
		}
	}
	return fmt.Errorf("%s: there is no such setting (%s)", key, where)
}

// inWords makes the decoder's complaints readable.
func inWords(err error) error {
	text := strings.ReplaceAll(err.Error(), "decoding failed due to the following error(s):", "")
	var faults error
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			faults = errors.Join(faults, errors.New(line))
		}
	}
	return faults
}

// Keys lists every setting, in the order of the configuration.
func Keys(c Config) []string {
	var keys []string
	walk(reflect.ValueOf(c), "", func(key string, _ reflect.Value) { keys = append(keys, key) })
	return keys
}

// Setting is one key with its value as text; secrets are hidden.
type Setting struct {
	Key   string `json:"key"`
	Value any    `json:"value"`
}

// Settings lists the whole configuration, for people.
func (c Config) Settings() []Setting {
	var all []Setting
	walk(reflect.ValueOf(c), "", func(key string, v reflect.Value) { all = append(all, Setting{key, plain(v)}) })
	return all
}

// plain is a value as YAML and JSON show it.
func plain(v reflect.Value) any {
	switch x := v.Interface().(type) {
	case time.Duration:
		return x.String()
	case encoding.TextMarshaler:
		text, _ := x.MarshalText()
		return string(text)
	case fmt.Stringer:
		return x.String()
	}
	if v.Kind() == reflect.Slice {
		items := make([]any, v.Len())
		for i := range items {
			items[i] = plain(v.Index(i))
		}
		return items
	}
	if v.Kind() == reflect.String {
		return v.String()
	}
	return v.Interface()
}

// walk visits every field that bears a koanf tag.
func walk(v reflect.Value, path string, visit func(key string, v reflect.Value)) {
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag.Get("koanf")
		name, squash, _ := strings.Cut(tag, ",")
		switch {
		case squash == "squash":
			walk(v.Field(i), path, visit)
		case name == "" || name == "-":
		case v.Field(i).Kind() == reflect.Struct:
			walk(v.Field(i), path+name+".", visit)
		default:
			visit(path+name, v.Field(i))
		}
	}
}

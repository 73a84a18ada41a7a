package app

import (
	"encoding"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strconv"
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
	c, err := Read(base, from)
	var unread *fs.PathError
	if errors.As(err, &unread) {
		return c, err
	}
	return c, errors.Join(err, c.Validate())
}

// Read is Load without the judgement of the whole: for what needs a part of
// the configuration, or completes it.
func Read(base Config, from Origins) (Config, error) {
	c := base
	k := koanf.New(".")
	known := Keys(c)
	var faults error
	if from.File != "" {
		faults = loadFile(k, from.File, known)
	}
	faults = errors.Join(faults, loadEnviron(k, from.Environ, known), loadFlags(k, from.Flags, known))
	if err := k.UnmarshalWithConf("", &c, koanf.UnmarshalConf{Tag: "koanf", DecoderConfig: decoder(&c)}); err != nil {
		faults = errors.Join(faults, inWords(err))
	}
	return c, faults
}

func decoder(into *Config) *mapstructure.DecoderConfig {
	return &mapstructure.DecoderConfig{
		TagName: "koanf", Result: into, WeaklyTypedInput: true, ZeroFields: true,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(
			withUnit, whole, listed, mapstructure.TextUnmarshallerHookFunc(),
		),
	}
}

// listed reads a list from one text, of whatever its items are.
func listed(_, to reflect.Type, value any) (any, error) {
	text, ok := value.(string)
	if !ok || to.Kind() != reflect.Slice {
		return value, nil
	}
	items := strings.FieldsFunc(text, func(r rune) bool { return r == ',' })
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items, nil
}

// withUnit reads durations, and refuses a bare number: 30 would be taken for
// nanoseconds.
func withUnit(_, to reflect.Type, value any) (any, error) {
	if to != reflect.TypeFor[time.Duration]() {
		return value, nil
	}
	text, ok := value.(string)
	if !ok {
		text = fmt.Sprint(value)
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return nil, fmt.Errorf("must be a duration with its unit, such as 500ms, 30s or 5m, not %q", text)
	}
	return d, nil
}

// whole refuses what is no whole number where one is needed.
func whole(_, to reflect.Type, value any) (any, error) {
	if to.Kind() != reflect.Int {
		return value, nil
	}
	text := strings.TrimSpace(fmt.Sprint(value))
	n, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("must be a whole number, not %q", text)
	}
	return n, nil
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
	faults := dotted(inFile.Raw(), file)
	for _, key := range inFile.Keys() {
		if slices.Contains(known, key) {
			continue
		}
		if !emptyBlock(inFile, key, known) {
			faults = errors.Join(faults, unknownKey(key, "in "+file, known))
		}
		inFile.Delete(key)
	}
	return errors.Join(faults, k.Merge(inFile))
}

// dotted refuses names with dots: they look like settings, and would be passed
// over without a word.
func dotted(block map[string]any, file string) error {
	var faults error
	for name, value := range block {
		if strings.Contains(name, ".") {
			faults = errors.Join(faults, fmt.Errorf("%s: in %s, write each part of a setting on a line of its own, indented", name, file))
		}
		if inner, ok := value.(map[string]any); ok {
			faults = errors.Join(faults, dotted(inner, file))
		}
	}
	return faults
}

// emptyBlock tells whether a key is a block in which everything is commented
// out.
func emptyBlock(k *koanf.Koanf, key string, known []string) bool {
	return k.Get(key) == nil && slices.ContainsFunc(known, func(other string) bool { return strings.HasPrefix(other, key+".") })
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

// inWords says every fault of a value with its key.
func inWords(err error) error {
	var several interface{ Unwrap() []error }
	if errors.As(err, &several) {
		var faults error
		for _, one := range several.Unwrap() {
			faults = errors.Join(faults, inWords(one))
		}
		return faults
	}
	var fault *mapstructure.DecodeError
	if !errors.As(err, &fault) {
		return err
	}
	var unreadable *mapstructure.ParseError
	var misplaced *mapstructure.UnconvertibleTypeError
	switch {
	case errors.As(fault, &unreadable):
		return fmt.Errorf("%s must be %s, not %q", fault.Name(), inWord(unreadable.Expected.Type()), fmt.Sprint(unreadable.Value))
	case errors.As(fault, &misplaced):
		return fmt.Errorf("%s must be %s", fault.Name(), inWord(misplaced.Expected.Type()))
	}
	return fmt.Errorf("%s %w", fault.Name(), fault.Unwrap())
}

// inWord names what a setting holds.
func inWord(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "a block of settings"
	}
	return "text"
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

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"

	yamlparser "github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

const envPrefix = "CAUSEWAY_"

// envConfig names the file when --config does not.
const envConfig = envPrefix + "CONFIG"

// load returns the defaults, overridden by the file, the environment and the
// flags that were given, in this order. filename "" is no file; one that cannot
// be read is an *fs.PathError. It does not validate. Its error names every key that is unknown or has an impossible
// value, as its author wrote it.
func load(filename string, environ []string, flags *pflag.FlagSet) (Config, error) {
	c := DefaultConfig()
	var layers []layer
	if filename != "" {
		layers = append(layers, layer{
			provider: file.Provider(filename), parser: yamlparser.Parser(),
			where: filename + ": ", name: func(key string) string { return key },
		})
	}
	layers = append(
		layers,
		layer{
			provider: env.Provider("", env.Opt{
				Prefix:        envPrefix,
				TransformFunc: envKey,
				EnvironFunc:   func() []string { return environ },
			}),
			name: envName,
		},
		layer{
			provider: posflag.ProviderWithValue(flags, ".", nil, func(key, value string) (string, any) { return key, value }),
			name:     func(key string) string { return "--" + key },
		},
	)
	for _, l := range layers {
		if err := l.into(&c); err != nil {
			return Config{}, err
		}
	}
	return c, nil
}

// layer is one source of configuration.
type layer struct {
	provider koanf.Provider
	parser   koanf.Parser
	where    string                  // the source, for errors
	name     func(key string) string // key as the source spells it
}

func (l layer) into(c *Config) error {
	k := koanf.New(".")
	if err := k.Load(l.provider, l.parser); err != nil {
		return l.unreadable(err)
	}
	known := keys(c)
	values := k.All()
	var faults []error
	for _, key := range slices.Sorted(maps.Keys(values)) {
		v, ok := known[key]
		if !ok {
			faults = append(faults, l.unknown(key, values[key], known))
			continue
		}
		faults = append(faults, set(l.where+l.name(key), v, values[key]))
	}
	return errors.Join(faults...)
}

// unreadable says why a source was not read, in one line for each reason.
func (l layer) unreadable(err error) error {
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return err
	}
	types, ok := errors.AsType[*yaml.TypeError](err)
	if !ok {
		return fmt.Errorf("%swhat stands there is not YAML: %s", l.where, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	var faults []error
	for _, fault := range types.Errors {
		if line, _, ok := strings.Cut(fault, ": cannot unmarshal "); ok {
			fault = line + ": what stands there are no keys: write them like stomp: {prefetch: 100}"
		}
		faults = append(faults, errors.New(l.where+fault))
	}
	return errors.Join(faults...)
}

// unknown says what is wrong with a key that is none: nil when it is a section
// that says nothing.
func (l layer) unknown(key string, value any, known map[string]reflect.Value) error {
	var section []string
	for k := range known {
		if strings.HasPrefix(k, key+".") {
			section = append(section, l.name(k))
		}
	}
	if len(section) == 0 {
		return fmt.Errorf("%s%s: unknown key%s", l.where, l.name(key), suggestion(key, slices.Collect(maps.Keys(known)), l.name))
	}
	if m, ok := value.(map[string]any); value == nil || ok && len(m) == 0 {
		return nil
	}
	slices.Sort(section)
	return fmt.Errorf("%s%s: is a section and has no value of its own, its keys are %s", l.where, l.name(key), strings.Join(section, ", "))
}

// envKey turns CAUSEWAY_STOMP__LISTEN into stomp.listen.
func envKey(name, value string) (string, any) {
	if name == envConfig {
		return "", nil
	}
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, envPrefix), "__", ".")), value
}

func envName(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "__"))
}

// keys returns the settable values of c by key.
func keys(c *Config) map[string]reflect.Value {
	all := make(map[string]reflect.Value)
	walk(reflect.ValueOf(c).Elem(), "", func(key string, v reflect.Value) { all[key] = v })
	return all
}

// walk calls leaf for every key below v in the order of the fields.
func walk(v reflect.Value, prefix string, leaf func(key string, v reflect.Value)) {
	for field, value := range v.Fields() {
		tag, options, _ := strings.Cut(field.Tag.Get("koanf"), ",")
		switch {
		case tag == "-":
		case options == "squash":
			walk(value, prefix, leaf)
		case value.Kind() == reflect.Struct:
			walk(value, prefix+tag+".", leaf)
		default:
			leaf(prefix+tag, value)
		}
	}
}

// suggestion asks for the one of keys that key was probably meant to be, as
// name spells it. "" when there is none.
func suggestion(key string, keys []string, name func(string) string) string {
	if meant := nearest(key, keys); meant != "" {
		return ", did you mean " + name(meant) + "?"
	}
	return ""
}

// nearest returns the one of keys that key was probably meant to be: not more
// than every third byte of it is wrong, or only its section is. "": none.
func nearest(key string, keys []string) string {
	slices.Sort(keys)
	best, least := "", math.MaxInt
	for _, k := range keys {
		d := 4 * distance(key, k)
		if d > 4*max(2, len(key)/3) {
			d = math.MaxInt
		}
		// Somebody may have left out the section, or taken another one.
		if suffix := k[strings.LastIndex(k, ".")+1:]; key[strings.LastIndex(key, ".")+1:] == suffix {
			d = min(d, 1+distance(strings.TrimSuffix(key, suffix), strings.TrimSuffix(k, suffix)))
		}
		if d < least {
			best, least = k, d
		}
	}
	return best
}

// distance counts the bytes to insert, delete, replace or swap with their
// neighbour to get from a to b.
func distance(a, b string) int {
	var before []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(row[j+1]+1, next[j]+1, row[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}

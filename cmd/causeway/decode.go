package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

var durationType = reflect.TypeFor[time.Duration]()

// set stores raw, as YAML or a string gave it, in v. key is for the error.
func set(key string, v reflect.Value, raw any) error {
	if raw == nil {
		return nil // a key without a value leaves the default
	}
	text, isText := raw.(string)
	switch {
	case v.Type() == durationType:
		d, err := time.ParseDuration(fmt.Sprint(raw))
		if err != nil {
			return fmt.Errorf("%s: %v is no duration: write it like 10s, 1m30s or 168h", key, raw)
		}
		v.SetInt(int64(d))
	case v.Kind() == reflect.String:
		if !isText {
			return fmt.Errorf("%s: is no text: put it in quotes", key)
		}
		v.SetString(text)
	case v.Kind() == reflect.Bool:
		b, ok := raw.(bool)
		if isText {
			b, ok = text == "true", text == "true" || text == "false"
		}
		if !ok {
			return fmt.Errorf("%s: %v is neither true nor false", key, raw)
		}
		v.SetBool(b)
	case v.CanInt(), v.CanUint():
		n, err := parseInt(fmt.Sprint(raw))
		if err != nil {
			return fmt.Errorf("%s: %v is no number: write it like 100 or, for sizes, 16MiB (KiB, MiB, GiB)", key, raw)
		}
		if n < 0 || v.CanInt() && v.OverflowInt(n) || v.CanUint() && v.OverflowUint(uint64(n)) {
			return fmt.Errorf("%s: %v is out of range", key, raw)
		}
		v.Set(reflect.ValueOf(n).Convert(v.Type()))
	case v.Kind() == reflect.Slice:
		return setList(key, v, raw)
	case v.Kind() == reflect.Struct:
		return setStruct(key, v, raw)
	}
	return nil
}

// setList replaces the list in v. In the environment and in flags a list is
// written as JSON.
func setList(key string, v reflect.Value, raw any) error {
	if text, ok := raw.(string); ok {
		var list []any
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			return fmt.Errorf("%s: is no list: write it as JSON, like %s", key, exampleList(v.Type().Elem()))
		}
		raw = list
	}
	elements, ok := raw.([]any)
	if !ok {
		return fmt.Errorf("%s: is no list: write it like %s", key, exampleList(v.Type().Elem()))
	}
	list := reflect.MakeSlice(v.Type(), len(elements), len(elements))
	var faults []error
	for i, element := range elements {
		faults = append(faults, set(fmt.Sprintf("%s[%d]", key, i), list.Index(i), element))
	}
	v.Set(list)
	return errors.Join(faults...)
}

func setStruct(key string, v reflect.Value, raw any) error {
	values, ok := raw.(map[string]any)
	if !ok {
		return fmt.Errorf("%s: is no entry: write it like %s", key, exampleEntry(v.Type()))
	}
	known := make(map[string]reflect.Value)
	walk(v, "", func(name string, field reflect.Value) { known[name] = field })
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(values)) {
		field, ok := known[name]
		if !ok {
			faults = append(faults, fmt.Errorf("%s.%s: unknown key%s", key, name,
				suggestion(name, slices.Collect(maps.Keys(known)), func(meant string) string { return meant })))
			continue
		}
		faults = append(faults, set(key+"."+name, field, values[name]))
	}
	return errors.Join(faults...)
}

func exampleList(element reflect.Type) string {
	if element.Kind() == reflect.Struct {
		return "[" + exampleEntry(element) + "]"
	}
	return `["one", "two"]`
}

func exampleEntry(t reflect.Type) string {
	var names []string
	walk(reflect.New(t).Elem(), "", func(name string, _ reflect.Value) { names = append(names, strconv.Quote(name)+": …") })
	return "{" + strings.Join(names, ", ") + "}"
}

var units = []struct {
	suffix string
	bytes  int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// parseInt reads a number with or without a unit.
func parseInt(s string) (int64, error) {
	for _, unit := range units {
		if digits, ok := strings.CutSuffix(s, unit.suffix); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
			if err == nil && n > math.MaxInt64/unit.bytes {
				err = strconv.ErrRange
			}
			return n * unit.bytes, err
		}
	}
	return strconv.ParseInt(s, 10, 64)
}

// formatInt writes n as parseInt reads it, in its largest whole unit.
func formatInt(n int64) string {
	for _, unit := range units {
		if n != 0 && n%unit.bytes == 0 {
			return strconv.FormatInt(n/unit.bytes, 10) + unit.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}

package ec2

import (
	"reflect"
	"strconv"
	"strings"
	"time"
)

// at makes a filter out of a path of field names, which may lead through pointers
// and lists. It takes some microseconds an item: the filters that clients use every
// few seconds are functions of their own.
func at[V any](path string) func(*V) []string {
	names := strings.Split(path, ".")
	return func(v *V) []string { return walk(reflect.ValueOf(v), names, nil) }
}

var instantType = reflect.TypeFor[time.Time]()

func walk(v reflect.Value, names []string, out []string) []string {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return out
		}
		return walk(v.Elem(), names, out)
	case reflect.Slice:
		for i := range v.Len() {
			out = walk(v.Index(i), names, out)
		}
		return out
	case reflect.Struct:
		if v.Type() == instantType {
			t, _ := v.Interface().(time.Time)
			return append(out, instant(&t)...)
		}
		if len(names) == 0 {
			return out
		}
		return walk(v.FieldByName(names[0]), names[1:], out)
	case reflect.String:
		return append(out, text(v.String())...)
	case reflect.Bool:
		return append(out, strconv.FormatBool(v.Bool()))
	case reflect.Int, reflect.Int32, reflect.Int64:
		return append(out, strconv.FormatInt(v.Int(), 10))
	case reflect.Float64:
		return append(out, strconv.FormatFloat(v.Float(), 'f', -1, 64))
	}
	return out
}

// none is a filter by something that nothing here has.
func none[V any](*V) []string { return nil }

// more adds filters to a table: by a path, or with =value for all items the same. A
// name that is there already stays as it is.
func (f fields[V]) more(paths map[string]string) fields[V] {
	for name, path := range paths {
		if _, ok := f[name]; ok {
			continue
		}
		value, constant := strings.CutPrefix(path, "=")
		switch {
		case constant:
			f[name] = func(*V) []string { return []string{value} }
		case path == "":
			f[name] = none[V]
		default:
			f[name] = at[V](path)
		}
	}
	return f
}

// Package pattern is EventBridge's event patterns: parsing, validation in
// EventBridge's words, and matching. It is pure.
//
// The rules are those of "Creating Amazon EventBridge event patterns" in the
// EventBridge User Guide.
package pattern

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Pattern is a valid event pattern.
type Pattern struct{ root *object }

// object is a JSON object of a pattern: all its fields must match, and of each of
// its $or one alternative.
type object struct {
	fields []field
	ors    [][]*object
}

// field is one name of an object: either nested, or values of which one must match.
type field struct {
	name   string
	nested *object
	any    []matcher
}

// maxDepth bounds the nesting of patterns and events.
const maxDepth = 100

// Parse validates a pattern. Its errors are EventBridge's reasons.
func Parse(text string) (*Pattern, error) {
	root, err := decode(text)
	if err != nil {
		return nil, err
	}
	if root.kind != kindObject {
		return nil, errors.New("Filter is not an object") //nolint:staticcheck,revive // EventBridge's words
	}
	if len(root.members) == 0 {
		return nil, errors.New("Empty objects are not allowed") //nolint:staticcheck,revive // EventBridge's words
	}
	o, err := parseObject(root, false)
	if err != nil {
		return nil, err
	}
	return &Pattern{o}, nil
}

func reason(format string, args ...any) error { return fmt.Errorf(format, args...) }

func parseObject(v value, inOr bool) (*object, error) {
	o := &object{}
	for _, m := range v.members {
		if alternatives, ok := orOf(m); ok {
			var all []*object
			for _, a := range alternatives {
				sub, err := parseObject(a, true)
				if err != nil {
					return nil, err
				}
				all = append(all, sub)
			}
			o.ors = append(o.ors, all)
			continue
		}
		f := field{name: m.name}
		var err error
		switch m.kind {
		case kindObject:
			if len(m.members) == 0 {
				return nil, reason("Empty objects are not allowed")
			}
			f.nested, err = parseObject(m.value, inOr)
		case kindArray:
			if len(m.items) == 0 {
				return nil, reason("Empty arrays are not allowed")
			}
			f.any, err = parseValues(m.items)
		default:
			return nil, reason("%q must be an object or an array", m.name)
		}
		if err != nil {
			return nil, err
		}
		// A name that comes twice counts once, the last time.
		o.fields = append(o.fields, f)
		for i := range o.fields[:len(o.fields)-1] {
			if o.fields[i].name == f.name {
				o.fields = append(o.fields[:i], o.fields[i+1:]...)
				break
			}
		}
	}
	return o, nil
}

// orOf tells whether a member is an or of patterns: $or with two or more objects,
// none of which is a matcher. Otherwise it is a field of that name.
func orOf(m member) ([]value, bool) {
	if m.name != "$or" || m.kind != kindArray || len(m.items) < 2 {
		return nil, false
	}
	for _, i := range m.items {
		if i.kind != kindObject || len(i.members) == 0 || named(i.members[0].name) != nil {
			return nil, false
		}
	}
	return m.items, true
}

func parseValues(items []value) ([]matcher, error) {
	var out []matcher
	for _, v := range items {
		switch v.kind {
		case kindArray:
			return nil, reason("Match value must be String, number, true, false, or null")
		case kindObject:
			if len(v.members) != 1 {
				return nil, reason("Only one key allowed in match expression")
			}
			m := v.members[0]
			parse := named(m.name)
			if parse == nil {
				return nil, reason("Unrecognized match type %s", m.name)
			}
			x, err := parse(m.value)
			if err != nil {
				return nil, err
			}
			out = append(out, x)
		default:
			out = append(out, exact(v))
		}
	}
	return out, nil
}

// The JSON model: it keeps the order of members, and numbers as they are.

type kind int

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindString
	kindArray
	kindObject
)

type value struct {
	kind    kind
	text    string // of strings, numbers and booleans
	items   []value
	members []member
}

type member struct {
	name string
	value
}

// add appends a member. A name with dots is the way to one inside: EventBridge does
// not tell "a.b" from b in a.
func (v *value) add(name string, item value) {
	first, rest, dotted := strings.Cut(name, ".")
	if !dotted || first == "" || rest == "" {
		v.members = append(v.members, member{name, item})
		return
	}
	for i := range v.members {
		if m := &v.members[i]; m.name == first && m.kind == kindObject {
			m.add(rest, item)
			return
		}
	}
	inner := value{kind: kindObject}
	inner.add(rest, item)
	v.members = append(v.members, member{first, inner})
}

// get returns the member of a name, the last one if there are several.
func (v value) get(name string) (value, bool) {
	for i := len(v.members) - 1; i >= 0; i-- {
		if v.members[i].name == name {
			return v.members[i].value, true
		}
	}
	return value{}, false
}

func decode(text string) (value, error) {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	v, err := next(d, 0)
	if err != nil {
		return v, fmt.Errorf("the text is not JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return v, errors.New("the text goes on after the JSON value")
	}
	return v, nil
}

func next(d *json.Decoder, depth int) (value, error) {
	if depth > maxDepth {
		return value{}, errors.New("it is nested too deeply")
	}
	t, err := d.Token()
	if err != nil {
		return value{}, err
	}
	switch t := t.(type) {
	case bool:
		return value{kind: kindBool, text: fmt.Sprint(t)}, nil
	case json.Number:
		return value{kind: kindNumber, text: t.String()}, nil
	case string:
		return value{kind: kindString, text: t}, nil
	case json.Delim:
		v := value{kind: kindArray}
		if t == '{' {
			v.kind = kindObject
		}
		for d.More() {
			name := ""
			if v.kind == kindObject {
				k, err := d.Token()
				if err != nil {
					return v, err
				}
				name = k.(string)
			}
			item, err := next(d, depth+1)
			if err != nil {
				return v, err
			}
			if v.kind == kindObject {
				v.add(name, item)
			} else {
				v.items = append(v.items, item)
			}
		}
		_, err := d.Token() // the closing one
		return v, err
	}
	return value{kind: kindNull}, nil
}

// wild matches * as any run of characters; \* and \\ are the characters themselves.
func wild(pattern, s string) bool {
	parts := []string{""}
	for i := 0; i < len(pattern); i++ {
		switch {
		case pattern[i] == '*':
			parts = append(parts, "")
			continue
		case pattern[i] == '\\' && i+1 < len(pattern):
			i++
		}
		parts[len(parts)-1] += pattern[i : i+1]
	}
	if len(parts) == 1 {
		return parts[0] == s
	}
	if !strings.HasPrefix(s, parts[0]) {
		return false
	}
	s = s[len(parts[0]):]
	last := parts[len(parts)-1]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(s, p)
		if i < 0 {
			return false
		}
		s = s[i+len(p):]
	}
	return len(s) >= len(last) && strings.HasSuffix(s, last)
}

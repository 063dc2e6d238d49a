package wire

import (
	"encoding/base64"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// appendJSON writes one value; what can't be written becomes null.
func (p *plan) appendJSON(b []byte, v reflect.Value, depth int) []byte {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return append(b, "null"...)
		}
		v = v.Elem()
	}
	if depth > maxDepth {
		return append(b, "null"...)
	}
	switch p.kind {
	case kindStruct:
		return append(p.appendJSONMembers(append(b, '{'), v, depth), '}')
	case kindUnion:
		return p.appendJSONUnion(b, v, depth)
	case kindList:
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = p.elem.appendJSON(b, v.Index(i), depth+1)
		}
		return append(b, ']')
	case kindMap:
		b = append(b, '{')
		for i, k := range sortedKeys(v) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendJSONString(b, k.String()), ':')
			b = p.elem.appendJSON(b, v.MapIndex(k), depth+1)
		}
		return append(b, '}')
	case kindString:
		return appendJSONString(b, v.String())
	case kindTime:
		if p.format == epochSeconds {
			return appendEpoch(b, v.Interface().(time.Time))
		}
		return append(p.appendText(append(b, '"'), v), '"')
	case kindBlob:
		return append(base64.StdEncoding.AppendEncode(append(b, '"'), v.Bytes()), '"')
	case kindFloat:
		if f := v.Float(); f-f != 0 { // NaN and the infinities have no JSON number
			return append(p.appendText(append(b, '"'), v), '"')
		}
	case kindDocument:
		return append(b, "null"...)
	}
	return p.appendText(b, v)
}

// appendJSONMembers writes the present body members of a structure.
func (p *plan) appendJSONMembers(b []byte, v reflect.Value, depth int) []byte {
	first := true
	for i := range p.fields {
		f := &p.fields[i]
		if f.binding != inBody || f.kind == kindDocument {
			continue
		}
		fv, ok := present(v.Field(f.index))
		if !ok {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(appendJSONString(b, f.wire), ':')
		b = f.appendJSON(b, fv, depth+1)
	}
	return b
}

func (p *plan) appendJSONUnion(b []byte, v reflect.Value, depth int) []byte {
	f, value := p.chosen(v)
	if f == nil {
		return append(b, "null"...)
	}
	b = append(appendJSONString(append(b, '{'), f.wire), ':')
	return append(f.appendJSON(b, value, depth+1), '}')
}

// chosen returns a union's member and its value; nil if it has none.
func (p *plan) chosen(v reflect.Value) (*field, reflect.Value) {
	c := v
	for c.Kind() == reflect.Interface || c.Kind() == reflect.Pointer {
		if c.IsNil() {
			return nil, c
		}
		c = c.Elem()
	}
	for i := range p.fields {
		if f := &p.fields[i]; f.variant == c.Type() {
			return f, c.Field(f.index)
		}
	}
	return nil, c
}

// sortedKeys orders a map so that equal values have equal encodings.
func sortedKeys(v reflect.Value) []reflect.Value {
	ks := v.MapKeys()
	slices.SortFunc(ks, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	return ks
}

const hex = "0123456789abcdef"

func appendJSONString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			if r, n := utf8.DecodeRuneInString(s[i:]); r != utf8.RuneError || n > 1 {
				i += n
				continue
			}
		}
		b = append(b, s[start:i]...)
		switch {
		case c >= utf8.RuneSelf:
			b = append(b, "\ufffd"...)
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c == '\t':
			b = append(b, `\t`...)
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		start = i
	}
	return append(append(b, s[start:]...), '"')
}

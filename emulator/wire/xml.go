package wire

import (
	"reflect"
	"unicode/utf8"
)

func appendOpen(b []byte, name string) []byte {
	return append(append(append(b, '<'), name...), '>')
}

func appendClose(b []byte, name string) []byte {
	return append(append(append(b, '<', '/'), name...), '>')
}

// appendXMLMembers writes the present members of a structure.
func (p *plan) appendXMLMembers(b []byte, v reflect.Value, depth int) []byte {
	for i := range p.fields {
		f := &p.fields[i]
		if fv, ok := present(v.Field(f.index)); ok {
			b = f.appendXML(b, f.wire, f.flat, fv, depth+1)
		}
	}
	return b
}

// appendXML writes one value as an element; a flat list or map writes one
// element per entry. What can't be written is left out.
func (p *plan) appendXML(b []byte, name string, flat bool, v reflect.Value, depth int) []byte {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return b
		}
		v = v.Elem()
	}
	if depth > maxDepth {
		return b
	}
	switch p.kind {
	case kindStruct:
		return appendClose(p.appendXMLMembers(appendOpen(b, name), v, depth), name)
	case kindUnion:
		b = appendOpen(b, name)
		if f, value := p.chosen(v); f != nil {
			b = f.appendXML(b, f.wire, f.flat, value, depth+1)
		}
		return appendClose(b, name)
	case kindList:
		item := p.item
		if flat {
			item = name
		} else {
			b = appendOpen(b, name)
		}
		for i := range v.Len() {
			b = p.elem.appendXML(b, item, false, v.Index(i), depth+1)
		}
		if !flat {
			b = appendClose(b, name)
		}
		return b
	case kindMap:
		return p.appendXMLMap(b, name, flat, v, depth)
	case kindString:
		return appendClose(appendXMLText(appendOpen(b, name), v.String()), name)
	case kindDocument:
		return b
	}
	return appendClose(p.appendText(appendOpen(b, name), v), name)
}

func (p *plan) appendXMLMap(b []byte, name string, flat bool, v reflect.Value, depth int) []byte {
	entry := name
	if !flat {
		entry = "entry"
		b = appendOpen(b, name)
	}
	for _, k := range sortedKeys(v) {
		b = appendOpen(appendOpen(b, entry), p.key)
		b = appendClose(appendXMLText(b, k.String()), p.key)
		b = p.elem.appendXML(b, p.value, false, v.MapIndex(k), depth+1)
		b = appendClose(b, entry)
	}
	if !flat {
		b = appendClose(b, name)
	}
	return b
}

// appendXMLText escapes s. Characters that XML 1.0 can't hold, and bytes that
// are not UTF-8, become U+FFFD.
func appendXMLText(b []byte, s string) []byte {
	for _, r := range s {
		switch {
		case r == '&':
			b = append(b, "&amp;"...)
		case r == '<':
			b = append(b, "&lt;"...)
		case r == '>':
			b = append(b, "&gt;"...)
		case r == '"':
			b = append(b, "&quot;"...)
		case r == '\r':
			b = append(b, "&#xD;"...)
		case r < 0x20 && r != '\n' && r != '\t', r == 0xfffe, r == 0xffff:
			b = append(b, "\ufffd"...)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return b
}

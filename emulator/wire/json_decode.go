package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math"
	"reflect"
	"strconv"
)

// decodeBody reads a JSON document; an empty body is an empty structure.
func (p *plan) decodeBody(v reflect.Value, body []byte) *DecodeError {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	if !shallow(body) {
		return &DecodeError{Want: "JSON of sane depth", Got: "a document nested too deeply"}
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var x any
	if err := d.Decode(&x); err != nil {
		return &DecodeError{Want: "JSON", Got: "a document with the error '" + err.Error() + "'"}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return &DecodeError{Want: "JSON", Got: "a document with data after its end"}
	}
	return p.decodeJSON(v, x)
}

// shallow tells whether no value of the document nests deeper than maxDepth,
// so that nothing after it needs to count.
func shallow(body []byte) bool {
	depth, inString := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return false
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return true
}

// decodeJSON sets v from a decoded value. JSON null means absent; members that
// the operation does not have are ignored, as AWS does.
func (p *plan) decodeJSON(v reflect.Value, x any) *DecodeError {
	if x == nil {
		return nil
	}
	switch p.kind {
	case kindStruct, kindUnion:
		o, ok := x.(map[string]any)
		if !ok {
			return mismatch("a structure", x)
		}
		if p.kind == kindUnion {
			return p.decodeJSONUnion(v, o)
		}
		v = settable(v)
		for name, member := range o {
			if f := p.byName[name]; f != nil {
				if err := f.decodeJSON(v.Field(f.index), member); err != nil {
					return err.under(name)
				}
			}
		}
	case kindList:
		a, ok := x.([]any)
		if !ok {
			return mismatch("a list", x)
		}
		list := reflect.MakeSlice(v.Type(), len(a), len(a))
		for i, e := range a {
			if err := p.elem.decodeJSON(list.Index(i), e); err != nil {
				return err.under("[" + strconv.Itoa(i) + "]")
			}
		}
		v.Set(list)
	case kindMap:
		o, ok := x.(map[string]any)
		if !ok {
			return mismatch("a map", x)
		}
		m := reflect.MakeMapWithSize(v.Type(), len(o))
		for name, value := range o {
			if value == nil {
				continue
			}
			e := reflect.New(v.Type().Elem()).Elem()
			if err := p.elem.decodeJSON(e, value); err != nil {
				return err.under(name)
			}
			m.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), e)
		}
		v.Set(m)
	case kindDocument:
	default:
		return p.decodeJSONScalar(v, x)
	}
	return nil
}

func (p *plan) decodeJSONUnion(v reflect.Value, o map[string]any) *DecodeError {
	for i := range p.fields {
		f := &p.fields[i]
		member, ok := o[f.wire]
		if !ok || member == nil {
			continue
		}
		if !v.IsNil() {
			return &DecodeError{Want: "a union of one member", Got: "a structure of several"}
		}
		c := reflect.New(f.variant)
		if err := f.decodeJSON(c.Elem().Field(f.index), member); err != nil {
			return err.under(f.wire)
		}
		v.Set(c)
	}
	return nil
}

func (p *plan) decodeJSONScalar(v reflect.Value, x any) *DecodeError {
	switch p.kind {
	case kindBool:
		y, ok := x.(bool)
		if !ok {
			return mismatch("a Boolean", x)
		}
		settable(v).SetBool(y)
	case kindInt:
		n, ok := x.(json.Number)
		if !ok {
			return mismatch("an Integer", x)
		}
		i, ok := integer(n)
		if v = settable(v); !ok || v.OverflowInt(i) {
			return &DecodeError{Want: "an Integer", Got: n.String()}
		}
		v.SetInt(i)
	case kindFloat:
		f, ok := float(x)
		if !ok {
			return mismatch("a Double", x)
		}
		settable(v).SetFloat(f)
	case kindTime:
		return p.decodeJSONTime(v, x)
	case kindBlob:
		y, ok := x.(string)
		if !ok {
			return mismatch("a blob", x)
		}
		d, err := base64.StdEncoding.DecodeString(y)
		if err != nil {
			return &DecodeError{Want: "a blob", Got: "a string that is not base64"}
		}
		settable(v).SetBytes(d)
	default:
		y, ok := x.(string)
		if !ok {
			return mismatch("a String", x)
		}
		settable(v).SetString(y)
	}
	return nil
}

func (p *plan) decodeJSONTime(v reflect.Value, x any) *DecodeError {
	text, format := "", p.format
	switch y := x.(type) {
	case json.Number:
		text, format = y.String(), epochSeconds // whatever the format, a number can mean nothing else
	case string:
		if format == epochSeconds {
			return mismatch("a timestamp", x)
		}
		text = y
	default:
		return mismatch("a timestamp", x)
	}
	t, ok := parseTime(text, format)
	if !ok {
		return &DecodeError{Want: "a timestamp", Got: text}
	}
	settable(v).Set(reflect.ValueOf(t))
	return nil
}

// integer also takes 1.0 and 1e3, as AWS does.
func integer(n json.Number) (int64, bool) {
	if i, err := n.Int64(); err == nil {
		return i, true
	}
	f, err := n.Float64()
	if err != nil || f != math.Trunc(f) || math.Abs(f) >= 1<<63 {
		return 0, false
	}
	return int64(f), true
}

func float(x any) (float64, bool) {
	switch y := x.(type) {
	case json.Number:
		f, err := y.Float64()
		return f, err == nil
	case string: // the only strings that AWS's doubles have
		switch y {
		case "NaN":
			return math.NaN(), true
		case "Infinity":
			return math.Inf(1), true
		case "-Infinity":
			return math.Inf(-1), true
		}
	}
	return 0, false
}

// mismatch names the JSON type that was found, in the words AWS uses.
func mismatch(want string, x any) *DecodeError {
	got := "START_OBJECT"
	switch y := x.(type) {
	case string:
		got = "STRING_VALUE"
	case json.Number:
		got = "NUMBER_VALUE"
	case bool:
		got = map[bool]string{true: "TRUE_VALUE", false: "FALSE_VALUE"}[y]
	case []any:
		got = "START_ARRAY"
	}
	return &DecodeError{Want: want, Got: got}
}

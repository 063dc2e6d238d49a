package wire

import (
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
)

// maxDepth bounds the nesting of what is decoded and encoded. AWS's deepest
// shapes nest about a dozen levels; recursive ones are bounded by this alone.
const maxDepth = 64

// Request is what the gateway has read of an HTTP request.
type Request struct {
	HTTP   *http.Request
	Body   []byte
	Form   url.Values        // query and EC2 protocols: the form of body and URL
	Labels map[string]string // rest-json: what Route returned
}

// DecodeError says that a request can't be read as its operation's input. It
// is the client's fault.
type DecodeError struct {
	Path string // the member, as in "nodegroup.taints[0].key"; may be empty
	Want string // what the member must be
	Got  string // what was sent
}

func (e *DecodeError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("%s can not be converted to %s", e.Got, e.Want)
	}
	return fmt.Sprintf("%s can not be converted to %s (at %s)", e.Got, e.Want, e.Path)
}

// under puts a member in front of the error's path.
func (e *DecodeError) under(name string) *DecodeError {
	switch {
	case e.Path == "":
		e.Path = name
	case strings.HasPrefix(e.Path, "["):
		e.Path = name + e.Path
	default:
		e.Path = name + "." + e.Path
	}
	return e
}

// Decode builds the operation's input, a pointer to the SDK's <Op>Input. An
// error is a *DecodeError, except for operations that nothing implements.
func (s *Service) Decode(o *Operation, r *Request) (any, error) {
	if !o.Implemented() {
		return nil, s.NotImplemented(o)
	}
	in := reflect.New(o.inType)
	var err *DecodeError
	switch s.model.Protocol {
	case Query, EC2:
		err = o.in.decodeQuery(in.Elem(), parseForm(r.Form), 0)
	case RESTJSON:
		err = o.in.decodeREST(in.Elem(), r)
	default:
		err = o.in.decodeBody(in.Elem(), r.Body)
	}
	if err != nil {
		return nil, err
	}
	return in.Interface(), nil
}

// decodeREST reads the members that rest-json keeps outside the body, then
// the body.
func (p *plan) decodeREST(v reflect.Value, r *Request) *DecodeError {
	var query url.Values
	var header http.Header
	if r.HTTP != nil {
		header = r.HTTP.Header
		if r.HTTP.URL != nil {
			query = r.HTTP.URL.Query()
		}
	}
	payload := false
	for i := range p.fields {
		f := &p.fields[i]
		var err *DecodeError
		switch f.binding {
		case inLabel:
			if text, ok := r.Labels[f.wire]; ok {
				err = f.decodeText(v.Field(f.index), text)
			}
		case inQuery:
			err = f.decodeTexts(v.Field(f.index), query[f.wire])
		case inQueryParams:
			err = f.decodeParams(v.Field(f.index), query)
		case inHeader:
			err = f.decodeTexts(v.Field(f.index), header.Values(f.wire))
		case inPrefixHeaders:
			err = f.decodeHeaders(v.Field(f.index), header)
		case inPayload:
			payload = true
			err = f.decodePayload(v.Field(f.index), r.Body)
		}
		if err != nil {
			return err.under(f.wire)
		}
	}
	if payload {
		return nil
	}
	return p.decodeBody(v, r.Body)
}

func (p *plan) decodeText(v reflect.Value, text string) *DecodeError {
	if want, ok := p.setText(settable(v), text); !ok {
		return &DecodeError{Want: want, Got: "'" + text + "'"}
	}
	return nil
}

// decodeTexts reads a scalar or list member from repeated texts.
func (p *plan) decodeTexts(v reflect.Value, texts []string) *DecodeError {
	if len(texts) == 0 {
		return nil
	}
	if p.kind != kindList {
		return p.decodeText(v, texts[0])
	}
	list := reflect.MakeSlice(v.Type(), len(texts), len(texts))
	for i, text := range texts {
		if err := p.elem.decodeText(list.Index(i), text); err != nil {
			return err
		}
	}
	v.Set(list)
	return nil
}

// decodeParams reads all query parameters into a map of strings or of lists.
func (p *plan) decodeParams(v reflect.Value, query url.Values) *DecodeError {
	if p.kind != kindMap || len(query) == 0 {
		return nil
	}
	m := reflect.MakeMapWithSize(v.Type(), len(query))
	for name, texts := range query {
		e := reflect.New(v.Type().Elem()).Elem()
		if err := p.elem.decodeTexts(e, texts); err != nil {
			return err
		}
		m.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), e)
	}
	v.Set(m)
	return nil
}

func (f *field) decodeHeaders(v reflect.Value, header http.Header) *DecodeError {
	if f.kind != kindMap {
		return nil
	}
	prefix := http.CanonicalHeaderKey(f.wire)
	m := reflect.MakeMap(v.Type())
	for name, texts := range header {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		e := reflect.New(v.Type().Elem()).Elem()
		if err := f.elem.decodeTexts(e, texts); err != nil {
			return err
		}
		m.SetMapIndex(reflect.ValueOf(name[len(prefix):]).Convert(v.Type().Key()), e)
	}
	if m.Len() > 0 {
		v.Set(m)
	}
	return nil
}

// decodePayload reads a member that is the whole body.
func (p *plan) decodePayload(v reflect.Value, body []byte) *DecodeError {
	switch {
	case len(body) == 0:
		return nil
	case p.kind == kindBlob:
		settable(v).SetBytes(body)
		return nil
	case p.kind == kindString:
		settable(v).SetString(string(body))
		return nil
	}
	return p.decodeBody(v, body)
}

package wire

import (
	"net/http"
	"reflect"
)

const (
	contentJSON = "application/json"
	contentXML  = "text/xml"
	contentEC2  = "text/xml;charset=UTF-8"
)

// Encode writes the response of an operation that succeeded. It sets headers
// in h and returns status and body. output is what Call returned; nil, and a
// nil pointer, are an empty output.
func (s *Service) Encode(o *Operation, output any, h http.Header, requestID string) (status int, body []byte) {
	v := structOf(output)
	b := make([]byte, 0, 2048)
	h.Set("X-Amzn-Requestid", requestID)
	switch s.model.Protocol {
	case Query:
		h.Set("Content-Type", contentXML)
		return http.StatusOK, o.appendQuery(b, v, requestID)
	case EC2:
		h.Set("Content-Type", contentEC2)
		return http.StatusOK, o.appendEC2(b, v, requestID)
	case RESTJSON:
		return o.encodeREST(b, v, h)
	}
	h.Set("Content-Type", s.model.jsonType())
	return http.StatusOK, o.appendJSONBody(b, v)
}

// EncodeJSON is Encode for a query operation whose caller asked for JSON, as
// token verifiers do with sts:GetCallerIdentity.
func (s *Service) EncodeJSON(o *Operation, output any, h http.Header, requestID string) (status int, body []byte) {
	h.Set("X-Amzn-Requestid", requestID)
	h.Set("Content-Type", contentJSON)
	b := appendJSONString([]byte{'{'}, o.Name+"Response")
	b = append(b, ":{"...)
	if o.info.wrapper != "" {
		b = append(appendJSONString(b, o.info.wrapper), ':')
		b = append(o.appendJSONBody(b, structOf(output)), ',')
	}
	b = appendJSONString(append(b, `"ResponseMetadata":{"RequestId":`...), requestID)
	return http.StatusOK, append(b, "}}}"...)
}

// structOf returns the structure that x points to, invalid if there is none.
func structOf(x any) reflect.Value {
	v := reflect.ValueOf(x)
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return reflect.Value{}
	}
	return v
}

func (m *Model) jsonType() string {
	if m.Protocol == JSON10 {
		return "application/x-amz-json-1.0"
	}
	return "application/x-amz-json-1.1"
}

// writable tells whether v is the operation's own output. Any other value is
// a bug of the caller and encodes as an empty output.
func (o *Operation) writable(v reflect.Value) bool {
	return v.IsValid() && v.Type() == o.outType
}

func (o *Operation) appendJSONBody(b []byte, v reflect.Value) []byte {
	b = append(b, '{')
	if o.writable(v) {
		b = o.out.appendJSONMembers(b, v, 0)
	}
	return append(b, '}')
}

func (o *Operation) appendQuery(b []byte, v reflect.Value, requestID string) []byte {
	root := o.Name + "Response"
	b = append(append(append(b, '<'), root...), ` xmlns="`...)
	b = append(append(b, o.service.model.XMLNamespace...), `">`...)
	if w := o.info.wrapper; w != "" {
		b = appendOpen(b, w)
		if o.writable(v) {
			b = o.out.appendXMLMembers(b, v, 0)
		}
		b = appendClose(b, w)
	}
	b = appendXMLText(append(b, "<ResponseMetadata><RequestId>"...), requestID)
	return appendClose(append(b, "</RequestId></ResponseMetadata>"...), root)
}

func (o *Operation) appendEC2(b []byte, v reflect.Value, requestID string) []byte {
	root := o.Name + "Response"
	b = append(b, `<?xml version="1.0" encoding="UTF-8"?>`+"\n<"...)
	b = append(append(b, root...), ` xmlns="`...)
	b = append(append(b, o.service.model.XMLNamespace...), `"><requestId>`...)
	b = append(appendXMLText(b, requestID), "</requestId>"...)
	switch {
	case o.info.out == "": // EC2 says that it did what has no result
		b = append(b, "<return>true</return>"...)
	case o.writable(v):
		b = o.out.appendXMLMembers(b, v, 0)
	}
	return appendClose(b, root)
}

// encodeREST puts an output's members into status, headers and body.
func (o *Operation) encodeREST(b []byte, v reflect.Value, h http.Header) (int, []byte) {
	h.Set("Content-Type", contentJSON)
	status := o.info.status
	if !o.writable(v) {
		return status, append(b, "{}"...)
	}
	var payload *field
	for i := range o.out.fields {
		f := &o.out.fields[i]
		if f.binding == inBody {
			continue
		}
		fv, ok := present(v.Field(f.index))
		switch {
		case f.binding == inPayload:
			payload = f
		case !ok:
		case f.binding == inStatus && f.kind == kindInt:
			status = int(fv.Int())
		case f.binding == inHeader:
			h.Set(f.wire, string(f.headerText(fv)))
		case f.binding == inPrefixHeaders && f.kind == kindMap:
			for _, k := range fv.MapKeys() {
				h.Set(f.wire+k.String(), string(f.elem.headerText(fv.MapIndex(k))))
			}
		}
	}
	if payload == nil {
		return status, o.appendJSONBody(b, v)
	}
	fv, ok := present(v.Field(payload.index))
	switch {
	case !ok:
		return status, b
	case payload.kind == kindBlob:
		h.Set("Content-Type", "application/octet-stream")
		return status, append(b, fv.Bytes()...)
	case payload.kind == kindString:
		h.Set("Content-Type", "text/plain")
		return status, append(b, fv.String()...)
	}
	return status, payload.appendJSON(b, fv, 0)
}

// headerText writes a header's value; lists are comma separated.
func (p *plan) headerText(v reflect.Value) []byte {
	v, ok := present(v)
	if !ok {
		return nil
	}
	if p.kind != kindList {
		return p.appendText(nil, v)
	}
	var b []byte
	for i := range v.Len() {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, p.elem.headerText(v.Index(i))...)
	}
	return b
}

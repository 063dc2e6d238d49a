package wire

import (
	"errors"
	"net/http"
	"reflect"
	"strings"

	"github.com/aws/smithy-go"
)

// decodeCodes are the codes with which AWS answers requests it can't read.
var decodeCodes = map[Protocol]string{RESTJSON: "SerializationException", JSON10: "SerializationException",
	JSON11: "SerializationException", Query: "MalformedInput", EC2: "InvalidParameterValue"}

// failure is an error as it goes over the wire.
type failure struct {
	code, message string
	status        int
	queryCode     string        // of services that once spoke the query protocol
	plan          *plan         // of the modelled error's members; may be nil
	value         reflect.Value // the modelled error
}

// errorPlan is what the table says about one Go error type.
type errorPlan struct {
	*plan
	info errorInfo
}

// EncodeError writes an error response; o may be nil if the request did not
// get as far as an operation. Modelled errors of the service carry their
// members and HTTP status; any other error that is no smithy.APIError is an
// internal failure. An error with a method HTTPStatusCode() int decides its
// status itself.
func (s *Service) EncodeError(o *Operation, err error, h http.Header, requestID string) (status int, body []byte) {
	f := s.failure(err)
	h.Set("X-Amzn-Requestid", requestID)
	b := make([]byte, 0, 512)
	switch s.model.Protocol {
	case Query:
		h.Set("Content-Type", contentXML)
		return f.status, f.appendQuery(b, s.model.XMLNamespace, requestID)
	case EC2:
		h.Set("Content-Type", contentEC2)
		return f.status, f.appendEC2(b, requestID)
	case RESTJSON:
		h.Set("Content-Type", contentJSON)
		h.Set("X-Amzn-Errortype", f.code)
		return f.status, append(f.appendJSON(append(b, '{')), '}')
	}
	h.Set("Content-Type", s.model.jsonType())
	if s.model.queryCompatible {
		h.Set("X-Amzn-Query-Error", f.queryCode+";"+f.fault())
	}
	b = append(appendJSONString(append(b, `{"__type":`...), f.code), ',')
	return f.status, append(f.appendJSON(b), '}')
}

// EncodeErrorJSON is EncodeError for a query operation whose caller asked for
// JSON.
func (s *Service) EncodeErrorJSON(err error, h http.Header, requestID string) (status int, body []byte) {
	f := s.failure(err)
	h.Set("X-Amzn-Requestid", requestID)
	h.Set("Content-Type", contentJSON)
	b := appendJSONString([]byte(`{"Error":{"Code":`), f.code)
	b = appendJSONString(append(b, `,"Message":`...), f.message)
	b = appendJSONString(append(b, `,"Type":`...), f.fault())
	b = appendJSONString(append(b, `},"RequestId":`...), requestID)
	return f.status, append(b, '}')
}

// Explain returns what EncodeError would tell the client: HTTP status, code and
// message.
func (s *Service) Explain(err error) (status int, code, message string) {
	f := s.failure(err)
	return f.status, f.code, f.message
}

func (s *Service) failure(err error) failure {
	if v := reflect.ValueOf(err); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		err = errors.New("unknown error")
	}
	f := failure{code: "InternalFailure", message: err.Error(), status: http.StatusInternalServerError}
	var bad *DecodeError
	var api smithy.APIError
	switch {
	case errors.As(err, &bad):
		f.code, f.message, f.status = decodeCodes[s.model.Protocol], bad.Error(), http.StatusBadRequest
	case errors.As(err, &api):
		f.code, f.message, f.status = api.ErrorCode(), api.ErrorMessage(), http.StatusBadRequest
		if api.ErrorFault() == smithy.FaultServer {
			f.status = http.StatusInternalServerError
		}
		s.modelled(&f, api)
	}
	var st interface{ HTTPStatusCode() int }
	if errors.As(err, &st) {
		f.status = st.HTTPStatusCode()
	}
	if f.status < 200 || f.status > 599 {
		f.status = http.StatusInternalServerError
	}
	if f.queryCode == "" {
		f.queryCode = f.code
	}
	return f
}

// modelled adds what the table knows about the error's type.
func (s *Service) modelled(f *failure, api smithy.APIError) {
	v := structOf(api)
	if !v.IsValid() {
		return
	}
	cached, ok := s.errors.Load(v.Type())
	if !ok {
		info := s.model.errors[v.Type().Name()]
		p := &errorPlan{info: info}
		if info.shape != "" {
			// Another service's type of that name has other members: it goes
			// over the wire as a plain error then.
			if x, err := s.model.compile(response, info.shape, v.Type()); err == nil {
				p.plan = x
			}
		}
		cached, _ = s.errors.LoadOrStore(v.Type(), p)
	}
	p := cached.(*errorPlan)
	if p.plan == nil {
		return
	}
	f.plan, f.value = p.plan, v
	// Services of the JSON protocols answer 400 whatever their model says: KMS's
	// NotFoundException and DisabledException, modelled with 404 and 409, for two.
	if p.info.status != 0 && s.model.Protocol != JSON10 && s.model.Protocol != JSON11 {
		f.status = p.info.status
	}
	if s.model.queryCompatible {
		f.queryCode = p.info.code
	}
}

// fault is the query protocol's word for who is to blame.
func (f failure) fault() string {
	if f.status >= 500 {
		return "Receiver"
	}
	return "Sender"
}

// appendJSON writes an error's members, absent ones as null: that is what EKS
// does. The message is under the name that the service's model gives it;
// "message" is what errors without a model use.
func (f failure) appendJSON(b []byte) []byte {
	named := false
	for _, m := range f.members() {
		b = append(appendJSONString(b, m.wire), ':')
		v, ok := present(f.value.Field(m.index))
		switch {
		case m.isMessage():
			named = true
			b = appendJSONString(b, f.message)
		case ok:
			b = m.appendJSON(b, v, 0)
		default:
			b = append(b, "null"...)
		}
		b = append(b, ',')
	}
	if !named {
		return appendJSONString(append(b, `"message":`...), f.message)
	}
	return b[:len(b)-1] // the last comma
}

func (f failure) members() []field {
	if f.plan == nil {
		return nil
	}
	return f.plan.fields
}

func (f *field) isMessage() bool { return strings.EqualFold(f.wire, "message") && f.kind == kindString }

func (f failure) appendQuery(b []byte, namespace, requestID string) []byte {
	b = append(append(append(b, `<ErrorResponse xmlns="`...), namespace...), `"><Error><Type>`...)
	b = append(append(b, f.fault()...), "</Type><Code>"...)
	b = append(appendXMLText(b, f.code), "</Code><Message>"...)
	b = append(appendXMLText(b, f.message), "</Message>"...)
	for _, m := range f.members() {
		if v, ok := present(f.value.Field(m.index)); ok && !m.isMessage() {
			b = m.appendXML(b, m.wire, m.flat, v, 0)
		}
	}
	b = appendXMLText(append(b, "</Error><RequestId>"...), requestID)
	return append(b, "</RequestId></ErrorResponse>"...)
}

func (f failure) appendEC2(b []byte, requestID string) []byte {
	b = append(b, `<?xml version="1.0" encoding="UTF-8"?>`+"\n<Response><Errors><Error><Code>"...)
	b = append(appendXMLText(b, f.code), "</Code><Message>"...)
	b = append(appendXMLText(b, f.message), "</Message></Error></Errors><RequestID>"...)
	return append(appendXMLText(b, requestID), "</RequestID></Response>"...)
}

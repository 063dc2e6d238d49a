package gateway

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/ekslocal/ekslocal/emulator/wire"
)

// encode writes the response.
func (g *Gateway) encode(x *exchange) {
	h := x.w.Header()
	h["X-Amzn-Requestid"] = []string{x.requestID}
	h["X-Amz-Request-Id"] = []string{x.requestID}
	body := g.encodeBody(x, h)
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	x.sent = len(body)
	x.settle()
	x.w.WriteHeader(x.status)
	if x.r.Method != http.MethodHead {
		_, _ = x.w.Write(body) // the client may be gone; the work is done either way
	}
}

func (g *Gateway) encodeBody(x *exchange, h http.Header) (body []byte) {
	defer func() {
		if p := recover(); p != nil {
			g.log.Error("encoding panicked", "service", x.serviceID(), "operation", x.operation(),
				"request_id", x.requestID, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			x.err = internalFailure()
			x.status, body = g.errorService(x).EncodeError(nil, x.err, h, x.requestID)
		}
	}()
	// The Query protocol speaks JSON to those who ask, as the verifiers of EKS
	// tokens do.
	asJSON := x.service != nil && x.service.Model().Protocol == wire.Query && strings.HasPrefix(x.r.Header.Get("Accept"), "application/json")
	switch {
	case x.err == nil && asJSON:
		x.status, body = x.service.EncodeJSON(x.op, x.output, h, x.requestID)
	case x.err == nil:
		x.status, body = x.service.Encode(x.op, x.output, h, x.requestID)
	case asJSON:
		x.status, body = x.service.EncodeErrorJSON(x.err, h, x.requestID)
	case x.service == nil && scopeService(x) == "s3":
		x.status, body = encodeS3Error(x, h)
	default:
		x.status, body = g.errorService(x).EncodeError(x.op, x.err, h, x.requestID)
	}
	return body
}

// errorService is the service whose protocol x's errors are to be in; where the
// request got to none, one that speaks what the client seems to.
func (g *Gateway) errorService(x *exchange) *wire.Service {
	if x.service != nil {
		return x.service
	}
	want := []wire.Protocol{wire.RESTJSON}
	switch {
	case x.r.Header.Get("X-Amz-Target") != "":
		want = []wire.Protocol{wire.JSON11, wire.JSON10, wire.RESTJSON}
	case x.form != nil, strings.HasPrefix(x.r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
		want = []wire.Protocol{wire.Query, wire.EC2}
	}
	for _, p := range want {
		for _, s := range g.cfg.Services {
			if s.Model().Protocol == p {
				return s
			}
		}
	}
	return g.cfg.Services[0]
}

// encodeS3Error: AWS_ENDPOINT_URL sends Terraform's S3 backend here too. It
// deserves an answer that its client can read.
func encodeS3Error(x *exchange, h http.Header) (int, []byte) {
	out := struct {
		XMLName   xml.Name `xml:"Error"`
		Code      string
		Message   string
		RequestID string `xml:"RequestId"`
	}{Code: errorCode(x.err), Message: errorMessage(x.err), RequestID: x.requestID}
	b, err := xml.Marshal(out)
	if err != nil {
		return http.StatusInternalServerError, nil
	}
	h.Set("Content-Type", "application/xml")
	status := http.StatusNotImplemented
	var e interface{ HTTPStatusCode() int }
	if errors.As(x.err, &e) {
		status = e.HTTPStatusCode()
	}
	return status, append([]byte(xml.Header), b...)
}

package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/sigv4"
	"github.com/ekslocal/ekslocal/emulator/wire"
)

// unsigned are the operations whose caller proves itself by a parameter. A
// signature that comes along is verified all the same.
var unsigned = map[string]bool{
	"sts:AssumeRoleWithWebIdentity": true,
	"sts:AssumeRoleWithSAML":        true,
}

// authenticate finds out who calls, and puts it into the context.
func (g *Gateway) authenticate(x *exchange) error {
	caller, err := g.identify(x)
	if err != nil {
		return err
	}
	caller.RequestID, caller.UserAgent = x.requestID, x.r.UserAgent()
	caller.SourceIP, caller.Endpoint = sourceIP(x.r), endpoint(x.r)
	x.caller = caller
	x.ctx = awsid.WithCaller(x.ctx, caller)
	return nil
}

func (g *Gateway) identify(x *exchange) (awsid.Caller, error) {
	if x.auth == nil {
		id := strings.ReplaceAll(x.serviceID(), "-", "") + ":" + x.operation()
		var e *sigv4.Error
		if unsigned[id] && errors.As(x.authErr, &e) && e.Code == sigv4.CodeMissing {
			// Nobody: no ARN. Such an operation finds its account in its input.
			return awsid.Caller{Scope: awsid.Scope{Account: awsid.DefaultAccount, Region: g.hostRegion(x.r.Host)}}, nil
		}
		return awsid.Caller{}, g.refuse(x, x.authErr)
	}
	if want := x.service.Model().SigningName; x.auth.Service != want {
		return awsid.Caller{}, g.refuse(x, &sigv4.Error{Code: sigv4.CodeMismatch, Message: "Credential should be scoped to correct service: '" + want + "'."})
	}
	key, err := g.verifier.Verify(x.ctx, x.auth, x.r, x.body)
	if err != nil {
		root, ok := g.takeUnknown(x)
		if !ok {
			g.explain(x, err)
			return awsid.Caller{}, g.refuse(x, err)
		}
		key.Caller = root
	}
	caller := key.Caller
	// IAM and STS are global, yet the region they were signed for is the caller's,
	// and tells which partition's they are.
	caller.Region, caller.AccessKeyID = x.auth.Region, x.auth.AccessKeyID
	return caller, nil
}

// takeUnknown is the lax mode: a key that nobody knows, from this machine.
func (g *Gateway) takeUnknown(x *exchange) (awsid.Caller, bool) {
	if !g.cfg.Lax || x.ctx.Value(elsewhere{}) != nil {
		return awsid.Caller{}, false
	}
	if a, err := netip.ParseAddr(sourceIP(x.r)); err != nil || !a.IsLoopback() {
		return awsid.Caller{}, false
	}
	if _, known := g.cfg.Keys.Key(x.ctx, awsid.PartitionOf(x.auth.Region), x.auth.AccessKeyID); known {
		return awsid.Caller{}, false
	}
	return sigv4.Root(awsid.PartitionOf(x.auth.Region), awsid.DefaultAccount, x.auth.AccessKeyID), true
}

// explain logs what was compared with a wrong signature. It stays out of the
// response: real clients do not expect it there.
func (g *Gateway) explain(x *exchange, err error) {
	var e *sigv4.Error
	if errors.As(err, &e) && e.Canonical != "" && x.auth.SessionToken == "" {
		g.log.DebugContext(x.ctx, "signature does not match", "request_id", x.requestID, "canonical_request", e.Canonical)
	}
}

// jsonAuthCodes are the JSON protocols' words for sigv4's errors.
var jsonAuthCodes = map[string]string{
	sigv4.CodeMissing:    "MissingAuthenticationTokenException",
	sigv4.CodeIncomplete: "IncompleteSignatureException",
	sigv4.CodeUnknownKey: "UnrecognizedClientException",
	sigv4.CodeMismatch:   "InvalidSignatureException",
	sigv4.CodeExpired:    "ExpiredTokenException",
}

const (
	hintKey = " (ekslocal: use the access key id test with the secret test, or a 12-digit account id with the secret test, " +
		"or a key made through IAM or STS; `ekslocal start --auth lax` takes any key from this machine.)"
	hintSecret = " (ekslocal: the secret access key of %s is test.)"
)

// refuse words an authentication error as the service's protocol has it.
func (g *Gateway) refuse(x *exchange, err error) error {
	var e *sigv4.Error
	if !errors.As(err, &e) {
		return err
	}
	out := &apiError{e.Code, e.Message, e.HTTPStatusCode()}
	switch g.errorService(x).Model().Protocol {
	case wire.EC2:
		// EC2 does not say what is wrong with a key.
		switch e.Code {
		case sigv4.CodeUnknownKey, sigv4.CodeMismatch:
			out.code, out.status = "AuthFailure", http.StatusUnauthorized
			out.message = "AWS was not able to validate the provided access credentials"
			if e.Canonical == "" && e.Code == sigv4.CodeMismatch {
				out.message += ": " + e.Message // clock and scope: worth knowing
			}
		case sigv4.CodeExpired:
			out.code, out.message, out.status = "RequestExpired", "Request has expired.", http.StatusBadRequest
		}
	case wire.RESTJSON:
		out.code = jsonAuthCodes[e.Code]
	case wire.JSON10, wire.JSON11:
		out.code, out.status = jsonAuthCodes[e.Code], http.StatusBadRequest
	}
	switch {
	case x.caller.ARN != "":
		// The key is known: its user or role is gone.
	case e.Code == sigv4.CodeUnknownKey:
		out.message += hintKey
	case e.Canonical != "" && x.auth != nil:
		if _, builtin := (sigv4.Builtin{}).Key(x.ctx, awsid.PartitionOf(x.auth.Region), x.auth.AccessKeyID); builtin {
			out.message += fmt.Sprintf(hintSecret, x.auth.AccessKeyID)
		}
	}
	return out
}

// endpoint is the address that the client used.
func endpoint(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

func sourceIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// hostRegion reads the region off a host such as sts.eu-west-1.amazonaws.com.
func (g *Gateway) hostRegion(host string) string {
	if p := strings.Split(host, "."); len(p) >= 4 && strings.HasPrefix(p[2], "amazonaws") {
		return p[1]
	}
	return g.cfg.DefaultRegion
}

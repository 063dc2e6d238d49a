package gateway

import (
	"context"
	"errors"
	"net/http"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/wire"
)

// Call is an operation about to be run.
type Call struct {
	Service   string // wire.Model.ID
	Protocol  wire.Protocol
	Operation string
	Caller    awsid.Caller
	Input     any // *<SDK package>.<Operation>Input
}

// Authorizer decides whether callers may do what they ask for.
type Authorizer interface {
	// Authorize returns nil, or the service's AccessDenied error. A *sigv4.Error is
	// worded as one of authentication is: whose credentials these are is gone.
	Authorize(ctx context.Context, c Call) error
}

// ForeignAuthorizer is an Authorizer that can judge requests for services that are not
// here, before they go to the upstream.
type ForeignAuthorizer interface {
	// AuthorizeForeign judges a request by its head: its body is not read.
	AuthorizeForeign(ctx context.Context, caller awsid.Caller, service string, r *http.Request) error
}

// Faults makes operations slow or fail on purpose.
type Faults interface {
	// Inject may wait, and returns the error to answer with, or nil. ErrDropped as
	// the error closes the connection without an answer.
	Inject(ctx context.Context, c Call) error
}

// Caller calls operations in the gateway's stead; it may wait, and call again.
type Caller interface {
	Call(ctx context.Context, c Call, call func() (any, error)) (any, error)
}

// ErrDropped is the fault of a connection that breaks.
var ErrDropped = errors.New("connection dropped")

func (x *exchange) asCall() Call {
	return Call{Service: x.serviceID(), Protocol: x.service.Model().Protocol, Operation: x.op.Name, Caller: x.caller, Input: x.input}
}

func (g *Gateway) decode(x *exchange) (err error) {
	x.ctx = wire.WithBody(x.ctx, x.body)
	x.input, err = x.service.Decode(x.op, &wire.Request{HTTP: x.r, Body: x.body, Form: x.form, Labels: x.labels})
	return err // wire gives a DecodeError the code of the protocol
}

func (g *Gateway) authorize(x *exchange) error {
	if g.cfg.Authorizer == nil {
		return nil
	}
	err := g.cfg.Authorizer.Authorize(x.ctx, x.asCall())
	if err == nil {
		return nil
	}
	return g.refuse(x, err)
}

func (g *Gateway) injectFault(x *exchange) error {
	if g.cfg.Faults == nil {
		return nil
	}
	err := g.cfg.Faults.Inject(x.ctx, x.asCall())
	if errors.Is(err, ErrDropped) {
		x.err = err
		panic(http.ErrAbortHandler)
	}
	return err
}

func (g *Gateway) call(x *exchange) (err error) {
	call := func() (any, error) { return x.service.Call(x.ctx, x.op, x.input) }
	if g.cfg.Caller != nil {
		x.output, err = g.cfg.Caller.Call(x.ctx, x.asCall(), call)
		return err
	}
	x.output, err = call()
	return err
}

package wire

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/aws/smithy-go"
)

// Service is one AWS API: its model bound to the methods that implement it.
// It is safe for concurrent use.
type Service struct {
	model  *Model
	ops    []*Operation // sorted by name
	byName map[string]*Operation
	routes routes
	errors sync.Map // reflect.Type of a modelled error -> *errorPlan
}

// Operation is one operation of a service, implemented or not.
type Operation struct {
	Name string

	info    *opInfo
	service *Service
	fn      reflect.Value // zero: not implemented
	in, out *plan

	inType, outType reflect.Type // the structs behind the method's pointers
}

// Implemented tells whether Bind found a method for the operation.
func (o *Operation) Implemented() bool { return o.fn.IsValid() }

// NewInput returns an empty input of an implemented operation, as Call takes it.
func (o *Operation) NewInput() any { return reflect.New(o.inType).Interface() }

var (
	contextType = reflect.TypeFor[context.Context]()
	errorType   = reflect.TypeFor[error]()
)

// Bind finds m's operations among impl's methods, which must have the SDK
// client's own signature. A method with an operation's name and another
// signature, or SDK types that the table does not fit, are errors: they would
// otherwise show as requests that fail. A nil impl implements nothing.
func Bind(m *Model, impl any) (*Service, error) {
	s := &Service{model: m, byName: make(map[string]*Operation, len(m.ops))}
	v := reflect.ValueOf(impl)
	for i := range m.ops {
		o := &Operation{Name: m.ops[i].name, info: &m.ops[i], service: s}
		if v.IsValid() {
			if err := o.bind(v.MethodByName(o.Name)); err != nil {
				return nil, fmt.Errorf("bind %s to %T.%s: %w", m.ID, impl, o.Name, err)
			}
		}
		s.ops = append(s.ops, o)
		s.byName[o.Name] = o
	}
	if m.Protocol == RESTJSON {
		s.routes = newRoutes(s.ops)
	}
	return s, nil
}

func (o *Operation) bind(fn reflect.Value) error {
	if !fn.IsValid() {
		return nil
	}
	t := fn.Type()
	if t.NumIn() != 3 || !t.IsVariadic() || t.NumOut() != 2 || t.In(0) != contextType || t.Out(1) != errorType ||
		!pointsTo(t.In(1), o.Name+"Input") || !pointsTo(t.Out(0), o.Name+"Output") {
		return fmt.Errorf("%v is not the SDK client's signature func(context.Context, *%[2]sInput, ...func(*Options)) (*%[2]sOutput, error)", t, o.Name)
	}
	var err error
	if o.in, err = o.service.model.compile(request, o.info.in, t.In(1)); err != nil {
		return err
	}
	if o.out, err = o.service.model.compile(response, o.info.out, t.Out(0)); err != nil {
		return err
	}
	o.fn, o.inType, o.outType = fn, t.In(1).Elem(), t.Out(0).Elem()
	return nil
}

func pointsTo(t reflect.Type, name string) bool {
	return t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct && t.Elem().Name() == name
}

// Model returns the service's wire model.
func (s *Service) Model() *Model { return s.model }

// Operations lists the service's operations, sorted by name.
func (s *Service) Operations() []*Operation { return slices.Clone(s.ops) }

// Operation returns the named operation, or nil if the service has no such.
func (s *Service) Operation(name string) *Operation { return s.byName[name] }

// Call runs the operation. input is what Decode returned.
func (s *Service) Call(ctx context.Context, o *Operation, input any) (any, error) {
	if !o.Implemented() {
		return nil, s.NotImplemented(o)
	}
	r := o.fn.Call([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(input)})
	err, _ := r[1].Interface().(error)
	if err != nil {
		return nil, err
	}
	return r[0].Interface(), nil
}

// unknownCodes are the codes with which AWS answers operations that a service
// does not have.
var unknownCodes = map[Protocol]string{RESTJSON: "UnknownOperationException", JSON10: "UnknownOperationException",
	JSON11: "UnknownOperationException", Query: "InvalidAction", EC2: "InvalidAction"}

// UnknownOperation is AWS's error for an operation that the service lacks.
func (s *Service) UnknownOperation(name string) error {
	e := &smithy.GenericAPIError{Code: unknownCodes[s.model.Protocol], Fault: smithy.FaultClient}
	switch s.model.Protocol {
	case Query:
		e.Message = fmt.Sprintf("Could not find operation %s for version %s", name, s.model.APIVersion)
	case EC2:
		e.Message = fmt.Sprintf("The action %s is not valid for this web service.", name)
	default:
		e.Message = strings.TrimSpace("Unknown operation " + name)
	}
	return e
}

// NotImplemented is the error for an operation that AWS has and ekslocal does
// not: the code of an unknown operation with a message that tells them apart.
func (s *Service) NotImplemented(o *Operation) error {
	return notImplemented{&smithy.GenericAPIError{
		Code:    unknownCodes[s.model.Protocol],
		Message: fmt.Sprintf("ekslocal does not implement %s:%s", s.model.ID, o.Name),
		Fault:   smithy.FaultServer,
	}}
}

// notImplemented answers 501, which no SDK retries.
type notImplemented struct{ *smithy.GenericAPIError }

func (notImplemented) HTTPStatusCode() int { return 501 }

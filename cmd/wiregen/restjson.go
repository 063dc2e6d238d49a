package main

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
)

// restJSONPrefix begins the names of generated functions of REST JSON services.
const restJSONPrefix = "awsRestjson1_"

// readRESTJSON reads a REST JSON service of the time before modules carried schemas:
// its (de)serializers name every wire fact in a fixed form. It knows structures,
// labels and scalars, and says so of anything else.
func readRESTJSON(m *module, t *table) error {
	t.Protocol = "rest-json"
	r := &restJSONReader{t: t, ops: map[string]*operation{}}
	for _, file := range []string{"serializers.go", "deserializers.go"} {
		f, err := m.parse(file)
		if err != nil {
			return err
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				if err := r.function(fn); err != nil {
					return fmt.Errorf("%s: %w", fn.Name.Name, err)
				}
			}
		}
	}
	for _, o := range r.ops {
		t.ops = append(t.ops, *o)
	}
	if len(t.ops) == 0 {
		return fmt.Errorf("no REST JSON operations in %s", m.Path)
	}
	return nil
}

// isRESTJSON tells the services that readRESTJSON reads from query services.
func isRESTJSON(m *module) (bool, error) {
	f, err := m.parse("serializers.go")
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(f.Decls, func(d ast.Decl) bool {
		fn, ok := d.(*ast.FuncDecl)
		return ok && strings.HasPrefix(fn.Name.Name, restJSONPrefix)
	}), nil
}

type restJSONReader struct {
	t   *table
	ops map[string]*operation
}

func (r *restJSONReader) function(f *ast.FuncDecl) error {
	if name, ok := restJSONOperation(f); ok {
		o := r.ops[name]
		if o == nil {
			o = &operation{Name: name, Status: 200}
			r.ops[name] = o
		}
		switch f.Name.Name {
		case "HandleSerialize":
			o.URI, o.Method, o.Input = argument(f.Body, "SplitURI", 0), assigned(f.Body, "Method"), name+"Input"
			if strings.ContainsAny(o.URI, "?+") || o.URI == "" || o.Method == "" {
				return fmt.Errorf("emulator/wire does not route %s %q", o.Method, o.URI)
			}
		case "HandleDeserialize":
			o.Output = name + "Output"
		}
		return nil
	}
	name, ok := strings.CutPrefix(f.Name.Name, restJSONPrefix)
	if !ok || f.Recv != nil {
		return nil
	}
	for _, kind := range []struct {
		prefix string
		read   func(*ast.FuncDecl, string) error
	}{
		{"serializeOpHttpBindings", r.bindings}, {"serializeOpDocument", r.input}, {"serializeDocument", r.input},
		{"deserializeOpError", r.errors}, {"deserializeOpDocument", r.output}, {"deserializeDocument", r.output},
	} {
		if subject, ok := strings.CutPrefix(name, kind.prefix); ok {
			return kind.read(f, subject)
		}
	}
	return nil
}

// restJSONOperation is the operation whose middleware f is a method of.
func restJSONOperation(f *ast.FuncDecl) (string, bool) {
	if f.Recv == nil {
		return "", false
	}
	s, ok := f.Recv.List[0].Type.(*ast.StarExpr)
	if !ok {
		return "", false
	}
	id, ok := s.X.(*ast.Ident)
	if !ok {
		return "", false
	}
	for _, p := range []string{"serializeOp", "deserializeOp"} {
		if name, ok := strings.CutPrefix(id.Name, restJSONPrefix+p); ok {
			return name, true
		}
	}
	return "", false
}

// assigned is the literal that is assigned to a field of this name below n.
func assigned(n ast.Node, field string) string {
	out := ""
	ast.Inspect(n, func(n ast.Node) bool {
		if a, ok := n.(*ast.AssignStmt); ok && len(a.Lhs) == 1 {
			if s, ok := a.Lhs[0].(*ast.SelectorExpr); ok && s.Sel.Name == field {
				out = text(a.Rhs[0])
			}
		}
		return true
	})
	return out
}

func (r *restJSONReader) in(name string) *shape {
	key := "in " + name
	if r.t.shapes[key] == nil {
		r.t.shapes[key] = &shape{Dir: "in", Name: name, Kind: "struct"}
	}
	return r.t.shapes[key]
}

// bindings reads the members that are in the path.
func (r *restJSONReader) bindings(f *ast.FuncDecl, name string) error {
	s := r.in(name)
	for _, st := range f.Body.List {
		for _, c := range calls(st) {
			switch callee(c) {
			case "SetURI":
				s.Members = append(s.Members, member{Go: selected(st, "v"), Wire: text(c.Args[0]), Options: []string{"label"}})
			case "SetQuery", "SetHeader", "AddQuery", "AddHeader", "Headers":
				return fmt.Errorf("members in %s are not read", callee(c))
			}
		}
	}
	return nil
}

// input reads a structure of requests.
func (r *restJSONReader) input(f *ast.FuncDecl, name string) error {
	if _, ok := f.Type.Params.List[0].Type.(*ast.StarExpr); !ok {
		return fmt.Errorf("%T is no structure", f.Type.Params.List[0].Type)
	}
	s := r.in(name)
	for _, st := range f.Body.List {
		m, ok := requestMember(st, selected(st, "v"))
		if !ok {
			continue
		}
		for _, c := range calls(st) {
			if target, ok := strings.CutPrefix(callee(c), restJSONPrefix+"serializeDocument"); ok {
				m.Target = target
			}
		}
		m.Options = nil // JSON's times are numbers anyway
		s.Members = append(s.Members, m)
	}
	return nil
}

// output reads a structure of answers: `case "name":` and what is set there.
func (r *restJSONReader) output(f *ast.FuncDecl, name string) error {
	if p, ok := f.Type.Params.List[0].Type.(*ast.StarExpr); !ok {
		return fmt.Errorf("unexpected parameter %T", f.Type.Params.List[0].Type)
	} else if _, ok := p.X.(*ast.StarExpr); !ok {
		return fmt.Errorf("%s is no structure", name)
	}
	s := &shape{Dir: "out", Name: name, Kind: "struct"}
	for _, c := range cases(f.Body) {
		m := member{Wire: text(c.List[0]), Go: selectedInBody(c, "sv")}
		if m.Wire == "" || m.Go == "" {
			continue // the switch on a type
		}
		for _, st := range c.Body {
			for _, call := range calls(st) {
				if target, ok := strings.CutPrefix(callee(call), restJSONPrefix+"deserializeDocument"); ok {
					m.Target = target
				}
			}
		}
		s.Members = append(s.Members, m)
	}
	return r.t.add(s)
}

// errors reads `case strings.EqualFold("Code", errorCode)`.
func (r *restJSONReader) errors(f *ast.FuncDecl, _ string) error {
	for _, c := range cases(f.Body) {
		code := argument(c.List[0], "EqualFold", 0)
		if code == "" || slices.ContainsFunc(r.t.errors, func(e modelledError) bool { return e.Type == code }) {
			continue
		}
		r.t.errors = append(r.t.errors, modelledError{Type: code, Shape: code, Status: 400})
	}
	return nil
}

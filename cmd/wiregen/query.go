package main

import (
	"fmt"
	"go/ast"
	"regexp"
	"strings"
)

// readQuery reads a query or EC2 service: these modules carry no schemas, but
// their generated (de)serializers name every wire fact in a fixed form.
func readQuery(m *module, t *table) error {
	ser, err := m.parse("serializers.go")
	if err != nil {
		return err
	}
	des, err := m.parse("deserializers.go")
	if err != nil {
		return err
	}
	q := &queryReader{t: t, ops: map[string]*operation{}, deserializers: map[string]*ast.FuncDecl{}}
	for _, d := range ser.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			if err := q.serializer(f); err != nil {
				return fmt.Errorf("%s: %w", f.Name.Name, err)
			}
		}
	}
	for _, d := range des.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			q.deserializers[f.Name.Name] = f
		}
	}
	for _, d := range des.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			if err := q.deserializer(f); err != nil {
				return fmt.Errorf("%s: %w", f.Name.Name, err)
			}
		}
	}
	for _, o := range q.ops {
		t.ops = append(t.ops, *o)
	}
	if t.Protocol == "" || len(t.ops) == 0 {
		return fmt.Errorf("no query operations in %s", m.Path)
	}
	return nil
}

type queryReader struct {
	t             *table
	ops           map[string]*operation
	deserializers map[string]*ast.FuncDecl
	codes         map[string]bool
}

var (
	funcName = regexp.MustCompile(`^aws(Awsquery|Ec2query)_(serialize|deserialize)(OpDocument|OpError|Op|Document|Error)(.+)$`)
	timeName = regexp.MustCompile(`^(Format|Parse)(DateTime|EpochSeconds|HTTPDate)$`)
)

// split takes a generated function's name apart: role is "Document" and so on.
func split(name string) (protocol, role, subject string) {
	p := funcName.FindStringSubmatch(name)
	if p == nil {
		return "", "", ""
	}
	return p[1], p[3], p[4]
}

// receiver is the operation whose (de)serializing middleware f is a method of.
func receiver(f *ast.FuncDecl) (protocol, op string) {
	if f.Recv == nil || len(f.Recv.List) != 1 {
		return "", ""
	}
	if s, ok := f.Recv.List[0].Type.(*ast.StarExpr); ok {
		if id, ok := s.X.(*ast.Ident); ok {
			p, role, op := split(id.Name)
			if role == "Op" {
				return p, op
			}
		}
	}
	return "", ""
}

// serializer reads one function of serializers.go: an operation's middleware
// or a shape's request form.
func (q *queryReader) serializer(f *ast.FuncDecl) error {
	if p, name := receiver(f); f.Name.Name == "HandleSerialize" && name != "" {
		q.t.Protocol = map[string]string{"Awsquery": "query", "Ec2query": "ec2"}[p]
		o := &operation{Name: name}
		for _, c := range calls(f.Body) {
			if _, role, subject := split(callee(c)); role == "OpDocument" {
				o.Input = subject
			}
		}
		q.ops[name] = o
		return nil
	}
	_, role, name := split(f.Name.Name)
	if f.Recv != nil || role != "Document" && role != "OpDocument" {
		return nil
	}
	s := &shape{Dir: "in", Name: name}
	switch t := f.Type.Params.List[0].Type.(type) {
	case *ast.StarExpr:
		s.Kind = "struct"
		for _, st := range f.Body.List {
			if m, ok := requestMember(st, selected(st, "v")); ok {
				s.Members = append(s.Members, m)
			}
		}
	case *ast.ArrayType:
		s.Kind = "list"
		m := valueMember(f.Body)
		m.Wire = argument(f.Body, "Array", 0)
		s.Members = []member{m}
	case *ast.MapType:
		s.Kind = "map"
		k, v := argument(f.Body, "Map", 0), argument(f.Body, "Map", 1)
		m := valueMember(f.Body)
		m.Wire = v
		s.Members = []member{{Wire: k}, m}
	case *ast.SelectorExpr:
		s.Kind = "union"
		ast.Inspect(f.Body, func(n ast.Node) bool {
			if c, ok := n.(*ast.CaseClause); ok && len(c.List) == 1 {
				if m, ok := requestMember(c, variant(c.List[0], t.Sel.Name)); ok {
					s.Members = append(s.Members, m)
				}
			}
			return true
		})
	default:
		return fmt.Errorf("unexpected parameter %T", t)
	}
	return q.t.add(s)
}

// requestMember reads the statement that writes one member: object.Key("name")
// followed by a scalar's method or the target's serializer.
func requestMember(n ast.Node, field string) (member, bool) {
	m := valueMember(n)
	m.Go = field
	if m.Wire = argument(n, "Key", 0); m.Wire == "" {
		if m.Wire = argument(n, "FlatKey", 0); m.Wire != "" {
			m.Options = append(m.Options, "flat")
		}
	}
	// Unexported fields are what the client itself fills in, such as the region
	// in CopySnapshot's presigned URL: handlers could not read them.
	return m, ast.IsExported(m.Go) && m.Wire != ""
}

// valueMember reads how a value is written or read: by another document
// function, or as a time of some format.
func valueMember(n ast.Node) member {
	var m member
	for _, c := range calls(n) {
		name := callee(c)
		if _, role, subject := split(name); role == "Document" {
			m.Target = subject
		}
		if p := timeName.FindStringSubmatch(name); p != nil && p[2] != "DateTime" {
			m.Options = append(m.Options, map[string]string{"EpochSeconds": "epoch", "HTTPDate": "http"}[p[2]])
		}
	}
	return m
}

// argument is the literal i-th argument of the first call of method below n.
func argument(n ast.Node, method string, i int) string {
	for _, c := range calls(n) {
		if callee(c) == method && len(c.Args) > i {
			return text(c.Args[i])
		}
	}
	return ""
}

// variant is the member's name in a union's Go type: <Union>Member<Member>.
func variant(e ast.Expr, union string) string {
	name := ""
	ast.Inspect(e, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			name = s.Sel.Name
		}
		return true
	})
	return strings.TrimPrefix(name, union+"Member")
}

// deserializer reads one function of deserializers.go: an operation's
// middleware, its errors' codes, or a shape's response form.
func (q *queryReader) deserializer(f *ast.FuncDecl) error {
	if _, name := receiver(f); f.Name.Name == "HandleDeserialize" && name != "" {
		return q.opDeserializer(f, name)
	}
	_, role, name := split(f.Name.Name)
	switch role {
	case "OpError":
		return q.errorCodes(f)
	case "Document", "OpDocument":
		if strings.HasSuffix(name, "Unwrapped") && q.deserializers[strings.TrimSuffix(f.Name.Name, "Unwrapped")] != nil {
			return nil // the flat form of the list or map without that suffix
		}
		return q.response(f, name)
	}
	return nil
}

func (q *queryReader) opDeserializer(f *ast.FuncDecl, name string) error {
	o := q.ops[name]
	if o == nil {
		return fmt.Errorf("operation %s has no serializer", name)
	}
	o.Wrapper = argument(f.Body, "GetElement", 0)
	for _, c := range calls(f.Body) {
		if _, role, subject := split(callee(c)); role == "OpDocument" {
			o.Output = subject
		}
	}
	return nil
}

// errorCodes reads `case strings.EqualFold("Code", errorCode): return
// ...deserializeError<Type>(...)`.
func (q *queryReader) errorCodes(f *ast.FuncDecl) error {
	for _, c := range cases(f.Body) {
		code := argument(c.List[0], "EqualFold", 0)
		for _, call := range calls(c) {
			_, role, typ := split(callee(call))
			if role != "Error" || code == "" || q.codes[typ] {
				continue
			}
			if q.codes == nil {
				q.codes = map[string]bool{}
			}
			q.codes[typ] = true
			q.t.errors = append(q.t.errors, modelledError{Type: typ, Shape: typ, Code: code})
		}
	}
	return nil
}

// cases lists the one-expression cases of the switches directly below n,
// in source order.
func cases(n ast.Node) []*ast.CaseClause {
	var cs []*ast.CaseClause
	ast.Inspect(n, func(n ast.Node) bool {
		if c, ok := n.(*ast.CaseClause); ok {
			if len(c.List) == 1 {
				cs = append(cs, c)
			}
			return false
		}
		return true
	})
	return cs
}

// response reads a shape's deserializer.
func (q *queryReader) response(f *ast.FuncDecl, name string) error {
	s := &shape{Dir: "out", Name: name}
	if selected(f.Body, "StartEl") == "Attr" {
		return fmt.Errorf("%s has XML attributes, which emulator/wire does not write", name)
	}
	p, ok := f.Type.Params.List[0].Type.(*ast.StarExpr)
	if !ok {
		return fmt.Errorf("unexpected parameter %T", f.Type.Params.List[0].Type)
	}
	switch t := p.X.(type) {
	case *ast.StarExpr:
		s.Kind = "struct"
		for _, c := range cases(f.Body) {
			if m := q.responseMember(c); m.Wire != "" {
				m.Go = selectedInBody(c, "sv")
				s.Members = append(s.Members, m)
			}
		}
	case *ast.ArrayType:
		s.Kind = "list"
		for _, c := range cases(f.Body) {
			s.Members = append(s.Members, q.responseMember(c))
		}
	case *ast.MapType:
		s.Kind = "map"
		u := q.deserializers[f.Name.Name+"Unwrapped"]
		if u == nil {
			return fmt.Errorf("map %s has no entry deserializer", name)
		}
		for _, c := range cases(u.Body) { // key, then value
			s.Members = append(s.Members, q.responseMember(c))
		}
	case *ast.SelectorExpr:
		s.Kind = "union"
		for _, c := range cases(f.Body) {
			m := q.responseMember(c)
			for _, st := range c.Body {
				ast.Inspect(st, func(n ast.Node) bool {
					if l, ok := n.(*ast.CompositeLit); ok {
						m.Go = variant(l.Type, t.Sel.Name)
					}
					return true
				})
			}
			s.Members = append(s.Members, m)
		}
	default:
		return fmt.Errorf("unexpected parameter %T", t)
	}
	if s.Kind == "list" && len(s.Members) != 1 || s.Kind == "map" && len(s.Members) != 2 {
		return fmt.Errorf("%s %s has %d members", s.Kind, name, len(s.Members))
	}
	return q.t.add(s)
}

// responseMember reads one case: its element name and how its value is read.
func (q *queryReader) responseMember(c *ast.CaseClause) member {
	m := member{}
	for _, st := range c.Body {
		x := valueMember(st)
		m.Options = append(m.Options, x.Options...)
		if x.Target != "" {
			m.Target = x.Target
		}
	}
	m.Wire = argument(c.List[0], "EqualFold", 0)
	if flat := strings.TrimSuffix(m.Target, "Unwrapped"); flat != m.Target {
		for name := range q.deserializers {
			if _, role, subject := split(name); role == "Document" && subject == flat {
				m.Target = flat
				m.Options = append(m.Options, "flat")
				break
			}
		}
	}
	return m
}

func selectedInBody(c *ast.CaseClause, recv string) string {
	for _, st := range c.Body {
		if f := selected(st, recv); f != "" {
			return f
		}
	}
	return ""
}

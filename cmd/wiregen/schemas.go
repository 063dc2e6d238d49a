package main

import (
	"fmt"
	"go/ast"
	"os"
	"strings"
)

// readSchemas reads a service whose module carries a schemas package. The
// package is read as source, not run, so that a service stays one line in the
// list and no SDK client gets linked.
func readSchemas(m *module, t *table) error {
	f, err := m.parse("schemas/schemas.go")
	if err != nil {
		return err
	}
	r := &schemaReader{t: t, schemas: map[string]*schema{}}
	ast.Inspect(f, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.ValueSpec:
			r.define(x)
		case *ast.AssignStmt:
			r.member(x)
		}
		return true
	})
	if err := r.protocol(m); err != nil {
		return err
	}
	if err := r.operations(m); err != nil {
		return err
	}
	return r.shapes()
}

// schema is one smithy.NewSchema(...) of the schemas package.
type schema struct {
	variable, name, kind string
	traits               map[string]map[string]string // trait -> field -> value
	members              []schemaMember
}

type schemaMember struct {
	name, target string
	traits       map[string]map[string]string
}

type schemaReader struct {
	t       *table
	schemas map[string]*schema // by Go variable
	order   []*schema
}

// define reads `var X = smithy.NewSchema(smithy.ShapeID{Name: "X"},
// smithy.ShapeTypeY, n, traits...)`.
func (r *schemaReader) define(v *ast.ValueSpec) {
	if len(v.Values) != 1 {
		return
	}
	c, ok := v.Values[0].(*ast.CallExpr)
	if !ok || callee(c) != "NewSchema" || len(c.Args) < 3 {
		return
	}
	s := &schema{variable: v.Names[0].Name, name: fieldValues(c.Args[0])["Name"], traits: traitsOf(c.Args[3:])}
	if sel, ok := c.Args[1].(*ast.SelectorExpr); ok {
		s.kind = strings.TrimPrefix(sel.Sel.Name, "ShapeType")
	}
	r.schemas[s.variable] = s
	r.order = append(r.order, s)
}

// member reads `X_y = X.AddMember("y", Target, traits...)`.
func (r *schemaReader) member(a *ast.AssignStmt) {
	c, ok := a.Rhs[0].(*ast.CallExpr)
	if !ok || callee(c) != "AddMember" || len(c.Args) < 2 {
		return
	}
	owner, ok := c.Fun.(*ast.SelectorExpr).X.(*ast.Ident)
	if !ok || r.schemas[owner.Name] == nil {
		return
	}
	m := schemaMember{name: text(c.Args[0]), traits: traitsOf(c.Args[2:])}
	if id, ok := c.Args[1].(*ast.Ident); ok {
		m.target = id.Name
	}
	s := r.schemas[owner.Name]
	s.members = append(s.members, m)
}

// traitsOf reads &smithytraits.HTTP{Method: "GET", ...} arguments.
func traitsOf(args []ast.Expr) map[string]map[string]string {
	ts := map[string]map[string]string{}
	for _, a := range args {
		u, ok := a.(*ast.UnaryExpr)
		if !ok {
			continue
		}
		if l, ok := u.X.(*ast.CompositeLit); ok {
			if sel, ok := l.Type.(*ast.SelectorExpr); ok {
				ts[sel.Sel.Name] = fieldValues(l)
			}
		}
	}
	return ts
}

// fieldValues reads a composite literal's literal fields as text.
func fieldValues(e ast.Expr) map[string]string {
	vs := map[string]string{}
	l, ok := e.(*ast.CompositeLit)
	if !ok {
		return vs
	}
	for _, x := range l.Elts {
		if kv, ok := x.(*ast.KeyValueExpr); ok {
			if b, ok := kv.Value.(*ast.BasicLit); ok {
				if vs[kv.Key.(*ast.Ident).Name] = text(b); text(b) == "" {
					vs[kv.Key.(*ast.Ident).Name] = b.Value
				}
			}
		}
	}
	return vs
}

// protocol reads the client's default protocol: restjson1.New(schemas.Service).
func (r *schemaReader) protocol(m *module) error {
	f, err := m.parse("api_client.go")
	if err != nil {
		return err
	}
	for _, c := range calls(f) {
		sel, ok := c.Fun.(*ast.SelectorExpr)
		if !ok || len(c.Args) == 0 {
			continue
		}
		pkg, ok := sel.X.(*ast.Ident)
		if !ok {
			continue
		}
		switch pkg.Name + "." + sel.Sel.Name {
		case "restjson1.New":
			r.t.Protocol = "rest-json"
		case "awsjson.New10":
			r.t.Protocol = "json-1.0"
		case "awsjson.New11":
			r.t.Protocol = "json-1.1"
		default:
			continue
		}
		if r.t.Protocol != "rest-json" {
			s := r.schemas["_"+c.Args[0].(*ast.SelectorExpr).Sel.Name]
			if s == nil {
				return fmt.Errorf("no service schema for %s", c.Args[0].(*ast.SelectorExpr).Sel.Name)
			}
			r.t.TargetPrefix = s.name
			r.t.QueryCompatible = s.traits["AWSQueryCompatible"] != nil
		}
		return nil
	}
	return fmt.Errorf("no known protocol in %s", m.Path)
}

// operations reads smithy.NewOperationSchema(schemas.Op, schemas.In,
// schemas.Out) of the api_op files.
func (r *schemaReader) operations(m *module) error {
	files, err := os.ReadDir(m.Dir)
	if err != nil {
		return fmt.Errorf("list %s: %w", m.Path, err)
	}
	for _, e := range files {
		if !strings.HasPrefix(e.Name(), "api_op_") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := m.parse(e.Name())
		if err != nil {
			return err
		}
		for _, c := range calls(f) {
			if callee(c) != "NewOperationSchema" {
				continue
			}
			op := r.schemas[c.Args[0].(*ast.SelectorExpr).Sel.Name]
			if op == nil {
				return fmt.Errorf("%s: operation without a schema", e.Name())
			}
			o := operation{Name: op.name, Input: r.shapeName(c.Args[1]), Output: r.shapeName(c.Args[2])}
			if h := op.traits["HTTP"]; h != nil && r.t.Protocol == "rest-json" {
				o.Method, o.URI, o.Status = h["Method"], h["URI"], atoi(h["Code"])
				if strings.ContainsAny(o.URI, "?+") {
					return fmt.Errorf("%s: emulator/wire routes neither literal query parameters nor greedy labels: %s", o.Name, o.URI)
				}
			}
			r.t.ops = append(r.t.ops, o)
			break
		}
	}
	return nil
}

func (r *schemaReader) shapeName(e ast.Expr) string {
	if sel, ok := e.(*ast.SelectorExpr); ok {
		if s := r.schemas[sel.Sel.Name]; s != nil {
			return s.name
		}
	}
	return ""
}

// shapes turns the aggregate schemas into the table's shapes and errors.
func (r *schemaReader) shapes() error {
	kinds := map[string]string{"Structure": "struct", "Union": "union", "List": "list", "Set": "list", "Map": "map"}
	for _, s := range r.order {
		kind := kinds[s.kind]
		if kind == "" {
			continue
		}
		x := &shape{Dir: "io", Name: s.name, Kind: kind}
		for _, m := range s.members {
			// Event streams are not in the SDK's structures, and nothing here writes them.
			if target := r.schemas[m.target]; target != nil && target.traits["Streaming"] != nil {
				continue
			}
			x.Members = append(x.Members, r.wireMember(m))
		}
		if err := r.t.add(x); err != nil {
			return err
		}
		if s.traits["Error"] != nil {
			e := modelledError{Type: upperFirst(s.name), Shape: s.name, Status: atoi(s.traits["HTTPError"]["Code"])}
			if r.t.QueryCompatible {
				e.Code = s.traits["AWSQueryError"]["ErrorCode"]
			}
			r.t.errors = append(r.t.errors, e)
		}
	}
	return nil
}

func (r *schemaReader) wireMember(m schemaMember) member {
	x := member{Go: upperFirst(m.name), Wire: m.name}
	target := r.schemas[m.target]
	trait := func(name string) map[string]string {
		if v := m.traits[name]; v != nil {
			return v
		}
		if target != nil {
			return target.traits[name]
		}
		return nil
	}
	if v := trait("JSONName"); v != nil && r.t.Protocol == "rest-json" {
		x.Wire = v["Name"]
	}
	if v := trait("TimestampFormat"); v != nil {
		x.Options = append(x.Options, map[string]string{"epoch-seconds": "epoch", "date-time": "iso", "http-date": "http"}[v["Format"]])
	}
	if target != nil {
		switch target.kind {
		case "Structure", "Union", "List", "Set", "Map":
			x.Target = target.name
		case "Document":
			x.Options = append(x.Options, "document")
		}
	}
	if r.t.Protocol == "rest-json" {
		bind(&x, m)
	}
	return x
}

// bind applies the HTTP binding of a rest-json member.
func bind(x *member, m schemaMember) {
	for trait, option := range map[string]string{"HTTPLabel": "label", "HTTPQuery": "query", "HTTPQueryParams": "queryparams",
		"HTTPHeader": "header", "HTTPPrefixHeaders": "headers", "HTTPPayload": "payload", "HTTPResponseCode": "status"} {
		v, ok := m.traits[trait]
		if !ok {
			continue
		}
		x.Options = append(x.Options, option)
		switch {
		case option == "label" || option == "payload" || option == "status":
			x.Wire = m.name
		case option == "headers":
			x.Wire = v["Prefix"]
		case v["Name"] != "":
			x.Wire = v["Name"]
		}
	}
}

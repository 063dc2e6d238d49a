package main

import (
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// module is one SDK module in the module cache.
type module struct {
	Path, Version, Dir string
}

func openModule(ctx context.Context, path string) (*module, error) {
	b, err := exec.CommandContext(ctx, "go", "list", "-m", "-json", path).Output()
	if err != nil {
		return nil, fmt.Errorf("find module %s: %w", path, err)
	}
	m := &module{}
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("read go list's answer for %s: %w", path, err)
	}
	if m.Dir == "" {
		return nil, fmt.Errorf("module %s is not downloaded", path)
	}
	return m, nil
}

func (m *module) has(name string) bool {
	_, err := os.Stat(filepath.Join(m.Dir, name))
	return err == nil
}

func (m *module) parse(name string) (*ast.File, error) {
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(m.Dir, name), nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", name, err)
	}
	return f, nil
}

// readClient reads what identifies the service: its SDK id, API version and
// signing name.
func readClient(m *module, t *table) error {
	f, err := m.parse("api_client.go")
	if err != nil {
		return err
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.ValueSpec); ok && len(s.Names) == 1 && len(s.Values) == 1 {
			switch s.Names[0].Name {
			case "ServiceID":
				t.ServiceID = text(s.Values[0])
			case "ServiceAPIVersion":
				t.APIVersion = text(s.Values[0])
			}
		}
		return true
	})
	if f, err = m.parse("auth.go"); err != nil {
		return err
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if c, ok := n.(*ast.CallExpr); ok && callee(c) == "SetSigV4SigningName" && text(c.Args[1]) != "" {
			t.SigningName = text(c.Args[1])
		}
		return true
	})
	if t.ServiceID == "" || t.APIVersion == "" || t.SigningName == "" {
		return fmt.Errorf("no service id, API version or signing name in %s", m.Path)
	}
	return nil
}

// union is a Go interface of the SDK with its variants.
type union struct {
	Name     string
	Variants []string
}

// readUnions finds the union interfaces of the module's types package: each
// has one unexported method is<Name> and variants <Name>Member<Member>.
func readUnions(m *module) ([]union, error) {
	f, err := m.parse("types/types.go")
	if err != nil {
		return nil, err
	}
	var names, structs []string
	ast.Inspect(f, func(n ast.Node) bool {
		s, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		switch x := s.Type.(type) {
		case *ast.InterfaceType:
			if l := x.Methods.List; len(l) == 1 && len(l[0].Names) == 1 && l[0].Names[0].Name == "is"+s.Name.Name {
				names = append(names, s.Name.Name)
			}
		case *ast.StructType:
			structs = append(structs, s.Name.Name)
		}
		return true
	})
	var us []union
	for _, n := range names {
		u := union{Name: n}
		for _, s := range structs {
			if strings.HasPrefix(s, n+"Member") {
				u.Variants = append(u.Variants, s)
			}
		}
		us = append(us, u)
	}
	return us, nil
}

// text is the value of a string literal, "" for any other expression.
func text(e ast.Expr) string {
	if b, ok := e.(*ast.BasicLit); ok && b.Kind == token.STRING {
		s, _ := strconv.Unquote(b.Value) // the parser accepted the literal
		return s
	}
	return ""
}

// callee is the name of a called function or method, without its receiver.
func callee(c *ast.CallExpr) string {
	switch f := c.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

// selected is the field of the first selector recv.Field below n.
func selected(n ast.Node, recv string) string {
	field := ""
	ast.Inspect(n, func(n ast.Node) bool {
		if x, ok := n.(*ast.SelectorExpr); ok && field == "" {
			if id, ok := x.X.(*ast.Ident); ok && id.Name == recv {
				field = x.Sel.Name
			}
		}
		return field == ""
	})
	return field
}

// calls lists the calls below n in source order.
func calls(n ast.Node) []*ast.CallExpr {
	var cs []*ast.CallExpr
	ast.Inspect(n, func(n ast.Node) bool {
		if c, ok := n.(*ast.CallExpr); ok {
			cs = append(cs, c)
		}
		return true
	})
	return cs
}

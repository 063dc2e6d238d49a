package emulator_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestNoPartitionInSources: ARNs carry the partition of their region, so no code
// writes arn:aws: itself; awsid.Scope has ARN, RootARN and AWSPolicy. Comments,
// tests and fixtures may.
func TestNoPartitionInSources(t *testing.T) {
	const literal = "arn:aws:"
	seen := 0
	for _, root := range []string{"../emulator", "../cmd", "../api", "../fixtures"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files := token.NewFileSet()
			f, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			seen++
			ast.Inspect(f, func(n ast.Node) bool {
				l, ok := n.(*ast.BasicLit)
				if !ok || l.Kind != token.STRING {
					return true
				}
				if s, err := strconv.Unquote(l.Value); err != nil || strings.Contains(s, literal) {
					t.Errorf("%s: a literal has %s: make it of a scope (emulator/awsid)", files.Position(l.Pos()), literal)
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if seen < 100 {
		t.Errorf("only %d sources were read", seen)
	}
}

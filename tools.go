//go:build tools

// Package tools keeps modules in go.mod that nothing imports but that make
// `go list -m all` work without a replace block: k8s.io/kubernetes requires them
// at v0.0.0, a version that exists nowhere.
package tools

import (
	_ "k8s.io/cli-runtime/pkg/genericclioptions"
	_ "k8s.io/code-generator"
	_ "k8s.io/cri-streaming/pkg/streaming"
	_ "k8s.io/sample-apiserver/pkg/apis/wardle"
)

package userdata

import (
	"fmt"
	"math"

	"github.com/google/cel-go/cel"
)

// Limits are an instance type's, on its default network card.
type Limits struct {
	ENIs, AddressesPerENI int
	VCPUs                 int
}

// standard is what the image computes on its own: each interface keeps its first
// address to itself, two pods are on the host network.
func (l Limits) standard() int { return l.ENIs*(l.AddressesPerENI-1) + 2 }

// PodsOf is how many pods the kubelet takes that boots with this configuration, and
// why an expression was passed over. Source: Amazon EKS AMI, nodeadm,
// internal/kubelet/eni_max_pods.go.
func (c Config) PodsOf(l Limits) (int, error) {
	switch {
	case c.MaxPods > 0:
		return c.MaxPods, nil
	case c.MaxPodsExpression == "":
		return l.standard(), nil
	}
	n, err := evaluate(c.MaxPodsExpression, l)
	if err != nil {
		return l.standard(), err
	}
	return n, nil
}

// cost bounds an expression: users' user data must not hold the emulator up.
const cost = 10000

func evaluate(expression string, l Limits) (int, error) {
	env, err := cel.NewEnv(cel.Variable("default_enis", cel.IntType), cel.Variable("ips_per_eni", cel.IntType), cel.Variable("max_pods", cel.IntType))
	if err != nil {
		return 0, fmt.Errorf("maxPodsExpression: %w", err)
	}
	ast, issues := env.Compile(expression)
	if issues.Err() != nil {
		return 0, fmt.Errorf("maxPodsExpression: %w", issues.Err())
	}
	program, err := env.Program(ast, cel.CostLimit(cost))
	if err != nil {
		return 0, fmt.Errorf("maxPodsExpression: %w", err)
	}
	v, _, err := program.Eval(map[string]any{"default_enis": l.ENIs, "ips_per_eni": l.AddressesPerENI, "max_pods": l.standard()})
	if err != nil {
		return 0, fmt.Errorf("maxPodsExpression: %w", err)
	}
	n, ok := v.ConvertToType(cel.IntType).Value().(int64)
	if !ok || n <= 0 || n > math.MaxInt32 {
		return 0, fmt.Errorf("maxPodsExpression: %v is not a number of pods", v.Value())
	}
	return int(n), nil
}

// CNI is what the number of pods depends on in the VPC CNI's configuration.
type CNI struct {
	PrefixDelegation, CustomNetworking bool
	MaxENI                             int // 0: the instance's limit
}

// addressesPerPrefix is the size of a /28.
const addressesPerPrefix = 16

// Recommended is the number of pods that Amazon EKS recommends for an instance type,
// which is also what it sets for managed node groups without a custom image. nitro
// says that the type can have prefixes. Source: Amazon EKS AMI,
// max-pods-calculator.sh; Amazon EKS user guide, "How maxPods is determined".
func Recommended(l Limits, nitro bool, c CNI) int {
	enis := l.ENIs
	if c.MaxENI > 0 {
		enis = min(enis, c.MaxENI)
	}
	if c.CustomNetworking {
		enis-- // the primary one has no pods
	}
	each := l.AddressesPerENI - 1
	if c.PrefixDelegation && nitro {
		each *= addressesPerPrefix
	}
	return min(max(enis, 0)*each+2, Ceiling(l.VCPUs))
}

// Ceiling is the most pods of a node in a managed node group without a custom image.
func Ceiling(vcpus int) int {
	if vcpus > 30 {
		return 250
	}
	return 110
}

package refusal

import (
	"context"
	"fmt"
	"testing"

	"github.com/ekslocal/ekslocal/emulator/wire"
)

// Run is a service's test of testdata/refusals.yaml. The rows run in their order on
// one service, which refused requests must not change.
func Run(ctx context.Context, t *testing.T, m *wire.Model, impl any, values map[string]string) {
	t.Helper()
	RunTable(ctx, t, m, impl, values, "testdata/refusals.yaml")
}

// RunTable is Run for a service that has several tables.
func RunTable(ctx context.Context, t *testing.T, m *wire.Model, impl any, values map[string]string, path string) {
	t.Helper()
	s, err := wire.Bind(m, impl)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range rows {
		t.Run(fmt.Sprintf("%03d %s %s", i+1, r.Operation, r.Code), func(t *testing.T) {
			if diff := Check(ctx, s, r, values); diff != "" {
				t.Error(diff)
			}
		})
	}
}

package conformance

import (
	"testing"
)

// Every operation of every client binds: the tables and the Go types agree on
// every member of every shape, both ways.
func TestEveryOperationBinds(t *testing.T) {
	for id, s := range services {
		t.Run(id, func(t *testing.T) {
			w := s.bind(t)
			if len(w.Operations()) == 0 {
				t.Fatal("no operations")
			}
			for _, o := range w.Operations() {
				if !o.Implemented() {
					t.Errorf("%s is in the table but not a method of the client", o.Name)
				}
			}
			t.Logf("%d operations", len(w.Operations()))
		})
	}
}

package authn

import (
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ekslocal/ekslocal/fixtures/accesspolicies"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

// crowd is an authenticator for n roles with an entry each, and a token of each.
func crowd(b *testing.B, n int) (*Authenticator, []string) {
	b.Helper()
	w := newWorld()
	var tokens []string
	for i := range n {
		name, id := fmt.Sprintf("role-%d", i), fmt.Sprintf("ASIA%016d", i)
		w.keys[id] = key("arn:aws:sts::"+account+":assumed-role/"+name+"/me", fmt.Sprintf("AROA%016d:me", i), id, "session-token-of-real-length-"+fmt.Sprintf("%0300d", i))
		w.entries["arn:aws:iam::"+account+":role/"+name] = Entry{Type: "STANDARD", Policies: []PolicyAssociation{{PolicyARN: accesspolicies.ARN("aws", "AmazonEKSEditPolicy"), ScopeType: "namespace", Namespaces: []string{"team-*"}}}}
		tokens = append(tokens, w.token(b, id))
	}
	a, err := New(Config{Clusters: w, Entries: w, ConfigMaps: w, Instances: w, Keys: w, Clock: clocktesting.NewFakePassiveClock(w.now), Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		b.Fatal(err)
	}
	return a, tokens
}

// BenchmarkAuthenticate verifies and maps one token, no two in a row of the same
// principal.
func BenchmarkAuthenticate(b *testing.B) {
	a, tokens := crowd(b, 500)
	var next atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, ok, err := a.Authenticate(b.Context(), clusterID, tokens[int(next.Add(1))%len(tokens)]); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
}

// BenchmarkAuthorize asks what an access policy of two hundred resources allows.
func BenchmarkAuthorize(b *testing.B) {
	a, _ := crowd(b, 500)
	b.ReportAllocs()
	at := controlplane.Attributes{Verb: "patch", APIGroup: "networking.k8s.io", Resource: "ingresses", Namespace: "team-a",
		Extra: map[string][]string{extraCanonicalARN: {"arn:aws:iam::" + account + ":role/role-7"}, extraPrincipalID: {"AROA7"}}}
	for b.Loop() {
		if ok, _, err := a.Authorize(b.Context(), clusterID, at); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

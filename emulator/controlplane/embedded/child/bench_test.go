package child_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/conformance"
	"github.com/ekslocal/ekslocal/emulator/controlplane/embedded"
)

// BenchmarkCreate measures from Create to the answer of an authenticated request,
// and what the idle cluster costs afterwards.
func BenchmarkCreate(b *testing.B) {
	for _, kind := range []struct {
		name   string
		change func(*embedded.Config)
		spec   func(testing.TB, *embedded.Backend) controlplane.Spec
	}{
		{"cold", nil, func(t testing.TB, _ *embedded.Backend) controlplane.Spec {
			return conformance.NewSpec(t, "bench", "1.34")
		}},
		{"spare", withSpare, reserve},
	} {
		b.Run(kind.name, func(b *testing.B) {
			back := newBackend(b, startEtcd(b), kind.change)
			var total time.Duration
			for range b.N {
				spec := kind.spec(b, back)
				t0 := time.Now()
				info, err := back.Create(b.Context(), spec)
				if err != nil {
					b.Fatal(err)
				}
				cfg := rest.AnonymousClientConfig(info.Admin)
				cfg.BearerToken = "k8s-aws-v1.ann"
				if _, err := kubernetes.NewForConfigOrDie(cfg).CoreV1().Namespaces().List(b.Context(), metav1.ListOptions{}); err != nil {
					b.Fatal(err)
				}
				total += time.Since(t0)
				if err := back.Delete(b.Context(), spec.ID); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(total.Milliseconds())/float64(b.N), "ms/create")
		})
	}
}

// BenchmarkIdle measures a cluster that nobody uses.
func BenchmarkIdle(b *testing.B) {
	const settle, watch = 15 * time.Second, 30 * time.Second
	back := newBackend(b, startEtcd(b), nil)
	spec := conformance.NewSpec(b, "idle", "1.34")
	info, err := back.Create(b.Context(), spec)
	if err != nil {
		b.Fatal(err)
	}
	time.Sleep(settle)
	before := cpuTicks(b, info.PID)
	time.Sleep(watch)
	ticks := cpuTicks(b, info.PID) - before
	if info, err = back.Get(b.Context(), spec.ID); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.RSS>>20), "MiB-RSS")
	b.ReportMetric(float64(ticks)/watch.Seconds(), "%CPU") // a tick is 10 ms
	b.ReportMetric(pss(b, info.PID), "MiB-PSS")
}

func cpuTicks(b *testing.B, pid int) int {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Skip(err)
	}
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var user, system int
	if _, err := fmt.Sscan(f[11]+" "+f[12], &user, &system); err != nil {
		b.Fatal(err)
	}
	return user + system
}

func pss(b *testing.B, pid int) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		var kib float64
		if n, _ := fmt.Sscanf(line, "Pss: %f kB", &kib); n == 1 {
			return kib / 1024
		}
	}
	return 0
}

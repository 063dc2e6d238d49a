package child_test

import (
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/conformance"
	"github.com/ekslocal/ekslocal/emulator/controlplane/embedded"
)

func withSpare(c *embedded.Config) {
	c.SpareVersion, c.SpareServiceCIDR = "1.34", "10.100.0.0/16"
	c.SpareIssuer = func(id string) string { return "https://oidc.localhost/id/" + id }
}

func reserve(t testing.TB, b *embedded.Backend) controlplane.Spec {
	t.Helper()
	spec := controlplane.Spec{Name: "warm", Version: "1.34", ServiceCIDR: "10.100.0.0/16", Port: conformance.FreePort(t)}
	waitFor(testContext(t), t, "a spare", func() bool {
		r, ok := b.Reserve(t.Context(), spec.Version, spec.ServiceCIDR)
		spec.ID, spec.Issuer, spec.PKI = r.ID, r.Issuer, r.PKI
		return ok
	})
	return spec
}

func TestSpareBecomesACluster(t *testing.T) {
	etcd := startEtcd(t)
	b, ctx := newBackend(t, etcd, withSpare), testContext(t)
	spec := reserve(t, b)
	if _, ok := b.Reserve(ctx, spec.Version, spec.ServiceCIDR); ok {
		t.Error("the same spare was reserved twice, or another came too soon")
	}
	t0 := time.Now()
	info, err := b.Create(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	c := kubernetes.NewForConfigOrDie(info.Admin)
	if _, err := c.CoreV1().Namespaces().List(ctx, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Logf("authenticated list after %v", time.Since(t0))
	waitFor(ctx, t, "the controllers", func() bool {
		_, err := c.CoreV1().ConfigMaps("default").Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		return err == nil
	})
	next := reserve(t, b)
	if next.ID == spec.ID {
		t.Error("a cluster's control plane was reserved")
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	checkKeys(t, etcd, spec.ID)

	// The cluster is an ordinary one from then on.
	b = newBackend(t, etcd, nil)
	if _, err := b.Create(ctx, spec); err != nil {
		t.Fatal(err)
	}
	if err := b.Delete(ctx, spec.ID); err != nil {
		t.Fatal(err)
	}
	checkKeys(t, etcd, "")
}

// TestReservationWithoutItsSpare creates from a reservation whose emulator is gone.
func TestReservationWithoutItsSpare(t *testing.T) {
	etcd := startEtcd(t)
	b, ctx := newBackend(t, etcd, withSpare), testContext(t)
	spec := reserve(t, b)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	checkKeys(t, etcd, "")
	b = newBackend(t, etcd, nil)
	if _, err := b.Create(ctx, spec); err != nil {
		t.Fatal(err)
	}
}

// checkKeys wants keys of that control plane only in etcd.
func checkKeys(t *testing.T, etcd etcdServer, id string) {
	t.Helper()
	r, err := etcd.client.Get(t.Context(), "/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range r.Kvs {
		if id == "" || !strings.HasPrefix(string(kv.Key), "/ekslocal-clusters/"+id+"/") {
			t.Errorf("left over: %s", kv.Key)
			return
		}
	}
	if id != "" && len(r.Kvs) == 0 {
		t.Error("the cluster's data is gone")
	}
}

package lifecycle

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ekslocal/ekslocal/emulator/dataplane"
	"github.com/ekslocal/ekslocal/emulator/ipam/ipamd"
)

func TestENIConfigName(t *testing.T) {
	type m = map[string]string
	for _, tc := range []struct {
		name                string
		env                 m
		labels, annotations m
		want                string
	}{
		{"nothing", nil, nil, nil, "default"},
		{"a label", nil, m{"k8s.amazonaws.com/eniConfig": "a"}, nil, "a"},
		{"an annotation goes before", nil, m{"k8s.amazonaws.com/eniConfig": "a"}, m{"k8s.amazonaws.com/eniConfig": "b"}, "b"},
		{"the zone", m{"ENI_CONFIG_LABEL_DEF": "topology.kubernetes.io/zone"}, m{"topology.kubernetes.io/zone": "us-east-1a", "k8s.amazonaws.com/eniConfig": "a"}, nil, "us-east-1a"},
		{"an annotation of another name", m{"ENI_CONFIG_ANNOTATION_DEF": "x"}, nil, m{"x": "c", "k8s.amazonaws.com/eniConfig": "b"}, "c"},
		{"the external label", nil, m{"vpc.amazonaws.com/externalEniConfig": "e"}, m{"k8s.amazonaws.com/eniConfig": "b"}, "e"},
	} {
		s, _ := ipamd.ParseSettings(tc.env)
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: tc.labels, Annotations: tc.annotations}}
		if got := eniConfigName(n, s); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestBottlerocketUserData(t *testing.T) {
	settings := []setting{{"cluster-name", `"dev"`}, {"max-pods", "29"}}
	for _, tc := range []struct{ name, users, want string }{
		{"none", "", "[settings.kubernetes]\ncluster-name = \"dev\"\nmax-pods = 29\n"},
		{"another table", "[settings.ntp]\ntime-servers = []\n", "[settings.ntp]\ntime-servers = []\n[settings.kubernetes]\ncluster-name = \"dev\"\nmax-pods = 29\n"},
		{
			"the same table", "[settings.kubernetes]\nmax-pods = 7\nlog-level = 3\n[settings.kubernetes.node-labels]\n\"max-pods\" = \"x\"\n",
			"[settings.kubernetes]\ncluster-name = \"dev\"\nmax-pods = 29\nlog-level = 3\n[settings.kubernetes.node-labels]\n\"max-pods\" = \"x\"\n",
		},
	} {
		if got := bottlerocketUserData(tc.users, settings); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// pools is the nodes' address pools, of which total has what a test says.
type pools struct {
	Addresses
	configured []ipamd.NodeConfig
	started    int
	total      int
}

func (p *pools) Configure(_ string, c ipamd.NodeConfig) { p.configured = append(p.configured, c) }
func (p *pools) Start(context.Context, string)          { p.started++ }
func (p *pools) View(string) (ipamd.View, bool)         { return ipamd.View{Total: p.total}, true }
func (p *pools) Log(string) []byte                      { return []byte("line\n") }
func (p *pools) Note(string, string, string, ...any)    {}
func (p *pools) last() ipamd.NodeConfig                 { return p.configured[len(p.configured)-1] }

// cniFixture is the CNI of a cluster with one node, in zone us-east-1a.
type cniFixture struct {
	*cni
	t     *testing.T
	pools *pools
	node  dataplane.Node
}

func newCNIFixture(t *testing.T) *cniFixture {
	p := &pools{}
	l := New(Config{Clock: clocktesting.NewFakeClock(time.Unix(0, 0)), Log: slog.New(slog.DiscardHandler), Addresses: p})
	client := fake.NewClientset()
	dyn := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(k8sruntime.NewScheme(), map[schema.GroupVersionResource]string{eniConfigs: "ENIConfigList"})
	life, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	rt := &runtime{
		client: client, applier: &applier{dyn: dyn}, life: life, nodes: informers.NewSharedInformerFactory(client, 0).Core().V1().Nodes().Informer(),
		fleet: dataplane.NewFleet(dataplane.Config{}),
	}
	rt.cni, rt.agents = newCNI(l, rt), newAgents(l, rt)
	f := &cniFixture{rt.cni, t, p, dataplane.Node{Name: "node", InstanceID: "i-1", MaxPods: 29}}
	f.setNode(nil)
	return f
}

func (f *cniFixture) setNode(taints []corev1.Taint) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node", Labels: map[string]string{"topology.kubernetes.io/zone": "us-east-1a"}}, Spec: corev1.NodeSpec{Taints: taints}}
	if err := f.rt.nodes.GetStore().Add(n); err != nil {
		f.t.Fatal(err)
	}
	return n
}

func (f *cniFixture) setENIConfig(subnet string) {
	f.t.Helper()
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "crd.k8s.amazonaws.com/v1alpha1", "kind": "ENIConfig", "metadata": map[string]any{"name": "us-east-1a"},
		"spec": map[string]any{"subnet": subnet, "securityGroups": []any{"sg-1"}},
	}}
	r := f.rt.applier.dyn.Resource(eniConfigs)
	_, err := r.Create(f.t.Context(), o, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = r.Update(f.t.Context(), o, metav1.UpdateOptions{})
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *cniFixture) phase(run string, env map[string]string) dataplane.DaemonPhase {
	return f.Observe(f.node, run, env).Phase
}

func TestDaemonIsConfiguredByItsContainer(t *testing.T) {
	f := newCNIFixture(t)
	env := map[string]string{"WARM_IP_TARGET": "5", "VPC_CNI_VERSION": "v1.23.0"}
	for range 3 {
		if s := f.Observe(f.node, "run-1", env); s.Phase != dataplane.DaemonServing || s.Address != "unix /var/run/aws-node/ipamd.sock" {
			t.Fatalf("%+v", s)
		}
	}
	if c := f.pools.last(); f.pools.started != 1 || c.WarmIPTarget != 5 || c.MaxPods != 29 || c.Unschedulable {
		t.Errorf("started %d times with %+v", f.pools.started, c)
	}
	f.phase("run-2", map[string]string{"WARM_IP_TARGET": "7"})
	if c := f.pools.last(); f.pools.started != 2 || c.WarmIPTarget != 7 {
		t.Errorf("started %d times with %+v", f.pools.started, c)
	}
	was := f.setNode(nil)
	f.nodeChanged(was, f.setNode([]corev1.Taint{{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}}))
	if c := f.pools.last(); !c.Unschedulable || c.WarmIPTarget != 7 || f.pools.started != 2 {
		t.Errorf("cordoned: %+v", c)
	}
	if p := f.phase("run-3", map[string]string{"IP_COOLDOWN_PERIOD": "x"}); p != dataplane.DaemonRefused || f.pools.started != 2 {
		t.Errorf("phase %v, started %d times", p, f.pools.started)
	}
	if p := f.phase("run-4", map[string]string{"ENABLE_IPv6": "true"}); p != dataplane.DaemonFailed || f.pools.started != 2 {
		t.Errorf("phase %v, started %d times", p, f.pools.started)
	}
	f.phase("run-5", map[string]string{"AWS_VPC_K8S_CNI_LOG_FILE": "stdout"})
	if _, ok := f.File("i-1", ipamdLog); ok || string(f.Output("i-1")) != "line\n" {
		t.Errorf("log: a file %v, output %q", ok, f.Output("i-1"))
	}
}

func TestCustomNetworkingWaitsForAnInterface(t *testing.T) {
	f := newCNIFixture(t)
	env := map[string]string{"AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG": "true", "ENI_CONFIG_LABEL_DEF": "topology.kubernetes.io/zone"}
	reconcile := func() {
		t.Helper()
		if _, err := f.reconcile(t.Context(), "i-1"); err != nil {
			t.Fatal(err)
		}
	}
	if p := f.phase("run-1", env); p != dataplane.DaemonStarting || f.pools.started != 0 || !f.pools.last().DisableProvisioning {
		t.Fatalf("phase %v, started %d times with %+v", p, f.pools.started, f.pools.last())
	}
	f.poolChanged("i-1") // it only looked for the addresses of pods that run
	if p := f.phase("run-1", env); p != dataplane.DaemonStarting {
		t.Errorf("before its ENIConfig is looked for its phase is %v", p)
	}
	reconcile()
	if c := f.pools.last(); f.pools.started != 1 || c.ENIConfig != nil || c.ENIConfigName != "us-east-1a" || c.DisableProvisioning {
		t.Fatalf("started %d times with %+v", f.pools.started, c)
	}
	f.poolChanged("i-1")
	if p := f.phase("run-1", env); p != dataplane.DaemonFailed {
		t.Fatalf("without an address its phase is %v", p)
	}

	f.setENIConfig("subnet-1")
	if p := f.phase("run-2", env); p != dataplane.DaemonStarting {
		t.Fatalf("its container started again: %v", p)
	}
	reconcile()
	want := &ipamd.ENIConfig{Name: "us-east-1a", Subnet: "subnet-1", SecurityGroups: []string{"sg-1"}}
	if diff := cmp.Diff(want, f.pools.last().ENIConfig); diff != "" || f.pools.started != 2 {
		t.Fatalf("started %d times: %s", f.pools.started, diff)
	}
	f.pools.total = 9
	f.poolChanged("i-1")
	if p := f.phase("run-2", env); p != dataplane.DaemonServing {
		t.Fatalf("with addresses its phase is %v", p)
	}
	f.setENIConfig("subnet-2")
	reconcile()
	if c := f.pools.last(); c.ENIConfig.Subnet != "subnet-2" || f.pools.started != 2 {
		t.Errorf("started %d times with %+v", f.pools.started, c.ENIConfig)
	}
	f.pools.total = 0 // later shortages do not end it
	f.poolChanged("i-1")
	if p := f.phase("run-2", env); p != dataplane.DaemonServing {
		t.Errorf("its phase is %v", p)
	}
}

package lifecycle

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/dataplane"
	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// motel is a Hoster that writes down what it is asked for.
type motel struct {
	controlplane.Hoster
	mu    sync.Mutex
	asked []string
	fail  error
	full  error // of Join alone
	there []controlplane.MachineState
	// began is told of a Join, which then waits for its end.
	began chan struct{}
}

func (m *motel) note(what, instance string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, what+" "+instance)
}

func (m *motel) Join(ctx context.Context, _ string, k controlplane.Machine) error {
	m.note("join", k.InstanceID)
	if m.began != nil {
		close(m.began)
		<-ctx.Done()
		return ctx.Err()
	}
	return m.full
}

func (m *motel) Halt(_ context.Context, _, id string) error  { m.note("halt", id); return m.fail }
func (m *motel) Leave(_ context.Context, _, id string) error { m.note("leave", id); return m.fail }
func (m *motel) Machines(context.Context, string) ([]controlplane.MachineState, error) {
	return m.there, m.fail
}

// forgetful are addresses of which only what is forgotten is written down.
type forgetful struct {
	Addresses
	ids []string
}

func (f *forgetful) Forget(id string) { f.ids = append(f.ids, id) }

type hostWorld struct {
	*Lifecycle
	sc        awsid.Scope
	motel     *motel
	addresses *forgetful
	rt        *runtime
}

func newHostWorld(t *testing.T, nodes ...string) *hostWorld {
	t.Helper()
	st, err := store.Open(t.Context(), store.NewMemory(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	w := &hostWorld{sc: awsid.Scope{Account: awsid.DefaultAccount, Region: "us-east-1"}, motel: &motel{}, addresses: &forgetful{}}
	w.Lifecycle = New(Config{Store: st, Clock: clocktesting.NewFakeClock(time.Now()), Log: slog.New(slog.DiscardHandler), Addresses: w.addresses})
	client := fake.NewClientset()
	inf := cache.NewSharedIndexInformer(&cache.ListWatch{}, &corev1.Node{}, 0, cache.Indexers{})
	for _, instance := range nodes {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeNameOf(instance)}, Spec: corev1.NodeSpec{ProviderID: "aws:///us-east-1a/" + instance}}
		if _, err := client.CoreV1().Nodes().Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w.rt = &runtime{id: "c", name: "dev", scope: w.sc, client: client, nodes: inf, hosted: &hosted{hoster: w.motel, failed: map[string]error{}}}
	w.rt.cni, w.rt.agents = newCNI(w.Lifecycle, w.rt), newAgents(w.Lifecycle, w.rt)
	for _, instance := range nodes {
		w.rt.agents.tell(instance, nil)
	}
	return w
}

// nodeNameOf: instances that end in the same letter have the same address.
func nodeNameOf(instance string) string { return "ip-" + instance[len(instance)-1:] + ".ec2.internal" }

func (w *hostWorld) put(t *testing.T, id string, s ec2types.InstanceStateName) *ec2svc.Instance {
	t.Helper()
	i := &ec2svc.Instance{Scope: w.sc, Instance: ec2types.Instance{
		InstanceId: &id, PrivateDnsName: aws.String(nodeNameOf(id)), VpcId: aws.String("vpc-1"), State: &ec2types.InstanceState{Name: s},
		Tags: []ec2types.Tag{{Key: aws.String(tagCluster), Value: aws.String("dev")}, {Key: aws.String(tagNodegroup), Value: aws.String("ng")}},
	}}
	state := func(c ec2types.VpcCidrBlockStateCode) *ec2types.VpcCidrBlockState {
		return &ec2types.VpcCidrBlockState{State: c}
	}
	vpc := &ec2svc.Vpc{Vpc: ec2types.Vpc{VpcId: aws.String("vpc-1"), CidrBlockAssociationSet: []ec2types.VpcCidrBlockAssociation{
		{CidrBlock: aws.String("10.0.0.0/16"), CidrBlockState: state(ec2types.VpcCidrBlockStateCodeAssociated)},
		{CidrBlock: aws.String("10.9.0.0/16"), CidrBlockState: state(ec2types.VpcCidrBlockStateCodeDisassociated)},
		{CidrBlock: aws.String("100.64.0.0/16"), CidrBlockState: state(ec2types.VpcCidrBlockStateCodeAssociated)},
	}}}
	err := w.Store.Update(t.Context(), func(tx *store.Tx) error {
		ec2svc.Instances.Put(tx, w.sc, id, i)
		ec2svc.Vpcs.Put(tx, w.sc, "vpc-1", vpc)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func (w *hostWorld) nodeNames(t *testing.T) (out []string) {
	t.Helper()
	list, err := w.rt.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range list.Items {
		out = append(out, n.Name)
	}
	slices.Sort(out)
	return out
}

func TestUnhost(t *testing.T) {
	for s, want := range map[ec2types.InstanceStateName]string{
		ec2types.InstanceStateNamePending: "", ec2types.InstanceStateNameStopping: "halt i-a", ec2types.InstanceStateNameStopped: "halt i-a",
		ec2types.InstanceStateNameShuttingDown: "leave i-a", ec2types.InstanceStateNameTerminated: "leave i-a",
	} {
		w := newHostWorld(t, "i-a", "i-b")
		if err := w.unhost(t.Context(), w.put(t, "i-a", s), w.rt); err != nil {
			t.Fatal(err)
		}
		nodes, forgotten := []string{"ip-b.ec2.internal"}, []string{"i-a"}
		if want == "" {
			nodes, forgotten = []string{"ip-a.ec2.internal", "ip-b.ec2.internal"}, nil
		}
		if _, known := w.rt.agents.ledgers["i-a"]; known != (want == "") {
			t.Errorf("%s: its sandboxes are known: %t", s, known)
		}
		if d := cmp.Diff([]any{want, nodes, forgotten}, []any{strings.Join(w.motel.asked, ","), w.nodeNames(t), w.addresses.ids}); d != "" {
			t.Errorf("%s: %s", s, d)
		}
	}
	// The name has gone over to another instance, whose node stays.
	w := newHostWorld(t, "i-2a")
	if err := w.unhost(t.Context(), w.put(t, "i-1a", ec2types.InstanceStateNameTerminated), w.rt); err != nil || len(w.nodeNames(t)) != 1 {
		t.Errorf("the successor's node: %v, %v", w.nodeNames(t), err)
	}
	// What cannot be removed is tried again before anything else is.
	w = newHostWorld(t, "i-a")
	w.motel.fail = errors.New("no engine")
	if err := w.unhost(t.Context(), w.put(t, "i-a", ec2types.InstanceStateNameTerminated), w.rt); err == nil || len(w.nodeNames(t)) != 1 || len(w.addresses.ids) > 0 {
		t.Errorf("the machine is there: %v, nodes %v, forgotten %v", err, w.nodeNames(t), w.addresses.ids)
	}
}

func TestHost(t *testing.T) {
	n := dataplane.Node{Name: "ip-a.ec2.internal", InstanceID: "i-2a", InstanceType: "m5.large", Zone: "us-east-1a", Region: "us-east-1", PrivateIP: netip.MustParseAddr("10.0.0.4"), VCPUs: 2, MemoryMiB: 8192, MaxPods: 29}
	w := newHostWorld(t, "i-2a")
	w.put(t, "i-1a", ec2types.InstanceStateNameTerminated)
	i := w.put(t, "i-2a", ec2types.InstanceStateNameRunning)
	m, err := w.machineOf(i, n)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"10.0.0.0/16", "100.64.0.0/16"}, []string{m.VPC.CIDRs[0].String(), m.VPC.CIDRs[1].String()}); d != "" || m.Allocatable.Pods().Value() != 29 {
		t.Errorf("machine %+v: %s", m, d)
	}
	if err := w.host(t.Context(), i, n, w.rt); err != nil {
		t.Fatal(err)
	}
	// Two with one address would answer for each other: the predecessor goes first.
	if d := cmp.Diff([]string{"leave i-1a", "join i-2a"}, w.motel.asked); d != "" {
		t.Error(d)
	}
	node, err := w.rt.client.CoreV1().Nodes().Get(t.Context(), n.Name, metav1.GetOptions{})
	if err != nil || node.Labels[corev1.LabelTopologyZone] != "us-east-1a" || len(node.Status.Addresses) != 3 {
		t.Errorf("node %+v: %v", node, err)
	}
	w.motel.full = errors.New("no engine")
	if err := w.host(t.Context(), i, n, w.rt); err == nil || w.rt.hosted.because([]string{"i-2a"}) != ": no engine" {
		t.Errorf("%v, because %q", err, w.rt.hosted.because([]string{"i-2a"}))
	}

	// An instance that ends does not wait for its machine to join.
	w.motel.began = make(chan struct{})
	done := make(chan error)
	go func() { done <- w.host(t.Context(), i, n, w.rt) }()
	<-w.motel.began
	w.put(t, "i-2a", ec2types.InstanceStateNameShuttingDown)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestSweep(t *testing.T) {
	w := newHostWorld(t, "i-a", "i-b")
	w.put(t, "i-a", ec2types.InstanceStateNameStopped)
	w.motel.there = []controlplane.MachineState{{InstanceID: "i-a"}, {InstanceID: "i-b", Running: true}, {InstanceID: "i-c"}}
	for range 2 {
		if err := w.sweep(t.Context(), w.rt); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff([]string{"leave i-b", "leave i-c"}, w.motel.asked); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"ip-a.ec2.internal"}, w.nodeNames(t)); d != "" {
		t.Error(d)
	}
}

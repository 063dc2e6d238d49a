package lifecycle

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic/fake"

	"github.com/ekslocal/ekslocal/emulator/ipam/ipamd"
)

// fullPool is a node's pool that only shows how many interfaces it has.
type fullPool struct{ enis int }

func (fullPool) Assign(context.Context, string, types.UID, types.NamespacedName, netip.Addr) (netip.Addr, error) {
	return netip.Addr{}, nil
}
func (fullPool) Release(context.Context, string, types.UID) {}
func (fullPool) Expect(string, map[types.UID]netip.Addr)    {}
func (fullPool) Pods(string) map[types.UID]netip.Addr       { return nil }
func (fullPool) Start(context.Context, string)              {}
func (fullPool) Configure(string, ipamd.NodeConfig)         {}
func (fullPool) Log(string) []byte                          { return nil }
func (fullPool) Note(string, string, string, ...any)        {}
func (fullPool) Forget(string)                              {}
func (p fullPool) View(string) (ipamd.View, bool) {
	return ipamd.View{MaxENIs: 3, ENIs: make([]ipamd.ENIView, p.enis)}, true
}

func TestAskForTrunk(t *testing.T) {
	feature := func(name string, value ...string) map[string]any {
		if len(value) > 0 {
			return map[string]any{"name": name, "value": value[0]}
		}
		return map[string]any{"name": name}
	}
	custom := ipamd.Settings{PodENI: true, CustomNetworking: true}
	for _, tc := range []struct {
		name      string
		settings  ipamd.Settings
		enis      int
		eniConfig string
		had       []any
		want      []any
		again     time.Duration
	}{
		{"room", ipamd.Settings{PodENI: true}, 2, "", nil, []any{feature("SecurityGroupsForPods")}, 0},
		{"no room", ipamd.Settings{PodENI: true}, 3, "", nil, nil, 5 * time.Second},
		{"no room, but IPv6", ipamd.Settings{PodENI: true, IPv6: true}, 3, "", nil, []any{feature("SecurityGroupsForPods")}, 0},
		{"asked before", ipamd.Settings{PodENI: true}, 3, "", []any{feature("SecurityGroupsForPods")}, []any{feature("SecurityGroupsForPods")}, 0},
		{"custom networking", custom, 1, "us-east-1a", nil, []any{feature("CustomNetworking", "us-east-1a"), feature("SecurityGroupsForPods")}, 0},
		{"without an ENIConfig", custom, 1, "default", nil, []any{feature("SecurityGroupsForPods")}, 0},
		{"somebody else's feature", ipamd.Settings{PodENI: true}, 1, "", []any{feature("Other")}, []any{feature("Other"), feature("SecurityGroupsForPods")}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cn := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "vpcresources.k8s.aws/v1alpha1", "kind": "CNINode", "metadata": map[string]any{"name": "n"}}}
			if tc.had != nil {
				cn.Object["spec"] = map[string]any{"features": tc.had}
			}
			dyn := fake.NewSimpleDynamicClientWithCustomListKinds(kruntime.NewScheme(), map[schema.GroupVersionResource]string{cniNodes: "CNINodeList"}, cn)
			c := &cni{l: &Lifecycle{Config: Config{Addresses: fullPool{tc.enis}}}, rt: &runtime{applier: &applier{dyn: dyn}}}
			again, err := c.askForTrunk(t.Context(), "i-1", "n", tc.settings, tc.eniConfig)
			if err != nil || again != tc.again {
				t.Fatalf("%s, %v", again, err)
			}
			now, err := dyn.Resource(cniNodes).Get(t.Context(), "n", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			got, _, _ := unstructured.NestedSlice(now.Object, "spec", "features")
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			if again, err := c.askForTrunk(t.Context(), "i-1", "missing", tc.settings, ""); err != nil || again != minVisible {
				t.Errorf("without a CNINode: %s, %v", again, err)
			}
		})
	}
}

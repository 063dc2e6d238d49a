package lifecycle

import (
	"net"
	"path/filepath"
	"testing"

	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
)

func TestTakesPods(t *testing.T) {
	taint := func(key string) []corev1.Taint {
		return []corev1.Taint{{Key: key, Effect: corev1.TaintEffectNoSchedule}}
	}
	for _, tc := range []struct {
		name   string
		ready  corev1.ConditionStatus
		taints []corev1.Taint
		want   bool
	}{
		{"not ready", corev1.ConditionFalse, taint(corev1.TaintNodeNotReady), false},
		{"not ready yet tainted", corev1.ConditionFalse, nil, false},
		{"ready, the node controller has not seen it", corev1.ConditionTrue, taint(corev1.TaintNodeNotReady), false},
		{"ready", corev1.ConditionTrue, nil, true},
		{"ready, the later taint not yet gone", corev1.ConditionTrue, []corev1.Taint{{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoExecute}}, true},
		{"ready with a taint of the group's", corev1.ConditionTrue, taint("gpu"), true},
		{"lost", corev1.ConditionUnknown, nil, false},
	} {
		n := &corev1.Node{Spec: corev1.NodeSpec{Taints: tc.taints}}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeDiskPressure, Status: corev1.ConditionTrue}, {Type: corev1.NodeReady, Status: tc.ready}}
		if got := takesPods(n); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// TestRuntimeThatCannotBe leaves nothing that listens.
func TestRuntimeThatCannotBe(t *testing.T) {
	w := newLogWorld(t, ekstypes.ClusterStatusCreating)
	socket := filepath.Join(t.TempDir(), "s")
	w.EgressSocket = func(string) string { return socket }
	w.cluster.Backend = ekssvc.BackendKind // which this backend is not
	for range 2 {
		rt, err := w.newRuntime(w.cluster, controlplane.Info{Admin: &rest.Config{Host: "https://127.0.0.1:1"}})
		if rt != nil || err == nil {
			t.Fatalf("%v, %v", rt, err)
		}
		if conn, err := net.Dial("unix", socket); err == nil {
			conn.Close()
			t.Error("its egress proxy listens on")
		}
	}
}

func TestDrains(t *testing.T) {
	node := func(annotations map[string]string) *corev1.Node {
		n := &corev1.Node{}
		n.Annotations = annotations
		return n
	}
	const at = "2026-05-01T12:00:00Z"
	for _, tc := range []struct {
		name   string
		node   *corev1.Node
		failed int64
		want   bool
	}{
		{"no node", nil, 0, false},
		{"not marked", node(nil), 0, false},
		{"rolled", node(map[string]string{drainStarted: at, drainRoll: "3"}), 0, true},
		{"the roll was given up, the cache does not know yet", node(map[string]string{drainStarted: at, drainRoll: "3"}), 3, false},
		{"a newer roll after one that was given up", node(map[string]string{drainStarted: at, drainRoll: "4"}), 3, true},
		{"scaled in after a roll that was given up", node(map[string]string{drainStarted: at}), 3, true},
	} {
		if got := drains(tc.node, tc.failed); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

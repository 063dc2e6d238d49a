package lifecycle

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/dataplane"
)

func TestCloudPatch(t *testing.T) {
	n := dataplane.Node{
		Name: "ip-10-0-1-23.ec2.internal", InstanceID: "i-1", InstanceType: "m5.large", Region: "us-east-1", Zone: "us-east-1a", ZoneID: "use1-az1",
		PrivateIP: netip.MustParseAddr("10.0.1.23"),
	}
	all := dataplane.CloudLabels("dev", n)
	users := corev1.Taint{Key: "dedicated", Effect: corev1.TaintEffectNoSchedule}
	fresh := corev1.Taint{Key: taintUninitialized, Value: "true", Effect: corev1.TaintEffectNoSchedule}
	other := map[string]string{"team": "a"}
	for k, v := range all {
		other[k] = v
	}
	wrong := map[string]string{}
	for k, v := range all {
		wrong[k] = v
	}
	wrong[corev1.LabelTopologyZone] = "us-east-1b"
	for name, c := range map[string]struct {
		labels map[string]string
		taints []corev1.Taint
		want   any
	}{
		"a new node": {nil, []corev1.Taint{users, fresh}, map[string]any{
			"metadata": map[string]any{"labels": jsonOf(t, all), "resourceVersion": "7"},
			"spec":     map[string]any{"taints": []any{map[string]any{"key": "dedicated", "effect": "NoSchedule"}}},
		}},
		"registered again": {other, []corev1.Taint{fresh}, map[string]any{
			"metadata": map[string]any{"resourceVersion": "7"}, "spec": map[string]any{"taints": []any{}},
		}},
		"a label was changed": {wrong, []corev1.Taint{users}, map[string]any{
			"metadata": map[string]any{"labels": map[string]any{corev1.LabelTopologyZone: "us-east-1a"}},
		}},
		"nothing to do": {other, []corev1.Taint{users}, nil},
	} {
		now := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: c.labels, ResourceVersion: "7"}, Spec: corev1.NodeSpec{Taints: c.taints}}
		var got any
		if b := cloudPatch("dev", n, now); b != nil {
			if err := json.Unmarshal(b, &got); err != nil {
				t.Fatal(err)
			}
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func jsonOf(t *testing.T, v any) (out any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestInstanceOf(t *testing.T) {
	for id, want := range map[string]string{
		"aws:///us-east-1a/i-0123": "i-0123", "": "", "kind://docker/x/y": "", "aws:///us-east-1a/": "", "aws:///i-0123": "",
	} {
		if got := instanceOf(&corev1.Node{Spec: corev1.NodeSpec{ProviderID: id}}); got != want {
			t.Errorf("%q: %q, want %q", id, got, want)
		}
	}
}

// TestJoinTroubles: what a failed join leaves for the node group's health.
func TestJoinTroubles(t *testing.T) {
	var none *hosted
	if none.hopeless("i-1") || none.because([]string{"i-1"}) != "" {
		t.Error("a cluster with simulated nodes has troubles")
	}
	h := &hosted{failed: map[string]error{}}
	full := errors.New("no space left on device")
	clash := fmt.Errorf("%w: the addresses are taken", controlplane.ErrHopeless)
	for i, step := range []struct {
		id   string
		err  error
		news bool
	}{
		{"i-1", nil, false}, {"i-1", fmt.Errorf("machine of instance i-1: %w", full), true}, {"i-1", fmt.Errorf("machine of instance i-1: %w", full), false},
		{"i-2", fmt.Errorf("machine of instance i-2: %w", full), true}, {"i-3", fmt.Errorf("machine of instance i-3: %w", clash), true},
		{"i-4", fmt.Errorf("machine of instance i-4: %w", clash), true}, {"i-4", nil, true}, {"i-4", nil, false},
	} {
		if got := h.note(step.id, step.err); got != step.news {
			t.Errorf("step %d: news %v", i, got)
		}
	}
	for id, want := range map[string]bool{"i-1": false, "i-3": true, "i-4": false} {
		if h.hopeless(id) != want {
			t.Errorf("%s is hopeless: %v", id, !want)
		}
	}
	if got, want := h.because([]string{"i-1", "i-2", "i-3", "i-4"}), ": no space left on device; the addresses are taken"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

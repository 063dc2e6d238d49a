package lifecycle

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestMarks(t *testing.T) {
	taint := func(key, value string, effect corev1.TaintEffect) corev1.Taint {
		return corev1.Taint{Key: key, Value: value, Effect: effect}
	}
	for _, tc := range []struct {
		name   string
		want   marks
		params []ekstypes.UpdateParam
		labels map[string]string
		taints []corev1.Taint
		patch  string // of what is not null; empty for none
	}{
		{name: "as they should be", want: marks{labels: map[string]string{"a": "1"}}, labels: map[string]string{"a": "1", "users": "x"}},
		{name: "add and change", want: marks{labels: map[string]string{"a": "2", "b": "1"}}, labels: map[string]string{"a": "1"}, patch: `{"metadata":{"labels":{"a":"2","b":"1"}}}`},
		{
			name:   "remove a label, but not one that is wanted again",
			want:   marks{labels: map[string]string{"kept": "1"}},
			params: []ekstypes.UpdateParam{{Type: ekstypes.UpdateParamTypeLabelsToRemove, Value: aws.String(`["gone","kept","never"]`)}},
			labels: map[string]string{"gone": "1", "kept": "1"}, patch: `{"metadata":{"labels":{"gone":null}}}`,
		},
		{
			name:   "remove a taint of one effect, keep others and the user's",
			want:   marks{taints: []corev1.Taint{taint("new", "1", corev1.TaintEffectNoSchedule)}},
			params: []ekstypes.UpdateParam{{Type: ekstypes.UpdateParamTypeTaintsToRemove, Value: aws.String(`[{"effect":"NO_EXECUTE","key":"k","value":"v"}]`)}},
			taints: []corev1.Taint{taint("k", "v", corev1.TaintEffectNoExecute), taint("k", "v", corev1.TaintEffectNoSchedule)},
			patch:  `{"metadata":{"resourceVersion":"7"},"spec":{"taints":[{"key":"k","value":"v","effect":"NoSchedule"},{"key":"new","value":"1","effect":"NoSchedule"}]}}`,
		},
		{
			name:   "another value",
			want:   marks{taints: []corev1.Taint{taint("k", "w", corev1.TaintEffectNoSchedule)}},
			taints: []corev1.Taint{taint("k", "v", corev1.TaintEffectNoSchedule)},
			patch:  `{"metadata":{"resourceVersion":"7"},"spec":{"taints":[{"key":"k","value":"w","effect":"NoSchedule"}]}}`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := tc.want.without(tc.params); err != nil {
				t.Fatal(err)
			}
			got := tc.want.patch(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: tc.labels, ResourceVersion: "7"}, Spec: corev1.NodeSpec{Taints: tc.taints}})
			if tc.patch == "" || got == nil {
				if tc.patch != string(got) {
					t.Errorf("got %s, want %s", got, tc.patch)
				}
				return
			}
			if diff := cmp.Diff(decoded(t, tc.patch), decoded(t, string(got))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

package lifecycle

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

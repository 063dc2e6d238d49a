package userdata_test

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/userdata"
	"github.com/ekslocal/ekslocal/fixtures/instancetypes"
)

const nodeConfig = `---
apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec:
  kubelet:
`

func archive(parts ...string) string {
	var out strings.Builder
	out.WriteString("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"//\"\n\n")
	for _, p := range parts {
		out.WriteString("--//\nContent-Type: " + p + "\n")
	}
	return out.String() + "--//--\n"
}

func zipped(t *testing.T, s string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name, data string
		want       userdata.Config
	}{
		{"nothing", "", userdata.Config{}},
		{"a bare NodeConfig", nodeConfig + "    config:\n      maxPods: 40\n", userdata.Config{MaxPods: 40}},
		{"a flag", nodeConfig + "    config: {maxPods: 40}\n    flags: [\"--max-pods=50\"]\n", userdata.Config{MaxPods: 50}},
		{"an expression", nodeConfig + "    maxPodsExpression: max_pods + 2\n", userdata.Config{MaxPodsExpression: "max_pods + 2"}},
		{"the later part wins", archive(
			"application/node.eks.aws\n\n"+nodeConfig+"    config: {maxPods: 60}\n",
			"text/x-shellscript\n\n#!/bin/sh\necho --max-pods=7\n",
			"application/node.eks.aws\n\n"+nodeConfig+"    config: {maxPods: 29}\n",
		), userdata.Config{MaxPods: 29}},
		{"a part in base64", archive("application/node.eks.aws\nContent-Transfer-Encoding: base64\n\n" +
			"YXBpVmVyc2lvbjogbm9kZS5la3MuYXdzL3YxYWxwaGExCmtpbmQ6IE5vZGVDb25maWcKc3BlYzoge2t1YmVsZXQ6IHtjb25maWc6IHttYXhQb2RzOiA0MX19fQo=\n"), userdata.Config{MaxPods: 41}},
		{"compressed", zipped(t, nodeConfig+"    config: {maxPods: 42}\n"), userdata.Config{MaxPods: 42}},
		{"another kind", strings.Replace(nodeConfig, "kind: NodeConfig", "kind: Other", 1) + "    config: {maxPods: 40}\n", userdata.Config{}},
		{"bootstrap.sh", "#!/bin/bash\n/etc/eks/bootstrap.sh dev \\\n  --use-max-pods false \\\n  --kubelet-extra-args '--node-labels=a=b --max-pods=110'\n", userdata.Config{MaxPods: 110}},
		{"bootstrap.sh without a number", "#!/bin/bash\n/etc/eks/bootstrap.sh dev --use-max-pods false\n", userdata.Config{MaxPods: 110}},
		{"bootstrap.sh in an archive", archive("text/x-shellscript; charset=\"us-ascii\"\n\n#!/bin/bash\n/etc/eks/bootstrap.sh dev --kubelet-extra-args \"--max-pods=20\"\n"), userdata.Config{MaxPods: 20}},
		{"a comment", "#!/bin/bash\n# /etc/eks/bootstrap.sh dev --kubelet-extra-args --max-pods=20\n", userdata.Config{}},
		{"Bottlerocket", "[settings.kubernetes]\nmax-pods = 33 # as advised\n[settings.kubernetes.node-labels]\nmax-pods = \"x\"\n", userdata.Config{MaxPods: 33}},
		{"Bottlerocket, dotted", "settings.kubernetes.max-pods = 34\n", userdata.Config{MaxPods: 34}},
		{"Bottlerocket, elsewhere", "[settings.host-containers.admin]\nmax-pods = 33\n", userdata.Config{}},
		{"negative", nodeConfig + "    config: {maxPods: -4}\n", userdata.Config{}},
		{"a broken archive", strings.TrimSuffix(archive("application/node.eks.aws\n\n"+nodeConfig+"    config: {maxPods: 9}\n", "text/x-shellscript\n"), "--//--\n"), userdata.Config{MaxPods: 9}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, userdata.Parse([]byte(tc.data))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(nodeConfig + "    config: {maxPods: 40}\n"))
	f.Add([]byte(archive("text/x-shellscript\n\n#!/bin/sh\n/etc/eks/bootstrap.sh x --max-pods=3\n")))
	f.Add([]byte("[settings.kubernetes]\nmax-pods=5"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c := userdata.Parse(data); c.MaxPods < 0 {
			t.Errorf("%+v", c)
		}
	})
}

func limits(t *testing.T, name string) (userdata.Limits, bool) {
	t.Helper()
	it, ok := instancetypes.Lookup(name)
	if !ok {
		t.Fatal(name)
	}
	return userdata.Limits{ENIs: it.DefaultCardENIs, AddressesPerENI: it.IPv4PerENI, VCPUs: it.VCPUs}, it.Hypervisor == "nitro"
}

func TestPodsOf(t *testing.T) {
	l, _ := limits(t, "m5.large")
	for _, tc := range []struct {
		c    userdata.Config
		want int
		bad  bool
	}{
		{userdata.Config{}, 29, false},
		{userdata.Config{MaxPods: 12, MaxPodsExpression: "max_pods"}, 12, false},
		{userdata.Config{MaxPodsExpression: "((default_enis - 1) * (ips_per_eni - 1)) + 2"}, 20, false},
		{userdata.Config{MaxPodsExpression: "max_pods < 10 ? max_pods : 10"}, 10, false},
		{userdata.Config{MaxPodsExpression: "max_pods + 1.5"}, 29, true},
		{userdata.Config{MaxPodsExpression: "0"}, 29, true},
		{userdata.Config{MaxPodsExpression: "max_pods / 0"}, 29, true},
		{userdata.Config{MaxPodsExpression: "'many'"}, 29, true},
		{userdata.Config{MaxPodsExpression: "1 +"}, 29, true},
	} {
		got, err := tc.c.PodsOf(l)
		if got != tc.want || (err != nil) != tc.bad {
			t.Errorf("%+v: %d, %v, want %d", tc.c, got, err, tc.want)
		}
	}
}

// The figures are those of Amazon EKS's own calculator and user guide.
func TestRecommended(t *testing.T) {
	for _, tc := range []struct {
		name string
		cni  userdata.CNI
		want int
	}{
		{"m5.large", userdata.CNI{}, 29},
		{"m5.large", userdata.CNI{CustomNetworking: true}, 20},
		{"m5.large", userdata.CNI{PrefixDelegation: true}, 110},
		{"m5.large", userdata.CNI{MaxENI: 1}, 11},
		{"t3.small", userdata.CNI{PrefixDelegation: true}, 110},
		{"t2.medium", userdata.CNI{PrefixDelegation: true}, 17}, // not on Nitro
		{"m5.metal", userdata.CNI{PrefixDelegation: true}, 250},
		{"c5.4xlarge", userdata.CNI{}, 110},
		{"m5.24xlarge", userdata.CNI{}, 250},
		{"t3.nano", userdata.CNI{MaxENI: 1, CustomNetworking: true}, 2},
	} {
		l, nitro := limits(t, tc.name)
		if got := userdata.Recommended(l, nitro, tc.cni); got != tc.want {
			t.Errorf("%s %+v: %d, want %d", tc.name, tc.cni, got, tc.want)
		}
	}
}

package lifecycle

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ekslocal/ekslocal/emulator/ipam/ipamd"
	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/emulator/userdata"
	"github.com/ekslocal/ekslocal/fixtures/instancetypes"
)

// ensureMaxPods decides once, for what is desired now, how many pods the group's
// nodes take: a second try after a crash must make the same template.
func (l *Lifecycle) ensureMaxPods(ctx context.Context, ng *ekssvc.Nodegroup, rt *runtime, users *ec2types.RequestLaunchTemplateData, hash string) (*ekssvc.Nodegroup, error) {
	if ng.MaxPodsFor == hash {
		return ng, nil
	}
	types := ng.Resource.InstanceTypes
	if users.InstanceType != "" {
		types = []string{string(users.InstanceType)}
	}
	pods, err := l.groupMaxPods(ctx, rt, types)
	if err != nil {
		return nil, err
	}
	var now *ekssvc.Nodegroup
	err = l.editNodegroup(ctx, ng, func(_ *store.Tx, n *ekssvc.Nodegroup) bool {
		n.MaxPods, n.MaxPodsFor = pods, hash
		now = n
		return true
	})
	return now, err
}

// groupMaxPods is the number of pods that EKS writes into the user data of a group's
// nodes: what it recommends for the smallest of the group's types, by the CNI's
// configuration as it is when the launch template's version is made. A later change
// of it reaches nodes with the group's next update (Amazon EKS user guide, "Assign
// more IP addresses to Amazon EKS nodes with prefixes").
func (l *Lifecycle) groupMaxPods(ctx context.Context, rt *runtime, types []string) (int, error) {
	cni, err := rt.cniConfig(ctx)
	if err != nil {
		return 0, err
	}
	least := 0
	for _, name := range types {
		t, ok := instancetypes.Lookup(name)
		if !ok {
			continue
		}
		if n := recommendedMaxPods(t, cni); least == 0 || n < least {
			least = n
		}
	}
	return least, nil
}

func recommendedMaxPods(t *instancetypes.Type, cni userdata.CNI) int {
	return userdata.Recommended(limitsOf(t), t.Hypervisor == "nitro", cni)
}

func limitsOf(t *instancetypes.Type) userdata.Limits {
	return userdata.Limits{ENIs: t.DefaultCardENIs, AddressesPerENI: t.IPv4PerENI, VCPUs: t.VCPUs}
}

// cniConfig is what EKS looks at in aws-node; a cluster without it has the CNI's
// defaults.
func (rt *runtime) cniConfig(ctx context.Context) (userdata.CNI, error) {
	if rt.ipv6 { // addresses come in prefixes only, whatever is configured
		return userdata.CNI{PrefixDelegation: true}, nil
	}
	ds, err := rt.client.AppsV1().DaemonSets(metav1.NamespaceSystem).Get(ctx, "aws-node", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return userdata.CNI{}, nil
	}
	if err != nil {
		return userdata.CNI{}, fmt.Errorf("aws-node: %w", err)
	}
	s, _ := ipamd.ParseSettings(plainEnv(ds.Spec.Template.Spec.Containers, "aws-node"))
	return userdata.CNI{PrefixDelegation: s.PrefixDelegation, CustomNetworking: s.CustomNetworking}, nil
}

// plainEnv is the environment that a container's spec spells out.
func plainEnv(containers []corev1.Container, name string) map[string]string {
	env := map[string]string{}
	if i := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == name }); i >= 0 {
		for _, e := range containers[i].Env {
			if e.ValueFrom == nil {
				env[e.Name] = e.Value
			}
		}
	}
	return env
}

// maxPodsOf is what the kubelet of an instance takes: what its user data says, else
// what the image computes. Groups whose launch template is from before EKS wrote the
// number have EKS's bounds all the same.
func (l *Lifecycle) maxPodsOf(ng *ekssvc.Nodegroup, i *ec2svc.Instance, t *instancetypes.Type) int {
	data, err := base64.StdEncoding.DecodeString(i.UserData)
	if err != nil {
		data = nil // such user data says nothing at boot either
	}
	n, err := userdata.Parse(data).PodsOf(limitsOf(t))
	if err != nil {
		l.Log.Warn("the image's own number of pods holds", "instance", *i.InstanceId, "error", err)
	}
	if ng.Desired.ImageID != "" {
		return n
	}
	return min(n, userdata.Ceiling(t.VCPUs))
}

// bottlerocketUserData adds EKS's settings to a user's TOML: its own win.
func bottlerocketUserData(users string, settings []setting) string {
	ours := map[string]bool{}
	for _, s := range settings {
		ours[s.name] = true
	}
	const table = "[settings.kubernetes]"
	var kept []string
	inside, found := false, -1
	for line := range strings.Lines(users) {
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(trimmed, "[") {
			head, _, _ := strings.Cut(trimmed, "#")
			inside = strings.ReplaceAll(head, " ", "") == table
			if inside {
				found = len(kept)
			}
		}
		name, _, isKey := strings.Cut(trimmed, "=")
		if inside && isKey && ours[strings.Trim(strings.TrimSpace(name), `"`)] {
			continue
		}
		kept = append(kept, strings.TrimRight(line, "\r\n"))
	}
	if found < 0 {
		found = len(kept)
		kept = append(kept, table)
	}
	lines := make([]string, 0, len(settings))
	for _, s := range settings {
		lines = append(lines, s.name+" = "+s.value)
	}
	return strings.Join(slices.Insert(kept, found+1, lines...), "\n") + "\n"
}

// setting is one of Bottlerocket's, its value as TOML writes it.
type setting struct{ name, value string }

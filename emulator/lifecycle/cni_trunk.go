package lifecycle

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ekslocal/ekslocal/emulator/ipam/ipamd"
	"github.com/ekslocal/ekslocal/emulator/ipam/warmpool"
	"github.com/ekslocal/ekslocal/emulator/podeni"
)

// askForTrunk is what ipamd does with ENABLE_POD_ENI: it adds the feature to the
// node's CNINode, by which the VPC resource controller knows to attach a trunk. On a
// node of an IPv4 cluster it looks for a free slot first, again and again. Source:
// amazon-vpc-cni-k8s, pkg/ipamd/ipamd.go (nodeInit, tryEnableSecurityGroupsForPods).
func (c *cni) askForTrunk(ctx context.Context, instanceID, name string, s ipamd.Settings, eniConfig string) (time.Duration, error) {
	r := c.rt.applier.dyn.Resource(cniNodes)
	cn, err := r.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return minVisible, nil // the controller makes it when the node comes
	}
	if err != nil {
		return 0, fmt.Errorf("CNINode %s: %w", name, err)
	}
	if hasFeature(cn, podeni.Feature) {
		return 0, nil
	}
	if v, ok := c.l.Addresses.View(instanceID); ok && !s.IPv6 && len(v.ENIs) >= v.MaxENIs {
		c.l.Addresses.Note(instanceID, "error", "No slot available for a trunk ENI to be attached.")
		return warmpool.Monitor, nil
	}
	// Errors: what is no list is none.
	features, _, _ := unstructured.NestedSlice(cn.Object, "spec", "features")
	if s.CustomNetworking && eniConfig != "" && eniConfig != defaultENIConfig && !hasFeature(cn, podeni.Custom) {
		features = append(features, map[string]any{"name": podeni.Custom, "value": eniConfig})
	}
	features = append(features, map[string]any{"name": podeni.Feature})
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": cn.GetResourceVersion()}, "spec": map[string]any{"features": features},
	})
	if err != nil {
		return 0, err
	}
	if _, err := r.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "aws-node"}); err != nil {
		return 0, fmt.Errorf("CNINode %s: %w", name, err)
	}
	c.l.Addresses.Note(instanceID, "info", "Successfully added feature %s to CNINode if not existing", podeni.Feature)
	return 0, nil
}

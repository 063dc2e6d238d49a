package eks

import (
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"k8s.io/apimachinery/pkg/util/validation"
)

const (
	maxLabels = 50
	maxTaints = 50
)

// reservedLabels are prefixes that only Kubernetes and EKS set.
var reservedLabels = []string{"kubernetes.io/", "k8s.io/", "eks.amazonaws.com/"}

// setScaling writes what in gives over the group's sizes, or the defaults of a new
// group. EKS words the same mistake differently for new and existing groups.
func setScaling(a about, n *Nodegroup, in *ekstypes.NodegroupScalingConfig) error {
	out := ekstypes.NodegroupScalingConfig{MinSize: aws.Int32(1), MaxSize: aws.Int32(2), DesiredSize: aws.Int32(2)}
	if n.Resource.ScalingConfig != nil {
		out = *n.Resource.ScalingConfig
	}
	if in != nil {
		for _, f := range []struct{ to, from **int32 }{{&out.MinSize, &in.MinSize}, {&out.MaxSize, &in.MaxSize}, {&out.DesiredSize, &in.DesiredSize}} {
			if *f.from != nil {
				*f.to = *f.from
			}
		}
	}
	minSize, maxSize, desired := *out.MinSize, *out.MaxSize, *out.DesiredSize
	created := n.Resource.ScalingConfig == nil
	switch {
	case minSize < 0 || desired < 0:
		return a.invalidParameter("The minimum and desired sizes of a node group cannot be negative")
	case maxSize < 1:
		return a.invalidParameter("The maximum size of a node group must be at least 1")
	case minSize > desired && created:
		return a.invalidParameter("minSize can't be greater than desiredSize")
	case minSize > desired:
		return a.invalidParameter("Minimum capacity %d can't be greater than desired size %d", minSize, desired)
	case desired > maxSize && created:
		return a.invalidParameter("desiredSize can't be greater than maxSize")
	case desired > maxSize:
		return a.invalidParameter("Desired capacity %d can't be greater than max size %d", desired, maxSize)
	}
	n.Resource.ScalingConfig = &out
	return nil
}

func checkLabels(a about, labels map[string]string) error {
	if len(labels) > maxLabels {
		return a.invalidParameter("A node group can have at most %d labels.", maxLabels)
	}
	for k, v := range labels {
		for _, p := range reservedLabels {
			if strings.HasPrefix(k, p) {
				return a.invalidParameter("Label cannot contain reserved prefixes [%s]", strings.Join(reservedLabels, ", "))
			}
		}
		if msgs := validation.IsQualifiedName(k); len(msgs) > 0 {
			return a.invalidParameter("Invalid label key %q: %s", k, msgs[0])
		}
		if msgs := validation.IsValidLabelValue(v); len(msgs) > 0 {
			return a.invalidParameter("Invalid value %q of label %s: %s", v, k, msgs[0])
		}
	}
	return nil
}

func checkTaints(a about, taints []ekstypes.Taint) error {
	seen := map[string]bool{}
	for _, t := range taints {
		key := aws.ToString(t.Key)
		if msgs := validation.IsQualifiedName(key); len(msgs) > 0 {
			return a.invalidParameter("Invalid taint key %q: %s", key, msgs[0])
		}
		if msgs := validation.IsValidLabelValue(aws.ToString(t.Value)); len(msgs) > 0 {
			return a.invalidParameter("Invalid taint value %q: %s", aws.ToString(t.Value), msgs[0])
		}
		if !slices.Contains(t.Effect.Values(), t.Effect) {
			return a.invalidParameter("Invalid taint effect %q: it must be NO_SCHEDULE, PREFER_NO_SCHEDULE or NO_EXECUTE", t.Effect)
		}
		if id := taintID(t); seen[id] {
			return a.invalidParameter("Taint %s with effect %s is specified more than once", key, t.Effect)
		} else {
			seen[id] = true
		}
	}
	return nil
}

// taintID is what makes taints of a node distinct.
func taintID(t ekstypes.Taint) string { return aws.ToString(t.Key) + ":" + string(t.Effect) }

func setTaints(a about, n *Nodegroup, taints []ekstypes.Taint) error {
	if len(taints) > maxTaints {
		return a.invalidParameter("A node group can have at most %d taints.", maxTaints)
	}
	if err := checkTaints(a, taints); err != nil {
		return err
	}
	n.Resource.Taints = taints
	return nil
}

func setUpdateConfig(a about, n *Nodegroup, in *ekstypes.NodegroupUpdateConfig) error {
	if in == nil {
		return nil
	}
	out := *in
	if in.UpdateStrategy != "" && !slices.Contains(in.UpdateStrategy.Values(), in.UpdateStrategy) {
		return a.invalidParameter("Unsupported updateStrategy %s", in.UpdateStrategy)
	}
	switch {
	case in.MaxUnavailable != nil && in.MaxUnavailablePercentage != nil:
		return a.invalidParameter("Only one of maxUnavailable and maxUnavailablePercentage can be specified")
	case in.MaxUnavailable != nil && (*in.MaxUnavailable < 1 || *in.MaxUnavailable > 100):
		return a.invalidParameter("maxUnavailable must be between 1 and 100")
	case in.MaxUnavailablePercentage != nil && (*in.MaxUnavailablePercentage < 1 || *in.MaxUnavailablePercentage > 100):
		return a.invalidParameter("maxUnavailablePercentage must be between 1 and 100")
	case in.MaxUnavailable == nil && in.MaxUnavailablePercentage == nil:
		out.MaxUnavailable, out.MaxUnavailablePercentage = n.Resource.UpdateConfig.MaxUnavailable, n.Resource.UpdateConfig.MaxUnavailablePercentage
	}
	if out.UpdateStrategy == "" {
		out.UpdateStrategy = n.Resource.UpdateConfig.UpdateStrategy
	}
	n.Resource.UpdateConfig = &out
	return nil
}

func setNodeRepair(a about, n *Nodegroup, in *ekstypes.NodeRepairConfig) error {
	if in == nil {
		return nil
	}
	for _, p := range []*int32{in.MaxParallelNodesRepairedPercentage, in.MaxUnhealthyNodeThresholdPercentage} {
		if p != nil && (*p < 1 || *p > 100) {
			return a.invalidParameter("Percentages in nodeRepairConfig must be between 1 and 100")
		}
	}
	if in.MaxParallelNodesRepairedCount != nil && in.MaxParallelNodesRepairedPercentage != nil ||
		in.MaxUnhealthyNodeThresholdCount != nil && in.MaxUnhealthyNodeThresholdPercentage != nil {
		return a.invalidParameter("Only one of a count and a percentage can be specified in nodeRepairConfig")
	}
	for _, o := range in.NodeRepairConfigOverrides {
		// "If you use this, you must specify all the values."
		if aws.ToString(o.NodeMonitoringCondition) == "" || aws.ToString(o.NodeUnhealthyReason) == "" || o.MinRepairWaitTimeMins == nil || o.RepairAction == "" {
			return a.invalidParameter("nodeRepairConfigOverrides must specify nodeMonitoringCondition, nodeUnhealthyReason, minRepairWaitTimeMins and repairAction")
		}
		if !slices.Contains(o.RepairAction.Values(), o.RepairAction) {
			return a.invalidParameter("Unsupported repairAction %s", o.RepairAction)
		}
	}
	out := *in
	if now := n.Resource.NodeRepairConfig; now != nil && out.Enabled == nil {
		out.Enabled = now.Enabled
	}
	n.Resource.NodeRepairConfig = &out
	return nil
}

func setWarmPool(a about, n *Nodegroup, in *ekstypes.WarmPoolConfig) error {
	if in == nil {
		return nil
	}
	if aws.ToBool(in.Enabled) {
		return a.invalidParameter("Warm pools are not emulated: leave warmPoolConfig out or disabled.")
	}
	out := *in
	n.Resource.WarmPoolConfig = &out
	return nil
}

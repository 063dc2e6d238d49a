package eks

import (
	"context"
	"maps"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// updateNodegroup starts one update of a node group: apply changes the record and
// returns the update's parameters.
func (s *Service) updateNodegroup(ctx context.Context, a about, kind ekstypes.UpdateType, req Request,
	apply func(tx *store.Tx, n *Nodegroup) ([]ekstypes.UpdateParam, error),
) (*ekstypes.Update, error) {
	scope := awsid.CallerFrom(ctx).Scope
	var u *Update
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := readNodegroup(tx, scope, a); err != nil {
			return err
		}
		var err error
		if u, err = earlierUpdate(tx, scope, a, req); err != nil || u != nil {
			return err
		}
		n := Nodegroups.Edit(tx, scope, ChildID(a.cluster, a.nodegroup))
		switch st := n.Resource.Status; {
		case n.UpdateID != "", st != ekstypes.NodegroupStatusActive && st != ekstypes.NodegroupStatusDegraded:
			return a.inUse("Nodegroup cannot be updated as it is currently not in Active State")
		}
		params, err := apply(tx, n)
		if err != nil {
			return err
		}
		u = s.newUpdate(scope, a, kind, params, req)
		n.UpdateID = *u.Resource.Id
		n.Resource.Status = ekstypes.NodegroupStatusUpdating
		n.Resource.ModifiedAt = s.now()
		n.Generation++
		Nodegroups.Put(tx, scope, ChildID(a.cluster, a.nodegroup), n)
		putUpdate(tx, u)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &u.Resource, nil
}

// UpdateNodegroupConfig implements eks:UpdateNodegroupConfig.
func (s *Service) UpdateNodegroupConfig(ctx context.Context, in *eks.UpdateNodegroupConfigInput, _ ...func(*eks.Options)) (*eks.UpdateNodegroupConfigOutput, error) {
	a := about{cluster: aws.ToString(in.ClusterName), nodegroup: aws.ToString(in.NodegroupName)}
	bare := *in
	bare.ClientRequestToken = nil
	req, err := newRequest(in.ClientRequestToken, bare)
	if err != nil {
		return nil, err
	}
	u, err := s.updateNodegroup(ctx, a, ekstypes.UpdateTypeConfigUpdate, req, func(_ *store.Tx, n *Nodegroup) ([]ekstypes.UpdateParam, error) {
		return n.configure(a, in)
	})
	if err != nil {
		return nil, err
	}
	return &eks.UpdateNodegroupConfigOutput{Update: u}, nil
}

// configure applies a configuration request and says what it changed.
func (n *Nodegroup) configure(a about, in *eks.UpdateNodegroupConfigInput) ([]ekstypes.UpdateParam, error) {
	params := configParams(in)
	if len(params) == 0 {
		return nil, a.invalidParameter("At least one of labels, taints, scalingConfig, updateConfig and nodeRepairConfig must be specified.")
	}
	if in.Labels != nil {
		if err := n.changeLabels(a, in.Labels); err != nil {
			return nil, err
		}
	}
	if in.Taints != nil {
		if err := n.changeTaints(a, in.Taints); err != nil {
			return nil, err
		}
	}
	for _, set := range []func() error{
		func() error { return setScaling(a, n, in.ScalingConfig) },
		func() error { return setUpdateConfig(a, n, in.UpdateConfig) },
		func() error { return setNodeRepair(a, n, in.NodeRepairConfig) },
		func() error { return setWarmPool(a, n, in.WarmPoolConfig) },
	} {
		if err := set(); err != nil {
			return nil, err
		}
	}
	return params, nil
}

func (n *Nodegroup) changeLabels(a about, in *ekstypes.UpdateLabelsPayload) error {
	labels := nonNil(n.Resource.Labels)
	for _, k := range in.RemoveLabels {
		if _, both := in.AddOrUpdateLabels[k]; both {
			return a.invalidParameter("Label %s cannot be both added and removed", k)
		}
		delete(labels, k)
	}
	if err := checkLabels(a, in.AddOrUpdateLabels); err != nil {
		return err
	}
	maps.Copy(labels, in.AddOrUpdateLabels)
	n.Resource.Labels = labels
	return checkLabels(a, labels)
}

func (n *Nodegroup) changeTaints(a about, in *ekstypes.UpdateTaintsPayload) error {
	if err := checkTaints(a, in.AddOrUpdateTaints); err != nil {
		return err
	}
	gone := map[string]bool{}
	for _, t := range in.RemoveTaints {
		gone[taintID(t)] = true
	}
	for _, t := range in.AddOrUpdateTaints {
		if gone[taintID(t)] {
			return a.invalidParameter("Taint %s with effect %s cannot be both added and removed", aws.ToString(t.Key), t.Effect)
		}
	}
	taints := slices.DeleteFunc(slices.Clone(n.Resource.Taints), func(t ekstypes.Taint) bool { return gone[taintID(t)] })
	for _, t := range in.AddOrUpdateTaints {
		if i := slices.IndexFunc(taints, func(o ekstypes.Taint) bool { return taintID(o) == taintID(t) }); i >= 0 {
			taints[i] = t
		} else {
			taints = append(taints, t)
		}
	}
	return setTaints(a, n, taints)
}

func configParams(in *eks.UpdateNodegroupConfigInput) []ekstypes.UpdateParam {
	var out []ekstypes.UpdateParam
	number := func(t ekstypes.UpdateParamType, v *int32) {
		if v != nil {
			out = append(out, param(t, strconv.Itoa(int(*v))))
		}
	}
	if c := in.ScalingConfig; c != nil {
		number(ekstypes.UpdateParamTypeMinSize, c.MinSize)
		number(ekstypes.UpdateParamTypeMaxSize, c.MaxSize)
		number(ekstypes.UpdateParamTypeDesiredSize, c.DesiredSize)
	}
	if l := in.Labels; l != nil {
		if len(l.AddOrUpdateLabels) > 0 {
			out = append(out, param(ekstypes.UpdateParamTypeLabelsToAdd, l.AddOrUpdateLabels))
		}
		if len(l.RemoveLabels) > 0 {
			out = append(out, param(ekstypes.UpdateParamTypeLabelsToRemove, l.RemoveLabels))
		}
	}
	if t := in.Taints; t != nil {
		if len(t.AddOrUpdateTaints) > 0 {
			out = append(out, param(ekstypes.UpdateParamTypeTaintsToAdd, shownTaints(t.AddOrUpdateTaints)))
		}
		if len(t.RemoveTaints) > 0 {
			out = append(out, param(ekstypes.UpdateParamTypeTaintsToRemove, shownTaints(t.RemoveTaints)))
		}
	}
	if c := in.UpdateConfig; c != nil {
		number(ekstypes.UpdateParamTypeMaxUnavailable, c.MaxUnavailable)
		number(ekstypes.UpdateParamTypeMaxUnavailablePercentage, c.MaxUnavailablePercentage)
		if c.UpdateStrategy != "" {
			out = append(out, param(ekstypes.UpdateParamTypeUpdateStrategy, string(c.UpdateStrategy)))
		}
	}
	if c := in.NodeRepairConfig; c != nil {
		out = append(out, repairParams(c)...)
	}
	if c := in.WarmPoolConfig; c != nil {
		out = append(out, param(ekstypes.UpdateParamTypeWarmPoolEnabled, strconv.FormatBool(aws.ToBool(c.Enabled))))
	}
	return out
}

// repairParams: the switch has a parameter of its own.
func repairParams(c *ekstypes.NodeRepairConfig) (out []ekstypes.UpdateParam) {
	if c.Enabled != nil {
		out = append(out, param(ekstypes.UpdateParamTypeNodeRepairEnabled, strconv.FormatBool(*c.Enabled)))
	}
	shown := map[string]any{}
	for name, v := range map[string]*int32{
		"maxParallelNodesRepairedCount": c.MaxParallelNodesRepairedCount, "maxParallelNodesRepairedPercentage": c.MaxParallelNodesRepairedPercentage,
		"maxUnhealthyNodeThresholdCount": c.MaxUnhealthyNodeThresholdCount, "maxUnhealthyNodeThresholdPercentage": c.MaxUnhealthyNodeThresholdPercentage,
	} {
		if v != nil {
			shown[name] = *v
		}
	}
	var overrides []map[string]any
	for _, o := range c.NodeRepairConfigOverrides {
		overrides = append(overrides, map[string]any{
			"nodeMonitoringCondition": aws.ToString(o.NodeMonitoringCondition), "nodeUnhealthyReason": aws.ToString(o.NodeUnhealthyReason),
			"minRepairWaitTimeMins": aws.ToInt32(o.MinRepairWaitTimeMins), "repairAction": o.RepairAction,
		})
	}
	if overrides != nil {
		shown["nodeRepairConfigOverrides"] = overrides
	}
	if len(shown) > 0 {
		out = append(out, param(ekstypes.UpdateParamTypeNodeRepairConfig, shown))
	}
	return out
}

func shownTaints(in []ekstypes.Taint) []map[string]string {
	out := make([]map[string]string, 0, len(in))
	for _, t := range in {
		out = append(out, map[string]string{"key": aws.ToString(t.Key), "value": aws.ToString(t.Value), "effect": string(t.Effect)})
	}
	return out
}

// UpdateNodegroupVersion implements eks:UpdateNodegroupVersion.
func (s *Service) UpdateNodegroupVersion(ctx context.Context, in *eks.UpdateNodegroupVersionInput, _ ...func(*eks.Options)) (*eks.UpdateNodegroupVersionOutput, error) {
	a := about{cluster: aws.ToString(in.ClusterName), nodegroup: aws.ToString(in.NodegroupName)}
	bare := *in
	bare.ClientRequestToken = nil
	req, err := newRequest(in.ClientRequestToken, bare)
	if err != nil {
		return nil, err
	}
	if _, err := readNodegroup(s.store, awsid.CallerFrom(ctx).Scope, a); err != nil {
		return nil, err
	}
	t, err := s.launchTemplate(ctx, a, in.LaunchTemplate)
	if err != nil {
		return nil, err
	}
	u, err := s.updateNodegroup(ctx, a, ekstypes.UpdateTypeVersionUpdate, req, func(tx *store.Tx, n *Nodegroup) ([]ekstypes.UpdateParam, error) {
		c, err := readRunningCluster(tx, n.Scope, a)
		if err != nil {
			return nil, err
		}
		return n.upgrade(a, c, in, t)
	})
	if err != nil {
		return nil, err
	}
	return &eks.UpdateNodegroupVersionOutput{Update: u}, nil
}

// upgrade writes the template that nodes should boot from.
func (n *Nodegroup) upgrade(a about, c *Cluster, in *eks.UpdateNodegroupVersionInput, t *template) ([]ekstypes.UpdateParam, error) {
	var params []ekstypes.UpdateParam
	if t != nil {
		if err := n.upgradeTemplate(a, in, t); err != nil {
			return nil, err
		}
		params = append(params,
			param(ekstypes.UpdateParamTypeLaunchTemplateName, aws.ToString(t.spec.Name)),
			param(ekstypes.UpdateParamTypeLaunchTemplateVersion, aws.ToString(t.spec.Version)))
	}
	n.Force, n.RollFailed = in.Force, 0
	if n.Resource.AmiType == ekstypes.AMITypesCustom {
		if in.Version != nil || in.ReleaseVersion != nil {
			return nil, a.invalidParameter("You cannot specify the field kubernetesVersion or releaseVersion when using custom AMIs.")
		}
		if t == nil {
			return nil, a.invalidParameter("A launch template version must be specified to update a node group with a custom AMI.")
		}
		return params, nil
	}
	// A launch template alone does not move the image.
	if t != nil && in.Version == nil && in.ReleaseVersion == nil {
		return params, nil
	}
	version, own := aws.ToString(in.Version), aws.ToString(n.Resource.Version)
	if version == "" {
		version = own
	}
	if clusterVersion := *c.Resource.Version; version != own && version != clusterVersion {
		return nil, a.invalidParameter("Nodegroup Kubernetes version should be equal to Cluster kubernetes version %s or NodeGroup kubernetes version %s", clusterVersion, own)
	}
	release, err := releaseVersion(a, n.Scope.Region, n.Resource.AmiType, version, aws.ToString(in.ReleaseVersion))
	if err != nil {
		return nil, err
	}
	n.Desired.Version, n.Desired.ReleaseVersion = version, release
	return append([]ekstypes.UpdateParam{
		param(ekstypes.UpdateParamTypeVersion, version), param(ekstypes.UpdateParamTypeReleaseVersion, release),
	}, params...), nil
}

// upgradeTemplate moves the group to another version of its launch template.
func (n *Nodegroup) upgradeTemplate(a about, in *eks.UpdateNodegroupVersionInput, t *template) error {
	old := n.Resource.LaunchTemplate
	if old == nil {
		return a.invalidParameter("You cannot specify a launch template when the node group was created without one.")
	}
	if aws.ToString(old.Id) != aws.ToString(t.spec.Id) {
		return a.invalidParameter("The launch template must be the one that the node group was created with, %s.", aws.ToString(old.Id))
	}
	image := aws.ToString(t.data.ImageId)
	if custom := n.Resource.AmiType == ekstypes.AMITypesCustom; custom != (image != "") {
		return a.invalidParameter("A node group cannot change between a custom AMI and an EKS optimized one.")
	}
	if t.data.InstanceType != "" && len(n.Resource.InstanceTypes) > 0 {
		return a.invalidParameter("Instance types must be specified either in the launch template or in the request, but not in both.")
	}
	n.Desired.LaunchTemplate = t.spec
	n.Desired.ImageID, n.Desired.UserData = image, aws.ToString(t.data.UserData)
	n.SecurityGroupIDs = t.securityGroups()
	return nil
}

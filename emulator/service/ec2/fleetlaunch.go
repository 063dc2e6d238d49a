package ec2

import (
	"context"
	"errors"
	"math"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// fulfil launches candidates in order until each share has its target.
func (s *Service) fulfil(ctx context.Context, tx *store.Tx, sc awsid.Scope, in *ec2.CreateFleetInput, cands []candidate, out *ec2.CreateFleetOutput) error {
	caller := awsid.CallerFrom(ctx)
	caller.SourceIP = "ec2fleet.amazonaws.com" // may combine subnets with a template's interfaces, and set aws: tags
	ctx = awsid.WithCaller(ctx, caller)
	for _, sh := range shares(in, cands) {
		var got float64
		for _, c := range sh.sorted {
			if got >= sh.target {
				break
			}
			weight := 1.0
			if w := c.over.WeightedCapacity; w != nil && *w > 0 {
				weight = *w
			}
			n := int32(math.Ceil((sh.target - got) / weight))
			ids, spec, err := s.launchCandidate(ctx, tx, sc, in, c, n, sh.spot, *out.FleetId)
			if err != nil {
				var api smithy.APIError
				if !errors.As(err, &api) {
					return err
				}
				out.Errors = append(out.Errors, types.CreateFleetError{
					ErrorCode: aws.String(api.ErrorCode()), ErrorMessage: aws.String(api.ErrorMessage()),
					LaunchTemplateAndOverrides: overridesShown(spec, c.over), Lifecycle: lifecycleOf(sh.spot),
				})
				continue
			}
			got += float64(len(ids)) * weight
			out.Instances = append(out.Instances, types.CreateFleetInstance{
				InstanceIds: ids, InstanceType: c.over.InstanceType, LaunchTemplateAndOverrides: overridesShown(spec, c.over), Lifecycle: lifecycleOf(sh.spot),
			})
		}
		if least := leastCapacity(in, sh.spot); got < least {
			return errTooFew
		}
	}
	return nil
}

func lifecycleOf(spot bool) types.InstanceLifecycle {
	if spot {
		return types.InstanceLifecycleSpot
	}
	return types.InstanceLifecycleOnDemand
}

func leastCapacity(in *ec2.CreateFleetInput, spot bool) float64 {
	switch {
	case spot && in.SpotOptions != nil:
		return float64(aws.ToInt32(in.SpotOptions.MinTargetCapacity))
	case !spot && in.OnDemandOptions != nil:
		return float64(aws.ToInt32(in.OnDemandOptions.MinTargetCapacity))
	}
	return 0
}

// launchCandidate makes up to n instances of one candidate, or writes nothing.
func (s *Service) launchCandidate(ctx context.Context, tx *store.Tx, sc awsid.Scope, in *ec2.CreateFleetInput, c candidate, n int32, spot bool, fleet string) ([]string, *types.FleetLaunchTemplateSpecification, error) {
	spec := &types.FleetLaunchTemplateSpecification{LaunchTemplateId: c.template.LaunchTemplateId, LaunchTemplateName: c.template.LaunchTemplateName, Version: c.template.Version}
	if c.err != nil {
		return nil, spec, c.err
	}
	run := &ec2.RunInstancesInput{
		MinCount: aws.Int32(1), MaxCount: aws.Int32(min(n, 1000)), InstanceType: c.over.InstanceType, SubnetId: c.over.SubnetId, ImageId: c.over.ImageId, KeyName: c.over.KeyName,
		LaunchTemplate: &types.LaunchTemplateSpecification{LaunchTemplateId: spec.LaunchTemplateId, LaunchTemplateName: spec.LaunchTemplateName, Version: spec.Version},
	}
	if c.over.Placement != nil {
		p := *c.over.Placement
		run.Placement = &p
	}
	if z, id := c.over.AvailabilityZone, c.over.AvailabilityZoneId; z != nil || id != nil {
		if run.Placement == nil {
			run.Placement = &types.Placement{}
		}
		run.Placement.AvailabilityZone, run.Placement.AvailabilityZoneId = z, id
		if z != nil {
			run.Placement.AvailabilityZoneId = nil
		}
	}
	if len(c.over.BlockDeviceMappings) > 0 {
		if err := convert(c.over.BlockDeviceMappings, &run.BlockDeviceMappings); err != nil {
			return nil, spec, err
		}
	}
	if spot {
		run.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{MarketType: types.MarketTypeSpot, SpotOptions: &types.SpotMarketOptions{MaxPrice: c.over.MaxPrice}}
	}
	run.TagSpecifications = []types.TagSpecification{{ResourceType: types.ResourceTypeInstance, Tags: []types.Tag{{Key: aws.String("aws:ec2:fleet-id"), Value: &fleet}}}}
	for _, t := range in.TagSpecifications {
		switch t.ResourceType {
		case types.ResourceTypeInstance, types.ResourceTypeVolume, types.ResourceTypeNetworkInterface:
			run.TagSpecifications = append(run.TagSpecifications, t)
		}
	}
	la, err := s.prepare(ctx, tx, sc, run)
	if err != nil {
		return nil, spec, err
	}
	la.profile = c.profile
	spec.LaunchTemplateId, spec.LaunchTemplateName = la.template.LaunchTemplateId, nil
	spec.Version = aws.String(strconv.FormatInt(*la.template.VersionNumber, 10))
	if spot && !slices.Contains(la.typ.UsageClasses, "spot") {
		return nil, spec, apiError("UnfulfillableCapacity", "Unable to fulfill capacity due to your request configuration. Please adjust your request and try again.")
	}
	if err := la.checkDisks(sc); err != nil {
		return nil, spec, err
	}
	made, err := s.launchAll(ctx, tx, sc, la)
	if err != nil {
		return nil, spec, err
	}
	ids := make([]string, len(made))
	for i, inst := range made {
		ids[i] = *inst.InstanceId
	}
	return ids, spec, nil
}

// checkDisks finds what makeVolumes would fail with, before anything is written.
func (la *launch) checkDisks(sc awsid.Scope) error {
	for _, d := range la.disks() {
		if _, err := newVolume(sc, d.Ebs, la.subnet.AvailabilityZone, la.subnet.AvailabilityZoneId, la.now); err != nil {
			return err
		}
	}
	return nil
}

func overridesShown(spec *types.FleetLaunchTemplateSpecification, o types.FleetLaunchTemplateOverridesRequest) *types.LaunchTemplateAndOverridesResponse {
	shown := &types.FleetLaunchTemplateOverrides{
		AvailabilityZone: o.AvailabilityZone, AvailabilityZoneId: o.AvailabilityZoneId, ImageId: o.ImageId, InstanceType: o.InstanceType, MaxPrice: o.MaxPrice,
		Priority: o.Priority, SubnetId: o.SubnetId, WeightedCapacity: o.WeightedCapacity,
	}
	if o.Placement != nil {
		shown.Placement = &types.PlacementResponse{GroupName: o.Placement.GroupName}
	}
	return &types.LaunchTemplateAndOverridesResponse{LaunchTemplateSpecification: spec, Overrides: shown}
}

// DescribeFleets lists fleets.
func (s *Service) DescribeFleets(ctx context.Context, in *ec2.DescribeFleetsInput, _ ...func(*ec2.Options)) (*ec2.DescribeFleetsOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	page, next, err := fleetLister.run(s.store, sc, query{in.FleetIds, in.Filters, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeFleetsOutput{Fleets: page, NextToken: next}, nil
}

var fleetLister = &lister[Fleet, types.FleetData]{
	kind: fleetKind,
	view: func(_ store.Reader, _ awsid.Scope, r *Fleet) types.FleetData { return r.FleetData },
	id:   func(v *types.FleetData) string { return deref(v.FleetId) },
	tags: func(v *types.FleetData) []types.Tag { return v.Tags },
	filters: fields[types.FleetData]{
		"activity-status":                    func(v *types.FleetData) []string { return text(v.ActivityStatus) },
		"excess-capacity-termination-policy": func(v *types.FleetData) []string { return text(v.ExcessCapacityTerminationPolicy) },
		"fleet-state":                        func(v *types.FleetData) []string { return text(v.FleetState) },
		"replace-unhealthy-instances":        func(v *types.FleetData) []string { return boolean(v.ReplaceUnhealthyInstances) },
		"type":                               func(v *types.FleetData) []string { return text(v.Type) },
	},
	minPage: 1,
}

// DeleteFleets deletes fleets. Those of type instant take their instances along.
func (s *Service) DeleteFleets(ctx context.Context, in *ec2.DeleteFleetsInput, _ ...func(*ec2.Options)) (*ec2.DeleteFleetsOutput, error) {
	if len(in.FleetIds) == 0 {
		return nil, errMissing("FleetId")
	}
	if in.TerminateInstances == nil {
		return nil, errMissing("TerminateInstances")
	}
	out := &ec2.DeleteFleetsOutput{}
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		*out = ec2.DeleteFleetsOutput{}
		for _, id := range in.FleetIds {
			f, err := fleetKind.get(tx, sc, &id)
			code := types.DeleteFleetErrorCodeFleetIdDoesNotExist
			if err == nil && !*in.TerminateInstances {
				err, code = errInvalid("TerminateInstances must be true for a fleet of type instant"), types.DeleteFleetErrorCodeUnexpectedError
			}
			if err != nil {
				out.UnsuccessfulFleetDeletions = append(out.UnsuccessfulFleetDeletions, types.DeleteFleetErrorItem{
					FleetId: &id, Error: &types.DeleteFleetError{Code: code, Message: unsuccessful(id, err).Error.Message},
				})
				continue
			}
			for _, i := range f.InstanceIDs {
				inst := Instances.Edit(tx, sc, i)
				if inst == nil || inst.State.Name == types.InstanceStateNameTerminated || inst.State.Name == types.InstanceStateNameShuttingDown {
					continue
				}
				s.enter(inst, types.InstanceStateNameShuttingDown)
				Instances.Put(tx, sc, i, inst)
			}
			Fleets.Delete(tx, sc, id)
			out.SuccessfulFleetDeletions = append(out.SuccessfulFleetDeletions, types.DeleteFleetSuccessItem{
				FleetId: &id, PreviousFleetState: f.FleetState, CurrentFleetState: types.FleetStateCodeDeletedTerminatingInstances,
			})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

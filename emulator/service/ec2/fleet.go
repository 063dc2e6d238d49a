package ec2

import (
	"cmp"
	"context"
	"errors"
	"math"
	"regexp"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/instancetypes"
)

// Fleet is an EC2 Fleet of type instant, which does nothing more after its request.
type Fleet struct {
	types.FleetData
	InstanceIDs []string
}

// Fleets is keyed by id.
const Fleets store.Table[Fleet] = "ec2-fleet"

var fleetKind = &kind[Fleet]{
	table: Fleets, typ: types.ResourceTypeFleet, prefix: "fleet", noun: "fleet", param: "fleetId",
	malformed: "InvalidFleetId.Malformed", notFound: "InvalidFleetId.NotFound",
	form: regexp.MustCompile(`^[0-9a-f-]{36}$`),
	tags: func(r *Fleet) *[]types.Tag { return &r.Tags },
	id:   func(r *Fleet) *string { return r.FleetId },
}

// candidate is one way in which a fleet may launch an instance.
type candidate struct {
	template *types.FleetLaunchTemplateSpecificationRequest
	over     types.FleetLaunchTemplateOverridesRequest
	price    float64
	profile  *types.IamInstanceProfile
	err      error // found before the transaction
}

// errTooFew undoes a fleet that did not get its minimum.
var errTooFew = errors.New("ec2: fewer instances than the fleet's minimum")

// CreateFleet launches instances at once, out of the cheapest or most preferred of
// the given types and subnets in which they can be launched. Reasons why others
// could not be are in Errors, as in EC2.
func (s *Service) CreateFleet(ctx context.Context, in *ec2.CreateFleetInput, _ ...func(*ec2.Options)) (*ec2.CreateFleetOutput, error) {
	if err := checkFleet(in); err != nil {
		return nil, err
	}
	sc := awsid.CallerFrom(ctx).Scope
	if err := s.ensureRegion(ctx, sc); err != nil {
		return nil, err
	}
	tags, err := tagsFor(ctx, in.TagSpecifications, types.ResourceTypeFleet, types.ResourceTypeInstance, types.ResourceTypeVolume, types.ResourceTypeNetworkInterface, types.ResourceTypeSpotInstancesRequest, types.ResourceTypeLaunchTemplate)
	if err != nil {
		return nil, err
	}
	for _, spec := range in.TagSpecifications {
		if err := checkTags(ctx, spec.Tags); err != nil {
			return nil, err
		}
	}
	out := &ec2.CreateFleetOutput{}
	cands := s.candidates(ctx, sc, in)
	err = s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		*out = ec2.CreateFleetOutput{Instances: []types.CreateFleetInstance{}, Errors: []types.CreateFleetError{}}
		rp, err := s.replayOf(tx, sc, "CreateFleet", in.ClientToken, in)
		if err != nil {
			return err
		}
		if rp.ids != nil {
			if f := Fleets.Get(tx, sc, rp.ids[0]); f != nil {
				out.FleetId = f.FleetId
				return nil
			}
		}
		out.FleetId = aws.String("fleet-" + awsid.NewUUID())
		f := &Fleet{FleetData: fleetData(in, tags)}
		now := s.now()
		f.FleetId, f.CreateTime = out.FleetId, &now
		if err := s.fulfil(ctx, tx, sc, in, cands, out); err != nil {
			return err
		}
		for _, i := range out.Instances {
			f.InstanceIDs = append(f.InstanceIDs, i.InstanceIds...)
		}
		Fleets.Put(tx, sc, *f.FleetId, f)
		s.remember(tx, sc, rp, *f.FleetId)
		return nil
	})
	if errors.Is(err, errTooFew) {
		out.Instances = []types.CreateFleetInstance{}
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

func checkFleet(in *ec2.CreateFleetInput) error {
	t := in.TargetCapacitySpecification
	switch {
	case len(in.LaunchTemplateConfigs) == 0:
		return errMissing("LaunchTemplateConfigs")
	case t == nil || t.TotalTargetCapacity == nil:
		return errMissing("TargetCapacitySpecification")
	case in.Type != types.FleetTypeInstant:
		return apiError("UnsupportedOperation", "ekslocal has fleets of the type instant only.")
	case *t.TotalTargetCapacity < 1:
		return errInvalid("TotalTargetCapacity must be greater than 0")
	}
	for _, c := range in.LaunchTemplateConfigs {
		if c.LaunchTemplateSpecification == nil {
			return errMissing("LaunchTemplateSpecification")
		}
		l := c.LaunchTemplateSpecification
		if l.LaunchTemplateId == nil && l.LaunchTemplateName == nil {
			return errMissing("LaunchTemplateId or LaunchTemplateName")
		}
		if l.LaunchTemplateId != nil && l.LaunchTemplateName != nil {
			return errCombination("You may only specify one of launchTemplateName or launchTemplateId.")
		}
		if l.Version == nil {
			return errMissing("Version")
		}
		for _, o := range c.Overrides {
			if o.InstanceType != "" && o.InstanceRequirements != nil {
				return errCombination("InstanceType and InstanceRequirements cannot be specified together.")
			}
		}
	}
	return nil
}

func fleetData(in *ec2.CreateFleetInput, tags []types.Tag) types.FleetData {
	t := in.TargetCapacitySpecification
	return types.FleetData{
		Type: in.Type, FleetState: types.FleetStateCodeActive, ActivityStatus: types.FleetActivityStatusFulfilled, ClientToken: in.ClientToken, Tags: tags,
		TargetCapacitySpecification: &types.TargetCapacitySpecification{
			TotalTargetCapacity: t.TotalTargetCapacity, OnDemandTargetCapacity: t.OnDemandTargetCapacity, SpotTargetCapacity: t.SpotTargetCapacity,
			DefaultTargetCapacityType: t.DefaultTargetCapacityType,
		},
		ReplaceUnhealthyInstances: aws.Bool(false), TerminateInstancesWithExpiration: aws.Bool(false),
	}
}

// candidates are the fleet's overrides, each with one instance type.
func (s *Service) candidates(ctx context.Context, sc awsid.Scope, in *ec2.CreateFleetInput) []candidate {
	var out []candidate
	for _, c := range in.LaunchTemplateConfigs {
		spec := c.LaunchTemplateSpecification
		merged, _, err := withTemplate(s.store, sc, &ec2.RunInstancesInput{LaunchTemplate: &types.LaunchTemplateSpecification{
			LaunchTemplateId: spec.LaunchTemplateId, LaunchTemplateName: spec.LaunchTemplateName, Version: spec.Version,
		}})
		var profile *types.IamInstanceProfile
		if err == nil {
			profile, err = s.profileOf(ctx, merged.IamInstanceProfile)
		}
		overrides := c.Overrides
		if len(overrides) == 0 {
			overrides = []types.FleetLaunchTemplateOverridesRequest{{}}
		}
		for _, o := range overrides {
			names := []types.InstanceType{o.InstanceType}
			switch {
			case o.InstanceRequirements != nil:
				names = typesMatching(o.InstanceRequirements, nil)
			case o.InstanceType == "" && merged != nil:
				names = []types.InstanceType{merged.InstanceType}
			}
			for _, name := range names {
				each := o
				each.InstanceType = name
				cand := candidate{template: spec, over: each, price: math.Inf(1), profile: profile, err: err}
				if t, ok := instancetypes.Lookup(string(name)); ok && t.USDPerHour > 0 {
					cand.price = t.USDPerHour
				}
				out = append(out, cand)
			}
		}
	}
	return out
}

// order sorts candidates as the strategy prefers them. Without figures of capacity,
// the strategies that look at it take the cheapest too.
func order(cands []candidate, byPriority bool) []candidate {
	out := slices.Clone(cands)
	priority := func(c candidate) float64 {
		if c.over.Priority == nil {
			return math.Inf(1)
		}
		return *c.over.Priority
	}
	slices.SortStableFunc(out, func(a, b candidate) int {
		if byPriority {
			return cmp.Compare(priority(a), priority(b))
		}
		return cmp.Compare(a.price, b.price)
	})
	return out
}

// share is how much of a fleet's target is to be of one market.
type share struct {
	spot   bool
	target float64
	sorted []candidate
}

func shares(in *ec2.CreateFleetInput, cands []candidate) []share {
	t := in.TargetCapacitySpecification
	total, spot := float64(*t.TotalTargetCapacity), 0.0
	switch {
	case t.SpotTargetCapacity != nil:
		spot = float64(*t.SpotTargetCapacity)
	case t.OnDemandTargetCapacity != nil:
		if t.DefaultTargetCapacityType == types.DefaultTargetCapacityTypeSpot {
			spot = total - float64(*t.OnDemandTargetCapacity)
		}
	case t.DefaultTargetCapacityType == types.DefaultTargetCapacityTypeSpot:
		spot = total
	}
	onDemand := in.OnDemandOptions != nil && in.OnDemandOptions.AllocationStrategy == types.FleetOnDemandAllocationStrategyPrioritized
	prefer := in.SpotOptions != nil && in.SpotOptions.AllocationStrategy == types.SpotAllocationStrategyCapacityOptimizedPrioritized
	return []share{
		{spot: false, target: total - spot, sorted: order(cands, onDemand)},
		{spot: true, target: spot, sorted: order(cands, prefer)},
	}
}

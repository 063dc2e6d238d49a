package ec2

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// PlacementGroup is a placement group.
type PlacementGroup struct{ types.PlacementGroup }

// PlacementGroups is keyed by id.
const PlacementGroups store.Table[PlacementGroup] = "ec2-placement-group"

var placementGroupKind = &kind[PlacementGroup]{
	table: PlacementGroups, typ: types.ResourceTypePlacementGroup, prefix: "pg", noun: "placement group", param: "groupName",
	malformed: "InvalidPlacementGroupId.Malformed", notFound: "InvalidPlacementGroup.Unknown",
	missing: func(ids []string) string { return "The Placement Group '" + ids[0] + "' is unknown." },
	tags:    func(r *PlacementGroup) *[]types.Tag { return &r.Tags },
	id:      func(r *PlacementGroup) *string { return r.GroupId },
}

func findPlacementGroup(r store.Reader, sc awsid.Scope, name string) *PlacementGroup {
	all := PlacementGroups.List(r, sc)
	if i := slices.IndexFunc(all, func(g *PlacementGroup) bool { return deref(g.GroupName) == name }); i >= 0 {
		return all[i]
	}
	return nil
}

// CreatePlacementGroup creates a group; the strategy is cluster unless said.
func (s *Service) CreatePlacementGroup(ctx context.Context, in *ec2.CreatePlacementGroupInput, _ ...func(*ec2.Options)) (*ec2.CreatePlacementGroupOutput, error) {
	g := types.PlacementGroup{
		GroupName: in.GroupName, Strategy: in.Strategy, PartitionCount: in.PartitionCount, SpreadLevel: in.SpreadLevel, State: types.PlacementGroupStateAvailable,
	}
	if g.Strategy == "" {
		g.Strategy = types.PlacementStrategyCluster
	}
	switch {
	case deref(in.GroupName) == "":
		return nil, errMissing("GroupName")
	case len(*in.GroupName) > 255:
		return nil, errInvalid("Value (%s) for parameter groupName is invalid. Group names have at most 255 characters.", *in.GroupName)
	case !slices.Contains(g.Strategy.Values(), g.Strategy):
		return nil, errInvalidValue(g.Strategy, "strategy")
	case g.Strategy != types.PlacementStrategyPartition && g.PartitionCount != nil:
		return nil, errCombination("Partition count can only be specified for the partition strategy")
	case g.Strategy != types.PlacementStrategySpread && g.SpreadLevel != "":
		return nil, errCombination("Spread level can only be specified for the spread strategy")
	}
	if g.Strategy == types.PlacementStrategyPartition {
		if g.PartitionCount == nil {
			g.PartitionCount = aws.Int32(2)
		}
		if n := *g.PartitionCount; n < 1 || n > 7 {
			return nil, errInvalidValue(n, "partitionCount")
		}
	}
	if g.Strategy == types.PlacementStrategySpread && g.SpreadLevel == "" {
		g.SpreadLevel = types.SpreadLevelRack
	}
	tags, err := tagsFor(ctx, in.TagSpecifications, types.ResourceTypePlacementGroup)
	if err != nil {
		return nil, err
	}
	err = s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		if findPlacementGroup(tx, sc, *in.GroupName) != nil {
			return apiError("InvalidPlacementGroup.Duplicate", "The Placement Group '%s' already exists.", *in.GroupName)
		}
		if err := checkQuota(s, tx, sc, PlacementGroups, "placement-groups-per-region", "PlacementGroupLimitExceeded", "placement groups"); err != nil {
			return err
		}
		g.GroupId, g.Tags = aws.String(awsid.NewID("pg")), tags
		g.GroupArn = aws.String(sc.ARN("ec2", "placement-group/"+*g.GroupName))
		PlacementGroups.Put(tx, sc, *g.GroupId, &PlacementGroup{g})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.CreatePlacementGroupOutput{PlacementGroup: &g}, nil
}

// DeletePlacementGroup deletes a group in which no instance is.
func (s *Service) DeletePlacementGroup(ctx context.Context, in *ec2.DeletePlacementGroupInput, _ ...func(*ec2.Options)) (*ec2.DeletePlacementGroupOutput, error) {
	if deref(in.GroupName) == "" {
		return nil, errMissing("GroupName")
	}
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		g := findPlacementGroup(tx, sc, *in.GroupName)
		if g == nil {
			return placementGroupKind.absent(*in.GroupName)
		}
		if countIn(Instances.List(tx, sc), func(i *Instance) bool {
			return i.State.Name != types.InstanceStateNameTerminated && deref(i.Placement.GroupName) == *g.GroupName
		}) > 0 {
			return apiError("InvalidPlacementGroup.InUse", "The placement group %s is in use and may not be deleted.", *g.GroupName)
		}
		PlacementGroups.Delete(tx, sc, *g.GroupId)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DeletePlacementGroupOutput{}, nil
}

// DescribePlacementGroups lists placement groups.
func (s *Service) DescribePlacementGroups(ctx context.Context, in *ec2.DescribePlacementGroupsInput, _ ...func(*ec2.Options)) (*ec2.DescribePlacementGroupsOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	ids := slices.Clone(in.GroupIds)
	for _, name := range in.GroupNames {
		g := findPlacementGroup(s.store, sc, name)
		if g == nil {
			return nil, placementGroupKind.absent(name)
		}
		ids = append(ids, *g.GroupId)
	}
	page, _, err := placementGroupLister.run(s.store, sc, query{ids: ids, filters: in.Filters})
	if err != nil {
		return nil, err
	}
	return &ec2.DescribePlacementGroupsOutput{PlacementGroups: page}, nil
}

var placementGroupLister = &lister[PlacementGroup, types.PlacementGroup]{
	kind: placementGroupKind,
	view: func(_ store.Reader, _ awsid.Scope, r *PlacementGroup) types.PlacementGroup { return r.PlacementGroup },
	id:   func(v *types.PlacementGroup) string { return deref(v.GroupId) },
	tags: func(v *types.PlacementGroup) []types.Tag { return v.Tags },
	filters: fields[types.PlacementGroup]{
		"group-name":   func(v *types.PlacementGroup) []string { return one(v.GroupName) },
		"group-arn":    func(v *types.PlacementGroup) []string { return one(v.GroupArn) },
		"spread-level": func(v *types.PlacementGroup) []string { return text(v.SpreadLevel) },
		"state":        func(v *types.PlacementGroup) []string { return text(v.State) },
		"strategy":     func(v *types.PlacementGroup) []string { return text(v.Strategy) },
	},
}

// checkPlacement resolves a launch's placement group.
func checkPlacement(r store.Reader, sc awsid.Scope, p *types.Placement) error {
	if p == nil || deref(p.GroupName) == "" && deref(p.GroupId) == "" {
		return nil
	}
	if p.GroupId != nil && *p.GroupId != "" {
		_, err := placementGroupKind.get(r, sc, p.GroupId)
		return err
	}
	if findPlacementGroup(r, sc, *p.GroupName) == nil {
		return placementGroupKind.absent(*p.GroupName)
	}
	return nil
}

package ec2

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const maxTags = 50

// taggable is a kind without its type parameter.
type taggable interface {
	owns(id string) bool
	resourceType() types.ResourceType
	check(id string) error
	absent(ids ...string) error
	retag(tx *store.Tx, sc awsid.Scope, id string, f func([]types.Tag) ([]types.Tag, error)) (found bool, err error)
	eachTagged(r store.Reader, sc awsid.Scope, f func(id string, tags []types.Tag))
	tagsOf(r store.Reader, sc awsid.Scope, id string) (tags []types.Tag, found bool)
}

// taggables are the kinds that CreateTags finds by the prefix of an id.
var taggables = []taggable{
	vpcKind, subnetKind, internetGatewayKind, natGatewayKind, addressKind, routeTableKind, securityGroupKind,
	networkAclKind, networkInterfaceKind, instanceKind, volumeKind, keyPairKind, launchTemplateKind, ruleTags{},
	dhcpTags{dhcpOptionsKind}, egressOnlyKind, vpcEndpointKind, prefixListKind, flowLogKind, peeringKind, cidrReservationKind,
	placementGroupKind, snapshotKind, fleetKind, noTags{types.ResourceTypeSpotInstancesRequest, "sir", "InvalidSpotInstanceRequestID.NotFound"},
}

func (k *kind[T]) owns(id string) bool              { return strings.HasPrefix(id, k.prefix+"-") }
func (k *kind[T]) resourceType() types.ResourceType { return k.typ }

func (k *kind[T]) retag(tx *store.Tx, sc awsid.Scope, id string, f func([]types.Tag) ([]types.Tag, error)) (bool, error) {
	rec := k.table.Edit(tx, sc, id)
	if rec == nil {
		return false, nil
	}
	tags, err := f(*k.tags(rec))
	if err != nil {
		return true, err
	}
	*k.tags(rec) = tags
	k.table.Put(tx, sc, id, rec)
	return true, nil
}

func (k *kind[T]) eachTagged(r store.Reader, sc awsid.Scope, f func(id string, tags []types.Tag)) {
	for _, rec := range k.table.List(r, sc) {
		if tags := *k.tags(rec); len(tags) > 0 {
			f(k.idOf(rec), tags)
		}
	}
}

func taggableOf(id string) (taggable, error) {
	for _, k := range taggables {
		if k.owns(id) {
			return k, k.check(id)
		}
	}
	return nil, apiError("InvalidID", "The ID '%s' is not valid", id)
}

// CreateTags adds tags to resources, replacing those with the same keys.
func (s *Service) CreateTags(ctx context.Context, in *ec2.CreateTagsInput, _ ...func(*ec2.Options)) (*ec2.CreateTagsOutput, error) {
	if len(in.Resources) == 0 {
		return nil, errMissing("resourceIdSet")
	}
	if len(in.Tags) == 0 {
		return nil, errMissing("tagSet")
	}
	if err := checkTags(ctx, in.Tags); err != nil {
		return nil, err
	}
	err := s.retag(ctx, in.DryRun, in.Resources, func(have []types.Tag) ([]types.Tag, error) {
		return mergeTags(have, in.Tags)
	})
	if err != nil {
		return nil, err
	}
	return &ec2.CreateTagsOutput{}, nil
}

// DeleteTags removes tags: by key, by key and value, or all of the user's.
func (s *Service) DeleteTags(ctx context.Context, in *ec2.DeleteTagsInput, _ ...func(*ec2.Options)) (*ec2.DeleteTagsOutput, error) {
	if len(in.Resources) == 0 {
		return nil, errMissing("resourceIdSet")
	}
	err := s.retag(ctx, in.DryRun, in.Resources, func(have []types.Tag) ([]types.Tag, error) {
		return slices.DeleteFunc(have, func(t types.Tag) bool {
			if in.Tags == nil {
				return !strings.HasPrefix(deref(t.Key), "aws:")
			}
			return slices.ContainsFunc(in.Tags, func(d types.Tag) bool {
				return deref(d.Key) == deref(t.Key) && (d.Value == nil || *d.Value == deref(t.Value))
			})
		}), nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DeleteTagsOutput{}, nil
}

func (s *Service) retag(ctx context.Context, dryRun *bool, ids []string, f func([]types.Tag) ([]types.Tag, error)) error {
	return s.write(ctx, dryRun, func(tx *store.Tx, sc awsid.Scope) error {
		for _, id := range ids {
			k, err := taggableOf(id)
			if err != nil {
				return err
			}
			found, err := k.retag(tx, sc, id, f)
			if err != nil {
				return err
			}
			if !found {
				return k.absent(id)
			}
		}
		return nil
	})
}

// DescribeTags lists tags of all resources.
func (s *Service) DescribeTags(ctx context.Context, in *ec2.DescribeTagsInput, _ ...func(*ec2.Options)) (*ec2.DescribeTagsOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	match, err := compile(tagFilters, func(d *types.TagDescription) []types.Tag { return []types.Tag{{Key: d.Key, Value: d.Value}} }, in.Filters)
	if err != nil {
		return nil, err
	}
	all := []types.TagDescription{}
	for _, k := range taggables {
		k.eachTagged(s.store, sc, func(id string, tags []types.Tag) {
			for _, t := range tags {
				d := types.TagDescription{Key: t.Key, Value: t.Value, ResourceId: &id, ResourceType: k.resourceType()}
				if match(&d) {
					all = append(all, d)
				}
			}
		})
	}
	order := func(d *types.TagDescription) string { return deref(d.ResourceId) + "\x00" + deref(d.Key) }
	slices.SortFunc(all, func(a, b types.TagDescription) int { return strings.Compare(order(&a), order(&b)) })
	page, next, err := paginate(all, order, in.MaxResults, in.NextToken, 5)
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeTagsOutput{Tags: page, NextToken: next}, nil
}

var tagFilters = fields[types.TagDescription]{
	"key":           func(d *types.TagDescription) []string { return one(d.Key) },
	"value":         func(d *types.TagDescription) []string { return []string{deref(d.Value)} },
	"resource-id":   func(d *types.TagDescription) []string { return one(d.ResourceId) },
	"resource-type": func(d *types.TagDescription) []string { return text(d.ResourceType) },
}

// tagsFor returns the tags that a creating request gives to resources of a type.
// allowed are the types that the request may tag, the created one first.
func tagsFor(ctx context.Context, specs []types.TagSpecification, typ types.ResourceType, allowed ...types.ResourceType) ([]types.Tag, error) {
	var out []types.Tag
	for _, spec := range specs {
		if spec.ResourceType == "" {
			return nil, errMissing("TagSpecification.ResourceType")
		}
		if spec.ResourceType != typ {
			if !slices.Contains(allowed, spec.ResourceType) {
				return nil, errInvalid("'%s' is not a valid taggable resource type for this operation.", spec.ResourceType)
			}
			continue
		}
		if err := checkTags(ctx, spec.Tags); err != nil {
			return nil, err
		}
		merged, err := mergeTags(out, spec.Tags)
		if err != nil {
			return nil, err
		}
		out = merged
	}
	return out, nil
}

func checkTags(ctx context.Context, tags []types.Tag) error {
	for _, t := range tags {
		k := deref(t.Key)
		switch {
		case k == "":
			return errInvalid("Tag key cannot be null or empty.")
		case len([]rune(k)) > 127:
			return errInvalid("Tag key exceeds the maximum length of 127 characters")
		case len([]rune(deref(t.Value))) > 255:
			return errInvalid("Tag value exceeds the maximum length of 255 characters")
		case strings.HasPrefix(strings.ToLower(k), "aws:") && !fromService(ctx):
			return errInvalid("Tag keys starting with 'aws:' are reserved for internal use")
		}
	}
	return nil
}

// fromService tells whether one of the emulator's own loops calls: those may do
// what AWS lets only its services do. The gateway sets SourceIP to an address.
func fromService(ctx context.Context) bool {
	return strings.HasSuffix(awsid.CallerFrom(ctx).SourceIP, ".amazonaws.com")
}

func mergeTags(have, add []types.Tag) ([]types.Tag, error) {
	out := slices.Clone(have)
	for _, t := range add {
		v := deref(t.Value)
		i := slices.IndexFunc(out, func(h types.Tag) bool { return deref(h.Key) == deref(t.Key) })
		if i >= 0 {
			out[i].Value = &v
			continue
		}
		out = append(out, types.Tag{Key: t.Key, Value: &v})
	}
	user := 0
	for _, t := range out {
		if !strings.HasPrefix(deref(t.Key), "aws:") {
			user++
		}
	}
	if user > maxTags {
		return nil, apiError("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
	}
	return out, nil
}

// noTags stands for resources that tags are given to at launch but that are no
// records of their own.
type noTags struct {
	typ    types.ResourceType
	prefix string
	code   string
}

func (n noTags) owns(id string) bool              { return strings.HasPrefix(id, n.prefix+"-") }
func (n noTags) resourceType() types.ResourceType { return n.typ }
func (n noTags) check(string) error               { return nil }

func (n noTags) absent(ids ...string) error {
	return apiError(n.code, "The %s ID '%s' does not exist", n.typ, ids[0])
}

func (noTags) retag(*store.Tx, awsid.Scope, string, func([]types.Tag) ([]types.Tag, error)) (bool, error) {
	return false, nil
}

func (noTags) eachTagged(store.Reader, awsid.Scope, func(string, []types.Tag)) {}

package ec2

import (
	"cmp"
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// lastRule is the number of the deny-all entry that every ACL ends with.
const lastRule = 32767

func aclEntry(number int32, egress bool, action types.RuleAction) types.NetworkAclEntry {
	return types.NetworkAclEntry{
		RuleNumber: &number, Egress: &egress, RuleAction: action, Protocol: aws.String("-1"), CidrBlock: aws.String(anywhere.String()),
	}
}

func newNetworkAcl(sc awsid.Scope, vpc string) *NetworkAcl {
	return &NetworkAcl{types.NetworkAcl{
		NetworkAclId: aws.String(awsid.NewID("acl")), VpcId: &vpc, OwnerId: &sc.Account, IsDefault: aws.Bool(false),
		Associations: []types.NetworkAclAssociation{},
		Entries:      []types.NetworkAclEntry{aclEntry(lastRule, true, types.RuleActionDeny), aclEntry(lastRule, false, types.RuleActionDeny)},
	}}
}

func putDefaultNetworkAcl(tx *store.Tx, sc awsid.Scope, vpc string) string {
	a := newNetworkAcl(sc, vpc)
	a.IsDefault = aws.Bool(true)
	a.Entries = append(a.Entries, aclEntry(100, true, types.RuleActionAllow), aclEntry(100, false, types.RuleActionAllow))
	sortEntries(a.Entries)
	NetworkAcls.Put(tx, sc, *a.NetworkAclId, a)
	return *a.NetworkAclId
}

func sortEntries(es []types.NetworkAclEntry) {
	slices.SortFunc(es, func(a, b types.NetworkAclEntry) int {
		if *a.Egress != *b.Egress {
			if *a.Egress {
				return -1
			}
			return 1
		}
		return cmp.Compare(*a.RuleNumber, *b.RuleNumber)
	})
}

func associateAcl(tx *store.Tx, sc awsid.Scope, acl, subnet string) {
	if a := NetworkAcls.Edit(tx, sc, acl); a != nil {
		a.Associations = append(a.Associations, types.NetworkAclAssociation{
			NetworkAclAssociationId: aws.String(awsid.NewID("aclassoc")), NetworkAclId: &acl, SubnetId: &subnet,
		})
		NetworkAcls.Put(tx, sc, acl, a)
	}
}

func dissociateAcl(tx *store.Tx, sc awsid.Scope, subnet string) {
	uses := func(a types.NetworkAclAssociation) bool { return deref(a.SubnetId) == subnet }
	for _, a := range NetworkAcls.List(tx, sc) {
		if slices.ContainsFunc(a.Associations, uses) {
			mine := NetworkAcls.Edit(tx, sc, *a.NetworkAclId)
			mine.Associations = slices.DeleteFunc(mine.Associations, uses)
			NetworkAcls.Put(tx, sc, *a.NetworkAclId, mine)
		}
	}
}

// CreateNetworkAcl creates an ACL that denies everything.
func (s *Service) CreateNetworkAcl(ctx context.Context, in *ec2.CreateNetworkAclInput, _ ...func(*ec2.Options)) (*ec2.CreateNetworkAclOutput, error) {
	tags, err := tagsFor(ctx, in.TagSpecifications, types.ResourceTypeNetworkAcl)
	if err != nil {
		return nil, err
	}
	var a *NetworkAcl
	err = s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		v, err := vpcKind.get(tx, sc, in.VpcId)
		if err != nil {
			return err
		}
		rp, err := s.replayOf(tx, sc, "CreateNetworkAcl", in.ClientToken, in)
		if err != nil {
			return err
		}
		if rp.ids != nil {
			if a = NetworkAcls.Get(tx, sc, rp.ids[0]); a != nil {
				return nil
			}
		}
		if n := countIn(NetworkAcls.List(tx, sc), func(r *NetworkAcl) bool { return deref(r.VpcId) == *v.VpcId }); n >= s.quota("network-acls-per-vpc") {
			return errLimit("NetworkAclLimitExceeded", "network ACLs")
		}
		a = newNetworkAcl(sc, *v.VpcId)
		a.Tags = tags
		NetworkAcls.Put(tx, sc, *a.NetworkAclId, a)
		s.remember(tx, sc, rp, *a.NetworkAclId)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.CreateNetworkAclOutput{NetworkAcl: &a.NetworkAcl, ClientToken: in.ClientToken}, nil
}

// DeleteNetworkAcl deletes an ACL that no subnet uses.
func (s *Service) DeleteNetworkAcl(ctx context.Context, in *ec2.DeleteNetworkAclInput, _ ...func(*ec2.Options)) (*ec2.DeleteNetworkAclOutput, error) {
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		a, err := networkAclKind.get(tx, sc, in.NetworkAclId)
		if err != nil {
			return err
		}
		if aws.ToBool(a.IsDefault) {
			return errInvalid("cannot delete default network ACL %s", *a.NetworkAclId)
		}
		if len(a.Associations) > 0 {
			return errDependency("networkAcl", *a.NetworkAclId)
		}
		NetworkAcls.Delete(tx, sc, *a.NetworkAclId)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DeleteNetworkAclOutput{}, nil
}

// CreateNetworkAclEntry adds a rule.
func (s *Service) CreateNetworkAclEntry(ctx context.Context, in *ec2.CreateNetworkAclEntryInput, _ ...func(*ec2.Options)) (*ec2.CreateNetworkAclEntryOutput, error) {
	e := types.NetworkAclEntry{
		RuleNumber: in.RuleNumber, Egress: aws.Bool(aws.ToBool(in.Egress)), RuleAction: in.RuleAction, Protocol: in.Protocol,
		CidrBlock: in.CidrBlock, Ipv6CidrBlock: in.Ipv6CidrBlock, PortRange: in.PortRange, IcmpTypeCode: in.IcmpTypeCode,
	}
	err := s.changeEntries(ctx, in.DryRun, in.NetworkAclId, e, func(es []types.NetworkAclEntry, i int) ([]types.NetworkAclEntry, error) {
		if i >= 0 {
			return nil, apiError("NetworkAclEntryAlreadyExists", "The network acl entry identified by %d already exists.", *e.RuleNumber)
		}
		return append(es, e), nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.CreateNetworkAclEntryOutput{}, nil
}

// ReplaceNetworkAclEntry changes a rule.
func (s *Service) ReplaceNetworkAclEntry(ctx context.Context, in *ec2.ReplaceNetworkAclEntryInput, _ ...func(*ec2.Options)) (*ec2.ReplaceNetworkAclEntryOutput, error) {
	e := types.NetworkAclEntry{
		RuleNumber: in.RuleNumber, Egress: aws.Bool(aws.ToBool(in.Egress)), RuleAction: in.RuleAction, Protocol: in.Protocol,
		CidrBlock: in.CidrBlock, Ipv6CidrBlock: in.Ipv6CidrBlock, PortRange: in.PortRange, IcmpTypeCode: in.IcmpTypeCode,
	}
	err := s.changeEntries(ctx, in.DryRun, in.NetworkAclId, e, func(es []types.NetworkAclEntry, i int) ([]types.NetworkAclEntry, error) {
		if i < 0 {
			return nil, errNoEntry(in.RuleNumber)
		}
		es[i] = e
		return es, nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.ReplaceNetworkAclEntryOutput{}, nil
}

// DeleteNetworkAclEntry removes a rule.
func (s *Service) DeleteNetworkAclEntry(ctx context.Context, in *ec2.DeleteNetworkAclEntryInput, _ ...func(*ec2.Options)) (*ec2.DeleteNetworkAclEntryOutput, error) {
	key := types.NetworkAclEntry{
		RuleNumber: in.RuleNumber, Egress: aws.Bool(aws.ToBool(in.Egress)),
		RuleAction: types.RuleActionDeny, Protocol: aws.String("-1"), CidrBlock: aws.String(anywhere.String()),
	}
	err := s.changeEntries(ctx, in.DryRun, in.NetworkAclId, key, func(es []types.NetworkAclEntry, i int) ([]types.NetworkAclEntry, error) {
		if i < 0 {
			return nil, errNoEntry(in.RuleNumber)
		}
		return slices.Delete(es, i, i+1), nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DeleteNetworkAclEntryOutput{}, nil
}

func errNoEntry(number *int32) error {
	return apiError("InvalidNetworkAclEntry.NotFound", "The specified network acl entry %d does not exist", *number)
}

// changeEntries validates an entry and applies f to the ACL's entries, i being
// the index of the one with the same number and direction.
func (s *Service) changeEntries(ctx context.Context, dryRun *bool, acl *string, e types.NetworkAclEntry, f func(es []types.NetworkAclEntry, i int) ([]types.NetworkAclEntry, error)) error {
	if e.RuleNumber == nil {
		return errMissing("ruleNumber")
	}
	if n := *e.RuleNumber; n < 1 || n >= lastRule {
		return errInvalidValue(n, "ruleNumber")
	}
	switch {
	case e.Protocol == nil:
		return errMissing("protocol")
	case e.RuleAction != types.RuleActionAllow && e.RuleAction != types.RuleActionDeny:
		return errInvalidValue(e.RuleAction, "ruleAction")
	case e.CidrBlock == nil && e.Ipv6CidrBlock == nil:
		return errMissing("cidrBlock")
	}
	if e.CidrBlock != nil {
		if _, err := parseCIDR(*e.CidrBlock, "cidrBlock"); err != nil {
			return err
		}
	}
	return s.write(ctx, dryRun, func(tx *store.Tx, sc awsid.Scope) error {
		a, err := networkAclKind.edit(tx, sc, acl)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(a.Entries, func(o types.NetworkAclEntry) bool {
			return *o.RuleNumber == *e.RuleNumber && *o.Egress == *e.Egress
		})
		if a.Entries, err = f(a.Entries, i); err != nil {
			return err
		}
		n := 0
		for _, o := range a.Entries {
			if *o.Egress == *e.Egress && *o.RuleNumber != lastRule {
				n++
			}
		}
		if n > s.quota("rules-per-network-acl") {
			return errLimit("NetworkAclEntryLimitExceeded", "network ACL entries")
		}
		sortEntries(a.Entries)
		NetworkAcls.Put(tx, sc, *a.NetworkAclId, a)
		return nil
	})
}

// ReplaceNetworkAclAssociation moves a subnet to another ACL.
func (s *Service) ReplaceNetworkAclAssociation(ctx context.Context, in *ec2.ReplaceNetworkAclAssociationInput, _ ...func(*ec2.Options)) (*ec2.ReplaceNetworkAclAssociationOutput, error) {
	if in.AssociationId == nil {
		return nil, errMissing("associationId")
	}
	id := awsid.NewID("aclassoc")
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		to, err := networkAclKind.get(tx, sc, in.NetworkAclId)
		if err != nil {
			return err
		}
		for _, a := range NetworkAcls.List(tx, sc) {
			i := slices.IndexFunc(a.Associations, func(x types.NetworkAclAssociation) bool {
				return deref(x.NetworkAclAssociationId) == *in.AssociationId
			})
			if i < 0 {
				continue
			}
			if deref(a.VpcId) != deref(to.VpcId) {
				return errInvalid("Network ACL %s belongs to a different network", *to.NetworkAclId)
			}
			from := NetworkAcls.Edit(tx, sc, *a.NetworkAclId)
			x := from.Associations[i]
			from.Associations = slices.Delete(from.Associations, i, i+1)
			NetworkAcls.Put(tx, sc, *from.NetworkAclId, from)
			mine := NetworkAcls.Edit(tx, sc, *to.NetworkAclId)
			x.NetworkAclAssociationId, x.NetworkAclId = &id, mine.NetworkAclId
			mine.Associations = append(mine.Associations, x)
			NetworkAcls.Put(tx, sc, *mine.NetworkAclId, mine)
			return nil
		}
		return apiError("InvalidAssociationID.NotFound", "The association ID '%s' does not exist", *in.AssociationId)
	})
	if err != nil {
		return nil, err
	}
	return &ec2.ReplaceNetworkAclAssociationOutput{NewAssociationId: &id}, nil
}

// DescribeNetworkAcls lists network ACLs.
func (s *Service) DescribeNetworkAcls(ctx context.Context, in *ec2.DescribeNetworkAclsInput, _ ...func(*ec2.Options)) (*ec2.DescribeNetworkAclsOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	page, next, err := networkAclLister.run(s.store, sc, query{in.NetworkAclIds, in.Filters, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeNetworkAclsOutput{NetworkAcls: page, NextToken: next}, nil
}

var networkAclLister = &lister[NetworkAcl, types.NetworkAcl]{
	kind: networkAclKind,
	view: func(_ store.Reader, _ awsid.Scope, r *NetworkAcl) types.NetworkAcl { return r.NetworkAcl },
	id:   func(v *types.NetworkAcl) string { return deref(v.NetworkAclId) },
	tags: func(v *types.NetworkAcl) []types.Tag { return v.Tags },
	filters: fields[types.NetworkAcl]{
		"network-acl-id": func(v *types.NetworkAcl) []string { return one(v.NetworkAclId) },
		"vpc-id":         func(v *types.NetworkAcl) []string { return one(v.VpcId) },
		"owner-id":       func(v *types.NetworkAcl) []string { return one(v.OwnerId) },
		"default":        func(v *types.NetworkAcl) []string { return boolean(v.IsDefault) },
		"association.association-id": func(v *types.NetworkAcl) []string {
			return each(v.Associations, func(a *types.NetworkAclAssociation) []string { return one(a.NetworkAclAssociationId) })
		},
		"association.network-acl-id": func(v *types.NetworkAcl) []string {
			return each(v.Associations, func(a *types.NetworkAclAssociation) []string { return one(a.NetworkAclId) })
		},
		"association.subnet-id": func(v *types.NetworkAcl) []string {
			return each(v.Associations, func(a *types.NetworkAclAssociation) []string { return one(a.SubnetId) })
		},
		"entry.cidr": func(v *types.NetworkAcl) []string {
			return each(v.Entries, func(e *types.NetworkAclEntry) []string { return one(e.CidrBlock) })
		},
		"entry.rule-number": func(v *types.NetworkAcl) []string {
			return each(v.Entries, func(e *types.NetworkAclEntry) []string { return number(e.RuleNumber) })
		},
		"entry.rule-action": func(v *types.NetworkAcl) []string {
			return each(v.Entries, func(e *types.NetworkAclEntry) []string { return text(e.RuleAction) })
		},
		"entry.protocol": func(v *types.NetworkAcl) []string {
			return each(v.Entries, func(e *types.NetworkAclEntry) []string { return one(e.Protocol) })
		},
	}.more(aclPaths),
}

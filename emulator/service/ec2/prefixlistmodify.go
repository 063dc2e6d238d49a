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

// ModifyManagedPrefixList changes a list's entries, which makes a new version, or
// its name and size, which does not.
func (s *Service) ModifyManagedPrefixList(ctx context.Context, in *ec2.ModifyManagedPrefixListInput, _ ...func(*ec2.Options)) (*ec2.ModifyManagedPrefixListOutput, error) {
	changes := len(in.AddEntries)+len(in.RemoveEntries) > 0
	if changes && in.MaxEntries != nil {
		return nil, errInvalid("You cannot modify the entries of a prefix list and its size at the same time.")
	}
	if changes && in.CurrentVersion == nil {
		return nil, errMissing("CurrentVersion")
	}
	var out types.ManagedPrefixList
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		p, err := customerList(tx, sc, in.PrefixListId)
		if err != nil {
			return err
		}
		if in.CurrentVersion != nil && *in.CurrentVersion != *p.Version {
			return errListVersion
		}
		if in.PrefixListName != nil {
			p.PrefixListName = in.PrefixListName
		}
		p.State = types.PrefixListStateModifyComplete
		if in.MaxEntries != nil {
			if int(*in.MaxEntries) < len(p.current()) {
				return errTooManyEntries
			}
			p.MaxEntries = in.MaxEntries
		}
		if changes {
			if err := p.change(in); err != nil {
				return err
			}
		}
		PrefixLists.Put(tx, sc, *p.PrefixListId, p)
		out = p.ManagedPrefixList
		return nil
	})
	if err != nil {
		return nil, err
	}
	out.State = types.PrefixListStateModifyInProgress
	return &ec2.ModifyManagedPrefixListOutput{PrefixList: &out}, nil
}

var errListVersion = apiError("PrefixListVersionMismatch", "The prefix list has the incorrect version number.")

func (p *PrefixList) change(in *ec2.ModifyManagedPrefixListInput) error {
	entries := slices.Clone(p.current())
	for _, r := range in.RemoveEntries {
		i := slices.IndexFunc(entries, func(e types.PrefixListEntry) bool { return *e.Cidr == deref(r.Cidr) })
		if i < 0 {
			return errInvalid("The CIDR %s does not exist in the prefix list %s", deref(r.Cidr), *p.PrefixListId)
		}
		if slices.ContainsFunc(in.AddEntries, func(a types.AddPrefixListEntry) bool { return deref(a.Cidr) == deref(r.Cidr) }) {
			return errInvalid("The CIDR %s cannot be both added and removed", deref(r.Cidr))
		}
		entries = slices.Delete(entries, i, i+1)
	}
	entries, err := addEntries(entries, in.AddEntries, *p.AddressFamily)
	if err != nil {
		return err
	}
	if len(entries) > int(*p.MaxEntries) {
		return errTooManyEntries
	}
	p.Version = aws.Int64(*p.Version + 1)
	p.Entries[*p.Version] = entries
	return nil
}

// RestoreManagedPrefixListVersion makes an earlier version's entries a new version.
func (s *Service) RestoreManagedPrefixListVersion(ctx context.Context, in *ec2.RestoreManagedPrefixListVersionInput, _ ...func(*ec2.Options)) (*ec2.RestoreManagedPrefixListVersionOutput, error) {
	switch {
	case in.CurrentVersion == nil:
		return nil, errMissing("CurrentVersion")
	case in.PreviousVersion == nil:
		return nil, errMissing("PreviousVersion")
	}
	var out types.ManagedPrefixList
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		p, err := customerList(tx, sc, in.PrefixListId)
		if err != nil {
			return err
		}
		if *in.CurrentVersion != *p.Version {
			return errListVersion
		}
		entries, ok := p.Entries[*in.PreviousVersion]
		if !ok || *in.PreviousVersion >= *p.Version {
			return errInvalid("The version %d of prefix list %s does not exist", *in.PreviousVersion, *p.PrefixListId)
		}
		p.Version = aws.Int64(*p.Version + 1)
		p.Entries[*p.Version], p.State = entries, types.PrefixListStateRestoreComplete
		PrefixLists.Put(tx, sc, *p.PrefixListId, p)
		out = p.ManagedPrefixList
		return nil
	})
	if err != nil {
		return nil, err
	}
	out.State = types.PrefixListStateRestoreInProgress
	return &ec2.RestoreManagedPrefixListVersionOutput{PrefixList: &out}, nil
}

// allPrefixLists returns AWS's lists and the customer's by the ids asked for.
func (s *Service) allPrefixLists(sc awsid.Scope, ids []string) ([]*PrefixList, error) {
	if len(ids) == 0 {
		return append(awsPrefixLists(sc.Region), PrefixLists.List(s.store, sc)...), nil
	}
	var out []*PrefixList
	for _, id := range ids {
		p, err := prefixListOf(s.store, sc, &id)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// DescribeManagedPrefixLists lists AWS's and the customer's prefix lists.
func (s *Service) DescribeManagedPrefixLists(ctx context.Context, in *ec2.DescribeManagedPrefixListsInput, _ ...func(*ec2.Options)) (*ec2.DescribeManagedPrefixListsOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	match, err := compile(prefixListFilters, func(v *types.ManagedPrefixList) []types.Tag { return v.Tags }, in.Filters)
	if err != nil {
		return nil, err
	}
	lists, err := s.allPrefixLists(sc, in.PrefixListIds)
	if err != nil {
		return nil, err
	}
	out := []types.ManagedPrefixList{}
	for _, p := range lists {
		if match(&p.ManagedPrefixList) {
			out = append(out, p.ManagedPrefixList)
		}
	}
	id := func(v *types.ManagedPrefixList) string { return deref(v.PrefixListId) }
	page, next, err := paginate(sorted(out, id), id, in.MaxResults, in.NextToken, 1)
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeManagedPrefixListsOutput{PrefixLists: page, NextToken: next}, nil
}

var prefixListFilters = fields[types.ManagedPrefixList]{
	"owner-id":         func(v *types.ManagedPrefixList) []string { return one(v.OwnerId) },
	"prefix-list-id":   func(v *types.ManagedPrefixList) []string { return one(v.PrefixListId) },
	"prefix-list-name": func(v *types.ManagedPrefixList) []string { return one(v.PrefixListName) },
}

// DescribePrefixLists lists AWS's lists with their blocks.
func (s *Service) DescribePrefixLists(ctx context.Context, in *ec2.DescribePrefixListsInput, _ ...func(*ec2.Options)) (*ec2.DescribePrefixListsOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	match, err := compile(awsListFilters, nil, in.Filters)
	if err != nil {
		return nil, err
	}
	for _, id := range in.PrefixListIds {
		if !slices.ContainsFunc(awsPrefixLists(sc.Region), func(p *PrefixList) bool { return *p.PrefixListId == id }) {
			if err := prefixListKind.check(id); err != nil {
				return nil, err
			}
			return nil, prefixListKind.absent(id)
		}
	}
	out := []types.PrefixList{}
	for _, p := range awsPrefixLists(sc.Region) {
		v := types.PrefixList{PrefixListId: p.PrefixListId, PrefixListName: p.PrefixListName}
		for _, e := range p.current() {
			v.Cidrs = append(v.Cidrs, *e.Cidr)
		}
		if (len(in.PrefixListIds) == 0 || slices.Contains(in.PrefixListIds, *v.PrefixListId)) && match(&v) {
			out = append(out, v)
		}
	}
	id := func(v *types.PrefixList) string { return deref(v.PrefixListId) }
	page, next, err := paginate(sorted(out, id), id, in.MaxResults, in.NextToken, 5)
	if err != nil {
		return nil, err
	}
	return &ec2.DescribePrefixListsOutput{PrefixLists: page, NextToken: next}, nil
}

var awsListFilters = fields[types.PrefixList]{
	"prefix-list-id":   func(v *types.PrefixList) []string { return one(v.PrefixListId) },
	"prefix-list-name": func(v *types.PrefixList) []string { return one(v.PrefixListName) },
}

// GetManagedPrefixListEntries lists a version's entries, the current one's without.
func (s *Service) GetManagedPrefixListEntries(ctx context.Context, in *ec2.GetManagedPrefixListEntriesInput, _ ...func(*ec2.Options)) (*ec2.GetManagedPrefixListEntriesOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	p, err := prefixListOf(s.store, sc, in.PrefixListId)
	if err != nil {
		return nil, err
	}
	version := aws.ToInt64(p.Version)
	if in.TargetVersion != nil {
		version = *in.TargetVersion
	}
	entries, ok := p.Entries[version]
	if !ok {
		return nil, errInvalid("The version %d of prefix list %s does not exist", version, *p.PrefixListId)
	}
	cidr := func(v *types.PrefixListEntry) string { return deref(v.Cidr) }
	page, next, err := paginate(sorted(slices.Clone(entries), cidr), cidr, in.MaxResults, in.NextToken, 1)
	if err != nil {
		return nil, err
	}
	return &ec2.GetManagedPrefixListEntriesOutput{Entries: page, NextToken: next}, nil
}

// GetManagedPrefixListAssociations lists what refers to a list.
func (s *Service) GetManagedPrefixListAssociations(ctx context.Context, in *ec2.GetManagedPrefixListAssociationsInput, _ ...func(*ec2.Options)) (*ec2.GetManagedPrefixListAssociationsOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	p, err := prefixListOf(s.store, sc, in.PrefixListId)
	if err != nil {
		return nil, err
	}
	out := []types.PrefixListAssociation{}
	for _, id := range prefixListUsers(s.store, sc, *p.PrefixListId) {
		out = append(out, types.PrefixListAssociation{ResourceId: &id, ResourceOwner: &sc.Account})
	}
	id := func(v *types.PrefixListAssociation) string { return deref(v.ResourceId) }
	page, next, err := paginate(sorted(out, id), id, in.MaxResults, in.NextToken, 5)
	if err != nil {
		return nil, err
	}
	return &ec2.GetManagedPrefixListAssociationsOutput{PrefixListAssociations: page, NextToken: next}, nil
}

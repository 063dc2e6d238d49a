package ec2

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// PrefixList is a customer's prefix list with the entries of all its versions.
type PrefixList struct {
	types.ManagedPrefixList
	Entries map[int64][]types.PrefixListEntry
}

// PrefixLists is keyed by id. AWS's own lists are in no table: see awsPrefixLists.
const PrefixLists store.Table[PrefixList] = "ec2-prefix-list"

var prefixListKind = &kind[PrefixList]{
	table: PrefixLists, typ: types.ResourceTypePrefixList, prefix: "pl", noun: "prefix list", param: "prefixListId",
	malformed: "InvalidPrefixListId.Malformed", notFound: "InvalidPrefixListID.NotFound",
	missing: func(ids []string) string { return "The prefix list ID '" + ids[0] + "' does not exist" },
	tags:    func(r *PrefixList) *[]types.Tag { return &r.Tags },
	id:      func(r *PrefixList) *string { return r.PrefixListId },
}

// awsLists are the lists that AWS keeps in every region. Their blocks are of the
// ranges set aside for documentation and benchmarks, for the reason that
// publicBlock gives.
var awsLists = []struct {
	name  string
	cidrs []string
}{
	{"com.amazonaws.{r}.dynamodb", []string{"198.51.100.0/28", "203.0.113.0/28"}},
	{"com.amazonaws.{r}.s3", []string{"198.51.100.64/26", "203.0.113.64/26", "203.0.113.128/26"}},
	{"com.amazonaws.global.cloudfront.origin-facing", []string{"198.51.100.128/26"}},
}

func awsPrefixLists(region string) []*PrefixList {
	var out []*PrefixList
	for _, l := range awsLists {
		name := strings.ReplaceAll(l.name, "{r}", region)
		sum := sha256.Sum256([]byte(region + "/" + name))
		id := "pl-" + hex.EncodeToString(sum[:])[:8]
		p := &PrefixList{Entries: map[int64][]types.PrefixListEntry{}, ManagedPrefixList: types.ManagedPrefixList{
			PrefixListId: &id, PrefixListName: &name, AddressFamily: aws.String("IPv4"), OwnerId: aws.String("AWS"),
			State: types.PrefixListStateCreateComplete, PrefixListArn: aws.String(awsid.Scope{Account: "aws", Region: region}.ARN("ec2", "prefix-list/"+id)),
		}}
		for _, c := range l.cidrs {
			p.Entries[0] = append(p.Entries[0], types.PrefixListEntry{Cidr: aws.String(c)})
		}
		out = append(out, p)
	}
	return out
}

func awsPrefixList(region, name string) *PrefixList {
	for _, p := range awsPrefixLists(region) {
		if *p.PrefixListName == name {
			return p
		}
	}
	return nil
}

// prefixListOf finds a list, AWS's or the customer's.
func prefixListOf(r store.Reader, sc awsid.Scope, id *string) (*PrefixList, error) {
	for _, p := range awsPrefixLists(sc.Region) {
		if deref(id) == *p.PrefixListId {
			return p, nil
		}
	}
	return prefixListKind.get(r, sc, id)
}

func (p *PrefixList) current() []types.PrefixListEntry { return p.Entries[aws.ToInt64(p.Version)] }

// size is what a reference to the list counts for in quotas.
func (p *PrefixList) size() int {
	if p.MaxEntries == nil {
		return len(p.current())
	}
	return int(*p.MaxEntries)
}

// CreateManagedPrefixList creates a list at version 1.
func (s *Service) CreateManagedPrefixList(ctx context.Context, in *ec2.CreateManagedPrefixListInput, _ ...func(*ec2.Options)) (*ec2.CreateManagedPrefixListOutput, error) {
	switch {
	case deref(in.PrefixListName) == "":
		return nil, errMissing("PrefixListName")
	case in.MaxEntries == nil:
		return nil, errMissing("MaxEntries")
	case deref(in.AddressFamily) == "":
		return nil, errMissing("AddressFamily")
	case *in.AddressFamily != "IPv4" && *in.AddressFamily != "IPv6":
		return nil, errInvalidValue(*in.AddressFamily, "AddressFamily")
	case strings.HasPrefix(*in.PrefixListName, "com.amazonaws"):
		return nil, errInvalid("Prefix list name cannot start with com.amazonaws.")
	case *in.MaxEntries < 1 || *in.MaxEntries > 1000:
		return nil, errInvalidValue(*in.MaxEntries, "MaxEntries")
	}
	tags, err := tagsFor(ctx, in.TagSpecifications, types.ResourceTypePrefixList)
	if err != nil {
		return nil, err
	}
	entries, err := addEntries(nil, in.Entries, *in.AddressFamily)
	if err != nil {
		return nil, err
	}
	if len(entries) > int(*in.MaxEntries) {
		return nil, errTooManyEntries
	}
	var p *PrefixList
	err = s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		rp, err := s.replayOf(tx, sc, "CreateManagedPrefixList", in.ClientToken, in)
		if err != nil {
			return err
		}
		if rp.ids != nil {
			if p = PrefixLists.Get(tx, sc, rp.ids[0]); p != nil {
				return nil
			}
		}
		if err := checkQuota(s, tx, sc, PrefixLists, "prefix-lists-per-region", "PrefixListLimitExceeded", "prefix lists"); err != nil {
			return err
		}
		id := awsid.NewID("pl")
		p = &PrefixList{Entries: map[int64][]types.PrefixListEntry{1: entries}, ManagedPrefixList: types.ManagedPrefixList{
			PrefixListId: &id, PrefixListName: in.PrefixListName, AddressFamily: in.AddressFamily, MaxEntries: in.MaxEntries, OwnerId: &sc.Account,
			State: types.PrefixListStateCreateComplete, Version: aws.Int64(1), Tags: tags, PrefixListArn: aws.String(sc.ARN("ec2", "prefix-list/"+id)),
		}}
		PrefixLists.Put(tx, sc, id, p)
		s.remember(tx, sc, rp, id)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := p.ManagedPrefixList
	out.State = types.PrefixListStateCreateInProgress
	return &ec2.CreateManagedPrefixListOutput{PrefixList: &out}, nil
}

var errTooManyEntries = apiError("PrefixListMaxEntriesExceeded", "You've reached the maximum number of entries for the prefix list.")

// addEntries returns the entries with the new ones, whose descriptions win.
func addEntries(have []types.PrefixListEntry, add []types.AddPrefixListEntry, family string) ([]types.PrefixListEntry, error) {
	out := slices.Clone(have)
	seen := map[string]bool{}
	for _, e := range add {
		p, err := netip.ParsePrefix(deref(e.Cidr))
		if err != nil || p.Addr().Is4() != (family == "IPv4") {
			return nil, errInvalid("The CIDR '%s' is not a valid %s CIDR.", deref(e.Cidr), family)
		}
		cidr := p.Masked().String()
		if seen[cidr] {
			return nil, errInvalid("Duplicate CIDR %s in the request", cidr)
		}
		seen[cidr] = true
		entry := types.PrefixListEntry{Cidr: &cidr, Description: aws.String(deref(e.Description))}
		if i := slices.IndexFunc(out, func(h types.PrefixListEntry) bool { return *h.Cidr == cidr }); i >= 0 {
			out[i] = entry
		} else {
			out = append(out, entry)
		}
	}
	slices.SortFunc(out, func(a, b types.PrefixListEntry) int { return strings.Compare(*a.Cidr, *b.Cidr) })
	return out, nil
}

// DeleteManagedPrefixList deletes a list that nothing refers to.
func (s *Service) DeleteManagedPrefixList(ctx context.Context, in *ec2.DeleteManagedPrefixListInput, _ ...func(*ec2.Options)) (*ec2.DeleteManagedPrefixListOutput, error) {
	var out types.ManagedPrefixList
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		p, err := customerList(tx, sc, in.PrefixListId)
		if err != nil {
			return err
		}
		if len(prefixListUsers(tx, sc, *p.PrefixListId)) > 0 {
			return apiError("DependencyViolation", "The prefix list '%s' is in use and cannot be deleted.", *p.PrefixListId)
		}
		PrefixLists.Delete(tx, sc, *p.PrefixListId)
		out = p.ManagedPrefixList
		out.State = types.PrefixListStateDeleteInProgress
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DeleteManagedPrefixListOutput{PrefixList: &out}, nil
}

// customerList is an editable copy of a list that is not AWS's.
func customerList(tx *store.Tx, sc awsid.Scope, id *string) (*PrefixList, error) {
	for _, p := range awsPrefixLists(sc.Region) {
		if deref(id) == *p.PrefixListId {
			return nil, apiError("OperationNotPermitted", "Prefix list '%s' is owned by AWS and cannot be modified.", *p.PrefixListId)
		}
	}
	return prefixListKind.edit(tx, sc, id)
}

// prefixListUsers are the resources that refer to a list.
func prefixListUsers(r store.Reader, sc awsid.Scope, id string) []string {
	var out []string
	for _, g := range SecurityGroups.List(r, sc) {
		if slices.ContainsFunc(g.Rules, func(x types.SecurityGroupRule) bool { return deref(x.PrefixListId) == id }) {
			out = append(out, *g.GroupId)
		}
	}
	for _, rt := range RouteTables.List(r, sc) {
		if slices.ContainsFunc(rt.Routes, func(x types.Route) bool { return deref(x.DestinationPrefixListId) == id }) {
			out = append(out, *rt.RouteTableId)
		}
	}
	return out
}

package ec2

import (
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// kind is what resources of one type share: the form of their ids, EC2's errors
// about them (whose codes and wording follow no single rule), and their tags.
type kind[T any] struct {
	table     store.Table[T]
	typ       types.ResourceType
	prefix    string // of ids, without the dash
	malformed string // error code
	notFound  string // error code
	// missing formats the not-found message; nil means "The <noun> ID 'x' does
	// not exist".
	missing func(ids []string) string
	noun    string         // as in messages
	param   string         // request parameter that names one, for MissingParameter
	form    *regexp.Regexp // of what follows the dash, hex digits if nil
	tags    func(*T) *[]types.Tag
	id      func(*T) *string
}

var vpcKind = &kind[Vpc]{
	table: Vpcs, typ: types.ResourceTypeVpc, prefix: "vpc", noun: "vpc", param: "vpcId",
	malformed: "InvalidVpcID.Malformed", notFound: "InvalidVpcID.NotFound",
	tags: func(r *Vpc) *[]types.Tag { return &r.Tags },
	id:   func(r *Vpc) *string { return r.VpcId },
}

var subnetKind = &kind[Subnet]{
	table: Subnets, typ: types.ResourceTypeSubnet, prefix: "subnet", noun: "subnet", param: "subnetId",
	malformed: "InvalidSubnetID.Malformed", notFound: "InvalidSubnetID.NotFound",
	tags: func(r *Subnet) *[]types.Tag { return &r.Tags },
	id:   func(r *Subnet) *string { return r.SubnetId },
}

var internetGatewayKind = &kind[InternetGateway]{
	table: InternetGateways, typ: types.ResourceTypeInternetGateway, prefix: "igw", noun: "internetGateway", param: "internetGatewayId",
	malformed: "InvalidInternetGatewayId.Malformed", notFound: "InvalidInternetGatewayID.NotFound",
	tags: func(r *InternetGateway) *[]types.Tag { return &r.Tags },
	id:   func(r *InternetGateway) *string { return r.InternetGatewayId },
}

var natGatewayKind = &kind[NatGateway]{
	table: NatGateways, typ: types.ResourceTypeNatgateway, prefix: "nat", noun: "NAT gateway", param: "natGatewayId",
	malformed: "NatGatewayMalformed", notFound: "NatGatewayNotFound",
	missing: func(ids []string) string { return "NAT gateway " + ids[0] + " was not found" },
	tags:    func(r *NatGateway) *[]types.Tag { return &r.Tags },
	id:      func(r *NatGateway) *string { return r.NatGatewayId },
}

var addressKind = &kind[Address]{
	table: Addresses, typ: types.ResourceTypeElasticIp, prefix: "eipalloc", noun: "allocation", param: "allocationId",
	malformed: "InvalidAllocationID.Malformed", notFound: "InvalidAllocationID.NotFound",
	tags: func(r *Address) *[]types.Tag { return &r.Tags },
	id:   func(r *Address) *string { return r.AllocationId },
}

var routeTableKind = &kind[RouteTable]{
	table: RouteTables, typ: types.ResourceTypeRouteTable, prefix: "rtb", noun: "routeTable", param: "routeTableId",
	malformed: "InvalidRouteTableId.Malformed", notFound: "InvalidRouteTableID.NotFound",
	tags: func(r *RouteTable) *[]types.Tag { return &r.Tags },
	id:   func(r *RouteTable) *string { return r.RouteTableId },
}

var securityGroupKind = &kind[SecurityGroup]{
	table: SecurityGroups, typ: types.ResourceTypeSecurityGroup, prefix: "sg", noun: "security group", param: "groupId",
	malformed: "InvalidGroupId.Malformed", notFound: "InvalidGroup.NotFound",
	missing: func(ids []string) string { return "The security group '" + ids[0] + "' does not exist" },
	tags:    func(r *SecurityGroup) *[]types.Tag { return &r.Tags },
	id:      func(r *SecurityGroup) *string { return r.GroupId },
}

var networkAclKind = &kind[NetworkAcl]{
	table: NetworkAcls, typ: types.ResourceTypeNetworkAcl, prefix: "acl", noun: "networkAcl", param: "networkAclId",
	malformed: "InvalidNetworkAclId.Malformed", notFound: "InvalidNetworkAclID.NotFound",
	tags: func(r *NetworkAcl) *[]types.Tag { return &r.Tags },
	id:   func(r *NetworkAcl) *string { return r.NetworkAclId },
}

var networkInterfaceKind = &kind[NetworkInterface]{
	table: NetworkInterfaces, typ: types.ResourceTypeNetworkInterface, prefix: "eni", noun: "networkInterface", param: "networkInterfaceId",
	malformed: "InvalidNetworkInterfaceId.Malformed", notFound: "InvalidNetworkInterfaceID.NotFound",
	tags: func(r *NetworkInterface) *[]types.Tag { return &r.TagSet },
	id:   func(r *NetworkInterface) *string { return r.NetworkInterfaceId },
}

var instanceKind = &kind[Instance]{
	table: Instances, typ: types.ResourceTypeInstance, prefix: "i", noun: "instance", param: "instanceId",
	malformed: "InvalidInstanceID.Malformed", notFound: "InvalidInstanceID.NotFound",
	missing: func(ids []string) string {
		if len(ids) == 1 {
			return "The instance ID '" + ids[0] + "' does not exist"
		}
		return "The instance IDs " + quoteList(ids) + " do not exist"
	},
	tags: func(r *Instance) *[]types.Tag { return &r.Tags },
	id:   func(r *Instance) *string { return r.InstanceId },
}

var volumeKind = &kind[Volume]{
	table: Volumes, typ: types.ResourceTypeVolume, prefix: "vol", noun: "volume", param: "volumeId",
	malformed: "InvalidVolumeID.Malformed", notFound: "InvalidVolume.NotFound",
	missing: func(ids []string) string { return "The volume '" + ids[0] + "' does not exist." },
	tags:    func(r *Volume) *[]types.Tag { return &r.Tags },
	id:      func(r *Volume) *string { return r.VolumeId },
}

var keyPairKind = &kind[KeyPair]{
	table: KeyPairs, typ: types.ResourceTypeKeyPair, prefix: "key", noun: "key pair", param: "keyPairId",
	malformed: "InvalidKeyPair.Format", notFound: "InvalidKeyPair.NotFound",
	missing: func(ids []string) string { return "The key pair '" + ids[0] + "' does not exist" },
	tags:    func(r *KeyPair) *[]types.Tag { return &r.Tags },
	id:      func(r *KeyPair) *string { return r.KeyPairId },
}

var launchTemplateKind = &kind[LaunchTemplate]{
	table: LaunchTemplates, typ: types.ResourceTypeLaunchTemplate, prefix: "lt", noun: "launch template", param: "launchTemplateId",
	malformed: "InvalidLaunchTemplateId.Malformed", notFound: "InvalidLaunchTemplateId.NotFound",
	missing: func(ids []string) string {
		return "The specified launch template, with template ID " + ids[0] + ", does not exist."
	},
	tags: func(r *LaunchTemplate) *[]types.Tag { return &r.Tags },
	id:   func(r *LaunchTemplate) *string { return r.LaunchTemplateId },
}

var idDigits = regexp.MustCompile(`^[0-9a-f]+$`)

// check refuses ids that are not of the kind's form.
func (k *kind[T]) check(id string) error {
	form := k.form
	if form == nil {
		form = idDigits
	}
	rest, ok := strings.CutPrefix(id, k.prefix+"-")
	if !ok || !form.MatchString(rest) {
		return apiError(k.malformed, "Invalid id: %q (expecting %q)", id, k.prefix+"-...")
	}
	return nil
}

func (k *kind[T]) absent(ids ...string) error {
	if k.missing != nil {
		return apiError(k.notFound, "%s", k.missing(ids))
	}
	return apiError(k.notFound, "The %s ID '%s' does not exist", k.noun, ids[0])
}

func (k *kind[T]) idOf(rec *T) string { return deref(k.id(rec)) }

// get returns the shared record that a request's parameter names.
func (k *kind[T]) get(r store.Reader, sc awsid.Scope, id *string) (*T, error) {
	return k.lookup(id, func(id string) *T { return k.table.Get(r, sc, id) })
}

// edit is get for a private copy to change.
func (k *kind[T]) edit(tx *store.Tx, sc awsid.Scope, id *string) (*T, error) {
	return k.lookup(id, func(id string) *T { return k.table.Edit(tx, sc, id) })
}

func (k *kind[T]) lookup(id *string, find func(string) *T) (*T, error) {
	if id == nil || *id == "" {
		return nil, errMissing(k.param)
	}
	if err := k.check(*id); err != nil {
		return nil, err
	}
	if rec := find(*id); rec != nil {
		return rec, nil
	}
	return nil, k.absent(*id)
}

// selectIDs returns the records of ids, or all when there are none, ordered by id.
func (k *kind[T]) selectIDs(r store.Reader, sc awsid.Scope, ids []string) ([]*T, error) {
	if len(ids) == 0 {
		return k.table.List(r, sc), nil
	}
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	out := make([]*T, 0, len(ids))
	var absent []string
	for _, id := range ids {
		if err := k.check(id); err != nil {
			return nil, err
		}
		if rec := k.table.Get(r, sc, id); rec != nil {
			out = append(out, rec)
		} else {
			absent = append(absent, id)
		}
	}
	if absent != nil {
		return nil, k.absent(absent...)
	}
	return out, nil
}

// present returns those of ids that there are, ordered by id.
func (k *kind[T]) present(r store.Reader, sc awsid.Scope, ids []string) []*T {
	var out []*T
	for _, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
		if rec := k.table.Get(r, sc, id); rec != nil {
			out = append(out, rec)
		}
	}
	return out
}

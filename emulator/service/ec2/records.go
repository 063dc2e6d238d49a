package ec2

import (
	"net/netip"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/ipam"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// The tables, each keyed by the resource's id unless said otherwise. Other
// packages may read them and subscribe to them; only this one writes.
const (
	Vpcs              store.Table[Vpc]              = "ec2-vpc"
	Subnets           store.Table[Subnet]           = "ec2-subnet"
	InternetGateways  store.Table[InternetGateway]  = "ec2-internet-gateway"
	NatGateways       store.Table[NatGateway]       = "ec2-nat-gateway"
	Addresses         store.Table[Address]          = "ec2-address"
	RouteTables       store.Table[RouteTable]       = "ec2-route-table"
	SecurityGroups    store.Table[SecurityGroup]    = "ec2-security-group"
	NetworkAcls       store.Table[NetworkAcl]       = "ec2-network-acl"
	NetworkInterfaces store.Table[NetworkInterface] = "ec2-network-interface"
	Instances         store.Table[Instance]         = "ec2-instance"
	Volumes           store.Table[Volume]           = "ec2-volume"
	KeyPairs          store.Table[KeyPair]          = "ec2-key-pair"
	LaunchTemplates   store.Table[LaunchTemplate]   = "ec2-launch-template"
	// LaunchTemplateVersions is keyed by versionID.
	LaunchTemplateVersions store.Table[LaunchTemplateVersion] = "ec2-launch-template-version"

	// SubnetAddresses says which addresses of a subnet are taken, keyed by subnet
	// id. It is a record of its own so that handing out addresses conflicts with
	// nothing but other hand-outs in the same subnet.
	SubnetAddresses store.Table[SubnetAddressPool] = "ec2-subnet-addresses"

	regionStates store.Table[RegionState] = "ec2-region"
	clientTokens store.Table[clientToken] = "ec2-client-token"
	publicIPs    store.Table[publicIP]    = "ec2-public-ip" // keyed by the address
)

const regionStateID = "state"

// RegionState marks a region of an account as set up.
type RegionState struct {
	Scope   awsid.Scope
	Created time.Time
}

// Vpc is a VPC with its attributes and the ids of what every VPC has.
type Vpc struct {
	types.Vpc
	EnableDnsSupport     bool
	EnableDnsHostnames   bool
	AddressUsageMetrics  bool
	DefaultSecurityGroup string
	MainRouteTable       string
	DefaultNetworkAcl    string
}

// Subnet is a subnet; AvailableIpAddressCount is computed from its
// SubnetAddressPool, never stored.
type Subnet struct {
	types.Subnet
}

// SubnetAddressPool is which addresses of a subnet are taken. Who holds each is
// in NetworkInterfaces: every taken address or /28 prefix is in exactly one.
type SubnetAddressPool struct {
	IPv4 *ipam.Pool `json:",omitempty"` // nil in a subnet with IPv6 only
	IPv6 *ipam.Pool `json:",omitempty"` // nil without an IPv6 block
	// Reserved are the subnet's CIDR reservations by id.
	Reserved map[string]Reservation `json:",omitempty"`
}

// Reservation is a block that automatic choice of addresses leaves alone; if
// Prefixes, prefixes are taken from it first.
type Reservation struct {
	CIDR     netip.Prefix
	Prefixes bool
}

// InternetGateway is an internet gateway.
type InternetGateway struct{ types.InternetGateway }

// NatGateway is a NAT gateway. Deleted ones stay visible for a while.
type NatGateway struct {
	types.NatGateway
	Due *time.Time // when it reaches the next state or vanishes
}

// Address is an Elastic IP address.
type Address struct{ types.Address }

// RouteTable is a route table.
type RouteTable struct{ types.RouteTable }

// SecurityGroup is a security group with its rules, which are the only copy:
// IpPermissions are computed from them.
type SecurityGroup struct {
	types.SecurityGroup
	Rules []types.SecurityGroupRule
}

// NetworkAcl is a network ACL.
type NetworkAcl struct{ types.NetworkAcl }

// NetworkInterface is a network interface with every address it holds.
type NetworkInterface struct {
	types.NetworkInterface
}

// Instance is an instance. Its NetworkInterfaces and BlockDeviceMappings'
// volumes are records of their own; describing composes them.
type Instance struct {
	types.Instance
	Scope         awsid.Scope
	ReservationID string
	// UserData is base64, as given.
	UserData string `json:",omitempty"`
	// Interfaces are the ids of the attached network interfaces, primary first.
	Interfaces []string
	// ShutdownBehavior is stop or terminate.
	ShutdownBehavior types.ShutdownBehavior
	// PublicIP tells that the instance gets a public address when it starts.
	PublicIP              bool
	DisableApiTermination bool
	DisableApiStop        bool
	// CPUCredits is the credit option if one was chosen.
	CPUCredits string `json:",omitempty"`
	// LaunchTemplateID and -Version tell what it was launched from, if anything.
	LaunchTemplateID      string `json:",omitempty"`
	LaunchTemplateVersion string `json:",omitempty"`
	// Due is when the instance leaves its transitional state, or vanishes.
	Due *time.Time `json:",omitempty"`
}

// Volume is an EBS volume with its last modification.
type Volume struct {
	types.Volume
	Modification *types.VolumeModification `json:",omitempty"`
}

// KeyPair is the public half of a key pair.
type KeyPair struct {
	types.KeyPairInfo
}

// LaunchTemplate is a launch template; its data is in its versions.
type LaunchTemplate struct{ types.LaunchTemplate }

// LaunchTemplateVersion is one version with the request's data.
type LaunchTemplateVersion struct {
	types.LaunchTemplateVersion
	Request types.RequestLaunchTemplateData
}

// publicIP reserves a public address for an allocation or a network interface.
type publicIP struct {
	Holder string
}

package ec2

import (
	"iter"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// InterfaceUse is how many IPv4 addresses of its subnet a network interface holds:
// its Holdings, counted.
type InterfaceUse struct {
	InterfaceID, SubnetID string
	// InstanceID is that of the trunk for a branch interface, empty for what no
	// instance has.
	InstanceID  string
	Description string
	// Owner is OwnerPrimary for an interface of the account's own.
	Owner Owner
	// Primary is the interface's own address, empty with IPv6 only.
	Primary   string
	Secondary int
	Prefixes  int // /28 blocks
}

// InterfaceUses counts what each interface holds, without naming the addresses:
// one pass over the interfaces, however many subnets there are.
func (s *Service) InterfaceUses(r store.Reader, sc awsid.Scope) iter.Seq[InterfaceUse] {
	return func(yield func(InterfaceUse) bool) {
		instances := instancesOfBranches(r, sc)
		for _, eni := range NetworkInterfaces.List(r, sc) {
			u := InterfaceUse{
				InterfaceID: deref(eni.NetworkInterfaceId), SubnetID: deref(eni.SubnetId), InstanceID: instances[deref(eni.NetworkInterfaceId)],
				Description: deref(eni.Description), Owner: ownerOf(eni), Prefixes: len(eni.Ipv4Prefixes),
			}
			if eni.Attachment != nil {
				u.InstanceID = deref(eni.Attachment.InstanceId)
			}
			for _, a := range eni.PrivateIpAddresses {
				if aws.ToBool(a.Primary) {
					u.Primary = deref(a.PrivateIpAddress)
				} else {
					u.Secondary++
				}
			}
			if !yield(u) {
				return
			}
		}
	}
}

// instancesOfBranches maps branch interfaces to the instances of their trunks.
func instancesOfBranches(r store.Reader, sc awsid.Scope) map[string]string {
	out := map[string]string{}
	for _, a := range TrunkAssociations.List(r, sc) {
		if trunk := NetworkInterfaces.Get(r, sc, deref(a.TrunkInterfaceId)); trunk != nil && trunk.Attachment != nil {
			out[deref(a.BranchInterfaceId)] = deref(trunk.Attachment.InstanceId)
		}
	}
	return out
}

package awsid

import (
	"fmt"
	"strings"

	"github.com/ekslocal/ekslocal/fixtures/regions"
)

// The partitions by name. The same twelve digits are another account in each.
const (
	PartitionAWS   = "aws"
	PartitionChina = "aws-cn"
	PartitionGov   = "aws-us-gov"
)

// globalSuffix makes a partition's name the region of its global resources, as
// the SDKs' endpoint tables call it: aws-cn-global.
const globalSuffix = "-global"

// GlobalScope is where the account's global resources (IAM's) live. In the
// partition aws its region is empty, which it was before there were others: keys
// of stored records are made of it.
func GlobalScope(partition, account string) Scope {
	if partition == PartitionAWS || partition == "" {
		return Scope{Account: account}
	}
	return Scope{Account: account, Region: partition + globalSuffix}
}

// global tells the partition that a global scope's region names.
func global(region string) (partition string, ok bool) {
	if region == "" {
		return PartitionAWS, true
	}
	p, ok := strings.CutSuffix(region, globalSuffix)
	return p, ok && strings.HasPrefix(p, PartitionAWS)
}

// Partition returns the partition that the scope is in.
func (s Scope) Partition() string {
	if p, ok := global(s.Region); ok {
		return p
	}
	return regions.PartitionOf(s.Region).Name
}

// PartitionOf returns the partition of a region.
func PartitionOf(region string) string { return Scope{Region: region}.Partition() }

// DNSSuffix ends AWS's host names in the scope's partition.
func (s Scope) DNSSuffix() string {
	for _, p := range regions.Partitions() {
		if p.Name == s.Partition() {
			return p.DNSSuffix
		}
	}
	return regions.PartitionOf("").DNSSuffix
}

// Global returns the scope of the account's global resources.
func (s Scope) Global() Scope { return GlobalScope(s.Partition(), s.Account) }

// ARN formats arn:partition:service:region:account:resource for the scope.
func (s Scope) ARN(service, resource string) string {
	a := ARN{s.Partition(), service, s.Region, s.Account, resource}
	if _, ok := global(s.Region); ok {
		a.Region = ""
	}
	return a.String()
}

// RootARN is the ARN of the account itself.
func (s Scope) RootARN() string { return s.Global().ARN("iam", "root") }

// AWSPolicy is the ARN of a managed policy of AWS, such as
// service-role/AmazonEBSCSIDriverPolicy, in the scope's partition.
func (s Scope) AWSPolicy(pathAndName string) string {
	return GlobalScope(s.Partition(), "aws").ARN("iam", "policy/"+pathAndName)
}

// ARN is a parsed Amazon Resource Name.
type ARN struct {
	Partition, Service, Region, Account, Resource string
}

// ParseARN splits s into its six parts.
func ParseARN(s string) (ARN, error) {
	p := strings.SplitN(s, ":", 6)
	if len(p) != 6 || p[0] != "arn" || p[1] == "" || p[2] == "" || p[5] == "" {
		return ARN{}, fmt.Errorf("%q is not an ARN (arn:partition:service:region:account:resource)", s)
	}
	return ARN{p[1], p[2], p[3], p[4], p[5]}, nil
}

func (a ARN) String() string {
	return strings.Join([]string{"arn", a.Partition, a.Service, a.Region, a.Account, a.Resource}, ":")
}

// Scope is where the resource that a names lives.
func (a ARN) Scope() Scope {
	if a.Region == "" {
		return GlobalScope(a.Partition, a.Account)
	}
	return Scope{Account: a.Account, Region: a.Region}
}

// In tells whether a names something of the scope: of its account, region and
// partition. An ARN whose partition isn't its region's is nowhere.
func (a ARN) In(s Scope) bool { return a.Scope() == s && a.Partition == s.Partition() }

// SameAccount tells whether a names something of the scope's account, which an
// account of the same digits in another partition is not.
func (a ARN) SameAccount(s Scope) bool { return a.Account == s.Account && a.Partition == s.Partition() }

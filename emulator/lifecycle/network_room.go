package lifecycle

import (
	"context"
	"reflect"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
)

// enoughAddresses is what EKS wants to be free in each subnet of a cluster for its
// operations.
const enoughAddresses = 5

// freeAddresses is how many IPv4 addresses of a subnet are free; false if there is no
// such subnet.
func (l *Lifecycle) freeAddresses(sc awsid.Scope, subnet string) (int, bool) {
	pool := ec2svc.SubnetAddresses.Get(l.Store, sc, subnet)
	if pool == nil || pool.IPv4 == nil {
		return 0, false
	}
	return pool.IPv4.Free(), true
}

// fullSubnets are the cluster's subnets in which an operation such as an update of
// the version would fail.
func (l *Lifecycle) fullSubnets(c *ekssvc.Cluster) (full []string) {
	for _, s := range c.Resource.ResourcesVpcConfig.SubnetIds {
		if n, ok := l.freeAddresses(c.Scope, s); ok && n < enoughAddresses {
			full = append(full, s)
		}
	}
	return full
}

// checkRoom shows in the cluster's health that its subnets are full, and that they
// no longer are.
func (l *Lifecycle) checkRoom(ctx context.Context, c *ekssvc.Cluster) error {
	var now []ekstypes.ClusterIssue
	if full := l.fullSubnets(c); full != nil {
		now = append(now, roomIssue(full))
	}
	if reflect.DeepEqual(now, roomIssues(c)) {
		return nil
	}
	return l.editCluster(ctx, c, func(c *ekssvc.Cluster) bool { return setIssues(c, ofRoom, now) })
}

func ofRoom(code ekstypes.ClusterIssueCode) bool {
	return code == ekstypes.ClusterIssueCodeInsufficientFreeAddresses
}

// roomIssues are those that a cluster's health shows, nil for none.
func roomIssues(c *ekssvc.Cluster) (out []ekstypes.ClusterIssue) {
	if c.Resource.Health == nil {
		return nil
	}
	for _, i := range c.Resource.Health.Issues {
		if ofRoom(i.Code) {
			out = append(out, i)
		}
	}
	return out
}

// roomIssue has the words of the API reference and of EKS (ClusterIssue).
func roomIssue(subnets []string) ekstypes.ClusterIssue {
	return ekstypes.ClusterIssue{
		Code: ekstypes.ClusterIssueCodeInsufficientFreeAddresses, ResourceIds: subnets,
		Message: aws.String("One or more of the subnets associated with your cluster does not have enough available IP addresses for Amazon EKS to perform cluster management operations."),
	}
}

// setIssues replaces those of a cluster's health issues that are of a kind, and tells
// whether that changed anything. Where they are among the others does not matter: two who
// each put theirs at the end would wake each other for ever.
func setIssues(c *ekssvc.Cluster, kind func(ekstypes.ClusterIssueCode) bool, now []ekstypes.ClusterIssue) bool {
	var issues, was []ekstypes.ClusterIssue
	if h := c.Resource.Health; h != nil {
		for _, i := range h.Issues {
			if kind(i.Code) {
				was = append(was, i)
			} else {
				issues = append(issues, i)
			}
		}
		if len(was) == len(now) && (len(was) == 0 || reflect.DeepEqual(was, now)) {
			return false
		}
	}
	issues = append(issues, now...)
	c.Resource.Health = &ekstypes.ClusterHealth{Issues: append([]ekstypes.ClusterIssue{}, issues...)}
	return true
}

// clustersOfSubnet maps a change of a subnet's addresses to the clusters whose health
// it changes: most changes do to none.
func (l *Lifecycle) clustersOfSubnet(k key) []key {
	n, _ := l.freeAddresses(k.Scope, k.ID)
	var out []key
	for _, c := range ekssvc.Clusters.List(l.Store, k.Scope) {
		if !slices.Contains(c.Resource.ResourcesVpcConfig.SubnetIds, k.ID) {
			continue
		}
		shown := slices.ContainsFunc(roomIssues(c), func(i ekstypes.ClusterIssue) bool { return slices.Contains(i.ResourceIds, k.ID) })
		if shown != (n < enoughAddresses) {
			out = append(out, key{c.Scope, *c.Resource.Name})
		}
	}
	return out
}

// nodegroupsOfSubnet maps a change of a subnet's addresses to the node groups that
// wait for some.
func (l *Lifecycle) nodegroupsOfSubnet(k key) []key {
	if n, _ := l.freeAddresses(k.Scope, k.ID); n == 0 {
		return nil
	}
	var out []key
	for _, ng := range ekssvc.Nodegroups.List(l.Store, k.Scope) {
		h := ng.Resource.Health
		if ng.Resource.Status != ekstypes.NodegroupStatusDegraded || h == nil || !slices.Contains(ng.Resource.Subnets, k.ID) {
			continue
		}
		if slices.ContainsFunc(h.Issues, func(i ekstypes.Issue) bool { return i.Code == ekstypes.NodegroupIssueCodeInsufficientFreeAddresses }) {
			out = append(out, key{ng.Scope, ekssvc.ChildID(*ng.Resource.ClusterName, *ng.Resource.NodegroupName)})
		}
	}
	return out
}

// fargatePodsOfSubnet maps a change of a subnet's addresses to the pods on Fargate
// that wait for a machine with an address in it.
func (l *Lifecycle) fargatePodsOfSubnet(k key) []key {
	if n, _ := l.freeAddresses(k.Scope, k.ID); n == 0 {
		return nil
	}
	var out []key
	for _, p := range ekssvc.FargateProfiles.List(l.Store, k.Scope) {
		c := ekssvc.Clusters.Get(l.Store, k.Scope, *p.Resource.ClusterName)
		if c == nil || !slices.Contains(p.Resource.Subnets, k.ID) {
			continue
		}
		rt := l.runtimeOf(c.ID)
		if rt == nil {
			continue
		}
		for _, pod := range rt.fargate.podsOf(*p.Resource.FargateProfileName) {
			if waitsForCapacity(pod) {
				out = append(out, podKey(rt, pod.Namespace, pod.Name))
			}
		}
	}
	return out
}

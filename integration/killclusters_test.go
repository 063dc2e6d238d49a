package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// clusterWriter makes a cluster, a node group in it, changes it, and deletes both,
// at times before they are done, over and over.
type clusterWriter struct {
	clients
	w    *world
	rnd  *rand.Rand
	name string
	// cluster and group are what was acknowledged last.
	cluster, group fate
	size           int32  // of the group, as acknowledged last; -1: unknown
	version        string // of the cluster, likewise; empty: unknown
	acks           map[string]int
}

// fate is what must be true of a resource.
type fate int

const (
	unknown fate = iota
	there        // and not being deleted
	going        // being deleted, or gone
	absent
)

const group = "workers"

var nextVersion = map[string]string{"1.33": "1.34", "1.34": "1.35"}

// attempt notes what an acknowledged change means.
func (c *clusterWriter) attempt(what string, f *fate, then fate, err error) {
	switch {
	case err == nil:
		*f = then
		c.acks[what]++
	case !definite(err):
		*f = unknown
	}
}

func (c *clusterWriter) step(ctx context.Context) {
	defer pause(ctx, time.Duration(20+c.rnd.IntN(200))*time.Millisecond)
	d, err := c.eks.DescribeCluster(ctx, &eks.DescribeClusterInput{Name: &c.name})
	switch {
	case errorAs[*ekstypes.ResourceNotFoundException](err) != nil:
		in := &eks.CreateClusterInput{
			Name: &c.name, RoleArn: &c.w.clusterRole, ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: c.w.subnets},
			Version: aws.String([]string{"1.33", "1.33", "1.34"}[c.rnd.IntN(3)]),
		}
		if c.rnd.IntN(3) == 0 {
			in.Version = nil // a spare's, if there is one
		}
		_, err := c.eks.CreateCluster(ctx, in)
		c.version = ""
		c.attempt("cluster made", &c.cluster, there, err)
		c.group = absent
	case err != nil:
		return
	case d.Cluster.Status == ekstypes.ClusterStatusDeleting:
		return
	case d.Cluster.Status == ekstypes.ClusterStatusCreating && c.rnd.IntN(40) > 0:
		return
	case d.Cluster.Status == ekstypes.ClusterStatusActive && c.rnd.IntN(6) == 0 && nextVersion[*d.Cluster.Version] != "":
		next := nextVersion[*d.Cluster.Version]
		_, err := c.eks.UpdateClusterVersion(ctx, &eks.UpdateClusterVersionInput{Name: &c.name, Version: &next})
		c.attempt("cluster updated", &c.cluster, there, err)
		if c.version = ""; err == nil {
			c.version = next
		}
	case d.Cluster.Status == ekstypes.ClusterStatusActive && c.rnd.IntN(10) > 0:
		c.stepGroup(ctx)
	default:
		_, err := c.eks.DeleteCluster(ctx, &eks.DeleteClusterInput{Name: &c.name})
		c.attempt("cluster deleted", &c.cluster, going, err)
	}
}

func (c *clusterWriter) stepGroup(ctx context.Context) {
	g, err := c.eks.DescribeNodegroup(ctx, &eks.DescribeNodegroupInput{ClusterName: &c.name, NodegroupName: aws.String(group)})
	switch {
	case errorAs[*ekstypes.ResourceNotFoundException](err) != nil:
		c.size = int32(1 + c.rnd.IntN(2))
		_, err := c.eks.CreateNodegroup(ctx, &eks.CreateNodegroupInput{
			ClusterName: &c.name, NodegroupName: aws.String(group), NodeRole: &c.w.node, Subnets: c.w.subnets, InstanceTypes: []string{"m5.large"},
			ScalingConfig: &ekstypes.NodegroupScalingConfig{MinSize: aws.Int32(0), MaxSize: aws.Int32(5), DesiredSize: &c.size},
		})
		c.attempt("group made", &c.group, there, err)
	case err != nil || g.Nodegroup.Status == ekstypes.NodegroupStatusDeleting:
	case g.Nodegroup.Status == ekstypes.NodegroupStatusActive && c.rnd.IntN(4) == 0:
		size := int32(c.rnd.IntN(4))
		_, err := c.eks.UpdateNodegroupConfig(ctx, &eks.UpdateNodegroupConfigInput{
			ClusterName: &c.name, NodegroupName: aws.String(group),
			ScalingConfig: &ekstypes.NodegroupScalingConfig{MinSize: aws.Int32(0), MaxSize: aws.Int32(5), DesiredSize: &size},
		})
		c.attempt("group scaled", &c.group, there, err)
		if err == nil {
			c.size = size
		} else if !definite(err) {
			c.size = -1
		}
	case c.rnd.IntN(10) == 0:
		_, err := c.eks.DeleteNodegroup(ctx, &eks.DeleteNodegroupInput{ClusterName: &c.name, NodegroupName: aws.String(group)})
		c.attempt("group deleted", &c.group, going, err)
	}
}

func (c *clusterWriter) verify(t *testing.T) {
	t.Helper()
	d, err := c.w.eks.DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: &c.name})
	gone := errorAs[*ekstypes.ResourceNotFoundException](err) != nil
	if err != nil && !gone {
		t.Errorf("cluster %s: %v", c.name, err)
		return
	}
	deleting := !gone && d.Cluster.Status == ekstypes.ClusterStatusDeleting
	c.cluster = judge(t, "cluster "+c.name, c.cluster, gone, deleting)
	if gone {
		c.group = absent
		return
	}
	g, err := c.w.eks.DescribeNodegroup(t.Context(), &eks.DescribeNodegroupInput{ClusterName: &c.name, NodegroupName: aws.String(group)})
	gone = errorAs[*ekstypes.ResourceNotFoundException](err) != nil
	if err != nil && !gone {
		t.Errorf("node group of %s: %v", c.name, err)
		return
	}
	deleting = !gone && g.Nodegroup.Status == ekstypes.NodegroupStatusDeleting
	c.group = judge(t, "node group of "+c.name, c.group, gone, deleting)
	if gone {
		return
	}
	if size := *g.Nodegroup.ScalingConfig.DesiredSize; c.size < 0 {
		c.size = size
	} else if size != c.size {
		t.Errorf("node group of %s: size %d was acknowledged, it is %d", c.name, c.size, size)
	}
}

// judge checks a fate and answers what is known now.
func judge(t *testing.T, what string, f fate, gone, deleting bool) fate {
	t.Helper()
	switch {
	case f == there && (gone || deleting):
		t.Errorf("%s: its creation was acknowledged, but it is gone (%v) or being deleted (%v)", what, gone, deleting)
	case f == going && !gone && !deleting:
		t.Errorf("%s: its deletion was acknowledged, but it is there", what)
	case f == absent && !gone:
		t.Errorf("%s: it was gone, and is there again", what)
	}
	switch {
	case gone:
		return absent
	case deleting:
		return going
	}
	return there
}

func (c *clusterWriter) verifySettled(t *testing.T) {
	t.Helper()
	c.verify(t)
	if c.version == "" || c.cluster != there {
		return
	}
	d := must(c.w.eks.DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: &c.name}))(t)
	if *d.Cluster.Version != c.version {
		t.Errorf("cluster %s: an update to %s was acknowledged, it is %s", c.name, c.version, *d.Cluster.Version)
	}
}

func (c *clusterWriter) done() string { return fmt.Sprintf("cluster %s: %v", c.name, c.acks) }

// owners is everything that may own something in the VPC.
type owners struct {
	clusters, groups map[string]bool // group: cluster/group
	nodegroupIDs     []string
	instances        map[string]bool // live ones
	users            map[string]bool // interfaces of the writers
}

func (w *world) owners(ctx context.Context, writers []writer) (o owners, err error) {
	o = owners{map[string]bool{}, map[string]bool{}, nil, map[string]bool{}, map[string]bool{}}
	list, err := w.eks.ListClusters(ctx, &eks.ListClustersInput{})
	if err != nil {
		return o, err
	}
	for _, name := range list.Clusters {
		o.clusters[name] = true
		groups, err := w.eks.ListNodegroups(ctx, &eks.ListNodegroupsInput{ClusterName: &name})
		if err != nil {
			return o, err
		}
		for _, g := range groups.Nodegroups {
			d, err := w.eks.DescribeNodegroup(ctx, &eks.DescribeNodegroupInput{ClusterName: &name, NodegroupName: &g})
			if err != nil {
				return o, err
			}
			o.groups[name+"/"+g] = true
			arn := *d.Nodegroup.NodegroupArn
			o.nodegroupIDs = append(o.nodegroupIDs, arn[strings.LastIndexByte(arn, '/')+1:])
		}
	}
	for _, wr := range writers {
		if n, ok := wr.(*networkWriter); ok {
			for _, id := range n.enis.ids {
				o.users[id] = true
			}
		}
	}
	return o, nil
}

// orphans tells what in the account belongs to nothing that exists.
func (w *world) orphans(ctx context.Context, writers []writer) error {
	o, err := w.owners(ctx, writers)
	if err != nil {
		return err
	}
	for _, look := range []func(context.Context, owners) error{w.orphanInstances, w.orphanInterfaces, w.orphanGroups, w.orphanTemplates, w.orphanProfiles} {
		if err := look(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) orphanInstances(ctx context.Context, o owners) error {
	out, err := w.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{Filters: []ec2types.Filter{
		{Name: aws.String("instance-state-name"), Values: []string{"pending", "running", "shutting-down", "stopping", "stopped"}},
	}})
	if err != nil {
		return err
	}
	count := map[string]int{}
	for _, r := range out.Reservations {
		for _, i := range r.Instances {
			g := tagNamed(i.Tags, "eks:cluster-name") + "/" + tagNamed(i.Tags, "eks:nodegroup-name")
			if !o.groups[g] {
				return fmt.Errorf("instance %s (%s) of %s, which does not exist", *i.InstanceId, i.State.Name, g)
			}
			count[g]++
			o.instances[*i.InstanceId] = true
		}
	}
	for g := range o.groups {
		cluster, name, _ := strings.Cut(g, "/")
		d, err := w.eks.DescribeNodegroup(ctx, &eks.DescribeNodegroupInput{ClusterName: &cluster, NodegroupName: &name})
		if err != nil {
			return err
		}
		if want := int(*d.Nodegroup.ScalingConfig.DesiredSize); count[g] != want {
			return fmt.Errorf("node group %s has %d instances, should have %d", g, count[g], want)
		}
	}
	return nil
}

func (w *world) orphanInterfaces(ctx context.Context, o owners) error {
	out, err := w.ec2.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{Filters: []ec2types.Filter{
		{Name: aws.String("vpc-id"), Values: []string{w.vpc}},
	}})
	if err != nil {
		return err
	}
	planes := map[string]int{}
	for _, ni := range out.NetworkInterfaces {
		instance := ""
		if ni.Attachment != nil {
			instance = aws.ToString(ni.Attachment.InstanceId)
		}
		cluster, plane := strings.CutPrefix(aws.ToString(ni.Description), "Amazon EKS ")
		switch {
		case o.users[*ni.NetworkInterfaceId], o.instances[instance]:
			if instance != "" && !aws.ToBool(ni.Attachment.DeleteOnTermination) {
				return fmt.Errorf("interface %s will outlive its instance %s", *ni.NetworkInterfaceId, instance)
			}
		case plane && o.clusters[cluster]:
			planes[cluster]++
		default:
			return fmt.Errorf("interface %s %q (%s, instance %q) belongs to nobody", *ni.NetworkInterfaceId, aws.ToString(ni.Description), ni.Status, instance)
		}
	}
	for c := range o.clusters {
		if planes[c] != 2 {
			return fmt.Errorf("cluster %s has %d interfaces, should have 2", c, planes[c])
		}
	}
	return nil
}

func (w *world) orphanGroups(ctx context.Context, o owners) error {
	out, err := w.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: []ec2types.Filter{
		{Name: aws.String("vpc-id"), Values: []string{w.vpc}},
	}})
	if err != nil {
		return err
	}
	count := map[string]int{}
	for _, g := range out.SecurityGroups {
		if *g.GroupName == "default" {
			continue
		}
		c := tagNamed(g.Tags, "aws:eks:cluster-name")
		if !o.clusters[c] {
			return fmt.Errorf("security group %s belongs to nobody", *g.GroupName)
		}
		if count[c]++; count[c] > 1 {
			return fmt.Errorf("cluster %s has %d security groups", c, count[c])
		}
	}
	return nil
}

func (w *world) orphanTemplates(ctx context.Context, o owners) error {
	out, err := w.ec2.DescribeLaunchTemplates(ctx, &ec2.DescribeLaunchTemplatesInput{})
	if err != nil {
		return err
	}
	for _, lt := range out.LaunchTemplates {
		if !slices.Contains(o.nodegroupIDs, strings.TrimPrefix(*lt.LaunchTemplateName, "eks-")) {
			return fmt.Errorf("launch template %s belongs to nobody", *lt.LaunchTemplateName)
		}
	}
	return nil
}

func (w *world) orphanProfiles(ctx context.Context, o owners) error {
	out, err := w.iam.ListInstanceProfiles(ctx, &iam.ListInstanceProfilesInput{})
	if err != nil {
		return err
	}
	for _, p := range out.InstanceProfiles {
		if !slices.Contains(o.nodegroupIDs, strings.TrimPrefix(*p.InstanceProfileName, "eks-")) {
			return fmt.Errorf("instance profile %s belongs to nobody", *p.InstanceProfileName)
		}
	}
	return nil
}

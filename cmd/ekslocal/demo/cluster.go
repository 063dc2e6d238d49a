package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/ekslocal/ekslocal/fixtures/regions"
)

// patience is how long any one thing may take.
const patience = 5 * time.Minute

func (r *run) makeClusterRole(ctx context.Context) (detail string, err error) {
	r.clusterRole, detail, err = r.role(ctx, tag+"-cluster", "eks.amazonaws.com", "AmazonEKSClusterPolicy")
	return detail, err
}

func (r *run) makeNodeRole(ctx context.Context) (detail string, err error) {
	r.nodeRole, detail, err = r.role(ctx, tag+"-node", "ec2.amazonaws.com",
		"AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryReadOnly")
	return detail, err
}

func (r *run) role(ctx context.Context, role, trusted string, policies ...string) (arn, detail string, err error) {
	trust := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":%q},"Action":"sts:AssumeRole"}]}`, trusted)
	detail = role
	out, err := r.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &role, AssumeRolePolicyDocument: &trust})
	var exists *iamtypes.EntityAlreadyExistsException
	switch {
	case errors.As(err, &exists):
		got, err := r.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: &role})
		if err != nil {
			return "", "", err
		}
		arn, detail = *got.Role.Arn, detail+", was there"
	case err != nil:
		return "", "", err
	default:
		arn = *out.Role.Arn
	}
	partition := regions.PartitionOf(r.AWS.Region).Name
	for _, p := range policies {
		if _, err := r.iam.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: &role, PolicyArn: aws.String("arn:" + partition + ":iam::aws:policy/" + p)}); err != nil {
			return "", "", err
		}
	}
	return arn, detail, nil
}

func (r *run) makeCluster(ctx context.Context) (string, error) {
	described := &eks.DescribeClusterInput{Name: aws.String(name)}
	got, err := r.eks.DescribeCluster(ctx, described)
	var notFound *ekstypes.ResourceNotFoundException
	was := ", was there"
	switch {
	case errors.As(err, &notFound):
		was = ""
		_, err = r.eks.CreateCluster(ctx, &eks.CreateClusterInput{Name: described.Name, RoleArn: &r.clusterRole,
			ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: r.subnets}})
		if err != nil {
			return "", err
		}
	case err != nil:
		return "", err
	case got.Cluster.Status == ekstypes.ClusterStatusFailed || got.Cluster.Status == ekstypes.ClusterStatusDeleting:
		return "", fmt.Errorf("the cluster %s of an earlier run is %s: delete it, or `ekslocal reset`", name, got.Cluster.Status)
	}
	err = eks.NewClusterActiveWaiter(r.eks, func(o *eks.ClusterActiveWaiterOptions) {
		o.MinDelay, o.MaxDelay = 100*time.Millisecond, 250*time.Millisecond
	}).Wait(ctx, described, patience)
	if err != nil {
		return "", err
	}
	if got, err = r.eks.DescribeCluster(ctx, described); err != nil {
		return "", err
	}
	r.version = *got.Cluster.Version
	return fmt.Sprintf("%s, Kubernetes %s, ACTIVE at %s%s", name, r.version, *got.Cluster.Endpoint, was), nil
}

func (r *run) makeNodegroup(ctx context.Context) (string, error) {
	described := &eks.DescribeNodegroupInput{ClusterName: aws.String(name), NodegroupName: aws.String(name)}
	_, err := r.eks.DescribeNodegroup(ctx, described)
	var notFound *ekstypes.ResourceNotFoundException
	was := ", was there"
	if errors.As(err, &notFound) {
		was = ""
		n := aws.Int32(nodeCount)
		_, err = r.eks.CreateNodegroup(ctx, &eks.CreateNodegroupInput{ClusterName: described.ClusterName, NodegroupName: described.NodegroupName,
			NodeRole: &r.nodeRole, Subnets: r.subnets, InstanceTypes: []string{nodeType},
			ScalingConfig: &ekstypes.NodegroupScalingConfig{MinSize: n, MaxSize: n, DesiredSize: n}})
	}
	if err != nil {
		return "", err
	}
	err = eks.NewNodegroupActiveWaiter(r.eks, func(o *eks.NodegroupActiveWaiterOptions) {
		o.MinDelay, o.MaxDelay = 100*time.Millisecond, 250*time.Millisecond
	}).Wait(ctx, described, patience)
	if err != nil {
		return "", r.nodegroupError(ctx, described, err)
	}
	return fmt.Sprintf("%s, %d x %s, ACTIVE%s", name, nodeCount, nodeType, was), nil
}

// nodegroupError adds what EKS says about the group's health.
func (r *run) nodegroupError(ctx context.Context, described *eks.DescribeNodegroupInput, err error) error {
	got, derr := r.eks.DescribeNodegroup(ctx, described)
	if derr != nil || got.Nodegroup.Health == nil || len(got.Nodegroup.Health.Issues) == 0 {
		return err
	}
	issue := got.Nodegroup.Health.Issues[0]
	return fmt.Errorf("%s: %s: %w", issue.Code, aws.ToString(issue.Message), err)
}

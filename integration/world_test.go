package integration

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// world is what a cluster needs, made through the SDK as a user would.
type world struct {
	*emulator
	clients
	vpc               string
	subnets           []string
	cidrs             []netip.Prefix
	clusterRole, node string
}

func trust(service string) *string {
	return aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"` + service + `"},"Action":"sts:AssumeRole"}]}`)
}

func newWorld(t *testing.T, e *emulator) *world {
	t.Helper()
	return newWorldOf(t, e, e.clients())
}

func newWorldOf(t *testing.T, e *emulator, c clients) *world {
	t.Helper()
	ctx := t.Context()
	w := &world{emulator: e, clients: c}
	vpc := must(w.ec2.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")}))(t)
	w.vpc = *vpc.Vpc.VpcId
	for i, az := range []string{"a", "b", "c"} {
		cidr := fmt.Sprintf("10.0.%d.0/20", i*16)
		s := must(w.ec2.CreateSubnet(ctx, &ec2.CreateSubnetInput{VpcId: &w.vpc, CidrBlock: &cidr, AvailabilityZone: aws.String(region + az)}))(t)
		w.subnets = append(w.subnets, *s.Subnet.SubnetId)
		w.cidrs = append(w.cidrs, netip.MustParsePrefix(cidr))
	}
	w.clusterRole = w.role(t, "cluster", "eks.amazonaws.com", "AmazonEKSClusterPolicy")
	w.node = w.role(t, "node", "ec2.amazonaws.com", "AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryReadOnly")
	return w
}

func (w *world) role(t *testing.T, name, service string, policies ...string) string {
	t.Helper()
	r := must(w.iam.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: trust(service)}))(t)
	for _, p := range policies {
		must(w.iam.AttachRolePolicy(t.Context(), &iam.AttachRolePolicyInput{RoleName: &name, PolicyArn: aws.String("arn:aws:iam::aws:policy/" + p)}))(t)
	}
	return *r.Role.Arn
}

// cluster makes one and waits until it is ACTIVE. change may edit the request.
func (w *world) cluster(t *testing.T, name string, change ...func(*eks.CreateClusterInput)) *ekstypes.Cluster {
	t.Helper()
	in := &eks.CreateClusterInput{
		Name: &name, RoleArn: &w.clusterRole, ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: w.subnets},
		AccessConfig: &ekstypes.CreateAccessConfigRequest{AuthenticationMode: ekstypes.AuthenticationModeApiAndConfigMap},
	}
	for _, f := range change {
		f(in)
	}
	c := must(w.eks.CreateCluster(t.Context(), in))(t)
	if c.Cluster.Status != ekstypes.ClusterStatusCreating {
		t.Fatalf("a new cluster is %s, want CREATING", c.Cluster.Status)
	}
	return w.clusterIs(t, name, ekstypes.ClusterStatusActive)
}

func (w *world) clusterIs(t *testing.T, name string, want ekstypes.ClusterStatus) *ekstypes.Cluster {
	t.Helper()
	var out *ekstypes.Cluster
	eventually(t, time.Minute, "cluster "+name+" is "+string(want), func() error {
		d, err := w.eks.DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: &name})
		if err != nil {
			return err
		}
		out = d.Cluster
		if out.Status != want {
			return fmt.Errorf("it is %s %v", out.Status, issues(out))
		}
		return nil
	})
	return out
}

func issues(c *ekstypes.Cluster) (s []string) {
	if c.Health != nil {
		for _, i := range c.Health.Issues {
			s = append(s, aws.ToString(i.Message))
		}
	}
	return s
}

func (w *world) nodegroup(t *testing.T, cluster, name string, size int32, change ...func(*eks.CreateNodegroupInput)) {
	t.Helper()
	in := &eks.CreateNodegroupInput{
		ClusterName: &cluster, NodegroupName: &name, NodeRole: &w.node, Subnets: w.subnets, InstanceTypes: []string{"m5.large"},
		ScalingConfig: &ekstypes.NodegroupScalingConfig{MinSize: aws.Int32(0), MaxSize: aws.Int32(max(size, 10)), DesiredSize: &size},
	}
	for _, f := range change {
		f(in)
	}
	must(w.eks.CreateNodegroup(t.Context(), in))(t)
	w.nodegroupIs(t, cluster, name, ekstypes.NodegroupStatusActive)
}

func (w *world) nodegroupIs(t *testing.T, cluster, name string, want ekstypes.NodegroupStatus) *ekstypes.Nodegroup {
	t.Helper()
	var out *ekstypes.Nodegroup
	eventually(t, time.Minute, "node group "+name+" is "+string(want), func() error {
		d, err := w.eks.DescribeNodegroup(t.Context(), &eks.DescribeNodegroupInput{ClusterName: &cluster, NodegroupName: &name})
		if err != nil {
			return err
		}
		out = d.Nodegroup
		if out.Status != want {
			return fmt.Errorf("it is %s %+v", out.Status, out.Health)
		}
		return nil
	})
	return out
}

// token is what `aws eks get-token` prints.
func token(ctx context.Context, c *sts.Client, cluster string) (string, error) {
	p := sts.NewPresignClient(c, func(o *sts.PresignOptions) {
		o.ClientOptions = append(o.ClientOptions, func(o *sts.Options) {
			o.APIOptions = append(o.APIOptions, smithyhttp.SetHeaderValue("x-k8s-aws-id", cluster), smithyhttp.SetHeaderValue("X-Amz-Expires", "60"))
		})
	})
	r, err := p.PresignGetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", err
	}
	return "k8s-aws-v1." + base64.RawURLEncoding.EncodeToString([]byte(r.URL)), nil
}

// kubernetes is a client that authenticates as the creator, with an IAM token.
func (w *world) kubernetes(t *testing.T, c *ekstypes.Cluster) (*kubernetes.Clientset, *rest.Config) {
	t.Helper()
	ca, err := base64.StdEncoding.DecodeString(*c.CertificateAuthority.Data)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := token(t.Context(), w.sts, *c.Name)
	if err != nil {
		t.Fatal(err)
	}
	cfg := &rest.Config{Host: *c.Endpoint, BearerToken: tok, TLSClientConfig: rest.TLSClientConfig{CAData: ca}, QPS: -1}
	k, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return k, cfg
}

// freeAddresses is what DescribeSubnets says.
func (w *world) freeAddresses(t *testing.T) int {
	t.Helper()
	out := must(w.ec2.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{SubnetIds: w.subnets}))(t)
	n := 0
	for _, s := range out.Subnets {
		n += int(aws.ToInt32(s.AvailableIpAddressCount))
	}
	return n
}

func (w *world) interfaces(t *testing.T) []ec2types.NetworkInterface {
	t.Helper()
	out := must(w.ec2.DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{
		Filters: []ec2types.Filter{{Name: aws.String("vpc-id"), Values: []string{w.vpc}}},
	}))(t)
	return out.NetworkInterfaces
}

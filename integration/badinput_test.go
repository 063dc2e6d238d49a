package integration

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// refusal is the error that a call must end with.
type refusal struct {
	name string
	call func(context.Context) error
	code string
	text string // part of the message
	http int
}

func (r refusal) check(t *testing.T) {
	t.Helper()
	err := r.call(t.Context())
	var api smithy.APIError
	if !errors.As(err, &api) {
		t.Fatalf("%v, want %s", err, r.code)
	}
	if api.ErrorCode() != r.code || !strings.Contains(api.ErrorMessage(), r.text) {
		t.Errorf("%s: %s\nwant %s: %s", api.ErrorCode(), api.ErrorMessage(), r.code, r.text)
	}
	var res *smithyhttp.ResponseError
	if errors.As(err, &res) && res.HTTPStatusCode() != r.http {
		t.Errorf("HTTP status %d, want %d", res.HTTPStatusCode(), r.http)
	}
}

func checkAll(t *testing.T, list []refusal) {
	for _, r := range list {
		t.Run(r.name, r.check)
	}
}

// TestBadInput sends what AWS refuses, and then looks whether anything of it stayed.
func TestBadInput(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	before := w.interfaces(t)
	t.Run("cluster", func(t *testing.T) { badClusters(t, w) })
	t.Run("resources", func(t *testing.T) { badResources(t, w) })
	t.Run("elsewhere", func(t *testing.T) { badPlaces(t, w) })
	t.Run("raw", func(t *testing.T) { badRaw(t, w) })

	w.cluster(t, "dev")
	t.Run("with cluster", func(t *testing.T) { badChildren(t, w) })
	must(w.eks.DeleteCluster(t.Context(), &eks.DeleteClusterInput{Name: aws.String("dev")}))(t)
	eventually(t, 30*time.Second, "nothing is left", func() error {
		l := must(w.eks.ListClusters(t.Context(), &eks.ListClustersInput{}))(t)
		if now := w.interfaces(t); len(l.Clusters) != 0 || len(now) != len(before) {
			return fmt.Errorf("clusters %v, interfaces %d", l.Clusters, len(now))
		}
		return nil
	})
	if strings.Contains(w.log.String(), "panic") {
		t.Error("something panicked")
	}
}

func badClusters(t *testing.T, w *world) {
	untrusting := w.role(t, "untrusting", "lambda.amazonaws.com")
	sameZone := must(w.ec2.CreateSubnet(t.Context(), &ec2.CreateSubnetInput{VpcId: &w.vpc, CidrBlock: aws.String("10.0.240.0/24"), AvailabilityZone: aws.String(region + "a")}))(t).Subnet.SubnetId
	zoneE := must(w.ec2.CreateSubnet(t.Context(), &ec2.CreateSubnetInput{VpcId: &w.vpc, CidrBlock: aws.String("10.0.241.0/24"), AvailabilityZone: aws.String(region + "e")}))(t).Subnet.SubnetId
	defaults := must(w.ec2.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{}))(t)
	var foreign string
	for _, s := range defaults.Subnets {
		if *s.VpcId != w.vpc && *s.AvailabilityZone == region+"b" {
			foreign = *s.SubnetId
		}
	}
	create := func(change func(*eks.CreateClusterInput)) func(context.Context) error {
		return func(ctx context.Context) error {
			in := &eks.CreateClusterInput{Name: aws.String("bad"), RoleArn: &w.clusterRole, ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: w.subnets}}
			change(in)
			_, err := w.eks.CreateCluster(ctx, in)
			return err
		}
	}
	subnets := func(ids ...string) func(context.Context) error {
		return create(func(in *eks.CreateClusterInput) { in.ResourcesVpcConfig.SubnetIds = ids })
	}
	role := func(arn string) func(context.Context) error {
		return create(func(in *eks.CreateClusterInput) { in.RoleArn = &arn })
	}
	services := func(cidr string) func(context.Context) error {
		return create(func(in *eks.CreateClusterInput) {
			in.KubernetesNetworkConfig = &ekstypes.KubernetesNetworkConfigRequest{ServiceIpv4Cidr: &cidr}
		})
	}
	name := func(n string) func(context.Context) error {
		return create(func(in *eks.CreateClusterInput) { in.Name = &n })
	}
	version := func(v string) func(context.Context) error {
		return create(func(in *eks.CreateClusterInput) { in.Version = &v })
	}
	const invalid = "InvalidParameterException"
	checkAll(t, []refusal{
		{"name with a dot", name("a.b"), invalid, "can contain only alphanumeric characters", 400},
		{"name that begins with a hyphen", name("-a"), invalid, "must start with an alphanumeric character", 400},
		{"name of 101 characters", name(strings.Repeat("a", 101)), invalid, "100 characters", 400},
		{"empty name", name(""), invalid, "name", 400},
		{"unknown version", version("1.99"), invalid, "unsupported Kubernetes version", 400},
		{"version that is not served", version("1.31"), invalid, "1.33, 1.34, 1.35 and 1.36", 400},
		{"patch version", version("1.34.1"), invalid, "unsupported Kubernetes version", 400},
		{"no subnet", subnets(), invalid, "Subnets specified must be in at least two different AZs", 400},
		{"one subnet", subnets(w.subnets[0]), invalid, "Subnets specified must be in at least two different AZs", 400},
		{"subnets in one zone", subnets(w.subnets[0], *sameZone), invalid, "Subnets specified must be in at least two different AZs", 400},
		{"subnets of two VPCs", subnets(w.subnets[0], foreign), invalid, "Subnets specified must belong to the same VPC", 400},
		{"unknown subnet", subnets(w.subnets[0], "subnet-00000000000000000"), invalid, "The subnet ID 'subnet-00000000000000000' does not exist", 400},
		{"zone without EKS", subnets(w.subnets[0], *zoneE), "UnsupportedAvailabilityZoneException", "us-east-1e, the targeted availability zone", 400},
		{"no such role", role("arn:aws:iam::000000000000:role/nobody"), invalid, "could not be assumed because it does not exist or the trusted entity is not correct", 400},
		{"role that does not trust EKS", role(untrusting), invalid, "the trusted entity is not correct", 400},
		{"role of another account", role("arn:aws:iam::111122223333:role/cluster"), "AccessDeniedException", "Cross-account pass role is not allowed.", 403},
		{"not a role", role("cluster"), invalid, "cluster", 400},
		{"services within the VPC", services("10.0.0.0/16"), invalid, "overlaps with the VPC CIDR block 10.0.0.0/16", 400},
		{"public services", services("8.8.0.0/16"), invalid, "must be within one of these private ranges", 400},
		{"too few services", services("172.20.0.0/25"), invalid, "between /24 and /12", 400},
		{"services that are none", services("nonsense"), invalid, "nonsense", 400},
		{"no endpoint at all", create(func(in *eks.CreateClusterInput) {
			in.ResourcesVpcConfig.EndpointPublicAccess, in.ResourcesVpcConfig.EndpointPrivateAccess = aws.Bool(false), aws.Bool(false)
		}), invalid, "Private and public endpoint access cannot be false", 400},
		{"unknown group", create(func(in *eks.CreateClusterInput) {
			in.ResourcesVpcConfig.SecurityGroupIds = []string{"sg-00000000000000000"}
		}),
			invalid, "The security group 'sg-00000000000000000' does not exist", 400},
		{"tag of AWS's", create(func(in *eks.CreateClusterInput) { in.Tags = map[string]string{"aws:x": "y"} }), invalid, "aws:", 400},
		{"unknown mode", create(func(in *eks.CreateClusterInput) {
			in.AccessConfig = &ekstypes.CreateAccessConfigRequest{AuthenticationMode: "NONE"}
		}), invalid, "NONE", 400},
	})
}

func badResources(t *testing.T, w *world) {
	e, no := w.eks, aws.String("nonsense")
	const missing, noCluster = "ResourceNotFoundException", "No cluster found for name: nonsense."
	checkAll(t, []refusal{
		{"DescribeCluster", func(ctx context.Context) error {
			_, err := e.DescribeCluster(ctx, &eks.DescribeClusterInput{Name: no})
			return err
		}, missing, noCluster, 404},
		{"DeleteCluster", func(ctx context.Context) error {
			_, err := e.DeleteCluster(ctx, &eks.DeleteClusterInput{Name: no})
			return err
		}, missing, noCluster, 404},
		{"UpdateClusterVersion", func(ctx context.Context) error {
			_, err := e.UpdateClusterVersion(ctx, &eks.UpdateClusterVersionInput{Name: no, Version: aws.String("1.35")})
			return err
		}, missing, noCluster, 404},
		{"ListNodegroups", func(ctx context.Context) error {
			_, err := e.ListNodegroups(ctx, &eks.ListNodegroupsInput{ClusterName: no})
			return err
		}, missing, noCluster, 404},
		{"ListAddons", func(ctx context.Context) error {
			_, err := e.ListAddons(ctx, &eks.ListAddonsInput{ClusterName: no})
			return err
		}, missing, noCluster, 404},
		{"ListUpdates", func(ctx context.Context) error {
			_, err := e.ListUpdates(ctx, &eks.ListUpdatesInput{Name: no})
			return err
		}, missing, noCluster, 404},
		{"ListAccessEntries", func(ctx context.Context) error {
			_, err := e.ListAccessEntries(ctx, &eks.ListAccessEntriesInput{ClusterName: no})
			return err
		}, missing, noCluster, 404},
		{"CreateNodegroup", func(ctx context.Context) error {
			_, err := e.CreateNodegroup(ctx, &eks.CreateNodegroupInput{ClusterName: no, NodegroupName: no, NodeRole: &w.node, Subnets: w.subnets})
			return err
		}, missing, noCluster, 404},
		{"page too large", func(ctx context.Context) error {
			_, err := e.ListClusters(ctx, &eks.ListClustersInput{MaxResults: aws.Int32(101)})
			return err
		}, "InvalidParameterException", "maxResults", 400},
		{"not implemented", func(ctx context.Context) error {
			_, err := w.ssm.DescribeInstanceInformation(ctx, &ssm.DescribeInstanceInformationInput{})
			return err
		}, "UnknownOperationException", "ekslocal does not implement ssm:DescribeInstanceInformation", 501},
		{"not implemented in EC2", func(ctx context.Context) error {
			_, err := w.ec2.DescribeHosts(ctx, &ec2.DescribeHostsInput{})
			return err
		}, "InvalidAction", "ekslocal does not implement ec2:DescribeHosts", 501},
		{"no VPC", func(ctx context.Context) error {
			_, err := w.ec2.DeleteVpc(ctx, &ec2.DeleteVpcInput{VpcId: aws.String("vpc-00000000000000000")})
			return err
		}, "InvalidVpcID.NotFound", "The vpc ID 'vpc-00000000000000000' does not exist", 400},
		{"malformed id", func(ctx context.Context) error {
			_, err := w.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{"nonsense"}})
			return err
		}, "InvalidVpcID.Malformed", `Invalid id: "nonsense" (expecting "vpc-...")`, 400},
		{"VPC with subnets", func(ctx context.Context) error {
			_, err := w.ec2.DeleteVpc(ctx, &ec2.DeleteVpcInput{VpcId: &w.vpc})
			return err
		}, "DependencyViolation", "The vpc '" + w.vpc + "' has dependencies and cannot be deleted.", 400},
		{"role with policies", func(ctx context.Context) error {
			_, err := w.iam.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String("node")})
			return err
		}, "DeleteConflict", "Cannot delete entity, must detach all policies first.", 409},
		{"no policy", func(ctx context.Context) error {
			_, err := w.iam.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("node"), PolicyArn: aws.String("arn:aws:iam::aws:policy/Nonsense")})
			return err
		}, "NoSuchEntity", "Policy arn:aws:iam::aws:policy/Nonsense does not exist or is not attachable.", 404},
		{"no parameter", func(ctx context.Context) error {
			_, err := w.ssm.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("/nonsense")})
			return err
		}, "ParameterNotFound", "", 400},
	})
}

// badPlaces are calls with other credentials or to other regions.
func badPlaces(t *testing.T, w *world) {
	as := func(key, secret, region string) *eks.Client {
		c := w.config()
		c.Region, c.Credentials = region, credentials.NewStaticCredentialsProvider(key, secret, "")
		return eks.NewFromConfig(c)
	}
	describe := func(e *eks.Client) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := e.DescribeCluster(ctx, &eks.DescribeClusterInput{Name: aws.String("x")})
			return err
		}
	}
	checkAll(t, []refusal{
		{"wrong secret", describe(as("test", "wrong", region)), "InvalidSignatureException", "The request signature we calculated does not match", 403},
		{"unknown key", describe(as("AKIAIOSFODNN7EXAMPLE", "test", region)), "UnrecognizedClientException", "The security token included in the request is invalid", 403},
		{"other region", describe(as("test", "test", "eu-west-1")), "ResourceNotFoundException", "No cluster found for name: x.", 404},
		{"other account", describe(as("111122223333", "test", region)), "ResourceNotFoundException", "No cluster found for name: x.", 404},
	})
}

// raw sends bytes that no client would make, well signed.
func (w *world) raw(t *testing.T, method, service, path, body string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.endpoint+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	sum := sha256.Sum256([]byte(body))
	err = v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, req, hex.EncodeToString(sum[:]), service, region, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return do(t, req)
}

func do(t *testing.T, req *http.Request) (int, string) {
	t.Helper()
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	if r.Header.Get("X-Amzn-Requestid") == "" && r.Header.Get("X-Amzn-RequestId") == "" {
		t.Errorf("%s %s: no request id", req.Method, req.URL)
	}
	return r.StatusCode, r.Header.Get("X-Amzn-Errortype") + " " + string(b)
}

func badRaw(t *testing.T, w *world) {
	form := []string{"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"}
	target := func(op string) []string {
		return []string{"Content-Type", "application/x-amz-json-1.1", "X-Amz-Target", "AmazonSSM." + op}
	}
	for _, tc := range []struct {
		name, method, service, path, body string
		header                            []string
		status                            int
		want                              []string
	}{
		{"JSON cut off", "POST", "eks", "/clusters", `{"name":"a"`, nil, 400, []string{"SerializationException"}},
		{"JSON of another type", "POST", "eks", "/clusters", `{"name":["a"]}`, nil, 400, []string{"SerializationException"}},
		{"JSON that is no object", "POST", "eks", "/clusters", `[1]`, nil, 400, []string{"SerializationException"}},
		{"XML where JSON is due", "POST", "eks", "/clusters", `<a/>`, nil, 400, []string{"SerializationException"}},
		{"deep JSON", "POST", "eks", "/clusters", strings.Repeat(`{"tags":`, 100000), nil, 400, []string{"SerializationException"}},
		{"no JSON", "POST", "eks", "/clusters", ``, nil, 400, []string{"InvalidParameterException"}},
		{"unknown path", "GET", "eks", "/nonsense", ``, nil, 400, []string{"UnknownOperationException"}},
		{"wrong method", "PATCH", "eks", "/clusters", ``, nil, 400, []string{"UnknownOperationException"}},
		{"broken escape", "GET", "eks", "/clusters/%25zz%2F..", ``, nil, 404, []string{"ResourceNotFoundException"}},
		{"number that is none", "GET", "eks", "/clusters?maxResults=x", ``, nil, 400, []string{"SerializationException"}},
		{"unknown SSM operation", "POST", "ssm", "/", `{}`, target("Nonsense"), 400, []string{"UnknownOperationException"}},
		{"SSM JSON cut off", "POST", "ssm", "/", `{`, target("GetParameter"), 400, []string{"SerializationException"}},
		{"unknown EC2 action", "POST", "ec2", "/", "Action=Nonsense&Version=2016-11-15", form, 400, []string{"<Code>InvalidAction</Code>", "The action Nonsense is not valid for this web service."}},
		{"unknown IAM action", "POST", "iam", "/", "Action=Nonsense&Version=2010-05-08", form, 400, []string{"<Code>InvalidAction</Code>"}},
		{"no action", "POST", "iam", "/", "Version=2010-05-08", form, 400, []string{"MissingAction"}},
		{"malformed form", "POST", "ec2", "/", "Action=DescribeVpcs&Version=2016-11-15&VpcId.1=%zz", form, 404, []string{"MalformedQueryString"}},
		{"EC2 number that is none", "POST", "ec2", "/", "Action=DescribeVpcs&Version=2016-11-15&MaxResults=x", form, 400, []string{"<Code>"}},
		{"huge list index", "POST", "ec2", "/", "Action=DescribeVpcs&Version=2016-11-15&VpcId.99999999999=vpc-1", form, 400, []string{"<Code>"}},
		{"service that is not here", "POST", "dynamodb", "/", `{}`, []string{"X-Amz-Target", "DynamoDB_20120810.ListTables"}, 501, []string{"ServiceNotImplemented", "dynamodb"}},
		{"oversized body", "POST", "eks", "/clusters", strings.Repeat("x", 11<<20), nil, 413, []string{"RequestEntityTooLargeException", "exceeds the maximum size of 10485760 bytes"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, got := w.raw(t, tc.method, tc.service, tc.path, tc.body, tc.header...)
			if status != tc.status {
				t.Errorf("HTTP status %d, want %d: %s", status, tc.status, got)
			}
			for _, s := range tc.want {
				if !strings.Contains(got, s) {
					t.Errorf("%.500s\nwant %q in it", got, s)
				}
			}
		})
	}
	t.Run("unsigned", func(t *testing.T) {
		req, err := http.NewRequestWithContext(t.Context(), "GET", w.endpoint+"/clusters", nil)
		if err != nil {
			t.Fatal(err)
		}
		if status, got := do(t, req); status != 403 || !strings.Contains(got, "MissingAuthenticationToken") {
			t.Errorf("%d %s", status, got)
		}
	})
	t.Run("not HTTP", func(t *testing.T) {
		for _, sent := range []string{"\x16\x03\x01\x00\x05hello", "\x00\xff\xfe", "GET\r\n\r\n", "SSH-2.0-x\r\n"} {
			c, err := net.Dial("tcp", w.listen)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(c, bytes.NewBufferString(sent)); err != nil {
				t.Error(err)
			}
			_ = c.(*net.TCPConn).CloseWrite()
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := io.Copy(io.Discard, c); err != nil {
				t.Errorf("%q: %v", sent, err)
			}
			c.Close()
		}
		w.status() // it lives
	})
}

func badChildren(t *testing.T, w *world) {
	// The control plane's interfaces are in two of the three subnets.
	taken := *w.interfaces(t)[0].SubnetId
	dev := aws.String("dev")
	group := func(change func(*eks.CreateNodegroupInput)) func(context.Context) error {
		return func(ctx context.Context) error {
			in := &eks.CreateNodegroupInput{ClusterName: dev, NodegroupName: aws.String("bad"), NodeRole: &w.node, Subnets: w.subnets}
			change(in)
			_, err := w.eks.CreateNodegroup(ctx, in)
			return err
		}
	}
	entry := func(arn string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := w.eks.CreateAccessEntry(ctx, &eks.CreateAccessEntryInput{ClusterName: dev, PrincipalArn: &arn})
			return err
		}
	}
	upgrade := func(v string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := w.eks.UpdateClusterVersion(ctx, &eks.UpdateClusterVersionInput{Name: dev, Version: &v})
			return err
		}
	}
	addon := func(name, version, config string) func(context.Context) error {
		return func(ctx context.Context) error {
			in := &eks.CreateAddonInput{ClusterName: dev, AddonName: &name}
			if version != "" {
				in.AddonVersion = &version
			}
			if config != "" {
				in.ConfigurationValues = &config
			}
			_, err := w.eks.CreateAddon(ctx, in)
			return err
		}
	}
	const invalid, missing = "InvalidParameterException", "ResourceNotFoundException"
	checkAll(t, []refusal{
		{"name taken", func(ctx context.Context) error {
			_, err := w.eks.CreateCluster(ctx, &eks.CreateClusterInput{Name: dev, RoleArn: &w.clusterRole, ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: w.subnets}})
			return err
		}, "ResourceInUseException", "Cluster already exists with name: dev", 409},
		{"node group's name", group(func(in *eks.CreateNodegroupInput) { in.NodegroupName = aws.String("a b") }), invalid, "must begin with a letter or number", 400},
		{"no such node role", group(func(in *eks.CreateNodegroupInput) { in.NodeRole = aws.String("arn:aws:iam::000000000000:role/nobody") }), invalid, "The role with name nobody cannot be found.", 400},
		{"role that does not trust EC2", group(func(in *eks.CreateNodegroupInput) { in.NodeRole = &w.clusterRole }), invalid, "ec2.amazonaws.com", 400},
		{"desired over max", group(func(in *eks.CreateNodegroupInput) {
			in.ScalingConfig = &ekstypes.NodegroupScalingConfig{MinSize: aws.Int32(1), MaxSize: aws.Int32(2), DesiredSize: aws.Int32(3)}
		}), invalid, "desiredSize can't be greater than maxSize", 400},
		{"unknown instance type", group(func(in *eks.CreateNodegroupInput) { in.InstanceTypes = []string{"x9.nonsense"} }), invalid, "x9.nonsense", 400},
		{"ARM type with an x86 image", group(func(in *eks.CreateNodegroupInput) {
			in.InstanceTypes, in.AmiType = []string{"m7g.large"}, ekstypes.AMITypesAl2023X8664Standard
		}), invalid, "[m7g.large] is not a valid instance type for requested amiType AL2023_x86_64_STANDARD", 400},
		{"foreign subnet", group(func(in *eks.CreateNodegroupInput) { in.Subnets = []string{"subnet-00000000000000000"} }), invalid, "does not exist", 400},
		{"version ahead of the cluster", group(func(in *eks.CreateNodegroupInput) { in.Version = aws.String("1.36") }), invalid, "1.36", 400},
		{"reserved label", group(func(in *eks.CreateNodegroupInput) { in.Labels = map[string]string{"kubernetes.io/x": "y"} }), invalid, "reserved prefixes", 400},
		{"no node group", func(ctx context.Context) error {
			_, err := w.eks.DescribeNodegroup(ctx, &eks.DescribeNodegroupInput{ClusterName: dev, NodegroupName: aws.String("x")})
			return err
		}, missing, "No node group found for name: x.", 404},
		{"downgrade", upgrade("1.34"), invalid, "1.34", 400},
		{"unknown version", upgrade("2.0"), invalid, "2.0", 400},
		{"no add-on", addon("nonsense", "", ""), invalid, "Addon nonsense specified is not supported", 400},
		{"add-on version", addon("coredns", "v0", ""), invalid, "Addon version specified is not supported", 400},
		{"add-on configuration", addon("coredns", "", `{"nonsense":1}`), invalid, "ConfigurationValue provided in request is not supported", 400},
		{"add-on not there", func(ctx context.Context) error {
			_, err := w.eks.DescribeAddon(ctx, &eks.DescribeAddonInput{ClusterName: dev, AddonName: aws.String("coredns")})
			return err
		}, missing, "No addon: coredns found in cluster: dev", 404},
		{"not a principal", entry("nonsense"), invalid, "The principalArn parameter format is not valid", 400},
		{"no such principal", entry("arn:aws:iam::000000000000:role/nobody"), invalid, "The specified principalArn is invalid: invalid principal.", 400},
		{"no such access policy", func(ctx context.Context) error {
			_, err := w.eks.AssociateAccessPolicy(ctx, &eks.AssociateAccessPolicyInput{ClusterName: dev, PrincipalArn: aws.String("arn:aws:iam::000000000000:root"),
				PolicyArn: aws.String("arn:aws:eks::aws:cluster-access-policy/Nonsense"), AccessScope: &ekstypes.AccessScope{Type: ekstypes.AccessScopeTypeCluster}})
			return err
		}, missing, "", 404},
		{"two updates in one", func(ctx context.Context) error {
			_, err := w.eks.UpdateClusterConfig(ctx, &eks.UpdateClusterConfigInput{Name: dev, DeletionProtection: aws.Bool(true), UpgradePolicy: &ekstypes.UpgradePolicyRequest{SupportType: ekstypes.SupportTypeStandard}})
			return err
		}, invalid, "Only one type of update can be allowed.", 400},
		{"subnet with interfaces", func(ctx context.Context) error {
			_, err := w.ec2.DeleteSubnet(ctx, &ec2.DeleteSubnetInput{SubnetId: &taken})
			return err
		}, "DependencyViolation", "The subnet '" + taken + "' has dependencies and cannot be deleted.", 400},
	})
}

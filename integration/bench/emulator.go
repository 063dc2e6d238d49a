package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const region = "us-east-1"

// server is ekslocal or a peer, as a process of this one.
type server struct {
	cmd      *exec.Cmd
	endpoint string
	dir      string
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// launch starts a program and waits until path answers 200.
func launch(ctx context.Context, port int, path, name string, args ...string) (*server, error) {
	s := &server{cmd: exec.Command(name, args...), endpoint: fmt.Sprintf("http://127.0.0.1:%d", port)}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	err := poll(ctx, 30*time.Second, 2*time.Millisecond, func() (bool, error) {
		r, err := http.Get(s.endpoint + path)
		if err != nil {
			return false, nil
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK, nil
	})
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("%s is not healthy: %w", name, err)
	}
	return s, nil
}

func (b *bench) emulator(ctx context.Context, flags ...string) (*server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "ekslocal-bench-")
	if err != nil {
		return nil, err
	}
	args := append([]string{"start", "--listen", fmt.Sprintf("127.0.0.1:%d", port), "--data-dir", dir,
		"--cluster-ports", "16500-16599", "--log-level", "warn"}, flags...)
	s, err := launch(ctx, port, "/_ekslocal/health", b.binary, args...)
	if err != nil {
		return nil, err
	}
	s.dir = dir
	return s, nil
}

func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
	if s.dir != "" {
		_ = os.RemoveAll(s.dir)
	}
}

func poll(ctx context.Context, limit, every time.Duration, f func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		if ok, err := f(); ok || err != nil {
			return err
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// account is what clusters are made in.
type account struct {
	eks         *eks.Client
	ec2         *ec2.Client
	iam         *iam.Client
	sts         *sts.Client
	subnets     []string
	role, nodes string
}

func newAccount(ctx context.Context, endpoint string) (*account, error) {
	cfg := aws.Config{Region: region, BaseEndpoint: &endpoint, Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")}
	a := &account{eks: eks.NewFromConfig(cfg), ec2: ec2.NewFromConfig(cfg), iam: iam.NewFromConfig(cfg), sts: sts.NewFromConfig(cfg)}
	vpc, err := a.ec2.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")})
	if err != nil {
		return nil, err
	}
	for i, az := range []string{"a", "b", "c"} {
		s, err := a.ec2.CreateSubnet(ctx, &ec2.CreateSubnetInput{
			VpcId: vpc.Vpc.VpcId, CidrBlock: aws.String(fmt.Sprintf("10.0.%d.0/18", i*64)), AvailabilityZone: aws.String(region + az),
		})
		if err != nil {
			return nil, err
		}
		a.subnets = append(a.subnets, *s.Subnet.SubnetId)
	}
	if a.role, err = a.makeRole(ctx, "eks"); err != nil {
		return nil, err
	}
	a.nodes, err = a.makeRole(ctx, "ec2")
	return a, err
}

func (a *account) makeRole(ctx context.Context, service string) (string, error) {
	out, err := a.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &service, AssumeRolePolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"` + service + `.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)})
	if err != nil {
		return "", err
	}
	return *out.Role.Arn, nil
}

// cluster creates one and returns it ACTIVE.
func (a *account) cluster(ctx context.Context, name string) (*ekstypes.Cluster, error) {
	if _, err := a.eks.CreateCluster(ctx, &eks.CreateClusterInput{
		Name: &name, RoleArn: &a.role, ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: a.subnets},
	}); err != nil {
		return nil, err
	}
	var c *ekstypes.Cluster
	err := poll(ctx, 2*time.Minute, 10*time.Millisecond, func() (bool, error) {
		out, err := a.eks.DescribeCluster(ctx, &eks.DescribeClusterInput{Name: &name})
		if err != nil {
			return false, err
		}
		c = out.Cluster
		return c.Status == ekstypes.ClusterStatusActive, nil
	})
	return c, err
}

// nodegroup creates one of n nodes and returns when it is ACTIVE, every node Ready.
func (a *account) nodegroup(ctx context.Context, cluster string, n int, instanceType string) error {
	ng := "ng"
	if _, err := a.eks.CreateNodegroup(ctx, &eks.CreateNodegroupInput{
		ClusterName: &cluster, NodegroupName: &ng, NodeRole: &a.nodes, Subnets: a.subnets, InstanceTypes: []string{instanceType},
		ScalingConfig: &ekstypes.NodegroupScalingConfig{MinSize: aws.Int32(0), MaxSize: aws.Int32(int32(max(n, 1))), DesiredSize: aws.Int32(int32(n))},
	}); err != nil {
		return err
	}
	return poll(ctx, 5*time.Minute, 10*time.Millisecond, func() (bool, error) {
		out, err := a.eks.DescribeNodegroup(ctx, &eks.DescribeNodegroupInput{ClusterName: &cluster, NodegroupName: &ng})
		if err != nil {
			return false, err
		}
		return out.Nodegroup.Status == ekstypes.NodegroupStatusActive, nil
	})
}

// kubernetes signs in as kubectl does.
func (a *account) kubernetes(ctx context.Context, c *ekstypes.Cluster) (*kubernetes.Clientset, error) {
	ca, err := base64.StdEncoding.DecodeString(*c.CertificateAuthority.Data)
	if err != nil {
		return nil, err
	}
	p := sts.NewPresignClient(a.sts)
	r, err := p.PresignGetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}, func(o *sts.PresignOptions) {
		o.ClientOptions = append(o.ClientOptions, func(o *sts.Options) {
			o.APIOptions = append(o.APIOptions, smithyhttp.SetHeaderValue("x-k8s-aws-id", *c.Name), smithyhttp.SetHeaderValue("X-Amz-Expires", "60"))
		})
	})
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(&rest.Config{
		Host: *c.Endpoint, BearerToken: "k8s-aws-v1." + base64.RawURLEncoding.EncodeToString([]byte(r.URL)),
		TLSClientConfig: rest.TLSClientConfig{CAData: ca}, QPS: -1,
	})
}

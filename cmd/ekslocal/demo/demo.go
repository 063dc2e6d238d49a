// Package demo takes a new user from nothing to running pods through the same
// APIs that a real EKS account has, and says what it does.
package demo

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"
)

// Config says where to demonstrate.
type Config struct {
	// AWS has the region and credentials.
	AWS      aws.Config
	Endpoint string
	// Program is how the user calls ekslocal.
	Program string
	Out     io.Writer
	Clock   clock.PassiveClock
	// Token makes a bearer token for a cluster.
	Token func(ctx context.Context, cfg aws.Config, cluster string) (string, error)
}

// What the demo makes. All steps look for it first, so that a second run, or one
// after an interrupted run, goes on from there.
const (
	name      = "demo"
	tag       = "ekslocal-demo"
	vpcCIDR   = "10.0.0.0/16"
	nodeType  = "m5.large"
	nodeCount = 3
	replicas  = 20
	namespace = "default"
)

// subnetCIDRs are one an availability zone.
var subnetCIDRs = []string{"10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24"}

type run struct {
	Config
	ec2  *ec2.Client
	eks  *eks.Client
	iam  *iam.Client
	kube kubernetes.Interface

	vpc         string
	subnets     []string
	clusterRole string
	nodeRole    string
	version     string
	nodes, pods []place
}

// place is something with an address.
type place struct{ name, ip, node string }

// Run does all steps.
func Run(ctx context.Context, cfg Config) error {
	began := cfg.Clock.Now()
	r := &run{Config: cfg,
		ec2: ec2.NewFromConfig(cfg.AWS, func(o *ec2.Options) { o.BaseEndpoint = &cfg.Endpoint }),
		eks: eks.NewFromConfig(cfg.AWS, func(o *eks.Options) { o.BaseEndpoint = &cfg.Endpoint }),
		iam: iam.NewFromConfig(cfg.AWS, func(o *iam.Options) { o.BaseEndpoint = &cfg.Endpoint }),
	}
	for _, s := range []struct {
		name string
		do   func(context.Context) (string, error)
	}{
		{"VPC", r.makeVPC},
		{"Subnets in three AZs", r.makeSubnets},
		{"Internet gateway, routes", r.makeRoutes},
		{"Role of the cluster", r.makeClusterRole},
		{"EKS cluster", r.makeCluster},
		{"Role of the nodes", r.makeNodeRole},
		{"Managed node group", r.makeNodegroup},
		{"Kubernetes API", r.connect},
		{"Nodes Ready", r.waitNodes},
		{"Deployment and Service", r.apply},
		{"Pods Running", r.waitPods},
	} {
		if err := r.step(ctx, s.name, s.do); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return r.summary(ctx, cfg.Clock.Since(began))
}

// step prints the name before and the rest after, so that a reader sees what is
// being waited for.
func (r *run) step(ctx context.Context, name string, do func(context.Context) (string, error)) error {
	fmt.Fprintf(r.Out, "  %-26s", name)
	began := r.Clock.Now()
	detail, err := do(ctx)
	if err != nil {
		fmt.Fprintln(r.Out, "failed")
		return err
	}
	fmt.Fprintf(r.Out, "%-72s %7s\n", detail, seconds(r.Clock.Since(began)))
	return nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

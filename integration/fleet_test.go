package integration

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const amiParameter = "/aws/service/eks/optimized-ami/1.33/amazon-linux-2023/x86_64/standard/recommended/image_id"

func (w *world) ami(t *testing.T) string {
	t.Helper()
	out := must(w.ssm.GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String(amiParameter)}))(t)
	return *out.Parameter.Value
}

// TestQueuesAndEvents runs testdata/fleet_checks.py; each of its checks is a
// subtest.
func TestQueuesAndEvents(t *testing.T) {
	t.Parallel()
	python := tool(t, "python3")
	if exec.Command(python, "-c", "import boto3").Run() != nil {
		t.Skip("boto3 is not installed")
	}
	w := newWorld(t, start(t))
	out, err := runTool(t, w.env(filepath.Join(t.TempDir(), "kubeconfig")), "", python, filepath.Join("testdata", "fleet_checks.py"), w.ami(t), w.subnets[0])
	if err != nil {
		t.Error(err)
	}
	n := 0
	for line := range strings.Lines(out) {
		var c struct{ Name, Error string }
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Errorf("%q: %v", line, err)
			continue
		}
		n++
		t.Run(c.Name, func(t *testing.T) {
			if c.Error != "" {
				t.Error(c.Error)
			}
		})
	}
	if n == 0 {
		t.Error("no check ran")
	}
}

// autoScalingGroup is what the aws CLI prints of one.
type autoScalingGroup struct {
	MinSize, MaxSize, DesiredCapacity int
	Instances                         []struct{ InstanceId, LifecycleState, HealthStatus string }
	AvailabilityZones                 []string
}

func describeGroup(t *testing.T, a *awsCLI, args ...string) (g autoScalingGroup, ok bool) {
	t.Helper()
	r := a.run(t, nil, append([]string{"autoscaling", "describe-auto-scaling-groups", "--output", "json"}, args...)...)
	if r.Code != 0 {
		t.Fatal(r.Err)
	}
	var out struct{ AutoScalingGroups []autoScalingGroup }
	if err := json.Unmarshal([]byte(r.Out), &out); err != nil {
		t.Fatal(err)
	}
	if len(out.AutoScalingGroups) != 1 {
		return g, false
	}
	return out.AutoScalingGroups[0], true
}

// TestAutoScalingOfNodegroup scales a managed node group as cluster-autoscaler does.
func TestAutoScalingOfNodegroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	c := w.cluster(t, "dev")
	w.nodegroup(t, "dev", "ng", 2)
	a := newAWS(t, w.env(filepath.Join(t.TempDir(), "kubeconfig")))
	ng := w.nodegroupIs(t, "dev", "ng", ekstypes.NodegroupStatusActive)
	name := *ng.Resources.AutoScalingGroups[0].Name
	inService := func(n int) []string {
		var ids []string
		eventually(t, time.Minute, fmt.Sprintf("%d instances are in service", n), func() error {
			g, found := describeGroup(t, a, "--auto-scaling-group-names", name)
			ids = nil
			for _, i := range g.Instances {
				if i.LifecycleState == "InService" && i.HealthStatus == "Healthy" {
					ids = append(ids, i.InstanceId)
				}
			}
			if !found || len(g.Instances) != n || len(ids) != n {
				return fmt.Errorf("it is %+v", g)
			}
			return nil
		})
		return ids
	}
	nodesAre := func(n int) {
		t.Helper()
		k, _ := w.kubernetes(t, c)
		eventually(t, time.Minute, fmt.Sprintf("%d nodes are there", n), func() error {
			out, err := k.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
			if err == nil && len(out.Items) != n {
				err = fmt.Errorf("there are %d", len(out.Items))
			}
			return err
		})
	}
	inService(2)
	if _, found := describeGroup(t, a, "--filters", "Name=tag-key,Values=k8s.io/cluster-autoscaler/dev", "Name=tag:k8s.io/cluster-autoscaler/enabled,Values=true"); !found {
		t.Error("cluster-autoscaler does not find the group by its tags")
	}
	a.ok(t, "autoscaling", "create-or-update-tags", "--tags", "ResourceId="+name+",ResourceType=auto-scaling-group,Key=team,Value=a,PropagateAtLaunch=true")
	a.ok(t, "autoscaling", "set-desired-capacity", "--auto-scaling-group-name", name, "--desired-capacity", "4")
	ids := inService(4)
	nodesAre(4)
	if d := w.nodegroupIs(t, "dev", "ng", ekstypes.NodegroupStatusActive); *d.ScalingConfig.DesiredSize != 4 {
		t.Errorf("DescribeNodegroup says %d nodes, want 4", *d.ScalingConfig.DesiredSize)
	}
	if tagged := a.ok(t, "ec2", "describe-instances", "--filters", "Name=tag:team,Values=a", "--query", "length(Reservations[].Instances[])", "--output", "text"); tagged != "2" {
		t.Errorf("%s instances have the group's new tag, want the 2 new ones", tagged)
	}
	a.ok(t, "autoscaling", "terminate-instance-in-auto-scaling-group", "--instance-id", ids[1], "--should-decrement-desired-capacity")
	left := inService(3)
	nodesAre(3)
	for _, id := range left {
		if id == ids[1] || !slices.Contains(ids, id) {
			t.Errorf("of %v, without %s, %v are left", ids, ids[1], left)
		}
	}
	activities := a.ok(t, "autoscaling", "describe-scaling-activities", "--auto-scaling-group-name", name, "--query", "Activities[].[StatusCode,Description]", "--output", "text")
	if n := strings.Count(activities, "Launching a new EC2 instance"); n != 4 || !strings.Contains(activities, "Terminating EC2 instance: "+ids[1]) {
		t.Errorf("activities:\n%s", activities)
	}
	must(w.eks.DeleteNodegroup(t.Context(), &eks.DeleteNodegroupInput{ClusterName: aws.String("dev"), NodegroupName: aws.String("ng")}))(t)
	eventually(t, time.Minute, "the group goes with the node group", func() error {
		if g, found := describeGroup(t, a, "--auto-scaling-group-names", name); found {
			return fmt.Errorf("it is %+v", g)
		}
		return nil
	})
}

// TestSelfManagedGroup is a group that survives the emulator's sudden end while it
// grows.
func TestSelfManagedGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	a := newAWS(t, w.env(filepath.Join(t.TempDir(), "kubeconfig")))
	a.ok(t, "ec2", "create-launch-template", "--launch-template-name", "template", "--launch-template-data", fmt.Sprintf(`{"ImageId":%q,"InstanceType":"m5.large"}`, w.ami(t)))
	a.ok(t, "autoscaling", "create-auto-scaling-group", "--auto-scaling-group-name", "own", "--min-size", "0", "--max-size", "20", "--desired-capacity", "12",
		"--launch-template", "LaunchTemplateName=template", "--vpc-zone-identifier", strings.Join(w.subnets, ","))
	w.kill()
	w.run()
	eventually(t, time.Minute, "all instances are there", func() error {
		g, _ := describeGroup(t, a, "--auto-scaling-group-names", "own")
		if len(g.Instances) != 12 {
			return fmt.Errorf("there are %d", len(g.Instances))
		}
		return nil
	})
	refused := a.run(t, nil, "autoscaling", "delete-auto-scaling-group", "--auto-scaling-group-name", "own")
	if !strings.Contains(refused.Err, "ResourceInUse") {
		t.Errorf("deleting it with instances: %+v", refused)
	}
	a.ok(t, "autoscaling", "delete-auto-scaling-group", "--auto-scaling-group-name", "own", "--force-delete")
	eventually(t, time.Minute, "the group is gone", func() error {
		if g, found := describeGroup(t, a, "--auto-scaling-group-names", "own"); found {
			return fmt.Errorf("it has %d instances", len(g.Instances))
		}
		return nil
	})
	if n := a.ok(t, "ec2", "describe-instances", "--filters", "Name=instance-state-name,Values=pending,running", "--query", "length(Reservations[].Instances[])", "--output", "text"); n != "0" {
		t.Errorf("%s instances run on", n)
	}
}

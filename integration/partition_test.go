package integration

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestChina goes from a role to `kubectl get nodes` in Beijing with the AWS CLI,
// and looks from the partition aws whether anything of it shows there.
func TestChina(t *testing.T) {
	t.Parallel()
	tool(t, "kubectl")
	e := start(t)
	env := append(e.env(filepath.Join(t.TempDir(), "kubeconfig")), "AWS_REGION=cn-north-1", "AWS_DEFAULT_REGION=cn-north-1")
	a := newAWS(t, env)
	is := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	is("the caller", a.text(t, "Arn", "sts", "get-caller-identity"), "arn:aws-cn:iam::000000000000:root")
	is("the zones", a.text(t, "AvailabilityZones[].ZoneName", "ec2", "describe-availability-zones"), "cn-north-1a\tcn-north-1b\tcn-north-1d")
	is("the regions", a.text(t, "Regions[].Endpoint", "ec2", "describe-regions"), "ec2.cn-north-1.amazonaws.com.cn\tec2.cn-northwest-1.amazonaws.com.cn")

	role := func(name, service string, policies ...string) string {
		arn := a.text(t, "Role.Arn", "iam", "create-role", "--role-name", name, "--assume-role-policy-document", *trust(service))
		is("the role", arn, "arn:aws-cn:iam::000000000000:role/"+name)
		for _, p := range policies {
			a.ok(t, "iam", "attach-role-policy", "--role-name", name, "--policy-arn", "arn:aws-cn:iam::aws:policy/"+p)
		}
		return arn
	}
	cluster := role("cluster", "eks.amazonaws.com", "AmazonEKSClusterPolicy")
	node := role("node", "ec2.amazonaws.com.cn", "AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryReadOnly")
	a.fails(t, []string{"(ValidationError)", "Invalid ARN partition"}, "iam", "attach-role-policy", "--role-name", "node", "--policy-arn", "arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy")

	vpc := a.text(t, "Vpc.VpcId", "ec2", "create-vpc", "--cidr-block", "10.1.0.0/16")
	var subnets []string
	for i, zone := range []string{"a", "b"} {
		subnets = append(subnets, a.text(t, "Subnet.SubnetId", "ec2", "create-subnet", "--vpc-id", vpc,
			"--cidr-block", fmt.Sprintf("10.1.%d.0/24", i), "--availability-zone", "cn-north-1"+zone))
	}
	create := []string{"eks", "create-cluster", "--name", "dev", "--access-config", "authenticationMode=API_AND_CONFIG_MAP",
		"--resources-vpc-config", "subnetIds=" + strings.Join(subnets, ","), "--role-arn"}
	a.fails(t, []string{"(AccessDeniedException)", "Cross-account pass role is not allowed."}, append(create, clusterRoleARN)...)
	is("the cluster", a.text(t, "cluster.arn", append(create, cluster)...), "arn:aws-cn:eks:cn-north-1:000000000000:cluster/dev")
	a.active(t, "cluster.status", "ACTIVE", "eks", "describe-cluster", "--name", "dev")
	a.ok(t, "eks", "create-nodegroup", "--cluster-name", "dev", "--nodegroup-name", "ng", "--node-role", node,
		"--subnets", subnets[0], "--scaling-config", "minSize=1,maxSize=1,desiredSize=1")
	a.active(t, "nodegroup.status", "ACTIVE", "eks", "describe-nodegroup", "--cluster-name", "dev", "--nodegroup-name", "ng")
	is("node groups' role for Auto Scaling", a.text(t, "AutoScalingGroups[0].ServiceLinkedRoleARN", "autoscaling", "describe-auto-scaling-groups"),
		"arn:aws-cn:iam::000000000000:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling")
	is("access policies", a.text(t, "associatedAccessPolicies[].policyArn", "eks", "list-associated-access-policies", "--cluster-name", "dev",
		"--principal-arn", "arn:aws-cn:iam::000000000000:root"), "arn:aws-cn:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy")

	a.ok(t, "eks", "update-kubeconfig", "--name", "dev")
	me := person{env}
	eventually(t, time.Minute, "the node is Ready", func() error {
		out, err := me.kubectl(t, "", "get", "nodes", "--no-headers")
		if err == nil && (strings.Count(out, "\n") != 1 || !strings.Contains(out, ".cn-north-1.compute.internal") || !strings.Contains(out, " Ready ")) {
			err = errors.New(out)
		}
		return err
	})
	is("the node's instance", a.text(t, "Reservations[].Instances[].IamInstanceProfile.Arn", "ec2", "describe-instances"),
		strings.TrimSpace(a.text(t, "InstanceProfiles[0].Arn", "iam", "list-instance-profiles-for-role", "--role-name", "node")))
	if images := me.ok(t, "", "get", "daemonset", "-n", "kube-system", "aws-node", "-o", "jsonpath={..image}"); !strings.Contains(images, "918309763551.dkr.ecr.cn-north-1.amazonaws.com.cn/") {
		t.Errorf("aws-node runs %s", images)
	}
	is("who kubectl is", me.ok(t, "", "auth", "whoami", "-o", "jsonpath={.status.userInfo.extra.arn[0]}"), "arn:aws-cn:iam::000000000000:root")

	elsewhere := []string{"AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1"}
	for _, list := range [][]string{{"iam", "list-roles", "--path-prefix", "/", "--query", "Roles[].Arn"}, {"eks", "list-clusters", "--query", "clusters"}} {
		if r := a.run(t, elsewhere, append(list, "--output", "text")...); r.Code != 0 || strings.TrimSpace(r.Out) != "" {
			t.Errorf("the partition aws has %s: %q %s", strings.Join(list, " "), r.Out, r.Err)
		}
	}
	a.ok(t, "iam", "create-user", "--user-name", "lee")
	key := strings.Fields(a.text(t, "AccessKey.[AccessKeyId,SecretAccessKey]", "iam", "create-access-key", "--user-name", "lee"))
	lee := []string{"AWS_ACCESS_KEY_ID=" + key[0], "AWS_SECRET_ACCESS_KEY=" + key[1]}
	if r := a.run(t, lee, "sts", "get-caller-identity", "--query", "Arn", "--output", "text"); strings.TrimSpace(r.Out) != "arn:aws-cn:iam::000000000000:user/lee" {
		t.Errorf("the user of China is %+v", r)
	}
	a.failsAs(t, append(lee, elsewhere...), []string{"(InvalidClientTokenId)"}, "sts", "get-caller-identity")
}

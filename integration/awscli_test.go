package integration

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var updateShapes = flag.Bool("update-shapes", false, "write testdata/shapes.json anew; read the difference before committing it")

// awsCLI is the installed AWS CLI in one environment. Version 1 is Python and runs
// as one process for all commands (testdata/aws.py); any other is started anew for
// each.
type awsCLI struct {
	program string
	env     []string
	in      *json.Encoder
	out     *bufio.Reader
}

// answer is what a command printed.
type answer struct {
	Code int
	Out  string
	Err  string
}

func newAWS(t *testing.T, env []string) *awsCLI {
	t.Helper()
	a := &awsCLI{program: tool(t, "aws"), env: env}
	cmd := exec.Command("python3", filepath.Join("testdata", "aws.py"))
	cmd.Env, cmd.Stderr = env, os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if exec.Command("python3", "-c", "import awscli.clidriver").Run() != nil || cmd.Start() != nil {
		return a
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	a.in, a.out = json.NewEncoder(in), bufio.NewReader(out)
	return a
}

// run runs one command; vars (NAME=value) are added to its environment.
func (a *awsCLI) run(t *testing.T, vars []string, args ...string) answer {
	t.Helper()
	var r answer
	if a.in == nil {
		out, err := runTool(t, append(slices.Clone(a.env), vars...), "", a.program, args...)
		if r.Out = out; err != nil {
			r.Code, r.Err = 255, err.Error()
		}
		return r
	}
	env := map[string]string{}
	for _, v := range vars {
		name, value, _ := strings.Cut(v, "=")
		env[name] = value
	}
	if err := a.in.Encode(map[string]any{"args": args, "env": env}); err != nil {
		t.Fatal(err)
	}
	line, err := a.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &r)
	}
	if err != nil {
		t.Fatalf("aws %s: %v", strings.Join(args, " "), err)
	}
	return r
}

// ok runs a command that must succeed and returns what it prints, trimmed.
func (a *awsCLI) ok(t *testing.T, args ...string) string {
	t.Helper()
	r := a.run(t, nil, args...)
	if r.Code != 0 {
		t.Fatalf("aws %s: exit status %d\n%s", strings.Join(args, " "), r.Code, strings.TrimSpace(r.Err))
	}
	return strings.TrimSpace(r.Out)
}

// text is ok with one value, chosen by a query.
func (a *awsCLI) text(t *testing.T, query string, args ...string) string {
	t.Helper()
	return a.ok(t, append(args, "--query", query, "--output", "text")...)
}

// json is ok with the decoded answer, whose shape is compared with the kept one.
func (a *awsCLI) json(t *testing.T, s *shapes, args ...string) map[string]any {
	t.Helper()
	var v map[string]any
	if out := a.ok(t, args...); out != "" {
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Fatalf("aws %s: %v in %q", strings.Join(args, " "), err, out)
		}
	}
	s.check(t, args[1], v)
	return v
}

// fails runs a command that must fail with all of these words in its message.
func (a *awsCLI) fails(t *testing.T, want []string, args ...string) {
	t.Helper()
	a.failsAs(t, nil, want, args...)
}

func (a *awsCLI) failsAs(t *testing.T, vars, want []string, args ...string) {
	t.Helper()
	r := a.run(t, vars, args...)
	if r.Code == 0 {
		t.Errorf("aws %s: succeeded with %s, want %q", strings.Join(args, " "), r.Out, want)
	}
	for _, w := range want {
		if !strings.Contains(r.Err, w) {
			t.Errorf("aws %s:\n%s\nwant %q in it", strings.Join(args, " "), strings.TrimSpace(r.Err), w)
		}
	}
}

// shapes holds the members that each operation's answer has, in
// testdata/shapes.json: one that appears or goes missing is a change for clients.
type shapes struct {
	want, got map[string][]string
}

func readShapes(t *testing.T) *shapes {
	t.Helper()
	s := &shapes{got: map[string][]string{}}
	b, err := os.ReadFile(filepath.Join("testdata", "shapes.json"))
	if err == nil {
		err = json.Unmarshal(b, &s.want)
	}
	if err != nil && !*updateShapes {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !*updateShapes {
			return
		}
		b, err := json.MarshalIndent(s.got, "", "  ")
		if err == nil {
			err = os.WriteFile(filepath.Join("testdata", "shapes.json"), append(b, '\n'), 0o644)
		}
		if err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *shapes) check(t *testing.T, operation string, v map[string]any) {
	t.Helper()
	if _, seen := s.got[operation]; seen {
		return // the first answer counts: later ones are of other states
	}
	members := map[string]bool{}
	shapeOf("", v, members)
	s.got[operation] = slices.Sorted(maps.Keys(members))
	if diff := cmp.Diff(s.want[operation], s.got[operation]); diff != "" && !*updateShapes {
		t.Errorf("members of %s (-want +got):\n%s", operation, diff)
	}
}

// shapeOf collects the paths of everything in v with their JSON types.
func shapeOf(path string, v any, into map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			into[path+" {}"] = true
		}
		for k, m := range v {
			shapeOf(path+"."+k, m, into)
		}
	case []any:
		if len(v) == 0 {
			into[path+"[]"] = true
		}
		for _, m := range v {
			shapeOf(path+"[]", m, into)
		}
	default:
		into[fmt.Sprintf("%s %T", path, v)] = true
	}
}

// active polls faster than `aws eks wait`, which sleeps for 30 s after its first look.
func (a *awsCLI) active(t *testing.T, query, want string, describe ...string) {
	t.Helper()
	eventually(t, time.Minute, strings.Join(describe, " ")+" says "+want, func() error {
		if got := a.text(t, query, describe...); got != want {
			return errors.New(got)
		}
		return nil
	})
}

const (
	clusterRoleARN = "arn:aws:iam::000000000000:role/cluster"
	nodeRoleARN    = "arn:aws:iam::000000000000:role/node"
)

// TestAWSCLI goes the way of the README with nothing but aws commands, and then
// calls every other operation of EKS once.
func TestAWSCLI(t *testing.T) {
	t.Parallel()
	e := start(t)
	a := newAWS(t, e.env(filepath.Join(t.TempDir(), "kubeconfig")))
	s := readShapes(t)
	vpc, subnets := awsNetwork(t, a)
	awsRoles(t, a)

	a.json(t, s, "eks", "create-cluster", "--name", "dev", "--role-arn", clusterRoleARN, "--kubernetes-version", "1.34",
		"--resources-vpc-config", "subnetIds="+strings.Join(subnets, ","), "--tags", "team=a",
		"--access-config", "authenticationMode=API_AND_CONFIG_MAP", "--client-request-token", "one")
	again := a.text(t, "cluster.createdAt", "eks", "create-cluster", "--name", "dev", "--role-arn", clusterRoleARN, "--kubernetes-version", "1.34",
		"--resources-vpc-config", "subnetIds="+strings.Join(subnets, ","), "--tags", "team=a",
		"--access-config", "authenticationMode=API_AND_CONFIG_MAP", "--client-request-token", "one")
	a.active(t, "cluster.status", "ACTIVE", "eks", "describe-cluster", "--name", "dev")
	a.ok(t, "eks", "wait", "cluster-active", "--name", "dev")
	if first := a.text(t, "cluster.createdAt", "eks", "describe-cluster", "--name", "dev"); first != again {
		t.Errorf("the same token made another cluster: %s and %s", first, again)
	}
	c := a.json(t, s, "eks", "describe-cluster", "--name", "dev")["cluster"].(map[string]any)
	if c["arn"] != "arn:aws:eks:us-east-1:000000000000:cluster/dev" || c["version"] != "1.34" {
		t.Errorf("cluster: %v", c)
	}
	a.json(t, s, "eks", "list-clusters")
	a.json(t, s, "eks", "create-nodegroup", "--cluster-name", "dev", "--nodegroup-name", "ng", "--node-role", nodeRoleARN,
		"--subnets", subnets[0], "--scaling-config", "minSize=0,maxSize=3,desiredSize=1", "--labels", "a=b",
		"--taints", "key=k,value=v,effect=PREFER_NO_SCHEDULE", "--tags", "team=a")
	a.active(t, "nodegroup.status", "ACTIVE", "eks", "describe-nodegroup", "--cluster-name", "dev", "--nodegroup-name", "ng")
	a.ok(t, "eks", "wait", "nodegroup-active", "--cluster-name", "dev", "--nodegroup-name", "ng")
	a.json(t, s, "eks", "describe-nodegroup", "--cluster-name", "dev", "--nodegroup-name", "ng")
	a.json(t, s, "eks", "list-nodegroups", "--cluster-name", "dev")

	t.Run("updates", func(t *testing.T) { awsUpdates(t, a, s) })
	t.Run("addons", func(t *testing.T) { awsAddons(t, a, s) })
	t.Run("access", func(t *testing.T) { awsAccess(t, a, s) })
	t.Run("tags", func(t *testing.T) { awsTags(t, a, s, c["arn"].(string)) })
	t.Run("dependencies", func(t *testing.T) {
		a.fails(t, []string{"(ResourceInUseException)", "Cluster has nodegroups attached"}, "eks", "delete-cluster", "--name", "dev")
		a.fails(t, []string{"(DependencyViolation)", "The vpc '" + vpc + "' has dependencies and cannot be deleted."}, "ec2", "delete-vpc", "--vpc-id", vpc)
		a.fails(t, []string{"(DependencyViolation)", "has dependencies and cannot be deleted"}, "ec2", "delete-subnet", "--subnet-id", subnets[0])
		a.fails(t, []string{"(DeleteConflict)", "Cannot delete entity, must detach all policies first."}, "iam", "delete-role", "--role-name", "cluster")
	})
	t.Run("credentials", func(t *testing.T) { awsCredentials(t, a) })
	awsTearDown(t, a, s, vpc, subnets)
}

func awsNetwork(t *testing.T, a *awsCLI) (vpc string, subnets []string) {
	t.Helper()
	vpc = a.text(t, "Vpc.VpcId", "ec2", "create-vpc", "--cidr-block", "10.1.0.0/16")
	a.ok(t, "ec2", "modify-vpc-attribute", "--vpc-id", vpc, "--enable-dns-hostnames")
	a.ok(t, "ec2", "wait", "vpc-available", "--vpc-ids", vpc)
	for i, az := range []string{"us-east-1a", "us-east-1b"} {
		subnets = append(subnets, a.text(t, "Subnet.SubnetId", "ec2", "create-subnet", "--vpc-id", vpc,
			"--cidr-block", fmt.Sprintf("10.1.%d.0/24", i), "--availability-zone", az))
	}
	igw := a.text(t, "InternetGateway.InternetGatewayId", "ec2", "create-internet-gateway")
	a.ok(t, "ec2", "attach-internet-gateway", "--internet-gateway-id", igw, "--vpc-id", vpc)
	rtb := a.text(t, "RouteTable.RouteTableId", "ec2", "create-route-table", "--vpc-id", vpc)
	a.ok(t, "ec2", "create-route", "--route-table-id", rtb, "--destination-cidr-block", "0.0.0.0/0", "--gateway-id", igw)
	for _, sn := range subnets {
		a.ok(t, "ec2", "associate-route-table", "--route-table-id", rtb, "--subnet-id", sn)
	}
	return vpc, subnets
}

func awsRoles(t *testing.T, a *awsCLI) {
	t.Helper()
	for name, r := range map[string]struct {
		service  string
		policies []string
	}{
		"cluster": {"eks.amazonaws.com", []string{"AmazonEKSClusterPolicy"}},
		"node":    {"ec2.amazonaws.com", []string{"AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryReadOnly"}},
	} {
		a.ok(t, "iam", "create-role", "--role-name", name, "--assume-role-policy-document", *trust(r.service))
		for _, p := range r.policies {
			a.ok(t, "iam", "attach-role-policy", "--role-name", name, "--policy-arn", "arn:aws:iam::aws:policy/"+p)
		}
	}
}

// updated waits until the update succeeded; want is its type.
func (a *awsCLI) updated(t *testing.T, s *shapes, u map[string]any, want string, of ...string) {
	t.Helper()
	up := u["update"].(map[string]any)
	if up["type"] != want || up["status"] != "InProgress" {
		t.Errorf("the update is %v, want a %s InProgress", up, want)
	}
	describe := append([]string{"eks", "describe-update", "--name", "dev", "--update-id", up["id"].(string)}, of...)
	a.active(t, "update.status", "Successful", describe...)
	a.json(t, s, describe...)
	if ids := a.ok(t, append([]string{"eks", "list-updates", "--name", "dev"}, of...)...); !strings.Contains(ids, up["id"].(string)) {
		t.Errorf("list-updates %v has no %v: %s", of, up["id"], ids)
	}
}

func awsUpdates(t *testing.T, a *awsCLI, s *shapes) {
	ng := []string{"--cluster-name", "dev", "--nodegroup-name", "ng"}
	a.json(t, s, "eks", "describe-cluster-versions")
	if v := a.text(t, "clusterVersions[?defaultVersion].clusterVersion", "eks", "describe-cluster-versions"); v == "" {
		t.Error("no version is the default one")
	}
	a.updated(t, s, a.json(t, s, "eks", "update-cluster-config", "--name", "dev", "--logging",
		`{"clusterLogging":[{"types":["api","audit"],"enabled":true}]}`), "LoggingUpdate")
	a.updated(t, s, a.json(t, s, append([]string{"eks", "update-nodegroup-config", "--scaling-config", "minSize=0,maxSize=4,desiredSize=1",
		"--labels", "addOrUpdateLabels={c=d},removeLabels=a"}, ng...)...), "ConfigUpdate", "--nodegroup-name", "ng")
	if got := a.text(t, "nodegroup.labels", append([]string{"eks", "describe-nodegroup"}, ng...)...); got != "d" {
		t.Errorf("the labels of the node group are %q", got)
	}
	a.fails(t, []string{"(InvalidParameterException)", "1.36"}, "eks", "update-cluster-version", "--name", "dev", "--kubernetes-version", "1.36")
	a.updated(t, s, a.json(t, s, "eks", "update-cluster-version", "--name", "dev", "--kubernetes-version", "1.35"), "VersionUpdate")
	if v := a.text(t, "cluster.version", "eks", "describe-cluster", "--name", "dev"); v != "1.35" {
		t.Errorf("the version is %s after an update to 1.35", v)
	}
	a.updated(t, s, a.json(t, s, append([]string{"eks", "update-nodegroup-version", "--kubernetes-version", "1.35"}, ng...)...), "VersionUpdate", "--nodegroup-name", "ng")
	if v := a.text(t, "nodegroup.version", append([]string{"eks", "describe-nodegroup"}, ng...)...); v != "1.35" {
		t.Errorf("the node group's version is %s after an update", v)
	}
}

func awsAddons(t *testing.T, a *awsCLI, s *shapes) {
	addon := []string{"--cluster-name", "dev", "--addon-name", "coredns"}
	if n := a.text(t, "length(addons)", "eks", "list-addons", "--cluster-name", "dev"); n != "0" {
		t.Errorf("%s add-ons are managed on a new cluster, want none", n)
	}
	a.json(t, s, "eks", "describe-addon-versions", "--addon-name", "coredns", "--kubernetes-version", "1.35")
	versions := strings.Fields(a.text(t, "addons[0].addonVersions[].addonVersion", "eks", "describe-addon-versions", "--addon-name", "coredns", "--kubernetes-version", "1.35"))
	a.json(t, s, "eks", "describe-addon-configuration", "--addon-name", "coredns", "--addon-version", versions[0])
	a.fails(t, []string{"(InvalidParameterException)", "ersion specified is not supported"}, append([]string{"eks", "create-addon", "--addon-version", "v0.0.1"}, addon...)...)
	a.json(t, s, append([]string{"eks", "create-addon", "--addon-version", versions[len(versions)-1], "--resolve-conflicts", "OVERWRITE", "--tags", "x=y"}, addon...)...)
	a.active(t, "addon.status", "ACTIVE", append([]string{"eks", "describe-addon"}, addon...)...)
	a.ok(t, append([]string{"eks", "wait", "addon-active"}, addon...)...)
	a.json(t, s, append([]string{"eks", "describe-addon"}, addon...)...)
	a.json(t, s, "eks", "list-addons", "--cluster-name", "dev")
	a.updated(t, s, a.json(t, s, append([]string{"eks", "update-addon", "--addon-version", versions[0]}, addon...)...), "AddonUpdate", "--addon-name", "coredns")
	a.json(t, s, append([]string{"eks", "delete-addon"}, addon...)...)
	eventually(t, 30*time.Second, "the add-on is gone", func() error {
		if r := a.run(t, nil, append([]string{"eks", "describe-addon"}, addon...)...); !strings.Contains(r.Err, "(ResourceNotFoundException)") {
			return errors.New(r.Out + r.Err)
		}
		return nil
	})
	a.ok(t, append([]string{"eks", "wait", "addon-deleted"}, addon...)...)
}

func awsAccess(t *testing.T, a *awsCLI, s *shapes) {
	const view = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"
	role := a.text(t, "Role.Arn", "iam", "create-role", "--role-name", "viewer", "--path", "/team/", "--assume-role-policy-document", *trust("ec2.amazonaws.com"))
	entry := []string{"--cluster-name", "dev", "--principal-arn", role}
	a.json(t, s, append([]string{"eks", "create-access-entry", "--kubernetes-groups", "viewers", "--tags", "x=y"}, entry...)...)
	a.fails(t, []string{"(ResourceInUseException)"}, append([]string{"eks", "create-access-entry"}, entry...)...)
	a.json(t, s, append([]string{"eks", "describe-access-entry"}, entry...)...)
	a.json(t, s, "eks", "list-access-entries", "--cluster-name", "dev")
	a.json(t, s, append([]string{"eks", "update-access-entry", "--kubernetes-groups", "others"}, entry...)...)
	a.json(t, s, "eks", "list-access-policies")
	a.json(t, s, append([]string{"eks", "associate-access-policy", "--policy-arn", view, "--access-scope", "type=namespace,namespaces=default"}, entry...)...)
	a.json(t, s, append([]string{"eks", "list-associated-access-policies"}, entry...)...)
	if ids := a.text(t, "accessEntries", "eks", "list-access-entries", "--cluster-name", "dev", "--associated-policy-arn", view); ids != role {
		t.Errorf("the entries with %s are %q, want %s", view, ids, role)
	}
	a.json(t, s, append([]string{"eks", "disassociate-access-policy", "--policy-arn", view}, entry...)...)
	a.json(t, s, append([]string{"eks", "delete-access-entry"}, entry...)...)
	a.fails(t, []string{"(ResourceNotFoundException)", "principalArn"}, append([]string{"eks", "describe-access-entry"}, entry...)...)
}

func awsTags(t *testing.T, a *awsCLI, s *shapes, arn string) {
	a.json(t, s, "eks", "tag-resource", "--resource-arn", arn, "--tags", "a=b,c=d")
	a.json(t, s, "eks", "untag-resource", "--resource-arn", arn, "--tag-keys", "a", "team")
	a.json(t, s, "eks", "list-tags-for-resource", "--resource-arn", arn)
	if got := a.ok(t, "eks", "describe-cluster", "--name", "dev", "--query", "cluster.tags"); strings.Join(strings.Fields(got), "") != `{"c":"d"}` {
		t.Errorf("the tags are %s", got)
	}
	a.fails(t, []string{"(NotFoundException)"}, "eks", "tag-resource", "--resource-arn", arn+"x", "--tags", "a=b")
	a.fails(t, []string{"(BadRequestException)"}, "eks", "list-tags-for-resource", "--resource-arn", "nonsense")
}

func awsCredentials(t *testing.T, a *awsCLI) {
	wrong, unknown := []string{"AWS_SECRET_ACCESS_KEY=wrong"}, []string{"AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE"}
	a.failsAs(t, wrong, []string{"(SignatureDoesNotMatch)", "secret access key of test is test"}, "sts", "get-caller-identity")
	a.failsAs(t, wrong, []string{"(InvalidSignatureException)"}, "eks", "list-clusters")
	a.failsAs(t, wrong, []string{"(AuthFailure)"}, "ec2", "describe-vpcs")
	a.failsAs(t, unknown, []string{"(InvalidClientTokenId)", "ekslocal: use the access key id test"}, "sts", "get-caller-identity")
	a.failsAs(t, unknown, []string{"(UnrecognizedClientException)", "ekslocal: use the access key id test"}, "eks", "list-clusters")
	a.failsAs(t, unknown, []string{"(AuthFailure)"}, "ec2", "describe-vpcs")
	other := a.run(t, []string{"AWS_ACCESS_KEY_ID=111122223333"}, "sts", "get-caller-identity", "--query", "Arn", "--output", "text")
	if strings.TrimSpace(other.Out) != "arn:aws:iam::111122223333:root" {
		t.Errorf("an account id as the key is %+v", other)
	}
	a.failsAs(t, []string{"AWS_ACCESS_KEY_ID=111122223333"}, []string{"(ResourceNotFoundException)", "No cluster found for name: dev."}, "eks", "describe-cluster", "--name", "dev")
	a.failsAs(t, []string{"AWS_DEFAULT_REGION=eu-west-1"}, []string{"(ResourceNotFoundException)", "No cluster found for name: dev."}, "eks", "describe-cluster", "--name", "dev")
}

// awsTearDown deletes everything in the order in which AWS allows it.
func awsTearDown(t *testing.T, a *awsCLI, s *shapes, vpc string, subnets []string) {
	t.Helper()
	gone := func(args ...string) {
		t.Helper()
		eventually(t, time.Minute, strings.Join(args, " ")+" finds nothing", func() error {
			if r := a.run(t, nil, args...); !strings.Contains(r.Err, "(ResourceNotFoundException)") {
				return errors.New(r.Out + r.Err)
			}
			return nil
		})
	}
	ng := []string{"--cluster-name", "dev", "--nodegroup-name", "ng"}
	a.json(t, s, append([]string{"eks", "delete-nodegroup"}, ng...)...)
	gone(append([]string{"eks", "describe-nodegroup"}, ng...)...)
	a.ok(t, append([]string{"eks", "wait", "nodegroup-deleted"}, ng...)...)
	a.json(t, s, "eks", "delete-cluster", "--name", "dev")
	gone("eks", "describe-cluster", "--name", "dev")
	a.ok(t, "eks", "wait", "cluster-deleted", "--name", "dev")

	rtb := a.text(t, "RouteTables[?Associations[0].SubnetId].RouteTableId", "ec2", "describe-route-tables", "--filters", "Name=vpc-id,Values="+vpc)
	for _, id := range strings.Fields(a.text(t, "RouteTables[].Associations[?SubnetId].RouteTableAssociationId", "ec2", "describe-route-tables", "--route-table-ids", rtb)) {
		a.ok(t, "ec2", "disassociate-route-table", "--association-id", id)
	}
	a.ok(t, "ec2", "delete-route-table", "--route-table-id", rtb)
	igw := a.text(t, "InternetGateways[].InternetGatewayId", "ec2", "describe-internet-gateways", "--filters", "Name=attachment.vpc-id,Values="+vpc)
	a.ok(t, "ec2", "detach-internet-gateway", "--internet-gateway-id", igw, "--vpc-id", vpc)
	a.ok(t, "ec2", "delete-internet-gateway", "--internet-gateway-id", igw)
	for _, sn := range subnets {
		a.ok(t, "ec2", "delete-subnet", "--subnet-id", sn)
	}
	a.ok(t, "ec2", "delete-vpc", "--vpc-id", vpc)
	a.ok(t, "iam", "detach-role-policy", "--role-name", "cluster", "--policy-arn", "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy")
	a.ok(t, "iam", "delete-role", "--role-name", "cluster")
	a.fails(t, []string{"(NoSuchEntity)", "The role with name cluster cannot be found."}, "iam", "get-role", "--role-name", "cluster")
}

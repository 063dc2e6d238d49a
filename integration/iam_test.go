package integration

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// user makes a user with a policy of these statements and returns its keys as
// environment variables of the aws CLI.
func (c clients) user(t *testing.T, name string, statements ...string) []string {
	t.Helper()
	must(c.iam.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name}))(t)
	c.permit(t, name, statements...)
	k := must(c.iam.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: &name}))(t).AccessKey
	return []string{"AWS_ACCESS_KEY_ID=" + *k.AccessKeyId, "AWS_SECRET_ACCESS_KEY=" + *k.SecretAccessKey}
}

func (c clients) permit(t *testing.T, user string, statements ...string) {
	t.Helper()
	doc := `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
	must(c.iam.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: &user, PolicyName: aws.String("p"), PolicyDocument: &doc}))(t)
}

func permission(actions, resource string) string {
	return `{"Effect":"Allow","Action":["` + strings.ReplaceAll(actions, " ", `","`) + `"],"Resource":"` + resource + `"}`
}

// TestIAM has an engineer with the aws CLI get just the permissions that creating and
// using a cluster takes, one refusal after the other, each mended by what `ekslocal iam
// trace` says.
func TestIAM(t *testing.T) {
	t.Parallel()
	e := start(t)
	w := newWorld(t, e)
	dir := t.TempDir()
	cli := newAWS(t, e.env(filepath.Join(dir, "kubeconfig")))
	granted := []string{permission("sts:DecodeAuthorizationMessage", "*")}
	alice := w.user(t, "alice", granted...)
	ok := func(args ...string) string {
		t.Helper()
		r := cli.run(t, alice, args...)
		if r.Code != 0 {
			t.Fatalf("aws %s: %s", strings.Join(args, " "), r.Err)
		}
		return strings.TrimSpace(r.Out)
	}

	create := []string{"eks", "create-cluster", "--name", "dev", "--role-arn", w.clusterRole, "--tags", "team=a",
		"--resources-vpc-config", "subnetIds=" + strings.Join(w.subnets[:2], ",")}
	const user = "User: arn:aws:iam::000000000000:user/alice is not authorized to perform: "
	for _, missing := range []string{"eks:CreateCluster", "eks:TagResource", "iam:PassRole"} {
		cli.failsAs(t, alice, []string{"(AccessDeniedException)", "CreateCluster", user + missing, "because no identity-based policy allows the " + missing + " action"}, create...)
		statement := e.remedy(t, missing)
		granted = append(granted, statement)
		w.permit(t, "alice", granted...)
	}
	ok(create...)
	// The description, the entry for herself and the policy each need their own.
	cli.failsAs(t, alice, []string{"(AccessDeniedException)", user + "eks:DescribeCluster"}, "eks", "wait", "cluster-active", "--name", "dev")
	granted = append(granted, permission("eks:DescribeCluster eks:ListClusters", "arn:aws:eks:"+region+":000000000000:cluster/*"))
	w.permit(t, "alice", granted...)
	ok("eks", "wait", "cluster-active", "--name", "dev")
	cli.failsAs(t, alice, []string{"(AccessDeniedException)", user + "eks:CreateAccessEntry"}, "eks", "create-access-entry", "--cluster-name", "dev", "--principal-arn", w.node)
	cli.failsAs(t, alice, []string{"(AccessDeniedException)", user + "eks:DeleteCluster"}, "eks", "delete-cluster", "--name", "dev")

	// EC2 says it in code, which can be decoded.
	r := cli.run(t, alice, "ec2", "delete-vpc", "--vpc-id", w.vpc)
	if !strings.Contains(r.Err, "(UnauthorizedOperation)") || !strings.Contains(r.Err, "You are not authorized to perform this operation. "+user+"ec2:DeleteVpc on resource: arn:aws:ec2:"+region+":000000000000:vpc/"+w.vpc) {
		t.Errorf("delete-vpc: %s", r.Err)
	}
	_, encoded, _ := strings.Cut(strings.TrimSpace(r.Err), "Encoded authorization failure message: ")
	if got := ok("sts", "decode-authorization-message", "--encoded-message", encoded, "--query", "DecodedMessage", "--output", "text"); !strings.Contains(got, `"action":"ec2:DeleteVpc"`) {
		t.Errorf("decoded: %s", got)
	}
	cli.failsAs(t, alice, []string{"(UnauthorizedOperation)"}, "ec2", "run-instances", "--image-id", "ami-0a1b2c3d4e5f60718", "--dry-run")
	cli.failsAs(t, alice, []string{"(AccessDenied)", user + "iam:GetRole on resource: role node because"}, "iam", "get-role", "--role-name", "node")
	cli.failsAs(t, alice, []string{"(AccessDeniedException)", user + "kms:CreateKey on resource: *"}, "kms", "create-key")

	// A deny that is explicit needs another cure, and the trace says which.
	w.permit(t, "alice", append(granted, permission("*", "*"), `{"Sid":"Keep","Effect":"Deny","Action":"eks:Delete*","Resource":"*"}`)...)
	cli.failsAs(t, alice, []string{"with an explicit deny in an identity-based policy"}, "eks", "delete-cluster", "--name", "dev")
	trace := e.ekslocal(t, "iam", "trace", "--denied", "-n", "1")
	for _, want := range []string{"DENIED  eks:DeleteCluster", "by arn:aws:iam::000000000000:user/alice", `Deny "Keep" of policy p of user/alice`, "taken out or narrowed down"} {
		if !strings.Contains(trace, want) {
			t.Errorf("%q is not in\n%s", want, trace)
		}
	}
	if status := e.ekslocal(t, "status"); !strings.Contains(status, "iam     enforced") {
		t.Error(status)
	}
}

// remedy is the statement that the trace offers for the last denial of an action.
func (e *emulator) remedy(t *testing.T, action string) string {
	t.Helper()
	var d struct {
		Decisions []struct {
			Remedies []struct {
				AddTo     string
				Statement json.RawMessage
			}
		}
	}
	out := e.ekslocal(t, "iam", "trace", "--denied", "--action", action, "-n", "1", "--json")
	if err := json.Unmarshal([]byte(out), &d); err != nil || len(d.Decisions) != 1 || len(d.Decisions[0].Remedies) != 1 || d.Decisions[0].Remedies[0].AddTo != "a policy of user/alice" {
		t.Fatalf("the trace of %s: %v\n%s", action, err, out)
	}
	return string(d.Decisions[0].Remedies[0].Statement)
}

// ekslocal runs a command of the binary against the emulator.
func (e *emulator) ekslocal(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(e.binary, append(args, "--endpoint", e.endpoint)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ekslocal %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestIAMAudit: nobody is refused, and the log says who would be.
func TestIAMAudit(t *testing.T) {
	t.Parallel()
	e := start(t, "--iam", "audit")
	c := e.clients()
	cli := newAWS(t, e.env(filepath.Join(t.TempDir(), "kubeconfig")))
	alice := c.user(t, "alice", permission("eks:*", "*"))
	if r := cli.run(t, alice, "ec2", "describe-vpcs"); r.Code != 0 {
		t.Error(r.Err)
	}
	if log := e.log.String(); !strings.Contains(log, `msg="IAM would refuse" caller=arn:aws:iam::000000000000:user/alice operation=ec2:DescribeVpcs action=ec2:DescribeVpcs`) {
		t.Error("the log does not say so")
	}
	if trace := e.ekslocal(t, "iam", "trace", "--denied"); !strings.Contains(trace, "DENIED, let through  ec2:DescribeVpcs") {
		t.Error(trace)
	}
}

// TestIAMUpstream has S3 in moto: users get at the buckets that their policies name.
func TestIAMUpstream(t *testing.T) {
	t.Parallel()
	upstream, _ := startMoto(t)
	e := start(t, "--upstream", upstream)
	cli := newAWS(t, e.env(filepath.Join(t.TempDir(), "kubeconfig")))
	alice := e.clients().user(t, "alice", permission("s3:GetBucketPolicy s3:ListBucket", "arn:aws:s3:::first"), permission("s3:GetObject s3:PutObject", "arn:aws:s3:::first/*"))
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::first/*"}]}`
	for _, bucket := range []string{"first", "second"} {
		cli.ok(t, "s3api", "create-bucket", "--bucket", bucket)
		cli.ok(t, "s3api", "put-bucket-policy", "--bucket", bucket, "--policy", policy)
	}
	if r := cli.run(t, alice, "s3api", "get-bucket-policy", "--bucket", "first"); r.Code != 0 || !strings.Contains(r.Out, "s3:GetObject") {
		t.Errorf("%s%s", r.Out, r.Err)
	}
	file := filepath.Join(t.TempDir(), "f")
	for _, args := range [][]string{
		{"s3api", "put-object", "--bucket", "first", "--key", "dir/a key+1", "--body", e.binary}, // in chunks, with a trailing checksum
		{"s3api", "get-object", "--bucket", "first", "--key", "dir/a key+1", file},
		{"s3", "ls", "s3://first/dir/"},
	} {
		if r := cli.run(t, alice, args...); r.Code != 0 {
			t.Errorf("aws %s: %s", strings.Join(args, " "), r.Err)
		}
	}
	for action, args := range map[string][]string{
		"s3:GetBucketPolicy":  {"get-bucket-policy", "--bucket", "second"},
		"s3:PutBucketPolicy":  {"put-bucket-policy", "--bucket", "first", "--policy", policy},
		"s3:DeleteObject":     {"delete-object", "--bucket", "first", "--key", "dir/a key+1"},
		"s3:ListAllMyBuckets": {"list-buckets"},
		"s3:CreateBucket":     {"create-bucket", "--bucket", "third"},
	} {
		cli.failsAs(t, alice, []string{"(AccessDenied)", "User: arn:aws:iam::000000000000:user/alice is not authorized to perform: " + action}, append([]string{"s3api"}, args...)...)
	}
}

package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"k8s.io/utils/clock"
)

// TestGoSDK holds that unmodified clients get through, and are not made to retry
// what will not get better.
func TestGoSDK(t *testing.T) {
	g := newGateway(t, func(c *Config) { c.Clock = clock.RealClock{} })
	srv := httptest.NewServer(g)
	defer srv.Close()
	cfg := aws.Config{Region: "eu-west-1", BaseEndpoint: aws.String(srv.URL), Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "123456789012", SecretAccessKey: "test"}, nil
	})}
	ctx := context.Background()
	who, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil || *who.Account != "123456789012" {
		t.Fatal(who, err)
	}
	client := eks.NewFromConfig(cfg)
	entry, err := client.DescribeAccessEntry(ctx, &eks.DescribeAccessEntryInput{ClusterName: aws.String("dev"), PrincipalArn: aws.String("arn:aws:iam::1:role/a/b c")})
	if err != nil || *entry.AccessEntry.PrincipalArn != "arn:aws:iam::1:role/a/b c" {
		t.Fatal(entry, err)
	}
	_, err = client.DescribeCluster(ctx, &eks.DescribeClusterInput{Name: aws.String("gone")})
	var notFound *ekstypes.ResourceNotFoundException
	if !errors.As(err, &notFound) || *notFound.ClusterName != "gone" {
		t.Fatal(err)
	}
	before := len(g.Recent())
	_, err = client.ListNodegroups(ctx, &eks.ListNodegroupsInput{ClusterName: aws.String("dev")})
	var api smithy.APIError
	if !errors.As(err, &api) || !strings.Contains(api.ErrorMessage(), "ekslocal does not implement eks:ListNodegroups") {
		t.Fatal(err)
	}
	if n := len(g.Recent()) - before; n != 1 {
		t.Errorf("the SDK sent an unimplemented operation %d times", n)
	}
}

func TestAWSCLI(t *testing.T) {
	cli, err := exec.LookPath("aws")
	if err != nil {
		t.Skip("no aws CLI on the PATH")
	}
	if testing.Short() {
		t.Skip("the aws CLI takes its time")
	}
	g := newGateway(t, func(c *Config) { c.Clock = clock.RealClock{} })
	srv := httptest.NewServer(g)
	defer srv.Close()
	run := func(args ...string) string {
		cmd := exec.Command(cli, append(args, "--output", "json")...)
		cmd.Env = append(os.Environ(), "AWS_ENDPOINT_URL="+srv.URL, "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test",
			"AWS_SESSION_TOKEN=", "AWS_REGION=us-west-2", "AWS_DEFAULT_REGION=us-west-2", // version 1 knows the latter only
			"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_MAX_ATTEMPTS=1")
		out, _ := cmd.CombinedOutput() // failures are told by what they print
		return string(out)
	}
	var who struct{ Arn string }
	if out := run("sts", "get-caller-identity"); json.Unmarshal([]byte(out), &who) != nil || who.Arn != "arn:aws:iam::000000000000:root" {
		t.Error(out)
	}
	for want, args := range map[string][]string{
		"arn:aws:iam::1:role/a/b": {"eks", "describe-access-entry", "--cluster-name", "dev", "--principal-arn", "arn:aws:iam::1:role/a/b"},
		"(ResourceNotFoundException) when calling the DescribeCluster operation": {"eks", "describe-cluster", "--name", "gone"},
		"ekslocal does not implement ec2:CreateSubnet":                           {"ec2", "create-subnet", "--vpc-id", "vpc-1", "--cidr-block", "10.0.0.0/24"},
		`ekslocal does not emulate the service "s3"`:                             {"s3api", "list-buckets"},
	} {
		if out := run(args...); !strings.Contains(out, want) {
			t.Errorf("aws %s: %q is not in\n%s", strings.Join(args, " "), want, out)
		}
	}
}

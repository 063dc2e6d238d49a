package enforce_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	iamsdk "github.com/aws/aws-sdk-go-v2/service/iam"
	stssdk "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"k8s.io/utils/clock"

	ec2api "github.com/ekslocal/ekslocal/api/ec2"
	eksapi "github.com/ekslocal/ekslocal/api/eks"
	eventsapi "github.com/ekslocal/ekslocal/api/events"
	iamapi "github.com/ekslocal/ekslocal/api/iam"
	kmsapi "github.com/ekslocal/ekslocal/api/kms"
	logsapi "github.com/ekslocal/ekslocal/api/logs"
	sqsapi "github.com/ekslocal/ekslocal/api/sqs"
	ssmapi "github.com/ekslocal/ekslocal/api/ssm"
	stsapi "github.com/ekslocal/ekslocal/api/sts"
	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/gateway"
	"github.com/ekslocal/ekslocal/emulator/gateway/enforce"
	"github.com/ekslocal/ekslocal/emulator/policy"
	"github.com/ekslocal/ekslocal/emulator/service/ec2"
	"github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/service/events"
	"github.com/ekslocal/ekslocal/emulator/service/iam"
	"github.com/ekslocal/ekslocal/emulator/service/kms"
	"github.com/ekslocal/ekslocal/emulator/service/logs"
	"github.com/ekslocal/ekslocal/emulator/service/sqs"
	"github.com/ekslocal/ekslocal/emulator/service/ssm"
	"github.com/ekslocal/ekslocal/emulator/service/sts"
	"github.com/ekslocal/ekslocal/emulator/sigv4"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/emulator/wire"
)

const (
	account = "111122223333"
	other   = "444455556666"
	region  = "us-east-1"
)

// world is the services behind a gateway that enforces IAM, without any cluster's
// control plane: clusters stay CREATING.
type world struct {
	t     testing.TB
	url   string
	store *store.Store
	gate  *enforce.Gate
	log   strings.Builder
	root  aws.Config

	sts *sts.Service
	all map[string]enforce.Directory
}

// Standing implements enforce.Callers.
func (w *world) Standing(ctx context.Context, c awsid.Caller) (policy.Subject, policy.Policies, bool) {
	return w.sts.Standing(ctx, c)
}

// Refuse implements enforce.Callers.
func (w *world) Refuse(c awsid.Caller, service, operation string) error {
	return w.sts.Refuse(c, service, operation)
}

// everybody is every role there could be, trusting every service.
type everybody struct{}

func (everybody) Principal(_ context.Context, arn string) (eks.Principal, bool) {
	return eks.Principal{ARN: arn, ID: "AROAEXAMPLE", TrustsService: func(string) bool { return true }}, true
}

func newWorld(t testing.TB, mode enforce.Mode) *world {
	t.Helper()
	return newWorldWith(t, mode, func(*gateway.Config) {})
}

func newWorldWith(t testing.TB, mode enforce.Mode, change func(*gateway.Config)) *world {
	t.Helper()
	st, err := store.Open(t.Context(), store.NewMemory(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, store: st}
	clk := clock.RealClock{} // the SDK signs with the time that it is
	log := slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	w.gate = enforce.New(enforce.Config{Mode: mode, Callers: w, Directory: func(s string) enforce.Directory { return w.all[s] }, Clock: clk, Log: log})
	iamService := iam.New(iam.Config{Store: st, Clock: clk})
	w.sts = sts.New(sts.Config{Store: st, Clock: clk, IAM: iamService, Gate: w.gate})
	kmsService := kms.New(kms.Config{Store: st, Clock: clk})
	ssmService := ssm.New(ssm.Config{Store: st, Clock: clk, Keys: kmsService})
	logsService := logs.New(logs.Config{Store: st, Clock: clk, Keys: kmsService})
	sqsService := sqs.New(sqs.Config{Store: st, Clock: clk})
	eventsService := events.New(events.Config{Store: st, Clock: clk, Queues: sqsService})
	ec2Service := ec2.New(ec2.Config{Store: st, Clock: clk, Profiles: iamService})
	eksService, err := eks.New(eks.Config{
		Store: st, Clock: clk, Log: slog.New(slog.DiscardHandler), EC2: ec2Service, LaunchTemplates: ec2Service, IAM: everybody{}, LinkedRoles: iamService, Keys: kmsService,
		ClusterPorts: [2]int{6500, 6599}, Versions: []string{"1.35", "1.36"},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.all = map[string]enforce.Directory{
		"iam": iamService, "kms": kmsService, "ssm": ssmService, "logs": logsService, "sqs": sqsService, "events": eventsService, "ec2": ec2Service, "eks": eksService,
	}
	keys := sigv4.Chain{iamService, w.sts, sigv4.Builtin{}}
	cfg := gateway.Config{
		Keys: keys, Clock: clk, Log: slog.New(slog.DiscardHandler), Authorizer: w.gate,
		Services: []*wire.Service{
			bind(t, eksapi.Model(), eksService), bind(t, ec2api.Model(), ec2Service), bind(t, iamapi.Model(), iamService), bind(t, stsapi.Model(), w.sts),
			bind(t, ssmapi.Model(), ssmService), bind(t, kmsapi.Model(), kmsService), bind(t, logsapi.Model(), logsService),
			bind(t, sqsapi.Model(), sqsService), bind(t, eventsapi.Model(), eventsService),
		},
	}
	change(&cfg)
	g, err := gateway.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(g)
	t.Cleanup(srv.Close)
	w.url = srv.URL
	w.root = w.as(account, "test", "")
	return w
}

func bind(t testing.TB, m *wire.Model, impl any) *wire.Service {
	t.Helper()
	s, err := wire.Bind(m, impl)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// as is an SDK configuration with those keys.
func (w *world) as(id, secret, token string) aws.Config {
	return aws.Config{
		Region: region, BaseEndpoint: &w.url, RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: token}, nil
		}),
	}
}

// user makes a user with a policy of these statements and a key.
func (w *world) user(name string, statements ...string) aws.Config {
	w.t.Helper()
	c := iamsdk.NewFromConfig(w.root)
	must(c.CreateUser(w.t.Context(), &iamsdk.CreateUserInput{UserName: &name}))
	if len(statements) > 0 {
		must(c.PutUserPolicy(w.t.Context(), &iamsdk.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("p"), PolicyDocument: document(statements...)}))
	}
	key := must(c.CreateAccessKey(w.t.Context(), &iamsdk.CreateAccessKeyInput{UserName: &name})).AccessKey
	return w.as(*key.AccessKeyId, *key.SecretAccessKey, "")
}

// role makes a role that these principals of the account may assume, as far as they
// have a policy for it, with a policy of these statements.
func (w *world) role(name, trust string, statements ...string) string {
	w.t.Helper()
	c := iamsdk.NewFromConfig(w.root)
	out := must(c.CreateRole(w.t.Context(), &iamsdk.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: document(trust)}))
	if len(statements) > 0 {
		must(c.PutRolePolicy(w.t.Context(), &iamsdk.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("p"), PolicyDocument: document(statements...)}))
	}
	return *out.Role.Arn
}

func (w *world) assume(by aws.Config, arn string) (aws.Config, error) {
	out, err := stssdk.NewFromConfig(by).AssumeRole(w.t.Context(), &stssdk.AssumeRoleInput{RoleArn: &arn, RoleSessionName: aws.String("me")})
	if err != nil {
		return aws.Config{}, err
	}
	return w.as(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken), nil
}

// session is a role's, assumed by the root.
func (w *world) session(name string, statements ...string) aws.Config {
	w.t.Helper()
	cfg, err := w.assume(w.root, w.role(name, trustAccount, statements...))
	if err != nil {
		w.t.Fatal(err)
	}
	return cfg
}

const trustAccount = `{"Effect":"Allow","Principal":{"AWS":"` + account + `"},"Action":["sts:AssumeRole","sts:TagSession"]}`

func document(statements ...string) *string {
	return aws.String(`{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`)
}

// allow is a statement; the last word is the resource, the others are actions.
func allow(words ...string) string {
	n := len(words) - 1
	return `{"Effect":"Allow","Action":["` + strings.Join(words[:n], `","`) + `"],"Resource":"` + words[n] + `"}`
}

// must is for calls that set a test up.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// refused holds err to a refusal by IAM with the code, whose message has all of parts.
func refused(t testing.TB, err error, code string, parts ...string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != code {
		t.Fatalf("got %v, want %s", err, code)
	}
	for _, p := range parts {
		if !strings.Contains(api.ErrorMessage(), p) {
			t.Errorf("%q is not in %q", p, api.ErrorMessage())
		}
	}
}

// isRefusal tells whether IAM refused; other errors are the service's, which was
// reached.
func isRefusal(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && (strings.HasPrefix(api.ErrorCode(), "AccessDenied") || api.ErrorCode() == "UnauthorizedOperation")
}

// cluster puts an ACTIVE cluster with a node group of each name there.
func (w *world) cluster(name string, tags map[string]string, nodegroups ...string) {
	w.t.Helper()
	sc := awsid.Scope{Account: account, Region: region}
	vpcs := must(ec2sdk.NewFromConfig(w.root).DescribeVpcs(w.t.Context(), &ec2sdk.DescribeVpcsInput{})).Vpcs
	err := w.store.Update(w.t.Context(), func(tx *store.Tx) error {
		c := &eks.Cluster{Scope: sc, ID: strings.Repeat("a", 32)}
		c.Resource.Name, c.Resource.Arn, c.Resource.Tags = &name, aws.String(sc.ARN("eks", "cluster/"+name)), tags
		c.Resource.Status, c.Resource.Version = ekstypes.ClusterStatusActive, aws.String("1.36")
		c.Resource.ResourcesVpcConfig = &ekstypes.VpcConfigResponse{VpcId: vpcs[0].VpcId}
		c.Resource.AccessConfig = &ekstypes.AccessConfigResponse{AuthenticationMode: ekstypes.AuthenticationModeApi}
		eks.Clusters.Put(tx, sc, name, c)
		for _, ng := range nodegroups {
			n := &eks.Nodegroup{Scope: sc, ID: "11112222-3333-4444-5555-666677778888"}
			n.Resource.ClusterName, n.Resource.NodegroupName, n.Resource.Status = &name, &ng, ekstypes.NodegroupStatusActive
			n.Resource.NodegroupArn = aws.String(sc.ARN("eks", "nodegroup/"+name+"/"+ng+"/"+n.ID))
			eks.Nodegroups.Put(tx, sc, eks.ChildID(name, ng), n)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

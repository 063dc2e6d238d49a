package conformance

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancing"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"

	apiautoscaling "github.com/ekslocal/ekslocal/api/autoscaling"
	apiec2 "github.com/ekslocal/ekslocal/api/ec2"
	apieks "github.com/ekslocal/ekslocal/api/eks"
	apielb "github.com/ekslocal/ekslocal/api/elb"
	apielbv2 "github.com/ekslocal/ekslocal/api/elbv2"
	apievents "github.com/ekslocal/ekslocal/api/events"
	apiiam "github.com/ekslocal/ekslocal/api/iam"
	apikms "github.com/ekslocal/ekslocal/api/kms"
	apilogs "github.com/ekslocal/ekslocal/api/logs"
	apisqs "github.com/ekslocal/ekslocal/api/sqs"
	apissm "github.com/ekslocal/ekslocal/api/ssm"
	apists "github.com/ekslocal/ekslocal/api/sts"
	"github.com/ekslocal/ekslocal/emulator/wire"
)

// service is an API under test with its real client.
type service struct {
	model  func() *wire.Model
	client func(aws.Config) any
}

// modules are the SDK modules whose name is not the service's id.
var modules = map[string]string{
	"elb": "elasticloadbalancing", "elbv2": "elasticloadbalancingv2", "events": "eventbridge", "logs": "cloudwatchlogs",
}

var services = map[string]service{
	"autoscaling": {apiautoscaling.Model, func(c aws.Config) any { return autoscaling.NewFromConfig(c) }},
	"ec2":         {apiec2.Model, func(c aws.Config) any { return ec2.NewFromConfig(c) }},
	"eks":         {apieks.Model, func(c aws.Config) any { return eks.NewFromConfig(c) }},
	"elb":         {apielb.Model, func(c aws.Config) any { return elasticloadbalancing.NewFromConfig(c) }},
	"elbv2":       {apielbv2.Model, func(c aws.Config) any { return elasticloadbalancingv2.NewFromConfig(c) }},
	"events":      {apievents.Model, func(c aws.Config) any { return eventbridge.NewFromConfig(c) }},
	"iam":         {apiiam.Model, func(c aws.Config) any { return iam.NewFromConfig(c) }},
	"kms":         {apikms.Model, func(c aws.Config) any { return kms.NewFromConfig(c) }},
	"logs":        {apilogs.Model, func(c aws.Config) any { return cloudwatchlogs.NewFromConfig(c) }},
	"sqs": {apisqs.Model, func(c aws.Config) any {
		return sqs.NewFromConfig(c, func(o *sqs.Options) { o.DisableMessageChecksumValidation = true })
	}},
	"ssm": {apissm.Model, func(c aws.Config) any { return ssm.NewFromConfig(c) }},
	"sts": {apists.Model, func(c aws.Config) any { return sts.NewFromConfig(c) }},
}

// roundTrip answers a client's requests without a network.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) Do(r *http.Request) (*http.Response, error) { return f(r) }

// newClient returns the service's client speaking to do, without retries and
// without the client-side validation of required members.
func (s service) newClient(do roundTrip) any {
	return s.client(aws.Config{
		Region: "us-east-1",
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		}),
		HTTPClient:   do,
		BaseEndpoint: aws.String("http://127.0.0.1:4566"),
		Retryer:      func() aws.Retryer { return aws.NopRetryer{} },
		APIOptions: []func(*middleware.Stack) error{func(st *middleware.Stack) error {
			_, _ = st.Initialize.Remove("OperationInputValidation") // absent where nothing is required
			return nil
		}},
	})
}

// bind binds the model to the client itself: its methods have by definition
// the client's signature, so every operation counts as implemented.
func (s service) bind(t testing.TB) *wire.Service {
	t.Helper()
	w, err := wire.Bind(s.model(), s.newClient(nil))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

var errCaptured = errors.New("request captured")

// call invokes the client's method op.
func call(client any, op string, in any) (any, error) {
	r := reflect.ValueOf(client).MethodByName(op).Call([]reflect.Value{reflect.ValueOf(context.Background()), reflect.ValueOf(in)})
	err, _ := r[1].Interface().(error)
	return r[0].Interface(), err
}

// types returns the operation's input and output structs.
func types(client any, op string) (in, out reflect.Type) {
	t := reflect.ValueOf(client).MethodByName(op).Type()
	return t.In(1).Elem(), t.Out(0).Elem()
}

func readBody(r *http.Request) []byte {
	if r.Body == nil {
		return nil
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil
	}
	return b
}

var moduleDirs sync.Map

// moduleDir is where the SDK module of a service lies.
func moduleDir(t testing.TB, id string) string {
	t.Helper()
	if d, ok := moduleDirs.Load(id); ok {
		return d.(string)
	}
	module := id
	if m, ok := modules[id]; ok {
		module = m
	}
	b, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/aws/aws-sdk-go-v2/service/"+module).Output()
	if err != nil {
		t.Fatalf("find the SDK module of %s: %v", id, err)
	}
	d := strings.TrimSpace(string(b))
	moduleDirs.Store(id, d)
	return d
}

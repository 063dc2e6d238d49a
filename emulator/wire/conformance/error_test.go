package conformance

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/wire"
)

// modelledErrors lists one value of every error type. The JSON services'
// modules register theirs.
func modelledErrors(id string) []error {
	var errs []error
	switch id {
	case "eks", "events", "kms", "logs", "sqs", "ssm":
		registry := map[string]*smithy.TypeRegistry{
			"eks": eks.TypeRegistry, "events": eventbridge.TypeRegistry, "kms": kms.TypeRegistry,
			"logs": cloudwatchlogs.TypeRegistry, "sqs": sqs.TypeRegistry, "ssm": ssm.TypeRegistry,
		}
		for _, e := range registry[id].Entries {
			if err, ok := e.New().(error); ok {
				errs = append(errs, err)
			}
		}
	case "iam":
		errs = []error{
			&iamtypes.AccountNotManagementOrDelegatedAdministratorException{},
			&iamtypes.CallerIsNotManagementAccountException{},
			&iamtypes.ConcurrentModificationException{},
			&iamtypes.CredentialReportExpiredException{},
			&iamtypes.CredentialReportNotPresentException{},
			&iamtypes.CredentialReportNotReadyException{},
			&iamtypes.DeleteConflictException{},
			&iamtypes.DuplicateCertificateException{},
			&iamtypes.DuplicateSSHPublicKeyException{},
			&iamtypes.EntityAlreadyExistsException{},
			&iamtypes.EntityTemporarilyUnmodifiableException{},
			&iamtypes.FeatureDisabledException{},
			&iamtypes.FeatureEnabledException{},
			&iamtypes.InvalidAuthenticationCodeException{},
			&iamtypes.InvalidCertificateException{},
			&iamtypes.InvalidInputException{},
			&iamtypes.InvalidPublicKeyException{},
			&iamtypes.InvalidUserTypeException{},
			&iamtypes.KeyPairMismatchException{},
			&iamtypes.LimitExceededException{},
			&iamtypes.MalformedCertificateException{},
			&iamtypes.MalformedPolicyDocumentException{},
			&iamtypes.NameConflictException{},
			&iamtypes.NoSuchEntityException{},
			&iamtypes.OpenIdIdpCommunicationErrorException{},
			&iamtypes.OrganizationNotFoundException{},
			&iamtypes.OrganizationNotInAllFeaturesModeException{},
			&iamtypes.PasswordPolicyViolationException{},
			&iamtypes.PolicyEvaluationException{},
			&iamtypes.PolicyNotAttachableException{},
			&iamtypes.ReportGenerationLimitExceededException{},
			&iamtypes.RoleModifiedException{},
			&iamtypes.RoleTemplateDisabledException{},
			&iamtypes.ServiceAccessNotEnabledException{},
			&iamtypes.ServiceFailureException{},
			&iamtypes.ServiceNotSupportedException{},
			&iamtypes.UnmodifiableEntityException{},
			&iamtypes.UnrecognizedPublicKeyEncodingException{},
		}
	case "sts":
		errs = []error{
			&ststypes.ExpiredTokenException{},
			&ststypes.ExpiredTradeInTokenException{},
			&ststypes.IDPCommunicationErrorException{},
			&ststypes.IDPRejectedClaimException{},
			&ststypes.InvalidAuthorizationMessageException{},
			&ststypes.InvalidIdentityTokenException{},
			&ststypes.JWTPayloadSizeExceededException{},
			&ststypes.MalformedPolicyDocumentException{},
			&ststypes.OutboundWebIdentityFederationDisabledException{},
			&ststypes.PackedPolicyTooLargeException{},
			&ststypes.RegionDisabledException{},
			&ststypes.SessionDurationEscalationException{},
		}
	}
	return errs
}

var hasMessage = regexp.MustCompile(`(?i) struct.* message\b`)

var errorLine = regexp.MustCompile(`(?m)^error (\S+)`)

// Every modelled error reaches the client as its own type with all members,
// the message and the status, from at least one operation that declares it.
func TestModelledErrors(t *testing.T) {
	for _, id := range []string{"eks", "events", "iam", "kms", "logs", "sqs", "ssm", "sts"} {
		t.Run(id, func(t *testing.T) {
			s, errs := services[id], modelledErrors(id)
			table, err := os.ReadFile(filepath.Join("..", "..", "..", "api", id, "wire.txt"))
			if err != nil {
				t.Fatal(err)
			}
			if n := len(errorLine.FindAll(table, -1)); n != len(errs) {
				t.Errorf("the table has %d errors, the test %d", n, len(errs))
			}
			wireErr := &errorService{}
			client := s.newClient(wireErr.do)
			if wireErr.Service, err = wire.Bind(s.model(), client); err != nil {
				t.Fatal(err)
			}
			for _, want := range errs {
				v := reflect.ValueOf(want).Elem()
				newFiller(s.model(), 0).fill(v)
				shape := regexp.MustCompile(`(?m)^(io|out) ` + v.Type().Name() + ` struct.*$`).Find(table)
				if !hasMessage.Match(shape) {
					v.FieldByName("Message").SetZero() // a member of the Go type alone: clients don't read it
				}
				checkModelled(t, wireErr, client, want)
			}
		})
	}
}

// errorService answers every request with one error.
type errorService struct {
	*wire.Service
	op     *wire.Operation
	err    error
	status int
}

func (s *errorService) do(r *http.Request) (*http.Response, error) {
	h := http.Header{}
	var body []byte
	s.status, body = s.EncodeError(s.op, s.err, h, "7a62c49f-347e-4fc4-9331-6e8eEXAMPLE")
	return &http.Response{StatusCode: s.status, Header: h, Body: io.NopCloser(bytes.NewReader(body)), Request: r}, nil
}

func checkModelled(t *testing.T, s *errorService, client any, want error) {
	t.Helper()
	for _, s.op = range s.Operations() {
		inType, _ := types(client, s.op.Name)
		in := reflect.New(inType)
		newFiller(s.Model(), 0).fill(in.Elem())
		s.err = want
		_, err := call(client, s.op.Name, in.Interface())
		got := reflect.New(reflect.TypeOf(want))
		if !errors.As(err, got.Interface()) {
			continue
		}
		if diff := cmp.Diff(want, got.Elem().Interface(), sameValue); diff != "" {
			t.Errorf("%T: (-sent +read):\n%s", want, diff)
		}
		var resp *smithyhttp.ResponseError
		if !errors.As(err, &resp) || resp.HTTPStatusCode() != s.status || s.status < 400 {
			t.Errorf("%T: status %d, %v", want, s.status, err)
		}
		return
	}
	t.Errorf("%T does not reach the client as itself", want)
}

// An error without a type, as all of EC2's are, keeps code, message, fault and
// request id in every protocol.
func TestGenericErrors(t *testing.T) {
	for id, s := range services {
		t.Run(id, func(t *testing.T) {
			wireErr := &errorService{}
			client := s.newClient(wireErr.do)
			var err error
			if wireErr.Service, err = wire.Bind(s.model(), client); err != nil {
				t.Fatal(err)
			}
			for _, wireErr.op = range wireErr.Operations() {
				inType, _ := types(client, wireErr.op.Name)
				in := reflect.New(inType)
				newFiller(s.model(), 0).fill(in.Elem())
				wireErr.err = &smithy.GenericAPIError{Code: "InvalidVpcID.NotFound", Message: "The vpc ID 'vpc-<1>' & more does not exist"}
				_, err := call(client, wireErr.op.Name, in.Interface())
				var api smithy.APIError
				if !errors.As(err, &api) {
					t.Fatalf("%s: %v", wireErr.op.Name, err)
				}
				if api.ErrorCode() != "InvalidVpcID.NotFound" || api.ErrorMessage() != "The vpc ID 'vpc-<1>' & more does not exist" || wireErr.status != 400 {
					t.Errorf("%s: %d %v", wireErr.op.Name, wireErr.status, err)
				}
				var id interface{ ServiceRequestID() string }
				if !errors.As(err, &id) || id.ServiceRequestID() != "7a62c49f-347e-4fc4-9331-6e8eEXAMPLE" {
					t.Errorf("%s: no request id in %v", wireErr.op.Name, err)
				}
			}
		})
	}
}

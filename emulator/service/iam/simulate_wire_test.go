package iam

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/google/go-cmp/cmp"

	iamapi "github.com/ekslocal/ekslocal/api/iam"
	"github.com/ekslocal/ekslocal/emulator/wire"
)

// TestSimulateOnTheWire has a real client ask: the request's unions and the answer's
// maps pass the codec.
func TestSimulateOnTheWire(t *testing.T) {
	ctx, s, _ := newService(t)
	simulated(t, ctx, s)
	bound, err := wire.Bind(iamapi.Model(), s)
	if err != nil {
		t.Fatal(err)
	}
	op := bound.Operation("SimulatePrincipalPolicy")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		in, err := bound.Decode(op, &wire.Request{HTTP: r, Form: r.PostForm})
		if err != nil {
			t.Error(err)
			return
		}
		out, err := bound.Call(ctx, op, in)
		if err != nil {
			t.Error(err)
			return
		}
		status, body := bound.Encode(op, out, w.Header(), "id")
		w.WriteHeader(status)
		w.Write(body)
	}))
	t.Cleanup(srv.Close)
	client := iam.New(iam.Options{BaseEndpoint: &srv.URL, Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")})
	out, err := client.SimulatePrincipalPolicy(t.Context(), &iam.SimulatePrincipalPolicyInput{
		PolicySourceArn: aws.String("arn:aws:iam::" + account + ":user/alice"), ActionNames: []string{"s3:GetObject"}, ResourceArns: []string{"arn:aws:s3:::home/alice/x"},
		ResourceOwner:       aws.String("444455556666"),
		ResourcePolicy:      aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*"}]}`),
		PolicyExclusionList: []types.PolicyIdentifier{&types.PolicyIdentifierMemberPolicyType{Value: types.PolicyIdentifierPolicyTypeInline}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := out.EvaluationResults[0]
	want := map[string]types.PolicyEvaluationDecisionType{"IAM Policy": "implicitDeny", "Resource Policy": "allowed"}
	if diff := cmp.Diff(want, r.EvalDecisionDetails); diff != "" || r.EvalDecision != "implicitDeny" || *r.ResourceSpecificResults[0].EvalResourceName != "arn:aws:s3:::home/alice/x" {
		t.Errorf("%+v %s", r, diff)
	}
}

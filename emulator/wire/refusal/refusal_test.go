package refusal_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"

	ssmapi "github.com/ekslocal/ekslocal/api/ssm"
	"github.com/ekslocal/ekslocal/emulator/wire"
	"github.com/ekslocal/ekslocal/emulator/wire/refusal"
)

// store refuses every parameter that is not called "there".
type store struct{}

func (store) GetParameter(_ context.Context, in *ssm.GetParameterInput, _ ...func(*ssm.Options)) (*ssm.GetParameterOutput, error) {
	switch aws.ToString(in.Name) {
	case "there":
		return &ssm.GetParameterOutput{}, nil
	case "":
		return nil, &types.ParameterNotFound{Message: aws.String("Parameter \"x\" not found.")}
	}
	return nil, &smithy.GenericAPIError{Code: "ValidationException", Message: *in.Name, Fault: smithy.FaultClient}
}

func TestCheck(t *testing.T) {
	s, err := wire.Bind(ssmapi.Model(), store{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, op, input, code string
		status                int
		message, want         string
	}{
		{"as AWS", "GetParameter", `{"Name":"${p}"}`, "ValidationException", 400, "${p}", ""},
		{"a modelled error", "GetParameter", `{}`, "ParameterNotFound", 400, `Parameter "x" not found.`, ""},
		{"another message", "GetParameter", `{"Name":"a"}`, "ValidationException", 400, "b", "got 400 ValidationException: a"},
		{"another status", "GetParameter", `{"Name":"a"}`, "ValidationException", 404, "a", "got 400"},
		{"another code", "GetParameter", `{"Name":"a"}`, "ParameterNotFound", 400, "a", "ValidationException"},
		{"answered", "GetParameter", `{"Name":"there"}`, "ValidationException", 400, "", "it was answered"},
		{"no such member", "GetParameter", `{"Nmae":"there"}`, "ValidationException", 400, "", "does not fit"},
		{"no such operation", "PutParameter", `{}`, "ValidationException", 400, "", "does not have the operation"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := refusal.Row{Operation: tc.op, Input: json.RawMessage(tc.input), Code: tc.code, Status: tc.status, Message: tc.message}
			got := refusal.Check(t.Context(), s, r, map[string]string{"p": `/a/"b`})
			if tc.want == "" && got != "" || tc.want != "" && !strings.Contains(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "refusals.yaml")
	for text, want := range map[string]string{
		"- {operation: A, code: B, status: 400, message: m, source: unverified}": "",
		"- {operation: A, code: B, status: 400, message: m}":                     "needs operation, code, status and source",
		"- {operation: A, cod: B}":                                               "unknown field",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := refusal.Load(path)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

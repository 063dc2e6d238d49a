package ec2

import (
	"errors"
	"fmt"
	"strings"

	"github.com/aws/smithy-go"
)

// apiError makes an EC2 error; EC2 has no modelled ones.
func apiError(code, format string, args ...any) error {
	return &smithy.GenericAPIError{Code: code, Message: fmt.Sprintf(format, args...)}
}

// errDryRun is how EC2 says yes to a dry run.
var errDryRun error = preconditionFailed{&smithy.GenericAPIError{Code: "DryRunOperation", Message: "Request would have succeeded, but DryRun flag is set."}}

type preconditionFailed struct{ *smithy.GenericAPIError }

func (preconditionFailed) HTTPStatusCode() int { return 412 }

func errMissing(param string) error {
	return apiError("MissingParameter", "The request must contain the parameter %s", param)
}

func errInvalid(format string, args ...any) error {
	return apiError("InvalidParameterValue", format, args...)
}

func errInvalidValue(value any, param string) error {
	return errInvalid("Value (%v) for parameter %s is invalid.", value, param)
}

func errCombination(format string, args ...any) error {
	return apiError("InvalidParameterCombination", format, args...)
}

func errDependency(noun, id string) error {
	return apiError("DependencyViolation", "The %s '%s' has dependencies and cannot be deleted.", noun, id)
}

func quoteList(ids []string) string { return "'" + strings.Join(ids, ", ") + "'" }

// apiErrorLike replaces an error of one code by EC2's other way of saying it:
// the same absence has different codes in different operations.
func apiErrorLike(err error, code, newCode, format string, args ...any) error {
	var e smithy.APIError
	if errors.As(err, &e) && e.ErrorCode() == code {
		return apiError(newCode, format, args...)
	}
	return err
}

func isCode(err error, code string) bool {
	var e smithy.APIError
	return errors.As(err, &e) && e.ErrorCode() == code
}

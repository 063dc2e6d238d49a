package etcd

import (
	"net/http"

	"github.com/aws/smithy-go"
)

// FullError is a write that was refused because there is no room for it. It goes
// to AWS clients as it is: they retry, and space may have been freed by then.
type FullError struct{ Message string }

var _ smithy.APIError = (*FullError)(nil)

func (e *FullError) Error() string { return e.Message }

// ErrorCode implements smithy.APIError.
func (e *FullError) ErrorCode() string { return "ServiceUnavailable" }

// ErrorMessage implements smithy.APIError.
func (e *FullError) ErrorMessage() string { return e.Message }

// ErrorFault implements smithy.APIError.
func (e *FullError) ErrorFault() smithy.ErrorFault { return smithy.FaultServer }

// HTTPStatusCode is what the gateway answers with.
func (e *FullError) HTTPStatusCode() int { return http.StatusServiceUnavailable }

package gateway

import (
	"errors"
	"net/http"

	"github.com/aws/smithy-go"

	"github.com/ekslocal/ekslocal/emulator/wire"
)

// apiError is an error of the gateway's own, with its HTTP status.
type apiError struct {
	code, message string
	status        int
}

func (e *apiError) Error() string        { return e.code + ": " + e.message }
func (e *apiError) ErrorCode() string    { return e.code }
func (e *apiError) ErrorMessage() string { return e.message }
func (e *apiError) HTTPStatusCode() int  { return e.status }

func (e *apiError) ErrorFault() smithy.ErrorFault {
	if e.status >= http.StatusInternalServerError {
		return smithy.FaultServer
	}
	return smithy.FaultClient
}

func internalFailure() error {
	return &apiError{"InternalFailure", "The request processing has failed because of an unknown error, exception or failure.", http.StatusInternalServerError}
}

// errorCode is what log and metrics say of an error.
func errorCode(err error) string {
	var api smithy.APIError
	var bad *wire.DecodeError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &api):
		return api.ErrorCode()
	case errors.As(err, &bad):
		return "SerializationException"
	case errors.Is(err, ErrDropped):
		return "ConnectionDropped"
	default:
		return "InternalFailure"
	}
}

func errorMessage(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorMessage()
	}
	return err.Error()
}

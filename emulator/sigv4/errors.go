package sigv4

import (
	"fmt"
	"time"

	"github.com/aws/smithy-go"
)

// Codes of the errors that Parse and Verify return, as AWS's Query services
// spell them. JSON services and EC2 have words of their own for the same
// things; translating is the business of whoever knows the protocol.
const (
	CodeMissing    = "MissingAuthenticationToken"
	CodeIncomplete = "IncompleteSignature"
	CodeUnknownKey = "InvalidClientTokenId"
	CodeMismatch   = "SignatureDoesNotMatch"
	CodeExpired    = "ExpiredToken"
)

// Error says why a request is not authenticated.
type Error struct {
	Code    string
	Message string
	// Canonical is the canonical request that the verifier computed; set with
	// CodeMismatch where the signature itself differed. It holds nothing that the
	// request did not (session tokens included), so log it with care.
	Canonical string
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// ErrorCode implements smithy.APIError.
func (e *Error) ErrorCode() string { return e.Code }

// ErrorMessage implements smithy.APIError.
func (e *Error) ErrorMessage() string { return e.Message }

// ErrorFault implements smithy.APIError.
func (e *Error) ErrorFault() smithy.ErrorFault { return smithy.FaultClient }

// HTTPStatusCode is 403 for every failure, as in AWS's common errors.
func (e *Error) HTTPStatusCode() int { return 403 }

func missing() *Error {
	return &Error{Code: CodeMissing, Message: "Request is missing Authentication Token"}
}

func incomplete(format string, args ...any) *Error {
	return &Error{Code: CodeIncomplete, Message: fmt.Sprintf(format, args...)}
}

func mismatch(format string, args ...any) *Error {
	return &Error{Code: CodeMismatch, Message: fmt.Sprintf(format, args...)}
}

func unknownKey() *Error {
	return &Error{Code: CodeUnknownKey, Message: "The security token included in the request is invalid."}
}

func expiredToken() *Error {
	return &Error{Code: CodeExpired, Message: "The security token included in the request is expired"}
}

func wrongSignature(canonical []byte) *Error {
	return &Error{
		Code: CodeMismatch,
		Message: "The request signature we calculated does not match the signature you provided. " +
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
		Canonical: string(canonical),
	}
}

func signatureExpired(signed, now time.Time, window time.Duration) *Error {
	return mismatch("Signature expired: %s is now earlier than %s (%s - %s.)",
		stamp(signed), stamp(now.Add(-window)), stamp(now), inWords(window))
}

func notYetCurrent(signed, now time.Time) *Error {
	return mismatch("Signature not yet current: %s is still later than %s (%s + %s.)",
		stamp(signed), stamp(now.Add(MaxSkew)), stamp(now), inWords(MaxSkew))
}

func stamp(t time.Time) string { return t.UTC().Format(timeFormat) }

func inWords(d time.Duration) string {
	if d%time.Minute == 0 {
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d sec", d/time.Second)
}

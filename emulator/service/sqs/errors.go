package sqs

import (
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
)

// The codes that SQS has had since its Query protocol and that are no types of
// its model.
func invalid(format string, args ...any) error {
	return &smithy.GenericAPIError{Code: "InvalidParameterValue", Message: fmt.Sprintf(format, args...), Fault: smithy.FaultClient}
}

// invalidValue is SQS's form for a parameter out of its range.
func invalidValue(value any, parameter, reason string) error {
	return invalid("Value %v for parameter %s is invalid. Reason: %s", value, parameter, reason)
}

func missing(parameter string) error {
	return &smithy.GenericAPIError{Code: "MissingParameter", Message: "The request must contain the parameter " + parameter + ".", Fault: smithy.FaultClient}
}

func noQueue() error {
	return &types.QueueDoesNotExist{Message: aws.String("The specified queue does not exist.")}
}

func attributeName(format string, args ...any) error {
	return &types.InvalidAttributeName{Message: aws.String(fmt.Sprintf(format, args...))}
}

func attributeValue(name, reason string) error {
	msg := "Invalid value for the parameter " + name + "."
	if reason != "" {
		msg += " Reason: " + reason
	}
	return &types.InvalidAttributeValue{Message: &msg}
}

func noResource(parameter string) error {
	return &types.ResourceNotFoundException{Message: aws.String("The resource that you specified for the " + parameter + " parameter doesn't exist.")}
}

// denied refuses another account's queue. It is no type of the model.
func denied(queueURL string) error {
	return &smithy.GenericAPIError{Code: "AccessDenied", Message: "Access to the resource " + queueURL + " is denied.", Fault: smithy.FaultClient}
}

func badAddress(queueURL string) error {
	return &types.InvalidAddress{Message: aws.String("The address " + queueURL + " is not valid for this endpoint.")}
}

package eks

import (
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/smithy-go"
)

// about names the resource that an error is about; EKS's errors carry it as
// members beside the message.
type about struct{ cluster, nodegroup, addon, fargate string }

func ptrOrNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (a about) invalidParameter(format string, args ...any) error {
	return &ekstypes.InvalidParameterException{
		Message:     aws.String(fmt.Sprintf(format, args...)),
		ClusterName: ptrOrNil(a.cluster), NodegroupName: ptrOrNil(a.nodegroup), AddonName: ptrOrNil(a.addon), FargateProfileName: ptrOrNil(a.fargate),
	}
}

func (a about) invalidRequest(format string, args ...any) error {
	return &ekstypes.InvalidRequestException{
		Message:     aws.String(fmt.Sprintf(format, args...)),
		ClusterName: ptrOrNil(a.cluster), NodegroupName: ptrOrNil(a.nodegroup), AddonName: ptrOrNil(a.addon),
	}
}

func (a about) notFound(format string, args ...any) error {
	return &ekstypes.ResourceNotFoundException{
		Message:     aws.String(fmt.Sprintf(format, args...)),
		ClusterName: ptrOrNil(a.cluster), NodegroupName: ptrOrNil(a.nodegroup), AddonName: ptrOrNil(a.addon), FargateProfileName: ptrOrNil(a.fargate),
	}
}

func (a about) inUse(format string, args ...any) error {
	return &ekstypes.ResourceInUseException{
		Message:     aws.String(fmt.Sprintf(format, args...)),
		ClusterName: ptrOrNil(a.cluster), NodegroupName: ptrOrNil(a.nodegroup), AddonName: ptrOrNil(a.addon),
	}
}

func (a about) limitExceeded(format string, args ...any) error {
	return &ekstypes.ResourceLimitExceededException{
		Message:     aws.String(fmt.Sprintf(format, args...)),
		ClusterName: ptrOrNil(a.cluster), NodegroupName: ptrOrNil(a.nodegroup),
	}
}

func (a about) noCluster() error {
	return about{cluster: a.cluster}.notFound("No cluster found for name: %s.", a.cluster)
}

// fromEC2 turns an answer of EC2 into EKS's, which quotes it the way the Java
// SDK prints service errors.
func (a about) fromEC2(err error, requestID string) error {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return fmt.Errorf("eks: ask EC2: %w", err)
	}
	return a.invalidParameter("%s (Service: AmazonEC2; Status Code: 400; Error Code: %s; Request ID: %s; Proxy: null)",
		api.ErrorMessage(), api.ErrorCode(), requestID)
}

func accessDenied(format string, args ...any) error {
	return &ekstypes.AccessDeniedException{Message: aws.String(fmt.Sprintf(format, args...))}
}

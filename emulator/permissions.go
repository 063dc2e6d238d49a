package emulator

import (
	"context"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/gateway/enforce"
	"github.com/ekslocal/ekslocal/emulator/policy"
)

// callers tells the gate who callers are. STS asks the gate in turn.
type callers struct{ e *Emulator }

// Standing implements enforce.Callers.
func (c callers) Standing(ctx context.Context, caller awsid.Caller) (policy.Subject, policy.Policies, bool) {
	return c.e.sts.Standing(ctx, caller)
}

// directory is the service that knows the resources of a name of IAM's.
func (e *Emulator) directory(service string) enforce.Directory {
	switch service {
	case "eks":
		return e.eks
	case "ec2":
		return e.ec2
	case "iam", "sts": // sts's resources are roles
		return e.iam
	case "kms":
		return e.kms
	case "ssm":
		return e.ssm
	case "logs":
		return e.logs
	case "autoscaling":
		return e.autoscaling
	case "sqs":
		return e.sqs
	case "events":
		return e.events
	}
	return nil
}

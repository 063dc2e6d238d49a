package emulator

import (
	"fmt"

	autoscalingapi "github.com/ekslocal/ekslocal/api/autoscaling"
	ec2api "github.com/ekslocal/ekslocal/api/ec2"
	eksapi "github.com/ekslocal/ekslocal/api/eks"
	eksauthapi "github.com/ekslocal/ekslocal/api/eksauth"
	elbapi "github.com/ekslocal/ekslocal/api/elb"
	elbv2api "github.com/ekslocal/ekslocal/api/elbv2"
	eventsapi "github.com/ekslocal/ekslocal/api/events"
	iamapi "github.com/ekslocal/ekslocal/api/iam"
	kmsapi "github.com/ekslocal/ekslocal/api/kms"
	logsapi "github.com/ekslocal/ekslocal/api/logs"
	sqsapi "github.com/ekslocal/ekslocal/api/sqs"
	ssmapi "github.com/ekslocal/ekslocal/api/ssm"
	stsapi "github.com/ekslocal/ekslocal/api/sts"
	"github.com/ekslocal/ekslocal/emulator/wire"
)

// Services binds every emulated AWS API to what implements it. On an emulator
// that was not started the operations are there but cannot be called, which is
// enough for the table of coverage.
func (e *Emulator) Services() ([]*wire.Service, error) {
	var out []*wire.Service
	for _, b := range []struct {
		model *wire.Model
		impl  any
	}{
		{eksapi.Model(), e.eks},
		{eksauthapi.Model(), e.eksauth},
		{ec2api.Model(), e.ec2},
		{iamapi.Model(), e.iam},
		{stsapi.Model(), e.sts},
		{ssmapi.Model(), e.ssm},
		{kmsapi.Model(), e.kms},
		{logsapi.Model(), e.logs},
		{autoscalingapi.Model(), e.autoscaling},
		{elbv2api.Model(), e.elbv2},
		{elbapi.Model(), e.elb},
		{sqsapi.Model(), e.sqs},
		{eventsapi.Model(), e.events},
	} {
		s, err := wire.Bind(b.model, b.impl)
		if err != nil {
			return nil, fmt.Errorf("bind %s: %w", b.model.ID, err)
		}
		out = append(out, s)
	}
	return out, nil
}

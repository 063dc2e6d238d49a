package logs

import (
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"

	logsapi "github.com/ekslocal/ekslocal/api/logs"
	"github.com/ekslocal/ekslocal/emulator/wire/refusal"
)

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	w.stream("there", "s")
	w.stream("full", "s")
	must(w.CreateLogGroup(w.ctx, &cwl.CreateLogGroupInput{LogGroupName: aws.String("protected"), DeletionProtectionEnabled: aws.Bool(true)}))
	for i := range maxSubscriptions {
		must(w.PutSubscriptionFilter(w.ctx, &cwl.PutSubscriptionFilterInput{
			LogGroupName: aws.String("full"), FilterName: aws.String(fmt.Sprint("f", i, "x")), FilterPattern: aws.String(""),
			DestinationArn: aws.String("arn:aws:lambda:eu-west-1:111122223333:function:f"),
		}))
	}
	for i := range maxResourcePolicies {
		must(w.PutResourcePolicy(w.ctx, &cwl.PutResourcePolicyInput{
			PolicyName: aws.String(fmt.Sprint("p", i)), PolicyDocument: aws.String(`{"Statement":[{"Effect":"Allow","Principal":"*","Action":"logs:*","Resource":"*"}]}`),
		}))
	}
	refusal.Run(w.ctx, t, logsapi.Model(), w.Service, nil)
}

func TestTooLargeEvents(t *testing.T) {
	w := newWorld(t)
	w.stream("g", "s")
	big := string(make([]byte, 1<<20))
	in := func(messages ...string) *cwl.PutLogEventsInput {
		out := &cwl.PutLogEventsInput{LogGroupName: aws.String("g"), LogStreamName: aws.String("s")}
		for _, m := range messages {
			out.LogEvents = append(out.LogEvents, inputEvent(m))
		}
		return out
	}
	_, err := w.PutLogEvents(w.ctx, in(big))
	wantError(t, err, "InvalidParameterException", "Log event too large: 1048602 bytes exceeds limit of 1048576")
	_, err = w.PutLogEvents(w.ctx, in(big[:1<<19], big[:1<<19]))
	wantError(t, err, "InvalidParameterException", "Upload too large: 1048628 bytes exceeds limit of 1048576")
}

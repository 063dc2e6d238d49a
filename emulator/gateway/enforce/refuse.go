package enforce

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/aws/smithy-go"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/gateway"
	"github.com/ekslocal/ekslocal/emulator/policy"
	"github.com/ekslocal/ekslocal/emulator/wire"
)

// refuse is the answer to a call that IAM does not allow: nil where nobody enforces.
func (g *Gate) refuse(ctx context.Context, c gateway.Call, d *policy.Decision) error {
	if g.Mode == Audit {
		g.warn(ctx, c, d)
		return nil
	}
	return refusal(c, d)
}

func (g *Gate) warn(ctx context.Context, c gateway.Call, d *policy.Decision) {
	g.Log.WarnContext(ctx, "IAM would refuse", "caller", c.Caller.ARN, "operation", c.Service+":"+c.Operation, "action", d.Request.Action,
		"resource", d.Request.Resource, "reason", d.Reason(), "request_id", c.Caller.RequestID)
}

// denial is a refusal on the wire.
type denial struct {
	code, message string
	status        int
}

func (e *denial) Error() string                 { return e.code + ": " + e.message }
func (e *denial) ErrorCode() string             { return e.code }
func (e *denial) ErrorMessage() string          { return e.message }
func (e *denial) ErrorFault() smithy.ErrorFault { return smithy.FaultClient }
func (e *denial) HTTPStatusCode() int           { return e.status }

// refusal words a denial as the service does ("Troubleshoot access denied error
// messages" of the IAM User Guide, and what users of each service report).
func refusal(c gateway.Call, d *policy.Decision) error {
	if c.Service == "iam" {
		said := *d
		said.Request.Resource = spoken(d.Request.Action, d.Request.Resource)
		d = &said
	}
	switch {
	case c.Service == "s3":
		return &denial{"AccessDenied", strings.Replace(d.Sentence(), d.Request.Resource, strconv.Quote(d.Request.Resource), 1), http.StatusForbidden}
	case c.Service == "eks" && d.Request.Action == "iam:CreateServiceLinkedRole":
		role := d.Request.Resource[strings.LastIndex(d.Request.Resource, "/")+1:]
		return &denial{"InvalidRequestException", "Failed to create service linked role: " + role + " due to missing permissions for 'iam:CreateServiceLinkedRole'", http.StatusBadRequest}
	case c.Service == "eks" && strings.HasPrefix(d.Request.Action, "kms:"):
		return &denial{"InvalidRequestException", "User not authorized to perform " + d.Request.Action + " operation", http.StatusBadRequest}
	case c.Service == "sqs":
		return &denial{"AccessDenied", lowered(d), http.StatusForbidden}
	case c.Service == "kms" && hidden(c, d):
		return &denial{"AccessDeniedException", "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.", http.StatusBadRequest}
	}
	switch c.Protocol {
	case wire.EC2:
		encoded := ""
		if d.Request.Resource != "*" {
			encoded = d.Encode()
		}
		return &denial{"UnauthorizedOperation", d.UnauthorizedOperation(encoded), http.StatusForbidden}
	case wire.Query:
		return &denial{"AccessDenied", d.Sentence(), http.StatusForbidden}
	case wire.JSON10, wire.JSON11:
		return &denial{"AccessDeniedException", d.Sentence(), http.StatusBadRequest}
	}
	return &denial{"AccessDeniedException", d.Sentence(), http.StatusForbidden}
}

// lowered is the sentence as SQS has it: with its actions in lower case.
func lowered(d *policy.Decision) string {
	return strings.ReplaceAll(d.Sentence(), d.Request.Action, strings.ToLower(d.Request.Action))
}

// byARN are IAM's actions whose messages have the ARN of a role, user or profile.
// Those of the others have its name.
var byARN = map[string]bool{
	"iam:PassRole": true, "iam:CreateRole": true, "iam:CreateUser": true, "iam:CreateGroup": true, "iam:CreateInstanceProfile": true,
	"iam:CreateServiceLinkedRole": true,
}

// spoken is a resource as IAM's messages have it: role ops, instance profile node,
// policy arn:aws:iam::aws:policy/ReadOnlyAccess, but policy mine for one to be made.
func spoken(action, arn string) string {
	a, err := awsid.ParseARN(arn)
	if err != nil || a.Service != "iam" || byARN[action] {
		return arn
	}
	kind, rest, _ := strings.Cut(a.Resource, "/")
	name := rest[strings.LastIndex(rest, "/")+1:]
	switch {
	case name == "" || strings.HasSuffix(rest, "*"):
		return arn
	case kind == "policy" && action != "iam:CreatePolicy":
		return "policy " + arn
	case kind == "role" || kind == "user" || kind == "group" || kind == "policy":
		return kind + " " + name
	case kind == "instance-profile":
		return "instance profile " + name
	}
	return arn
}

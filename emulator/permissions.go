package emulator

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"path"
	"strconv"
	"strings"

	api "github.com/ekslocal/ekslocal/api/admin"
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

// Refuse implements enforce.Callers.
func (c callers) Refuse(caller awsid.Caller, service, operation string) error {
	return c.e.sts.Refuse(caller, service, operation)
}

// directory is the service that knows the resources of a name of IAM's.
func (e *Emulator) directory(service string) enforce.Directory {
	switch service {
	case "eks", "eks-auth": // EKS Auth's resources are EKS's clusters
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

// defaultDecisions is how many are shown to who does not say.
const defaultDecisions = 20

// Decisions implements admin.Emulator.
func (v adminView) Decisions(_ context.Context, q api.DecisionQuery) (api.Decisions, error) {
	action := strings.ToLower(q.Action)
	if _, err := path.Match(action, ""); err != nil {
		return api.Decisions{}, &api.Error{StatusCode: http.StatusBadRequest, Code: "BadQuery", Message: "the action " + strconv.Quote(q.Action) + " is no pattern such as eks:Create*"}
	}
	if q.Limit == 0 {
		q.Limit = defaultDecisions
	}
	entries, last := v.gate.Decisions(q.After, q.Limit, func(e *enforce.Entry) bool {
		if q.Denied && e.Allowed || !strings.Contains(e.Decision.Request.Principal.ARN, q.Principal) {
			return false
		}
		ok, _ := path.Match(action, strings.ToLower(e.Decision.Request.Action)) // the pattern is good
		return action == "" || ok
	})
	out := api.Decisions{Mode: string(v.gate.Mode), Last: last}
	for i := range entries {
		out.Decisions = append(out.Decisions, decisionView(&entries[i]))
	}
	return out, nil
}

func decisionView(e *enforce.Entry) api.Decision {
	d := &e.Decision
	r := &d.Request
	out := api.Decision{
		Number: e.Number, Time: e.Time, RequestID: e.RequestID, Operation: e.Operation, Principal: cmp.Or(r.Principal.ARN, r.Principal.Service, r.Principal.Federated),
		Action: r.Action, Resource: r.Resource, Allowed: e.Allowed, LetThrough: e.LetThrough, Context: r.Context,
	}
	if !e.Allowed {
		out.Reason = d.Reason()
	}
	for _, m := range d.By {
		out.By = append(out.By, m.String())
	}
	for _, m := range e.NearMisses {
		out.NearMisses = append(out.NearMisses, api.NearMiss{Statement: m.Match.String(), Condition: m.Condition.String(), Given: m.Given})
	}
	if !e.Allowed {
		for _, m := range d.Remedies() {
			out.Remedies = append(out.Remedies, api.Remedy{AddTo: addressee(m.Layer, r), Statement: json.RawMessage(m.Statement.JSON())})
		}
	}
	return out
}

// addressee is the policy that a remedy is to be added to.
func addressee(l policy.Layer, r *policy.Request) string {
	who := cmp.Or(r.Principal.RoleARN, r.Principal.ARN)
	who = who[strings.LastIndexByte(who, ':')+1:]
	switch l {
	case policy.IdentityBased:
		return "a policy of " + who
	case policy.PermissionsBoundary:
		return "the permissions boundary of " + who
	case policy.SessionPolicy:
		return "the session policy of " + r.Principal.ARN
	case policy.RoleTrust:
		return "the trust policy of " + r.Resource
	}
	return "the policy of " + r.Resource
}

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/api/admin"
)

const acct = "arn:aws:iam::000000000000:"

// decided are decisions of each kind.
var decided = admin.Decisions{Mode: "enforce", Last: 5, Decisions: []admin.Decision{
	{
		Number: 1, Operation: "eks:CreateCluster", Principal: "arn:aws:sts::000000000000:assumed-role/dev/alice", Action: "eks:CreateCluster",
		Resource: "arn:aws:eks:us-east-1:000000000000:cluster/dev", Allowed: true, By: []string{"Allow statement 1 of policy eks of role/dev (identity-based policy)"},
	},
	{
		Number: 2, Operation: "eks:CreateCluster", Principal: "arn:aws:sts::000000000000:assumed-role/dev/alice", Action: "iam:PassRole", Resource: acct + "role/eks",
		Reason: "because no identity-based policy allows the iam:PassRole action",
		NearMisses: []admin.NearMiss{{
			Statement: `Allow "Pass" of policy eks of role/dev (identity-based policy)`, Condition: `StringEquals iam:PassedToService ["ec2.amazonaws.com"]`, Given: []string{"eks.amazonaws.com"},
		}, {Statement: `Allow statement 3 of policy eks of role/dev (identity-based policy)`, Condition: `Bool aws:MultiFactorAuthPresent ["true"]`}},
		Remedies: []admin.Remedy{{AddTo: "a policy of role/dev", Statement: json.RawMessage(`{"Effect":"Allow","Action":"iam:PassRole","Resource":"` + acct + `role/eks"}`)}},
	},
	{
		Number: 3, Operation: "eks:DeleteCluster", Principal: acct + "user/bob", Action: "eks:DeleteCluster", Resource: "arn:aws:eks:us-east-1:000000000000:cluster/dev",
		Reason: "with an explicit deny in an identity-based policy", By: []string{`Deny "KeepProd" of policy guardrails of user/bob (identity-based policy)`},
	},
	{
		Number: 4, Operation: "sts:AssumeRole", Principal: "arn:aws:iam::111122223333:user/carol", Action: "sts:AssumeRole", Resource: acct + "role/dev", LetThrough: true,
		Reason: "because no identity-based policy allows the sts:AssumeRole action",
		Remedies: []admin.Remedy{
			{AddTo: "a policy of user/carol", Statement: json.RawMessage(`{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"` + acct + `role/dev"}`)},
			{AddTo: "the trust policy of " + acct + "role/dev", Statement: json.RawMessage(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/carol"},"Action":"sts:AssumeRole"}`)},
		},
	},
}}

func TestRenderDecisions(t *testing.T) {
	shown := decided
	shown.Decisions = nil
	for _, d := range decided.Decisions {
		d.Time = time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
		shown.Decisions = append(shown.Decisions, d)
	}
	var out bytes.Buffer
	if err := renderDecisions(&out, &shown); err != nil {
		t.Fatal(err)
	}
	golden(t, "iam-trace.golden", out.Bytes())
	for line := range strings.Lines(out.String()) {
		if !strings.Contains(line, `{"Effect"`) && len(line) > textWidth+1 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
}

func TestWatchDecisions(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	tick := make(chan time.Time, 3)
	for range 3 {
		tick <- time.Time{}
	}
	var asked []uint64
	answers := []*admin.Decisions{{Last: 5}, {Last: 6, Decisions: []admin.Decision{{Number: 6}}}}
	next := func(after uint64) (*admin.Decisions, error) {
		asked = append(asked, after)
		if len(answers) == 0 {
			cancel()
			return nil, errors.New("the emulator is gone")
		}
		d := answers[0]
		answers = answers[1:]
		return d, nil
	}
	var out bytes.Buffer
	err := watchDecisions(ctx, &out, tick, &admin.Decisions{Last: 5, Decisions: decided.Decisions[:1]}, next, func(w io.Writer, d *admin.Decisions) error {
		return encodeDecisions(w, &admin.Decisions{Last: d.Last}, true)
	})
	if err != nil {
		t.Error(err)
	}
	if d := cmp.Diff([]uint64{5, 5, 6}, asked); d != "" {
		t.Error(d)
	}
	if got := strings.Count(out.String(), "\n"); got != 2 {
		t.Errorf("printed %d times: %s", got, out.String())
	}
}

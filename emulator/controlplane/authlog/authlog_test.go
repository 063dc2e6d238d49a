package authlog

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

// answer is an Authenticator's.
type answer struct {
	controlplane.Authenticator
	id  controlplane.Identity
	ok  bool
	err error
}

func (a answer) Authenticate(context.Context, string, string) (controlplane.Identity, bool, error) {
	return a.id, a.ok, a.err
}

// TestLines compares with lines of aws-iam-authenticator.
func TestLines(t *testing.T) {
	extra := map[string][]string{
		"arn": {"arn:aws:sts::111122223333:assumed-role/dev/me"}, "canonicalArn": {"arn:aws:iam::111122223333:role/dev"},
		"accessKeyId": {"ASIAX"}, "sessionName": {"me"}, "principalId": {"AROAX"},
	}
	const (
		begin    = `time="2026-05-01T12:00:00Z" level=`
		response = begin + `info msg="STS response" accesskeyid=ASIAX accountid=111122223333 arn="arn:aws:sts::111122223333:assumed-role/dev/me" client="127.0.0.1:0" method=POST path=/authenticate session=me userid=AROAX` + "\n"
	)
	dev := controlplane.Identity{Username: "dev", UID: "aws-iam-authenticator:111122223333:AROAX", Groups: []string{"a", "system:masters"}, Extra: extra}
	for name, c := range map[string]struct {
		token  string
		answer answer
		want   string
		ok     bool
		failed bool
	}{
		"granted": {"k8s-aws-v1.x", answer{id: dev, ok: true}, response + begin +
			`info msg="access granted" arn="arn:aws:iam::111122223333:role/dev" client="127.0.0.1:0" groups="[a system:masters]" method=POST path=/authenticate uid="aws-iam-authenticator:111122223333:AROAX" username=dev` + "\n", true, false},
		"denied": {"k8s-aws-v1.x", answer{err: &controlplane.Denied{Reason: "ARN is not mapped", Extra: extra}}, response + begin +
			`warning msg="access denied" arn="arn:aws:iam::111122223333:role/dev" client="127.0.0.1:0" error="ARN is not mapped" method=POST path=/authenticate` + "\n", false, false},
		"nobody's signature": {"k8s-aws-v1.x", answer{err: &controlplane.Denied{Reason: "sts getCallerIdentity failed: x"}},
			begin + `warning msg="access denied" client="127.0.0.1:0" error="sts getCallerIdentity failed: x" method=POST path=/authenticate` + "\n", false, false},
		"failure": {"k8s-aws-v1.x", answer{err: errors.New("boom")},
			begin + `error msg="could not authenticate" client="127.0.0.1:0" error=boom method=POST path=/authenticate` + "\n", false, true},
		"of an OIDC provider": {"eyJ.x.y", answer{id: dev, ok: true}, "", true, false},
		"of nobody: the webhook is asked last": {"eyJ.x.y", answer{},
			begin + `warning msg="access denied" client="127.0.0.1:0" error="input token was not properly formatted: token is missing expected \"k8s-aws-v1.\" prefix" method=POST path=/authenticate` + "\n", false, false},
	} {
		var lines bytes.Buffer
		l := Log{Authenticator: c.answer, Lines: &lines, Log: slog.New(slog.DiscardHandler),
			Clock: clocktesting.NewFakePassiveClock(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))}
		id, ok, err := l.Authenticate(t.Context(), "cluster", c.token)
		if ok != c.ok || (err != nil) != c.failed || ok && id.Username != "dev" {
			t.Errorf("%s: %+v, %v, %v", name, id, ok, err)
		}
		if d := cmp.Diff(c.want, lines.String()); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if strings.Contains(lines.String(), c.token) {
			t.Errorf("%s: the token is in the log", name)
		}
	}
}

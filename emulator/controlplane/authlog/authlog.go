// Package authlog writes the log of EKS's authenticator: who presented which token, and
// what came of it, in the form of aws-iam-authenticator's.
package authlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

// TokenPrefix begins the tokens of aws eks get-token. Others that are asked about are
// of OIDC identity providers, or of nobody.
const TokenPrefix = "k8s-aws-v1."

// path is aws-iam-authenticator's, which every line names.
const path = "/authenticate"

// Log is one cluster's.
type Log struct {
	Authenticator controlplane.Authenticator
	Lines         io.Writer
	Clock         clock.PassiveClock
	// Log hears of lines that cannot be written.
	Log *slog.Logger
}

// Authenticate asks whose token it is and writes the answer down. That a token of ours
// is refused is no error here: the reason is not for the client, as on EKS.
func (l Log) Authenticate(ctx context.Context, clusterID, token string) (controlplane.Identity, bool, error) {
	id, ok, err := l.Authenticator.Authenticate(ctx, clusterID, token)
	var denied *controlplane.Denied
	switch {
	case errors.As(err, &denied):
		l.signed(denied.Extra)
		l.line("warning", "access denied", "arn", first(denied.Extra["canonicalArn"]), "error", denied.Reason)
		return controlplane.Identity{}, false, nil
	case ok && err == nil && !strings.HasPrefix(token, TokenPrefix): // an identity provider's is not the authenticator's business on EKS
	case err != nil:
		l.line("error", "could not authenticate", "error", err.Error())
	case ok:
		l.signed(id.Extra)
		l.line("info", "access granted", "arn", first(id.Extra["canonicalArn"]), "groups", fmt.Sprint(id.Groups), "uid", id.UID, "username", id.Username)
	default:
		l.line("warning", "access denied", "error", fmt.Sprintf("input token was not properly formatted: token is missing expected %q prefix", TokenPrefix))
	}
	return id, ok && err == nil, err
}

// signed tells whom STS would have named.
func (l Log) signed(extra map[string][]string) {
	if arn := first(extra["arn"]); arn != "" {
		account := ""
		if p := strings.SplitN(arn, ":", 6); len(p) == 6 {
			account = p[4]
		}
		l.line("info", "STS response", "accesskeyid", first(extra["accessKeyId"]), "accountid", account, "arn", arn,
			"session", first(extra["sessionName"]), "userid", first(extra["principalId"]))
	}
}

// line writes one line as logrus does, whose fields are sorted: time, level and
// message first. The fields given come in pairs; those of every request are added.
func (l Log) line(level, msg string, fields ...string) {
	type field struct{ name, value string }
	all := make([]field, 0, 16)
	all = append(all, field{"client", "127.0.0.1:0"}, field{"method", http.MethodPost}, field{"path", path})
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i] != "arn" || fields[i+1] != "" {
			all = append(all, field{fields[i], fields[i+1]})
		}
	}
	slices.SortFunc(all, func(x, y field) int { return strings.Compare(x.name, y.name) })
	b := make([]byte, 0, 512)
	b = append(l.Clock.Now().UTC().AppendFormat(append(b, `time="`...), time.RFC3339), `" level=`...)
	b = strconv.AppendQuote(append(append(b, level...), " msg="...), msg)
	for _, f := range all {
		b = append(append(append(b, ' '), f.name...), '=')
		if plain(f.value) {
			b = append(b, f.value...)
		} else {
			b = strconv.AppendQuote(b, f.value)
		}
	}
	if _, err := l.Lines.Write(append(b, '\n')); err != nil {
		l.Log.Debug("authenticator log", "error", err)
	}
}

// plain tells whether logrus writes a value without quotes.
func plain(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._/@^+", c) >= 0:
		default:
			return false
		}
	}
	return true
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

package relay

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/ekslocal/ekslocal/emulator/controlplane/logfile"
)

// DeprecatedUse counts one client's requests to one deprecated API, as
// controlplane.DeprecatedUse, which would bring Kubernetes with it.
type DeprecatedUse struct {
	Group, Version, Resource string
	RemovedRelease           string
	UserAgent                string
	Count                    int32
	Last                     time.Time
}

// What the API server notes of requests to deprecated APIs.
const (
	annotationDeprecated     = "k8s.io/deprecated"
	annotationRemovedRelease = "k8s.io/removed-release"
	deprecatedMark           = `"` + annotationDeprecated + `":"true"`
)

// itself is the user as whom the API server keeps the Endpoints of the Service kubernetes,
// every ten seconds: no client that somebody could mend.
const itself = "system:apiserver"

const (
	// atOnce bounds what is read of the audit log for one report.
	atOnce = 4 << 20
	// maxUserAgent is what a client can make of its name.
	maxUserAgent = 256
)

// reporter finds the use of deprecated APIs in the audit log, as EKS does. How far it
// came is remembered after a report, not before: one that is lost is made again.
type reporter struct {
	audit, reported string
	ask             *emulator
	log             *slog.Logger

	tail *logfile.Tail
}

func (r *reporter) run(ctx context.Context, tick <-chan time.Time) {
	defer r.close()
	silenced := false
	for {
		if err := r.report(ctx); err != nil {
			if ctx.Err() == nil && !silenced {
				r.log.Warn("the use of deprecated APIs is not reported", "error", err)
			}
			silenced = true
			r.close() // and what was read is read again
		} else {
			silenced = false
		}
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
	}
}

func (r *reporter) close() {
	if r.tail != nil {
		r.tail.Close()
		r.tail = nil
	}
}

// report goes to the end of the log.
func (r *reporter) report(ctx context.Context) error {
	if r.tail == nil {
		at, _ := os.ReadFile(r.reported) // none: from the beginning
		tail, err := logfile.OpenTail(logfile.Plain(r.audit), strings.TrimSpace(string(at)))
		if err != nil {
			return err
		}
		r.tail = tail
	}
	for ctx.Err() == nil {
		lines, err := r.tail.Lines(ctx, atOnce)
		if err != nil || len(lines) == 0 {
			return err
		}
		uses := usesIn(lines)
		if len(uses) == 0 {
			continue
		}
		body, err := json.Marshal(uses)
		if err != nil {
			return err
		}
		if _, err := r.ask.post(ctx, "/deprecated", body); err != nil {
			return err
		}
		if err := replace(r.reported, []byte(r.tail.Position()), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// event is what is read of one in the audit log.
type event struct {
	Stage          string
	StageTimestamp time.Time
	UserAgent      string
	User           struct{ Username string }
	ObjectRef      *struct{ APIGroup, APIVersion, Resource string }
	Annotations    map[string]string
}

// usesIn counts in lines of the audit log. Nearly none are decoded.
func usesIn(lines []string) (out []DeprecatedUse) {
	index := map[DeprecatedUse]int{} // by all but Count and Last
	for _, line := range lines {
		if !strings.Contains(line, deprecatedMark) {
			continue
		}
		var e event
		if json.Unmarshal([]byte(line), &e) != nil || e.Stage != "ResponseComplete" || e.ObjectRef == nil || e.Annotations[annotationDeprecated] != "true" {
			continue // the words were part of an object
		}
		if e.User.Username == itself {
			continue
		}
		agent := e.UserAgent
		if len(agent) > maxUserAgent {
			agent = agent[:maxUserAgent]
		}
		use := DeprecatedUse{
			Group: e.ObjectRef.APIGroup, Version: e.ObjectRef.APIVersion, Resource: e.ObjectRef.Resource,
			RemovedRelease: e.Annotations[annotationRemovedRelease], UserAgent: strings.ToValidUTF8(agent, ""),
		}
		i, ok := index[use]
		if !ok {
			i = len(out)
			index[use], out = i, append(out, use)
		}
		out[i].Count++
		if e.StageTimestamp.After(out[i].Last) {
			out[i].Last = e.StageTimestamp
		}
	}
	return out
}

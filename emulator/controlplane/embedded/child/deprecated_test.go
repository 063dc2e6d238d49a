package child

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

func request(agent, deprecated string, stage auditinternal.Stage) *auditinternal.Event {
	return &auditinternal.Event{
		Stage: stage, UserAgent: agent, StageTimestamp: metav1.NewMicroTime(time.Unix(1000, 0)),
		ObjectRef:   &auditinternal.ObjectReference{APIGroup: "g", APIVersion: "v1beta1", Resource: "things"},
		Annotations: map[string]string{annotationDeprecated: deprecated, annotationRemovedRelease: "1.37"},
	}
}

func TestDeprecatedUses(t *testing.T) {
	var reports [][]controlplane.DeprecatedUse
	fail := errors.New("the parent is busy")
	d := &deprecatedUses{seen: map[use]tally{}, report: func(_ context.Context, uses []controlplane.DeprecatedUse) error {
		if fail != nil {
			return fail
		}
		slices.SortFunc(uses, func(a, b controlplane.DeprecatedUse) int { return strings.Compare(a.UserAgent, b.UserAgent) })
		reports = append(reports, uses)
		return nil
	}}
	const done = auditinternal.StageResponseComplete
	d.ProcessEvents(
		request("a", "true", auditinternal.StageResponseStarted), request("a", "true", done), request("modern", "", done),
		&auditinternal.Event{Stage: done, Annotations: map[string]string{annotationDeprecated: "true"}}, // no resource
		request(strings.Repeat("long", 200), "true", done),
	)
	d.flush() // in vain
	d.ProcessEvents(request("a", "true", done))
	fail = nil
	d.Shutdown()
	if len(reports) != 1 || len(reports[0]) != 2 {
		t.Fatalf("reports are %+v", reports)
	}
	a := reports[0][0]
	if a.UserAgent != "a" || a.Count != 2 || a.Group != "g" || a.Version != "v1beta1" || a.Resource != "things" || a.RemovedRelease != "1.37" || !a.Last.Equal(time.Unix(1000, 0)) {
		t.Errorf("a's is %+v", a)
	}
	if n := len(reports[0][1].UserAgent); n != maxUserAgent {
		t.Errorf("a long user agent has %d characters", n)
	}
	d.flush()
	if len(reports) != 1 {
		t.Error("nothing is reported once more")
	}
	for i := range 2 * maxReported {
		d.ProcessEvents(request(fmt.Sprint(i), "true", done))
	}
	if d.Shutdown(); len(reports[1]) != maxReported {
		t.Errorf("%d clients are kept, want %d", len(reports[1]), maxReported)
	}
}

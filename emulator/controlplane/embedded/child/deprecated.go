package child

import (
	"context"
	"strings"
	"sync"
	"time"

	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/klog/v2"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/embedded"
)

// What the API server itself notes of requests to deprecated APIs
// (k8s.io/apiserver/pkg/endpoints/metrics).
const (
	annotationDeprecated     = "k8s.io/deprecated"
	annotationRemovedRelease = "k8s.io/removed-release"
)

const (
	// reportDelay collects requests, so that a busy client costs one report a second.
	reportDelay, reportRetry = time.Second, 5 * time.Second
	// maxReported bounds what is kept between two reports, maxUserAgent what a client
	// makes of it.
	maxReported, maxUserAgent = 1000, 256
)

// deprecatedUses is an audit backend that counts who calls deprecated APIs and
// reports it to the parent. EKS finds them in its audit log likewise. A request to
// any other API costs one look-up in its annotations.
type deprecatedUses struct {
	report func(ctx context.Context, uses []controlplane.DeprecatedUse) error

	mu    sync.Mutex
	seen  map[use]tally
	timer *time.Timer // set while a report is due
}

type use struct{ group, version, resource, removed, agent string }

type tally struct {
	count int32
	last  time.Time
}

var _ audit.Backend = (*deprecatedUses)(nil)

func newDeprecatedUses(a *access) *deprecatedUses {
	return &deprecatedUses{seen: map[use]tally{}, report: func(ctx context.Context, uses []controlplane.DeprecatedUse) error {
		var none any
		return a.ask(ctx, embedded.PathDeprecated, uses, &none)
	}}
}

// ProcessEvents implements audit.Sink.
func (d *deprecatedUses) ProcessEvents(events ...*auditinternal.Event) bool {
	for _, e := range events {
		if e.Stage != auditinternal.StageResponseComplete || e.ObjectRef == nil || e.Annotations[annotationDeprecated] != "true" {
			continue
		}
		agent := e.UserAgent
		if len(agent) > maxUserAgent {
			agent = agent[:maxUserAgent]
		}
		d.count(use{
			e.ObjectRef.APIGroup, e.ObjectRef.APIVersion, e.ObjectRef.Resource, e.Annotations[annotationRemovedRelease], strings.ToValidUTF8(agent, ""),
		}, 1, e.StageTimestamp.Time)
	}
	return true
}

func (d *deprecatedUses) count(u use, n int32, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t, known := d.seen[u]
	if !known && len(d.seen) >= maxReported {
		return
	}
	t.count += n
	if at.After(t.last) {
		t.last = at
	}
	d.seen[u] = t
	if d.timer == nil {
		d.timer = time.AfterFunc(reportDelay, d.flush)
	}
}

// flush reports what was counted; what cannot be reported is counted again.
func (d *deprecatedUses) flush() {
	d.mu.Lock()
	seen := d.seen
	d.seen, d.timer = map[use]tally{}, nil
	d.mu.Unlock()
	if len(seen) == 0 {
		return
	}
	var uses []controlplane.DeprecatedUse
	for u, t := range seen {
		uses = append(uses, controlplane.DeprecatedUse{
			Group: u.group, Version: u.version, Resource: u.resource, RemovedRelease: u.removed, UserAgent: u.agent, Count: t.count, Last: t.last,
		})
	}
	err := d.report(context.Background(), uses) // the client bounds it
	if err == nil {
		return
	}
	klog.ErrorS(err, "Reporting the use of deprecated APIs")
	for u, t := range seen {
		d.count(u, t.count, t.last)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Reset(reportRetry)
	}
}

// Run implements audit.Backend: there is nothing to run before something is seen.
func (d *deprecatedUses) Run(<-chan struct{}) error { return nil }

// Shutdown implements audit.Backend.
func (d *deprecatedUses) Shutdown() { d.flush() }

func (d *deprecatedUses) String() string { return "deprecated-uses" }

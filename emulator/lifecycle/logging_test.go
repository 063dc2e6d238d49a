package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/controlplane"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	logssvc "github.com/ekslocal/ekslocal/emulator/service/logs"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// scrolls are control-plane logs in memory; positions are numbers of lines.
type scrolls struct {
	mu    sync.Mutex
	lines map[controlplane.LogStream][]string
}

func (s *scrolls) add(l controlplane.LogStream, line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines[l] = append(s.lines[l], line)
}

func (s *scrolls) from(l controlplane.LogStream, n int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines[l][n:])
}

func (s *scrolls) Tail(_ context.Context, _ string, l controlplane.LogStream, position string) (controlplane.Tail, error) {
	n, _ := strconv.Atoi(position)
	if position == controlplane.TailEnd {
		n = len(s.from(l, 0))
	}
	return &scroll{s, l, n}, nil
}

type scroll struct {
	all *scrolls
	log controlplane.LogStream
	at  int
}

func (s *scroll) Lines(context.Context, int) ([]string, error) {
	lines := s.all.from(s.log, s.at)
	lines = lines[:min(len(lines), 2)]
	s.at += len(lines)
	return lines, nil
}
func (s *scroll) Position() string { return strconv.Itoa(s.at) }
func (*scroll) Close() error       { return nil }

// tailing is a backend that has nothing but logs.
type tailing struct {
	controlplane.Backend
	*scrolls
	full bool
}

func (t *tailing) Audit(_ context.Context, _ string, full bool) error { t.full = full; return nil }

// deaf hears of no delivery that is made, as somebody who is killed then does.
type deaf struct {
	Logs
	calls int
}

func (d *deaf) Deliver(ctx context.Context, group, stream string, lines []string, also func(*store.Tx)) error {
	err := d.Logs.Deliver(ctx, group, stream, lines, also)
	if d.calls++; d.calls%2 == 0 {
		return errors.Join(err, errKilled)
	}
	return err
}

type logWorld struct {
	*Lifecycle
	ctx     context.Context
	backend *tailing
	logs    *logssvc.Service
	cluster *ekssvc.Cluster
	rt      *runtime
}

func newLogWorld(t *testing.T, status ekstypes.ClusterStatus) *logWorld {
	t.Helper()
	st, err := store.Open(t.Context(), store.NewMemory(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	clk := clocktesting.NewFakeClock(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
	sc := awsid.Scope{Account: awsid.DefaultAccount, Region: "us-east-1"}
	w := &logWorld{backend: &tailing{scrolls: &scrolls{lines: map[controlplane.LogStream][]string{}}}, logs: logssvc.New(logssvc.Config{Store: st, Clock: clk}), ctx: as(t.Context(), sc)}
	w.Lifecycle = New(Config{Store: st, Clock: clk, Log: slog.New(slog.DiscardHandler), Backend: w.backend, Logs: &deaf{Logs: w.logs}})
	w.cluster = &ekssvc.Cluster{Scope: sc, ID: "0123456789abcdef0123456789abcdef", Resource: ekstypes.Cluster{Name: aws.String("dev"), Status: status}}
	w.rt = &runtime{id: w.cluster.ID}
	return w
}

// enable makes these and no others the delivered logs.
func (w *logWorld) enable(t *testing.T, types ...ekstypes.LogType) {
	t.Helper()
	w.cluster.Resource.Logging = &ekstypes.Logging{ClusterLogging: []ekstypes.LogSetup{{Enabled: aws.Bool(true), Types: types}}}
	if err := w.syncLogging(w.ctx, w.cluster, w.rt); err != nil {
		t.Fatal(err)
	}
}

// stop ends the delivery, which delivers what there is.
func (w *logWorld) stop() {
	if w.rt.courier != nil {
		w.rt.courier.stop()
		w.rt.courier = nil
	}
}

func (w *logWorld) delivered(t *testing.T, prefix string) []string {
	t.Helper()
	out, err := w.logs.FilterLogEvents(w.ctx, &cwl.FilterLogEventsInput{LogGroupName: aws.String("/aws/eks/dev/cluster"), LogStreamNamePrefix: &prefix})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, e := range out.Events {
		lines = append(lines, *e.Message)
	}
	return lines
}

func TestLogsAreDeliveredOnce(t *testing.T) {
	w := newLogWorld(t, ekstypes.ClusterStatusCreating)
	var want []string
	for i := range 20 {
		line := fmt.Sprint("line ", i)
		w.backend.add(controlplane.LogScheduler, line)
		want = append(want, line)
	}
	// Every second delivery is made and not heard of; after each the emulator starts again.
	for range 20 {
		w.enable(t, ekstypes.LogTypeScheduler)
		w.stop()
	}
	if d := cmp.Diff(want, w.delivered(t, "kube-scheduler-")); d != "" {
		t.Error(d)
	}
}

func TestLogsBeginWhenTheyAreEnabled(t *testing.T) {
	w := newLogWorld(t, ekstypes.ClusterStatusUpdating)
	w.enable(t)
	if w.rt.courier != nil {
		t.Error("a cluster without logging has a courier")
	}
	w.backend.add(controlplane.LogAudit, "before")
	w.enable(t, ekstypes.LogTypeAudit)
	if !w.backend.full {
		t.Error("the audit log is not the full one")
	}
	w.stop()
	w.backend.add(controlplane.LogAudit, "while")
	w.enable(t, ekstypes.LogTypeAudit)
	w.enable(t, ekstypes.LogTypeApi) // which delivers what is left
	if w.backend.full {
		t.Error("the audit log is the full one, and nobody wants it")
	}
	w.backend.add(controlplane.LogAudit, "off")
	w.enable(t, ekstypes.LogTypeAudit, ekstypes.LogTypeApi)
	w.stop()
	if d := cmp.Diff([]string{"while"}, w.delivered(t, "kube-apiserver-audit-")); d != "" {
		t.Error(d)
	}
}

// hung is a backend whose logs cannot be read, and one of their tails.
type hung struct{ controlplane.Backend }

func (h hung) Tail(context.Context, string, controlplane.LogStream, string) (controlplane.Tail, error) {
	return h, nil
}

func (hung) Lines(ctx context.Context, _ int) ([]string, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
func (hung) Position() string { return "1" }
func (hung) Close() error     { return nil }

// TestHungLogsEnd: what is delivered last of logs that nobody hands out takes one patience,
// and not one for each.
func TestHungLogsEnd(t *testing.T) {
	w := newLogWorld(t, ekstypes.ClusterStatusCreating)
	w.Backend = hung{}
	w.enable(t, ekstypes.LogTypeApi, ekstypes.LogTypeAudit, ekstypes.LogTypeScheduler)
	ended := make(chan struct{})
	go func() {
		w.stop()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(2 * lastDelivery):
		t.Error("the delivery does not end")
	}
}

package lifecycle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/controlplane"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// Logs takes the logs of control planes; *logs.Service satisfies it.
type Logs interface {
	// Deliver adds lines to a log stream of the caller's account, and runs also in the
	// same transaction.
	Deliver(ctx context.Context, group, stream string, lines []string, also func(tx *store.Tx)) error
}

// logPlaces are how far each log of a cluster is delivered, by ChildID(cluster, log
// type). A place moves in the transaction that delivers what is before it, so that
// nothing is delivered twice or half, whenever the emulator is killed.
const logPlaces store.Table[logPlace] = "eks-log-places"

type logPlace struct {
	ClusterID string
	Position  string
}

const (
	// deliverEvery is how long lines wait to be delivered with others.
	deliverEvery = time.Second
	// deliverBytes is how much goes into one transaction.
	deliverBytes = 512 << 10
	// lastDelivery bounds what is delivered when a cluster's runtime stops.
	lastDelivery = 2 * time.Second
)

// logNames are what EKS's log streams begin with.
var logNames = map[controlplane.LogStream]string{
	controlplane.LogAPI: "kube-apiserver", controlplane.LogAudit: "kube-apiserver-audit", controlplane.LogAuthenticator: "authenticator",
	controlplane.LogControllerManager: "kube-controller-manager", controlplane.LogScheduler: "kube-scheduler",
}

// enabledLogs are the log types that are to be delivered.
func enabledLogs(c *ekssvc.Cluster) []controlplane.LogStream {
	var out []controlplane.LogStream
	if c.Resource.Logging == nil {
		return nil
	}
	for _, l := range c.Resource.Logging.ClusterLogging {
		if aws.ToBool(l.Enabled) {
			for _, t := range l.Types {
				out = append(out, controlplane.LogStream(t))
			}
		}
	}
	slices.Sort(out)
	return out
}

// courier delivers the enabled logs of one cluster until it is stopped.
type courier struct {
	logs   Logs
	store  *store.Store
	tailer controlplane.Tailer
	log    *slog.Logger

	scope         awsid.Scope
	cluster, id   string
	group, suffix string
	enabled       []controlplane.LogStream
	tails         map[controlplane.LogStream]controlplane.Tail

	cancel context.CancelFunc
	done   chan struct{}
}

func (d *courier) stop() {
	d.cancel()
	<-d.done
}

// syncLogging makes the delivery of a running cluster's logs what its record says.
// A cluster without logging has no courier and pays nothing.
func (l *Lifecycle) syncLogging(ctx context.Context, c *ekssvc.Cluster, rt *runtime) error {
	tailer, ok := l.Backend.(controlplane.Tailer)
	if !ok || l.Logs == nil {
		return nil
	}
	rt.logging.Lock()
	defer rt.logging.Unlock()
	enabled := enabledLogs(c)
	if rt.courier != nil && slices.Equal(rt.courier.enabled, enabled) || rt.courier == nil && len(enabled) == 0 && rt.logged {
		return nil
	}
	if rt.courier != nil {
		rt.courier.stop()
		rt.courier = nil
	}
	if a, ok := l.Backend.(controlplane.Auditor); ok {
		if err := a.Audit(ctx, c.ID, slices.Contains(enabled, controlplane.LogAudit)); err != nil {
			return fmt.Errorf("audit log: %w", err)
		}
	}
	if err := l.placeLogs(ctx, tailer, c, enabled); err != nil {
		return err
	}
	rt.logged = true
	if len(enabled) == 0 {
		return nil
	}
	sum := sha256.Sum256([]byte(c.ID))
	d := &courier{
		logs: l.Logs, store: l.Store, tailer: tailer, log: l.Log.With("cluster", *c.Resource.Name), scope: c.Scope, cluster: *c.Resource.Name, id: c.ID,
		group: "/aws/eks/" + *c.Resource.Name + "/cluster", suffix: hex.EncodeToString(sum[:16]), enabled: enabled,
		tails: map[controlplane.LogStream]controlplane.Tail{}, done: make(chan struct{}),
	}
	var life context.Context
	life, d.cancel = context.WithCancel(as(context.Background(), c.Scope))
	ticker := l.Clock.NewTicker(deliverEvery)
	rt.courier = d
	go func() {
		defer close(d.done)
		defer ticker.Stop()
		d.run(life, ticker.C())
	}()
	return nil
}

// placeLogs remembers where the delivery of newly enabled logs begins, and forgets
// those that are disabled. A new cluster's logs are delivered from their first line,
// others from the moment on in which somebody wants them.
func (l *Lifecycle) placeLogs(ctx context.Context, tailer controlplane.Tailer, c *ekssvc.Cluster, enabled []controlplane.LogStream) error {
	name := *c.Resource.Name
	from := controlplane.TailEnd
	if c.Resource.Status == ekstypes.ClusterStatusCreating {
		from = ""
	}
	begin := map[controlplane.LogStream]string{}
	for _, s := range enabled {
		if p := logPlaces.Get(l.Store, c.Scope, ekssvc.ChildID(name, string(s))); p != nil && p.ClusterID == c.ID {
			continue
		}
		t, err := tailer.Tail(ctx, c.ID, s, from)
		if err != nil {
			return fmt.Errorf("log %s: %w", s, err)
		}
		begin[s] = t.Position()
		t.Close()
	}
	return l.Store.Update(ctx, func(tx *store.Tx) error {
		for _, s := range slices.Sorted(maps.Keys(logNames)) {
			id := ekssvc.ChildID(name, string(s))
			switch at, fresh := begin[s]; {
			case fresh:
				logPlaces.Put(tx, c.Scope, id, &logPlace{ClusterID: c.ID, Position: at})
			case !slices.Contains(enabled, s) && logPlaces.Get(tx, c.Scope, id) != nil:
				logPlaces.Delete(tx, c.Scope, id)
			}
		}
		return nil
	})
}

// forgetLogs removes the places of a cluster that is deleted. Its log group stays,
// as on EKS.
func forgetLogs(tx *store.Tx, sc awsid.Scope, cluster string) {
	for s := range logNames {
		if id := ekssvc.ChildID(cluster, string(s)); logPlaces.Get(tx, sc, id) != nil {
			logPlaces.Delete(tx, sc, id)
		}
	}
}

// run delivers on every tick, and once more at the end.
func (d *courier) run(ctx context.Context, tick <-chan time.Time) {
	defer d.close()
	for {
		d.deliver(ctx)
		select {
		case <-tick:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastDelivery)
			defer cancel()
			d.deliver(last)
			return
		}
	}
}

// deliver sends what came since. A log in trouble does not keep the others.
func (d *courier) deliver(ctx context.Context) {
	for _, s := range d.enabled {
		err := d.deliverLog(ctx, s)
		if err == nil {
			continue
		}
		// Whatever was read and not delivered is read again from the stored place.
		if t := d.tails[s]; t != nil {
			t.Close()
			delete(d.tails, s)
		}
		if ctx.Err() == nil && !errors.Is(err, controlplane.ErrNotFound) {
			d.log.Warn("control-plane log is not delivered", "log", string(s), "error", err)
		}
	}
}

func (d *courier) deliverLog(ctx context.Context, s controlplane.LogStream) error {
	place := ekssvc.ChildID(d.cluster, string(s))
	t := d.tails[s]
	if t == nil {
		p := logPlaces.Get(d.store, d.scope, place)
		if p == nil || p.ClusterID != d.id {
			return nil // disabled or deleted meanwhile
		}
		var err error
		if t, err = d.tailer.Tail(ctx, d.id, s, p.Position); err != nil {
			return err
		}
		d.tails[s] = t
	}
	for {
		lines, err := t.Lines(ctx, deliverBytes)
		if err != nil || len(lines) == 0 {
			return err
		}
		at := &logPlace{ClusterID: d.id, Position: t.Position()}
		err = d.logs.Deliver(ctx, d.group, logNames[s]+"-"+d.suffix, lines, func(tx *store.Tx) { logPlaces.Put(tx, d.scope, place, at) })
		if err != nil {
			return err
		}
	}
}

func (d *courier) close() {
	for _, t := range d.tails {
		t.Close()
	}
}

package emulator

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/service/ec2"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// told remembers the last state of an instance that EventBridge was told of, by
// instance id, so that a crash between a transition and its event loses neither.
// Instances that no rule could have asked about have none.
const told store.Table[toldState] = "events-told-instances"

type toldState struct{ State ec2types.InstanceStateName }

// emitter is what instanceEvents asks of EventBridge; *events.Service satisfies it.
type emitter interface {
	Wanted(sc awsid.Scope) bool
	Emit(tx *store.Tx, sc awsid.Scope, source, detailType string, resources []string, detail any) error
}

// instanceEvents tells EventBridge of instances' state changes, as EC2 does.
type instanceEvents struct {
	store  *store.Store
	events emitter
	log    *slog.Logger

	mu    sync.Mutex
	fresh map[store.Key]bool
	wake  chan struct{}
}

func newInstanceEvents(st *store.Store, ev emitter, log *slog.Logger) *instanceEvents {
	return &instanceEvents{store: st, events: ev, log: log, fresh: map[store.Key]bool{}, wake: make(chan struct{}, 1)}
}

func (e *instanceEvents) changed(c store.Change) {
	e.mu.Lock()
	e.fresh[store.Key{Scope: c.Scope, ID: c.ID}] = true
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *instanceEvents) take() map[store.Key]bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := e.fresh
	e.fresh = map[store.Key]bool{}
	return out
}

// Run works until ctx ends.
func (e *instanceEvents) Run(ctx context.Context) error {
	known := map[store.Key]ec2types.InstanceStateName{}
	// What is there already was told before, as far as it ever will be.
	for k, i := range ec2.Instances.All(e.store) {
		known[k] = i.State.Name
		if t := told.Get(e.store, k.Scope, k.ID); t != nil {
			known[k] = t.State
		}
	}
	defer e.store.Subscribe(ec2.Instances.Name(), e.changed)()
	for {
		for k := range e.take() {
			now, err := e.tell(ctx, k, known[k])
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				e.log.Error("events: a state change was not told", "instance", k.ID, "error", err)
			}
			if now == "" {
				delete(known, k)
			} else {
				known[k] = now
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-e.wake:
		}
	}
}

// tell emits what happened to an instance since it was in state was, and returns
// the state that it is in, "" for none.
func (e *instanceEvents) tell(ctx context.Context, k store.Key, was ec2types.InstanceStateName) (ec2types.InstanceStateName, error) {
	i := ec2.Instances.Get(e.store, k.Scope, k.ID)
	marked := told.Get(e.store, k.Scope, k.ID) != nil
	if i == nil || !e.events.Wanted(k.Scope) {
		state := ec2types.InstanceStateName("")
		if i != nil {
			state = i.State.Name
		}
		if !marked {
			return state, nil
		}
		return state, e.store.Update(ctx, func(tx *store.Tx) error {
			told.Delete(tx, k.Scope, k.ID)
			return nil
		})
	}
	now := i.State.Name
	if now == was {
		return now, nil
	}
	return now, e.store.Update(ctx, func(tx *store.Tx) error {
		for _, s := range passed(was, now) {
			err := e.events.Emit(tx, k.Scope, "aws.ec2", "EC2 Instance State-change Notification", []string{k.Scope.ARN("ec2", "instance/"+k.ID)}, struct {
				ID    string                     `json:"instance-id"`
				State ec2types.InstanceStateName `json:"state"`
			}{k.ID, s})
			if err != nil {
				return err
			}
		}
		told.Put(tx, k.Scope, k.ID, &toldState{now})
		return nil
	})
}

// ways are the states of an instance's ways, each way in its order.
var ways = [][]ec2types.InstanceStateName{
	{"", ec2types.InstanceStateNamePending, ec2types.InstanceStateNameRunning},
	{ec2types.InstanceStateNameStopped, ec2types.InstanceStateNamePending, ec2types.InstanceStateNameRunning},
	{ec2types.InstanceStateNameRunning, ec2types.InstanceStateNameStopping, ec2types.InstanceStateNameStopped},
	{ec2types.InstanceStateNameRunning, ec2types.InstanceStateNameShuttingDown, ec2types.InstanceStateNameTerminated},
	{ec2types.InstanceStateNameStopped, ec2types.InstanceStateNameShuttingDown, ec2types.InstanceStateNameTerminated},
	{ec2types.InstanceStateNamePending, ec2types.InstanceStateNameShuttingDown, ec2types.InstanceStateNameTerminated},
}

// passed are the states from one to another, without the first. Instances move on
// faster here than a watch sees them: none may be missing.
func passed(from, to ec2types.InstanceStateName) []ec2types.InstanceStateName {
	for _, w := range ways {
		i, j := slices.Index(w, from), slices.Index(w, to)
		if i >= 0 && j > i {
			return w[i+1 : j+1]
		}
	}
	return []ec2types.InstanceStateName{to}
}

package ec2

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// agenda is what waits for the clock: records with a Due.
type agenda struct {
	mu    sync.Mutex
	fresh map[item]bool // changed since the loop last looked
	wake  chan struct{}
}

type item struct {
	scope awsid.Scope
	id    string
}

func (a *agenda) note(c store.Change) {
	a.mu.Lock()
	a.fresh[item{c.Scope, c.ID}] = true
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func (a *agenda) take() map[item]bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := a.fresh
	a.fresh = map[item]bool{}
	return out
}

const (
	// transitionBatch is how many records change state in one transaction: enough
	// to end hundreds of instances in a few, few enough to conflict seldom.
	transitionBatch = 64
	// retryAfter is the pause after the store failed.
	retryAfter = time.Second
	// sweepEvery is how often expired client tokens are dropped.
	sweepEvery = time.Hour
)

// Run moves instances and NAT gateways on when their time has come, until ctx
// ends. The transitions are durable; one that a crash interrupts is made by the
// next Run.
func (s *Service) Run(ctx context.Context) error {
	a := &agenda{fresh: map[item]bool{}, wake: make(chan struct{}, 1)}
	defer s.store.Subscribe(Instances.Name(), a.note)()
	defer s.store.Subscribe(NatGateways.Name(), a.note)()
	due := map[item]time.Time{}
	sweep := s.clock.Now()
	for {
		for it := range a.take() {
			if t := s.dueOf(it); t != nil {
				due[it] = *t
			} else {
				delete(due, it)
			}
		}
		now := s.clock.Now()
		wait := sweepEvery
		ready := map[awsid.Scope][]string{}
		for it, t := range due {
			if d := t.Sub(now); d > 0 {
				wait = min(wait, d)
				continue
			}
			ready[it.scope] = append(ready[it.scope], it.id)
		}
		if err := s.advance(ctx, ready); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			s.log.Error("ec2: state transitions", "error", err)
			wait = min(wait, retryAfter)
		}
		if !now.Before(sweep) {
			s.sweepTokens(ctx)
			s.sweepPeerings(ctx)
			sweep = now.Add(sweepEvery)
		}
		timer := s.clock.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-a.wake:
		case <-timer.C():
		}
		timer.Stop()
	}
}

func (s *Service) dueOf(it item) *time.Time {
	if natGatewayKind.owns(it.id) {
		if n := NatGateways.Get(s.store, it.scope, it.id); n != nil {
			return n.Due
		}
		return nil
	}
	if i := Instances.Get(s.store, it.scope, it.id); i != nil {
		return i.Due
	}
	return nil
}

// advance makes the transitions of what is ready, in batches.
func (s *Service) advance(ctx context.Context, ready map[awsid.Scope][]string) error {
	for sc, ids := range ready {
		for len(ids) > 0 {
			n := min(len(ids), transitionBatch)
			if err := s.advanceBatch(ctx, sc, ids[:n]); err != nil {
				return err
			}
			ids = ids[n:]
		}
	}
	return nil
}

func (s *Service) advanceBatch(ctx context.Context, sc awsid.Scope, ids []string) error {
	return s.store.Update(ctx, func(tx *store.Tx) error {
		now := s.clock.Now()
		l := newLedger(tx, sc)
		for _, id := range ids {
			if natGatewayKind.owns(id) {
				s.advanceNat(l, id, now)
				continue
			}
			inst := Instances.Edit(tx, sc, id)
			if inst == nil || inst.Due == nil || inst.Due.After(now) {
				continue
			}
			if s.arrive(l, inst) {
				Instances.Put(tx, sc, id, inst)
			} else {
				Instances.Delete(tx, sc, id)
			}
		}
		l.flush()
		return nil
	})
}

func (s *Service) advanceNat(l *ledger, id string, now time.Time) {
	n := NatGateways.Edit(l.tx, l.sc, id)
	if n == nil || n.Due == nil || n.Due.After(now) {
		return
	}
	n.Due = nil
	switch n.State {
	case types.NatGatewayStatePending:
		n.State = types.NatGatewayStateAvailable
		for i := range n.NatGatewayAddresses {
			n.NatGatewayAddresses[i].Status = types.NatGatewayAddressStatusSucceeded
		}
	case types.NatGatewayStateDeleting:
		s.releaseNat(l, n)
		n.State = types.NatGatewayStateDeleted
		n.Due = s.after(terminatedFor)
	case types.NatGatewayStateDeleted:
		NatGateways.Delete(l.tx, l.sc, id)
		return
	}
	NatGateways.Put(l.tx, l.sc, id, n)
}

// sweepTokens forgets client tokens that no retry comes with any more.
func (s *Service) sweepTokens(ctx context.Context) {
	var old []*clientToken
	for _, rec := range clientTokens.ListAll(s.store) {
		if s.clock.Since(rec.Created) > tokenLife {
			old = append(old, rec)
		}
	}
	for batch := range slices.Chunk(old, 500) {
		err := s.store.Update(ctx, func(tx *store.Tx) error {
			for _, rec := range batch {
				clientTokens.Delete(tx, rec.Scope, rec.ID)
			}
			return nil
		})
		if err != nil {
			s.log.Warn("ec2: client tokens stay for another hour", "error", err)
			return
		}
	}
}

package kms

import (
	"context"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const defaultWindow, leastWindow, mostWindow = 30, 7, 30

// ScheduleKeyDeletion implements the operation. A primary key with replicas waits
// for them before its own waiting period begins.
func (s *Service) ScheduleKeyDeletion(ctx context.Context, in *kms.ScheduleKeyDeletionInput, _ ...func(*kms.Options)) (*kms.ScheduleKeyDeletionOutput, error) {
	var c checks
	c.Required("keyId", in.KeyId, 1, 2048)
	c.Span("pendingWindowInDays", in.PendingWindowInDays, 1, 365)
	if err := c.err(); err != nil {
		return nil, err
	}
	days := int32(defaultWindow)
	if in.PendingWindowInDays != nil {
		days = *in.PendingWindowInDays
	}
	if days < leastWindow || days > mostWindow {
		return nil, validation("PendingWindowInDays must be between 7 and 30 days (inclusive).")
	}
	var out *kms.ScheduleKeyDeletionOutput
	err := s.change(ctx, "ScheduleKeyDeletion", *in.KeyId, func(_ *store.Tx, k *key) error {
		k.Window = days
		if len(k.Replicas) > 0 {
			k.State = types.KeyStatePendingReplicaDeletion
		} else {
			k.schedule(s.now())
		}
		out = &kms.ScheduleKeyDeletionOutput{KeyId: aws.String(k.arn()), DeletionDate: k.Deletion, KeyState: k.State, PendingWindowInDays: &days}
		return nil
	})
	return out, err
}

func (k *key) schedule(now time.Time) {
	end := now.AddDate(0, 0, int(k.Window))
	k.State, k.Deletion = types.KeyStatePendingDeletion, &end
}

// CancelKeyDeletion implements the operation. The key is disabled afterwards.
func (s *Service) CancelKeyDeletion(ctx context.Context, in *kms.CancelKeyDeletionInput, _ ...func(*kms.Options)) (*kms.CancelKeyDeletionOutput, error) {
	if err := checkKeyID(in.KeyId); err != nil {
		return nil, err
	}
	var out *kms.CancelKeyDeletionOutput
	err := s.change(ctx, "CancelKeyDeletion", *in.KeyId, func(_ *store.Tx, k *key) error {
		k.State, k.Deletion, k.Window = types.KeyStateDisabled, nil, 0
		if len(k.Materials) == 0 {
			k.State = types.KeyStatePendingImport
		}
		out = &kms.CancelKeyDeletionOutput{KeyId: aws.String(k.arn())}
		return nil
	})
	return out, err
}

const (
	// lookAgain bounds how late what is due is noticed after the machine slept.
	lookAgain = time.Minute
	// retryAfter is the pause after the store failed.
	retryAfter = time.Second
)

// Run deletes keys whose waiting period is over and rotates those that are due,
// until ctx ends. Every change is durable; one that a crash interrupts is made by
// the next Run. Readers take a key that is due for deleted without waiting for it.
func (s *Service) Run(ctx context.Context) error {
	wake := make(chan struct{}, 1)
	defer s.store.Subscribe(keys.Name(), func(store.Change) {
		select {
		case wake <- struct{}{}:
		default:
		}
	})()
	for {
		wait, err := s.settle(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			s.log.Error("kms: deletions and rotations", "error", err)
			wait = retryAfter
		}
		timer := s.clock.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-wake:
		case <-timer.C():
		}
		timer.Stop()
	}
}

// settle does what is due and answers how long there is nothing to do.
func (s *Service) settle(ctx context.Context) (time.Duration, error) {
	now, wait := s.now(), lookAgain
	for _, k := range keys.ListAll(s.store) {
		var err error
		switch {
		case k.due(now):
			err = s.remove(ctx, k.Scope, k.ID)
		case k.rotationDue(now):
			err = s.rotate(ctx, k.Scope, k.ID)
		case k.Deletion != nil:
			wait = min(wait, k.Deletion.Sub(now))
		case k.RotationDays > 0 && !k.replica():
			wait = min(wait, k.NextRotation.Sub(now))
		}
		if err != nil {
			return 0, err
		}
	}
	return max(wait, time.Millisecond), nil
}

// remove deletes a key that is due with its aliases and grants.
func (s *Service) remove(ctx context.Context, sc awsid.Scope, id string) error {
	return s.store.Update(ctx, func(tx *store.Tx) error {
		k := keys.Get(tx, sc, id)
		if k == nil || !k.due(s.clock.Now()) {
			return nil
		}
		keys.Delete(tx, sc, id)
		for _, a := range aliases.List(tx, sc) {
			if a.Target == id {
				aliases.Delete(tx, sc, a.Name)
			}
		}
		for _, g := range grants.ListPrefix(tx, sc, grantKey(id, "")) {
			grants.Delete(tx, sc, grantKey(id, g.ID))
		}
		if k.replica() {
			s.replicaGone(tx, k)
		}
		return nil
	})
}

// replicaGone takes a replica off its primary's list; with the last of them a
// deletion that waited goes on.
func (s *Service) replicaGone(tx *store.Tx, k *key) {
	home := awsid.Scope{Account: k.Scope.Account, Region: k.Primary}
	p := keys.Edit(tx, home, k.ID)
	if p == nil {
		return
	}
	p.Replicas = slices.DeleteFunc(p.Replicas, func(r string) bool { return r == k.Scope.Region })
	if len(p.Replicas) == 0 && p.State == types.KeyStatePendingReplicaDeletion {
		p.schedule(s.now())
	}
	keys.Put(tx, home, p.ID, p)
}

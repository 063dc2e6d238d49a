package etcd

import (
	"context"
	"errors"
	"expvar"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// starting is held by a server between its start and its election, for what
// raftStatus shows is the process's youngest server.
var starting sync.Mutex

// elect waits until etcd takes writes. A single member has no one to wait for,
// so it is told to campaign (raft's "timeout now", which a leader sends to its
// successor) instead of sitting out its election timeout, up to half a second.
//
// It must not campaign before raft knows that everything committed is applied:
// raft would look for membership changes in the log between the two, where etcd
// may already have dropped entries, and panic. By etcd's own account (AppliedIndex)
// they are applied a moment earlier than by raft's.
func (s *Server) elect(ctx context.Context) error {
	srv := s.etcd.Server
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	asked := false
	for {
		if st, ok := raftStatus(); ok && !asked && srv.Leader() == 0 && st.Commit > 0 && st.Applied == st.Commit {
			id := uint64(srv.MemberID())
			if err := srv.Process(ctx, raftpb.Message{Type: raftpb.MsgTimeoutNow, From: id, To: id}); err != nil {
				return fmt.Errorf("elect: %w", err)
			}
			asked = true // should it come to nothing, the timeout does it
		}
		select {
		case <-srv.ReadyNotify():
			return nil
		case err := <-s.etcd.Err():
			return fmt.Errorf("did not start: %w", err)
		case <-srv.StopNotify():
			return errors.New("stopped while starting")
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", context.Cause(ctx))
		case <-again.C:
		}
	}
}

// raftStatus is what raft itself says; etcd shows it nowhere else.
func raftStatus() (raft.Status, bool) {
	f, ok := expvar.Get("raft.status").(expvar.Func)
	if !ok {
		return raft.Status{}, false
	}
	st, ok := f.Value().(raft.Status)
	return st, ok
}

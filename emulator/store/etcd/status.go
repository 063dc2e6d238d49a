package etcd

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Status is how the database is doing.
type Status struct {
	Revision int64
	// Size is the file's, InUse what of it holds data, Quota the limit of Size.
	Size, InUse, Quota int64
	// Full tells that etcd takes no writes until space is freed.
	Full bool
	// Corrupt tells that etcd found its data damaged.
	Corrupt bool
}

// Status asks etcd.
func (s *Server) Status(ctx context.Context) (Status, error) {
	r, err := s.client.Status(ctx, s.Endpoint())
	if err != nil {
		return Status{}, fmt.Errorf("etcd: status: %w", err)
	}
	st := Status{Revision: r.Header.Revision, Size: r.DbSize, InUse: r.DbSizeInUse, Quota: s.cfg.QuotaBytes}
	alarms, err := s.client.AlarmList(ctx)
	if err != nil {
		return Status{}, fmt.Errorf("etcd: alarms: %w", err)
	}
	for _, a := range alarms.Alarms {
		st.Full = st.Full || a.Alarm == etcdserverpb.AlarmType_NOSPACE
		st.Corrupt = st.Corrupt || a.Alarm == etcdserverpb.AlarmType_CORRUPT
	}
	return st, nil
}

// Maintain does at once what the server does every five minutes by itself:
// forget revisions older than the last time, and give space back.
func (s *Server) Maintain(ctx context.Context) error { return s.keeper.upkeep(ctx) }

// Free forgets all history, rewrites the file and takes writes again if that
// was enough.
func (s *Server) Free(ctx context.Context) error {
	if err := s.disk.check(); err != nil {
		return err // rewriting the file needs room for a second one
	}
	s.keeper.mu.Lock()
	defer s.keeper.mu.Unlock()
	st, err := s.Status(ctx)
	if err != nil {
		return err
	}
	s.keeper.last = st.Revision
	if err := s.keeper.compact(ctx, st.Revision); err != nil {
		return err
	}
	if err := s.keeper.defragment(); err != nil {
		return err
	}
	if !st.Full {
		return nil
	}
	if st, err = s.Status(ctx); err != nil {
		return err
	}
	if st.Size >= st.Quota {
		return fmt.Errorf("etcd: the database holds %d MiB of data and may not grow over %d MiB: delete clusters, or `ekslocal reset`",
			st.Size>>20, st.Quota>>20)
	}
	if _, err := s.client.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
		return fmt.Errorf("etcd: take writes again: %w", err)
	}
	s.cfg.Log.Warn("etcd: the database was full; history was dropped and it takes writes again",
		"size", st.Size, "quota", st.Quota)
	return nil
}

func compacted(err error) bool { return errors.Is(err, rpctypes.ErrCompacted) }

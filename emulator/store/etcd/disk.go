package etcd

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

// diskFloor is the free space on the data's disk below which no writes are taken:
// enough for the write-ahead log's next segments and the database's next growth,
// because etcd ends the process when one of them fails.
const diskFloor = 64 << 20

// diskEvery is how often free space is looked at; a look is one system call.
const diskEvery = 200 * time.Millisecond

// disk refuses writes while the disk is nearly full, to us at once and to control
// planes by etcd's own NOSPACE alarm, and takes them again by itself.
type disk struct {
	s    *Server
	low  atomic.Bool
	free func(dir string) (int64, error) // freeSpace, but in tests
	stop context.CancelFunc
	done chan struct{}
}

func newDisk(s *Server) *disk {
	ctx, stop := context.WithCancel(context.Background())
	d := &disk{s: s, free: freeSpace, stop: stop, done: make(chan struct{})}
	if s.cfg.freeSpace != nil {
		d.free = s.cfg.freeSpace
	}
	d.look(ctx)
	go d.run(ctx)
	return d
}

func (d *disk) close() {
	d.stop()
	<-d.done
}

func (d *disk) run(ctx context.Context) {
	defer close(d.done)
	tick := d.s.cfg.Clock.NewTicker(diskEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C():
			d.look(ctx)
		}
	}
}

func (d *disk) look(ctx context.Context) {
	free, err := d.free(d.s.cfg.Dir)
	if err != nil {
		return // no figure, no verdict: etcd's own errors will tell
	}
	switch low := d.low.Load(); {
	case !low && free < diskFloor:
		d.low.Store(true)
		d.s.cfg.Log.Error("the disk is nearly full: no writes are taken until space is freed", "dir", d.s.cfg.Dir, "free_bytes", free)
		d.alarm(ctx, etcdserverpb.AlarmRequest_ACTIVATE)
	case low && free > diskFloor+diskFloor/2: // some distance, not to go back and forth
		d.alarm(ctx, etcdserverpb.AlarmRequest_DEACTIVATE)
		d.low.Store(false)
		d.s.cfg.Log.Info("the disk has space again: writes are taken", "free_bytes", free)
	}
}

func (d *disk) alarm(ctx context.Context, action etcdserverpb.AlarmRequest_AlarmAction) {
	_, err := d.s.etcd.Server.Alarm(ctx, &etcdserverpb.AlarmRequest{
		Action: action, MemberID: uint64(d.s.etcd.Server.MemberID()), Alarm: etcdserverpb.AlarmType_NOSPACE,
	})
	if err != nil && ctx.Err() == nil {
		d.s.cfg.Log.Warn("etcd: alarm", "action", action.String(), "error", err)
	}
}

// check is asked before each write.
func (d *disk) check() error {
	if !d.low.Load() {
		return nil
	}
	return &FullError{Message: fmt.Sprintf("The disk that holds %s has less than %d MiB free: free some space, and ekslocal takes writes again by itself.", d.s.cfg.Dir, diskFloor>>20)}
}

package embedded

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

const (
	// spareMarks is where the IDs of spares are in etcd, so that an emulator that
	// was killed leaves no data that belongs to nobody. The value names the owner:
	// several emulators may share one etcd.
	spareMarks = "/ekslocal-spares/"
	// spareDelay keeps the start of a new spare out of the way of the cluster that
	// has just been made.
	spareDelay = 3 * time.Second
	// spareRetry is the pause after a spare that did not start.
	spareRetry = 30 * time.Second
	// reservationTime is how long a reserved control plane waits for its Create.
	reservationTime = 2 * time.Minute
)

// spares are the control planes started ahead. Guarded by Backend.mu.
type spares struct {
	coming   bool              // one is on its way or ready
	ready    *spare            // nobody's yet
	reserved map[string]*spare // by ID
	// ended are former spares that are being deleted, by ID; closed when they are.
	ended map[string]chan struct{}
}

// spare is a child that runs without a public socket and without controllers.
type spare struct {
	spec controlplane.Spec
	proc *proc
	// taken is closed when it is reserved, claimed when a Create takes the child over.
	taken, claimed chan struct{}
}

// Reserve implements controlplane.Reserver.
func (b *Backend) Reserve(_ context.Context, version, serviceCIDR string) (controlplane.Reservation, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.spares.ready
	if s == nil || !s.proc.alive() || s.spec.Version != version || s.spec.ServiceCIDR != serviceCIDR {
		return controlplane.Reservation{}, false
	}
	b.spares.ready, b.spares.coming = nil, false
	if b.spares.reserved == nil {
		b.spares.reserved = map[string]*spare{}
	}
	b.spares.reserved[s.spec.ID] = s
	close(s.taken)
	return controlplane.Reservation{ID: s.spec.ID, Issuer: s.spec.Issuer, PKI: s.spec.PKI}, true
}

// claim returns the child that was reserved for spec, now the caller's, or nil.
// Without an error nothing of the spares will touch the control plane any more.
func (b *Backend) claim(ctx context.Context, spec controlplane.Spec) (*proc, error) {
	b.mu.Lock()
	s, ended := b.spares.reserved[spec.ID], b.spares.ended[spec.ID]
	if s != nil && fits(s.spec, spec) {
		delete(b.spares.reserved, spec.ID)
		close(s.claimed)
	}
	b.mu.Unlock()
	switch {
	case ended != nil: // reserved too long ago: let its data be deleted first
		select {
		case <-ended:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	case s != nil && !fits(s.spec, spec):
		return nil, errors.New("the control plane was reserved with another version, network, issuer or PKI")
	}
	// From here on the data is a cluster's; the mark, of whatever origin, would have
	// the next emulator delete it. If it cannot be removed now, a reservation stands.
	_, err := b.cfg.Etcd.Delete(ctx, spareMarks+spec.ID)
	switch {
	case err != nil && s != nil:
		b.mu.Lock()
		defer b.mu.Unlock()
		s.claimed = make(chan struct{})
		b.spares.reserved[spec.ID] = s
		claimed := s.claimed
		b.wg.Go(func() { b.guard(s, claimed) })
		return nil, fmt.Errorf("etcd: %w", err)
	case err != nil:
		return nil, fmt.Errorf("etcd: %w", err)
	case s == nil:
		return nil, nil
	}
	return s.proc, nil
}

func fits(spare, spec controlplane.Spec) bool {
	return spare.Version == spec.Version && spare.ServiceCIDR == spec.ServiceCIDR && spare.Issuer == spec.Issuer && spare.PKI.Equal(spec.PKI)
}

// wantSpare starts a spare in the background unless there is one.
func (b *Backend) wantSpare(delay time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cfg.SpareVersion == "" || b.closed || b.spares.coming {
		return
	}
	b.spares.coming = true
	b.wg.Go(func() { b.keepSpare(delay) })
}

// keepSpare starts one spare and looks after it until somebody claims it.
func (b *Backend) keepSpare(delay time.Duration) {
	if delay > 0 && !b.pause(delay) {
		return
	}
	s, err := b.startSpare()
	if err != nil {
		if b.life.Err() == nil {
			b.cfg.Log.Warn("control plane could not be started ahead", "error", err)
		}
		if b.pause(spareRetry) {
			b.mu.Lock()
			b.spares.coming = false
			b.mu.Unlock()
			b.wantSpare(0)
		}
		return
	}
	b.mu.Lock()
	b.spares.ready = s
	claimed := s.claimed
	b.mu.Unlock()
	b.guard(s, claimed)
}

// guard ends s with the backend, its process or its reservation, unless it is
// claimed before.
func (b *Backend) guard(s *spare, claimed <-chan struct{}) {
	taken, tooLate := s.taken, (<-chan time.Time)(nil)
	for {
		select {
		case <-taken:
			taken, tooLate = nil, b.cfg.Clock.After(reservationTime)
			continue
		case <-claimed:
			return
		case <-s.proc.exited:
		case <-b.life.Done():
		case <-tooLate:
		}
		if done := b.dropped(s); done != nil {
			s.proc.stop()
			b.deleteSpare(s.spec.ID)
			done()
		}
		return // or a Create was faster
	}
}

func (b *Backend) pause(d time.Duration) bool {
	select {
	case <-b.cfg.Clock.After(d):
		return true
	case <-b.life.Done():
		return false
	}
}

// dropped takes s off the books and orders another; done must be called once its
// data is deleted. It is nil if s was claimed.
func (b *Backend) dropped(s *spare) (done func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	id := s.spec.ID
	switch {
	case b.spares.ready == s:
		b.spares.ready, b.spares.coming = nil, false
	case b.spares.reserved[id] == s:
		delete(b.spares.reserved, id)
	default:
		return nil
	}
	if b.spares.ended == nil {
		b.spares.ended = map[string]chan struct{}{}
	}
	ended := make(chan struct{})
	b.spares.ended[id] = ended
	return func() {
		b.mu.Lock()
		delete(b.spares.ended, id)
		b.mu.Unlock()
		close(ended)
		b.wantSpare(spareDelay)
	}
}

func (b *Backend) startSpare() (*spare, error) {
	ctx, cancel := context.WithTimeout(b.life, startPatience)
	defer cancel()
	id := strings.ToUpper(awsid.Hex(32))
	pki, err := b.newPKI()
	if err != nil {
		return nil, err
	}
	s := &spare{taken: make(chan struct{}), claimed: make(chan struct{}), spec: controlplane.Spec{
		ID: id, Name: "spare", Version: b.cfg.SpareVersion, ServiceCIDR: b.cfg.SpareServiceCIDR, Issuer: b.cfg.SpareIssuer(id), PKI: pki,
	}}
	if _, err := b.cfg.Etcd.Put(ctx, spareMarks+id, b.owner()); err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	if s.proc, err = b.spawn(s.spec); err == nil {
		if err = s.proc.await(ctx, s.proc.ready, "ready"); err != nil {
			s.proc.stop()
		}
	}
	if err != nil {
		b.deleteSpare(id)
		return nil, err
	}
	return s, nil
}

func (b *Backend) newPKI() (controlplane.PKI, error) {
	ca, caKey, err := newAuthority("kubernetes", b.cfg.Clock.Now())
	if err != nil {
		return controlplane.PKI{}, err
	}
	sa, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return controlplane.PKI{}, err
	}
	saPEM := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(sa)})
	return controlplane.PKI{CACert: ca.certPEM, CAKey: caKey, SAKey: saPEM}, nil
}

func (b *Backend) owner() string {
	host, _ := os.Hostname()
	return host + ":" + b.cfg.RunDir
}

// deleteSpare also works while the backend is closing. What it cannot delete the
// next start will.
func (b *Backend) deleteSpare(id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.life), 5*time.Second)
	defer cancel()
	err := b.deleteData(ctx, id)
	if err == nil {
		_, err = b.cfg.Etcd.Delete(ctx, spareMarks+id)
	}
	if err != nil {
		b.cfg.Log.Warn("deleting a spare control plane", "error", err)
	}
}

// removeLostSpares deletes what spares of an emulator that was killed have left.
func (b *Backend) removeLostSpares() error {
	ctx, cancel := context.WithTimeout(b.life, startPatience)
	defer cancel()
	r, err := b.cfg.Etcd.Get(ctx, spareMarks, clientv3.WithPrefix())
	if err != nil {
		return fmt.Errorf("spare control planes: %w", err)
	}
	var errs []error
	for _, kv := range r.Kvs {
		id := strings.TrimPrefix(string(kv.Key), spareMarks)
		if string(kv.Value) != b.owner() || validateID(id) != nil {
			continue
		}
		if err := b.deleteData(ctx, id); err != nil {
			errs = append(errs, err)
			continue
		}
		if _, err := b.cfg.Etcd.Delete(ctx, string(kv.Key)); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Package kind runs each cluster's control plane in a container: a kind cluster of one
// node, made through kind's library on the Docker engine, which nodes with real pods
// can join.
package kind

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	"k8s.io/utils/clock"
	"k8s.io/utils/keymutex"
	"sigs.k8s.io/kind/pkg/cluster"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

// namePrefix begins the names of our kind clusters, the control plane's ID follows: a
// user's own cluster would have to be called so on purpose.
const namePrefix = "ekslocal-"

// Config is what a Backend needs. RunDir and Authenticator have no default.
type Config struct {
	// RunDir is for what is remembered of each control plane, a directory each. A
	// control plane without one is another emulator's.
	RunDir string
	// NodeImage is the image of every node, and with it the only Kubernetes version.
	// Default: kind's own images, see Versions.
	NodeImage string
	// Ephemeral removes what runs when the backend is closed.
	Ephemeral bool
	// ListenHost is the address at which the engine publishes API servers. Default
	// 127.0.0.1.
	ListenHost string
	// CertHosts are names and addresses for the serving certificates, besides
	// localhost and the cluster's own.
	CertHosts []string
	// Authenticator answers for AWS identities.
	Authenticator controlplane.Authenticator
	// HostResources lets nodes offer what this machine has, and not what their instance
	// types have.
	HostResources bool
	// Ended hears of machines that ended by themselves: somebody stopped the container,
	// or its init did.
	// It is called again after an error.
	Ended func(ctx context.Context, id, instanceID string) error
	// Lost hears of control planes whose container somebody removed: they do not run until
	// they are created again, empty. It must not wait for the backend.
	Lost func(ctx context.Context, id string)
	// Admitter answers EKS's own admission webhooks; nil: they fail.
	Admitter controlplane.Admitter
	// Usage is told of deprecated APIs that are called; nil: nobody.
	Usage controlplane.UsageRecorder
	// AWS answers AWS's clients in containers; nil: they are told that there is nothing.
	AWS http.Handler
	// Agents answers the agents of real nodes; nil: they fail.
	Agents controlplane.NodeAgents

	Log   *slog.Logger
	Clock clock.WithTicker
}

func (c *Config) complete() error {
	if c.RunDir == "" || c.Authenticator == nil {
		return errors.New("kind control planes need RunDir and Authenticator")
	}
	if c.ListenHost == "" {
		c.ListenHost = "127.0.0.1"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Ended == nil {
		c.Ended = func(context.Context, string, string) error { return nil }
	}
	if c.Lost == nil {
		c.Lost = func(context.Context, string) {}
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	return os.MkdirAll(c.RunDir, 0o700)
}

// Backend is a controlplane.Backend on the Docker engine. It asks the engine for
// nothing before the first control plane: an emulator without one starts all the same.
type Backend struct {
	cfg      Config
	engine   engine
	provider *cluster.Provider
	life     context.Context // ends with Close
	end      context.CancelFunc

	background sync.WaitGroup // ends with life

	mu        sync.Mutex
	planes    map[string]*plane
	closed    bool
	questions *questions // nil until the first control plane

	listening turn // held while questions are begun to be answered

	nodeImage imageVersion

	// networks are those of VPCs, by name: held while one is made, connected to or removed.
	networks keymutex.KeyMutex
}

var (
	_ controlplane.Backend = (*Backend)(nil)
	_ controlplane.Hoster  = (*Backend)(nil)
)

// New returns a backend that runs nothing. Control planes of an earlier one on the
// same RunDir may still run; Create takes them over.
func New(cfg Config) (*Backend, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	b := &Backend{
		cfg: cfg, engine: engine{log: cfg.Log}, planes: map[string]*plane{}, networks: keymutex.NewHashed(64), listening: newTurn(),
		provider: cluster.NewProvider(cluster.ProviderWithDocker(), cluster.ProviderWithLogger(kindLog{cfg.Log})),
	}
	b.life, b.end = context.WithCancel(context.Background())
	return b, nil
}

// Create implements controlplane.Backend. A control plane that runs already is left as
// it is, but for the address at which it asks the emulator.
func (b *Backend) Create(ctx context.Context, spec controlplane.Spec) (controlplane.Info, error) {
	if err := b.validate(spec); err != nil {
		return controlplane.Info{}, fmt.Errorf("control plane of cluster %s: %w", spec.Name, withMend(err))
	}
	p, err := b.plane(spec.ID)
	if err != nil {
		return controlplane.Info{}, err
	}
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	info, err := p.create(ctx, spec)
	if err != nil {
		return controlplane.Info{}, fmt.Errorf("control plane of cluster %s: %w", spec.Name, withMend(err))
	}
	return info, nil
}

// Get implements controlplane.Backend.
func (b *Backend) Get(ctx context.Context, id string) (controlplane.Info, error) {
	p := b.lookup(id)
	if p == nil {
		return controlplane.Info{}, fmt.Errorf("%w: %s", controlplane.ErrNotFound, id)
	}
	return p.get(ctx)
}

// Upgrade implements controlplane.Backend for other certificate authorities. Another
// version needs another node image, which kind cannot put under a cluster.
func (b *Backend) Upgrade(ctx context.Context, spec controlplane.Spec) (controlplane.Info, error) {
	p := b.lookup(spec.ID)
	if p == nil {
		return controlplane.Info{}, fmt.Errorf("%w: %s", controlplane.ErrNotFound, spec.ID)
	}
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	info, err := p.upgrade(ctx, spec)
	if err != nil {
		return controlplane.Info{}, fmt.Errorf("upgrading control plane of cluster %s: %w", spec.Name, err)
	}
	return info, nil
}

// Delete implements controlplane.Backend. It does not ask the engine about a control
// plane that is not this backend's.
func (b *Backend) Delete(ctx context.Context, id string) error {
	if err := validateID(id); err != nil {
		return err
	}
	if _, err := os.Stat(b.dir(id)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	p, err := b.plane(id)
	if err != nil {
		return err
	}
	if err := p.remove(ctx); err != nil {
		return fmt.Errorf("deleting control plane %s: %w", id, err)
	}
	return nil
}

// Usable tells why no control plane could be made here, as far as the engine can say.
func (b *Backend) Usable(ctx context.Context) error {
	_, err := b.engine.cgroupVersion(ctx)
	return err
}

// Endpoint is the URL of AWS's APIs for whatever runs in containers, empty before the
// first control plane.
func (b *Backend) Endpoint() string {
	q := b.asked()
	if q == nil {
		return ""
	}
	return q.endpoint()
}

// asked is nil until the first control plane.
func (b *Backend) asked() *questions {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.questions
}

// Versions implements controlplane.Backend.
func (b *Backend) Versions() []string { return b.versions() }

// Retain deletes the control planes in RunDir that are not known any more: of a state
// that was wiped, or of a create that nobody came back to.
func (b *Backend) Retain(ctx context.Context, known func(id string) bool) error {
	ids, err := b.remembered()
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		if !known(id) {
			b.cfg.Log.Info("removing a control plane that no cluster has", "id", id)
			errs = append(errs, b.Delete(ctx, id))
		}
	}
	return errors.Join(errs...)
}

// remembered are the control planes in RunDir.
func (b *Backend) remembered() ([]string, error) {
	entries, err := os.ReadDir(b.cfg.RunDir)
	var ids []string
	for _, e := range entries {
		if e.IsDir() && idForm.MatchString(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, err
}

// Close implements controlplane.Backend. It stops those too that nobody has asked for
// since an emulator crashed. The backend cannot be used afterwards.
func (b *Backend) Close() error {
	ids, err := b.remembered()
	if err != nil {
		b.cfg.Log.Warn("control planes that nobody asked for are not looked at", "error", err)
	}
	b.mu.Lock()
	b.closed = true
	var planes []*plane
	for _, p := range b.planes {
		planes = append(planes, p)
	}
	for _, id := range ids {
		if b.planes[id] == nil {
			planes = append(planes, newPlane(b, id))
		}
	}
	questions := b.questions
	b.mu.Unlock()
	b.end()
	errs := make([]error, len(planes)+1)
	var wg sync.WaitGroup
	for i, p := range planes {
		wg.Go(func() { errs[i] = p.end(b.cfg.Ephemeral) })
	}
	wg.Wait()
	b.background.Wait()
	if questions != nil {
		errs[len(planes)] = questions.close()
	}
	return errors.Join(errs...)
}

func (b *Backend) lookup(id string) *plane {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.planes[id]
}

// plane returns the record of the control plane, a new one if there is none.
func (b *Backend) plane(id string) (*plane, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, errors.New("control planes are shutting down")
	}
	p := b.planes[id]
	if p == nil {
		p = newPlane(b, id)
		b.planes[id] = p
	}
	return p, nil
}

func (b *Backend) forget(p *plane) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.planes[p.id] == p {
		delete(b.planes, p.id)
	}
}

// asking returns the server for the control planes' questions, which listens from
// then on.
func (b *Backend) asking(ctx context.Context) (*questions, error) {
	if err := b.listening.take(ctx); err != nil {
		return nil, err
	}
	defer b.listening.leave()
	if q := b.asked(); q != nil {
		return q, nil
	}
	q, err := listenForQuestions(ctx, b.cfg, b.engine) // asks the engine, and so not under mu
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, errors.Join(errors.New("control planes are shutting down"), q.close())
	}
	b.questions = q
	b.background.Go(func() { b.supervise(b.life) })
	return q, nil
}

func (b *Backend) dir(id string) string { return filepath.Join(b.cfg.RunDir, id) }

// bounded ends with ctx or with the backend.
func (b *Backend) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(b.life, cancel)
	return ctx, func() { stop(); cancel() }
}

var idForm = regexp.MustCompile(`^[0-9A-Fa-f]{32}$`)

func validateID(id string) error {
	if !idForm.MatchString(id) {
		return fmt.Errorf("control plane id %q is not 32 hexadecimal digits", id)
	}
	return nil
}

func (b *Backend) validate(spec controlplane.Spec) error {
	if err := validateID(spec.ID); err != nil {
		return err
	}
	service, err := netip.ParsePrefix(spec.ServiceCIDR)
	if err != nil {
		return fmt.Errorf("service network: %w", err)
	}
	if !service.Addr().Is4() {
		return errors.New("the kind backend has no IPv6 clusters yet")
	}
	if spec.Port <= 0 || spec.Port > 65535 {
		return fmt.Errorf("port %d is not a TCP port", spec.Port)
	}
	return nil
}

// Package embedded runs each cluster's control plane as a supervised child process
// of the emulator's own executable, on the emulator's etcd. It is the parent's
// side and links no Kubernetes server code; see package child for the other.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/logfile"
)

// What a cluster does with webhooks whose Service is backed by simulated pods.
const (
	// SkipWebhooks admits the object with a warning to the client.
	SkipWebhooks = "skip"
	// FailWebhooks fails the call at once, which the webhook's failurePolicy decides on.
	FailWebhooks = "fail"
)

// prefix is where the clusters' data are in etcd, each below its ID.
const prefix = "/ekslocal-clusters/"

// Config is what a Backend needs. Etcd, EtcdEndpoint, RunDir and Authenticator
// have no default.
type Config struct {
	// Executable becomes a control plane when started with ChildArg as its first
	// argument. Default: this process's own.
	Executable string
	// RunDir is for the children's certificates and logs, a directory each. What is
	// in it is made anew when missing.
	RunDir string
	// EtcdEndpoint is the URL at which children reach etcd, such as unix:///run/etcd.sock.
	EtcdEndpoint string
	// Etcd reaches the same etcd.
	Etcd *clientv3.Client
	// ListenHost is the address that API servers listen on. Default 127.0.0.1.
	ListenHost string
	// CertHosts are names and addresses for the serving certificates, besides
	// localhost and the cluster's own.
	CertHosts []string
	// Authenticator answers for AWS identities.
	Authenticator controlplane.Authenticator
	// Admitter answers EKS's own admission webhooks, Usage keeps what is reported of
	// deprecated APIs; nil ones do not.
	Admitter controlplane.Admitter
	Usage    controlplane.UsageRecorder
	// EgressSocket names the unix socket on which the data plane answers HTTP CONNECT
	// for a cluster's nodes, pods and services. It need not exist yet. Nil or an
	// empty name: the API server dials them itself.
	EgressSocket func(clusterID string) string
	// SimulatedWebhooks is SkipWebhooks (default) or FailWebhooks.
	SimulatedWebhooks string
	// SpareVersion and SpareServiceCIDR describe the control plane that is kept
	// started for the next cluster, see Reserve; SpareIssuer names its issuer. Empty: none.
	SpareVersion, SpareServiceCIDR string
	SpareIssuer                    func(clusterID string) string

	Log   *slog.Logger
	Clock clock.Clock
}

func (c *Config) complete() error {
	if c.Etcd == nil || c.EtcdEndpoint == "" || c.RunDir == "" || c.Authenticator == nil {
		return errors.New("embedded control planes need Etcd, EtcdEndpoint, RunDir and Authenticator")
	}
	if c.Executable == "" {
		exe, err := os.Executable()
		if err != nil {
			return fmt.Errorf("own executable: %w", err)
		}
		c.Executable = exe
	}
	if c.ListenHost == "" {
		c.ListenHost = "127.0.0.1"
	}
	switch c.SimulatedWebhooks {
	case "":
		c.SimulatedWebhooks = SkipWebhooks
	case SkipWebhooks, FailWebhooks:
	default:
		return fmt.Errorf("simulated webhooks can be %s or %s, not %q", SkipWebhooks, FailWebhooks, c.SimulatedWebhooks)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.SpareVersion != "" && (c.SpareServiceCIDR == "" || c.SpareIssuer == nil) {
		return errors.New("a spare control plane needs SpareServiceCIDR and SpareIssuer")
	}
	// Children have the same working directory, but messages should not depend on it.
	abs, err := filepath.Abs(c.RunDir)
	if err != nil {
		return err
	}
	c.RunDir = abs
	return os.MkdirAll(c.RunDir, 0o700)
}

// Backend is a controlplane.Backend and, if so configured, keeps a spare.
type Backend struct {
	cfg Config
	// life ends with Close, and with it everything in the background.
	life context.Context
	end  context.CancelFunc
	wg   sync.WaitGroup

	mu     sync.Mutex
	planes map[string]*plane
	closed bool
	spares spares
}

var (
	_ controlplane.Backend  = (*Backend)(nil)
	_ controlplane.Reserver = (*Backend)(nil)
	_ controlplane.Auditor  = (*Backend)(nil)
	_ controlplane.Tailer   = (*Backend)(nil)
)

// New returns a backend that runs nothing but, in the background, the spare. It
// removes the data of a spare that an earlier emulator left behind.
func New(cfg Config) (*Backend, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	b := &Backend{cfg: cfg, planes: map[string]*plane{}}
	b.life, b.end = context.WithCancel(context.Background())
	if err := errors.Join(b.removeLostKeys(), b.removeLostSpares()); err != nil {
		b.end()
		return nil, err
	}
	b.wantSpare(0)
	return b, nil
}

// Create implements controlplane.Backend. A control plane that runs already is
// left as it is, whatever its version: Upgrade changes that.
func (b *Backend) Create(ctx context.Context, spec controlplane.Spec) (controlplane.Info, error) {
	if err := validate(spec); err != nil {
		return controlplane.Info{}, err
	}
	warm, err := b.claim(ctx, spec)
	if err != nil {
		return controlplane.Info{}, fmt.Errorf("control plane of cluster %s: %w", spec.Name, err)
	}
	for {
		info, err := b.create(ctx, spec, warm)
		switch {
		case err == nil:
			b.wantSpare(spareDelay)
			return info, nil
		case errors.Is(err, errRemoved): // a Delete came in between
		case warm != nil && ctx.Err() == nil:
			b.cfg.Log.Warn("control plane started ahead did not take over", "cluster", spec.Name, "error", err)
		default:
			return controlplane.Info{}, fmt.Errorf("control plane of cluster %s: %w", spec.Name, err)
		}
		if warm != nil {
			warm.stop()
			warm = nil
		}
	}
}

func (b *Backend) create(ctx context.Context, spec controlplane.Spec, warm *proc) (controlplane.Info, error) {
	p, err := b.plane(spec.ID)
	if err != nil {
		return controlplane.Info{}, err
	}
	return p.create(ctx, spec, warm)
}

// Get implements controlplane.Backend. While a crashed control plane is being
// restarted its PID is 0.
func (b *Backend) Get(_ context.Context, id string) (controlplane.Info, error) {
	p := b.lookup(id)
	if p == nil {
		return controlplane.Info{}, fmt.Errorf("%w: %s", controlplane.ErrNotFound, id)
	}
	return p.info()
}

// Upgrade implements controlplane.Backend. Version and PKI may be the running ones.
func (b *Backend) Upgrade(ctx context.Context, spec controlplane.Spec) (controlplane.Info, error) {
	if err := validate(spec); err != nil {
		return controlplane.Info{}, err
	}
	p := b.lookup(spec.ID)
	if p == nil {
		return controlplane.Info{}, fmt.Errorf("%w: %s", controlplane.ErrNotFound, spec.ID)
	}
	info, err := p.upgrade(ctx, spec)
	if errors.Is(err, errRemoved) {
		err = controlplane.ErrNotFound
	}
	if err != nil {
		return controlplane.Info{}, fmt.Errorf("upgrading control plane of cluster %s to %s: %w", spec.Name, spec.Version, err)
	}
	return info, nil
}

// Delete implements controlplane.Backend.
func (b *Backend) Delete(ctx context.Context, id string) error {
	if err := validateID(id); err != nil {
		return err
	}
	for {
		p, err := b.plane(id)
		if err != nil {
			return err
		}
		err = p.remove(ctx)
		if errors.Is(err, errRemoved) {
			continue // another came first; there may be a new one by now
		}
		if err != nil {
			return fmt.Errorf("deleting control plane %s: %w", id, err)
		}
		return nil
	}
}

// Logs implements controlplane.Backend. The reader answers io.EOF at the end of
// what was logged so far; reading again then answers what came since.
func (b *Backend) Logs(_ context.Context, id string, s controlplane.LogStream) (io.ReadCloser, error) {
	if err := validateID(id); err != nil {
		return nil, err
	}
	dir := b.dir(id)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", controlplane.ErrNotFound, id)
	}
	return logfile.OpenReader(filepath.Join(dir, LogFile(s)))
}

// Audit implements controlplane.Auditor.
func (b *Backend) Audit(_ context.Context, id string, full bool) error {
	p := b.lookup(id)
	if p == nil {
		return fmt.Errorf("%w: %s", controlplane.ErrNotFound, id)
	}
	p.setAudit(full)
	return nil
}

// Tail implements controlplane.Tailer.
func (b *Backend) Tail(_ context.Context, id string, s controlplane.LogStream, position string) (controlplane.Tail, error) {
	if err := validateID(id); err != nil {
		return nil, err
	}
	dir := b.dir(id)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", controlplane.ErrNotFound, id)
	}
	return logfile.OpenTail(logfile.Plain(filepath.Join(dir, LogFile(s))), position)
}

// Versions implements controlplane.Backend.
func (b *Backend) Versions() []string {
	v := make([]string, len(releases))
	for i, r := range releases {
		v[i] = r.minor
	}
	return v
}

// GitVersion is what a control plane of that minor version reports.
func (b *Backend) GitVersion(minor string) (string, error) { return gitVersion(minor) }

// Close implements controlplane.Backend. The backend cannot be used afterwards.
func (b *Backend) Close() error {
	b.mu.Lock()
	b.closed = true
	planes := make([]*plane, 0, len(b.planes))
	for _, p := range b.planes {
		planes = append(planes, p)
	}
	b.mu.Unlock()
	b.end()
	var wg sync.WaitGroup
	for _, p := range planes {
		wg.Go(p.stop)
	}
	wg.Wait()
	b.wg.Wait() // spares end with b.life, and delete what they have
	return nil
}

func (b *Backend) lookup(id string) *plane {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.planes[id]
	if p == nil || !p.exists() {
		return nil
	}
	return p
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

func (b *Backend) dir(id string) string { return filepath.Join(b.cfg.RunDir, id) }

func etcdPrefix(id string) string { return prefix + id }

func (b *Backend) deleteData(ctx context.Context, id string) error {
	_, err := b.cfg.Etcd.Delete(ctx, etcdPrefix(id)+"/", clientv3.WithPrefix())
	if err != nil {
		return fmt.Errorf("deleting data: %w", err)
	}
	return os.RemoveAll(b.dir(id))
}

var idForm = regexp.MustCompile(`^[0-9A-Fa-f]{32}$`)

func validateID(id string) error {
	if !idForm.MatchString(id) {
		return fmt.Errorf("control plane id %q is not 32 hexadecimal digits", id)
	}
	return nil
}

func validate(spec controlplane.Spec) error {
	if err := validateID(spec.ID); err != nil {
		return err
	}
	if _, err := gitVersion(spec.Version); err != nil {
		return err
	}
	if _, err := apiServiceAddress(spec.ServiceCIDR); err != nil {
		return err
	}
	if spec.Port <= 0 || spec.Port > 65535 {
		return fmt.Errorf("port %d of control plane %s is not a TCP port", spec.Port, spec.ID)
	}
	return nil
}

// startPatience bounds one child's start.
const startPatience = 60 * time.Second

// bounded ends with ctx, the backend or startPatience.
func (b *Backend) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	stop := context.AfterFunc(b.life, cancel)
	return ctx, func() { stop(); cancel() }
}

package kind

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/kind/pkg/cluster"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

// plane is one control plane.
type plane struct {
	b  *Backend
	id string

	work      turn // held by whoever changes the control plane
	providing turn // held by whoever changes the nodes' images
	making    turn // held while kind's library works
	care      care
	logs      logReader

	mu      sync.Mutex
	running bool // it was seen ready, and nothing has stopped it since
	spec    controlplane.Spec
	info    controlplane.Info

	stirred time.Time // when the container was last told to stop, or ended

	guests *guests
	// networkSum is the VPC's network as this process has connected the control plane to
	// it. It belongs to whoever holds the network's lock.
	networkSum string
}

func newPlane(b *Backend, id string) *plane {
	return &plane{b: b, id: id, work: newTurn(), providing: newTurn(), making: newTurn(), guests: newGuests()}
}

// record is what is remembered of a control plane across restarts of the emulator.
type record struct {
	// Secret proves that a question comes from this control plane.
	Secret string
	// Data is the name of what the container holds: each that is made has another.
	Data string
	// Engine is the id of the engine that has the container; empty with those of earlier
	// emulators.
	Engine string
	// Made: kubeadm has come to its end. A node without it is of a create that was
	// killed, and holds nothing that anybody was told of.
	Made bool
	// Files is the sum of the files with which the components run, empty while they are
	// given others.
	Files string
	// Issued is the sum of the authority from which the components' certificates were
	// issued, empty while they are issued again.
	Issued string
	// Relay is that of the relay.
	Relay string
}

func (p *plane) recordFile() string { return filepath.Join(p.b.dir(p.id), "record.json") }

// load returns a new record if there is none.
func (p *plane) load() (record, error) {
	r := record{}
	raw, err := os.ReadFile(p.recordFile())
	if errors.Is(err, fs.ErrNotExist) {
		r.Secret = rand.Text()
		return r, p.save(r)
	}
	if err == nil {
		err = json.Unmarshal(raw, &r)
	}
	if err != nil {
		return r, fmt.Errorf("record: %w", err)
	}
	return r, nil
}

func (p *plane) save(r record) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(p.b.dir(p.id), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(p.recordFile()+".new", raw, 0o600); err != nil {
		return err
	}
	return os.Rename(p.recordFile()+".new", p.recordFile())
}

// create makes the control plane run.
func (p *plane) create(ctx context.Context, spec controlplane.Spec) (controlplane.Info, error) {
	if err := p.work.take(ctx); err != nil {
		return controlplane.Info{}, err
	}
	defer p.work.leave()
	if info, ok := p.seen(); ok {
		return info, nil
	}
	p.readmit()
	engine, node := p.b.engine, nodeName(p.id)
	c, err := engine.inspect(ctx, node)
	if err != nil {
		return controlplane.Info{}, err
	}
	r, err := p.load()
	if err != nil {
		return controlplane.Info{}, err
	}
	q, err := p.b.asking(ctx)
	if err != nil {
		return controlplane.Info{}, err
	}
	if err := q.answer(p.id, r.Secret); err != nil {
		return controlplane.Info{}, err
	}
	ask := q.address(p.id, r.Secret)
	switch {
	case c != nil && r.Made:
		err = p.takeOver(ctx, c, spec, r, ask)
	default:
		if r.Made {
			if err := p.certainlyGone(ctx); err != nil {
				return controlplane.Info{}, err
			}
			p.b.cfg.Log.Warn("the container of a control plane is gone, and its data with it: it is made anew", "cluster", spec.Name)
		}
		r = record{Secret: r.Secret, Data: rand.Text()}
		if err := p.save(r); err != nil {
			return controlplane.Info{}, err
		}
		err = p.make(ctx, spec, r, ask)
	}
	if err != nil {
		return controlplane.Info{}, err
	}
	return p.ready(ctx, spec)
}

// setUpPatience bounds kubeadm, which takes ten seconds and gives up by itself after
// four minutes for most reasons.
const setUpPatience = 6 * time.Minute

// kindToken is the id of the bootstrap token that kind has kubeadm make.
const kindToken = "abcdef"

// direct runs a program without the proxy that nodes have from the engine's user, for
// their images. kubeadm hands its own on to the API server, which would look behind it
// for the emulator, kubelets and pods: kind excepts no more than its own network.
var direct = []string{"env", "-u", "HTTP_PROXY", "-u", "HTTPS_PROXY", "-u", "http_proxy", "-u", "https_proxy"}

// make makes the control plane from nothing, and leaves nothing if it cannot.
func (p *plane) make(ctx context.Context, spec controlplane.Spec, r record, ask address) (err error) {
	if err := p.removeNodes(ctx); err != nil { // of a create that was killed
		return err
	}
	defer func() {
		if err == nil {
			return
		}
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, p.settled(after), p.removeNodes(after))
	}()
	engine, node := p.b.engine, nodeName(p.id)
	if err := usualNetwork(os.Getenv(networkVariable)); err != nil {
		return err
	}
	image, err := p.b.imageFor(ctx, spec.Version)
	if err != nil {
		return err
	}
	cgroup, err := engine.cgroupVersion(ctx)
	if err != nil {
		return err
	}
	config, err := clusterConfig(spec, image, p.b.cfg, cgroup)
	if err != nil {
		return err
	}
	f, err := controlPlaneFiles(spec, ask)
	if err != nil {
		return err
	}
	err = p.unattended(ctx, func() error {
		return p.b.provider.Create(clusterName(p.id), cluster.CreateWithV1Alpha4Config(config), cluster.CreateWithRetain(true),
			cluster.CreateWithStopBeforeSettingUpKubernetes(true), cluster.CreateWithKubeconfigPath(filepath.Join(p.b.dir(p.id), "kubeconfig")))
	})
	if err != nil {
		return fmt.Errorf("making the node: %w", explained(err))
	}
	if err := engine.put(ctx, node, f); err != nil {
		return err
	}
	if err := p.haveRelay(ctx, &r); err != nil {
		return err
	}
	setUp, cancel := context.WithTimeout(ctx, setUpPatience)
	defer cancel()
	args := append(append([]string{"exec", node}, direct...), "kubeadm", "init", "--config=/kind/kubeadm.conf", "--skip-token-print", "--skip-phases="+skipped)
	if out, err := engine.run(setUp, nil, args...); err != nil {
		p.b.cfg.Log.Warn("kubeadm failed", "cluster", spec.Name, "error", err, "output", out)
		return fmt.Errorf("setting up Kubernetes: %w", err)
	}
	if err := p.hide(ctx); err != nil {
		return err
	}
	// kind's token is the same everywhere and known to everybody: with it any pod could
	// become a node.
	if _, err := engine.run(ctx, nil, "exec", node, "kubeadm", "token", "delete", kindToken, "--kubeconfig=/etc/kubernetes/admin.conf"); err != nil {
		return fmt.Errorf("removing kind's bootstrap token: %w", err)
	}
	if r.Engine, err = engine.id(ctx); err != nil {
		return err
	}
	r.Made, r.Files, r.Issued = true, f.sum(), f.authority()
	return p.save(r)
}

// takeOver starts what an earlier emulator made, if it does not run, with the files
// that it must have now: the emulator may have moved.
func (p *plane) takeOver(ctx context.Context, c *container, spec controlplane.Spec, r record, ask address) error {
	if !c.State.Running {
		// Not the machines: which of them should run, their instances say.
		if _, err := p.b.engine.run(ctx, nil, "start", nodeName(p.id)); err != nil {
			return err
		}
	}
	f, err := controlPlaneFiles(spec, ask)
	if err != nil {
		return err
	}
	had := r
	if r.Engine, err = p.b.engine.id(ctx); err != nil {
		return err
	}
	if err := p.haveRelay(ctx, &r); err != nil {
		return err
	}
	switch {
	case f.sum() != r.Files:
		return p.apply(ctx, spec, f, r)
	case r != had:
		return p.save(r)
	}
	return nil
}

// ready waits for the API server and remembers what runs.
func (p *plane) ready(ctx context.Context, spec controlplane.Spec) (controlplane.Info, error) {
	admin, err := p.b.admin(spec)
	if err != nil {
		return controlplane.Info{}, err
	}
	version, err := p.b.awaitAPI(ctx, admin)
	if err != nil {
		return controlplane.Info{}, err
	}
	r, err := p.load()
	if err != nil {
		return controlplane.Info{}, err
	}
	info := controlplane.Info{GitVersion: version, Admin: admin, StartedAt: p.b.cfg.Clock.Now(), Data: r.Data}
	if info.PID, info.RSS, err = p.b.engine.process(ctx, nodeName(p.id), apiServer); err != nil {
		return controlplane.Info{}, err
	}
	p.mu.Lock()
	p.running, p.spec, p.info = true, spec, info
	p.mu.Unlock()
	info, _ = p.seen()
	return info, nil
}

// apiServer is the program's name.
const apiServer = "kube-apiserver"

// seen returns what ready remembered, a copy that the caller may change.
func (p *plane) seen() (controlplane.Info, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running {
		return controlplane.Info{}, false
	}
	info := p.info
	info.Admin = rest.CopyConfig(info.Admin)
	return info, true
}

func (p *plane) get(ctx context.Context) (controlplane.Info, error) {
	info, ok := p.seen()
	if !ok {
		return info, fmt.Errorf("%w: %s", controlplane.ErrNotFound, p.id)
	}
	var err error
	if info.PID, info.RSS, err = p.b.engine.process(ctx, nodeName(p.id), apiServer); err != nil {
		p.b.cfg.Log.Debug("control plane's process", "id", p.id, "error", err)
	}
	return info, nil
}

// end stops the nodes and leaves them as they are, or removes them.
func (p *plane) end(ephemeral bool) error {
	if !ephemeral {
		return p.stop()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return p.remove(ctx)
}

// stop leaves the nodes as they are, but not running.
func (p *plane) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := p.work.take(ctx); err != nil {
		return err
	}
	defer p.work.leave()
	p.evict()
	if err := p.settled(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	was := p.running
	p.running = false
	p.mu.Unlock()
	// Also what nobody has come to see run: a crash leaves nodes running, and who starts
	// some may be told to end before they are ready.
	names, err := p.b.engine.running(ctx, clusterName(p.id))
	if !was && errors.Is(err, ErrNoEngine) {
		return nil // what is not there runs nothing
	}
	if err != nil || len(names) == 0 {
		return err
	}
	return p.b.engine.end(ctx, names, "stop", "-t", "10")
}

func (p *plane) remove(ctx context.Context) error {
	if err := p.work.take(ctx); err != nil {
		return err
	}
	defer p.work.leave()
	p.evict() // or create would let in who makes what is about to be removed
	if err := p.settled(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	p.running = false
	p.mu.Unlock()
	if err := p.removeNodes(ctx); err != nil {
		return err
	}
	p.b.mu.Lock()
	q := p.b.questions
	p.b.mu.Unlock()
	if q != nil {
		q.forget(p.id)
	}
	p.b.forget(p)
	return os.RemoveAll(p.b.dir(p.id))
}

// removeNodes removes the control plane and its machines, which are nothing without it,
// and the network that only they were in.
func (p *plane) removeNodes(ctx context.Context) error {
	names, err := p.b.engine.nodes(ctx, clusterName(p.id))
	if err != nil {
		return err
	}
	if err := p.b.engine.removeContainers(ctx, names); err != nil {
		return err
	}
	return p.forgetMachines(ctx)
}

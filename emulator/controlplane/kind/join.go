package kind

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

// join makes a machine run and be a node. Whoever calls it has the machine.
func (p *plane) join(ctx context.Context, g *guest, m controlplane.Machine) error {
	if was, runs := g.seen(); runs && slices.Equal(was.VPC.CIDRs, m.VPC.CIDRs) {
		return nil
	}
	q, err := p.b.asking(ctx)
	if err != nil {
		return err
	}
	if err := p.b.engine.overlap(ctx, m.VPC, q.host()); err != nil {
		return err
	}
	g.left = false
	r, _, err := p.loadMachine(m.InstanceID)
	if err != nil {
		return err
	}
	c, err := p.b.engine.inspect(ctx, machineName(p.id, m.InstanceID))
	if err != nil {
		return err
	}
	images, err := p.images()
	if err != nil {
		return err
	}
	if c != nil && r.Joined {
		err = p.resume(ctx, c, m, r, images)
	} else {
		err = p.makeMachine(ctx, m, images)
	}
	if err != nil {
		return err
	}
	return p.arrive(ctx, g, m, images)
}

// resume makes a machine run that has joined before, in the VPC as it is now. The Node of
// one that runs already is not waited for: a kubelet registers when it starts, and one
// that somebody has deleted since stays away until then, as on EKS.
func (p *plane) resume(ctx context.Context, c *container, m controlplane.Machine, r machineRecord, images []string) error {
	if err := p.attach(ctx, c, m); err != nil {
		return err
	}
	if !c.State.Running {
		if _, err := p.b.engine.run(ctx, nil, "start", c.Name); err != nil {
			return err
		}
		if err := p.b.engine.awaitRuntime(ctx, c.Name); err != nil {
			return err
		}
	}
	// The emulator may have moved, or be another version, since the node was equipped.
	if err := p.equip(ctx, c.Name, m, images); err != nil {
		return fmt.Errorf("equipping the node: %w", err)
	}
	if err := p.trust(ctx, c.Name, m, r); err != nil || c.State.Running {
		return err
	}
	return p.awaitNode(ctx, m)
}

// makeMachine makes a machine from nothing, and leaves nothing if it cannot.
func (p *plane) makeMachine(ctx context.Context, m controlplane.Machine, images []string) (err error) {
	engine, name := p.b.engine, machineName(p.id, m.InstanceID)
	if err := engine.removeContainers(ctx, []string{name}); err != nil && !absent(err) { // of a join that was killed
		return err
	}
	r := machineRecord{Network: vpcNetwork(m.VPC.ID)}
	if err := p.saveMachine(m.InstanceID, r); err != nil {
		return err
	}
	defer func() {
		if err == nil {
			return
		}
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if left := engine.removeContainers(after, []string{name}); left != nil && !absent(left) {
			err = errors.Join(err, left)
		}
	}()
	model, err := engine.inspect(ctx, nodeName(p.id))
	if err != nil {
		return err
	}
	if model == nil {
		return fmt.Errorf("%w: its container is gone", controlplane.ErrNotFound)
	}
	if _, err := engine.run(ctx, nil, machineArgs(p.id, m, model)...); err != nil {
		return err
	}
	if err := p.attach(ctx, &container{Name: name}, m); err != nil {
		return err
	}
	if err := engine.copyInto(ctx, name, runtimeFiles()); err != nil {
		return err
	}
	if _, err := engine.run(ctx, nil, "start", name); err != nil {
		return err
	}
	if err := engine.awaitRuntime(ctx, name); err != nil {
		return err
	}
	if err := p.equip(ctx, name, m, images); err != nil {
		return fmt.Errorf("equipping the node: %w", err)
	}
	r.Authority = p.authority() // there may be another before kubeadm has ended
	if err := p.kubeadm(ctx, name, m); err != nil {
		return err
	}
	r.Joined = true
	return p.saveMachine(m.InstanceID, r)
}

// machineArgs make a container as kind makes a worker's, with what kind found necessary
// on this engine: that is seen on the control plane's container, the model.
func machineArgs(id string, m controlplane.Machine, model *container) []string {
	args := []string{"create", "--tty", "--name", machineName(id, m.InstanceID), "--hostname", m.NodeName,
		"--label", labelCluster + "=" + clusterName(id), "--label", labelRole + "=" + roleWorker, "--label", labelInstance + "=" + m.InstanceID,
		"--privileged", "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined",
		"--tmpfs", "/tmp", "--tmpfs", "/run", "--volume", "/var", "--net", kindNetwork, "--restart=on-failure:1", "--init=false", "--cgroupns=private",
	}
	if model.HostConfig.UsernsMode != "" {
		args = append(args, "--userns="+model.HostConfig.UsernsMode)
	}
	for _, b := range model.HostConfig.Binds {
		args = append(args, "--volume", b)
	}
	for _, d := range model.HostConfig.Devices {
		args = append(args, "--device", d.PathOnHost)
	}
	for _, e := range model.Config.Env {
		switch name, _, _ := strings.Cut(e, "="); name {
		case "PATH", "container", "KUBECONFIG": // the image's, and the control plane's alone
		default:
			args = append(args, "--env", e)
		}
	}
	return append(args, model.Image)
}

// awaitRuntime waits until the container runtime of a node answers.
func (e engine) awaitRuntime(ctx context.Context, container string) error {
	const script = "for i in $(seq 600); do ctr --connect-timeout 1s version >/dev/null 2>&1 && exit 0; sleep 0.1; done; exit 1"
	if _, err := e.run(ctx, nil, "exec", container, "sh", "-c", script); err != nil {
		return fmt.Errorf("the container runtime of the node does not start: %w%s", err, e.lastWords(ctx, container))
	}
	return nil
}

// lastWords is what a node said before it failed, and what to do about the one reason
// that is the machine's.
func (e engine) lastWords(ctx context.Context, container string) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	out, err := e.run(ctx, nil, "logs", "--tail", "20", container)
	if err != nil {
		return ""
	}
	return complaint(out)
}

func complaint(log string) string {
	said := lastLines(log, 2)
	switch {
	case strings.Contains(strings.ToLower(log), "too many open files"):
		return "; the machine is out of inotify instances: sysctl fs.inotify.max_user_instances=512"
	case said == "":
		return ""
	}
	return "; the node says: " + said
}

// kubeadm makes a node of a machine.
func (p *plane) kubeadm(ctx context.Context, container string, m controlplane.Machine) error {
	client, spec, err := p.client()
	if err != nil {
		return err
	}
	// What an instance with this address, or an earlier try, has left: kubeadm does not
	// join under the name of a node that seems Ready, and the kubelet would not correct
	// its provider id.
	if err := client.CoreV1().Nodes().Delete(ctx, m.NodeName, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	patch, err := p.kubeletPatch(ctx, container, m)
	if err != nil {
		return err
	}
	tok := newBootstrapToken()
	secret := tok.secret(p.b.cfg.Clock.Now())
	if _, err := client.CoreV1().Secrets(metav1.NamespaceSystem).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("bootstrap token: %w", err)
	}
	defer func() { // what is left expires
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = client.CoreV1().Secrets(metav1.NamespaceSystem).Delete(after, secret.Name, metav1.DeleteOptions{})
	}()
	f, err := joinFiles(kubeadmVersion(spec.Version), tok, nodeName(p.id), spec.PKI, m, patch)
	if err != nil {
		return err
	}
	if err := p.b.engine.put(ctx, container, f); err != nil {
		return err
	}
	out, err := p.b.engine.run(ctx, nil, "exec", container, "kubeadm", "join", "--config", joinFile)
	if err == nil {
		return p.awaitNode(ctx, m)
	}
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	log, _ := p.b.engine.run(after, nil, "exec", container, "journalctl", "-u", "kubelet", "--no-pager", "-o", "cat", "-n", "60")
	p.b.cfg.Log.Warn("a machine did not join", "instance", m.InstanceID, "error", err, "output", out, "kubelet", log)
	if strings.Contains(log, "too many open files") {
		err = fmt.Errorf("%w%s", err, complaint(log))
	} else if word := kubeletWord(log); word != "" {
		err = fmt.Errorf("%w; the kubelet says: %s", err, word)
	}
	return fmt.Errorf("joining the cluster: %w", err)
}

// kubeletWord is the last complaint in a kubelet's log.
func kubeletWord(log string) string {
	var word string
	for line := range strings.Lines(log) {
		line = strings.TrimSpace(line)
		if strings.Contains(line, "err=") || strings.HasPrefix(line, "Error:") || strings.Contains(line, "command failed") {
			word = line
		}
	}
	if i := strings.Index(word, "] "); i >= 0 && len(word) > 0 && strings.IndexByte("EFWI", word[0]) >= 0 {
		word = word[i+2:]
	}
	return word[:min(len(word), 400)]
}

// awaitNode waits until the API server has the machine's Node.
func (p *plane) awaitNode(ctx context.Context, m controlplane.Machine) error {
	client, _, err := p.client()
	if err != nil {
		return err
	}
	tick := p.b.cfg.Clock.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		n, err := client.CoreV1().Nodes().Get(ctx, m.NodeName, metav1.GetOptions{})
		if err == nil && n.Spec.ProviderID == m.ProviderID {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("its provider id is %q and not %s", n.Spec.ProviderID, m.ProviderID)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("node %s does not register: %w", m.NodeName, errors.Join(ctx.Err(), err))
		case <-tick.C():
		}
	}
}

// client has full rights on the control plane as it was last seen.
func (p *plane) client() (kubernetes.Interface, controlplane.Spec, error) {
	info, ok := p.seen()
	if !ok {
		return nil, controlplane.Spec{}, fmt.Errorf("%w: %s", controlplane.ErrNotFound, p.id)
	}
	p.mu.Lock()
	spec := p.spec
	p.mu.Unlock()
	cfg := rest.CopyConfig(info.Admin)
	cfg.QPS, cfg.Timeout = -1, 10*time.Second
	client, err := kubernetes.NewForConfig(cfg)
	return client, spec, err
}

package kind

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/nodeagent/binaries"
	"github.com/ekslocal/ekslocal/emulator/nodeagent/protocol"
	"github.com/ekslocal/ekslocal/emulator/nodeagent/registry"
)

// agentUnit is the agent's service on a node.
const agentUnit = `[Unit]
Description=ekslocal's agent: what stands in AWS's place on this node
After=network.target
StartLimitIntervalSec=0
[Service]
ExecStart=` + protocol.Program + ` host
Restart=always
RestartSec=1
OOMScoreAdjust=-900
[Install]
WantedBy=multi-user.target
`

// The files of an equipped node, besides the agent's own.
const (
	agentSum  = "/opt/ekslocal/sum"
	agentFile = "/etc/systemd/system/ekslocal-node.service"
	mirrors   = "/etc/containerd/certs.d"
)

// equipScript makes a node what its files say. It runs with them in place, and again
// changes nothing that is so already.
//
//go:embed equip.sh
var equipScript string

// containerdScript has the container runtime read where to ask for images from files of
// their own, which it does not by itself. It runs before the runtime starts: a restart
// would break off the loading of a node image's own images.
const containerdScript = `if ! grep -q ` + mirrors + ` /etc/containerd/config.toml; then
	plugin=io.containerd.grpc.v1.cri
	if grep -q '^version = 3' /etc/containerd/config.toml; then plugin=io.containerd.cri.v1.images; fi
	printf '\n[plugins."%s".registry]\n  config_path = "` + mirrors + `"\n' "$plugin" >>/etc/containerd/config.toml
fi
`

// runtimeFiles are a machine's before it starts for the first time.
func runtimeFiles() files {
	const script = filesDir + "/containerd.sh"
	return files{
		script: []byte(containerdScript),
		"/etc/systemd/system/containerd.service.d/20-ekslocal.conf": []byte("[Service]\nExecStartPre=/bin/sh " + script + "\n"),
	}
}

// equip gives a node what stands for AWS's software there, and the images that nodes have.
func (p *plane) equip(ctx context.Context, container string, m controlplane.Machine, images []string) error {
	f, err := p.nodeFiles(ctx, m)
	if err != nil {
		return err
	}
	maps.Copy(f, mirrorFiles(images))
	program, sum, err := p.agent(ctx, container)
	if err != nil {
		return err
	}
	if program != nil {
		f[protocol.Program+".new"], f[agentSum+".new"] = program, []byte(sum+"\n")
	}
	if err := p.b.engine.put(ctx, container, f); err != nil {
		return err
	}
	args := append([]string{"exec", container, "sh", "-c", equipScript, "equip"}, aliases(images)...)
	if _, err := p.b.engine.run(ctx, nil, args...); err != nil {
		return err
	}
	return p.b.engine.awaitRuntime(ctx, container)
}

// nodeFiles say whom the node's agent asks.
func (p *plane) nodeFiles(ctx context.Context, m controlplane.Machine) (files, error) {
	r, err := p.load()
	if err != nil {
		return nil, err
	}
	q, err := p.b.asking(ctx)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	port := p.spec.Port
	p.mu.Unlock()
	raw, err := json.Marshal(protocol.Config{
		URL: q.nodeURL(p.id, r.Secret, m.InstanceID), PrivateIP: m.PrivateIP,
		Relay: map[string]string{"127.0.0.1:" + strconv.Itoa(port): nodeName(p.id) + ":6443"},
	})
	if err != nil {
		return nil, err
	}
	return files{protocol.ConfigFile: raw, agentFile: []byte(agentUnit)}, nil
}

// agent is the program for a node, nil if the node has it.
func (p *plane) agent(ctx context.Context, container string) (program []byte, sum string, err error) {
	out, err := p.b.engine.run(ctx, nil, "exec", container, "sh", "-c", "uname -m; cat "+agentSum+" 2>/dev/null || true")
	if err != nil {
		return nil, "", err
	}
	seen := strings.Fields(out)
	if len(seen) == 0 {
		return nil, "", errors.New("the node does not say what machine it is")
	}
	arch := map[string]string{"x86_64": "amd64", "aarch64": "arm64"}[seen[0]]
	if arch == "" {
		arch = seen[0]
	}
	if program, err = binaries.Agent(arch); err != nil {
		return nil, "", err
	}
	hash := sha256.Sum256(program)
	if sum = hex.EncodeToString(hash[:]); len(seen) > 1 && seen[1] == sum {
		return nil, sum, nil
	}
	return program, sum, nil
}

func (p *plane) imagesFile() string { return filepath.Join(p.b.dir(p.id), "images.json") }

// images are those that Provide was told of.
func (p *plane) images() ([]string, error) {
	raw, err := os.ReadFile(p.imagesFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []string
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	if err != nil {
		return nil, fmt.Errorf("images of the nodes: %w", err)
	}
	return out, nil
}

// Provide implements controlplane.Hoster.
func (b *Backend) Provide(ctx context.Context, id string, images []string) error {
	p := b.lookup(id)
	if p == nil || !p.isRunning() {
		return fmt.Errorf("images: %w: %s", controlplane.ErrNotFound, id)
	}
	images = slices.DeleteFunc(slices.Clone(images), func(i string) bool { return !provided(i) })
	if err := p.providing.take(ctx); err != nil {
		return fmt.Errorf("images: %w", err)
	}
	defer p.providing.leave()
	had, err := p.images()
	if err != nil {
		return err
	}
	all := slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(had), images...))))
	if slices.Equal(all, had) {
		return nil
	}
	raw, err := json.Marshal(all)
	if err != nil {
		return err
	}
	// The nodes first: a new list that none of them knows would never come to them.
	for _, instance := range p.runningGuests() {
		if err := p.withImages(ctx, machineName(id, instance), all); err != nil {
			return fmt.Errorf("images of instance %s: %w", instance, err)
		}
	}
	if err := os.WriteFile(p.imagesFile()+".new", raw, 0o600); err != nil {
		return err
	}
	return os.Rename(p.imagesFile()+".new", p.imagesFile())
}

// arrive makes a machine one that runs. The nodes may have got other images than those
// it was equipped with, and other authorities to trust, while it did not count as one of
// them.
func (p *plane) arrive(ctx context.Context, g *guest, m controlplane.Machine, had []string) error {
	if err := p.providing.take(ctx); err != nil {
		return err
	}
	defer p.providing.leave()
	now, err := p.images()
	if err != nil {
		return err
	}
	if !slices.Equal(now, had) {
		if err := p.withImages(ctx, machineName(p.id, m.InstanceID), now); err != nil {
			return fmt.Errorf("images: %w", err)
		}
	}
	g.joined(m)
	r, _, err := p.loadMachine(m.InstanceID)
	if err == nil {
		err = p.trust(ctx, machineName(p.id, m.InstanceID), m, r)
	}
	if err != nil {
		g.setRuns(false)
	}
	return err
}

// withImages tells a running node of images.
func (p *plane) withImages(ctx context.Context, container string, images []string) error {
	if err := p.b.engine.put(ctx, container, mirrorFiles(images)); err != nil {
		return err
	}
	_, err := p.b.engine.run(ctx, nil, append([]string{"exec", container, "sh", "-c", equipScript, "equip"}, aliases(images)...)...)
	return err
}

// provided tells whether a node has something for an image: the agent, or a part of
// Kubernetes that every node image brings along.
func provided(image string) bool {
	n, err := reference.ParseNormalizedNamed(image)
	return err == nil && (registry.Provides(n.Name()) || original(n) != "")
}

// original is what EKS's build of a part of Kubernetes is in node images.
func original(n reference.Named) string {
	name, eks := strings.CutPrefix(reference.Path(n), "eks/")
	if eks && (name == "kube-proxy" || name == "coredns") {
		return name
	}
	return ""
}

// mirrorFiles let the container runtime ask the node's agent first, for the registries of
// images that the agent has; what that does not have, it asks the registry.
func mirrorFiles(images []string) files {
	f := files{}
	for _, i := range images {
		if n, err := reference.ParseNormalizedNamed(i); err == nil && registry.Provides(n.Name()) {
			host := reference.Domain(n)
			f[mirrors+"/"+host+"/hosts.toml"] = fmt.Appendf(nil, "server = \"https://%s\"\n\n[host.\"http://%s\"]\n  capabilities = [\"pull\", \"resolve\"]\n", host, protocol.RegistryAddress)
		}
	}
	return f
}

// aliases are names of images, each after the part that it is.
func aliases(images []string) (out []string) {
	for _, i := range images {
		if n, err := reference.ParseNormalizedNamed(i); err == nil && original(n) != "" {
			out = append(out, original(n), i)
		}
	}
	return out
}

package kind

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	osexec "os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/kind/pkg/exec"
	"sigs.k8s.io/kind/pkg/log"
)

// kind's own labels of the containers that are nodes.
const (
	labelCluster = "io.x-k8s.kind.cluster"
	labelRole    = "io.x-k8s.kind.role"
)

// ErrNoEngine is why nothing can be made: there is no Docker to ask.
var ErrNoEngine = errors.New("the Docker engine does not answer")

// errForbidden is ErrNoEngine for those who are not let to it.
var errForbidden = fmt.Errorf("%w: this user may not use its socket", ErrNoEngine)

// engine runs Docker's command line, as kind's library does: whatever context,
// host or socket the user has set up for that is ours too.
type engine struct{ log *slog.Logger }

const (
	// patience bounds commands whose context has no deadline, for an engine that hangs
	// answers none: no other takes minutes. Pulling an image has a bound of its own.
	patience = 5 * time.Minute
	// waitDelay is how long a command that was killed may keep its output open.
	waitDelay = 2 * time.Second
)

// run returns what the command wrote. Its error holds the last of what it complained of.
func (e engine) run(ctx context.Context, in io.Reader, args ...string) (string, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	var out, complaint bytes.Buffer
	cmd := osexec.CommandContext(ctx, "docker", args...)
	cmd.WaitDelay = waitDelay
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &complaint
	err := cmd.Run()
	e.log.Debug("docker", "args", args, "error", err)
	if err == nil {
		return out.String(), nil
	}
	said := strings.TrimSpace(complaint.String())
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("docker %s: %w", args[0], ctx.Err())
	case errors.Is(err, osexec.ErrNotFound), unreachable(said):
		return "", fmt.Errorf("%w: is it installed and running? `ekslocal doctor` tells more", ErrNoEngine)
	case forbidden(said):
		return "", fmt.Errorf("%w; `ekslocal doctor` tells more", errForbidden)
	case said == "":
		return out.String(), fmt.Errorf("docker %s: %w", args[0], err)
	}
	return out.String(), fmt.Errorf("docker %s: %s", args[0], lastLines(said, 3))
}

// unreachable tells whether docker complains that it has not come to its daemon, in the
// words of any of its versions. What the daemon, or a program in a container, says is
// another matter, and may have words like these further on in a line.
func unreachable(complaint string) bool {
	return begins(complaint, "failed to connect to the docker API", "Cannot connect to the Docker daemon", "error during connect")
}

// forbidden tells whether the system keeps docker from its daemon.
func forbidden(complaint string) bool {
	return begins(complaint, "permission denied while trying to connect")
}

// begins tells whether a line of a complaint begins so, after who complains.
func begins(complaint string, words ...string) bool {
	for line := range strings.Lines(complaint) {
		line = strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(line), "docker: "), "ERROR: ")
		for _, w := range words {
			if len(line) >= len(w) && strings.EqualFold(line[:len(w)], w) {
				return true
			}
		}
	}
	return false
}

// explained is what docker said in the place of kind's account of the whole command.
func explained(err error) error {
	var failed *exec.RunError
	if !errors.As(err, &failed) {
		return err
	}
	said := strings.TrimSpace(string(failed.Output))
	if said == "" {
		return err
	}
	return errors.New(lastLines(said, 3))
}

// lastLines are those of a complaint, without docker's hints at its manual.
func lastLines(s string, n int) string {
	var lines []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "Run 'docker") && !strings.HasPrefix(line, "See 'docker") {
			lines = append(lines, strings.TrimPrefix(line, "docker: Error response from daemon: "))
		}
	}
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}

// container is what the engine knows of a node.
type container struct {
	ID         string `json:"Id"`
	Name       string
	State      struct{ Running bool }
	Image      string // its id
	Config     struct{ Env []string }
	HostConfig struct {
		Binds      []string
		UsernsMode string
		Devices    []struct{ PathOnHost string }
	}
	NetworkSettings struct {
		Networks map[string]struct{ NetworkID string }
	}
}

// inspect returns nil for a container that does not exist.
func (e engine) inspect(ctx context.Context, name string) (*container, error) {
	out, err := e.run(ctx, nil, "container", "inspect", name)
	if err != nil {
		if absent(err) {
			return nil, nil
		}
		return nil, err
	}
	var list []container
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("docker container inspect %s: %w", name, err)
	}
	if len(list) != 1 {
		return nil, fmt.Errorf("docker container inspect %s: there are %d answers, and not one", name, len(list))
	}
	list[0].Name = strings.TrimPrefix(list[0].Name, "/")
	return &list[0], nil
}

// nodes names the containers of a kind cluster, stopped ones too.
func (e engine) nodes(ctx context.Context, cluster string) ([]string, error) {
	out, err := e.run(ctx, nil, "ps", "-a", "--filter", "label="+labelCluster+"="+cluster, "--format", "{{.Names}}")
	return strings.Fields(out), err
}

// running names those of them that run.
func (e engine) running(ctx context.Context, cluster string) ([]string, error) {
	out, err := e.run(ctx, nil, "ps", "--filter", "label="+labelCluster+"="+cluster, "--format", "{{.Names}}")
	return strings.Fields(out), err
}

// removeContainers takes their volumes too.
func (e engine) removeContainers(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	return e.end(ctx, names, "rm", "-f", "-v")
}

// process returns the engine's number of a program's process in a container, 0 if it
// does not run, and the memory that it has.
func (e engine) process(ctx context.Context, container, program string) (pid int, rss int64, err error) {
	out, err := e.run(ctx, nil, "top", container, "-eo", "pid,rss,comm")
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 3 || f[2] != program[:min(len(program), 15)] { // the kernel cuts names off there
			continue
		}
		if pid, err = strconv.Atoi(f[0]); err != nil {
			continue
		}
		kib, err := strconv.ParseInt(f[1], 10, 64)
		return pid, kib << 10, err
	}
	return 0, 0, nil
}

// id tells the engine from others; empty if it has none.
func (e engine) id(ctx context.Context) (string, error) {
	out, err := e.run(ctx, nil, "info", "--format", "{{.ID}}")
	return strings.TrimSpace(out), err
}

// cgroupVersion is 1 or 2.
func (e engine) cgroupVersion(ctx context.Context) (int, error) {
	out, err := e.run(ctx, nil, "info", "--format", "{{.CgroupVersion}}")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(out))
}

// way is how containers reach this process.
type way struct {
	listen    string // the address to listen on
	advertise string // the host to call
}

// wayBack finds the way from containers to here. Where the engine is in a virtual
// machine, it forwards a name of its own to the loopback of this machine; else the
// gateway of the bridge is an address of this machine.
func (e engine) wayBack(ctx context.Context) (way, error) {
	system, err := e.run(ctx, nil, "info", "--format", "{{.OperatingSystem}}")
	if err != nil {
		return way{}, err
	}
	if runtime.GOOS != "linux" || strings.Contains(system, "Docker Desktop") {
		return way{listen: "127.0.0.1", advertise: "host.docker.internal"}, nil
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return way{}, fmt.Errorf("addresses of this machine: %w", err)
	}
	for _, network := range []string{kindNetwork, "bridge"} {
		out, err := e.run(ctx, nil, "network", "inspect", network, "--format", "{{range .IPAM.Config}}{{.Subnet}} {{end}}")
		if err != nil {
			continue // kind makes its network with the first cluster
		}
		// The engine does not always name the gateway, but it is ours.
		if a, ok := addressWithin(strings.Fields(out), own); ok {
			return way{listen: a, advertise: a}, nil
		}
	}
	return way{}, errors.New("this machine has no address in a bridge network of the engine: is that on another machine?")
}

// addressWithin is the first of our addresses that is in one of the IPv4 subnets.
func addressWithin(subnets []string, own []net.Addr) (string, bool) {
	for _, s := range subnets {
		_, subnet, err := net.ParseCIDR(s)
		if err != nil || subnet.IP.To4() == nil {
			continue
		}
		for _, a := range own {
			if n, ok := a.(*net.IPNet); ok && subnet.Contains(n.IP) {
				return n.IP.String(), true
			}
		}
	}
	return "", false
}

// kindLog hands kind's own log on.
type kindLog struct{ log *slog.Logger }

var _ log.Logger = kindLog{}

func (k kindLog) Warn(m string)            { k.log.Debug("kind: " + m) }
func (k kindLog) Warnf(f string, a ...any) { k.Warn(fmt.Sprintf(f, a...)) }
func (k kindLog) Error(m string)           { k.log.Warn("kind: " + m) }
func (k kindLog) Errorf(f string, a ...any) {
	k.Error(fmt.Sprintf(f, a...))
}
func (k kindLog) V(l log.Level) log.InfoLogger { return kindInfo{k.log, l} }

type kindInfo struct {
	log   *slog.Logger
	level log.Level
}

func (k kindInfo) Info(m string)            { k.Infof("%s", m) }
func (k kindInfo) Infof(f string, a ...any) { k.log.Debug("kind: " + fmt.Sprintf(f, a...)) }
func (k kindInfo) Enabled() bool            { return k.level <= 0 }

package kind

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Finding is what a look at one precondition of kind clusters came to.
type Finding struct {
	Check  string
	OK     bool
	Detail string
	// Advice is what to do about it, empty if nothing must be done.
	Advice string
}

// Wanted is what an emulator would be started with.
type Wanted struct {
	NodeImage string // Config.NodeImage
	// ListenHost and Ports are where the API servers of clusters listen.
	ListenHost string
	Ports      [2]int
}

// probePatience bounds what one container is run for.
const probePatience = 30 * time.Second

// Diagnose looks at everything that kind clusters need of a machine. What cannot be
// looked at without the engine, or without a node image, is left out when that is not
// there.
func Diagnose(ctx context.Context, want Wanted) []Finding {
	e := engine{log: slog.New(slog.DiscardHandler)}
	here := append(inotify(), freePorts(want))
	if err := usualNetwork(os.Getenv(networkVariable)); err != nil {
		here = append(here, Finding{Check: "kind's network", Detail: err.Error(), Advice: "unset " + networkVariable})
	}
	version, err := e.run(ctx, nil, "version", "--format", "{{.Client.Version}}, engine {{.Server.Version}}")
	if err != nil {
		detail := err.Error()
		switch {
		case errors.Is(err, errForbidden):
			detail = errForbidden.Error()
		case errors.Is(err, ErrNoEngine):
			detail = ErrNoEngine.Error()
		}
		return append([]Finding{{Check: "engine", Detail: detail,
			Advice: "install Docker, start its daemon, and see to it that `docker version` works for this user"}}, here...)
	}
	out := append([]Finding{{Check: "engine", OK: true, Detail: "docker " + strings.TrimSpace(version)}}, ofEngine(ctx, e)...)
	way, network := wayToUs(ctx, e)
	image, there := nodeImages(ctx, e, want.NodeImage)
	out = append(out, network, image)
	if there != "" {
		out = append(out, privileges(ctx, e, there), space(ctx, e, there))
		if network.OK {
			out = append(out, reach(ctx, e, there, way))
		}
	}
	return append(append(out, here...), strangers(ctx, e))
}

// engineInfo is what `docker info` says of the machine that containers run on.
type engineInfo struct {
	CgroupVersion                                          string
	MemoryLimit, CPUSet, CPUShares, CPUCfsQuota, PidsLimit bool
	MemTotal                                               int64
	SecurityOptions                                        []string
	DockerRootDir, OperatingSystem, KernelVersion, OSType  string
}

func ofEngine(ctx context.Context, e engine) []Finding {
	raw, err := e.run(ctx, nil, "info", "--format", "{{json .}}")
	if err != nil {
		return []Finding{{Check: "cgroups", Detail: err.Error()}}
	}
	var i engineInfo
	if err := json.Unmarshal([]byte(raw), &i); err != nil {
		return []Finding{{Check: "cgroups", Detail: "docker info: " + err.Error()}}
	}
	return []Finding{judgeCgroups(i), judgeMemory(i)}
}

// judgeCgroups wants the controllers that the kubelet does not start without.
func judgeCgroups(i engineInfo) Finding {
	f := Finding{Check: "cgroups", OK: true, Detail: "version " + i.CgroupVersion}
	var missing []string
	for _, c := range []struct {
		name string
		has  bool
	}{{"memory", i.MemoryLimit}, {"cpuset", i.CPUSet}, {"cpu", i.CPUShares && i.CPUCfsQuota}, {"pids", i.PidsLimit}} {
		if !c.has {
			missing = append(missing, c.name)
		}
	}
	for _, o := range i.SecurityOptions {
		if o == "name=rootless" || strings.HasPrefix(o, "name=rootless,") {
			f.Detail += ", rootless"
		}
	}
	switch {
	case len(missing) > 0:
		f.OK, f.Detail = false, f.Detail+", without "+strings.Join(missing, ", ")
		f.Advice = "the kubelet needs these controllers: boot with cgroup_enable=memory, or let systemd delegate them to the engine's user (Delegate=cpu cpuset io memory pids)"
	case i.CgroupVersion == "1":
		f.Advice = "works, but Kubernetes means to leave version 1: boot with systemd.unified_cgroup_hierarchy=1 when you can"
	}
	return f
}

// Sizes of a cluster of one control plane and of a node, and what the images take.
const (
	gib           = 1 << 30
	memoryLeast   = 1 * gib
	memoryPlenty  = 4 * gib
	diskLeastKiB  = 2 << 20
	diskPlentyKiB = 10 << 20
)

func judgeMemory(i engineInfo) Finding {
	f := Finding{Check: "memory", OK: i.MemTotal >= memoryLeast, Detail: fmt.Sprintf("%.1f GiB at the engine", float64(i.MemTotal)/gib)}
	if i.MemTotal < memoryPlenty {
		f.Advice = "a control plane takes about 0.5 GiB, a node 0.1 GiB and its pods: give the engine's machine more"
	}
	return f
}

func wayToUs(ctx context.Context, e engine) (way, Finding) {
	w, err := e.wayBack(ctx)
	if err != nil {
		return w, Finding{Check: "network", Detail: err.Error(), Advice: "run ekslocal on the engine's own machine"}
	}
	return w, Finding{Check: "network", OK: true, Detail: "containers are to reach the emulator at " + w.advertise}
}

// nodeImages looks which node images are there, and returns one of them.
func nodeImages(ctx context.Context, e engine, own string) (f Finding, there string) {
	want := []string{own}
	if own == "" {
		want = nil
		for _, i := range images {
			want = append(want, i.image)
		}
	}
	var missing []string
	for _, i := range want {
		if _, err := e.run(ctx, nil, "image", "inspect", "--format", "{{.Id}}", i); err != nil {
			missing = append(missing, i)
		} else {
			there = i
		}
	}
	f = Finding{Check: "node images", OK: own == "" || there != "", Detail: fmt.Sprintf("%d of %d are here", len(want)-len(missing), len(want))}
	if len(missing) > 0 {
		f.Advice = "the first cluster of a version pulls its image; without a network, `docker load` it before: " + strings.Join(missing, ", ")
	}
	return f, there
}

func privileges(ctx context.Context, e engine, image string) Finding {
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	if _, err := e.run(ctx, nil, "run", "--rm", "--privileged", "--entrypoint", "true", image); err != nil {
		return Finding{Check: "privileges", Detail: err.Error(), Advice: "nodes are privileged containers: the engine must be allowed to run them"}
	}
	return Finding{Check: "privileges", OK: true, Detail: "privileged containers run"}
}

// space asks in a container: the engine's disk may be another machine's.
func space(ctx context.Context, e engine, image string) Finding {
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	out, err := e.run(ctx, nil, "run", "--rm", "--entrypoint", "df", image, "-Pk", "/")
	if err != nil {
		return Finding{Check: "disk", Detail: err.Error(), Advice: fullDisk}
	}
	return judgeSpace(out)
}

const fullDisk = "node images take 1 GiB each, clusters as much again with their pods: `docker system df` shows what takes the room, `docker image prune` and `docker builder prune` free some"

// judgeSpace reads what df says in POSIX's form.
func judgeSpace(df string) Finding {
	f := Finding{Check: "disk"}
	lines := strings.Split(strings.TrimSpace(df), "\n")
	fields := strings.Fields(lines[len(lines)-1])
	if len(fields) < 4 {
		f.Detail = fmt.Sprintf("df says %q", df)
		return f
	}
	free, err := strconv.ParseInt(fields[3], 10, 64)
	if err != nil {
		f.Detail = fmt.Sprintf("df says %q", df)
		return f
	}
	f.OK, f.Detail = free >= diskLeastKiB, fmt.Sprintf("%.1f GiB free at the engine", float64(free)/(1<<20))
	if free < diskPlentyKiB {
		f.Advice = fullDisk
	}
	return f
}

// reach lets a container say something to us, the way that API servers ask the
// emulator: a firewall between the bridge and this machine shows in nothing else.
func reach(ctx context.Context, e engine, image string, w way) Finding {
	f := Finding{Check: "way back"}
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(w.listen, "0"))
	if err != nil {
		f.Detail = err.Error()
		f.Advice = "the emulator must be able to listen on the bridge's gateway"
		return f
	}
	defer l.Close()
	came := make(chan struct{})
	go func() {
		c, err := l.Accept()
		if err != nil {
			return // closed: nobody came
		}
		_ = c.Close()
		close(came)
	}()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	network := "bridge"
	if _, err := e.run(ctx, nil, "network", "inspect", "--format", "{{.Id}}", "kind"); err == nil {
		network = "kind" // before the first cluster there is none
	}
	_, err = e.run(ctx, nil, "run", "--rm", "--network", network, "--entrypoint", "timeout", image, "10", "bash", "-c", "exec 3<>/dev/tcp/$0/$1", w.advertise, port)
	if err == nil {
		select {
		case <-came:
			return Finding{Check: f.Check, OK: true, Detail: "a container on network " + network + " reached us at " + w.advertise}
		case <-time.After(2 * time.Second): // another machine has the address too
			err = errors.New("somebody else answered")
		}
	}
	f.Detail = fmt.Sprintf("a container on network %s does not reach %s: %v", network, net.JoinHostPort(w.advertise, port), err)
	f.Advice = "API servers ask the emulator there about every token: let the firewall of this machine take connections from the engine's networks, and run ekslocal on the engine's own machine"
	return f
}

// strangers names kind clusters in our form. Whose they are only their emulators know.
func strangers(ctx context.Context, e engine) Finding {
	out, err := e.run(ctx, nil, "ps", "-a", "--filter", "label="+labelCluster, "--format", `{{.Label "`+labelCluster+`"}}`)
	if err != nil && !errors.Is(err, context.Canceled) {
		return Finding{Check: "clusters", Detail: err.Error()}
	}
	seen := map[string]bool{}
	for _, name := range strings.Fields(out) {
		if strings.HasPrefix(name, namePrefix) {
			seen[name] = true
		}
	}
	f := Finding{Check: "clusters", OK: true, Detail: fmt.Sprintf("%d on this engine", len(seen))}
	if len(seen) > 0 {
		f.Advice = "`kind delete cluster --name NAME` removes one whose emulator is gone for good"
	}
	return f
}

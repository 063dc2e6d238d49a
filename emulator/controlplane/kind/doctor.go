package kind

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// Finding is what a look at one precondition of kind clusters came to.
type Finding struct {
	Check  string
	OK     bool
	Detail string
	// Advice is what to do about it, empty if nothing must be done.
	Advice string
}

// Diagnose looks at everything that kind clusters need of a machine. What cannot be
// looked at without the engine is left out when that does not answer.
func Diagnose(ctx context.Context, nodeImage string) []Finding {
	e := engine{log: slog.New(slog.DiscardHandler)}
	version, err := e.run(ctx, nil, "version", "--format", "{{.Client.Version}}, engine {{.Server.Version}}")
	if err != nil {
		detail := err.Error()
		if errors.Is(err, ErrNoEngine) {
			detail = ErrNoEngine.Error()
		}
		return append([]Finding{{Check: "engine", Detail: detail,
			Advice: "install Docker, start its daemon, and see to it that `docker version` works for this user"}}, inotify()...)
	}
	out := []Finding{{Check: "engine", OK: true, Detail: "docker " + strings.TrimSpace(version)}}
	out = append(out, cgroups(ctx, e), wayToUs(ctx, e))
	image, there := nodeImages(ctx, e, nodeImage)
	out = append(out, image)
	if there != "" {
		out = append(out, privileges(ctx, e, there))
	}
	return append(append(out, inotify()...), strangers(ctx, e))
}

func cgroups(ctx context.Context, e engine) Finding {
	v, err := e.cgroupVersion(ctx)
	if err != nil {
		return Finding{Check: "cgroups", Detail: err.Error()}
	}
	f := Finding{Check: "cgroups", OK: true, Detail: fmt.Sprintf("version %d", v)}
	if v == 1 {
		f.Advice = "works, but Kubernetes means to leave version 1: boot with systemd.unified_cgroup_hierarchy=1 when you can"
	}
	return f
}

func wayToUs(ctx context.Context, e engine) Finding {
	w, err := e.wayBack(ctx)
	if err != nil {
		return Finding{Check: "network", Detail: err.Error(), Advice: "run ekslocal on the engine's own machine"}
	}
	return Finding{Check: "network", OK: true, Detail: "containers reach the emulator at " + w.advertise}
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
	if _, err := e.run(ctx, nil, "run", "--rm", "--privileged", "--entrypoint", "true", image); err != nil {
		return Finding{Check: "privileges", Detail: err.Error(), Advice: "nodes are privileged containers: the engine must be allowed to run them"}
	}
	return Finding{Check: "privileges", OK: true, Detail: "privileged containers run"}
}

// Limits that kind's documentation asks for when there are several nodes.
var inotifyLimits = []struct {
	name string
	want int
}{{"max_user_watches", 524288}, {"max_user_instances", 512}}

// inotify looks at limits that all nodes share; where the engine is in a virtual
// machine they are that one's, and not seen from here.
func inotify() []Finding {
	if runtime.GOOS != "linux" {
		return nil
	}
	var out []Finding
	for _, l := range inotifyLimits {
		f := Finding{Check: "inotify " + l.name}
		raw, err := os.ReadFile("/proc/sys/fs/inotify/" + l.name)
		if err != nil {
			f.Detail = err.Error()
			out = append(out, f)
			continue
		}
		out = append(out, judgeLimit(f, l.name, strings.TrimSpace(string(raw)), l.want))
	}
	return out
}

func judgeLimit(f Finding, name, has string, want int) Finding {
	n, err := strconv.Atoi(has)
	f.OK, f.Detail = err == nil, has // a first cluster always comes up
	if n < want {
		f.Advice = fmt.Sprintf("beyond the first few nodes fail with \"too many open files\": sysctl fs.inotify.%s=%d", name, want)
	}
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

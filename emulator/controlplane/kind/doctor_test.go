package kind

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestJudgeLimit(t *testing.T) {
	for has, want := range map[string]Finding{
		"524288": {OK: true, Detail: "524288"},
		"8192":   {OK: true, Detail: "8192", Advice: `beyond the first few nodes fail with "too many open files": sysctl fs.inotify.max_user_watches=524288`},
	} {
		if d := cmp.Diff(want, judgeLimit(Finding{}, "max_user_watches", has, 524288)); d != "" {
			t.Error(d)
		}
	}
	if judgeLimit(Finding{}, "max_user_watches", "", 524288).OK {
		t.Error("a limit that cannot be read is good")
	}
}

func TestJudgeCgroups(t *testing.T) {
	all := engineInfo{CgroupVersion: "2", MemoryLimit: true, CPUSet: true, CPUShares: true, CPUCfsQuota: true, PidsLimit: true}
	for name, c := range map[string]struct {
		change func(*engineInfo)
		want   Finding // its Advice is the beginning
	}{
		"all there": {func(*engineInfo) {}, Finding{OK: true, Detail: "version 2"}},
		"version 1": {func(i *engineInfo) { i.CgroupVersion = "1" }, Finding{OK: true, Detail: "version 1", Advice: "works, but"}},
		"rootless":  {func(i *engineInfo) { i.SecurityOptions = []string{"name=seccomp", "name=rootless"} }, Finding{OK: true, Detail: "version 2, rootless"}},
		"no memory": {func(i *engineInfo) { i.MemoryLimit = false }, Finding{Detail: "version 2, without memory", Advice: "the kubelet needs"}},
		"rootless and little delegated": {func(i *engineInfo) {
			i.SecurityOptions, i.CPUCfsQuota, i.PidsLimit = []string{"name=rootless"}, false, false
		}, Finding{Detail: "version 2, rootless, without cpu, pids", Advice: "the kubelet needs"}},
	} {
		i := all
		c.change(&i)
		got := judgeCgroups(i)
		if !strings.HasPrefix(got.Advice, c.want.Advice) || (got.Advice == "") != (c.want.Advice == "") {
			t.Errorf("%s: advice %q", name, got.Advice)
		}
		c.want.Check, c.want.Advice = "cgroups", got.Advice
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: (-want +got)\n%s", name, d)
		}
	}
}

func TestJudgeMemory(t *testing.T) {
	for total, want := range map[int64]Finding{
		0:         {Detail: "0.0 GiB at the engine"},
		2 * gib:   {OK: true, Detail: "2.0 GiB at the engine"},
		16 * gib:  {OK: true, Detail: "16.0 GiB at the engine"},
		gib/2 + 1: {Detail: "0.5 GiB at the engine"},
	} {
		got := judgeMemory(engineInfo{MemTotal: total})
		if got.OK != want.OK || got.Detail != want.Detail || (got.Advice == "") != (total >= memoryPlenty) {
			t.Errorf("of %d: %+v", total, got)
		}
	}
}

func TestJudgeSpace(t *testing.T) {
	const head = "Filesystem     1024-blocks      Used Available Capacity Mounted on\n"
	for df, want := range map[string]Finding{
		head + "overlay          102400000  51200000  51200000      50% /\n": {Check: "disk", OK: true, Detail: "48.8 GiB free at the engine"},
		head + "overlay          102400000  97200000   5200000      95% /":   {Check: "disk", OK: true, Detail: "5.0 GiB free at the engine", Advice: fullDisk},
		head + "overlay          102400000 102400000         0     100% /\n": {Check: "disk", Detail: "0.0 GiB free at the engine", Advice: fullDisk},
		"":            {Check: "disk", Detail: `df says ""`},
		"a b c d e f": {Check: "disk", Detail: `df says "a b c d e f"`},
	} {
		if d := cmp.Diff(want, judgeSpace(df)); d != "" {
			t.Errorf("%q: (-want +got)\n%s", df, d)
		}
	}
}

func TestJudgePorts(t *testing.T) {
	for name, c := range map[string]struct {
		ports  [2]int
		taken  []int
		detail string
		ok     bool
		advice string // a part of it, "" for none
	}{
		"all free":           {[2]int{6500, 6599}, nil, "100 of 6500-6599 are free on 127.0.0.1", true, ""},
		"a later one":        {[2]int{6500, 6599}, []int{6550}, "99 of 6500-6599 are free on 127.0.0.1", true, ""},
		"the next cluster's": {[2]int{6500, 6599}, []int{6500, 6501, 6503}, "97 of 6500-6599 are free on 127.0.0.1", true, "(in use: 6500-6501,6503)"},
		"few are left":       {[2]int{6500, 6502}, []int{6501}, "2 of 6500-6502 are free on 127.0.0.1", true, "(in use: 6501)"},
		"none":               {[2]int{6500, 6501}, []int{6500, 6501}, "0 of 6500-6501 are free on 127.0.0.1", false, "--cluster-ports"},
	} {
		got := judgePorts("127.0.0.1", c.ports, c.taken)
		if got.OK != c.ok || got.Detail != c.detail || (got.Advice == "") != (c.advice == "") || !strings.Contains(got.Advice, c.advice) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestFreePorts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := l.Addr().(*net.TCPAddr).Port
	if f := freePorts(Wanted{Ports: [2]int{p, p}}); f.OK {
		t.Errorf("a port that is taken: %+v", f)
	}
}

// fakeDocker puts a command line in the place of Docker's that does what the script
// says, of which a case for $1 is a part.
func fakeDocker(t *testing.T, script string) engine {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return engine{log: slog.New(slog.DiscardHandler)}
}

func TestReach(t *testing.T) {
	here := way{listen: "127.0.0.1", advertise: "127.0.0.1"}
	for name, c := range map[string]struct {
		run    string
		ok     bool
		detail string
	}{
		// The container's arguments are those of docker run from the program on.
		"it comes":        {`for a; do host=$port; port=$a; done; exec bash -c "exec 3<>/dev/tcp/$host/$port"`, true, "network bridge reached us"},
		"a firewall":      {`echo "bash: connect: Connection timed out" >&2; exit 124`, false, "Connection timed out"},
		"somebody else's": {`exit 0`, false, "somebody else answered"},
	} {
		t.Run(name, func(t *testing.T) {
			e := fakeDocker(t, "case $1 in network) exit 1 ;; run) "+c.run+" ;; esac\n")
			if f := reach(t.Context(), e, "image", here); f.OK != c.ok || !strings.Contains(f.Detail, c.detail) || (f.Advice == "") != c.ok {
				t.Errorf("%+v", f)
			}
		})
	}
}

// TestDiagnoseWithoutEngine: what can be seen without Docker is looked at all the same.
func TestDiagnoseWithoutEngine(t *testing.T) {
	for said, detail := range map[string]string{
		"Cannot connect to the Docker daemon at unix:///nowhere. Is the docker daemon running?": "the Docker engine does not answer",
		"permission denied while trying to connect to the docker API at unix:///nowhere":        "the Docker engine does not answer: this user may not use its socket",
	} {
		fakeDocker(t, `echo "`+said+`" >&2; exit 1`)
		t.Setenv(networkVariable, "")
		got := Diagnose(t.Context(), Wanted{Ports: [2]int{1, 0}})
		if len(got) < 2 || got[0].Check != "engine" || got[0].OK || got[0].Detail != detail || !strings.Contains(got[0].Advice, "install Docker") {
			t.Errorf("%+v", got)
		}
		if last := got[len(got)-1]; last.Check != "ports" {
			t.Errorf("ports are not looked at: %+v", last)
		}
		t.Setenv(networkVariable, "mine")
		got = Diagnose(t.Context(), Wanted{Ports: [2]int{1, 0}})
		if last := got[len(got)-1]; last.OK || !strings.Contains(last.Detail, networkVariable) {
			t.Errorf("another network of kind's: %+v", last)
		}
	}
}

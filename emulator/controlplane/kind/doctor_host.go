package kind

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
)

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

// freePorts looks who listens already where clusters are to: those of a running
// emulator do.
func freePorts(want Wanted) Finding {
	host := cmp.Or(want.ListenHost, "127.0.0.1")
	var taken []int
	for p := want.Ports[0]; p <= want.Ports[1]; p++ {
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(p)))
		if err != nil {
			taken = append(taken, p)
			continue
		}
		_ = l.Close()
	}
	return judgePorts(host, want.Ports, taken)
}

// fewPorts is how many free ones are too few to be left without advice.
const fewPorts = 3

func judgePorts(host string, ports [2]int, taken []int) Finding {
	all := ports[1] - ports[0] + 1
	free := all - len(taken)
	f := Finding{Check: "ports", OK: free > 0, Detail: fmt.Sprintf("%d of %d-%d are free on %s", free, ports[0], ports[1], host)}
	// The emulator gives clusters the lowest port that none of its own has.
	if free < fewPorts || len(taken) > 0 && taken[0] == ports[0] {
		f.Advice = fmt.Sprintf("a cluster whose port somebody else has does not come up (in use: %s): unless these are clusters of a running ekslocal, "+
			"give another range by --cluster-ports", ranges(taken))
	}
	return f
}

// ranges writes ascending numbers as 1-3,5.
func ranges(numbers []int) string {
	var out []string
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		if i == j {
			out = append(out, strconv.Itoa(numbers[i]))
		} else {
			out = append(out, fmt.Sprintf("%d-%d", numbers[i], numbers[j]))
		}
		i = j + 1
	}
	return strings.Join(out, ",")
}

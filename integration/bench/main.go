// Command bench measures the real binary from outside, with the peer beside it in
// the same run where that is installed, and prints a table for docs/performance.md.
//
//	EKSLOCAL_BINARY=bin/ekslocal go run ./integration/bench [-only start,cluster,...]
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"
)

// measurement is one section of the table.
type measurement struct {
	name string
	run  func(ctx context.Context, b *bench) error
}

var measurements = []measurement{
	{"start", measureStart},
	{"cluster", measureCluster},
	{"idle", measureIdle},
	{"describe", measureDescribe},
	{"terraform", measureTerraform},
	{"scale", measureScale},
	{"kind", measureKind}, // only when asked for: it needs Docker and a node image
}

type bench struct {
	binary string
	rows   [][2]string
	nodes  int
	pods   int
}

func (b *bench) row(what, format string, args ...any) {
	v := fmt.Sprintf(format, args...)
	b.rows = append(b.rows, [2]string{what, v})
	log.Printf("%s: %s", what, v)
}

func main() {
	log.SetFlags(log.Ltime)
	only := flag.String("only", "", "comma-separated measurements (start, cluster, idle, describe, terraform, scale, kind); all but kind if empty")
	b := &bench{binary: os.Getenv("EKSLOCAL_BINARY")}
	flag.IntVar(&b.nodes, "nodes", 500, "nodes of the scale measurement")
	flag.IntVar(&b.pods, "pods", 5000, "pods of the scale measurement")
	flag.Parse()
	if b.binary == "" {
		b.binary = "bin/ekslocal"
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := b.measure(ctx, *only)
	stop()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("| what | figure |\n|---|---|")
	for _, r := range b.rows {
		fmt.Printf("| %s | %s |\n", r[0], r[1])
	}
}

// times is a set of durations.
type times []time.Duration

func (t times) median() time.Duration {
	s := slices.Sorted(slices.Values(t))
	return s[len(s)/2]
}

func (t times) String() string {
	s := slices.Sorted(slices.Values(t))
	return fmt.Sprintf("%s (median of %d; %s to %s)", round(t.median()), len(s), round(s[0]), round(s[len(s)-1]))
}

func round(d time.Duration) time.Duration {
	if d < 10*time.Millisecond {
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Millisecond)
}

// measure takes the measurements that are asked for, comma-separated; empty is all.
func (b *bench) measure(ctx context.Context, only string) error {
	for _, m := range measurements {
		if only == "" && m.name == "kind" || only != "" && !slices.Contains(strings.Split(only, ","), m.name) {
			continue
		}
		if err := m.run(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}

// Command summary reads `go test -json` and prints what failed, what was skipped
// and why, and one closing line with the number of tests.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

func main() {
	var passed, failed, skipped int
	output := map[string][]string{}
	var slow, long []event // packages, tests that are not a part of another
	var bad, skips []string
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(make([]byte, 1<<20), 64<<20)
	for in.Scan() {
		var e event
		if json.Unmarshal(in.Bytes(), &e) != nil {
			continue
		}
		id := e.Package + " " + e.Test
		switch e.Action {
		case "output":
			output[id] = append(output[id], e.Output)
		case "build-output":
			fmt.Print(e.Output)
		case "pass":
			if e.Test != "" {
				passed++
				if !strings.Contains(e.Test, "/") {
					long = append(long, e)
				}
			} else {
				slow = append(slow, e)
			}
			delete(output, id)
		case "skip":
			if e.Test != "" {
				skipped++
				skips = append(skips, id+": "+strings.TrimSpace(strings.Join(output[id], "")))
			}
		case "fail":
			if e.Test != "" {
				failed++
			} else if len(output[id]) > 0 {
				bad = append(bad, "--- FAIL package "+e.Package+"\n"+tail(output[id]))
				failed++
				break
			}
			bad = append(bad, "--- FAIL "+id+"\n"+tail(output[id]))
		}
	}
	for _, b := range bad {
		fmt.Println(b)
	}
	for _, s := range skips {
		fmt.Println("skipped", strings.ReplaceAll(s, "\n", " | "))
	}
	for _, all := range [][]event{slow, long} {
		slices.SortFunc(all, func(a, b event) int { return int(1000 * (b.Elapsed - a.Elapsed)) })
		for _, e := range all[:min(5, len(all))] {
			fmt.Printf("%6.1f s  %s\n", e.Elapsed, strings.TrimSpace(e.Package+" "+e.Test))
		}
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	if failed > 0 || passed == 0 {
		os.Exit(1)
	}
}

func tail(lines []string) string {
	if len(lines) > 80 {
		lines = lines[len(lines)-80:]
	}
	return strings.Join(lines, "")
}

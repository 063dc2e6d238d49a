package kind

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// With version 1 of cgroups the runtime inside a node freezes a pod's processes while it
// changes what they may use. A node that is killed in that moment never ends: what is
// frozen takes no signal, and the first process of the node waits for it.

// frozen tells whether the engine could not end a container.
func frozen(err error) bool {
	return err != nil && strings.Contains(err.Error(), "did not receive an exit event")
}

// end runs a command of the engine that ends containers, and a second time if it takes
// thawing them.
func (e engine) end(ctx context.Context, names []string, args ...string) error {
	args = append(args, names...)
	_, err := e.run(ctx, nil, args...)
	if !frozen(err) {
		return err
	}
	e.log.Warn("nodes do not end because processes in them are frozen: thawing them", "nodes", names)
	if err := e.thaw(ctx, names); err != nil {
		return fmt.Errorf("thawing %s: %w", strings.Join(names, ", "), err)
	}
	_, err = e.run(ctx, nil, args...)
	return err
}

// thaw lets frozen processes of nodes go on. The engine's cgroups are seen by a container
// alone: it may be in a virtual machine.
func (e engine) thaw(ctx context.Context, names []string) error {
	const script = `for id; do
	find /engine-cgroup/freezer -path "*/$id/*" -name freezer.state | while read -r f; do
		if grep -q FROZEN "$f"; then echo THAWED >"$f"; fi
	done
done`
	var image string
	var ids []string
	for _, n := range names {
		c, err := e.inspect(ctx, n)
		if err != nil {
			return err
		}
		if c != nil {
			image, ids = c.Image, append(ids, c.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_, err := e.run(ctx, nil, append([]string{"run", "--rm", "--privileged", "--cgroupns=host", "--volume", "/sys/fs/cgroup:/engine-cgroup",
		"--entrypoint", "sh", image, "-c", script, "thaw"}, ids...)...)
	return err
}

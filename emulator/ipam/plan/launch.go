package plan

import (
	"cmp"
	"slices"
)

// connectControlPlane places the cluster's cross-account interfaces: the subnets with
// the most free addresses first, one in each until each has one.
func (w *world) connectControlPlane() {
	order := slices.Clone(w.subnets)
	for w.controlPlane < w.layout.ControlPlaneENIs {
		slices.SortStableFunc(order, func(a, b *subnet) int { return b.pool.Free() - a.pool.Free() })
		before := w.controlPlane
		for _, s := range order {
			if w.controlPlane < w.layout.ControlPlaneENIs && s.takePrimary() == nil {
				s.use.ControlPlane++
				w.controlPlane++
			}
		}
		if w.controlPlane == before {
			return
		}
	}
}

// launch starts n more nodes as a node group does, one launch for each subnet in turn
// of the even spread. Launches that a full subnet refuses go to the others.
func (w *world) launch(n int) {
	open := slices.Clone(w.subnets)
	members := map[*subnet]int{}
	for _, m := range w.nodes {
		members[m.subnet]++
	}
	for n > 0 && len(open) > 0 {
		picks := spread(n, open, members)
		want, got := map[*subnet]int{}, map[*subnet]int{}
		for _, s := range picks {
			want[s]++
		}
		for _, s := range w.subnets {
			if want[s] == 0 {
				continue
			}
			got[s] = s.launch(want[s])
			n -= got[s]
			members[s] += got[s]
			if got[s] == 0 {
				w.launchError = &refusal{code: insufficientAddresses, subnet: s, launch: true}
				open = slices.DeleteFunc(open, func(o *subnet) bool { return o == s })
			}
		}
		for _, s := range picks {
			if got[s]--; got[s] >= 0 {
				w.addNode(s)
			}
		}
	}
	if n <= 0 {
		w.launchError = nil // others took them
	}
}

// spread says in which subnets n new nodes go so that all end up even.
func spread(n int, subnets []*subnet, members map[*subnet]int) []*subnet {
	count := map[*subnet]int{}
	for _, s := range subnets {
		count[s] = members[s]
	}
	out := make([]*subnet, 0, n)
	for range n {
		best := slices.MinFunc(subnets, func(a, b *subnet) int { return cmp.Compare(count[a], count[b]) })
		count[best]++
		out = append(out, best)
	}
	return out
}

func (w *world) addNode(s *subnet) {
	n := &node{world: w, index: len(w.nodes), subnet: s, pods: s}
	if i := slices.Index(w.subnets, s); len(w.pods) > 0 {
		n.pods = w.pods[i]
	}
	n.start()
	w.nodes = append(w.nodes, n)
}

// victims are the nodes that a rolling update replaces first: those of the subnet with
// the most nodes, of these the oldest.
func (w *world) victims(n int) []*node {
	per := map[*subnet]int{}
	for _, m := range w.nodes {
		per[m.subnet]++
	}
	out := slices.Clone(w.nodes)
	slices.SortStableFunc(out, func(a, b *node) int { return cmp.Compare(per[b.subnet], per[a.subnet]) })
	return out[:n]
}

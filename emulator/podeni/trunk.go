package podeni

import (
	"slices"
	"time"
)

const (
	// Cooldown is how long a branch interface stays after its pod, unless the cluster
	// says otherwise, and minCooldown the least that it can say.
	Cooldown, minCooldown = 60 * time.Second, 30 * time.Second
	// vlans is how many VLANs upstream gives on one trunk, 0 not among them.
	vlans = 121
)

// CooldownOf reads the cooldown from the ConfigMap amazon-vpc-cni's
// branch-eni-cooldown, in seconds; ok is false if it says none.
func CooldownOf(seconds int, ok bool) time.Duration {
	if !ok {
		return Cooldown
	}
	return max(time.Duration(seconds)*time.Second, minCooldown)
}

// Branch is a branch interface of a node as EC2 has it.
type Branch struct {
	ID          string
	VLAN        int
	Association string // on the trunk; empty for one that is on none
}

// Claim is a pod of the node that asks for branch interfaces.
type Claim struct {
	Pod   string // its UID
	Count int
	Holds []string // ids of the interfaces that its annotation names
	Ended bool     // its containers will not run again
}

// Trunk is what is remembered of a node's trunk: since when nobody has needed which
// branch. After a restart the cooldowns begin anew.
type Trunk struct{ freed map[string]time.Time }

// Plan is what is to be done on a trunk.
type Plan struct {
	Delete []Branch
	// Create lists the claims to be met, in the order in which they were given.
	Create []Claim
	// Again is when to look again because a cooldown ends; 0 without one. With Full,
	// claims are left over: used branches and those that cool down are as many as the
	// instance type has.
	Again time.Duration
	Full  bool
}

// Next says what is to be done with the branches of a trunk that has room for limit.
func (t *Trunk) Next(claims []Claim, branches []Branch, limit int, now time.Time, cooldown time.Duration) Plan {
	held := map[string]bool{}
	for _, c := range claims {
		for _, id := range c.Holds {
			held[id] = held[id] || !c.Ended
		}
	}
	var p Plan
	freed := map[string]time.Time{}
	on := 0
	for _, b := range branches {
		if held[b.ID] {
			on++
			continue
		}
		since, known := t.freed[b.ID]
		if !known {
			since = now
		}
		if left := since.Add(cooldown).Sub(now); left > 0 && b.Association != "" {
			freed[b.ID] = since
			on++
			if p.Again == 0 || left < p.Again {
				p.Again = left
			}
			continue
		}
		// One that never came onto the trunk has no traffic to wait for.
		p.Delete = append(p.Delete, b)
	}
	t.freed = freed
	for _, c := range claims {
		if c.Ended || len(c.Holds) > 0 || c.Count == 0 {
			continue
		}
		// Upstream asks for room for one, whatever the count.
		if on >= limit {
			p.Full = true
			continue
		}
		on += c.Count
		p.Create = append(p.Create, c)
	}
	return p
}

// VLAN returns the lowest that no branch has, 0 if all are taken.
func VLAN(branches []Branch) int {
	for v := 1; v < vlans; v++ {
		if !slices.ContainsFunc(branches, func(b Branch) bool { return b.VLAN == v }) {
			return v
		}
	}
	return 0
}

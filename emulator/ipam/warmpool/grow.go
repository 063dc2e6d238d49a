package warmpool

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// growth is an attempt to make the pool larger: first on the interfaces with room,
// one after the other, then with a new one. One success ends it.
type growth struct {
	going bool
	enis  []*eni // still to be tried
	one   bool   // the first of them refused what was wanted: ask for one
}

// grow returns the next step of an attempt, and begins one if the pool is too low.
func (n *Node) grow(now time.Time) Action {
	if n.v6 {
		return n.growPrefix6(now)
	}
	if n.config.DisableProvisioning {
		return Action{}
	}
	if n.growth.going {
		return n.attempt(now)
	}
	if now.Before(n.growAt) || !n.low() {
		return Action{}
	}
	n.logLow(now)
	n.debug(now, ipamd, "Starting to increase pool size for network card 0")
	if n.hands(now, "will not try to attach any new IPs or ENIs right now") {
		return n.stop(now)
	}
	if n.inShortage(now) {
		n.debug(now, ipamd, "Recently we had InsufficientCidr error hence will wait for %v before retrying", Shortage)
		return n.stop(now)
	}
	n.growth = growth{going: true, enis: n.allocatable()}
	inc(&n.counters.InProgress, "increaseDatastorePool")
	return n.attempt(now)
}

// hands tells whether the node's interfaces stay as they are.
func (n *Node) hands(now time.Time, what string) bool {
	if !n.config.Unschedulable || n.config.ManageNonSchedulable {
		return false
	}
	n.debug(now, ipamd, "AWS CNI is on a non schedulable node, %s", what)
	return true
}

// stop ends an attempt until the monitor's next look.
func (n *Node) stop(now time.Time) Action {
	n.endGrowth()
	n.growAt = now.Add(Monitor)
	return Action{}
}

func (n *Node) endGrowth() {
	if n.growth.going {
		n.counters.InProgress["increaseDatastorePool"]--
	}
	n.growth = growth{}
}

func (n *Node) inShortage(now time.Time) bool {
	return !n.lastShortage.IsZero() && now.Sub(n.lastShortage) <= Shortage
}

// allocatable returns the interfaces that take more addresses or prefixes. With
// custom networking the primary one takes none.
func (n *Node) allocatable() []*eni {
	var out []*eni
	for _, e := range n.enis {
		if e.usable() && !(n.config.CustomNetworking && e.Primary) && len(e.cidrs) < n.perENI() {
			out = append(out, e)
		}
	}
	return out
}

// attempt returns the attempt's next wish.
func (n *Node) attempt(now time.Time) Action {
	for len(n.growth.enis) > 0 {
		e := n.growth.enis[0]
		want := min(n.perENI()-len(e.cidrs), n.needed())
		if n.growth.one {
			want = 1
		}
		if want >= 1 && n.eniByID(e.ID) == e {
			n.info(now, awsUtils, "Trying to allocate %d IP addresses on ENI %s", want, e.ID)
			n.debug(now, awsUtils, "PD enabled - %t", n.prefixMode)
			return Action{Kind: Assign, ENI: e.ID, Count: want, Prefix: n.prefixMode}
		}
		n.growth.enis, n.growth.one = n.growth.enis[1:], false
	}
	if !n.roomForENI(now) {
		n.debug(now, ipamd, "Skipping ENI allocation as the max ENI limit is already reached")
		return n.stop(now)
	}
	want := min(n.needed(), n.perENI())
	if want < 1 {
		n.debug(now, ipamd, "Did not allocate ENI since IPs/Prefixes needed were not greater than 0. IPs/Prefixes needed: %d", want)
		return n.stop(now)
	}
	n.info(now, awsUtils, "Trying to allocate %d IP addresses on new ENI", want)
	n.debug(now, awsUtils, "PD enabled - %t", n.prefixMode)
	return Action{Kind: Create, Count: want, Prefix: n.prefixMode}
}

// needed is how many addresses or prefixes the pool is to grow by, at most.
func (n *Node) needed() int {
	short, _, counted := n.targets()
	switch {
	case n.prefixMode && counted:
		return max(1, short)
	case n.prefixMode:
		return max(1, n.config.WarmPrefixTarget-n.freePrefixes)
	case counted:
		return short
	}
	return n.perENI()
}

// roomForENI tells whether one more interface may be attached. A node that waits for
// its trunk interface keeps a place for it.
func (n *Node) roomForENI(now time.Time) bool {
	trunk, excluded := 0, 0
	if n.needsTrunk() && n.limits.Trunking {
		trunk = 1
	}
	for _, e := range n.enis {
		if e.Excluded {
			excluded++
		}
	}
	usable := len(n.enis) - excluded
	has := usable < n.maxENIs()-n.unmanaged-trunk-excluded
	n.debug(now, ipamd, "hasRoomForEni: networkCard=0, currentENIs=%d, currentUsableENIs=%d, maxENI=%d, unmanagedENI=%d, trunkEni=%d, excludedENI=%d, hasRoom=%v",
		len(n.enis), usable, n.maxENIs(), n.unmanaged, trunk, excluded, has)
	return has
}

func (n *Node) needsTrunk() bool {
	if !n.config.PodENI {
		return false
	}
	for _, e := range n.enis {
		if e.Trunk {
			return false
		}
	}
	return true
}

// assignDone takes over new addresses or prefixes. A refusal is followed by a wish
// for just one. If that is refused too, the next interface is tried when it may be in
// another subnet, else the attempt ends.
func (n *Node) assignDone(a Action, r Result, now time.Time) {
	e := n.eniByID(a.ENI)
	if r.Err == nil {
		if e == nil {
			n.endGrowth() // detached meanwhile
			return
		}
		what := "addresses"
		if a.Prefix {
			what = "prefixes"
		}
		n.info(now, awsUtils, "Allocated %d private IP %s", len(r.IPs)+len(r.Prefixes), what)
		n.grown(n.addAll(e, r.IPs, r.Prefixes, now), now)
		return
	}
	if isOverLimit(r.Err) {
		n.debug(now, ipamd, "AssignPrivateIpAddresses returned PrivateIpAddressLimitExceeded. This can happen if the data store is out of sync."+
			"Returning without an error here since we will verify the actual state by calling EC2 to see what addresses have already assigned to this ENI.")
		n.queue = append(n.queue, Action{Kind: Resync, ENI: a.ENI})
		n.endGrowth()
		return
	}
	n.error(now, awsUtils, "Failed to allocate a private IP/Prefix addresses on ENI %v: %v", a.ENI, r.Err)
	if !n.growth.going || len(n.growth.enis) == 0 {
		return // decided before the daemon started again
	}
	all, one := "IP addresses", "IP addresses"
	if a.Prefix {
		all, one = "IPv4 Prefixes", "IPv4 prefix"
	}
	if !n.growth.one {
		n.warn(now, ipamd, "failed to allocate all available %s on ENI %s, err: %v", all, a.ENI, r.Err)
		n.growth.one = true
		return
	}
	n.fault("increaseIPPoolAllocIPAddressesFailed")
	n.lastError = r.Err.Error()
	if n.config.SubnetDiscovery && isShortage(r.Err) {
		n.growth.enis, n.growth.one = n.growth.enis[1:], false
		return
	}
	err := fmt.Errorf("failed to allocate one %s on ENI %s, err : %w", one, a.ENI, r.Err)
	if isShortage(err) {
		n.shortage(now)
	} else {
		n.error(now, ipamd, "%s", err)
	}
	n.stop(now)
}

func (n *Node) shortage(now time.Time) {
	n.error(now, ipamd, "Unable to attach IPs/Prefixes for the ENI, subnet doesn't seem to have enough IPs/Prefixes. Consider using new subnet or carve a reserved range using create-subnet-cidr-reservation")
	n.lastShortage = now
}

// addAll puts addresses and prefixes of e into the store and returns how many are
// new.
func (n *Node) addAll(e *eni, ips []netip.Addr, prefixes []netip.Prefix, now time.Time) int {
	rec := additions{eni: e.ID}
	add := func(b netip.Prefix) {
		if n.addCIDR(e, b) {
			rec.blocks = append(rec.blocks, b)
		}
	}
	for _, ip := range ips {
		add(prefixOf(ip))
	}
	for _, p := range prefixes {
		add(p)
	}
	if len(rec.blocks) > 0 {
		n.log.add(now, &rec)
	}
	return len(rec.blocks)
}

// grown ends an attempt that brought added addresses or prefixes. One that brought
// none is not repeated at once, and does not put off the reconciliation that will tell
// why.
func (n *Node) grown(added int, now time.Time) {
	n.endGrowth()
	n.lastError = ""
	n.logPool(now)
	if added == 0 {
		n.growAt = now.Add(Monitor)
		return
	}
	n.lastAction = now
}

func (n *Node) resynced(a Action, r Result, now time.Time) {
	if r.Err != nil || len(r.Interfaces) == 0 {
		n.fault("increaseIPPoolGetENIaddressesFailed")
		n.error(now, ipamd, "failed to get ENI IP addresses during IP allocation: %v", r.Err)
		n.stop(now)
		return
	}
	if e := n.eniByID(a.ENI); e != nil {
		n.grown(n.addAll(e, r.Interfaces[0].IPs, r.Interfaces[0].Prefixes, now), now)
	}
}

// created takes over a new interface. A subnet without enough for all of its
// addresses gives none: there is no second try with fewer.
func (n *Node) created(a Action, r Result, now time.Time) {
	if r.Err == nil && len(r.Interfaces) == 1 {
		i := r.Interfaces[0]
		n.info(now, awsUtils, "Successfully created and attached a new ENI %s to instance on network card 0", i.ID)
		n.grown(n.addENI(i, now), now)
		return
	}
	err := r.Err
	if err == nil {
		err = errors.New("waitForENIAndIPsAttached: giving up trying to retrieve ENIs from metadata service")
	}
	n.lastError = err.Error()
	if !errors.Is(err, ErrNoENIConfig) {
		n.error(now, ipamd, "Failed to increase pool size due to not able to allocate ENI %v", err)
		n.fault("increaseIPPoolAllocENI")
		n.warn(now, ipamd, "Failed to allocate %d IP addresses on an ENI: %v", a.Count, err)
		if isShortage(err) {
			n.fault("increaseIPPoolAllocIPAddressesFailed")
			n.shortage(now)
		}
	}
	n.debug(now, ipamd, "Error trying to allocate ENI: %v", err)
	n.stop(now)
}

// addENI puts an interface with all it has into the store and returns how many
// addresses and prefixes are new.
func (n *Node) addENI(i Interface, now time.Time) int {
	n.debug(now, dataStore, "DataStore add an ENI %s", i.ID)
	n.born++
	e := &eni{Interface: i, order: n.born, since: now}
	e.IPs, e.Prefixes = nil, nil
	n.enis = append(n.enis, e)
	n.info(now, ipamd, "Found ENIs having %d secondary IPs and %d Prefixes", len(i.IPs), len(i.Prefixes))
	if i.Excluded {
		n.info(now, dataStore, "ENI %s marked as excluded from pod IP allocation", i.ID)
	}
	return n.addAll(e, i.IPs, i.Prefixes, now)
}

func (n *Node) fault(fn string) { inc(&n.counters.Errors, fn) }

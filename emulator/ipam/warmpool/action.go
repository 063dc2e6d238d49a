package warmpool

import (
	"errors"
	"net/netip"
)

// Kind is what an Action is about.
type Kind int

// The kinds of actions. None means that there is nothing to do for now.
const (
	None Kind = iota
	// Observe asks for all interfaces of the instance: Result.Interfaces, and
	// Result.Limits.
	Observe
	// Assign asks for Count more addresses, or /28 prefixes, on ENI:
	// Result.Addresses or Result.Prefixes.
	Assign
	// Resync asks for what ENI holds, after it held more than the node knew:
	// Result.Interfaces with that one.
	Resync
	// Create asks for a new interface with Count addresses or prefixes, attached:
	// Result.Interfaces with that one.
	Create
	// Unassign gives Addresses and Prefixes of ENI back.
	Unassign
	// Free detaches and deletes ENI.
	Free
	// AssignPrefix6 asks for one /80 prefix on ENI: Result.Prefixes.
	AssignPrefix6
)

// Action is one thing to do in EC2.
type Action struct {
	Kind     Kind
	ENI      string
	Count    int
	Prefix   bool // Count is of prefixes
	IPs      []netip.Addr
	Prefixes []netip.Prefix
}

// Result is what came of an Action.
type Result struct {
	// Err is EC2's refusal. An ErrorCode() string, as the SDK's errors have it, is
	// what decisions look at.
	Err        error
	Limits     Limits
	Interfaces []Interface
	IPs        []netip.Addr
	Prefixes   []netip.Prefix
}

// Interface is what EC2 says of one interface of the instance's first network
// card.
type Interface struct {
	ID      string
	Device  int
	Subnet  string
	Address netip.Addr // the interface's own
	IPs     []netip.Addr
	// Prefixes are /28 ones and, with IPv6, /80 ones.
	Prefixes []netip.Prefix

	Primary   bool // the instance's first interface
	Trunk     bool // carries branch interfaces, no addresses for pods
	EFA       bool
	Excluded  bool // its subnet's tag keeps pods out
	Unmanaged bool // its tags keep ipamd out
}

// Limits is what the instance's type allows.
type Limits struct {
	InstanceType string
	ENIs         int // on the first network card
	IPv4PerENI   int
	Prefixes     bool // whether interfaces take /28 prefixes: Nitro
	Trunking     bool // whether it can have a trunk interface
}

// MaxPods is what EKS's AMIs compute for the type.
func (l *Limits) MaxPods() int { return l.ENIs*(l.IPv4PerENI-1) + 2 }

// ErrNoENIConfig is the error of a Create on a node whose ENIConfig does not exist.
var ErrNoENIConfig = errors.New("eniconfig: eniconfig is not available")

// codeOf returns the code of an AWS error, empty for others.
func codeOf(err error) string {
	var e interface{ ErrorCode() string }
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return ""
}

// isShortage tells whether EC2 said that the subnet has too little, in one of the
// two codes that upstream knows. A full subnet's answer to a wish for prefixes,
// InvalidParameterValue, is none: it is tried again at the monitor's pace.
func isShortage(err error) bool {
	code := codeOf(err)
	return code == "InsufficientCidrBlocks" || code == "InsufficientFreeAddressesInSubnet"
}

// isOverLimit tells whether the interface holds more than the node knew.
func isOverLimit(err error) bool { return codeOf(err) == "PrivateIpAddressLimitExceeded" }

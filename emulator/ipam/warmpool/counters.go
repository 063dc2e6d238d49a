package warmpool

import "maps"

// Counters are what ipamd's metrics count, since the node's pool was made.
type Counters struct {
	AddIPRequests    int            // awscni_add_ip_req_count
	DelIPRequests    map[string]int // awscni_del_ip_req_count by reason
	NoAvailableIPs   int            // awscni_no_available_ip_addresses
	ForceRemovedENIs int            // awscni_force_removed_enis
	ForceRemovedIPs  int            // awscni_force_removed_ips
	Reconciles       map[string]int // awscni_reconcile_count by fn
	Errors           map[string]int // awscni_ipamd_error_count by fn
	InProgress       map[string]int // awscni_ipamd_action_inprogress by fn
	EC2Requests      map[string]int // awscni_ec2api_req_count by fn
	EC2Errors        map[string]int // awscni_ec2api_error_count by fn
	AWSAPIErrors     map[APIError]int

	podDeleted int // of DelIPRequests: counted for every pod, so not in a map
}

// APIError is a refusal of EC2's: the labels of awscni_aws_api_error_count.
type APIError struct{ API, Error string }

// Clone returns an independent copy.
func (c *Counters) Clone() Counters {
	out := *c
	out.DelIPRequests = maps.Clone(c.DelIPRequests)
	if c.podDeleted > 0 {
		if out.DelIPRequests == nil {
			out.DelIPRequests = map[string]int{}
		}
		out.DelIPRequests[PodDeleted] = c.podDeleted
	}
	out.podDeleted = 0
	out.Reconciles = maps.Clone(c.Reconciles)
	out.Errors = maps.Clone(c.Errors)
	out.InProgress = maps.Clone(c.InProgress)
	out.EC2Requests = maps.Clone(c.EC2Requests)
	out.EC2Errors = maps.Clone(c.EC2Errors)
	out.AWSAPIErrors = maps.Clone(c.AWSAPIErrors)
	return out
}

// PodDeleted is the CNI's usual reason for giving an address back.
const PodDeleted = "PodDeleted"

func (c *Counters) released(reason string) {
	if reason == PodDeleted {
		c.podDeleted++
		return
	}
	inc(&c.DelIPRequests, reason)
}

// inc counts in a map that may not be there yet.
func inc[K comparable](m *map[K]int, k K) {
	if *m == nil {
		*m = map[K]int{}
	}
	(*m)[k]++
}

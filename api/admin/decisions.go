package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Decisions is the answer of GET /_ekslocal/iam/decisions: what IAM decided about AWS
// calls, the oldest first.
type Decisions struct {
	// Mode is what becomes of calls that IAM would refuse: enforce, audit or off.
	Mode string `json:"mode"`
	// Last is the number of the newest decision there is, shown or not.
	Last      uint64     `json:"last"`
	Decisions []Decision `json:"decisions"`
}

// DecisionQuery chooses what Decisions shows; empty fields choose everything.
type DecisionQuery struct {
	Denied    bool
	Principal string // part of its ARN
	Action    string // with * and ?, in any case: eks:Create*
	Limit     int    // the newest so many; 0 for 20
	After     uint64 // only those with a higher number
}

// Decision is IAM's answer to one question about an AWS call. A call may need several
// permissions: those decisions have its request id in common.
type Decision struct {
	// Number counts from the emulator's start.
	Number    uint64    `json:"number"`
	Time      time.Time `json:"time"`
	RequestID string    `json:"requestId,omitempty"`
	Operation string    `json:"operation"` // that was called: ec2:RunInstances
	Principal string    `json:"principal"` // ARN
	Action    string    `json:"action"`    // that was needed: iam:PassRole
	Resource  string    `json:"resource"`
	Allowed   bool      `json:"allowed"`
	// LetThrough says that it was not allowed, and nobody enforced that.
	LetThrough bool `json:"letThrough,omitempty"`
	// Reason is the end of AWS's sentence for a denial.
	Reason string `json:"reason,omitempty"`
	// By are the statements that made the decision.
	By []string `json:"by,omitempty"`
	// NearMisses are statements that would have allowed it but for a condition.
	NearMisses []NearMiss `json:"nearMisses,omitempty"`
	// Remedies are the smallest statements that, together, would have allowed it.
	Remedies []Remedy `json:"remedies,omitempty"`
	// Context are the condition keys that the request had.
	Context map[string][]string `json:"context"`
}

// NearMiss is a statement with a condition that did not hold.
type NearMiss struct {
	Statement string `json:"statement"`
	Condition string `json:"condition"`
	// Given is what the request had for the condition's key.
	Given []string `json:"given"`
}

// Remedy is a statement and the policy that lacks it.
type Remedy struct {
	AddTo     string          `json:"addTo"`
	Statement json.RawMessage `json:"statement"`
}

// Decisions asks what IAM decided.
func (c *Client) Decisions(ctx context.Context, q DecisionQuery) (*Decisions, error) {
	v := url.Values{}
	if q.Denied {
		v.Set("denied", "true")
	}
	for name, value := range map[string]string{"principal": q.Principal, "action": q.Action} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	if q.After > 0 {
		v.Set("after", strconv.FormatUint(q.After, 10))
	}
	var d Decisions
	err := c.do(ctx, http.MethodGet, "/iam/decisions?"+v.Encode(), &d)
	return &d, err
}

package admin

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// PodQuery names one container of a pod.
type PodQuery struct {
	Cluster, Region, Account string // may be empty where there is one cluster only
	Namespace, Pod           string
	Container                string // empty is the pod's first
}

// PodCredentials is the answer of POST /_ekslocal/pods/NAMESPACE/POD/credentials: how
// an AWS SDK in a container comes by credentials, step by step.
type PodCredentials struct {
	Cluster        string `json:"cluster"`
	Namespace      string `json:"namespace"`
	Pod            string `json:"pod"`
	Container      string `json:"container"`
	ServiceAccount string `json:"serviceAccount"`
	Node           string `json:"node"`
	// Steps are in the order in which they happen. The last one decides.
	Steps []CredentialStep `json:"steps"`
	// Identity is whose the credentials are, nil if there are none.
	Identity *CredentialIdentity `json:"identity,omitempty"`
	// Credentials are good: a session that was made for this answer.
	Credentials *Credentials `json:"credentials,omitempty"`
}

// Outcome is what became of a step.
type Outcome string

// The outcomes.
const (
	StepDone    Outcome = "done"
	StepSkipped Outcome = "skipped" // there is nothing for it to do: the chain goes on
	StepRefused Outcome = "refused" // the chain ends here, without credentials
	StepWarned  Outcome = "warned"  // done, but hardly as it was meant
)

// CredentialStep is one step on the way to credentials.
type CredentialStep struct {
	// Name is webhook, environment, web identity, token, sts, container credentials,
	// agent, eks-auth, instance metadata.
	Name    string  `json:"name"`
	Outcome Outcome `json:"outcome"`
	Text    string  `json:"text"`
	// Error is what the SDK is told, in the words of whoever refused.
	Error string `json:"error,omitempty"`
	// Mend is what would help.
	Mend []string `json:"mend,omitempty"`
}

// CredentialIdentity is a principal with the names of what it may do.
type CredentialIdentity struct {
	ARN      string     `json:"arn"`
	Account  string     `json:"account"`
	UserID   string     `json:"userId"`
	Policies []string   `json:"policies"`
	Boundary []string   `json:"boundary,omitempty"`
	Session  []string   `json:"sessionPolicies,omitempty"`
	Tags     []string   `json:"tags,omitempty"` // of the principal: key=value
	Expires  *time.Time `json:"expires,omitempty"`
}

// Credentials are temporary credentials.
type Credentials struct {
	AccessKeyID     string `json:"accessKeyId"`
	SecretAccessKey string `json:"secretAccessKey"`
	SessionToken    string `json:"sessionToken"`
}

// PodCredentials obtains a container's credentials as an SDK in it would.
func (c *Client) PodCredentials(ctx context.Context, q PodQuery) (*PodCredentials, error) {
	v := url.Values{}
	for name, value := range map[string]string{"cluster": q.Cluster, "region": q.Region, "account": q.Account, "container": q.Container} {
		if value != "" {
			v.Set(name, value)
		}
	}
	var out PodCredentials
	err := c.do(ctx, http.MethodPost, "/pods/"+url.PathEscape(q.Namespace)+"/"+url.PathEscape(q.Pod)+"/credentials?"+v.Encode(), &out)
	return &out, err
}

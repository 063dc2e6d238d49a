package policy

import "strings"

// articles are how AWS's messages speak of the policy that denies.
var articles = [...]string{"an identity-based policy", "a permissions boundary", "a session policy", "a resource-based policy", "the role trust policy"}

// bare are the services whose messages leave a resource "*" out; others write it.
var bare = map[string]bool{"ec2": true, "elasticloadbalancing": true, "autoscaling": true}

// Reason is the end of AWS's message for a denial ("Troubleshoot access denied error
// messages"). AWS names one layer, whatever others would have said.
func (d *Decision) Reason() string {
	switch {
	case d.Allowed():
		return ""
	case d.Outcome == Denied:
		return "with an explicit deny in " + articles[d.By[0].Layer]
	}
	return "because no " + d.Missing[0].String() + " allows the " + d.Request.Action + " action"
}

// Sentence is AWS's message for a denial: "User: arn:aws:iam::111122223333:user/a is
// not authorized to perform: eks:ListClusters on resource: ... because ...".
func (d *Decision) Sentence() string {
	r := &d.Request
	vendor, _, _ := strings.Cut(r.Action, ":")
	on := " on resource: " + r.Resource
	if r.Resource == "" || r.Resource == "*" && bare[vendor] {
		on = ""
	}
	return "User: " + d.who() + " is not authorized to perform: " + r.Action + on + " " + d.Reason()
}

func (d *Decision) who() string {
	p := &d.Request.Principal
	switch {
	case p.ARN != "":
		return p.ARN
	case p.Service != "":
		return p.Service
	case p.Federated != "":
		return p.Federated
	}
	return "anonymous"
}

// UnauthorizedOperation is EC2's message for a denial. It ends with the decision in
// encoded form where the action is about a resource.
func (d *Decision) UnauthorizedOperation(encoded string) string {
	s := "You are not authorized to perform this operation. " + d.Sentence()
	if encoded != "" {
		s += ". Encoded authorization failure message: " + encoded
	}
	return s
}

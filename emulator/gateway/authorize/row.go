package authorize

import (
	"fmt"
	"strings"
)

// row is what the catalogue says about one operation. A line of it is the operation
// and words:
//
//	cluster/{Name}           a resource, {Member} being the request's; a list names several
//	{ResourceArn}            a member that is an ARN stands for itself
//	role{Path:/}{RoleName}   a member with a default
//	{QueueUrl|queue}         a member in another form
//	kms!key/{KmsKeyId}       a resource of another service
//	ec2!!image/{ImageId}     one whose ARN has no account
//	self                     the caller, if the members are not set
//	*                        everything, or nothing in particular
//	as=Action                the action is not named as the operation; it may be another
//	                         service's, kms:CreateGrant
//	ifset                    nothing is needed if the members are not set
//	eks:key=Member.Member    a condition key of the request
//	ec2:key@volume=Member    one that goes with a kind of resource only
//	kms:context:*=Member     one for each key of a map
//	kms:keys=Member|keys     the keys of a map
//	tags=Tags                the tags that the request sets, map or list
//	tagging=TagResource      what setting them needs besides
//	pass=RoleArn:eks.amazonaws.com      a role that is handed to a service
//	pass=RoleArn:ec2.amazonaws.com?Type=EC2  one that is if a member has a value
//	passprofile=Name:ec2.amazonaws.com  the role of an instance profile
//	itself                   the service decides, by the policies of the resource too
//	linked=eks.amazonaws.com the service-linked role that the first use makes
//	free                     nobody needs permission
//
// A line of an operation with a word after a slash, as in ReEncrypt/source, says what
// it needs besides.
type row struct {
	operation, action string
	free, self        bool
	itself, ifSet     bool
	resources         []string
	keys              []keyPath
	tags              []string
	tagging, linked   string
	passed            []passPath
	more              []row
}

type keyPath struct{ name, only, path string }

type passPath struct {
	path, service string
	when, is      string // the member and its value; empty: always
	profile       bool
}

func parse(text string) (map[string]row, error) {
	out := map[string]row{}
	for i, line := range strings.Split(text, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		operation, besides, _ := strings.Cut(words[0], "/")
		r := row{operation: operation}
		first, dup := out[operation]
		if dup != (besides != "") {
			return nil, fmt.Errorf("line %d: %s is there twice, or not yet", i+1, words[0])
		}
		for _, w := range words[1:] {
			if err := r.word(w); err != nil {
				return nil, fmt.Errorf("line %d: %w", i+1, err)
			}
		}
		if besides != "" {
			first.more = append(first.more, r)
			r = first
		}
		out[operation] = r
	}
	return out, nil
}

func (r *row) word(w string) error {
	name, v, assigned := strings.Cut(w, "=")
	switch {
	case w == "free":
		r.free = true
	case w == "self":
		r.self = true
	case w == "itself":
		r.itself = true
	case w == "ifset":
		r.ifSet = true
	case !assigned:
		r.resources = append(r.resources, w)
	case v == "":
		return fmt.Errorf("%q says nothing", w)
	case name == "as":
		r.action = v
	case name == "tags":
		r.tags = append(r.tags, v)
	case name == "linked":
		r.linked = v
	case name == "tagging":
		r.tagging = v
	case name == "pass" || name == "passprofile":
		path, service, ok := strings.Cut(v, ":")
		if !ok {
			return fmt.Errorf("%q names no service", w)
		}
		service, when, _ := strings.Cut(service, "?")
		when, is, _ := strings.Cut(when, "=")
		r.passed = append(r.passed, passPath{path, service, when, is, name == "passprofile"})
	case strings.Contains(name, ":"):
		key, only, _ := strings.Cut(strings.ToLower(name), "@")
		r.keys = append(r.keys, keyPath{key, only, v})
	default:
		return fmt.Errorf("%q is no word of the catalogue", w)
	}
	return nil
}

// Package authorize knows what each operation of the AWS APIs needs permission for:
// IAM's action names, the resources and the condition keys of a decoded request.
package authorize

import (
	"cmp"
	"embed"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
)

// Check is one question that a request has to be allowed by IAM.
type Check struct {
	Action   string
	Resource string // ARN, or "*" if the action is about none
	// Keys are the condition keys that the request itself gives, lower case. Those of
	// the caller and of the resource as it is are for whoever asks to add.
	Keys map[string][]string
}

// Names completes names that requests have to the ARNs that policies have. It answers
// "" for what is not there.
type Names interface {
	// ARN finds the full ARN of a resource: iam's role/NAME with the role's path, kms's
	// key/alias/NAME as its key, eks's nodegroup/CLUSTER/NAME/* with its id. The role
	// in an instance profile is iam's instance-profile/NAME/role, the service-linked role
	// that a service has yet to make iam's service-linked-role/SERVICE.
	ARN(sc awsid.Scope, service, resource string) string
}

//go:embed catalogue/*.txt
var files embed.FS

// prefixes are IAM's names of services whose API is called otherwise.
var prefixes = map[string]string{"elb": "elasticloadbalancing", "elbv2": "elasticloadbalancing", "eksauth": "eks-auth"}

// Prefix is the service's name in actions.
func Prefix(service string) string {
	if p, ok := prefixes[service]; ok {
		return p
	}
	return service
}

var catalogue = sync.OnceValue(func() map[string]map[string]row {
	out := map[string]map[string]row{}
	entries, err := files.ReadDir("catalogue")
	if err != nil {
		panic(err) // they are in the binary
	}
	for _, e := range entries {
		text, err := files.ReadFile("catalogue/" + e.Name())
		if err != nil {
			panic(err)
		}
		service := strings.TrimSuffix(e.Name(), ".txt")
		rows, err := parse(string(text))
		if err != nil {
			panic(fmt.Sprintf("%s: %v", e.Name(), err)) // a test reads them all
		}
		out[service] = rows
	}
	return out
})

// Checks lists the questions of an operation. There are none for an operation that
// needs no permission. One that the catalogue lacks needs the action of its name on
// everything.
func Checks(service, operation string, caller awsid.Caller, input any, names Names) []Check {
	r, ok := catalogue()[service][operation]
	if !ok {
		r = row{operation: operation, resources: []string{"*"}}
	}
	if r.free {
		return nil
	}
	e := evaluation{service: service, prefix: Prefix(service), sc: caller.Scope, caller: caller.ARN, input: input, names: names}
	out := e.checks(r)
	for _, more := range r.more {
		out = append(out, e.checks(more)...)
	}
	return out
}

// Itself tells whether the service asks IAM on its own: it knows more of the request
// than there is in its input.
func Itself(service, operation string) bool { return catalogue()[service][operation].itself }

// evaluation is one request on its way through a row.
type evaluation struct {
	service, prefix string
	sc              awsid.Scope
	caller          string // ARN
	input           any
	names           Names
}

func (e *evaluation) checks(r row) []Check {
	resources := e.resources(r)
	action := e.prefix + ":" + cmp.Or(r.action, r.operation)
	if strings.Contains(r.action, ":") {
		action = r.action
	}
	var out []Check
	for _, arn := range resources {
		out = append(out, Check{action, arn, e.keys(r, arn, e.tags(r, arn))})
	}
	for _, arn := range resources {
		requested := e.tags(r, arn)
		// EC2 asks about what is made and not about what it is made in.
		if r.tagging == "" || len(requested) == 0 || e.service == "ec2" && !strings.HasSuffix(arn, "/*") {
			continue
		}
		keys := e.keys(r, arn, requested)
		if e.service == "ec2" {
			keys["ec2:createaction"] = []string{r.operation}
		}
		out = append(out, Check{e.prefix + ":" + r.tagging, arn, keys})
	}
	for _, p := range r.passed {
		if p.when != "" && !slices.Contains(values(e.input, p.when), p.is) {
			continue
		}
		for _, role := range values(e.input, p.path) {
			if c, ok := e.passRole(role, p); ok && !slices.ContainsFunc(out, func(o Check) bool {
				return o.Action == c.Action && o.Resource == c.Resource && slices.Equal(o.Keys[passedTo], c.Keys[passedTo])
			}) {
				out = append(out, c)
			}
		}
	}
	if r.linked != "" && e.names != nil {
		if arn := e.names.ARN(e.sc, "iam", "service-linked-role/"+r.linked); arn != "" {
			out = append(out, Check{"iam:CreateServiceLinkedRole", arn, map[string][]string{"iam:awsservicename": {r.linked}}})
		}
	}
	return out
}

// keys are the request's condition keys that go with a resource.
func (e *evaluation) keys(r row, arn string, requested map[string]string) map[string][]string {
	keys := map[string][]string{}
	for _, k := range r.keys {
		if k.only != "" && !strings.Contains(arn, ":"+k.only+"/") {
			continue
		}
		if prefix, ok := strings.CutSuffix(k.name, "*"); ok { // one key for each of a map
			m := map[string]string{}
			collectTags(e.input, k.path, m)
			for name, v := range m {
				keys[prefix+strings.ToLower(name)] = []string{v}
			}
		} else if path, ok := strings.CutSuffix(k.path, "|keys"); ok {
			m := map[string]string{}
			collectTags(e.input, path, m)
			if len(m) > 0 {
				keys[k.name] = slices.Sorted(maps.Keys(m))
			}
		} else if v := values(e.input, k.path); len(v) > 0 {
			keys[k.name] = v
		}
	}
	policy.AddRequestTags(keys, requested)
	slices.Sort(keys["aws:tagkeys"])
	return keys
}

const passedTo = "iam:passedtoservice"

// passRole is the permission to hand a role to a service. Requests name roles by ARN
// or, if the service takes that, by name; some name the instance profile that a role
// is in.
func (e *evaluation) passRole(role string, p passPath) (Check, bool) {
	arn := role
	switch {
	case p.profile:
		arn = ""
		if e.names != nil {
			arn = e.names.ARN(e.sc, "iam", "instance-profile/"+role[strings.LastIndex(role, "/")+1:]+"/role")
		}
	case !strings.HasPrefix(arn, "arn:"):
		arn = e.arn("iam", "role/"+role)
	}
	return Check{"iam:PassRole", arn, map[string][]string{passedTo: {p.service}}}, arn != ""
}

// tags are those that the request sets on a resource. EC2's say what kind of resource
// they are for.
func (e *evaluation) tags(r row, arn string) map[string]string {
	out := map[string]string{}
	for _, path := range r.tags {
		specs, ok := strings.CutSuffix(path, ".Tags")
		if !ok {
			collectTags(e.input, path, out)
			continue
		}
		made := strings.HasSuffix(arn, "/*")
		visit(reflect.ValueOf(e.input), strings.Split(specs, "."), func(spec reflect.Value) {
			kind := fmt.Sprint(spec.FieldByName("ResourceType").Interface())
			if kind == "" && made || kind != "" && strings.Contains(arn, ":"+kind+"/") {
				collectTags(spec.Interface(), "Tags", out)
			}
		})
	}
	return out
}

// resources fills a row's templates. A template whose member the request lacks names
// nothing; if none names anything, the action is about everything.
func (e *evaluation) resources(r row) []string {
	var out []string
	for _, t := range r.resources {
		for _, arn := range e.filled(t) {
			if !slices.Contains(out, arn) {
				out = append(out, arn)
			}
		}
	}
	switch {
	case out == nil && r.ifSet:
		return nil
	case out == nil && r.self && e.caller != "":
		return []string{e.caller}
	case out == nil:
		return []string{"*"}
	}
	return out
}

// filled are the ARNs of one template.
func (e *evaluation) filled(template string) []string {
	var out []string
	for _, f := range fill(e.input, template) {
		arn := e.complete(f)
		// KMS's keys may be named by the ARN of an alias.
		if _, alias, ok := strings.Cut(arn, ":alias/"); ok && strings.HasPrefix(template, "key/") && e.names != nil {
			if a, err := awsid.ParseARN(arn); err == nil {
				if key := e.names.ARN(a.Scope(), e.prefix, "key/alias/"+alias); key != "" {
					arn = key
				}
			}
		}
		out = append(out, arn)
	}
	return out
}

// complete makes an ARN of a filled template.
func (e *evaluation) complete(filled string) string {
	if filled == "*" || strings.HasPrefix(filled, "arn:") {
		return filled
	}
	if rest, ok := strings.CutPrefix(filled, "//"); ok { // of another account, perhaps
		account, rest, _ := strings.Cut(rest, "/")
		return awsid.Scope{Account: account, Region: e.sc.Region}.ARN(e.prefix, rest)
	}
	if service, rest, ok := strings.Cut(filled, "!"); ok { // of another service, or none of the account's
		if rest, ok := strings.CutPrefix(rest, "!"); ok {
			return awsid.Scope{Region: e.sc.Region}.ARN(service, rest)
		}
		return e.arn(service, rest)
	}
	return e.arn(e.prefix, filled)
}

func (e *evaluation) arn(service, resource string) string {
	if e.names != nil {
		if arn := e.names.ARN(e.sc, service, resource); arn != "" {
			return arn
		}
	}
	if service == "iam" || service == "sts" {
		return e.sc.Global().ARN(service, resource)
	}
	return e.sc.ARN(service, resource)
}

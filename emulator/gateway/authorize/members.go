package authorize

import (
	"fmt"
	"reflect"
	"strings"
)

// values reads the members of an SDK input at a path such as AccessConfig.Name, as
// text. Lists on the way are gone through; what is not set has no value.
func values(input any, path string) []string {
	var out []string
	visit(reflect.ValueOf(input), strings.Split(path, "."), func(v reflect.Value) { out = append(out, fmt.Sprint(v.Interface())) })
	return out
}

// visit calls f with every value at the path that is set and not empty.
func visit(v reflect.Value, path []string, f func(reflect.Value)) {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	switch {
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			visit(v.Index(i), path, f)
		}
	case len(path) == 0:
		if v.IsValid() && !(v.Kind() == reflect.String && v.Len() == 0) {
			f(v)
		}
	case v.Kind() == reflect.Struct:
		if m := v.FieldByName(path[0]); m.IsValid() {
			visit(m, path[1:], f)
		}
	}
}

// fill replaces the members in a template; a list makes several of it, and a member
// that is not set and has no default none.
func fill(input any, template string) []string {
	out := []string{""}
	for rest := template; ; {
		before, after, ok := strings.Cut(rest, "{")
		for i := range out {
			out[i] += before
		}
		if !ok {
			return out
		}
		member, tail, _ := strings.Cut(after, "}")
		member, form, _ := strings.Cut(member, "|")
		member, byDefault, defaulted := strings.Cut(member, ":")
		found := values(input, member)
		if found == nil && form == "bus" {
			found = []string{"default"}
		}
		if found == nil && defaulted {
			found = []string{byDefault}
		}
		var next []string
		for _, o := range out {
			for _, v := range found {
				if f, ok := forms[form]; ok {
					v = f(v)
				}
				if strings.HasPrefix(v, "arn:") && tail == "" {
					next = append(next, v) // the client named it by ARN
					continue
				}
				next = append(next, o+v)
			}
		}
		if next == nil {
			return nil
		}
		out, rest = next, tail
	}
}

// forms make of a member what its ARN has in its place.
var forms = map[string]func(string) string{
	// queue is the name at the end of a queue's URL, with the account before it.
	"queue": func(v string) string {
		rest, name, ok := cutLast(v, "/")
		if _, account, ok2 := cutLast(rest, "/"); ok && ok2 && len(account) == 12 {
			return "//" + account + "/" + name
		}
		return name
	},
	// parameter is a parameter's name without the slash that its ARN has anyway, and
	// without version or label.
	"parameter": func(v string) string {
		if !strings.HasPrefix(v, "arn:") {
			v, _, _ = strings.Cut(v, ":")
		}
		return strings.TrimPrefix(v, "/")
	},
	// principal is an access entry's principal as the entry's ARN has it.
	"principal": func(v string) string {
		p := strings.SplitN(v, ":", 6)
		if len(p) != 6 {
			return v
		}
		kind, name, _ := strings.Cut(p[5], "/")
		return kind + "/" + p[4] + "/" + name[strings.LastIndex(name, "/")+1:]
	},
	// bus is an event bus's name or ARN as the ARNs of its rules have it.
	"bus": func(v string) string {
		if v = v[strings.LastIndex(v, "/")+1:]; v == "default" {
			return ""
		}
		return v + "/"
	},
	// ec2id is a resource of EC2 by its id, whose prefix tells its kind.
	"ec2id": func(id string) string {
		prefix, _, _ := strings.Cut(id, "-")
		kind, ok := ec2Kinds[prefix]
		switch {
		case !ok:
			return "*/" + id
		case kind == "snapshot" || kind == "image": // their ARNs have no account
			return "ec2!!" + kind + "/" + id
		}
		return kind + "/" + id
	},
	// url is an identity provider's URL without its scheme.
	"url": func(v string) string { return strings.TrimPrefix(v, "https://") },
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+len(sep):], true
}

// ec2Kinds are the kinds of EC2's resources by the prefixes of their ids.
var ec2Kinds = map[string]string{
	"i": "instance", "vol": "volume", "snap": "snapshot", "vpc": "vpc", "subnet": "subnet", "sg": "security-group", "sgr": "security-group-rule",
	"eni": "network-interface", "rtb": "route-table", "igw": "internet-gateway", "eigw": "egress-only-internet-gateway", "nat": "natgateway",
	"eipalloc": "elastic-ip", "lt": "launch-template", "acl": "network-acl", "dopt": "dhcp-options", "vpce": "vpc-endpoint", "pl": "prefix-list",
	"pcx": "vpc-peering-connection", "fl": "vpc-flow-log", "key": "key-pair", "pg": "placement-group", "ami": "image", "fleet": "fleet", "scr": "subnet-cidr-reservation",
}

// collectTags adds the tags at a path to out: a map, or a list of structures with Key
// and Value, which KMS calls TagKey and TagValue.
func collectTags(input any, path string, out map[string]string) {
	add := func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Map:
			for it := v.MapRange(); it.Next(); {
				out[it.Key().String()] = it.Value().String()
			}
		case reflect.Struct:
			key, value := first(v, "Key", "TagKey"), first(v, "Value", "TagValue")
			if key != "" {
				out[key] = value
			}
		}
	}
	visit(reflect.ValueOf(input), strings.Split(path, "."), add)
}

// first is the text of the first member that v has.
func first(v reflect.Value, names ...string) string {
	for _, n := range names {
		if m := v.FieldByName(n); m.IsValid() {
			if s, ok := m.Interface().(*string); ok && s != nil {
				return *s
			}
		}
	}
	return ""
}

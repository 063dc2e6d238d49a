package hold

import (
	"slices"
	"strings"
)

// client is what a User-Agent tells of a caller.
type client struct {
	// waits: it asks in order to wait, and has no use for a state that passes.
	waits bool
	// waiter is its waiter's name as in botocore, such as ClusterActive, if it says.
	waiter string
}

// clientOf reads a User-Agent header:
//
//   - SDKs list the features a request uses as m/<letters>; B is a waiter (the
//     same in botocore, SDK for Go v2, Java v2 and others).
//   - AWS CLI v2 names its command: md/command#eks.wait.cluster-active.
//   - Terraform's provider polls until a state that it wants, and fails on none
//     that passes.
//   - Cluster API's provider gives SDK waiters a condition of its own that a
//     state that passes fulfils (WaitUntilClusterUpdating): it is never held.
func clientOf(userAgent string) client {
	var c client
	for word := range strings.FieldsSeq(userAgent) {
		switch prefix, rest, _ := strings.Cut(word, "/"); prefix {
		case "aws.cluster.x-k8s.io":
			return client{}
		case "terraform-provider-aws":
			c.waits = true
		case "m":
			c.waits = c.waits || slices.Contains(strings.Split(rest, ","), "B")
		case "md":
			if command, ok := strings.CutPrefix(rest, "command#"); ok {
				if _, name, ok := strings.Cut(command, ".wait."); ok {
					c.waits, c.waiter = true, camel(name)
				}
			}
		}
	}
	return c
}

// camel turns cluster-active into ClusterActive.
func camel(s string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(s, "-") {
		if part != "" {
			b.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	return b.String()
}

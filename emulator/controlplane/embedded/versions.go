package embedded

import "fmt"

// releases are the minor versions that the linked Kubernetes can emulate, with
// the EKS build each one reports. Oldest first.
var releases = []struct{ minor, git string }{
	{"1.33", "v1.33.8-eks-f69f56f"},
	{"1.34", "v1.34.4-eks-3a10415"},
	{"1.35", "v1.35.2-eks-f69f56f"},
	{"1.36", "v1.36.0-eks-40737a8"},
}

func gitVersion(minor string) (string, error) {
	for _, r := range releases {
		if r.minor == minor {
			return r.git, nil
		}
	}
	return "", fmt.Errorf("kubernetes version %q is not one of the embedded control plane's (%s to %s)",
		minor, releases[0].minor, releases[len(releases)-1].minor)
}

// older tells whether minor version a comes before b; both are of releases.
func older(a, b string) bool {
	index := func(v string) int {
		for i, r := range releases {
			if r.minor == v {
				return i
			}
		}
		return -1
	}
	return index(a) < index(b)
}

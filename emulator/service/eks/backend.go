package eks

import (
	"maps"
	"slices"
)

// TagBackend chooses what runs a new cluster. Its value is kept as any tag's is; to
// change it later changes nothing.
const TagBackend = "ekslocal.dev/backend"

// What runs a cluster, as TagBackend and records have it.
const (
	BackendEmbedded = "embedded" // in records "", what was before there was a choice
	BackendKind     = "kind"
)

// backendOf is the backend of a new cluster with such tags, as records have it.
func (s *Service) backendOf(a about, tags map[string]string) (string, error) {
	name, ok := tags[TagBackend]
	switch {
	case !ok:
		return s.backend, nil
	case name == BackendEmbedded:
		return "", nil
	case s.backends[name] != nil:
		return name, nil
	}
	return "", a.invalidParameter("The tag %s must be one of %s, not %s", TagBackend, enumerate(append([]string{BackendEmbedded}, slices.Sorted(maps.Keys(s.backends))...)), name)
}

// versionsOf are the versions that a backend serves, oldest first.
func (s *Service) versionsOf(backend string) []string {
	if backend == "" {
		return s.versions
	}
	return s.backends[backend]()
}

// takesFargate refuses what would give simulated nodes to a cluster of real ones.
func takesFargate(a about, c *Cluster) error {
	if c.Backend == BackendKind {
		return a.invalidRequest("Cluster %s runs on kind, whose clusters have no Fargate: make a node group, or a cluster with the tag %s=%s.", a.cluster, TagBackend, BackendEmbedded)
	}
	return nil
}

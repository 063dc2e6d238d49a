package iam

import (
	"fmt"

	"github.com/ekslocal/ekslocal/fixtures/quotas"
)

// quota returns a limit: Config's, else AWS's default.
func (s *Service) quota(name string) int {
	if n, ok := s.quotas[name]; ok {
		return n
	}
	return quotas.Get(name)
}

// overQuota is IAM's error for a quota, by IAM's own name of it, that is used up.
func overQuota(name string, most int) error {
	return limitExceeded(fmt.Sprintf("Cannot exceed quota for %s: %d", name, most))
}

// checkQuota refuses one more of what there are n of.
func checkQuota(s *Service, n int, quota, name string) error {
	if most := s.quota(quota); n >= most {
		return overQuota(name, most)
	}
	return nil
}

package ec2

import (
	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/quotas"
)

// quota returns a limit: Config's, else AWS's default.
func (s *Service) quota(name string) int {
	if n, ok := s.quotas[name]; ok {
		return n
	}
	return quotas.Get(name)
}

// errLimit is EC2's error for a quota that is used up.
func errLimit(code, what string) error {
	return apiError(code, "The maximum number of %s has been reached.", what)
}

// checkQuota refuses one more record of a table. Only scope-wide quotas are counted
// this way; those of a VPC count what is in it.
func checkQuota[T any](s *Service, tx *store.Tx, sc awsid.Scope, table store.Table[T], name, code, what string) error {
	if len(table.List(tx, sc)) >= s.quota(name) {
		return errLimit(code, what)
	}
	return nil
}

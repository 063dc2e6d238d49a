package iam

import (
	"context"
	"net/http"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/smithy-go"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// rootCreated is when every account was opened: accounts exist without
// anybody having made them.
var rootCreated = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

var aliasPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9]|-[a-z0-9])*$`)

func checkAlias(alias *string) error {
	var c checks
	c.Required("accountAlias", alias, 3, 63)
	c.Pattern("accountAlias", alias, aliasPattern, "^[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]$")
	return c.err()
}

// CreateAccountAlias implements the operation; a new alias replaces the old.
func (s *Service) CreateAccountAlias(ctx context.Context, in *iam.CreateAccountAliasInput, _ ...func(*iam.Options)) (*iam.CreateAccountAliasOutput, error) {
	if err := checkAlias(in.AccountAlias); err != nil {
		return nil, err
	}
	sc := scopeOf(ctx)
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		for at, a := range accounts.All(tx) {
			// Sign-in pages of partitions are on hosts of their own.
			if a.Alias == *in.AccountAlias && at.Scope.Partition() == sc.Partition() {
				return exists("The account alias " + a.Alias + " already exists.")
			}
		}
		accounts.Put(tx, sc, "account", &accountSettings{Alias: *in.AccountAlias})
		return nil
	})
	return answer(&iam.CreateAccountAliasOutput{}, err)
}

// DeleteAccountAlias implements the operation.
func (s *Service) DeleteAccountAlias(ctx context.Context, in *iam.DeleteAccountAliasInput, _ ...func(*iam.Options)) (*iam.DeleteAccountAliasOutput, error) {
	if err := checkAlias(in.AccountAlias); err != nil {
		return nil, err
	}
	sc := scopeOf(ctx)
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if a := accounts.Get(tx, sc, "account"); a == nil || a.Alias != *in.AccountAlias {
			return noSuchEntity("The account alias " + *in.AccountAlias + " cannot be found.")
		}
		accounts.Put(tx, sc, "account", &accountSettings{})
		return nil
	})
	return answer(&iam.DeleteAccountAliasOutput{}, err)
}

// ListAccountAliases implements the operation.
func (s *Service) ListAccountAliases(ctx context.Context, _ *iam.ListAccountAliasesInput, _ ...func(*iam.Options)) (*iam.ListAccountAliasesOutput, error) {
	out := []string{}
	if a := accounts.Get(s.store, scopeOf(ctx), "account"); a != nil && a.Alias != "" {
		out = append(out, a.Alias)
	}
	return &iam.ListAccountAliasesOutput{AccountAliases: out}, nil
}

// GetAccountSummary implements the operation.
func (s *Service) GetAccountSummary(ctx context.Context, _ *iam.GetAccountSummaryInput, _ ...func(*iam.Options)) (*iam.GetAccountSummaryOutput, error) {
	sc := scopeOf(ctx)
	own := policies.List(s.store, sc)
	versions := 0
	for _, p := range own {
		versions += len(p.Versions)
	}
	virtual := devices.List(s.store, sc)
	n := func(v int) int32 { return int32(v) }
	return &iam.GetAccountSummaryOutput{SummaryMap: map[string]int32{
		"Users": n(len(users.List(s.store, sc))), "UsersQuota": n(s.quota("users-per-account")),
		"Groups": n(len(groups.List(s.store, sc))), "GroupsQuota": n(s.quota("groups-per-account")),
		"Roles": n(len(roles.List(s.store, sc))), "RolesQuota": n(s.quota("roles-per-account")),
		"InstanceProfiles": n(len(profiles.List(s.store, sc))), "InstanceProfilesQuota": n(s.quota("instance-profiles-per-account")),
		"Policies": n(len(own)), "PoliciesQuota": n(s.quota("managed-policies-per-account")),
		"PolicyVersionsInUse": n(versions), "PolicyVersionsInUseQuota": 10000,
		"Providers":                    n(len(providers.List(s.store, sc))),
		"AccessKeysPerUserQuota":       maxKeysPerUser,
		"AttachedPoliciesPerRoleQuota": n(s.quota("managed-policies-per-role")), "AttachedPoliciesPerUserQuota": n(s.quota("managed-policies-per-user")),
		"AttachedPoliciesPerGroupQuota": n(s.quota("managed-policies-per-group")),
		"AssumeRolePolicySizeQuota":     n(s.quota("role-trust-policy-length")), "PolicySizeQuota": maxPolicySize, "VersionsPerPolicyQuota": maxVersions,
		"RolePolicySizeQuota": n(roleHolder.inlineSize), "UserPolicySizeQuota": n(userHolder.inlineSize), "GroupPolicySizeQuota": n(groupHolder.inlineSize),
		"GroupsPerUserQuota": maxGroupsPerUser, "ServerCertificates": 0, "ServerCertificatesQuota": 20,
		"SigningCertificatesPerUserQuota": 2, "MFADevices": n(len(virtual)), "MFADevicesInUse": n(len(virtual) - len(devicesOf(s.store, sc, ""))), "AccountMFAEnabled": 0,
		"AccountAccessKeysPresent": 1, "AccountPasswordPresent": 1, "AccountSigningCertificatesPresent": 0,
		"GlobalEndpointTokenVersion": 1,
	}}, nil
}

// accessDenied refuses what only others may touch.
func accessDenied(ctx context.Context, resource string) error {
	return denied{&smithy.GenericAPIError{
		Code: "AccessDenied", Fault: smithy.FaultClient,
		Message: "User: " + awsid.CallerFrom(ctx).ARN + " is not authorized to perform this operation on resource: " + resource,
	}}
}

// denied has not the usual status of 400.
type denied struct{ *smithy.GenericAPIError }

// HTTPStatusCode tells the wire layer the status.
func (denied) HTTPStatusCode() int { return http.StatusForbidden }

// Role finds a role by account and name.
func (s *Service) Role(_ context.Context, sc awsid.Scope, name string) (policy.Role, bool) {
	r := roles.Get(s.store, sc.Global(), key(name))
	if r == nil || r.Name != name {
		return policy.Role{}, false
	}
	return r.forPolicy(sc.Account), true
}

// RoleByARN finds a role of the account by its full ARN, path included.
func (s *Service) RoleByARN(_ context.Context, sc awsid.Scope, arn string) (policy.Role, bool) {
	r := roles.Get(s.store, sc.Global(), key(lastSegment(arn)))
	if r == nil || r.ARN != arn {
		return policy.Role{}, false
	}
	return r.forPolicy(sc.Account), true
}

func (r *role) forPolicy(account string) policy.Role {
	return policy.Role{
		Account: account, Name: r.Name, ARN: r.ARN, ID: r.ID, Trust: r.Trust, Attached: r.Attached, Inline: r.Inline,
		Boundary: r.Boundary, MaxSession: time.Duration(r.MaxSession) * time.Second, Tags: tagMap(r.Tags),
	}
}

// UserByARN returns the unique id of a user of the account.
func (s *Service) UserByARN(_ context.Context, sc awsid.Scope, arn string) (id string, ok bool) {
	u := users.Get(s.store, sc.Global(), key(lastSegment(arn)))
	if u == nil || u.ARN != arn {
		return "", false
	}
	return u.ID, true
}

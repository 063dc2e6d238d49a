package authn

import (
	"encoding/json"
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"
)

// awsAuth is a parsed aws-auth ConfigMap.
type awsAuth struct {
	mappings map[string]mapping // by lower-case ARN
	accounts map[string]bool
}

type roleOrUser struct {
	RoleARN  string   `json:"rolearn"`
	UserARN  string   `json:"userarn"`
	Username string   `json:"username"`
	Groups   []string `json:"groups"`
}

// parseAWSAuth reads what it can: a section that is not YAML maps nobody, a row
// without an ARN is left out, the others count.
func parseAWSAuth(data map[string]string) (awsAuth, []error) {
	out := awsAuth{mappings: map[string]mapping{}, accounts: map[string]bool{}}
	var errs []error
	// Users come first, so that a role of the same ARN wins, as in
	// aws-iam-authenticator; within a section the last row of an ARN does.
	for _, section := range [...]string{"mapUsers", "mapRoles"} {
		var rows []roleOrUser
		if err := unmarshal(data[section], &rows); err != nil {
			errs = append(errs, fmt.Errorf("%s is not a list of mappings: %w", section, err))
			continue
		}
		for i, r := range rows {
			arn := r.UserARN
			if section == "mapRoles" {
				arn = r.RoleARN
			}
			if arn == "" {
				errs = append(errs, fmt.Errorf("%s: row %d has no %s", section, i+1, map[string]string{"mapRoles": "rolearn", "mapUsers": "userarn"}[section]))
				continue
			}
			out.mappings[strings.ToLower(arn)] = mapping{username: r.Username, groups: r.Groups, source: "aws-auth " + section}
		}
	}
	var accounts []string
	if err := unmarshal(data["mapAccounts"], &accounts); err != nil {
		errs = append(errs, fmt.Errorf("mapAccounts is not a list of quoted account ids: %w", err))
	}
	for _, a := range accounts {
		out.accounts[a] = true
	}
	return out, errs
}

// unmarshal goes through JSON without a look at the target's types, as
// aws-iam-authenticator does: an account id without quotes is a number, thus an
// error, instead of whatever its digits mean in YAML (leading zeros: octal).
func unmarshal(text string, into any) error {
	b, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// find maps p. The ARN in aws-auth must be the canonical one: a role's path in
// there never matches, which is how EKS behaves too.
func (a awsAuth) find(p principal) (mapping, bool) {
	if m, ok := a.mappings[strings.ToLower(p.Canonical)]; ok {
		if m.username == "" {
			m.username = p.Canonical
		}
		return m, true
	}
	if a.accounts[p.Account] {
		return mapping{username: p.Canonical, source: "aws-auth mapAccounts"}, true
	}
	return mapping{}, false
}

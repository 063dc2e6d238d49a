package authn

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	yamlv2 "go.yaml.in/yaml/v2"
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

// parseAWSAuth reads what it can, as aws-iam-authenticator's
// pkg/mapper/configmap/configmap.go does: a section that is not YAML maps nobody, a
// row without an ARN is left out, a field of the wrong type is as if it were not
// there, and all the rest counts. Nothing is kept of an earlier ConfigMap: that is
// how a slip of an editor locks people out.
func parseAWSAuth(data map[string]string) (awsAuth, []error) {
	out := awsAuth{mappings: map[string]mapping{}, accounts: map[string]bool{}}
	var errs []error
	// Users come first, so that a role of the same ARN wins; within a section the
	// last row of an ARN does.
	for _, s := range [...]struct{ section, field string }{{"mapUsers", "userarn"}, {"mapRoles", "rolearn"}} {
		rows, err := parseRows(data[s.section])
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.section, err))
		}
		for i, r := range rows {
			arn := r.UserARN
			if s.section == "mapRoles" {
				arn = r.RoleARN
			}
			if arn == "" {
				errs = append(errs, fmt.Errorf("%s: row %d has no %s", s.section, i+1, s.field))
				continue
			}
			out.mappings[strings.ToLower(arn)] = mapping{username: r.Username, groups: r.Groups, source: "aws-auth " + s.section}
		}
	}
	var accounts []string
	if text := data["mapAccounts"]; !emptySection(text) {
		// Here YAML decides by the target's type, so that an account id needs no quotes.
		if err := yamlv2.Unmarshal([]byte(text), &accounts); err != nil {
			errs = append(errs, fmt.Errorf("mapAccounts: not a list of account ids: %w", err))
		}
	}
	for _, a := range accounts {
		out.accounts[a] = true
	}
	return out, errs
}

// emptySection tells whether a section says nothing, in one of the ways that
// editors leave behind.
func emptySection(text string) bool {
	return slices.Contains([]string{"", "``", `""`, "''"}, strings.TrimSpace(text))
}

// parseRows goes through JSON without a look at the fields' types: a username of
// yes is a truth value, not a string. What was understood is returned with the
// error.
func parseRows(text string) ([]roleOrUser, error) {
	if emptySection(text) {
		return nil, nil
	}
	b, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("not YAML: %w", err)
	}
	var rows []roleOrUser
	var odd *json.UnmarshalTypeError
	switch err := json.Unmarshal(b, &rows); {
	case err == nil:
		return rows, nil
	case errors.As(err, &odd) && odd.Field == "":
		return rows, fmt.Errorf("not a list of mappings: %w", err)
	case errors.As(err, &odd):
		return rows, fmt.Errorf("%s must be a %s, not a %s", odd.Field, odd.Type, odd.Value)
	default:
		return nil, err
	}
}

// find maps p. The ARN in aws-auth must be the canonical one: a role's path in
// there never matches, which is how EKS behaves too. A row without a username gives
// the user none: that gets along until a call is forwarded to an aggregated API
// (kubernetes-sigs/aws-iam-authenticator issue 289).
func (a awsAuth) find(p principal) (mapping, bool) {
	if m, ok := a.mappings[strings.ToLower(p.Canonical)]; ok {
		return m, true
	}
	if a.accounts[p.Account] {
		return mapping{username: p.Canonical, source: "aws-auth mapAccounts"}, true
	}
	return mapping{}, false
}

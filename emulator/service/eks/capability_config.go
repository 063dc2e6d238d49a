package eks

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// defaultArgoCDNamespace is where Argo CD's objects go when nothing is said.
const defaultArgoCDNamespace = "argocd"

// checkCapabilityConfiguration: the configuration is that of the type, and Argo CD
// needs an IAM Identity Center instance.
func checkCapabilityConfiguration(a about, in *eks.CreateCapabilityInput) error {
	cfg := in.Configuration
	if cfg == nil {
		cfg = &ekstypes.CapabilityConfigurationRequest{}
	}
	if cfg.ArgoCd != nil && in.Type != ekstypes.CapabilityTypeArgocd || cfg.Ack != nil && in.Type != ekstypes.CapabilityTypeAck {
		return a.invalidParameter("The configuration does not belong to a capability of type %s", in.Type)
	}
	if in.Type != ekstypes.CapabilityTypeArgocd {
		return nil
	}
	if cfg.ArgoCd == nil || cfg.ArgoCd.AwsIdc == nil || aws.ToString(cfg.ArgoCd.AwsIdc.IdcInstanceArn) == "" {
		return a.invalidParameter("An ARGOCD capability needs configuration.argoCd.awsIdc.idcInstanceArn")
	}
	return checkRoleMappings(a, cfg.ArgoCd.RbacRoleMappings)
}

func checkRoleMappings(a about, mappings []ekstypes.ArgoCdRoleMapping) error {
	for _, m := range mappings {
		if !slices.Contains(m.Role.Values(), m.Role) {
			return a.invalidParameter("Unsupported Argo CD role %s: it must be ADMIN, EDITOR or VIEWER", m.Role)
		}
		for _, i := range m.Identities {
			if aws.ToString(i.Id) == "" || !slices.Contains(i.Type.Values(), i.Type) {
				return a.invalidParameter("An identity of Argo CD role %s needs an id and the type SSO_USER or SSO_GROUP", m.Role)
			}
		}
	}
	return nil
}

// capabilityConfiguration is what EKS shows of a request's configuration.
func capabilityConfiguration(scope awsid.Scope, in *eks.CreateCapabilityInput) *ekstypes.CapabilityConfigurationResponse {
	out := &ekstypes.CapabilityConfigurationResponse{}
	switch in.Type {
	case ekstypes.CapabilityTypeAck:
		out.Ack = &ekstypes.AckConfigResponse{EnableCrossNamespace: aws.Bool(false)}
		if cfg := in.Configuration; cfg != nil && cfg.Ack != nil {
			out.Ack.DisabledServices = cfg.Ack.DisabledServices
			out.Ack.EnableCrossNamespace = aws.Bool(aws.ToBool(cfg.Ack.EnableCrossNamespace))
		}
	case ekstypes.CapabilityTypeArgocd:
		cfg := in.Configuration.ArgoCd
		out.ArgoCd = &ekstypes.ArgoCdConfigResponse{
			AwsIdc:    &ekstypes.ArgoCdAwsIdcConfigResponse{IdcInstanceArn: cfg.AwsIdc.IdcInstanceArn, IdcRegion: cfg.AwsIdc.IdcRegion},
			Namespace: cfg.Namespace, EndpointPrefix: cfg.EndpointPrefix, RbacRoleMappings: cfg.RbacRoleMappings,
		}
		if cfg.AwsIdc.IdcRegion == nil {
			out.ArgoCd.AwsIdc.IdcRegion = aws.String(scope.Region)
		}
		if cfg.Namespace == nil {
			out.ArgoCd.Namespace = aws.String(defaultArgoCDNamespace)
		}
		if cfg.NetworkAccess != nil {
			out.ArgoCd.NetworkAccess = &ekstypes.ArgoCdNetworkAccessConfigResponse{VpceIds: cfg.NetworkAccess.VpceIds}
		}
	default:
		return nil
	}
	return out
}

// UpdateCapability implements eks:UpdateCapability.
func (s *Service) UpdateCapability(ctx context.Context, in *eks.UpdateCapabilityInput, _ ...func(*eks.Options)) (*eks.UpdateCapabilityOutput, error) {
	a := about{cluster: aws.ToString(in.ClusterName)}
	bare := *in
	bare.ClientRequestToken = nil
	req, err := newRequest(in.ClientRequestToken, bare)
	if err != nil {
		return nil, err
	}
	scope := awsid.CallerFrom(ctx).Scope
	if _, err := readCapability(s.store, scope, in.ClusterName, in.CapabilityName); err != nil {
		return nil, err
	}
	var role Principal
	if in.RoleArn != nil {
		if role, err = s.capabilityRole(ctx, a, *in.RoleArn); err != nil {
			return nil, err
		}
	}
	var u *Update
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := readCapability(tx, scope, in.ClusterName, in.CapabilityName); err != nil {
			return err
		}
		if u, err = earlierUpdate(tx, scope, a, req); err != nil || u != nil {
			return err
		}
		id := ChildID(a.cluster, *in.CapabilityName)
		c := Capabilities.Edit(tx, scope, id)
		if c.UpdateID != "" || c.Resource.Status == ekstypes.CapabilityStatusCreating || c.Resource.Status == ekstypes.CapabilityStatusDeleting {
			return a.inUse("Capability %s cannot be updated as it is currently in %s state", *in.CapabilityName, c.Resource.Status)
		}
		params, err := c.configure(a, in)
		if err != nil {
			return err
		}
		if in.RoleArn != nil {
			cluster, err := readRunningCluster(tx, scope, a)
			if err != nil {
				return err
			}
			s.putCapabilityEntry(tx, cluster, role, c.Resource.Type)
		}
		u = s.newUpdate(scope, a, ekstypes.UpdateTypeCapabilityUpdate, params, req)
		u.Capability = *in.CapabilityName
		c.UpdateID, c.Resource.Status, c.Resource.ModifiedAt = *u.Resource.Id, ekstypes.CapabilityStatusUpdating, s.now()
		c.Generation++
		Capabilities.Put(tx, scope, id, c)
		putUpdate(tx, u)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &eks.UpdateCapabilityOutput{Update: &u.Resource}, nil
}

// configure applies an update and says what it changed.
func (c *Capability) configure(a about, in *eks.UpdateCapabilityInput) ([]ekstypes.UpdateParam, error) {
	var params []ekstypes.UpdateParam
	if in.RoleArn != nil {
		c.Resource.RoleArn = in.RoleArn
		params = append(params, param(ekstypes.UpdateParamTypeRoleArn, *in.RoleArn))
	}
	if p := in.DeletePropagationPolicy; p != "" {
		if !slices.Contains(p.Values(), p) {
			return nil, a.invalidParameter("Unsupported deletePropagationPolicy %s", p)
		}
		c.Resource.DeletePropagationPolicy = p
	}
	if in.Configuration != nil {
		more, err := c.reconfigure(a, in.Configuration)
		if err != nil {
			return nil, err
		}
		params = append(params, more...)
	}
	if len(params) == 0 && in.Configuration == nil && in.DeletePropagationPolicy == "" {
		return nil, a.invalidParameter("At least one of roleArn, configuration and deletePropagationPolicy must be specified.")
	}
	return params, nil
}

func (c *Capability) reconfigure(a about, in *ekstypes.UpdateCapabilityConfiguration) (params []ekstypes.UpdateParam, err error) {
	now := c.Resource.Configuration
	if in.Ack != nil && (now == nil || now.Ack == nil) || in.ArgoCd != nil && (now == nil || now.ArgoCd == nil) {
		return nil, a.invalidParameter("The configuration does not belong to a capability of type %s", c.Resource.Type)
	}
	if in.Ack != nil {
		ack := *now.Ack
		if in.Ack.DisabledServices != nil {
			ack.DisabledServices = in.Ack.DisabledServices
		}
		if in.Ack.EnableCrossNamespace != nil {
			ack.EnableCrossNamespace = in.Ack.EnableCrossNamespace
		}
		c.Resource.Configuration = &ekstypes.CapabilityConfigurationResponse{Ack: &ack}
	}
	if in.ArgoCd == nil {
		return nil, nil
	}
	argo := *now.ArgoCd
	if n := in.ArgoCd.NetworkAccess; n != nil {
		argo.NetworkAccess = &ekstypes.ArgoCdNetworkAccessConfigResponse{VpceIds: n.VpceIds}
		params = append(params, param(ekstypes.UpdateParamTypeNetworkAccess, map[string]any{"vpceIds": n.VpceIds}))
	}
	if m := in.ArgoCd.RbacRoleMappings; m != nil {
		if err := checkRoleMappings(a, slices.Concat(m.AddOrUpdateRoleMappings, m.RemoveRoleMappings)); err != nil {
			return nil, err
		}
		argo.RbacRoleMappings = changeRoleMappings(argo.RbacRoleMappings, m)
		if len(m.AddOrUpdateRoleMappings) > 0 {
			params = append(params, param(ekstypes.UpdateParamTypeRoleMappingsToAddOrUpdate, shownMappings(m.AddOrUpdateRoleMappings)))
		}
		if len(m.RemoveRoleMappings) > 0 {
			params = append(params, param(ekstypes.UpdateParamTypeRoleMappingsToRemove, shownMappings(m.RemoveRoleMappings)))
		}
	}
	c.Resource.Configuration = &ekstypes.CapabilityConfigurationResponse{ArgoCd: &argo}
	return params, nil
}

// changeRoleMappings replaces the identities of roles, then takes identities out; a
// role without any has no mapping.
func changeRoleMappings(now []ekstypes.ArgoCdRoleMapping, m *ekstypes.UpdateRoleMappings) []ekstypes.ArgoCdRoleMapping {
	out := slices.Clone(now)
	at := func(r ekstypes.ArgoCdRole) int {
		return slices.IndexFunc(out, func(o ekstypes.ArgoCdRoleMapping) bool { return o.Role == r })
	}
	for _, add := range m.AddOrUpdateRoleMappings {
		if i := at(add.Role); i >= 0 {
			out[i] = add
		} else {
			out = append(out, add)
		}
	}
	for _, gone := range m.RemoveRoleMappings {
		i := at(gone.Role)
		if i < 0 {
			continue
		}
		left := slices.DeleteFunc(slices.Clone(out[i].Identities), func(id ekstypes.SsoIdentity) bool {
			return slices.ContainsFunc(gone.Identities, func(g ekstypes.SsoIdentity) bool {
				return g.Type == id.Type && aws.ToString(g.Id) == aws.ToString(id.Id)
			})
		})
		if len(left) == 0 {
			out = slices.Delete(out, i, i+1)
		} else {
			out[i].Identities = left
		}
	}
	return out
}

func shownMappings(in []ekstypes.ArgoCdRoleMapping) []map[string]any {
	out := make([]map[string]any, 0, len(in))
	for _, m := range in {
		ids := make([]map[string]any, 0, len(m.Identities))
		for _, i := range m.Identities {
			ids = append(ids, map[string]any{"id": aws.ToString(i.Id), "type": i.Type})
		}
		out = append(out, map[string]any{"role": m.Role, "identities": ids})
	}
	return out
}

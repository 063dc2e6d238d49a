package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// letNodesIn makes the group's instance profile and maps its role into the
// cluster: by an EC2_LINUX access entry where the cluster has those, else by a row
// in aws-auth.
func (l *Lifecycle) letNodesIn(ctx context.Context, c *ekssvc.Cluster, ng *ekssvc.Nodegroup, rt *runtime) error {
	if ng.ManagedTemplateHash != "" {
		return nil // done before the first template; what users change later is theirs
	}
	if err := l.makeProfile(ctx, ng); err != nil {
		return err
	}
	if !ekssvc.UsesAccessEntries(c) {
		rt.auth.Lock()
		defer rt.auth.Unlock()
		return addAuthRow(ctx, rt, nodeRow(ng))
	}
	role := ekssvc.Principal{ARN: *ng.Resource.NodeRole, ID: ng.NodeRoleID}
	return l.Store.Update(ctx, func(tx *store.Tx) error {
		ekssvc.EnsureNodeEntry(tx, c, role, ekssvc.NodeEntryType(ng.Resource.AmiType), l.Clock.Now())
		return nil
	})
}

// nodeRow is the row of a group's role in aws-auth.
func nodeRow(ng *ekssvc.Nodegroup) authRow {
	return authRow{RoleARN: *ng.Resource.NodeRole, Username: "system:node:{{EC2PrivateDNSName}}", Groups: []string{"system:bootstrappers", "system:nodes"}}
}

// letGroupsIn gives a cluster that has lost its objects the rows of aws-auth that its
// groups have put there; a new cluster has no groups.
func (l *Lifecycle) letGroupsIn(ctx context.Context, c *ekssvc.Cluster, rt *runtime) error {
	if ekssvc.UsesAccessEntries(c) {
		return nil
	}
	rt.auth.Lock()
	defer rt.auth.Unlock()
	for _, ng := range ekssvc.Nodegroups.ListPrefix(l.Store, c.Scope, ekssvc.ClusterPrefix(*c.Resource.Name)) {
		if ng.ManagedTemplateHash == "" || ng.Resource.Status == ekstypes.NodegroupStatusDeleting {
			continue
		}
		if err := addAuthRow(ctx, rt, nodeRow(ng)); err != nil {
			return err
		}
	}
	return nil
}

func profileName(ng *ekssvc.Nodegroup) string { return "eks-" + ng.ID }

func (l *Lifecycle) makeProfile(ctx context.Context, ng *ekssvc.Nodegroup) error {
	ctx = as(ctx, ng.Scope)
	name, role := profileName(ng), roleName(*ng.Resource.NodeRole)
	if _, err := l.IAM.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: &name}); err != nil && !isCode(err, "EntityAlreadyExists") {
		return fmt.Errorf("instance profile %s: %w", name, err)
	}
	_, err := l.IAM.AddRoleToInstanceProfile(ctx, &iam.AddRoleToInstanceProfileInput{InstanceProfileName: &name, RoleName: &role})
	if err != nil && !isCode(err, "LimitExceeded") { // it has its one role already
		return fmt.Errorf("instance profile %s: %w", name, err)
	}
	return nil
}

func roleName(arn string) string { return arn[strings.LastIndex(arn, "/")+1:] }

// keepNodesOut undoes letNodesIn, unless another group of the cluster needs it.
func (l *Lifecycle) keepNodesOut(ctx context.Context, c *ekssvc.Cluster, ng *ekssvc.Nodegroup, rt *runtime) error {
	actx := as(ctx, ng.Scope)
	name, role := profileName(ng), roleName(*ng.Resource.NodeRole)
	if _, err := l.IAM.RemoveRoleFromInstanceProfile(actx, &iam.RemoveRoleFromInstanceProfileInput{InstanceProfileName: &name, RoleName: &role}); err != nil && !isCode(err, "NoSuchEntity") {
		return fmt.Errorf("instance profile %s: %w", name, err)
	}
	if _, err := l.IAM.DeleteInstanceProfile(actx, &iam.DeleteInstanceProfileInput{InstanceProfileName: &name}); err != nil && !isCode(err, "NoSuchEntity") {
		return fmt.Errorf("instance profile %s: %w", name, err)
	}
	if !ekssvc.UsesAccessEntries(c) {
		rt.auth.Lock()
		defer rt.auth.Unlock()
		if sharesRole(l.Store, ng) {
			return nil
		}
		return removeAuthRow(ctx, rt, *ng.Resource.NodeRole)
	}
	id := ekssvc.ChildID(*c.Resource.Name, *ng.Resource.NodeRole)
	return l.Store.Update(ctx, func(tx *store.Tx) error {
		e := ekssvc.AccessEntries.Get(tx, ng.Scope, id)
		// In the transaction: a new group may be letting its nodes in at this moment.
		if e != nil && strings.HasPrefix(aws.ToString(e.Resource.Type), "EC2_") && !sharesRole(tx, ng) {
			ekssvc.AccessEntries.Delete(tx, ng.Scope, id)
		}
		return nil
	})
}

// sharesRole tells whether another group of the cluster has the same node role.
func sharesRole(r store.Reader, ng *ekssvc.Nodegroup) bool {
	groups := ekssvc.Nodegroups.ListPrefix(r, ng.Scope, ekssvc.ClusterPrefix(*ng.Resource.ClusterName))
	return slices.ContainsFunc(groups, func(o *ekssvc.Nodegroup) bool {
		return o.ID != ng.ID && aws.ToString(o.Resource.NodeRole) == *ng.Resource.NodeRole
	})
}

// authRow is one element of aws-auth's mapRoles.
type authRow struct {
	RoleARN  string   `json:"rolearn"`
	Username string   `json:"username"`
	Groups   []string `json:"groups"`
}

// addAuthRow adds a role's row, unless it has one, as EKS does for managed node
// groups and Fargate. A ConfigMap that cannot be parsed is left alone: it is the
// user's to mend.
func addAuthRow(ctx context.Context, rt *runtime, row authRow) error {
	return editAuth(ctx, rt, func(rows []authRow) []authRow {
		if slices.ContainsFunc(rows, func(r authRow) bool { return r.RoleARN == row.RoleARN }) {
			return rows
		}
		return append(rows, row)
	})
}

func removeAuthRow(ctx context.Context, rt *runtime, role string) error {
	return editAuth(ctx, rt, func(rows []authRow) []authRow {
		return slices.DeleteFunc(rows, func(r authRow) bool { return r.RoleARN == role })
	})
}

func editAuth(ctx context.Context, rt *runtime, f func([]authRow) []authRow) error {
	maps := rt.client.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	cm, err := maps.Get(ctx, awsAuthName, metav1.GetOptions{})
	missing := apierrors.IsNotFound(err)
	if missing {
		cm = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: awsAuthName, Namespace: metav1.NamespaceSystem}}
	} else if err != nil {
		return fmt.Errorf("aws-auth: %w", err)
	}
	var rows []authRow
	if yaml.Unmarshal([]byte(cm.Data["mapRoles"]), &rows) != nil {
		return nil
	}
	before := len(rows)
	if rows = f(rows); len(rows) == before && !missing {
		return nil
	}
	text, err := yaml.Marshal(rows)
	if err != nil {
		return fmt.Errorf("aws-auth: %w", err)
	}
	if cm.Data == nil {
		cm.Data = map[string]string{}
	}
	cm.Data["mapRoles"] = string(text)
	if missing {
		_, err = maps.Create(ctx, cm, metav1.CreateOptions{FieldManager: fieldManager})
	} else {
		_, err = maps.Update(ctx, cm, metav1.UpdateOptions{FieldManager: fieldManager})
	}
	if err != nil {
		return fmt.Errorf("aws-auth: %w", err)
	}
	return nil
}

package child

import (
	"context"
	"fmt"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/uuid"
	flowcontrolbootstrap "k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	"k8s.io/component-base/version"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	schedulingapi "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"

	"github.com/ekslocal/ekslocal/emulator/controlplane/embedded"
)

// seedState tells how the cluster's default objects stand.
type seedState struct {
	// current is false if the objects are there but another version made them:
	// then the API server's own hooks must reconcile them.
	current bool
	// mark records that they are this version's.
	mark func(context.Context) error
}

// seed writes the objects that every cluster starts with straight into etcd. The
// API server's post-start hooks make the same ones, but poll for a second first
// and then create some 130 objects one by one, which is most of a stock start.
//
// A copy of a prefix that the hooks once filled is as quick, but is one more thing
// to make for every version, to keep and to clean of the first cluster's identity.
func seed(ctx context.Context, plan embedded.Plan) (*seedState, error) {
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{plan.EtcdEndpoint}, Context: ctx, DialTimeout: 5 * time.Second})
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	defer c.Close()
	key := path.Join(plan.EtcdPrefix, "ekslocal", "defaults-of")
	now := plan.Version + " by " + linkedVersion()
	s := &seedState{mark: func(ctx context.Context) error { return putMark(ctx, plan, key, now) }}

	marked, err := c.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	if len(marked.Kvs) > 0 {
		if s.current = string(marked.Kvs[0].Value) == now; s.current {
			s.mark = func(context.Context) error { return nil }
		}
		return s, nil
	}
	s.current = true
	return s, putMissing(ctx, c, plan.EtcdPrefix, defaultObjects())
}

func putMark(ctx context.Context, plan embedded.Plan, key, value string) error {
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{plan.EtcdEndpoint}, Context: ctx, DialTimeout: 5 * time.Second})
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	defer c.Close()
	_, err = c.Put(ctx, key, value)
	return err
}

// putMissing leaves alone what an interrupted earlier start has written.
func putMissing(ctx context.Context, c *clientv3.Client, prefix string, objs []seedObject) error {
	r, err := c.Get(ctx, prefix+"/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	have := make(map[string]bool, len(r.Kvs))
	for _, kv := range r.Kvs {
		have[string(kv.Key)] = true
	}
	info, ok := runtime.SerializerInfoForMediaType(legacyscheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	if !ok {
		return fmt.Errorf("no serializer for %s", runtime.ContentTypeProtobuf)
	}
	const perTxn = 100 // etcd takes 128
	var ops []clientv3.Op
	for i, o := range objs {
		k := path.Join(prefix, o.resource, o.GetNamespace(), o.GetName())
		if !have[k] {
			b, err := encode(info.Serializer, o)
			if err != nil {
				return fmt.Errorf("%s: %w", k, err)
			}
			ops = append(ops, clientv3.OpPut(k, string(b)))
		}
		if len(ops) == perTxn || i == len(objs)-1 {
			if _, err := c.Txn(ctx).Then(ops...).Commit(); err != nil {
				return fmt.Errorf("etcd: %w", err)
			}
			ops = ops[:0]
		}
	}
	return nil
}

func encode(s runtime.Serializer, o seedObject) ([]byte, error) {
	legacyscheme.Scheme.Default(o.obj)
	o.SetUID(uuid.NewUUID())
	o.SetCreationTimestamp(metav1.Now().Rfc3339Copy())
	return runtime.Encode(legacyscheme.Codecs.EncoderForVersion(s, o.gv), o.obj)
}

// linkedVersion is the Kubernetes that makes the objects.
func linkedVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "k8s.io/kubernetes" {
				return m.Version
			}
		}
	}
	return version.DefaultKubeBinaryVersion
}

type seedObject struct {
	resource string
	gv       schema.GroupVersion
	obj      runtime.Object
	metav1.Object
}

func defaultObjects() []seedObject {
	var all []seedObject
	add := func(resource string, gv schema.GroupVersion, o runtime.Object) {
		o = o.DeepCopyObject() // the policies are shared
		m, err := meta.Accessor(o)
		if err != nil {
			panic(err) // all of them are API objects
		}
		all = append(all, seedObject{resource, gv, o, m})
	}
	for _, n := range []string{"default", "kube-system", "kube-public", "kube-node-lease"} {
		add("namespaces", corev1.SchemeGroupVersion, &corev1.Namespace{
			ObjectMeta: metav1.ObjectMeta{Name: n, Labels: map[string]string{corev1.LabelMetadataName: n}},
			Spec:       corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}},
		})
		add("serviceaccounts", corev1.SchemeGroupVersion, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: n}})
	}
	for _, r := range aggregated(append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...)) {
		add("clusterroles", rbacv1.SchemeGroupVersion, &r)
	}
	for _, b := range append(bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings()...) {
		add("clusterrolebindings", rbacv1.SchemeGroupVersion, &b)
	}
	for _, roles := range bootstrappolicy.NamespaceRoles() {
		for _, r := range roles {
			add("roles", rbacv1.SchemeGroupVersion, &r)
		}
	}
	for _, bindings := range bootstrappolicy.NamespaceRoleBindings() {
		for _, b := range bindings {
			add("rolebindings", rbacv1.SchemeGroupVersion, &b)
		}
	}
	for _, p := range schedulingapi.SystemPriorityClasses() {
		p = p.DeepCopy()
		p.Generation = 1
		add("priorityclasses", schedulingv1.SchemeGroupVersion, p)
	}
	for _, list := range [][]*flowcontrolv1.PriorityLevelConfiguration{flowcontrolbootstrap.MandatoryPriorityLevelConfigurations, flowcontrolbootstrap.SuggestedPriorityLevelConfigurations} {
		for _, p := range list {
			p = p.DeepCopy()
			p.Generation = 1
			add("prioritylevelconfigurations", flowcontrolv1.SchemeGroupVersion, p)
		}
	}
	for _, list := range [][]*flowcontrolv1.FlowSchema{flowcontrolbootstrap.MandatoryFlowSchemas, flowcontrolbootstrap.SuggestedFlowSchemas} {
		for _, f := range list {
			f = f.DeepCopy()
			f.Generation = 1
			add("flowschemas", flowcontrolv1.SchemeGroupVersion, f)
		}
	}
	return all
}

// aggregated fills in the rules of admin, edit and view, which the controller
// manager would do a moment later, in the way it would.
func aggregated(roles []rbacv1.ClusterRole) []rbacv1.ClusterRole {
	roles = append([]rbacv1.ClusterRole(nil), roles...)
	slices.SortFunc(roles, func(a, b rbacv1.ClusterRole) int { return strings.Compare(a.Name, b.Name) })
	for changed := true; changed; { // admin takes in edit, which takes in view
		changed = false
		for i := range roles {
			if roles[i].AggregationRule == nil {
				continue
			}
			rules := aggregateRules(roles, &roles[i])
			if !equality.Semantic.DeepEqual(rules, roles[i].Rules) {
				roles[i].Rules, changed = rules, true
			}
		}
	}
	return roles
}

func aggregateRules(roles []rbacv1.ClusterRole, into *rbacv1.ClusterRole) []rbacv1.PolicyRule {
	var rules []rbacv1.PolicyRule
	for _, s := range into.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&s)
		if err != nil {
			panic(err) // the policy is a constant of the linked Kubernetes
		}
		for _, r := range roles {
			if r.Name == into.Name || !selector.Matches(labels.Set(r.Labels)) {
				continue
			}
			for _, rule := range r.Rules {
				if !slices.ContainsFunc(rules, func(have rbacv1.PolicyRule) bool { return equality.Semantic.DeepEqual(have, rule) }) {
					rules = append(rules, rule)
				}
			}
		}
	}
	return rules
}

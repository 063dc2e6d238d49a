package eks

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/eksversions"
)

// kubeletSkew is how many minor versions kubelets may be behind their API server.
const kubeletSkew = 3

// UpdateClusterVersion implements eks:UpdateClusterVersion.
func (s *Service) UpdateClusterVersion(ctx context.Context, in *eks.UpdateClusterVersionInput, _ ...func(*eks.Options)) (*eks.UpdateClusterVersionOutput, error) {
	a := about{cluster: aws.ToString(in.Name)}
	bare := *in
	bare.ClientRequestToken = nil
	req, err := newRequest(in.ClientRequestToken, bare)
	if err != nil {
		return nil, err
	}
	scope := awsid.CallerFrom(ctx).Scope
	c, err := readCluster(s.store, scope, a.cluster)
	if err != nil {
		return nil, err
	}
	if aws.ToString(in.Version) == "" {
		return nil, a.invalidParameter("version must be specified.")
	}
	if old, err := earlierUpdate(s.store, scope, a, req); err != nil || old != nil {
		return versionUpdateOutput(old), err
	}
	change, err := s.versionChange(ctx, a, c, in)
	if err != nil {
		return nil, err
	}
	u, err := s.startClusterUpdate(ctx, a, req, change)
	if err != nil {
		return nil, err
	}
	return versionUpdateOutput(u), nil
}

// versionChange is the update of a cluster to the next minor version, or back to
// the one before.
func (s *Service) versionChange(ctx context.Context, a about, now *Cluster, in *eks.UpdateClusterVersionInput) (clusterChange, error) {
	to := *in.Version
	if now.Backend == BackendKind {
		return clusterChange{}, a.invalidRequest("Cluster %s runs on kind, where a cluster stays at the version of its node image: create another one at %s.", a.cluster, to)
	}
	v, known := eksversions.Get(to)
	n, ok := eksversions.Minors(aws.ToString(now.Resource.Version), to)
	if known && ok && (n == 1 || n == -1) {
		if err := s.checkRoom(ctx, a, now); err != nil {
			return clusterChange{}, err
		}
	}
	if known && ok && n == -1 {
		return s.rollbackChange(ctx, a, now, v, in)
	}
	if in.RollbackConfig != nil {
		return clusterChange{}, a.invalidParameter("rollbackConfig can only be specified for a version rollback.")
	}
	return clusterChange{
		kind: ekstypes.UpdateTypeVersionUpdate,
		params: []ekstypes.UpdateParam{
			param(ekstypes.UpdateParamTypeVersion, to), param(ekstypes.UpdateParamTypePlatformVersion, v.PlatformVersion),
		},
		apply: func(tx *store.Tx, c *Cluster) error {
			from := *c.Resource.Version
			if n, ok := eksversions.Minors(from, to); !known || !ok || n != 1 {
				return noVersionPath(a, from, to)
			}
			if !slices.Contains(s.versions, to) {
				return a.invalidParameter("Unsupported Kubernetes minor version update from %s to %s: the control planes of this emulator serve %s",
					from, to, enumerate(s.versions))
			}
			c.DesiredVersion = to
			return checkNodeSkew(tx, a, c, to)
		},
	}, nil
}

func noVersionPath(a about, from, to string) error {
	return a.invalidParameter("Unsupported Kubernetes minor version update from %s to %s", from, to)
}

func versionUpdateOutput(u *Update) *eks.UpdateClusterVersionOutput {
	if u == nil {
		return nil
	}
	return &eks.UpdateClusterVersionOutput{Update: &u.Resource}
}

// checkNodeSkew refuses an update that would leave node groups further behind
// than kubelets may be.
func checkNodeSkew(tx *store.Tx, a about, c *Cluster, to string) error {
	var behind []string
	for _, n := range Nodegroups.ListPrefix(tx, c.Scope, ClusterPrefix(a.cluster)) {
		if d, ok := eksversions.Minors(aws.ToString(n.Resource.Version), to); ok && d > kubeletSkew {
			behind = append(behind, *n.Resource.NodegroupName)
		}
	}
	if len(behind) == 0 {
		return nil
	}
	return a.invalidRequest("Nodegroups %s must be updated to match cluster version %s before updating cluster version to %s",
		strings.Join(behind, ", "), *c.Resource.Version, to)
}

// DescribeClusterVersions implements eks:DescribeClusterVersions: newest first.
// It shows EKS's calendar, also of versions that the control planes here do not
// serve.
func (s *Service) DescribeClusterVersions(_ context.Context, in *eks.DescribeClusterVersionsInput, _ ...func(*eks.Options)) (*eks.DescribeClusterVersionsOutput, error) {
	a := about{}
	if t := aws.ToString(in.ClusterType); t != "" && t != "eks" {
		return nil, a.invalidParameter("Unsupported clusterType %s", t)
	}
	if in.Status != "" && in.VersionStatus != "" {
		return nil, a.invalidParameter("Only one of status and versionStatus can be specified.")
	}
	want := in.VersionStatus
	if in.Status != "" {
		if !slices.Contains(in.Status.Values(), in.Status) {
			return nil, a.invalidParameter("Unsupported status %s", in.Status)
		}
		want = ekstypes.VersionStatus(strings.ToUpper(strings.ReplaceAll(string(in.Status), "-", "_")))
	}
	if want != "" && !slices.Contains(want.Values(), want) {
		return nil, a.invalidParameter("Unsupported versionStatus %s", want)
	}
	for _, v := range in.ClusterVersions {
		if _, ok := eksversions.Get(v); !ok {
			return nil, a.invalidParameter("unsupported Kubernetes version %s", v)
		}
	}
	var out []ekstypes.ClusterVersionInformation
	for _, v := range eksversions.All() {
		info := s.versionInfo(v)
		switch {
		case len(in.ClusterVersions) > 0 && !slices.Contains(in.ClusterVersions, v.Minor),
			aws.ToBool(in.DefaultOnly) && !info.DefaultVersion,
			want != "" && info.VersionStatus != want,
			want == "" && len(in.ClusterVersions) == 0 && !aws.ToBool(in.IncludeAll) && info.VersionStatus == ekstypes.VersionStatusUnsupported:
			continue
		}
		out = append(out, info)
	}
	out, next, err := page("DescribeClusterVersions", out, func(v ekstypes.ClusterVersionInformation) string {
		n, _ := eksversions.Minors("1.0", *v.ClusterVersion)
		return sortable(int64(1000 - n))
	}, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	return &eks.DescribeClusterVersionsOutput{ClusterVersions: out, NextToken: next}, nil
}

func (s *Service) versionInfo(v eksversions.Version) ekstypes.ClusterVersionInformation {
	support := v.Support(s.clock.Now())
	return ekstypes.ClusterVersionInformation{
		ClusterVersion: aws.String(v.Minor), ClusterType: aws.String("eks"), DefaultPlatformVersion: aws.String(v.PlatformVersion),
		DefaultVersion: v.Minor == s.DefaultVersion(), KubernetesPatchVersion: aws.String(v.Patch),
		ReleaseDate: aws.Time(v.Released), EndOfStandardSupportDate: aws.Time(v.EndOfStandardSupport), EndOfExtendedSupportDate: aws.Time(v.EndOfExtendedSupport),
		VersionStatus: ekstypes.VersionStatus(support),
		Status:        ekstypes.ClusterVersionStatus(strings.ToLower(strings.ReplaceAll(string(support), "_", "-"))),
	}
}

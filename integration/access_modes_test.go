package integration

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
)

// TestAuthenticationModes takes one cluster from CONFIG_MAP to API, with the same
// tokens all the way.
func TestAuthenticationModes(t *testing.T) {
	w := newWorld(t, start(t))
	ctx := t.Context()
	c := w.cluster(t, "dev", func(in *eks.CreateClusterInput) {
		in.AccessConfig = &ekstypes.CreateAccessConfigRequest{AuthenticationMode: ekstypes.AuthenticationModeConfigMap}
	})
	admin, _ := w.kubernetes(t, c)
	now(t, "the creator, whom nothing lists", admin, is("kubernetes-admin"))
	refusedAPI := func(when string) {
		t.Helper()
		_, err := w.eks.ListAccessEntries(ctx, &eks.ListAccessEntriesInput{ClusterName: aws.String("dev")})
		if e := errorAs[*ekstypes.InvalidRequestException](err); e == nil || !strings.Contains(e.Error(), "must be set to one of [API, API_AND_CONFIG_MAP]") {
			t.Errorf("%s: access entries: %v", when, err)
		}
	}
	refusedAPI("in CONFIG_MAP")

	dev := w.assume(t, w.assumable(t, "dev", "/"), "ann@example.com")
	far := w.assume(t, w.assumable(t, "far", "/teams/a/"), "far")
	al := w.iamUser(t, "al")
	devK, farK, alK := bearer(t, c, dev.token(t, "dev")), bearer(t, c, far.token(t, "dev")), bearer(t, c, al.token(t, "dev"))
	now(t, "a role without a row", devK, isRefused)

	rows := "- rolearn: " + dev.arn + "\n  username: dev:{{AccountID}}:{{SessionName}}:{{SessionNameRaw}}\n  groups: [devs, 'team-{{SessionName}}']\n"
	awsAuth(t, admin, map[string]string{"mapRoles": rows + "- {rolearn: " + far.arn + ", username: far}\n", "mapUsers": "- {userarn: " + al.arn + ", username: al, groups: [als]}\n"})
	soon(t, "a row of aws-auth", devK, is("dev:000000000000:ann-example.com:ann@example.com"))
	if u, err := whoAmI(ctx, devK); err != nil || !slices.Contains(u.Groups, "devs") || !slices.Contains(u.Groups, "team-ann-example.com") {
		t.Errorf("the groups are %v, %v", u.Groups, err)
	}
	soon(t, "a user's row", alK, is("al"))
	now(t, "a row whose ARN has a path", farK, isRefused)
	awsAuth(t, admin, map[string]string{"mapRoles": rows + "- {rolearn: 'arn:aws:iam::000000000000:role/far', username: far}\n"})
	soon(t, "the row without the path", farK, is("far"))
	soon(t, "a row that is gone", alK, isRefused)

	awsAuth(t, admin, map[string]string{"mapRoles": strings.Replace(rows, "  username", "\tusername", 1), "mapAccounts": "- 000000000000\n"})
	soon(t, "a section that is no YAML: only the account is left", devK, is("arn:aws:iam::000000000000:role/dev"))
	now(t, "mapAccounts without quotes", alK, is(al.arn))
	awsAuth(t, admin, map[string]string{"mapRoles": strings.Replace(rows, "  username", "\tusername", 1)})
	soon(t, "locked out by a tab", devK, isRefused)
	now(t, "the creator, locked out by nothing", admin, is("kubernetes-admin"))
	awsAuth(t, admin, map[string]string{"mapRoles": rows})
	soon(t, "mended", devK, is("dev:000000000000:ann-example.com:ann@example.com"))

	w.authenticationMode(t, "dev", ekstypes.AuthenticationModeApiAndConfigMap)
	list := must(w.eks.ListAccessEntries(ctx, &eks.ListAccessEntriesInput{ClusterName: aws.String("dev")}))(t).AccessEntries
	if !slices.Equal(list, []string{"arn:aws:iam::000000000000:root"}) {
		t.Errorf("the entries that EKS makes are %v", list)
	}
	soon(t, "the creator has an entry", admin, is("arn:aws:iam::000000000000:root"))
	now(t, "aws-auth still counts", devK, is("dev:000000000000:ann-example.com:ann@example.com"))
	w.entry(t, "dev", dev.arn, func(in *eks.CreateAccessEntryInput) { in.Username = aws.String("entry:{{SessionName}}") })
	soon(t, "the entry wins", devK, is("entry:ann-example.com"))
	must(w.eks.DeleteAccessEntry(ctx, &eks.DeleteAccessEntryInput{ClusterName: aws.String("dev"), PrincipalArn: &dev.arn}))(t)
	soon(t, "aws-auth counts again", devK, is("dev:000000000000:ann-example.com:ann@example.com"))
	w.entry(t, "dev", far.arn) // with its path
	soon(t, "an entry whose ARN has a path", farK, is("arn:aws:sts::000000000000:assumed-role/far/far"))

	w.authenticationMode(t, "dev", ekstypes.AuthenticationModeApi)
	soon(t, "aws-auth counts no longer", devK, isRefused)
	now(t, "the entry does", farK, is("arn:aws:sts::000000000000:assumed-role/far/far"))
	for _, back := range []ekstypes.AuthenticationMode{ekstypes.AuthenticationModeApiAndConfigMap, ekstypes.AuthenticationModeConfigMap} {
		_, err := w.eks.UpdateClusterConfig(ctx, &eks.UpdateClusterConfigInput{Name: aws.String("dev"), AccessConfig: &ekstypes.UpdateAccessConfigRequest{AuthenticationMode: back}})
		if e := errorAs[*ekstypes.InvalidParameterException](err); e == nil || !strings.HasSuffix(e.Error(), "Unsupported authentication mode update from API to "+string(back)) {
			t.Errorf("back to %s: %v", back, err)
		}
	}
}

// TestAccessIsRevoked replays one token of each principal while what let it in is
// taken away.
func TestAccessIsRevoked(t *testing.T) {
	w := newWorld(t, start(t))
	ctx := t.Context()
	c := w.cluster(t, "dev")
	name := aws.String("dev")
	role := func(n string) identity { return w.assume(t, w.assumable(t, n, "/"), "me") }
	entered := func(i identity, policies ...string) *revoked {
		t.Helper()
		w.entry(t, "dev", i.arn)
		for _, p := range policies {
			w.grant(t, "dev", i.arn, p)
		}
		r := &revoked{i, bearer(t, c, i.token(t, "dev"))}
		soon(t, i.arn+" is let in", r, isAllowed)
		return r
	}
	const view = "AmazonEKSViewPolicy"
	entry, policy, deleted := entered(role("entry"), view), entered(role("policy"), view), entered(role("deleted"), view)
	key, off, gone := entered(w.iamUser(t, "key"), view), entered(w.iamUser(t, "off"), view), entered(w.iamUser(t, "gone"), view)

	must(w.eks.DeleteAccessEntry(ctx, &eks.DeleteAccessEntryInput{ClusterName: name, PrincipalArn: &entry.arn}))(t)
	soon(t, "a deleted entry", entry, isRefused)
	w.ungrant(t, "dev", policy.arn, view)
	soon(t, "a policy that is no longer associated", policy, isForbidden)
	w.deleteRole(t, "deleted")
	soon(t, "a deleted role", deleted, isRefused)
	w.deleteKey(t, key)
	soon(t, "a deleted key", key, isRefused)
	w.disableKey(t, off)
	soon(t, "an inactive key", off, isRefused)
	w.deleteKey(t, gone)
	w.deleteUser(t, "gone")
	soon(t, "a deleted user", gone, isRefused)

	again := role("deleted")
	k := bearer(t, c, again.token(t, "dev"))
	now(t, "a role made again under the name", k, isRefused)
	must(w.eks.DeleteAccessEntry(ctx, &eks.DeleteAccessEntryInput{ClusterName: name, PrincipalArn: &again.arn}))(t)
	w.entry(t, "dev", again.arn)
	soon(t, "with an entry of its own", k, is("arn:aws:sts::000000000000:assumed-role/deleted/me"))
}

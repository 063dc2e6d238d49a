package authn

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// user is the outcome of a mapping; the zero value is nobody.
type user struct {
	Name   string
	Groups []string
}

func TestMapping(t *testing.T) {
	const (
		admin = "arn:aws:iam::111122223333:role/admin"
		nodes = "arn:aws:iam::111122223333:role/nodes"
		alice = "arn:aws:iam::111122223333:user/team/alice"
		root  = "arn:aws:iam::111122223333:root"
	)
	role := func(s string) map[string]string { return map[string]string{"mapRoles": s} }
	cases := []struct {
		name    string
		mode    string
		key     string
		creator string
		entries map[string]Entry
		awsAuth map[string]string
		want    user
		log     string
	}{
		{name: "user's entry", key: "ALICE", entries: map[string]Entry{alice: {Type: "STANDARD", Groups: []string{"devs"}}}, want: user{alice, []string{"devs"}}},
		{name: "root's entry", key: "ROOT", entries: map[string]Entry{root: {Type: "STANDARD"}}, want: user{root, nil}},
		{name: "role's default name", key: "ADMIN", entries: map[string]Entry{admin: {Type: "STANDARD"}},
			want: user{"arn:aws:sts::111122223333:assumed-role/admin/bob-example.com", nil}},
		{name: "templates", key: "ADMIN", entries: map[string]Entry{admin: {Type: "STANDARD", Username: "{{AccountID}}:{{SessionName}}:{{SessionNameRaw}}", Groups: []string{"g:{{SessionName}}"}}},
			want: user{"111122223333:bob-example.com:bob@example.com", []string{"g:bob-example.com"}}},
		{name: "linux node", key: "NODE", entries: map[string]Entry{nodes: {Type: "EC2_LINUX"}},
			want: user{"system:node:ip-10-0-1-23.ec2.internal", []string{"system:nodes"}}},
		{name: "windows node", key: "NODE", entries: map[string]Entry{nodes: {Type: "EC2_WINDOWS"}},
			want: user{"system:node:ip-10-0-1-23.ec2.internal", []string{"system:nodes", "eks:kube-proxy-windows"}}},
		{name: "auto mode node", key: "NODE", entries: map[string]Entry{nodes: {Type: "EC2"}}, want: user{"system:node:" + nodeID, []string{"system:nodes"}}},
		{name: "fargate", key: "NODE", entries: map[string]Entry{nodes: {Type: "FARGATE_LINUX"}},
			want: user{"system:node:" + nodeID, []string{"system:bootstrappers", "system:nodes", "system:node-proxier"}}},
		{name: "hybrid node", key: "ADMIN", entries: map[string]Entry{admin: {Type: "HYBRID_LINUX"}}, want: user{"system:node:bob-example.com", []string{"system:nodes"}}},
		{name: "hyperpod node", key: "NODE", entries: map[string]Entry{nodes: {Type: "HYPERPOD_LINUX"}}, want: user{"system:node:" + nodeID, []string{"system:nodes"}}},
		{name: "node role assumed by somebody", key: "ADMIN", entries: map[string]Entry{admin: {Type: "EC2_LINUX"}}, log: "SessionName did not contain an instance id"},
		{name: "recreated role", key: "ADMIN", entries: map[string]Entry{admin: {Type: "STANDARD", PrincipalID: "AROAOLD"}},
			mode: ModeAPI, log: "AROAOLD"},
		{name: "recreated role, aws-auth without it", key: "ADMIN", entries: map[string]Entry{admin: {Type: "STANDARD", PrincipalID: "AROAOLD"}}, log: "AROAOLD"},
		{name: "recreated role in aws-auth", key: "ADMIN", entries: map[string]Entry{admin: {Type: "STANDARD", PrincipalID: "AROAOLD"}},
			awsAuth: role("- {rolearn: " + admin + ", username: x}"), want: user{"x", nil}},
		{name: "same role", key: "ADMIN", entries: map[string]Entry{admin: {Type: "STANDARD", PrincipalID: "AROAADMIN", Username: "a"}}, want: user{"a", nil}},

		{name: "entry wins", key: "ADMIN", entries: map[string]Entry{admin: {Username: "entry"}}, awsAuth: role("- {rolearn: " + admin + ", username: configmap}"), want: user{"entry", nil}},
		{name: "configmap as fallback", key: "ADMIN", awsAuth: role("- {rolearn: " + admin + ", username: configmap, groups: [a, b]}"), want: user{"configmap", []string{"a", "b"}}},
		{name: "API ignores the configmap", mode: ModeAPI, key: "ADMIN", awsAuth: role("- {rolearn: " + admin + ", username: x}"), log: "has no access entry"},
		{name: "CONFIG_MAP ignores entries", mode: ModeConfigMap, key: "ADMIN", entries: map[string]Entry{admin: {Username: "entry"}}, log: "ARN is not mapped"},

		{name: "creator", mode: ModeConfigMap, key: "ADMIN", creator: "arn:aws:sts::111122223333:assumed-role/admin/somebody", want: user{"kubernetes-admin", []string{"system:masters"}}},
		{name: "root creator", mode: ModeConfigMap, key: "ROOT", creator: root, want: user{"kubernetes-admin", []string{"system:masters"}}},
		{name: "creator in API mode", mode: ModeAPI, key: "ROOT", creator: root, log: "has no access entry"},
		{name: "not the creator", mode: ModeConfigMap, key: "ALICE", creator: root, log: "ARN is not mapped"},

		{name: "mapUsers", key: "ALICE", awsAuth: map[string]string{"mapUsers": "- userarn: " + alice + "\n  username: al\n  groups:\n  - devs\n"}, want: user{"al", []string{"devs"}}},
		{name: "mapAccounts", key: "ALICE", awsAuth: map[string]string{"mapAccounts": `- "111122223333"`}, want: user{alice, nil}},
		{name: "other account", key: "ALICE", awsAuth: map[string]string{"mapAccounts": `- "999999999999"`}, log: "ARN is not mapped"},
		{name: "account without quotes", key: "ALICE", awsAuth: map[string]string{"mapAccounts": `- 111122223333`}, want: user{alice, nil}},
		{name: "accounts that are no list", key: "ALICE", awsAuth: map[string]string{"mapAccounts": `{a: 111122223333}`}, log: "mapAccounts: not a list"},
		{name: "ARN in other case", key: "ADMIN", awsAuth: role("- {rolearn: " + strings.ToUpper(admin) + ", username: x}"), want: user{"x", nil}},
		{name: "ARN with path", key: "ADMIN", awsAuth: role("- {rolearn: 'arn:aws:iam::111122223333:role/teams/admin', username: x}"), log: "ARN is not mapped"},
		{name: "a word that is none to YAML", key: "ADMIN", awsAuth: role("- {rolearn: " + admin + ", username: x, groups: [g, yes]}"), want: user{"x", []string{"g", ""}}, log: "groups must be a string, not a bool"},
		{name: "groups that are no list", key: "ADMIN", awsAuth: role("- {rolearn: " + admin + ", username: x, groups: system:masters}"), want: user{"x", nil}, log: "groups must be a []string, not a string"},
		{name: "keys in other case", key: "ADMIN", awsAuth: role("- {roleARN: " + admin + ", userName: x, GROUPS: [g]}"), want: user{"x", []string{"g"}}},
		{name: "row without ARN", key: "ADMIN", awsAuth: role("- {username: z}\n- {rolearn: " + admin + ", username: x}"), want: user{"x", nil}, log: "row 1 has no rolearn"},
		{name: "ARN that is none", key: "ADMIN", awsAuth: role("- {rolearn: [" + admin + "], username: z}\n- {rolearn: " + admin + ", username: x}"), want: user{"x", nil}, log: "rolearn must be a string, not a array"},
		{name: "last row wins", key: "ADMIN", awsAuth: role("- {rolearn: " + admin + ", username: x}\n- {rolearn: " + admin + ", username: z}"), want: user{"z", nil}},
		{name: "not YAML", key: "ADMIN", awsAuth: role("- rolearn: [\n"), log: "mapRoles: not YAML"},
		{name: "a tab", key: "ADMIN", awsAuth: role("- rolearn: " + admin + "\n\tusername: x\n"), log: "mapRoles: not YAML"},
		{name: "one section broken", key: "ALICE", awsAuth: map[string]string{"mapRoles": "{", "mapUsers": "- {userarn: " + alice + ", username: al}"}, want: user{"al", nil}, log: "mapRoles: not YAML"},
		{name: "an empty section", key: "ALICE", awsAuth: map[string]string{"mapRoles": " '' ", "mapUsers": "- {userarn: " + alice + ", username: al}"}, want: user{"al", nil}},
		{name: "not a list", key: "ADMIN", awsAuth: role("rolearn: " + admin), log: "mapRoles: not a list of mappings"},
		{name: "aws-auth templates", key: "ADMIN", awsAuth: role("- {rolearn: " + admin + ", username: '{{AccountID}}/{{SessionName}}/{{SessionNameRaw}}/{{AccessKeyID}}', groups: ['{{SessionName}}s']}"),
			want: user{"111122223333/bob-example.com/bob@example.com/ADMIN", []string{"bob-example.coms"}}},
		{name: "node", key: "NODE", awsAuth: role("- {rolearn: " + nodes + ", username: 'system:node:{{EC2PrivateDNSName}}', groups: [system:bootstrappers, system:nodes]}"),
			want: user{"system:node:ip-10-0-1-23.ec2.internal", []string{"system:bootstrappers", "system:nodes"}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			if c.mode != "" {
				w.cluster.AuthenticationMode = c.mode
			}
			w.cluster.CreatorARN, w.cluster.CreatorIsAdmin = c.creator, c.creator != ""
			w.entries, w.awsAuth = c.entries, c.awsAuth
			id, ok, err := w.authenticator(t).Authenticate(context.Background(), clusterID, w.token(t, c.key))
			if err != nil && !denied(ok, err) {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, user{id.Username, id.Groups}); d != "" || ok != (c.want.Name != "") {
				t.Errorf("ok=%v %s\n%s", ok, d, &w.log)
			}
			if !strings.Contains(w.log.String(), c.log) {
				t.Errorf("the log does not say %q:\n%s", c.log, &w.log)
			}
		})
	}
}

// TestNoUsername: a row without one makes a user whose name is empty.
func TestNoUsername(t *testing.T) {
	w := newWorld()
	w.awsAuth = map[string]string{"mapRoles": "- {rolearn: 'arn:aws:iam::111122223333:role/admin', groups: [system:masters]}"}
	id, ok, err := w.authenticator(t).Authenticate(context.Background(), clusterID, w.token(t, "ADMIN"))
	if !ok || err != nil || id.Username != "" || !cmp.Equal(id.Groups, []string{"system:masters"}) {
		t.Errorf("%+v, %v, %v", id, ok, err)
	}
}

func TestInstanceGone(t *testing.T) {
	w := newWorld()
	w.entries["arn:aws:iam::111122223333:role/nodes"] = Entry{Type: "EC2_LINUX"}
	w.instances = nil
	if _, ok, _ := w.authenticator(t).Authenticate(context.Background(), clusterID, w.token(t, "NODE")); ok {
		t.Error("a node without instance got in")
	}
	if !strings.Contains(w.log.String(), "has no private DNS name") {
		t.Error(w.log.String())
	}
}

func TestCanonicalARN(t *testing.T) {
	for in, want := range map[string]string{
		"arn:aws:sts::1:assumed-role/r/s":   "arn:aws:iam::1:role/r",
		"arn:aws:iam::1:role/r":             "arn:aws:iam::1:role/r",
		"arn:aws:iam::1:role/a/b/r":         "arn:aws:iam::1:role/r",
		"arn:aws:iam::1:user/a/b":           "arn:aws:iam::1:user/a/b",
		"arn:aws:iam::1:root":               "arn:aws:iam::1:root",
		"arn:aws:sts::1:federated-user/bob": "arn:aws:sts::1:federated-user/bob",
		"arn:aws:sts::1:assumed-role/r":     "",
		"arn:aws:iam::1:group/g":            "",
		"arn:aws:s3:::bucket":               "",
		"root":                              "",
		"":                                  "",
	} {
		if got, err := CanonicalARN(in); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q %v, want %q", in, got, err, want)
		}
	}
}

// FuzzAWSAuth: any ConfigMap parses or reports, and maps nobody by accident.
func FuzzAWSAuth(f *testing.F) {
	f.Add("- {rolearn: a, username: b, groups: [c]}", "- userarn: x", `- "1"`)
	f.Add("{", "[[", "- 1")
	f.Add("- null\n- ", "&a [*a]", "")
	f.Fuzz(func(t *testing.T, roles, users, accounts string) {
		a, _ := parseAWSAuth(map[string]string{"mapRoles": roles, "mapUsers": users, "mapAccounts": accounts})
		p := principal{Canonical: "arn:aws:iam::111122223333:role/never-mentioned", Account: "111122223333"}
		if m, ok := a.find(p); ok && !strings.Contains(accounts, p.Account) && !strings.Contains(strings.ToLower(roles+users), "never") {
			t.Fatalf("mapped to %+v", m)
		}
	})
}

func TestMayJoin(t *testing.T) {
	const nodes = "arn:aws:iam::111122223333:role/nodes"
	row := map[string]string{"mapRoles": "- {rolearn: " + nodes + ", username: x, groups: [system:nodes]}"}
	for name, c := range map[string]struct {
		mode    string
		entry   *Entry
		awsAuth map[string]string
		want    bool
	}{
		"linux entry":             {ModeAPI, &Entry{Type: "EC2_LINUX"}, nil, true},
		"standard entry":          {ModeAPI, &Entry{Type: "STANDARD"}, nil, false},
		"nothing":                 {ModeAPIAndConfigMap, nil, nil, false},
		"aws-auth":                {ModeConfigMap, nil, row, true},
		"aws-auth, API only":      {ModeAPI, nil, row, false},
		"entry hides aws-auth":    {ModeAPIAndConfigMap, &Entry{Type: "STANDARD"}, row, false},
		"CONFIG_MAP has no entry": {ModeConfigMap, &Entry{Type: "EC2_LINUX"}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.cluster.AuthenticationMode, w.awsAuth = c.mode, c.awsAuth
			if c.entry != nil {
				w.entries[nodes] = *c.entry
			}
			if got := w.authenticator(t).MayJoin(context.Background(), clusterID, "arn:aws:iam::111122223333:role/path/nodes"); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

package admin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"

	api "github.com/ekslocal/ekslocal/api/admin"
)

type fake struct {
	health  api.Health
	status  api.Status
	use     api.AddressUse
	held    api.SubnetHoldings
	subnet  string
	decided api.Decisions
	asked   api.DecisionQuery
	query   api.AddressQuery
	list    api.Sessions
	pod     api.PodQuery
	creds   api.PodCredentials
	err     error
	reset   int
	stopped int
}

func (f *fake) Health(context.Context) api.Health          { return f.health }
func (f *fake) Status(context.Context) (api.Status, error) { return f.status, f.err }
func (f *fake) AddressUse(_ context.Context, q api.AddressQuery) (api.AddressUse, error) {
	f.query = q
	return f.use, f.err
}
func (f *fake) SubnetHoldings(_ context.Context, subnet string) (api.SubnetHoldings, error) {
	f.subnet = subnet
	return f.held, f.err
}
func (f *fake) Sessions(context.Context) api.Sessions { return f.list }
func (f *fake) PodCredentials(_ context.Context, q api.PodQuery) (*api.PodCredentials, error) {
	f.pod = q
	return &f.creds, f.err
}
func (f *fake) Decisions(_ context.Context, q api.DecisionQuery) (api.Decisions, error) {
	f.asked = q
	return f.decided, f.err
}
func (f *fake) CA(context.Context) ([]byte, error) { return []byte("PEM"), f.err }
func (f *fake) Reset(context.Context) error        { f.reset++; return f.err }
func (f *fake) Stop()                              { f.stopped++ }

func serve(t *testing.T, f *fake) *httptest.Server {
	r := mux.NewRouter()
	Register(r, f, slog.New(slog.DiscardHandler))
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	return s
}

func TestClientAndHandlerAgree(t *testing.T) {
	f := &fake{
		health: api.Health{Status: api.Running, Version: "1", PID: 7, Services: map[string]api.Service{"eks": {Status: "available", Operations: 30}}, Clusters: 1},
		status: api.Status{Version: "1", StartedAt: time.Unix(1700000000, 0).UTC(), Uptime: 1.5, Store: api.Store{Alarms: []string{"NOSPACE"}},
			Clusters: []api.Cluster{{Name: "dev", Nodes: api.Count{Total: 3, Ready: 2}, CreatedAt: time.Unix(1700000001, 0).UTC()}}},
	}
	c := api.NewClient(serve(t, f).URL+"/", nil)
	h, err := c.Health(t.Context())
	if d := cmp.Diff(&f.health, h); d != "" || err != nil {
		t.Errorf("Health: %v\n%s", err, d)
	}
	st, err := c.Status(t.Context())
	if d := cmp.Diff(&f.status, st); d != "" || err != nil {
		t.Errorf("Status: %v\n%s", err, d)
	}
	f.list = api.Sessions{Time: f.status.StartedAt, Sessions: []api.Session{{AccessKeyID: "ASIA1", Operation: "AssumeRole"}}}
	list, err := c.Sessions(t.Context())
	if d := cmp.Diff(&f.list, list); d != "" || err != nil {
		t.Errorf("Sessions: %v\n%s", err, d)
	}
	if pem, err := c.CA(t.Context()); string(pem) != "PEM" || err != nil {
		t.Errorf("CA = %q, %v", pem, err)
	}
	if err := c.Reset(t.Context()); err != nil || f.reset != 1 {
		t.Errorf("Reset: %v, %d calls", err, f.reset)
	}
	if err := c.Stop(t.Context()); err != nil || f.stopped != 1 {
		t.Errorf("Stop: %v, %d calls", err, f.stopped)
	}
}

func TestAddressUse(t *testing.T) {
	at := time.Unix(1700000000, 0).UTC()
	f := &fake{use: api.AddressUse{
		Time: at,
		Subnets: []api.SubnetUse{{ID: "subnet-1", Clusters: []string{"dev"}, Size: 16, Held: map[api.Holder]int{api.HeldReserved: 5}, Free: 11, Available: 11,
			FreeRuns: []api.FreeRun{}, Reservations: []api.CIDRReservation{{CIDR: "10.0.0.0/28", Type: "prefix"}}}},
		Nodes:   []api.NodePool{{Name: "ip-10-0-0-4", Interfaces: []api.Interface{{ID: "eni-1", Addresses: 9}}, Settings: []string{"WARM_ENI_TARGET=1"}, RetryAt: &at}},
		Waiting: []api.WaitingPod{{Namespace: "default", Name: "web", Since: at, RetryAt: at}},
	}}
	s := serve(t, f)
	q := api.AddressQuery{Cluster: "a&b=c", Region: "eu-west-1", Account: "111122223333"}
	got, err := api.NewClient(s.URL, nil).AddressUse(t.Context(), q)
	if d := cmp.Diff(&f.use, got); d != "" || err != nil || f.query != q {
		t.Errorf("AddressUse: %v, asked for %+v\n%s", err, f.query, d)
	}
	if _, err := api.NewClient(s.URL, nil).AddressUse(t.Context(), api.AddressQuery{}); err != nil || f.query != (api.AddressQuery{}) {
		t.Errorf("without a query: %v, asked for %+v", err, f.query)
	}

	f.held = api.SubnetHoldings{SubnetUse: f.use.Subnets[0], Holdings: []api.Holding{{Address: "10.0.0.4", Owner: "eni-primary", Pod: "default/web"}}}
	f.use = api.AddressUse{Time: at}
	resp, err := http.Get(s.URL + "/_ekslocal/ips")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	want := "{\n  \"time\": \"2023-11-14T22:13:20Z\",\n  \"subnets\": [],\n  \"nodes\": [],\n  \"waiting\": []\n}\n"
	if string(body) != want || err != nil {
		t.Errorf("nothing there: %s, %v", body, err)
	}

	held, err := api.NewClient(s.URL, nil).SubnetHoldings(t.Context(), "subnet-1")
	if d := cmp.Diff(&f.held, held); d != "" || err != nil || f.subnet != "subnet-1" {
		t.Errorf("SubnetHoldings: %v of %q\n%s", err, f.subnet, d)
	}

	f.err = &api.Error{StatusCode: 404, Code: "ClusterNotFound", Message: "there is no cluster dev"}
	var refused *api.Error
	if _, err = api.NewClient(s.URL, nil).AddressUse(t.Context(), q); !errors.As(err, &refused) || cmp.Diff(f.err, error(refused)) != "" {
		t.Errorf("an unknown cluster: %v", err)
	}
}

func TestDecisions(t *testing.T) {
	f := &fake{decided: api.Decisions{Mode: "enforce", Last: 7, Decisions: []api.Decision{{
		Number: 7, Time: time.Unix(1700000000, 0).UTC(), RequestID: "r", Operation: "eks:CreateCluster", Principal: "arn:aws:iam::111122223333:user/alice",
		Action: "iam:PassRole", Resource: "arn:aws:iam::111122223333:role/eks", Reason: "because", By: []string{"s"},
		NearMisses: []api.NearMiss{{Statement: "s", Condition: "c", Given: []string{"g"}}},
		Remedies:   []api.Remedy{{AddTo: "a policy of user/alice", Statement: []byte(`{"Effect":"Allow"}`)}}, Context: map[string][]string{"k": {"v"}},
	}}}}
	s := serve(t, f)
	q := api.DecisionQuery{Denied: true, Principal: "a&b=c", Action: "eks:*", Limit: 5, After: 2}
	got, err := api.NewClient(s.URL, nil).Decisions(t.Context(), q)
	// Within an indented answer the statement is indented, too.
	for i := range got.Decisions {
		got.Decisions[i].Remedies[0].Statement = []byte(strings.Join(strings.Fields(string(got.Decisions[i].Remedies[0].Statement)), ""))
	}
	if d := cmp.Diff(&f.decided, got); d != "" || err != nil || f.asked != q {
		t.Errorf("Decisions: %v, asked for %+v\n%s", err, f.asked, d)
	}
	if _, err := api.NewClient(s.URL, nil).Decisions(t.Context(), api.DecisionQuery{}); err != nil || f.asked != (api.DecisionQuery{}) {
		t.Errorf("without a query: %v, asked for %+v", err, f.asked)
	}
	for _, bad := range []string{"limit=x", "after=-1", "denied=maybe"} {
		resp, err := http.Get(s.URL + "/_ekslocal/iam/decisions?" + bad)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", bad, resp.Status)
		}
	}
}

func TestPodCredentials(t *testing.T) {
	f := &fake{creds: api.PodCredentials{
		Pod: "cart", Steps: []api.CredentialStep{{Name: "sts", Outcome: api.StepRefused, Text: "x", Error: "AccessDenied", Mend: []string{"y"}}},
		Identity: &api.CredentialIdentity{ARN: "arn", Policies: []string{"p"}}, Credentials: &api.Credentials{AccessKeyID: "ASIA1"},
	}}
	s := serve(t, f)
	q := api.PodQuery{Cluster: "a&b", Namespace: "shop", Pod: "cart-1", Container: "app"}
	got, err := api.NewClient(s.URL, nil).PodCredentials(t.Context(), q)
	if d := cmp.Diff(&f.creds, got); d != "" || err != nil || f.pod != q {
		t.Errorf("PodCredentials: %v, asked for %+v\n%s", err, f.pod, d)
	}
	// A web page cannot set the header, and so does not make a user's pods talk.
	resp, err := http.Post(s.URL+"/_ekslocal/pods/shop/cart-1/credentials", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("without the header: %s", resp.Status)
	}
}

func TestStartingIsUnhealthyButAnswers(t *testing.T) {
	f := &fake{health: api.Health{Status: "starting"}}
	s := serve(t, f)
	h, err := api.NewClient(s.URL, nil).Health(t.Context())
	if err != nil || h.Status != "starting" {
		t.Errorf("Health = %+v, %v", h, err)
	}
	for _, path := range []string{"/_ekslocal/health", "/_localstack/health"} {
		resp, err := http.Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s while starting: %s", path, resp.Status)
		}
	}
}

func TestErrors(t *testing.T) {
	f := &fake{err: errors.New("disk full")}
	s := serve(t, f)
	err := api.NewClient(s.URL, nil).Reset(t.Context())
	want := &api.Error{StatusCode: 500, Code: "Internal", Message: "disk full"}
	var got *api.Error
	if !errors.As(err, &got) || cmp.Diff(want, got) != "" {
		t.Errorf("Reset = %v", err)
	}
	f.err = &api.Error{StatusCode: 409, Code: "Busy", Message: "a reset is under way"}
	if err = api.NewClient(s.URL, nil).Reset(t.Context()); !errors.As(err, &got) || got.StatusCode != 409 {
		t.Errorf("Reset = %v", err)
	}
	for _, tc := range []struct {
		method, path string
		want         int
	}{{"GET", "/_ekslocal/nothing", 404}, {"GET", "/_ekslocal/reset", 404}, {"POST", "/_ekslocal/reset", 403}, {"POST", "/_ekslocal/stop", 403}} {
		req, _ := http.NewRequest(tc.method, s.URL+tc.path, nil)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tc.want || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %s, %s; want %d", tc.method, tc.path, resp.Status, resp.Header.Get("Content-Type"), tc.want)
		}
	}
	if f.stopped != 0 {
		t.Error("a request without intent stopped the emulator")
	}
}

func TestClientNamesTheMend(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	_, err := api.NewClient(s.URL, nil).Status(t.Context())
	if err == nil || errors.Is(err, api.ErrNotRunning) {
		t.Errorf("a foreign server: %v", err)
	}
	s.Close()
	if _, err = api.NewClient(s.URL, nil).Status(t.Context()); !errors.Is(err, api.ErrNotRunning) {
		t.Errorf("nothing there: %v", err)
	}
}
